//! A WebSocket proxy in front of Janus. It can hold single requests, to show that nothing else waits for
//! them, or disable the mixing of silence to save CPU in Janus.

use std::collections::HashSet;
use std::sync::Arc;

use actix_codec::Framed;
use actix_http::ws::{Codec, Frame, Message};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

const LARGEST_FRAME: usize = 4 << 20;

/// Texts; a request that contains one of them is held.
type Needles = watch::Sender<HashSet<String>>;

/// JSON of a forwarder that sends even when nobody speaks, and of one that does not.
const ALWAYS_ON: [&str; 2] = ["\"always_on\":true", "\"always_on\":false"];

/// The proxy. After a drop its connections end on their own; they run on the arbiter that started it.
pub struct JanusProxy {
    pub url: String,
    needles: Arc<Needles>,
    held: watch::Receiver<usize>,
}

impl JanusProxy {
    /// Starts the proxy. `janus`: `ws://ip:port`
    pub async fn start(janus: &str) -> Self {
        Self::start_with(janus, true).await
    }

    /// Starts a proxy that makes Janus mix only while somebody speaks, so that a hundred or a thousand rooms
    /// do not overload the machine. All calls are still executed and answered.
    pub async fn without_silence(janus: &str) -> Self {
        Self::start_with(janus, false).await
    }

    async fn start_with(janus: &str, silence: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let janus = janus.strip_prefix("ws://").unwrap().to_owned();
        let needles = Arc::new(watch::channel(HashSet::new()).0);
        let (count, held) = watch::channel(0);
        let for_relays = needles.clone();
        actix::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                actix::spawn(relay(client, janus.clone(), for_relays.clone(), count.clone(), silence));
            }
        });
        Self { url, needles, held }
    }

    /// Holds every later request that contains `needle`, such as a room's description or `"room":123456`.
    /// Requests are compact JSON.
    pub fn hold(&self, needle: &str) {
        self.needles.send_if_modified(|needles| needles.insert(needle.to_owned()));
    }

    /// Passes the requests held for `needle`, and later ones.
    pub fn release(&self, needle: &str) {
        self.needles.send_if_modified(|needles| needles.remove(needle));
    }

    /// Waits until at least `count` requests have been held, including released ones.
    pub async fn held(&mut self, count: usize) {
        self.held.wait_for(|held| *held >= count).await.unwrap();
    }
}

async fn relay(
    mut client: TcpStream,
    janus: String,
    needles: Arc<Needles>,
    held: watch::Sender<usize>,
    silence: bool,
) {
    let Ok(mut upstream) = TcpStream::connect(janus).await else { return };
    if copy_head(&mut client, &mut upstream).await.is_none()
        || copy_head(&mut upstream, &mut client).await.is_none()
    {
        return;
    }
    let codec = Codec::new().max_size(LARGEST_FRAME);
    let (mut to_client, mut from_client) = Framed::new(client, codec.clone()).split();
    let (mut to_janus, mut from_janus) = Framed::new(upstream, codec.client_mode()).split();
    let (requests, mut passed) = mpsc::unbounded_channel();
    let read_requests = async {
        while let Some(Ok(frame)) = from_client.next().await {
            let request = if silence { message(frame) } else { unsilenced(message(frame)) };
            if blocked(&needles.borrow(), &request) {
                held.send_modify(|held| *held += 1);
                actix::spawn(send_when_released(request, needles.subscribe(), requests.clone()));
            } else {
                let _ = requests.send(request);
            }
        }
    };
    let write_requests = async {
        while let Some(request) = passed.recv().await {
            if to_janus.send(request).await.is_err() {
                return;
            }
        }
    };
    let replies = async {
        while let Some(Ok(frame)) = from_janus.next().await {
            if to_client.send(message(frame)).await.is_err() {
                return;
            }
        }
    };
    // The end of either side ends both.
    tokio::select! { () = read_requests => {}, () = write_requests => {}, () = replies => {} }
}

async fn send_when_released(
    request: Message,
    mut needles: watch::Receiver<HashSet<String>>,
    requests: mpsc::UnboundedSender<Message>,
) {
    if needles.wait_for(|needles| !blocked(needles, &request)).await.is_ok() {
        let _ = requests.send(request);
    }
}

fn blocked(needles: &HashSet<String>, request: &Message) -> bool {
    matches!(request, Message::Text(text) if needles.iter().any(|needle| text.contains(needle.as_str())))
}

fn unsilenced(request: Message) -> Message {
    match request {
        Message::Text(text) => Message::Text(text.replace(ALWAYS_ON[0], ALWAYS_ON[1]).into()),
        other => other,
    }
}

fn message(frame: Frame) -> Message {
    match frame {
        Frame::Text(text) => Message::Text(String::from_utf8(text.to_vec()).unwrap().into()),
        Frame::Binary(bytes) => Message::Binary(bytes),
        Frame::Continuation(item) => Message::Continuation(item),
        Frame::Ping(bytes) => Message::Ping(bytes),
        Frame::Pong(bytes) => Message::Pong(bytes),
        Frame::Close(reason) => Message::Close(reason),
    }
}

/// Copies an HTTP head byte by byte, so that nothing after it is consumed.
async fn copy_head(from: &mut TcpStream, to: &mut TcpStream) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.ok()?);
    }
    to.write_all(&head).await.ok()
}

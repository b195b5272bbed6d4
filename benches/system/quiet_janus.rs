//! A Janus stub that mixes nothing: it answers AudioBridge requests, and keeps rooms and forwarders in a map.
//!
//! It is meant for thousands of rooms: each costs a real Janus a thread that wakes about two hundred times
//! per second, too much for two cores. The measurement covers the node, the store and the processes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

const PROTOCOL: &str = "Sec-WebSocket-Protocol";

/// The stub. Dropping it closes its connections and discards its state.
pub struct QuietJanus {
    pub url: String,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct JanusState {
    ids: u64,
    rooms: BTreeMap<u64, Room>,
}

struct Room {
    description: Value,
    forwarders: Vec<Value>,
}

impl QuietJanus {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("ws://{}", listener.local_addr().expect("an address"));
        let serving = tokio::spawn(async move {
            let (known, mut connections) = (Arc::<Mutex<JanusState>>::default(), JoinSet::new());
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, known.clone()));
            }
        });
        Self { url, serving }
    }
}

impl Drop for QuietJanus {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(stream: TcpStream, known: Arc<Mutex<JanusState>>) {
    let Ok(mut socket) = accept_hdr_async(stream, as_asked).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        let sent = match message {
            Message::Text(text) => {
                let request = serde_json::from_str(&text).unwrap_or_default();
                let answer =
                    known.lock().unwrap_or_else(PoisonError::into_inner).answer(&request).to_string();
                socket.send(Message::text(answer)).await
            }
            // The library answers a ping with the next message that is sent.
            _ => socket.flush().await,
        };
        if sent.is_err() {
            return;
        }
    }
}

#[expect(clippy::result_large_err, reason = "the library's own type")]
fn as_asked(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    if let Some(protocol) = request.headers().get(PROTOCOL) {
        response.headers_mut().insert(PROTOCOL, protocol.clone());
    }
    Ok(response)
}

impl JanusState {
    fn answer(&mut self, request: &Value) -> Value {
        let mut answer = match request["janus"].as_str() {
            Some("create" | "attach") => {
                self.ids += 1;
                json!({ "janus": "success", "data": { "id": self.ids } })
            }
            Some("info") => json!({ "janus": "server_info", "version_string": "quiet", "plugins": {} }),
            Some("keepalive") => json!({ "janus": "ack" }),
            Some("message") => {
                json!({ "janus": "success", "plugindata": { "data": self.plugin(&request["body"]) } })
            }
            _ => json!({ "janus": "success" }),
        };
        for echoed in ["transaction", "session_id"] {
            answer[echoed] = request[echoed].clone();
        }
        answer
    }

    fn plugin(&mut self, body: &Value) -> Value {
        let id = body["room"].as_u64().unwrap_or_default();
        match body["request"].as_str() {
            Some("create") => {
                let room = Room { description: body["description"].clone(), forwarders: Vec::new() };
                self.rooms.insert(id, room);
                json!({ "audiobridge": "created", "room": id })
            }
            Some("list") => {
                let listed = self.rooms.iter().map(|(id, room)| {
                    json!({ "room": id, "description": room.description, "num_participants": 0 })
                });
                json!({ "audiobridge": "success", "list": listed.collect::<Vec<_>>() })
            }
            Some("exists") => json!({ "audiobridge": "success", "exists": self.rooms.contains_key(&id) }),
            Some("destroy") if self.rooms.remove(&id).is_some() => json!({ "audiobridge": "destroyed" }),
            Some(request) => match self.rooms.get_mut(&id) {
                Some(room) => room.answer(request, body),
                None => json!({ "audiobridge": "event", "error_code": 485, "error": "No such room" }),
            },
            None => Value::Null,
        }
    }
}

impl Room {
    fn answer(&mut self, request: &str, body: &Value) -> Value {
        match request {
            "rtp_forward" => {
                let stream = self.forwarders.len() as u64 + 1;
                let (ip, port) = (&body["host"], &body["port"]);
                let forwarder = json!({ "stream_id": stream, "ip": ip, "port": port, "always_on": true });
                self.forwarders.push(forwarder);
                json!({ "audiobridge": "success", "stream_id": stream })
            }
            "stop_rtp_forward" => {
                self.forwarders.retain(|forwarder| forwarder["stream_id"] != body["stream_id"]);
                json!({ "audiobridge": "success" })
            }
            "listforwarders" => json!({ "audiobridge": "forwarders", "rtp_forwarders": self.forwarders }),
            _ => json!({ "audiobridge": "success", "participants": [] }),
        }
    }
}

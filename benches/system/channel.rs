//! The listener channel with many listeners, as server-sent events and as WebSockets: memory per listener,
//! and the time until an event has reached all of them.
//!
//! Baseline of the memory: a bare server with the same number of endless responses (actix-web) or WebSockets
//! (actix-web-actors).

use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::json;
use stentor::auth::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::bare::BareServer;
use super::house::{Backend, House};
use super::support::free_ports;
use super::support::stage::{ROOM, jwt_secrets, token};
use super::table::{Row, Times, short};
use super::usage;

const LISTENERS: usize = 10_000;
/// Number of listeners that connect at the same time.
const AT_ONCE: usize = 50;
const ANNOUNCEMENTS: usize = 10;
/// Beginning of each announcement, by which listeners recognise it.
const MARK: &str = "measured-";

/// Transport of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Events,
    WebSocket,
}

impl Transport {
    /// Returns the name in the table.
    fn name(self) -> &'static str {
        match self {
            Self::Events => "server-sent events",
            Self::WebSocket => "WebSockets",
        }
    }

    /// Returns the path at the bare server.
    fn bare_path(self) -> &'static str {
        match self {
            Self::Events => "/events",
            Self::WebSocket => "/ws",
        }
    }

    /// Returns the lines of the request head that ask for this transport, and the beginning of the response.
    fn handshake(self) -> (&'static str, &'static [u8; 12]) {
        match self {
            Self::Events => ("", b"HTTP/1.1 200"),
            Self::WebSocket => (
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                b"HTTP/1.1 101",
            ),
        }
    }
}

pub async fn measure() -> Vec<Row> {
    let mut rows = Vec::new();
    for transport in [Transport::Events, Transport::WebSocket] {
        rows.extend(measure_one(transport).await);
    }
    rows
}

async fn measure_one(transport: Transport) -> [Row; 2] {
    let bare = BareServer::start();
    let bare_url = |_| bare.url("http", transport.bare_path());
    let (floor, idle) = per_listener(bare.pid(), transport, bare_url).await;
    drop(idle);
    // All services share one socket: it then gets enough file descriptors, even with a limit of 20,000.
    let ([port], secrets) = (free_ports(), jwt_secrets());
    let all = format!("127.0.0.1:{port}");
    let mut settings = vec![("auth.jwt_secrets", secrets.as_str())];
    settings.extend(["listen.api", "listen.ws", "listen.hls"].map(|key| (key, all.as_str())));
    let house = House::open(Backend::Embedded, &settings).await;
    house.node.room_on_air(ROOM).await;
    let base = house.node.hls.clone();
    let url = |n| {
        let token = token(&format!("listener-{n}"), Role::Listener);
        format!("{base}/hls/rooms/{ROOM}/events?token={token}")
    };
    let (ours, listeners) = per_listener(house.node.pid(), transport, url).await;
    let reached = reach(&house, listeners).await;
    let name = transport.name();
    [
        Row::new(
            format!(
                "memory per listener of the channel ({name}), {LISTENERS} of them (floor: bare actix-web)"
            ),
            format!("{floor:.1} kB"),
            format!("{ours:.1} kB"),
            "≤ 12 kB",
        ),
        Row::new(
            format!("an announcement reaches each of {LISTENERS} listeners ({name}), p50 / p99"),
            "",
            reached.to_string(),
            format!("p99 ≤ {}", short(Duration::from_millis(500))),
        ),
    ]
}

/// Opens listeners. Returns the growth of the process's private memory in kB per listener, and the
/// connections of the listeners.
async fn per_listener(
    pid: i32,
    transport: Transport,
    url: impl Fn(usize) -> String,
) -> (f64, Vec<TcpStream>) {
    // Make one-time allocations happen before the measurement.
    drop(open(transport, &url, 0..AT_ONCE).await);
    let before = usage::private_bytes(pid);
    let listeners = open(transport, &url, AT_ONCE..AT_ONCE + LISTENERS).await;
    let grown = usage::private_bytes(pid).saturating_sub(before);
    (grown as f64 / LISTENERS as f64 / 1e3, listeners)
}

/// Connects listeners. A listener counts as connected once the first bytes of the response have arrived.
async fn open(
    transport: Transport,
    url: impl Fn(usize) -> String,
    which: std::ops::Range<usize>,
) -> Vec<TcpStream> {
    let (lines, expected) = transport.handshake();
    let opened = futures::stream::iter(which.map(url)).map(|url| async move {
        let (address, path) = url["http://".len()..].split_once('/').expect("a path");
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        let request = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\n{lines}\r\n");
        socket.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, expected);
        socket
    });
    opened.buffer_unordered(AT_ONCE).collect().await
}

/// Measures the time from the request that changes the announcement until each listener has it.
async fn reach(house: &House, listeners: Vec<TcpStream>) -> Times {
    let (heard, mut arrivals) = mpsc::unbounded_channel();
    for listener in listeners {
        tokio::task::spawn_local(listen(listener, heard.clone()));
    }
    let host = token("host", Role::Host);
    let url = format!("{}/hls/rooms/{ROOM}/announcement", house.node.hls);
    let mut times = Times::default();
    for n in 0..ANNOUNCEMENTS {
        let begin = Instant::now();
        let request = house.http.put(&url).bearer_auth(&host);
        let answer = request.send_json(&json!({ "text": format!("{MARK}{n:04}") })).await;
        assert!(answer.expect("an answer").status().is_success());
        for _ in 0..LISTENERS {
            let (number, at): (usize, Instant) = arrivals.recv().await.expect("an arrival");
            assert_eq!(number, n);
            times.add(at - begin);
        }
    }
    times
}

/// Reports each announcement that the listener receives. The text of a frame is not masked (RFC 6455 section
/// 5.1), so both transports are read alike.
async fn listen(mut socket: TcpStream, heard: mpsc::UnboundedSender<(usize, Instant)>) {
    let (mut unread, mut buffer) = (Vec::new(), vec![0; 4096]);
    loop {
        let Ok(read @ 1..) = socket.read(&mut buffer).await else { return };
        unread.extend_from_slice(&buffer[..read]);
        while let Some(at) = unread.windows(MARK.len()).position(|bytes| bytes == MARK.as_bytes()) {
            let digits = at + MARK.len()..at + MARK.len() + 4;
            let Some(number) = unread.get(digits.clone()) else { break };
            let number = std::str::from_utf8(number).expect("digits").parse().expect("a number");
            unread.drain(..digits.end);
            if heard.send((number, Instant::now())).is_err() {
                return;
            }
        }
        // Keep what may be the beginning of a mark and its number.
        unread.drain(..unread.len().saturating_sub(MARK.len() + 4));
    }
}

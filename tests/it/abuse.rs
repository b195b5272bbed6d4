//! Attacks on a real node. Here: signalling clients that repeatedly break every rule. Each connection is
//! closed with the code of its violation, the node's memory stays flat, and an anchor on air is not affected.

mod floods;
mod headers;
mod media;
mod tokens;

use std::net::SocketAddr;

use futures::SinkExt;
use serde_json::json;
use stentor::domain::signalling::CloseCode;
use tokio_tungstenite::tungstenite::Message;

use crate::support::abuse_table::withstood;
use crate::support::caller::Caller;
use crate::support::node::Node;
use crate::support::report;
use crate::support::until;
use crate::ws::client::Client;

const ROOM: &str = "demo";
/// Number of measured rounds. Each round sends more than 40 MB.
const ROUNDS: usize = 4;
/// Tolerated growth, because the allocator may retain memory. A single retained message of ten megabytes
/// exceeds it.
const LEEWAY_KB: u64 = 6 * 1024;

#[actix::test]
async fn node_memory_stays_flat_under_abuse() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let mut witness = Caller::connect(&node.ws, &token(&node, "witness").await, "").await;
    let (_, media) = witness.speak(0).await;
    let gateway: SocketAddr = node.ws.trim_start_matches("http://").parse().unwrap();
    // The first round fills caches and pools.
    abuse(&node, gateway).await;
    let before = resident_kb(&node);
    for _ in 0..ROUNDS {
        abuse(&node, gateway).await;
        let answer = witness.call("keepalive", json!({"status": "onair"})).await;
        assert_eq!(answer, Ok(json!({})), "the witness is unharmed");
    }
    let after = resident_kb(&node);
    report(format!("resident memory: {before} kB after one round of abuse, {after} kB after {ROUNDS} more"));
    assert!(after < before + LEEWAY_KB, "{before} kB before, {after} kB after");
    let packets = media.progress().received;
    media.until("media goes on", |progress| progress.received > packets + 10).await;
    until("only the witness is left", async || node.states_of("ws_client").await.len() == 1).await;
    withstood(
        "WebSocket: 10 MB messages, floods of calls, deep JSON, SDP, pings",
        "closed with a code",
        "an anchor speaks on; memory is flat",
    );
}

/// Runs one round: each abuse until its connection is closed.
async fn abuse(node: &Node, gateway: SocketAddr) {
    // Each abuse has a separate user, because the lock of the user before may still be held.
    let token = async |n: usize| token(node, &format!("mallory-{n}")).await;
    let call =
        json!({"jsonrpc": "2.0", "id": 1, "method": "keepalive", "params": {"status": "idle"}}).to_string();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let sdp = json!({"type": "offer", "sdp": "x".repeat(17_000)});
    let sdp = json!({"jsonrpc": "2.0", "id": 1, "method": "offer", "params": {"sdp": sdp}});
    let (flood, big) = ([CloseCode::Flooding, CloseCode::TooSlow], [CloseCode::TooBig]);
    sent(gateway, &token(1).await, vec![Message::text("x".repeat(10 << 20))], &big).await;
    sent(gateway, &token(2).await, vec![Message::text(call); 1000], &flood).await;
    sent(gateway, &token(3).await, vec![Message::text(deep); 1000], &flood).await;
    sent(gateway, &token(4).await, vec![Message::text(sdp.to_string()); 1000], &flood).await;
    sent(gateway, &token(5).await, vec![Message::Ping("x".repeat(100).into()); 2000], &flood).await;
}

/// Sends `messages` without reading until the server refuses more; asserts that the close code is in `codes`.
async fn sent(gateway: SocketAddr, token: &str, messages: Vec<Message>, codes: &[CloseCode]) {
    let mut client = Client::connect_to(gateway, token).await;
    for message in messages {
        if client.socket.feed(message).await.is_err() {
            break;
        }
    }
    // An error means that the connection is already closed.
    let _ = client.socket.flush().await;
    let (code, reason) = client.closed().await;
    assert!(codes.iter().any(|wanted| wanted.number() == code), "{code} {reason}");
}

async fn token(node: &Node, user: &str) -> String {
    let made =
        node.post(&format!("/api/rooms/{ROOM}/users"), json!({"role": "anchor", "userId": user})).await;
    made.json()["token"].as_str().expect("a token").to_owned()
}

/// Returns the resident memory of the node's process, without that of its Janus and FFmpeg.
fn resident_kb(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

//! Limits on clients, and proof that a client that breaks them harms only itself.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures::SinkExt;
use serde_json::{Value, json};
use stentor::domain::signalling::CloseCode;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::client::Client;
use super::gateway::Gateway;
use crate::support::abuse_table::withstood;

/// Duration of a call after which a client counts as starved. A busy machine alone does not reach it.
const STARVED: Duration = Duration::from_secs(5);
/// Number of WebSocket clients that never read.
const DEAF: usize = 100;

/// Sends `messages`, at most until the server closes the connection. Returns the close code.
async fn closed_after(gateway: &Gateway, messages: Vec<Message>) -> u16 {
    let mut client = Client::connect(gateway, "mallory").await;
    for message in messages {
        // Fails if the server has already closed the connection.
        if client.socket.send(message).await.is_err() {
            break;
        }
    }
    client.closed().await.0
}

/// Runs an attack while another client calls four times per second. Returns the result of the attack, and the
/// effect on the other client.
async fn beside<T>(gateway: &Gateway, attack: impl Future<Output = T>) -> (T, String) {
    let mut witness = Client::connect(gateway, "witness").await;
    let over = Cell::new(false);
    let attack = async {
        let result = attack.await;
        over.set(true);
        result
    };
    let calls = async {
        let mut slowest = Duration::ZERO;
        while !over.get() {
            let begun = Instant::now();
            witness.call("leave", json!({})).await;
            slowest = slowest.max(begun.elapsed());
            // Sleep: more calls would exceed the rate limit of the witness.
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        slowest
    };
    let (result, slowest) = tokio::join!(attack, calls);
    assert!(slowest < STARVED, "{slowest:?}");
    (result, format!("slowest answer to another client: {} ms", slowest.as_millis()))
}

fn frame(payload: impl Into<bytes::Bytes>, kind: Data, last: bool) -> Message {
    Message::Frame(Frame::message(payload, OpCode::Data(kind), last))
}

#[actix::test]
async fn invalid_frames_close_with_their_code() {
    let gateway = Gateway::start().await;
    let mut witness = Client::connect(&gateway, "witness").await;
    assert_eq!(closed_after(&gateway, vec![Message::binary("binary")]).await, 1003);
    assert_eq!(
        closed_after(&gateway, vec![frame("\u{fffd}".as_bytes()[..1].to_vec(), Data::Text, true)]).await,
        1007
    );
    assert_eq!(closed_after(&gateway, vec![Message::text("x".repeat(65_537))]).await, 1009);
    assert_eq!(closed_after(&gateway, vec![Message::text("x".repeat(10 << 20))]).await, 1009);
    assert_eq!(closed_after(&gateway, vec![frame("b", Data::Continue, true)]).await, 1002);
    let mut pieces = vec![frame("x".repeat(30_000), Data::Text, false)];
    pieces.extend(vec![frame("x".repeat(30_000), Data::Continue, false); 2]);
    assert_eq!(closed_after(&gateway, pieces).await, 1009);
    assert_eq!(witness.call("leave", json!({})).await, json!({}));
    drop(witness);
    gateway.connections(0).await;
    gateway.stop().await;
    withstood(
        "frames that RFC 6455 forbids",
        "closed with 1002, 1003, 1007 or 1009",
        "another client calls on",
    );
}

#[actix::test]
async fn fragments_around_ping_form_one_call() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(&gateway, "ann").await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "leave"}).to_string();
    let (a, b) = call.split_at(10);
    client.socket.send(frame(a.to_owned(), Data::Text, false)).await.unwrap();
    client.socket.send(Message::Ping("are you there".into())).await.unwrap();
    client.socket.send(frame(b.to_owned(), Data::Continue, true)).await.unwrap();
    let pong = futures::StreamExt::next(&mut client.socket).await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong("are you there".into()));
    assert_eq!(client.next().await["result"], json!({}));
    gateway.stop().await;
}

#[actix::test]
async fn garbage_is_answered_then_closed() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(&gateway, "mallory").await;
    for garbage in ["", "\0", "{\"jsonrpc\":", "[[[[", "nul", "\u{feff}{}", "{\"a\":\"\\ud800\"}"] {
        assert_eq!(client.ask(garbage).await["error"]["code"], -32700, "{garbage:?}");
    }
    let garbage: Vec<Message> = (0..2000).map(|_| Message::text("garbage")).collect();
    assert_eq!(closed_after(&gateway, garbage).await, 4429);
    assert_eq!(
        client.call("leave", json!({})).await,
        json!({}),
        "the limit of another client is not used up"
    );
    gateway.stop().await;
    withstood("text that is no JSON-RPC", "errors, then closed", "another client has its own limit");
}

#[actix::test]
async fn excess_calls_are_refused_then_closed() {
    let gateway = Gateway::with(|ws| ws.rate = 1).await;
    let mut client = Client::connect(&gateway, "mallory").await;
    for _ in 0..60 {
        client.begin("leave", json!({})).await;
    }
    let mut answers = Vec::new();
    for _ in 0..60 {
        answers.push(client.next().await);
    }
    let refused: Vec<&Value> = answers.iter().filter_map(|a| a.get("error")).collect();
    assert!((1..=20).contains(&refused.len()), "{} were refused", refused.len());
    assert!(refused.iter().all(|e| e["data"]["code"] == "rate_limited" && e["data"]["retryable"] == true));
    assert!(refused.iter().all(|e| e["data"]["retryAfterMs"].as_u64().is_some_and(|ms| ms <= 1000)));
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "leave"}).to_string();
    let ((), others) = beside(&gateway, async {
        let mut thousand = (0..1000).map(|_| Message::text(call.clone()));
        while let Some(message) = thousand.next()
            && client.socket.send(message).await.is_ok()
        {}
        assert_eq!(client.closed().await, (4429, "flooding".into()));
    })
    .await;
    gateway.closed("mallory", CloseCode::Flooding).await;
    gateway.stop().await;
    withstood("more calls than the rate limit", "errors, then closed", &others);
}

#[actix::test]
async fn pings_count_as_well() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(&gateway, "mallory").await;
    for _ in 0..2000 {
        if client.socket.send(Message::Ping("x".into())).await.is_err() {
            break;
        }
    }
    gateway.closed("mallory", CloseCode::Flooding).await;
    gateway.stop().await;
}

#[actix::test]
async fn pongs_and_fragments_are_metered() {
    let gateway = Gateway::start().await;
    let fragments = std::iter::repeat_n(frame("", Data::Continue, false), 10_000);
    let floods = [
        vec![Message::Pong("x".into()); 2000],
        std::iter::once(frame("", Data::Text, false)).chain(fragments).collect(),
    ];
    let ((), others) = beside(&gateway, async {
        for flood in floods {
            assert_eq!(closed_after(&gateway, flood).await, 4429);
        }
    })
    .await;
    gateway.stop().await;
    withstood("floods of pongs and of empty fragments", "closed", &others);
}

#[actix::test]
async fn pending_calls_and_candidates_are_limited() {
    let gateway = Gateway::with(|ws| (ws.calls, ws.burst) = (4, 100)).await;
    let mut client = Client::connect(&gateway, "ann").await;
    for _ in 0..4 {
        client.begin("join", json!({"displayName": "slow"})).await;
    }
    let error = client.call("leave", json!({})).await;
    assert_eq!(error["data"], json!({"code": "too_many_calls", "retryable": true}));
    for _ in 0..4 {
        gateway.script.gate.notify_one();
        assert_eq!(client.next().await["result"], json!({ "user": "ann" }));
    }
    let candidate = json!({"candidate": {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host"}});
    for _ in 0..32 {
        assert_eq!(client.call("icecandidate", candidate.clone()).await, json!({}));
    }
    let error = client.call("icecandidate", candidate).await;
    assert_eq!((&error["code"], &error["data"]["code"]), (&json!(-32005), &json!("too_many_candidates")));
    gateway.stop().await;
}

#[actix::test]
async fn unfinished_call_times_out() {
    let gateway = Gateway::with(|ws| {
        (ws.calls, ws.call_timeout) = (1, std::time::Duration::from_millis(100));
    })
    .await;
    let mut client = Client::connect(&gateway, "ann").await;
    client.call("join", json!({})).await;
    let error = client.call("mute", json!({})).await;
    assert_eq!(error["data"], json!({"code": "timeout", "retryable": true}));
    assert_eq!(client.call("leave", json!({})).await, json!({}));
    gateway.stop().await;
}

#[actix::test]
async fn clients_that_never_read_are_closed() {
    let gateway = Gateway::start().await;
    let mut deaf = Vec::new();
    for n in 0..DEAF {
        deaf.push(Client::connect(&gateway, &format!("deaf-{n}")).await);
    }
    let ((), others) = beside(&gateway, async {
        for client in &mut deaf {
            client.begin("join", json!({"displayName": "flood"})).await;
        }
        for n in 0..DEAF {
            gateway.closed(&format!("deaf-{n}"), CloseCode::TooSlow).await;
        }
    })
    .await;
    gateway.connections(0).await;
    // The server cut off the clients: after the data in flight, each connection ends.
    for mut client in deaf {
        client.cut().await;
    }
    gateway.stop().await;
    withstood(&format!("{DEAF} WebSocket clients that never read"), "closed", &others);
}

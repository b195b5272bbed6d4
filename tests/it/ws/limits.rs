//! Limits on clients, and proof that a client that breaks them harms only itself.

use futures::SinkExt;
use serde_json::{Value, json};
use stentor::domain::signalling::CloseCode;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::client::Client;
use super::gateway::Gateway;
use crate::support::abuse_table::withstood;
use crate::support::{in_time, pause_async};

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
    let mut thousand = (0..1000).map(|_| Message::text(call.clone()));
    while let Some(message) = thousand.next()
        && client.socket.send(message).await.is_ok()
    {}
    assert_eq!(client.closed().await, (4429, "flooding".into()));
    gateway.closed("mallory", CloseCode::Flooding).await;
    gateway.stop().await;
    withstood("more calls than the rate limit", "errors, then closed", "not measured");
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
    for flood in floods {
        let mut client = Client::connect(&gateway, "mallory").await;
        for message in flood {
            if client.socket.send(message).await.is_err() {
                break;
            }
        }
        assert_eq!(client.closed().await, (4429, "flooding".into()));
    }
    gateway.stop().await;
    withstood("floods of pongs and of empty fragments", "closed", "not measured");
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
async fn client_that_never_reads_is_closed() {
    let gateway = Gateway::start().await;
    let mut deaf = Client::connect(&gateway, "deaf").await;
    let mut witness = Client::connect(&gateway, "witness").await;
    deaf.begin("join", json!({"displayName": "flood"})).await;
    in_time("the close", async {
        while !gateway.script.has_departed("deaf") {
            assert_eq!(witness.call("leave", json!({})).await, json!({}));
            pause_async().await;
        }
    })
    .await;
    gateway.closed("deaf", CloseCode::TooSlow).await;
    gateway.connections(1).await;
    // The server cut off a client that never read: after the data in flight, the connection ends.
    deaf.cut().await;
    gateway.stop().await;
    withstood("a WebSocket client that never reads", "closed", "not measured");
}

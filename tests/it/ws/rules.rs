//! Strict JSON-RPC 2.0, the order of calls, and the end of sessions and connections.

use std::sync::atomic::Ordering::Relaxed;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use stentor::domain::signalling::CloseCode;
use stentor::frames::OutboundFrame;

use super::client::Client;
use super::gateway::{Gateway, stopped_on_arrival};
use crate::support::{in_time, pause_async};

#[actix::test]
async fn calls_are_answered_and_notifications_are_not() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(&gateway, "ann").await;
    assert_eq!(client.call("join", json!({})).await, json!({ "user": "ann" }));
    client.send(r#"{"jsonrpc":"2.0","method":"join"}"#).await;
    client.send(r#"{"jsonrpc":"2.0","method":"nonsense"}"#).await;
    client.send(r#"{"jsonrpc":"2.0","method":"offer","params":{"wrong":1}}"#).await;
    assert_eq!(client.call("keepalive", json!({"status": "idle"})).await, json!({}));
    for id in [json!(0.5), json!(-7), json!("text"), json!(null), json!(u64::MAX)] {
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "leave"}).to_string();
        let wanted = json!({"jsonrpc": "2.0", "id": id, "result": {}});
        assert_eq!(client.ask(call).await, wanted);
    }
    gateway.stop().await;
}

#[actix::test]
async fn errors_carry_number_code_and_retryable() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(&gateway, "ann").await;
    client.call("join", json!({})).await;
    for (text, number, code) in [
        ("{", -32700, "parse_error"),
        ("[]", -32600, "invalid_request"),
        ("7", -32600, "invalid_request"),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600, "invalid_request"),
        (&format!("{}{}", "[".repeat(30_000), "]".repeat(30_000)), -32600, "too_deep"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"fly"}"#, -32601, "method_not_found"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"join","params":{"x":1}}"#, -32602, "invalid_params"),
        (&offer(16 * 1024 + 1), -32004, "sdp_too_large"),
    ] {
        let error = client.ask(text).await["error"].clone();
        let wanted = (json!(number), json!({"code": code, "retryable": false}));
        assert_eq!((error["code"].clone(), error["data"].clone()), wanted, "{text:.50}");
    }
    let error = client.ask(offer(16 * 1024)).await["error"].clone();
    assert_eq!(error["data"]["code"], "media_refused", "not too large, but without audio");
    let full = client.call("join", json!({"displayName": "full"})).await;
    let data = json!({"code": "room_full", "retryable": true, "retryAfterMs": 5000});
    assert_eq!((&full["code"], &full["data"]), (&json!(-32009), &data));
    gateway.stop().await;
}

#[actix::test]
async fn a_batch_is_answered_with_one_array() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(&gateway, "ann").await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "join"},
        {"jsonrpc": "2.0", "method": "leave"},
        1,
        {"jsonrpc": "2.0", "id": "2", "method": "fly"},
    ]);
    let answer = client.ask(batch.to_string()).await;
    let answers = answer.as_array().expect("an array");
    let ids: Vec<_> = answers.iter().map(|a| a["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!(null), json!("2")]);
    assert_eq!(answers[0]["result"], json!({ "user": "ann" }));
    assert_eq!(answers[1]["error"]["code"], -32600);
    assert_eq!(client.ask("[1]").await.as_array().map(Vec::len), Some(1));
    let many = |n: usize| Value::from(vec![json!({"jsonrpc": "2.0", "method": "leave"}); n]).to_string();
    assert_eq!(client.ask(many(17)).await["error"]["data"]["code"], "batch_too_large");
    client.send(many(16)).await;
    assert_eq!(client.call("leave", json!({})).await, json!({}), "the batch was not answered");
    gateway.stop().await;
}

#[actix::test]
async fn slow_call_delays_nothing_else() {
    let gateway = Gateway::with(|ws| ws.ping = std::time::Duration::from_millis(100)).await;
    let mut client = Client::connect(&gateway, "ann").await;
    client.call("join", json!({})).await;
    let slow = client.begin("mute", json!({})).await;
    assert_eq!(client.call("unmute", json!({})).await, json!({}));
    let before = client.pings;
    in_time("three pings", async {
        while client.pings < before + 3 {
            client.call("keepalive", json!({"status": "idle"})).await;
            pause_async().await;
        }
    })
    .await;
    gateway.script.gate.notify_one();
    let answer = client.next().await;
    assert_eq!((&answer["id"], &answer["result"]), (&json!(slow), &json!({})));
    client.begin("mute", json!({})).await;
    client.socket.close(None).await.unwrap();
    gateway.closed("ann", CloseCode::Normal).await;
    gateway.stop().await;
}

#[actix::test]
async fn join_and_leave_run_alone() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(&gateway, "ann").await;
    let slow = client.begin("join", json!({"displayName": "slow"})).await;
    let next = client.begin("keepalive", json!({"status": "idle"})).await;
    gateway.until("the slow join", || (gateway.script.running.load(Relaxed) == 1).then_some(())).await;
    assert_eq!(client.ask("{").await["error"]["code"], -32700, "no call");
    gateway.script.gate.notify_one();
    assert_eq!(client.next().await["id"], slow);
    let answer = client.next().await;
    assert_eq!((&answer["id"], &answer["result"]), (&json!(next), &json!({})));
    gateway.stop().await;
}

#[actix::test]
async fn early_calls_wait_for_session() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(&gateway, "patient").await;
    client.begin("join", json!({})).await;
    client.begin("leave", json!({})).await;
    assert_eq!(
        client.ask("{").await["error"]["code"],
        -32700,
        "an answer that needs no session waited for one"
    );
    gateway.script.gate.notify_one();
    assert_eq!(client.next().await["result"], json!({ "user": "patient" }));
    assert_eq!(client.next().await["result"], json!({}));
    gateway.stop().await;
}

#[actix::test]
async fn ended_session_closes_connection_with_code() {
    let gateway = Gateway::start().await;
    let mut stranger = Client::connect(&gateway, "stranger").await;
    assert_eq!(stranger.closed().await, (4404, "room_gone".into()));
    let mut gina = Client::connect(&gateway, "gina").await;
    assert_eq!(gina.call("join", json!({"displayName": "closed"})).await, json!({ "user": "gina" }));
    let said = gina.next().await;
    assert_eq!((&said["method"], said.get("id")), (&json!("roomClosed"), None));
    assert_eq!(gina.closed().await, (4410, "room_closed".into()));
    gateway.closed("gina", CloseCode::RoomClosed).await;
    let mut unlucky = Client::connect(&gateway, "unlucky").await;
    unlucky.begin("join", json!({"displayName": "panic"})).await;
    assert_eq!(unlucky.closed().await, (1011, "internal".into()));
    gateway.closed("unlucky", CloseCode::Internal).await;
    gateway.connections(0).await;
    gateway.stop().await;
}

#[actix::test]
async fn early_disconnect_leaves_no_session() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(&gateway, "patient").await;
    client.socket.close(None).await.unwrap();
    client.cut().await;
    assert!(!gateway.script.has_departed("patient"));
    gateway.script.gate.notify_one();
    gateway.closed("patient", CloseCode::Normal).await;
    gateway.connections(0).await;
    gateway.stop().await;
}

#[actix::test]
async fn stopping_node_closes_clients_as_draining() {
    let gateway = Gateway::start().await;
    let mut clients = Vec::new();
    for i in 0..20 {
        clients.push(Client::connect(&gateway, &format!("user-{i}")).await);
    }
    gateway.connections(20).await;
    let told = futures::future::join_all(clients.iter_mut().map(Client::closed));
    let (told, ()) = tokio::join!(told, gateway.shut_down());
    assert_eq!(told, vec![(4503, "draining".to_owned()); 20]);
    let refused = Client::open(gateway.address, &format!("?token={}", gateway.token("late")), &[]).await;
    let refused = refused.map(|_| ()).expect_err("the gateway is closed");
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("gateway_unavailable")));
    gateway.stop().await;
}

#[actix::test]
async fn stop_before_actor_starts_closes_client() {
    let (queue, made) = stopped_on_arrival().await;
    assert_eq!(made, 0, "the client's actor was stopped before its start");
    let frames = stream::poll_fn(|task| queue.poll_next(task)).collect::<Vec<_>>();
    let frames = in_time("the end of the queue", frames).await;
    assert_eq!(frames, [OutboundFrame::Close(CloseCode::Draining)]);
}

fn offer(len: usize) -> String {
    let sdp = json!({"type": "offer", "sdp": format!("{:<len$}", "v=0\r\n")});
    json!({"jsonrpc": "2.0", "id": 1, "method": "offer", "params": {"sdp": sdp}}).to_string()
}

//! One client out of two hundred that sends calls and does not read.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::SinkExt;
use futures::future::join_all;
use serde_json::json;
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async};

use crate::support::caller::Caller;
use crate::support::fault_table::recovered;
use crate::support::node::{Node, request};
use crate::support::report;
use crate::support::{PATIENCE, pause_async};

const ROOM: &str = "live";
const OTHERS: usize = 199;
/// Length of a call's id. An answer repeats the id, so each answer is almost as large as a frame may be.
const ID: usize = 60_000;
/// Interval between calls. Their rate is below `ws.rate`, so the server can close the client only because the
/// client does not read.
const BETWEEN: Duration = Duration::from_millis(60);

#[actix::test]
async fn slow_consumer_is_closed_alone() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let connect =
        async |n: usize| Caller::connect(&node.ws, &token(&node, &format!("user-{n}")).await, "").await;
    let mut others = join_all((0..OTHERS).map(connect)).await;
    let before = slowest_but_one_percent(&mut others).await;

    let mut deaf = deaf(&node).await;
    let flood = async {
        let params = json!({ "status": "idle" });
        let call = json!({ "jsonrpc": "2.0", "id": "x".repeat(ID), "method": "keepalive", "params": params });
        let end = Instant::now() + PATIENCE;
        while deaf.send(Message::text(call.to_string())).await.is_ok() {
            assert!(Instant::now() < end, "the client that does not read is never closed");
            // Sleep: the pace of a client that respects the rate limit.
            tokio::time::sleep(BETWEEN).await;
        }
    };
    let ((), during) = futures::join!(flood, slowest_but_one_percent(&mut others));
    let metrics = request("GET", &format!("{}/metrics", node.ops), &[], None).await.text();
    assert!(metrics.contains("stentor_ws_closed_total{reason=\"too_slow\"} 1"), "{metrics}");
    report(format!("99th percentile of the others' calls: {before:?} before, {during:?} beside it"));
    let goal = Duration::from_millis(10).max(Duration::from_millis(2 * before.as_millis() as u64));
    recovered(
        "a client of 200 that does not read: the others' calls, p99",
        "its own connection",
        during,
        goal,
    );
    let connections = node.states_of("ws_client").await.len();
    assert_eq!(connections, OTHERS);
}

/// Returns the 99th percentile of the response times of three sequential calls per caller.
async fn slowest_but_one_percent(callers: &mut [Caller]) -> Duration {
    let mut took = Vec::new();
    for _ in 0..3 {
        for caller in callers.iter_mut() {
            let since = Instant::now();
            let answer = caller.call("keepalive", json!({ "status": "idle" })).await;
            assert!(answer.as_ref().err().is_none_or(|error| error["closed"].is_null()), "{answer:?}");
            took.push(since.elapsed());
            pause_async().await;
        }
    }
    took.sort();
    took[took.len() * 99 / 100]
}

/// Opens a connection with the smallest possible receive buffer.
async fn deaf(node: &Node) -> WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>> {
    let gateway: SocketAddr = node.ws.trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(gateway).await.unwrap();
    let url = format!("ws://{gateway}/ws?token={}", token(node, "deaf").await);
    client_async(url, MaybeTlsStream::Plain(stream)).await.expect("an upgrade").0
}

async fn token(node: &Node, user: &str) -> String {
    let wanted = json!({ "role": "anchor", "userId": user });
    let made = node.post(&format!("/api/rooms/{ROOM}/users"), wanted).await;
    made.json()["token"].as_str().expect("a token").to_owned()
}

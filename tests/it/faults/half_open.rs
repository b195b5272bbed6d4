//! Half-open connections: the peer is gone, but the connection remains open, and nothing arrives on it.

use std::time::{Duration, Instant};

use serde_json::json;
use stentor::probe::Mode;

use crate::rooms::tuned_in;
use crate::support::caller::Caller;
use crate::support::external::on_janus;
use crate::support::fault_table::recovered;
use crate::support::janus::TestJanus;
use crate::support::node::Node;
use crate::support::studio::Studio;
use crate::support::tcp_proxy::TcpProxy;
use crate::support::{in_time, until};

const ROOM: &str = "live";
const FREED: Duration = Duration::from_secs(17);

#[actix::test]
async fn half_open_websocket_frees_its_lock() {
    let node = Node::start(&[]).await;
    let made = node.post("/api/rooms", json!({ "roomId": ROOM, "maxAnchors": 1, "start": true })).await;
    assert_eq!(made.status, 201);
    node.until_status(ROOM, "onair").await;
    let proxy = TcpProxy::start(node.ws.trim_start_matches("http://").parse().unwrap()).await;
    let token = token(&node, "anna").await;
    let mut anna = Caller::connect(&format!("http://{}", proxy.address()), &token, "&clientId=one").await;
    anna.call("join", json!({})).await.unwrap();
    let mut elsewhere = Caller::connect(&node.ws, &token, "&clientId=two").await;
    assert_eq!(elsewhere.closed().await, 4423, "the lock is held");

    proxy.freeze();
    let since = Instant::now();
    let in_again = until_joined(&node, &token);
    let mut anna = tokio::time::timeout(10 * FREED, in_again).await.expect("the lock is freed");
    recovered("half-open WebSocket: its lock is free", "the connection", since.elapsed(), FREED);
    until("one connection is left", async || node.states_of("ws_client").await.len() == 1).await;
    anna.call("keepalive", json!({ "status": "idle" })).await.unwrap();
}

#[actix::test]
async fn half_open_janus_link_recovers() {
    let janus = TestJanus::start().await;
    let direct = janus.janus.url().trim_start_matches("ws://").trim_end_matches('/').to_owned();
    let proxy = TcpProxy::start(direct.parse().unwrap()).await;
    let mut node = on_janus(&janus, &format!("ws://{}", proxy.address()), &[]);
    node.run();
    node.ready().await;
    node.room_on_air(ROOM).await;
    let studio = Studio::at(&janus.connect_options(), &node).await;
    let _speaker = studio.speak(&node, ROOM, 440).await;
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, 440.0).await;
    let (forwarders, ffmpeg) = (studio.forwarders(ROOM).await, node.children("ffmpeg"));
    let up = async || node.state_of("janus_connection").await["state"] == "up";

    proxy.freeze();
    let since = Instant::now();
    until("the node notices the loss of the link", async || !up().await).await;
    recovered("half-open Janus link: given up", "nothing: media go on", since.elapsed(), FREED);
    proxy.cut();
    proxy.heal();
    until("a new link is up", up).await;
    node.until_status(ROOM, "onair").await;
    let heard = listener.hear(Duration::from_secs(2)).await.unwrap();
    assert_eq!((heard.gaps, heard.violations), (vec![], vec![]), "heard throughout");
    assert_eq!((studio.forwarders(ROOM).await, node.children("ffmpeg")), (forwarders, ffmpeg));
}

/// Connects as another client of the same user, repeatedly until the lock is free.
async fn until_joined(node: &Node, token: &str) -> Caller {
    in_time("the lock is free", async {
        loop {
            let mut caller = Caller::connect(&node.ws, token, "&clientId=two").await;
            if caller.call("join", json!({})).await.is_ok() {
                return caller;
            }
        }
    })
    .await
}

async fn token(node: &Node, user: &str) -> String {
    let wanted = json!({ "role": "anchor", "userId": user });
    let made = node.post(&format!("/api/rooms/{ROOM}/users"), wanted).await;
    made.json()["token"].as_str().expect("a token").to_owned()
}

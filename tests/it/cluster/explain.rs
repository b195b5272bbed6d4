//! Data of the whole installation from one node: what the actors of a room wait for, and the figures of a
//! room that another node mixes.

use std::process::Stdio;
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use super::{LONG, ROOM, member, within};
use crate::support::etcd::Etcd;
use crate::support::node::{Node, request};
use crate::support::studio::Studio;

#[actix::test]
async fn explain_asks_every_node() {
    let etcd = Etcd::start();
    let desk = member(&etcd, "desk", "rooms,janus", &[("listen.relay", "127.0.0.1:0")]).await;
    let mut mixer = member(&etcd, "m1", "mixer", &[]).await;
    let gateless = member(&etcd, "other", "rooms", &[]).await;
    desk.room_on_air(ROOM).await;
    let text = explain(&desk).await;
    for part in [
        "live is on air.",
        "Its mixer is m1. It was chosen because: no other mixer took rooms.",
        "On node desk\n",
        "(janus_room): ",
        "On node m1\n",
        "(mixer_room): ",
        "Node other does not say what it does: it has no address for other nodes: set listen.relay there",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    let tree = request("GET", &format!("{}/dashboard/nodes/m1/actors", gateless.ops), &[], None).await;
    assert!(tree.json()["actors"]["children"].is_array(), "{}", tree.text());
    let nodes = request("GET", &format!("{}/dashboard/nodes", gateless.ops), &[], None).await;
    assert_eq!(nodes.json()["nodes"], serde_json::json!(["other", "desk", "m1"]));
    assert!(explain(&gateless).await.contains("(mixer_room): "), "from a node without an address");
    let room = desk.get(&format!("/api/rooms/{ROOM}")).await.json()["room"].clone();
    assert_eq!(room["mixer"]["reason"], "no other mixer took rooms", "{room:#}");
    // Without the token of nodes, the private address says nothing.
    let url = format!("{}/relay/node/rooms", mixer.hls);
    for token in [None, Some(("x-stentor-relay", "forged"))] {
        let refused = request("GET", &url, token.as_slice(), None).await;
        assert_eq!((refused.status, refused.code()), (401, "token_invalid".into()));
    }
    mixer.kill();
    within("the loss of the mixer is explained", LONG, async || {
        explain(&desk).await.contains("It waits: mixer m1 has no heartbeat")
    })
    .await;
}

#[actix::test]
async fn dashboard_shows_rooms_of_other_nodes() {
    let etcd = Etcd::start();
    let desk = member(&etcd, "desk", "rooms,janus", &[]).await;
    let _mixer = member(&etcd, "m1", "mixer", &[]).await;
    desk.room_on_air(ROOM).await;
    let client = awc::Client::builder().timeout(Duration::from_secs(60)).finish();
    let mut stream = client.get(format!("{}/dashboard/live", desk.ops)).send().await.unwrap();
    let mut text = String::new();
    let _speaker = Studio::managed(&desk).await.speak(&desk, ROOM, 440).await;
    let known = |room: &Value| room["mediaAgeMs"].is_u64() && room["mix"]["levelDb"].is_f64();
    loop {
        text += &String::from_utf8_lossy(&stream.next().await.unwrap().unwrap());
        let Some((event, rest)) = text.split_once("\n\n") else { continue };
        let data = event.strip_prefix("event: overview\ndata: ");
        let overview: Value = data.map_or(Value::Null, |data| serde_json::from_str(data).unwrap());
        if known(&overview["rooms"][0]) {
            return;
        }
        text = rest.to_owned();
    }
}

/// Runs `stentor explain` against the node and returns its output.
async fn explain(node: &Node) -> String {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.args(["explain", ROOM]).env("STENTOR_API", &node.api).env("STENTOR_OPS", &node.ops);
    let output = command.stderr(Stdio::inherit()).kill_on_drop(true).output();
    let output = tokio::time::timeout(crate::support::PATIENCE, output).await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

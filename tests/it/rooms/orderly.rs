//! Tests of a node's orderly shutdown, and of its log while nothing goes wrong.

use std::time::Duration;

use futures::FutureExt;
use serde_json::json;
use stentor::probe::{Listener, Mode};

use super::{node_on_etcd, tuned_in};
use crate::support::caller::Caller;
use crate::support::etcd::Etcd;
use crate::support::node::{Node, request, until_gone};
use crate::support::studio::{Studio, setting};
use crate::support::until;

/// Long watchdog, because a slow start on a busy machine must not cause a warning here.
const PATIENT: (&str, &str) = ("mixer.watchdog", "30s");

#[actix::test]
async fn orderly_restart_continues_without_jump_embedded() {
    continues_without_a_jump(Node::start(&[PATIENT]).await).await;
}

#[actix::test]
async fn orderly_restart_continues_without_jump_etcd() {
    let etcd = Etcd::start();
    // A gateway on etcd without Redis causes a warning.
    let quiet = ("node.roles", "rooms,janus,mixer,hls");
    continues_without_a_jump(node_on_etcd(&etcd, &[PATIENT, quiet]).await).await;
}

async fn continues_without_a_jump(mut node: Node) {
    node.room_on_air("steady").await;
    let mut listener = Listener::open(&node.target("steady").await, Mode::Parts).await.unwrap();
    listener.hear(Duration::from_secs(3)).await.unwrap();
    let children = [node.children("ffmpeg"), node.children("janus")].concat();
    assert_eq!(children.len(), 2);
    let (last, complete) = (listener.playlist().edge().0, last_complete(&listener));
    // A blocking reload is in progress while the node ends.
    let mut hearing = Box::pin(listener.hear(Duration::from_secs(60)));
    assert!((&mut hearing).now_or_never().is_none());
    let status = node.stop();
    drop(hearing);
    assert_eq!(status.code(), Some(0), "{}", node.output());
    until_gone(&children);
    assert_eq!(node.problems(), Vec::<String>::new());

    node.run();
    node.ready().await;
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    let listener = Listener::open_by(&node.target("steady").await, Mode::Parts, deadline).await.unwrap();
    let first = listener.playlist().media_sequence;
    // Either the shutdown closed the open segment, or that segment had closed before and another had begun.
    assert!((complete + 1..=last + 3).contains(&first), "{first} after {complete} and {last}");
}

#[actix::test]
async fn normal_room_life_logs_no_warning() {
    let mut node = Node::start(&[PATIENT, ("log.filter", "debug")]).await;
    let created = node.post("/api/rooms", json!({ "roomId": "calm", "pin": "qZ7wX4" })).await;
    assert_eq!(created.status, 201);
    assert_eq!(node.post("/api/rooms/calm/start", json!({})).await.status, 200);
    node.until_status("calm", "onair").await;
    let studio = Studio::managed(&node).await;
    let speaker = studio.speak(&node, "calm", 440).await;
    let target = node.target("calm").await;
    let mut listener = tuned_in(&target, Mode::Parts, 440.0).await;
    listener.hear(Duration::from_secs(2)).await.unwrap();
    let with_token = format!("{}/hls/rooms/calm/index.m3u8?token={}", node.hls, target.token);
    let playlist = request("GET", &with_token, &[], None).await;
    assert!(playlist.text().contains(&target.token), "the token has been through the node's hands");
    drop(speaker);
    assert_eq!(node.post("/api/rooms/calm/stop", json!({})).await.status, 200);
    node.until_status("calm", "created").await;
    assert_eq!(node.post("/api/rooms/calm/start", json!({})).await.status, 200);
    node.until_status("calm", "onair").await;
    assert_eq!(node.delete("/api/rooms/calm").await.status, 200);
    until("the room goes", async || node.get("/api/rooms/calm").await.status == 404).await;
    let secrets = secrets(&node, &studio, &target.token);
    drop(studio);
    assert_eq!(node.stop().code(), Some(0));

    assert_eq!(node.problems(), Vec::<String>::new());
    let log = node.output();
    assert!(
        log.contains("\"DEBUG\"") && log.contains("calm"),
        "the log must have lines at DEBUG about the room"
    );
    for (what, secret) in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "{what}");
    }
}

#[actix::test]
async fn stop_with_anchors_logs_no_warning() {
    let mut node = Node::start(&[PATIENT]).await;
    node.room_on_air("calm").await;
    let invited = node.post("/api/rooms/calm/users", json!({ "role": "anchor" })).await.json();
    let mut ann = Caller::connect(&node.ws, invited["token"].as_str().expect("a token"), "").await;
    let (_, _media) = ann.speak(440).await;
    assert_eq!(node.stop().code(), Some(0));
    assert_eq!(node.problems(), Vec::<String>::new());
    let log = node.output();
    assert!(!log.contains("SIGKILL") && log.contains("FFmpeg stopped"), "{log}");
}

/// Returns secrets that must not be in a log, with their descriptions.
fn secrets(node: &Node, studio: &Studio, token: &str) -> Vec<(&'static str, String)> {
    let folder = node.data_dir().join("janus");
    let made = std::fs::read_to_string(node.data_dir().join("secrets.json")).unwrap();
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    vec![
        ("the PIN", "qZ7wX4".to_owned()),
        ("the token", token.to_owned()),
        ("the token's signature", token.rsplit_once('.').unwrap().1.to_owned()),
        ("the secret of the keys", text(&made["hls"])),
        ("the secret of the tokens", text(&made["jwt"])),
        ("Janus's API secret", setting(&folder, "janus.jcfg", "api_secret")),
        ("Janus's admin key", setting(&folder, "janus.plugin.audiobridge.jcfg", "admin_key")),
        ("the Janus room's secret", studio.secret_of("calm").0),
        ("SDP", "v=0".to_owned()),
        ("SDP", "a=rtpmap".to_owned()),
    ]
}

fn last_complete(listener: &Listener) -> u64 {
    let complete = listener.playlist().segments.iter().rev().find(|s| s.uri.is_some());
    complete.expect("a complete segment").sequence
}

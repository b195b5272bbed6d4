//! Tests of stopped and deleted rooms: what is removed, what stays, and where the next start continues.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use stentor::etcd::EtcdStore;
use stentor::probe::m3u8::Playlist;
use stentor::probe::{Listener, Mode, ProbeError};
use stentor::store::Store;

use super::{node_on_etcd, tuned_in};
use crate::support::etcd::Etcd;
use crate::support::node::{self, Node, until_gone};
use crate::support::studio::Studio;
use crate::support::{PATIENCE, until};

const SIP: Duration = Duration::from_secs(1);

#[actix::test]
async fn delete_on_air_leaves_nothing_embedded() {
    nothing_is_left(&Node::start(&[("mixer.rtp_ports", &free_pair())]).await).await;
}

#[actix::test]
async fn delete_on_air_leaves_nothing_etcd() {
    let etcd = Etcd::start();
    let node = node_on_etcd(&etcd, &[("mixer.rtp_ports", &free_pair())]).await;
    let store = EtcdStore::connect(&[etcd.endpoint()], PATIENCE).await.unwrap();
    node.room_on_air("before").await;
    let keys = keys(&*store, "/rooms/before/").await;
    assert_eq!(keys, ["janus", "livemeta", "meta", "mixer", "sequence"]);
    node.delete("/api/rooms/before").await;
    until_deleted(&node, "before").await;
    nothing_is_left(&node).await;
    assert_eq!(store.list("/rooms/").await.unwrap().entries, []);
}

/// Checks that a deleted room leaves nothing. The mixer has one pair of ports, so a second room shows that
/// the first room has returned the pair.
async fn nothing_is_left(node: &Node) {
    node.room_on_air("short").await;
    let studio = Studio::managed(node).await;
    let _speaker = studio.speak(node, "short", 440).await;
    let target = node.target("short").await;
    let listener = tuned_in(&target, Mode::Parts, 440.0).await;
    let key = key_url(node, "short", listener.playlist());
    let bearer = format!("Bearer {}", target.token);
    let key_answer = async || node::request("GET", &key, &[("Authorization", &bearer)], None).await;
    let given = key_answer().await;
    assert_eq!((given.status, given.body.len(), given.header("cache-control")), (200, 16, Some("no-store")));
    let (ffmpeg, port) = (node.children("ffmpeg"), studio.forwarders("short").await[0].port);

    let deleted = node.delete("/api/rooms/short").await;
    assert_eq!((deleted.status, &deleted.json()["room"]["status"]), (200, &json!("removing")));
    let refused = key_answer().await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "key_refused"));
    assert!(ended(listener).await.ended);
    until_deleted(node, "short").await;
    until_gone(&ffmpeg);
    assert_eq!(studio.rooms_of("short").await, []);
    assert_free(port);
    for kind in ["janus_room", "mixer_room", "room"] {
        until("the actors of the room end", async || node.states_of(kind).await.is_empty()).await;
    }
    assert_eq!(key_answer().await.status, 403);

    node.room_on_air("next").await;
    assert_eq!(studio.forwarders("next").await[0].port, port);
    node.delete("/api/rooms/next").await;
    until_deleted(node, "next").await;
}

#[actix::test]
async fn restarted_room_continues_with_new_key() {
    let node = Node::start(&[]).await;
    node.room_on_air("again").await;
    let mut listener = Listener::open(&node.target("again").await, Mode::Parts).await.unwrap();
    // Keys are given out only while the room is on air.
    listener.hear(SIP).await.unwrap();
    let stopped = node.post("/api/rooms/again/stop", json!({})).await;
    assert_eq!(stopped.status, 200);
    let old = ended(listener).await;
    node.until_status("again", "created").await;
    until_gone(&node.children("ffmpeg"));
    let studio = Studio::managed(&node).await;
    assert_eq!(studio.marked_rooms().await, Vec::<String>::new());

    let started = node.post("/api/rooms/again/start", json!({})).await;
    assert_eq!(started.status, 200);
    node.until_status("again", "onair").await;
    let new = Listener::open(&node.target("again").await, Mode::Parts).await.unwrap();
    let last = old.segments.last().unwrap();
    let first = new.playlist().segments.first().unwrap();
    assert_eq!(first.sequence, last.sequence + 1);
    assert_eq!(first.discontinuity, last.discontinuity, "there is a discontinuity before the first segment");
    assert_ne!(key_url(&node, "again", new.playlist()), key_url(&node, "again", &old));
}

#[actix::test]
async fn stopped_room_can_be_recreated() {
    let node = Node::start(&[]).await;
    let first = node.room_on_air("phoenix").await;
    node.post("/api/rooms/phoenix/stop", json!({})).await;
    node.until_status("phoenix", "created").await;
    assert_eq!(node.delete("/api/rooms/phoenix").await.status, 200);
    assert_eq!(node.get("/api/rooms/phoenix").await.status, 404);
    let second = node.room_on_air("phoenix").await;
    assert!(second["epoch"].as_u64() > first["epoch"].as_u64(), "{first} {second}");
    Listener::open(&node.target("phoenix").await, Mode::Segments).await.unwrap();
}

#[actix::test]
async fn never_started_room_is_deleted_immediately() {
    let node = Node::start(&[]).await;
    assert_eq!(node.post("/api/rooms", json!({ "roomId": "idle" })).await.status, 201);
    let deleted = node.delete("/api/rooms/idle").await;
    assert_eq!((deleted.status, deleted.json()), (200, json!({ "success": true })));
    assert_eq!(node.get("/api/rooms/idle").await.code(), "room_not_found");
    assert_eq!(node.delete("/api/rooms/idle").await.status, 404);
}

#[actix::test]
async fn frozen_ffmpeg_does_not_delay_deletion() {
    let node = Node::start(&[]).await;
    node.room_on_air("frozen").await;
    let ffmpeg = node.ffmpeg().await;
    node::signal(ffmpeg, Signal::STOP);
    node.delete("/api/rooms/frozen").await;
    until_deleted(&node, "frozen").await;
    until_gone(&[ffmpeg]);
}

/// Listens to the end and returns the last playlist.
async fn ended(mut listener: Listener) -> Playlist {
    let end = async {
        loop {
            match listener.hear(SIP).await {
                Ok(_) => {}
                Err(ProbeError::Ended) => return listener.playlist().clone(),
                Err(other) => panic!("{other}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, end).await.expect("the playlist ends")
}

async fn until_deleted(node: &Node, room: &str) {
    let path = format!("/api/rooms/{room}");
    until("the room goes", async || node.get(&path).await.status == 404).await;
}

/// Returns the URL of the newest key.
fn key_url(node: &Node, room: &str, playlist: &Playlist) -> String {
    let key = playlist.segments.iter().rev().find_map(|s| s.key.as_ref()).expect("a key");
    let base = url::Url::parse(&format!("{}/hls/rooms/{room}/index.m3u8", node.hls)).unwrap();
    base.join(&key.uri).unwrap().to_string()
}

/// Returns the last path segments of the keys.
async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    let entries = store.list(prefix).await.unwrap().entries;
    let mut keys: Vec<_> = entries.iter().map(|e| e.key.strip_prefix(prefix).unwrap().to_owned()).collect();
    keys.sort();
    keys
}

/// Returns a range of two free UDP ports, an even one and the next, above the ranges of other nodes.
fn free_pair() -> String {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let mut tries = (0..33).map(|_| (std::process::id() as u16 % 33 + TAKEN.fetch_add(1, Relaxed)) % 33);
    let port = tries.find_map(|n| Some(32_700 + 2 * n).filter(|p| is_free(*p) && is_free(p + 1)));
    let port = port.expect("a free pair");
    format!("{port}-{}", port + 1)
}

fn assert_free(port: u16) {
    assert!(is_free(port) && is_free(port + 1), "{port}");
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind(("0.0.0.0", port)).is_ok()
}

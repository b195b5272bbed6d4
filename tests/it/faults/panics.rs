//! A panic in an actor of every kind, one after the other, on a node with a room on air.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stentor::domain::signalling::CloseCode;
use stentor::probe::listener::Target;
use stentor::probe::{Listener, Mode};

use crate::rooms::{node_on_etcd, tuned_in};
use crate::support::caller::Caller;
use crate::support::etcd::Etcd;
use crate::support::fault_table::recovered;
use crate::support::node::Node;
use crate::support::report;
use crate::support::{PATIENCE, pause_async, until};

const ROOM: &str = "live";
const HZ: f64 = 440.0;
const HEARD_AGAIN: Duration = Duration::from_millis(1500);
/// Duration of media that the listener takes at a time.
const SIP: Duration = Duration::from_millis(200);
/// Actor kinds that are not restarted: their end releases their resources, and their client starts over.
const NEVER_RESTARTED: [&str; 2] = ["media_session", "ws_client"];

#[actix::test]
async fn actor_panics_interrupt_rooms_briefly() {
    let etcd = Etcd::start();
    let node = node_on_etcd(&etcd, &[]).await;
    let ear = node_on_etcd(&etcd, &[("node.roles", "hls")]).await;
    node.room_on_air(ROOM).await;
    let made = node.post("/api/rooms/live/users", json!({ "role": "anchor", "userId": "anna" })).await.json();
    let token = made["token"].as_str().unwrap();
    let mut anna = Caller::connect(&node.ws, token, "&clientId=a").await;
    let (joined, media) = anna.speak(HZ as u32).await;
    let target = Target { base_url: ear.hls.clone(), ..node.target(ROOM).await };
    let mut listener = tuned_in(&target, Mode::Parts, HZ).await;

    // After a panic of the connection's actor, the connection is closed, and the client resumes its media.
    node.panic(&one_of_each_kind(&node).await["ws_client"]).await;
    assert_eq!(anna.closed().await, CloseCode::Internal.number());
    let (mut anna, again) = Caller::come_back(&node.ws, token, &joined["jtoken"]).await;
    assert_eq!(again["resume"], true);
    let sent = media.progress().sent;
    media.until("media went on", |p| p.sent > sent).await;
    // After a panic of the media session's actor, the client is told to reconnect, and resumes the session
    // that is still in Janus.
    node.panic(&one_of_each_kind(&node).await["media_session"]).await;
    anna.note("reconnect", |_| true).await;
    let (mut anna, again) = Caller::come_back(&node.ws, token, &again["jtoken"]).await;
    assert_eq!(again["resume"], true);
    let sent = media.progress().sent;
    media.until("media went on", |p| p.sent > sent).await;
    anna.call("keepalive", json!({ "status": "onair" })).await.unwrap();
    listener.hear_until(HZ, Instant::now() + PATIENCE).await.unwrap();

    let mut worst = (Duration::ZERO, String::new());
    let mut kinds = BTreeSet::new();
    for node in [&node, &ear] {
        for (kind, path) in one_of_each_kind(node).await {
            if NEVER_RESTARTED.contains(&kind.as_str()) || !kinds.insert(kind.clone()) {
                continue;
            }
            let silence = longest_silence(&mut listener, restarted(node, &path)).await;
            report(format!("{kind} ({path}): silence {silence:?}"));
            worst = worst.max((silence, kind));
        }
    }
    assert!(kinds.len() >= 19, "{kinds:?}");
    let fault = format!("panic in an actor of each kind, the worst: {}", worst.1);
    recovered(&fault, "a moment of media", worst.0, HEARD_AGAIN);

    // Janus itself was restarted with its actor.
    let (mut anna, _) = Caller::come_back(&node.ws, token, &again["jtoken"]).await;
    drop(media);
    let _media = anna.offer(880).await;
    listener.hear_until(880.0, Instant::now() + PATIENCE).await.unwrap();
}

/// Makes the actor panic and waits until it is alive again and the room is on air.
async fn restarted(node: &Node, path: &str) {
    let before = started_at(node, path).await;
    node.panic(path).await;
    until("the actor is restarted", async || {
        started_at(node, path).await.is_some_and(|at| Some(at) > before)
    })
    .await;
    if !node.api.is_empty() {
        node.until_status(ROOM, "onair").await;
    }
}

/// Returns the longest silence of a listener that listens until `done` completes, and a second longer.
async fn longest_silence(listener: &mut Listener, done: impl Future<Output = ()>) -> Duration {
    let (is_done, mut longest) = (Cell::new(false), Duration::ZERO);
    let doing = async {
        done.await;
        is_done.set(true);
    };
    let listening = async {
        let (mut last, mut more) = (Instant::now(), 5);
        while more > 0 {
            // Fails while the room is rebuilt; a player retries, too.
            if listener.hear(SIP).await.is_ok() {
                longest = longest.max(last.elapsed().saturating_sub(SIP));
                last = Instant::now();
                more -= u32::from(is_done.get());
            } else {
                pause_async().await;
            }
            assert!(last.elapsed() < PATIENCE, "the listener hears nothing any more");
        }
    };
    futures::join!(doing, listening);
    longest
}

/// Returns the path of the first actor of each kind.
async fn one_of_each_kind(node: &Node) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect(&node.actors().await, &mut found);
    found
}

fn collect(actor: &Value, found: &mut BTreeMap<String, String>) {
    let of = |what: &str| actor[what].as_str().unwrap().to_owned();
    found.entry(of("kind")).or_insert_with(|| of("path"));
    actor["children"].as_array().into_iter().flatten().for_each(|child| collect(child, found));
}

/// Returns the start time of the actor's incarnation, once it is alive.
async fn started_at(node: &Node, path: &str) -> Option<u64> {
    let tree = node.actors().await;
    find(&tree, path)
        .filter(|actor| actor["status"] == "alive")
        .and_then(|actor| actor["started_at"].as_u64())
}

fn find<'a>(actor: &'a Value, path: &str) -> Option<&'a Value> {
    if actor["path"] == path {
        return Some(actor);
    }
    actor["children"].as_array()?.iter().find_map(|child| find(child, path))
}

//! Drains of modules: by a cordon label, and by the orderly shutdown of their node.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use stentor::probe::{Listener, Mode};

use super::{Cluster, HZ, LONG, ROOM, within};
use crate::rooms::tuned_in;
use crate::support::node::signal;
use crate::support::report;

/// Asserts that the window holds segment `last` of the previous mixer and continues after it without a gap.
/// The segment may not have begun when the caller read `last`, so this function waits until `last + 1` is
/// listed.
async fn assert_window_continues(listener: &mut Listener, last: u64) {
    let deadline = Instant::now() + LONG;
    while listener.playlist().segments.last().is_none_or(|segment| segment.sequence <= last) {
        assert!(Instant::now() < deadline, "segment {} does not appear", last + 1);
        listener.hear(Duration::from_millis(500)).await.unwrap();
    }
    let numbers: Vec<u64> = listener.playlist().segments.iter().map(|segment| segment.sequence).collect();
    assert!(numbers.contains(&last), "{numbers:?} lacks {last}: the window was not kept");
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "{numbers:?} has a gap");
}

#[actix::test]
async fn draining_mixer_empties_and_is_drained() {
    let cluster = Cluster::start(2).await;
    let (_speaker, mut listener) = cluster.on_air().await;
    let left = cluster.owner().await;
    listener.hear(Duration::from_secs(2)).await.unwrap();
    let last = listener.playlist().edge().0;
    let mark = format!("/api/modules/mixers/m{}/mark", left + 1);
    let since = Instant::now();
    assert_eq!(cluster.desk.put(&mark, json!({ "label": "draining" })).await.status, 200);
    within("the mixer is drained", LONG, async || module(&cluster, left).await["mark"] == "drained").await;
    report(format!("drained after {:?}", since.elapsed()));
    let shown = module(&cluster, left).await;
    assert_eq!((&shown["roomsLeft"], &shown["pickable"]), (&json!(0), &json!(false)));
    assert_eq!(module(&cluster, 1 - left).await["roomsLeft"], Value::Null);
    let (_, mut listener) =
        cluster.heard_from_another(left, "a mixer is emptied: a new listener hears", since).await;
    assert_window_continues(&mut listener, last).await;
    let idle = async || cluster.mixers[left].states_of("mixer_room").await.is_empty();
    within("no room runs on the drained mixer", LONG, idle).await;
    assert_eq!(cluster.desk.delete(&mark).await.status, 200);
    assert_eq!(module(&cluster, left).await["pickable"], true);
    assert_eq!(cluster.owner().await, 1 - left, "the room went back");
}

#[actix::test]
async fn stopping_mixer_node_moves_rooms_first() {
    let mut cluster = Cluster::start(2).await;
    let (_speaker, _) = cluster.on_air().await;
    let left = cluster.owner().await;
    assert_eq!(cluster.mixers[left].stop().code(), Some(0));
    let since = Instant::now();
    assert_eq!(cluster.owner().await, 1 - left, "the room had not moved when its node ended");
    let (_, mut listener) =
        cluster.heard_from_another(left, "TERM to a mixer node: when it has ended, heard", since).await;
    cluster.mixers[left].run();
    cluster.mixers[left].ready().await;
    assert_eq!(module(&cluster, left).await["pickable"], true, "the mark has gone with the node");

    // Now restart the other mixer, as in a rolling restart.
    assert_eq!(cluster.mixers[1 - left].stop().code(), Some(0));
    assert_eq!(cluster.owner().await, left);
    drop(listener.hear(Duration::from_millis(100)).await);
    let mut listener = tuned_in(&cluster.target(left).await, Mode::Parts, HZ).await;
    assert!(listener.hear(Duration::from_secs(1)).await.unwrap().level(HZ) > 0.03);
    assert_eq!(cluster.mixers[left].stop().code(), Some(0), "there is nobody left: it ends at once");
    assert_eq!(cluster.desk.delete(&format!("/api/rooms/{ROOM}")).await.status, 200);
}

/// Signals the node's FFmpeg, too, as systemd does by default (`KillMode=control-group`): it must keep
/// running until the drain is over.
#[actix::test]
async fn drain_survives_signal_to_children() {
    let mut cluster = Cluster::start(2).await;
    let (_speaker, mut listener) = cluster.on_air().await;
    let left = cluster.owner().await;
    listener.hear(Duration::from_secs(2)).await.unwrap();
    let last = listener.playlist().edge().0;
    let (since, children) = (Instant::now(), cluster.mixers[left].children("ffmpeg"));
    assert_eq!(children.len(), 1);
    signal(children[0], Signal::TERM);
    cluster.mixers[left].signal(Signal::TERM);
    assert_eq!(cluster.mixers[left].ended().code(), Some(0));
    let (_, mut listener) =
        cluster.heard_from_another(left, "TERM to a node and its FFmpeg: heard", since).await;
    assert_window_continues(&mut listener, last).await;
    let log = cluster.mixers[left].log();
    let is_end = |line: &&Value| line["message"] == "FFmpeg stopped" || line["message"] == "FFmpeg exited";
    let ends: Vec<&Value> = log.iter().filter(is_end).collect();
    assert!(matches!(ends[..], [one] if one["message"] == "FFmpeg stopped"), "{ends:?}");
    assert!(log.iter().all(|line| line["level"] != "ERROR"), "{log:?}");
}

async fn module(cluster: &Cluster, mixer: usize) -> Value {
    let modules = cluster.desk.get("/api/modules").await.json();
    let id = format!("m{}", mixer + 1);
    let all = modules["mixers"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|m| m["id"] == id).unwrap_or_default()
}

//! Tests of FFmpeg and Janus dying or freezing under a room: its listeners lose only a moment of media.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use stentor::probe::hearing::strongest_hz;
use stentor::probe::{Listener, Mode};

use super::tuned_in;
use crate::support::caller::Caller;
use crate::support::fault_table::recovered;
use crate::support::node::{Node, is_alive, signal, until_gone};
use crate::support::studio::{Speaker, Studio};
use crate::support::{PATIENCE, until};

#[actix::test]
async fn killed_ffmpeg_is_bridged_by_silence() {
    let (node, _speaker, mut listener) = on_air().await;
    for round in 1..=3 {
        let before = listener.playlist().edge().0;
        let victim = node.children("ffmpeg")[0];
        signal(victim, Signal::KILL);
        heard_on(&mut listener, "kill -9 FFmpeg", 6, Duration::from_millis(800)).await;
        assert!(listener.playlist().edge().0 <= before + 8, "round {round} jumped from {before}");
        until("one FFmpeg runs", async || node.children("ffmpeg").len() == 1).await;
        assert_ne!(node.children("ffmpeg"), [victim]);
    }
}

#[actix::test]
async fn a_frozen_ffmpeg_is_replaced() {
    let (node, _speaker, mut listener) = on_air().await;
    let victim = node.children("ffmpeg")[0];
    signal(victim, Signal::STOP);
    heard_on(&mut listener, "SIGSTOP FFmpeg", 9, Duration::from_secs(5)).await;
    assert!(!is_alive(victim));
    assert_eq!(node.children("ffmpeg").len(), 1);
    let exits: Vec<Value> = node.log().into_iter().filter(|l| l["message"] == "FFmpeg exited").collect();
    assert!(exits.iter().any(|l| l["pid"] == victim && l["why"] == "stalled"), "{exits:?}");
}

#[actix::test]
async fn killed_janus_restarts_with_its_rooms() {
    let (node, speaker, mut listener) = on_air().await;
    let (victim, ffmpeg) = (node.children("janus"), node.children("ffmpeg"));
    let since = Instant::now();
    signal(victim[0], Signal::KILL);
    until_gone(&victim);
    drop(speaker);
    until("another Janus runs", async || node.children("janus").len() == 1).await;
    let link = async || node.state_of("janus_connection").await["state"] == "up";
    until("the node is connected to it", link).await;
    let studio = Studio::managed(&node).await;
    until("the room forwards again", async || studio.forwarders("live").await.len() == 1).await;
    let lost = "the calls, media until then";
    recovered("kill -9 Janus (managed): rooms and forwarders", lost, since.elapsed(), Duration::from_secs(1));
    let _speaker = studio.speak(&node, "live", 660).await;
    let heard = listener.hear_until(660.0, Instant::now() + PATIENCE).await.unwrap();
    assert_eq!((heard.gaps, heard.violations), (vec![], vec![]));
    until_gone(&ffmpeg);
    assert_eq!(studio.marked_rooms().await, ["live"]);

    let process = &node.state_of("janus_process").await;
    let text = process["last_failure"]["text"].as_str().unwrap_or_default();
    assert!(text.contains("signal: 9"), "{process:#}");
    let restarts: u64 = process["restarts"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(restarts, 1, "{process:#}");
}

#[actix::test]
async fn a_frozen_janus_is_replaced() {
    let (node, _speaker, _listener) = on_air().await;
    let victim = node.children("janus");
    let since = Instant::now();
    signal(victim[0], Signal::STOP);
    until_gone_within_patience(&victim).await;
    recovered(
        "SIGSTOP Janus (managed): treated as dead",
        "the calls",
        since.elapsed(),
        Duration::from_secs(5),
    );
    let studio = async || {
        node.children("janus").len() == 1 && node.state_of("janus_connection").await["state"] == "up"
    };
    until("another Janus runs", studio).await;
    let studio = Studio::managed(&node).await;
    let _speaker = studio.speak(&node, "live", 660).await;
    tuned_in(&node.target("live").await, Mode::Parts, 660.0).await;
}

#[actix::test]
async fn anchors_reconnect_after_killed_janus() {
    let node = Node::start(&[]).await;
    node.room_on_air("live").await;
    let made = node.post("/api/rooms/live/users", json!({ "role": "anchor", "userId": "anna" })).await.json();
    let token = made["token"].as_str().unwrap();
    let mut anna = Caller::connect(&node.ws, token, "&clientId=a").await;
    let (joined, _media) = anna.speak(440).await;
    let mut listener = tuned_in(&node.target("live").await, Mode::Parts, 440.0).await;
    let victim = node.children("janus");
    let since = Instant::now();
    signal(victim[0], Signal::KILL);
    let told = anna.note("reconnect", |_| true).await;
    assert!(told["reason"].is_string(), "{told}");
    let (mut anna, again) = Caller::come_back(&node.ws, token, &joined["jtoken"]).await;
    assert_eq!(again["resume"], false);
    let _media = anna.offer(660).await;
    listener.hear_until(660.0, Instant::now() + PATIENCE).await.unwrap();
    let goal = Duration::from_secs(3);
    recovered("kill -9 Janus (managed): anchors heard", "media until then", since.elapsed(), goal);
    let studio = Studio::managed(&node).await;
    assert_eq!(
        (studio.marked_rooms().await, studio.forwarders("live").await.len()),
        (vec!["live".into()], 1)
    );
}

/// Puts the room `live` on air with a tone of 440 Hz and a listener.
async fn on_air() -> (Node, Speaker, Listener) {
    let node = Node::start(&[]).await;
    node.room_on_air("live").await;
    let speaker = Studio::managed(&node).await.speak(&node, "live", 440).await;
    let listener = tuned_in(&node.target("live").await, Mode::Parts, 440.0).await;
    (node, speaker, listener)
}

/// Listens across the fault that has just happened; asserts one timeline with a silence in it, and the tone
/// after it.
async fn heard_on(listener: &mut Listener, fault: &str, seconds: u64, goal: Duration) {
    let before = newest(listener);
    let heard = listener.hear(Duration::from_secs(seconds)).await.unwrap();
    assert_eq!((&heard.gaps, &heard.violations), (&vec![], &vec![]));
    assert_eq!(newest(listener), before, "no discontinuity");
    let silence = heard.longest_silence();
    assert!(silence > 0.0, "the fault is in what was heard");
    recovered(fault, "silence", Duration::from_secs_f64(silence), goal);
    let last = heard.pcm.len().saturating_sub(48_000);
    assert_eq!(strongest_hz(&heard.pcm[last..]), Some(440.0));
}

fn newest(listener: &Listener) -> Option<u64> {
    listener.playlist().segments.last().map(|s| s.discontinuity)
}

async fn until_gone_within_patience(pids: &[i32]) {
    until("the processes are killed", async || !pids.iter().any(|pid| is_alive(*pid))).await;
}

//! Two rooms recorded at once while fifty other rooms are on air on the same node.

use std::time::Duration;

use serde_json::json;
use stentor::probe::hearing::strongest_hz;
use stentor::probe::{Listener, Mode};

use super::players::{decode, longest_silence};
use crate::rooms::tuned_in;
use crate::support::node::{Node, request};
use crate::support::studio::Studio;
use crate::support::{report, until};

const OTHERS: usize = 50;
const RECORDED: [(&str, u32); 2] = [("tea", 440), ("coffee", 660)];
const SECONDS: f64 = 20.0;

#[actix::test]
async fn recordings_are_whole_beside_fifty_rooms() {
    let ports = ("mixer.rtp_ports", "30000-30199");
    let node = Node::start(&[ports, ("janus.capacity", "60"), ("mixer.capacity", "60")]).await;
    for n in 0..OTHERS {
        let made = node.post("/api/rooms", json!({ "roomId": format!("other-{n}"), "start": true })).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    for n in 0..OTHERS {
        node.until_status(&format!("other-{n}"), "onair").await;
    }
    let studio = Studio::managed(&node).await;
    let (mut speakers, mut listeners) = (Vec::new(), Vec::new());
    for (room, hz) in RECORDED {
        let wanted = json!({ "roomId": room, "start": true, "recordingMode": "always" });
        assert_eq!(node.post("/api/rooms", wanted).await.status, 201);
        node.until_status(room, "onair").await;
        speakers.push(studio.speak(&node, room, hz).await);
        listeners.push(tuned_in(&node.target(room).await, Mode::Parts, f64::from(hz)).await);
    }
    // Wait: the recordings grow in real time.
    let hear = |listener: Listener| async move {
        let mut listener = listener;
        listener.hear(Duration::from_secs_f64(SECONDS)).await.unwrap().longest_silence()
    };
    let live = futures::future::join_all(listeners.into_iter().map(hear)).await;

    // Both end before one is examined: the listeners heard the last seconds of both.
    let mut ids = Vec::new();
    for (room, _) in RECORDED {
        let id = node.get(&format!("/api/rooms/{room}")).await.json()["room"]["recording"].clone();
        ids.push(id.as_str().expect("it is recorded").to_owned());
        assert_eq!(node.post(&format!("/api/rooms/{room}/stop"), json!({})).await.status, 200);
    }

    for (((room, hz), id), live) in RECORDED.into_iter().zip(ids).zip(live) {
        let known = async || node.get(&format!("/api/recordings/{id}")).await.json()["recording"].clone();
        until("the recording is ready", async || known().await["state"] == "ready").await;
        let known = known().await;
        assert_eq!(known["lostSegments"], 0, "{known}");
        let whole = known["durationMs"].as_f64().unwrap() / 1000.0;
        assert!(whole > SECONDS, "{known}");

        // The listener heard these seconds, except for the last ones before the end of the room.
        let token = node.post(&format!("/api/recordings/{id}/token"), json!({})).await.json();
        let token = token["token"].as_str().expect("a token").to_owned();
        let range = format!("from={:.1}&to={whole:.1}", whole - SECONDS);
        let url = format!("{}/hls/recordings/{id}/recording.m4a?token={token}&{range}", node.hls);
        let file = tempfile::Builder::new().suffix(".m4a").tempfile().unwrap();
        std::fs::write(file.path(), &request("GET", &url, &[], None).await.body).unwrap();
        let pcm = decode(file.path());
        let (silence, tone) = (longest_silence(&pcm), strongest_hz(&pcm));
        report(format!("{room}: longest silence {silence:.2} s in the recording, {live:.2} s live"));
        assert!(tone.is_some_and(|tone| (tone - f64::from(hz)).abs() <= 20.0), "{tone:?}");
        assert!(silence <= live + 0.3, "{silence} s of silence; live: {live} s");
    }
}

//! Tests of a recording in common players: its playlist, a clip of it, and its files. Each player plays the
//! right tone for the whole duration.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use stentor::probe::Mode;
use stentor::probe::hearing::strongest_hz;

use super::players::{SLACK, decode, ffmpeg, longest_silence, mpv, open_folder, start, vlc};
use crate::rooms::tuned_in;
use crate::support::node::Node;
use crate::support::studio::Studio;
use crate::support::{report, until};

const ROOM: &str = "played";
const HZ: u32 = 440;
/// Longest time that the players are given, in seconds. The recording is shorter.
const SECONDS: u32 = 60;

#[actix::test]
async fn players_play_recordings_and_clips() {
    let node = Node::start(&[("recording.mode", "always")]).await;
    node.room_on_air(ROOM).await;
    let _speaker = Studio::managed(&node).await.speak(&node, ROOM, HZ).await;
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, f64::from(HZ)).await;
    let room = node.get(&format!("/api/rooms/{ROOM}")).await.json();
    let id = room["room"]["recording"].as_str().expect("a recording").to_owned();
    // Wait: the recording grows in real time.
    listener.hear(Duration::from_secs(14)).await.unwrap();
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    let known = async || node.get(&format!("/api/recordings/{id}")).await.json()["recording"].clone();
    until("the recording can be played", async || known().await["state"] == "ready").await;
    let whole = known().await["durationMs"].as_f64().unwrap() / 1000.0;
    let token = node.post(&format!("/api/recordings/{id}/token"), json!({})).await.json();
    let token = token["token"].as_str().unwrap().to_owned();
    let url =
        |name: &str, query: &str| format!("{}/hls/recordings/{id}/{name}?token={token}{query}", node.hls);
    let media = [
        ("playlist", url("index.m3u8", ""), whole),
        ("clip as a file", url("recording.m4a", "&from=4&to=10"), 6.0),
        ("M4A file", url("recording.m4a", ""), whole),
        ("Opus file", url("recording.opus", ""), whole),
    ];
    let folder = open_folder();
    let mut faults = Vec::new();
    for (what, url, seconds) in &media {
        for (player, command) in [("FFmpeg", ffmpeg as super::players::Start), ("mpv", mpv), ("VLC 3", vlc)] {
            let file = folder.path().join(format!("{player}-{what}.wav").replace(' ', "-"));
            start(command(url, &file, SECONDS).unwrap()).end(Duration::from_secs(SECONDS.into()) + SLACK);
            if !plays(&format!("{player}, {what}"), &file, *seconds) {
                faults.push(format!("{player}, {what}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
}

/// Returns true if the file has the tone for this number of seconds, without a long silence.
fn plays(name: &str, file: &Path, seconds: f64) -> bool {
    let pcm = decode(file);
    let (heard, silence, tone) = (pcm.len() as f64 / 48_000.0, longest_silence(&pcm), strongest_hz(&pcm));
    report(format!("{name}: {heard:.1} s of {seconds:.1}, {tone:?} Hz, longest silence {silence:.2} s"));
    let right = tone.is_some_and(|tone| (tone - f64::from(HZ)).abs() <= 20.0);
    // VLC leaves out up to half a second at the end.
    right && (heard - seconds).abs() < 1.0 && silence < 0.3
}

//! Tracks of recordings on real nodes: each has only its own anchor's sound, and is in sync with the mix.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use stentor::probe::{HeardAudio, Mode};

use crate::recording::decoded_from;
use crate::rooms::tuned_in;
use crate::support::caller::Caller;
use crate::support::node::{Node, request, signal, until_gone};
use crate::support::webrtc::WebRtcClient;
use crate::support::{PATIENCE, opus, pause_async, until};

const ROOM: &str = "tracks";
/// Samples per second.
const RATE: usize = 48_000;
/// Samples per window of the level measurement.
const WINDOW: usize = 480;
/// Samples from one window to the next: 1 ms.
const STEP: usize = 48;

/// Longest tolerated distance in milliseconds between a sound in the mix and in a track: the goal of 20, and
/// the resolution of the measurement. Measured: at most 13, also after stalls of Janus and late recordings.
const MOST: i64 = 24;
/// The same limit for a sound that a join or a fault cut. Measured: 44.
const MOST_IF_CUT: i64 = 150;
/// Time for which Janus stands still. Its mixer then takes the packets of this time at once.
const STALL: Duration = Duration::from_millis(150);

/// Anchor who sends a burst of 150 ms every second.
struct Anchor {
    caller: Caller,
    _media: WebRtcClient,
}

impl Anchor {
    /// Joins as `user` as soon as possible. Each second, a burst of the frequency `hz` begins `at` seconds
    /// after the start of the second.
    async fn join(node: &Node, user: &str, hz: u32, at: f64) -> Self {
        let deadline = Instant::now() + PATIENCE;
        let mut caller = loop {
            let mut caller = connect(node, user).await;
            match caller.call("join", json!({})).await {
                Ok(_) => break caller,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            pause_async().await;
        };
        let gate = format!("between(mod(t\\,1)\\,{at}\\,{})", at + 0.15);
        let source = format!("aevalsrc=0.3*sin(2*PI*{hz}*t)*{gate}:s=48000");
        let media = caller.publish(opus::frames(&source)).await;
        Self { caller, _media: media }
    }
}

async fn connect(node: &Node, user: &str) -> Caller {
    let path = format!("/api/rooms/{ROOM}/users");
    let made = node.post(&path, json!({ "role": "anchor", "userId": user })).await;
    Caller::connect(&node.ws, made.json()["token"].as_str().expect("a token"), "").await
}

/// Returns the level of a frequency in steps of 1 ms.
fn levels(pcm: &[f32], hz: f64) -> Vec<f32> {
    let starts = (0..pcm.len().saturating_sub(WINDOW)).step_by(STEP);
    let level = |start: usize| {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in pcm[start..start + WINDOW].iter().enumerate() {
            let phase = std::f64::consts::TAU * hz * n as f64 / RATE as f64;
            re += f64::from(*sample) * phase.cos();
            im += f64::from(*sample) * phase.sin();
        }
        (re.hypot(im) * 2.0 / WINDOW as f64) as f32
    };
    starts.map(level).collect()
}

/// Returns the times in milliseconds at which a burst begins.
fn bursts(pcm: &[f32], hz: f64) -> Vec<i64> {
    let levels = levels(pcm, hz);
    let loudest = levels.iter().copied().fold(0.0, f32::max);
    let mut begins: Vec<i64> = Vec::new();
    for (at, pair) in levels.windows(2).enumerate() {
        let at = at as i64;
        let rises = pair[0] < loudest * 0.3 && pair[1] >= loudest * 0.3;
        if rises && begins.last().is_none_or(|last| at - last > 300) {
            begins.push(at);
        }
    }
    begins
}

/// Returns, for each burst in the mix, the distance in milliseconds to the nearest burst in the track;
/// positive if the track is later. A burst that a fault cut in the mix or in the track may have no partner.
fn offsets(mix: &[i64], track: &[i64]) -> Vec<i64> {
    let nearest = |at: &i64| track.iter().map(|other| other - at).min_by_key(|distance| distance.abs());
    mix.iter().filter_map(nearest).filter(|distance| distance.abs() < 300).collect()
}

/// Returns the tracks of a recording, once there are `count`.
async fn tracks(node: &Node, id: &str, count: usize) -> Vec<Value> {
    let listed = async || {
        let known = node.get(&format!("/api/recordings/{id}")).await.json();
        known["recording"]["tracks"].as_array().cloned().unwrap_or_default()
    };
    until("the tracks are made", async || listed().await.len() == count).await;
    listed().await
}

async fn mix(node: &Node, id: &str) -> HeardAudio {
    let issued = node.post(&format!("/api/recordings/{id}/token"), json!({})).await.json();
    let token = issued["token"].as_str().expect("a token");
    decoded_from(&format!("{}/hls/recordings/{id}/recording.m4a?token={token}", node.hls))
}

/// Downloads a track and decodes it.
async fn track(node: &Node, id: &str, track: &Value, folder: &Path) -> HeardAudio {
    let file = node.get(&format!("/api/recordings/{id}/tracks/{}", track["number"])).await;
    assert_eq!((file.status, file.header("content-type")), (200, Some("audio/ogg")), "{file:?}");
    assert_eq!(json!(file.body.len()), track["bytes"]);
    let path = folder.join(format!("{}.opus", track["number"]));
    std::fs::write(&path, &file.body).unwrap();
    decoded_from(path.to_str().unwrap())
}

/// Ends the broadcast, and checks that each track has only its anchor's bursts, in sync with the mix.
/// `anchors`: users and frequencies, in the order of their tracks; `least`: number of bursts that each track
/// has in common with the mix.
async fn check(node: &Node, id: &str, anchors: &[(&str, f64)], least: usize) {
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    let made = tracks(node, id, anchors.len()).await;
    let users: Vec<_> = made.iter().map(|track| track["userId"].as_str().unwrap()).collect();
    assert_eq!(users, anchors.iter().map(|(user, _)| *user).collect::<Vec<_>>());
    let done = || node.log().into_iter().find(|line| line["message"] == "tracks of a recording made");
    until("the log says so", async || done().is_some()).await;
    let moved = done().and_then(|line| line["moved"].as_u64()).expect("they were compared with the mix");
    println!("{moved} tracks were moved");
    let scratch = tempfile::tempdir().unwrap();
    let (mix, mut far) = (mix(node, id).await, 0);
    for (listed, (user, hz)) in made.iter().zip(anchors) {
        let track = track(node, id, listed, scratch.path()).await;
        assert!(mix.pcm.len().abs_diff(track.pcm.len()) <= 48, "{} and {}", mix.pcm.len(), track.pcm.len());
        for (other, its) in anchors.iter().filter(|(other, _)| other != user) {
            assert!(track.level(*its) < 0.001, "{other} is in the track of {user}: {}", track.level(*its));
        }
        let found = offsets(&bursts(&mix.pcm, *hz), &bursts(&track.pcm, *hz));
        println!("{user}: the track is late by {found:?} ms");
        assert!(found.len() >= least, "{user}: {found:?}");
        assert!(found.iter().all(|late| late.abs() <= MOST_IF_CUT), "{user}: {found:?}");
        far += found.iter().filter(|late| late.abs() > MOST).count();
    }
    // Each anchor joins at most twice, and there is one fault.
    assert!(far <= 3 * anchors.len(), "{far} sounds are out of sync");
}

/// Starts a node that records each broadcast and its anchors, with a room on air. Returns the id of the
/// recording.
async fn recorded(settings: &[(&str, &str)]) -> (Node, String) {
    // The anchors send no keepalives.
    let always = [("recording.mode", "always"), ("recording.tracks", "true"), ("presence.timeout", "10m")];
    let node = Node::start(&[&always[..], settings].concat()).await;
    node.room_on_air(ROOM).await;
    let recording = async || {
        let room = node.get(&format!("/api/rooms/{ROOM}")).await.json();
        room["room"]["recording"].as_str().map(str::to_owned)
    };
    until("the room is recorded", async || recording().await.is_some()).await;
    until("Janus records the anchors", async || {
        node.data_dir().join("janus/tracks").exists() && recording_tracks(&node).await
    })
    .await;
    let id = recording().await.unwrap();
    (node, id)
}

/// Returns true if the actor of the Janus room has switched the recording of tracks on.
async fn recording_tracks(node: &Node) -> bool {
    let rooms = node.states_of("janus_room").await;
    rooms.iter().any(|room| room["observed"]["tracks"].is_string())
}

#[actix::test]
async fn tracks_are_in_sync_with_mix() {
    let (node, id) = recorded(&[]).await;
    let mut ann = Anchor::join(&node, "ann", 700, 0.1).await;
    let _bob = Anchor::join(&node, "Bob/é", 1_500, 0.6).await;
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, 700.0).await;
    listener.hear(Duration::from_secs(6)).await.unwrap();
    ann.caller.call("mute", json!({})).await.unwrap();
    listener.hear(Duration::from_secs(2)).await.unwrap();
    ann.caller.call("unmute", json!({})).await.unwrap();
    listener.hear(Duration::from_secs(4)).await.unwrap();
    // The mixer starts a new FFmpeg process.
    let before = node.children("ffmpeg");
    signal(before[0], Signal::KILL);
    until_gone(&before);
    listener.hear(Duration::from_secs(6)).await.unwrap();
    check(&node, &id, &[("Bob/é", 1_500.0), ("ann", 700.0)], 10).await;

    // No replay token opens a track, and the tracks are removed with the recording.
    let issued = node.post(&format!("/api/recordings/{id}/token"), json!({})).await.json();
    let token = issued["token"].as_str().unwrap();
    let replay = format!("{}/hls/recordings/{id}/tracks/1?token={token}", node.hls);
    assert_eq!(request("GET", &replay, &[], None).await.status, 404);
    assert_eq!(node.get(&format!("/api/recordings/{id}/tracks/9")).await.code(), "track_not_found");
    let folders = ["janus/tracks", "recordings/tracks"].map(|folder| node.data_dir().join(folder).join(&id));
    assert_eq!(folders.each_ref().map(|folder| folder.exists()), [false, true]);
    assert_eq!(node.delete(&format!("/api/recordings/{id}")).await.status, 200);
    until("the tracks are removed", async || !folders[1].exists()).await;
}

#[actix::test]
async fn stalls_of_janus_keep_tracks_in_sync() {
    let (node, id) = recorded(&[]).await;
    let _anchors = (Anchor::join(&node, "ann", 700, 0.1).await, Anchor::join(&node, "bob", 1_500, 0.6).await);
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, 700.0).await;
    for _ in 0..3 {
        listener.hear(Duration::from_secs(6)).await.unwrap();
        let janus = node.children("janus")[0];
        signal(janus, Signal::STOP);
        // Sleep: the stall.
        tokio::time::sleep(STALL).await;
        signal(janus, Signal::CONT);
    }
    listener.hear(Duration::from_secs(6)).await.unwrap();
    check(&node, &id, &[("ann", 700.0), ("bob", 1_500.0)], 15).await;
}

/// The length of the anchors' queues is not known then, so the tracks are only in sync if they are compared.
#[actix::test]
async fn recording_begun_late_has_synced_tracks() {
    let node = Node::start(&[("recording.tracks", "true"), ("presence.timeout", "10m")]).await;
    node.room_on_air(ROOM).await;
    let _anchors = (Anchor::join(&node, "ann", 700, 0.1).await, Anchor::join(&node, "bob", 1_500, 0.6).await);
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, 700.0).await;
    listener.hear(Duration::from_secs(2)).await.unwrap();
    let path = format!("/api/rooms/{ROOM}/recording");
    assert!(node.post(&path, json!({})).await.status < 300);
    until("Janus records the anchors", async || recording_tracks(&node).await).await;
    let room = node.get(&format!("/api/rooms/{ROOM}")).await.json();
    let id = room["room"]["recording"].as_str().expect("it is recorded").to_owned();
    listener.hear(Duration::from_secs(10)).await.unwrap();
    check(&node, &id, &[("ann", 700.0), ("bob", 1_500.0)], 5).await;
}

#[actix::test]
async fn killed_janus_and_node_keep_tracks() {
    let (mut node, id) = recorded(&[]).await;
    let anchors = (Anchor::join(&node, "ann", 700, 0.1).await, Anchor::join(&node, "bob", 1_500, 0.6).await);
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, 700.0).await;
    listener.hear(Duration::from_secs(4)).await.unwrap();
    let januses = node.children("janus");
    signal(januses[0], Signal::KILL);
    until_gone(&januses);
    drop(anchors);
    until("Janus records again", async || recording_tracks(&node).await).await;
    let _anchors = (Anchor::join(&node, "ann", 700, 0.1).await, Anchor::join(&node, "bob", 1_500, 0.6).await);
    listener.hear(Duration::from_secs(6)).await.unwrap();

    // The node is killed before it can make the tracks.
    node.kill();
    node.run();
    node.ready().await;
    node.until_status(ROOM, "onair").await;
    check(&node, &id, &[("ann", 700.0), ("bob", 1_500.0)], 5).await;
}

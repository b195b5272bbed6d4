//! Steps of the wall clock of a node or of a Janus; the monotonic clock is not affected.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use stentor::probe::{Listener, Mode};

use super::rtp::status;
use crate::rooms::tuned_in;
use crate::support::caller::Caller;
use crate::support::external::on_janus;
use crate::support::fault_table::recovered;
use crate::support::janus::TestJanus;
use crate::support::node::{Node, request};
use crate::support::studio::Studio;
use crate::support::until;

const ROOM: &str = "live";
/// libfaketime shares memory between processes of one user only.
const CHILD_USER: (&str, &str) = ("node.child_user", "root");
const HOUR_MS: u64 = 3_600_000;
/// Duration of media that a listener hears after each clock step.
const HEARD: Duration = Duration::from_secs(3);
/// Goal for the time that the listener needs beyond the duration of the media.
const GOAL: Duration = Duration::from_secs(1);
/// Time limit for three watchdog timeouts of 2 s, then a new Janus room.
const STEP_GOAL: Duration = Duration::from_secs(20);

#[actix::test]
async fn clock_steps_change_only_token_expiry() {
    let clock = Clock::real();
    let settings = [("auth.listener_token_ttl", "30m"), ("auth.anchor_token_ttl", "6h"), CHILD_USER];
    // This Janus uses the real clock. The next test steps the clock of a Janus.
    let janus = TestJanus::start().await;
    let mut node = on_janus(&janus, janus.janus.url(), &settings);
    node.environment(clock.environment());
    node.run();
    node.ready().await;
    node.room_on_air(ROOM).await;
    let (mut edge, mut late) = (0, Duration::ZERO);
    let invited =
        node.post("/api/rooms/live/users", json!({ "role": "anchor", "userId": "ann" })).await.json();
    let mut ann = Caller::connect(&node.ws, invited["token"].as_str().unwrap(), "").await;
    let (_, media) = ann.speak(0).await;
    let (began, old_token) = (made_at(&node, "began").await, node.token(ROOM).await);
    assert_eq!(key_with(&node, &old_token).await, 200);

    for (room, jump) in [("later", "+3600s"), ("again", "+0s"), ("earlier", "-3600s"), ("back", "+0s")] {
        clock.set(jump);
        let wanted = match jump {
            "+3600s" => began + HOUR_MS,
            "-3600s" => began - HOUR_MS,
            _ => began,
        };
        let told = made_at(&node, room).await;
        assert!(told.abs_diff(wanted) < HOUR_MS / 10, "the clock of the node has jumped {jump}: {told}");
        let mut listener = Listener::open(&node.target(ROOM).await, Mode::Parts).await.unwrap();
        let opened = Instant::now();
        let heard = listener.hear(HEARD).await.unwrap();
        late = late.max(opened.elapsed().saturating_sub(HEARD));
        assert_eq!((heard.gaps, heard.violations), (vec![], vec![]), "{jump}");
        let before = std::mem::replace(&mut edge, listener.playlist().edge().0);
        assert!((before..before + 40).contains(&edge) || before == 0, "{jump}: from {before} to {edge}");
        let packets = media.progress().received;
        media.until("media go on", |progress| progress.received > packets + 20).await;
        assert_eq!(ann.call("keepalive", json!({ "status": "onair" })).await, Ok(json!({})), "{jump}");
        // The lock is held: the same user from another client is refused.
        let mut double =
            Caller::connect(&node.ws, invited["token"].as_str().unwrap(), "&clientId=other").await;
        assert_eq!(double.closed().await, 4423, "{jump}");
        let shown = node.get("/api/rooms/live").await.json()["room"].clone();
        assert_eq!((&shown["status"], &shown["anchors"]), (&json!("onair"), &json!(1)), "{jump}: {shown}");
        let key = if jump == "+3600s" { 401 } else { 200 };
        assert_eq!(key_with(&node, &old_token).await, key, "{jump}: a token of half an hour");
    }
    recovered("a node's wall clock jumps by +-1 h", "nothing but tokens' time", late, GOAL);
    let restarts = node.states_of("mixer_room").await;
    assert_eq!(restarts[0]["observed"]["crashes"].as_u64().unwrap_or(0), 0, "{restarts:?}");
    assert!(node.stop().success());
}

/// AudioBridge paces each room's mixing by the wall clock. After a step back it sends nothing until the old
/// time is reached again; after a step forward it sends everything missed at once.
#[actix::test]
async fn clock_steps_of_janus_are_repaired() {
    let clock = Clock::real();
    let janus = clock.program("janus").display().to_string();
    let node = Node::start(&[("janus.binary", &janus), CHILD_USER]).await;
    node.room_on_air(ROOM).await;
    let studio = Studio::managed(&node).await;
    let speaker = studio.speak(&node, ROOM, 440).await;
    tuned_in(&node.target(ROOM).await, Mode::Parts, 440.0).await;
    let silent = studio.rooms_of(ROOM).await[0].id;

    clock.set("-600s");
    let since = Instant::now();
    until("the room is not shown as on air", async || status(&node).await == "degraded").await;
    until(
        "Janus has another room",
        async || matches!(&studio.rooms_of(ROOM).await[..], [one] if one.id != silent),
    )
    .await;
    drop(speaker);
    let speaker = studio.speak(&node, ROOM, 660).await;
    tuned_in(&node.target(ROOM).await, Mode::Parts, 660.0).await;
    recovered("Janus's wall clock is set back by 10 min", "until then", since.elapsed(), STEP_GOAL);
    until("the room is on air", async || status(&node).await == "onair").await;

    clock.set("-540s");
    let since = Instant::now();
    drop(speaker);
    let _speaker = studio.speak(&node, ROOM, 880).await;
    tuned_in(&node.target(ROOM).await, Mode::Parts, 880.0).await;
    recovered("Janus's wall clock is set forward by 60 s", "a burst", since.elapsed(), STEP_GOAL);
    until("the room is on air", async || status(&node).await == "onair").await;
}

/// Returns the creation time of this room as the node reports it.
async fn made_at(node: &Node, room: &str) -> u64 {
    node.post("/api/rooms", json!({ "roomId": room })).await.json()["room"]["createdAt"].as_u64().unwrap()
}

/// Returns the status with which the newest key is served for this token.
async fn key_with(node: &Node, token: &str) -> u16 {
    let found = std::cell::RefCell::new(None);
    until("a playlist with a key", async || {
        let url = format!("{}/hls/rooms/{ROOM}/index.m3u8", node.hls);
        let playlist = request("GET", &url, &[], None).await.text();
        let uri = playlist.rsplit_once("AES-128,URI=\"").and_then(|(_, rest)| rest.split_once('"'));
        *found.borrow_mut() = uri.map(|(uri, _)| uri.to_owned());
        found.borrow().is_some()
    })
    .await;
    let url = format!("{}/hls/rooms/{ROOM}/{}", node.hls, found.into_inner().unwrap());
    request("GET", &url, &[("authorization", &format!("Bearer {token}"))], None).await.status
}

/// A libfaketime clock, which programs read on each query of the wall clock; the machine's clock stays
/// unchanged.
struct Clock {
    folder: tempfile::TempDir,
}

impl Clock {
    fn real() -> Self {
        let clock = Self { folder: tempfile::tempdir().unwrap() };
        // Janus may run as a different user from the tests.
        std::fs::set_permissions(clock.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        clock.set("+0s");
        clock
    }

    /// Sets the offset from the real clock.
    fn set(&self, offset: &str) {
        let fresh = self.folder.path().join("fresh");
        std::fs::write(&fresh, format!("{offset}\n")).unwrap();
        std::fs::rename(fresh, self.file()).unwrap();
    }

    /// Creates a wrapper script that runs a program with this clock.
    fn program(&self, binary: &str) -> PathBuf {
        let exports =
            self.environment().into_iter().map(|(name, value)| format!("export {name}='{value}'\n"));
        let script = format!("#!/bin/sh\n{}exec {binary} \"$@\"\n", exports.collect::<String>());
        let path = self.folder.path().join(binary);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    fn environment(&self) -> Vec<(String, String)> {
        let library = library();
        let pairs = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Returns the library's path, which in Debian depends on the architecture.
fn library() -> PathBuf {
    let at = |name| PathBuf::from(format!("/usr/lib/{name}/faketime/libfaketimeMT.so.1"));
    let mut places = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map(at).into_iter();
    places.find(|path| path.exists()).expect("libfaketime: apt-get install faketime")
}

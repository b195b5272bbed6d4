//! A mix that becomes silent although an anchor speaks.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use stentor::probe::Mode;

use super::rtp::{hear_past, status};
use crate::rooms::tuned_in;
use crate::support::caller::Caller;
use crate::support::fault_table::recovered;
use crate::support::node::{Node, signal};
use crate::support::opus;
use crate::support::studio::Studio;
use crate::support::until;

const ROOM: &str = "live";
const HZ: u32 = 440;

#[actix::test]
async fn silent_mix_under_speech_is_repaired() {
    let faulty = FaultyFfmpeg::new();
    let node = Node::start(&[("mixer.ffmpeg", &faulty.program().display().to_string())]).await;
    node.room_on_air(ROOM).await;
    let mut anna = caller(&node, "anna").await;
    let (_, _media) = anna.speak(HZ).await;
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, f64::from(HZ)).await;
    let studio = Studio::managed(&node).await;
    let (janus_room, forwarder) = (studio.rooms_of(ROOM).await[0].id, studio.forwarders(ROOM).await);

    faulty.silence_starts(2);
    let since = Instant::now();
    signal(node.ffmpeg().await, Signal::KILL);
    until("the room is not shown as on air", async || status(&node).await == "degraded").await;
    until("the reason is shown", async || {
        let room = node.state_of("mixer_room").await;
        room["reason"].as_str().is_some_and(|reason| reason.contains("silent although somebody"))
    })
    .await;
    until("the mix has another forwarder", async || {
        let now = studio.forwarders(ROOM).await;
        now.len() == 1 && now != forwarder
    })
    .await;
    hear_past(&mut listener, f64::from(HZ)).await;
    recovered(
        "FFmpeg's mix is silent although an anchor speaks (two starts)",
        "until then",
        since.elapsed(),
        Duration::from_secs(45),
    );
    until("the room is on air", async || status(&node).await == "onair").await;
    assert_eq!(studio.rooms_of(ROOM).await[0].id, janus_room, "the anchors lost their Janus room");
    assert_eq!(silent_exits(&node), 2);
}

/// An anchor whose client declares silence as speech. Only the repairs that cost no anchor anything follow.
#[actix::test]
async fn silence_declared_as_speech_costs_two_repairs() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let mut anna = caller(&node, "anna").await;
    let _silence = anna.play(opus::frames("anullsrc=r=48000:cl=mono")).await;
    let studio = Studio::managed(&node).await;
    let janus_room = studio.rooms_of(ROOM).await[0].id;
    let starved = async || node.state_of("mixer_room").await["observed"]["starved"].as_u64();
    until("a repair was made", async || starved().await >= Some(1)).await;
    until("two repairs were made", async || starved().await == Some(2)).await;
    assert_eq!(status(&node).await, "degraded");

    let mut bob = caller(&node, "bob").await;
    let (_, _tone) = bob.speak(HZ).await;
    tuned_in(&node.target(ROOM).await, Mode::Parts, f64::from(HZ)).await;
    until("the room is on air", async || status(&node).await == "onair").await;
    assert_eq!(studio.rooms_of(ROOM).await[0].id, janus_room, "the anchors lost their Janus room");
    assert_eq!(silent_exits(&node), 2);
}

async fn caller(node: &Node, user: &str) -> Caller {
    let wanted = json!({ "role": "anchor", "userId": user });
    let invited = node.post(&format!("/api/rooms/{ROOM}/users"), wanted).await.json();
    Caller::connect(&node.ws, invited["token"].as_str().unwrap(), "").await
}

/// Returns the number of FFmpegs that were ended because their mix was silent.
fn silent_exits(node: &Node) -> usize {
    node.log().iter().filter(|line| line["message"] == "FFmpeg exited" && line["why"] == "silent").count()
}

/// FFmpeg whose mix can be made silent.
struct FaultyFfmpeg {
    folder: tempfile::TempDir,
}

impl FaultyFfmpeg {
    fn new() -> Self {
        let faulty = Self { folder: tempfile::tempdir().unwrap() };
        // FFmpeg may run as a different user from the tests.
        faulty.permit(faulty.folder.path().to_owned());
        faulty.silence_starts(0);
        let left = faulty.left();
        let left = left.display();
        // The filters of a mix begin with `aresample`.
        let script = format!(
            "#!/bin/sh\nleft=$(cat {left})\nfor arg do\n  shift\n  case $arg in aresample=*)\n    \
             if [ \"$left\" -gt 0 ]; then arg=volume=0,$arg; echo $((left - 1)) > {left}; fi\n  esac\n  \
             set -- \"$@\" \"$arg\"\ndone\nexec ffmpeg \"$@\"\n"
        );
        std::fs::write(faulty.program(), script).unwrap();
        faulty.permit(faulty.program());
        faulty
    }

    /// Makes the mix silent in the next starts.
    fn silence_starts(&self, starts: u32) {
        std::fs::write(self.left(), starts.to_string()).unwrap();
        self.permit(self.left());
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("ffmpeg")
    }

    fn left(&self) -> PathBuf {
        self.folder.path().join("left")
    }

    fn permit(&self, path: PathBuf) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
}

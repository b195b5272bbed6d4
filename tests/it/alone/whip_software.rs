//! Broadcast software publishes with WHIP, in the versions of Debian's suite sid: listeners hear it, and its
//! end removes it from the room. `docs/signalling.md` lists the software.

use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::json;
use stentor::probe::{Listener, Mode};

use crate::support::caller::Caller;
use crate::support::kept::KeptProcess;
use crate::support::node::Node;
use crate::support::{PATIENCE, report, skipped};

const ROOM: &str = "studio";

/// Builds the arguments with which a program publishes a tone: URL, token, frequency.
type Arguments = fn(&str, &str, u32) -> Vec<String>;

/// Debian package, program and arguments.
const SOFTWARE: [(&str, &str, Arguments); 2] =
    [("ffmpeg", "ffmpeg", ffmpeg), ("simple-whip-client", "whip-client", gstreamer)];

fn ffmpeg(url: &str, token: &str, hz: u32) -> Vec<String> {
    let tone = format!("sine=frequency={hz}:sample_rate=48000");
    let input = ["-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", &tone];
    let output = ["-ac", "2", "-c:a", "libopus", "-f", "whip", "-authorization", token, url];
    [&input[..], &output].concat().into_iter().map(str::to_owned).collect()
}

/// The client is built on GStreamer's `webrtcbin`.
fn gstreamer(url: &str, token: &str, hz: u32) -> Vec<String> {
    let pipeline = format!(
        "audiotestsrc is-live=true freq={hz} ! audioconvert ! opusenc ! rtpopuspay pt=100 ! \
         application/x-rtp,media=audio,encoding-name=OPUS,payload=100"
    );
    ["-u", url, "-t", token, "-A", &pipeline].map(str::to_owned).into()
}

/// Unpacks a program of the suite sid and returns its path; `None` if it is not available here.
fn newest(package: &str, program: &str) -> Option<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/newest.sh");
    let unpacked = Command::new(script).args([package, program]).stderr(Stdio::piped()).output();
    let unpacked = unpacked.expect("the script runs");
    let last = |text: &[u8]| String::from_utf8_lossy(text).lines().last().unwrap_or_default().to_owned();
    match unpacked.status.code() {
        Some(0) => Some(last(&unpacked.stdout)),
        _ => {
            skipped(format!("{package} of the suite sid: {}", last(&unpacked.stderr)));
            None
        }
    }
}

#[actix::test]
async fn newest_software_publishes_with_whip() {
    // Unpack first: it takes minutes, and blocks the keepalives of clients.
    let programs = SOFTWARE.map(|(package, program, _)| newest(package, program));
    let node = Node::start(&[("ws.join_within", "1h")]).await;
    node.room_on_air(ROOM).await;
    let invite = async |role: &str| {
        let invited = node.post(&format!("/api/rooms/{ROOM}/users"), json!({ "role": role })).await.json();
        let text = |name: &str| invited[name].as_str().unwrap().to_owned();
        (text("userId"), text("token"), text("whipUrl"))
    };
    let mut watcher = Caller::connect(&node.ws, &invite("host").await.1, "").await;
    let target = node.target(ROOM).await;
    let mut listener = Listener::open_by(&target, Mode::Parts, Instant::now() + PATIENCE).await.unwrap();
    for (((package, _, arguments), path), hz) in SOFTWARE.into_iter().zip(programs).zip([440, 660]) {
        let Some(path) = path else { continue };
        let (user, token, url) = invite("anchor").await;
        let mut command = Command::new(path);
        command.args(arguments(&url, &token, hz)).stdin(Stdio::null()).stdout(Stdio::null());
        let publisher = KeptProcess::start(command);
        listener.hear_until(hz.into(), Instant::now() + PATIENCE).await.unwrap();
        let members = watcher.members(1).await;
        assert_eq!((&members[0]["userId"], &members[0]["source"]), (&json!(user), &json!("whip")));
        publisher.signal(Signal::INT);
        publisher.end(PATIENCE);
        watcher.members(0).await;
        report(format!("{package} is heard over WHIP"));
    }
}

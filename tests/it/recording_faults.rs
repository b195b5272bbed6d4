//! One recording with a fault in each of its parts, compared with the tones that were sent.

use std::time::Duration;

use serde_json::json;
use stentor::probe::hearing::level;
use stentor::probe::{Listener, Mode};
use tokio::net::TcpStream;

use crate::faults::disk::SmallDisk;
use crate::recording::decoded_from;
use crate::rooms::tuned_in;
use crate::support::moto::{BUCKET, Moto};
use crate::support::node::{Node, signal, until_gone};
use crate::support::studio::{Speaker, Studio, managed};
use crate::support::until;

const ROOM: &str = "endurance";
/// Time for which a listener hears the tone of a part, before and after the fault.
const HALF: Duration = Duration::from_secs(4);
/// Time of a tone that may be missing in the recording: parts of segments at the edges of a fault.
const EDGES: f64 = 1.5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Ffmpeg,
    Janus,
    Node,
    Storage,
    Disk,
}

/// Parts of the recording: the frequency of the tone in Hz, and the fault in its middle.
const PARTS: [(u32, Fault); 6] = [
    (440, Fault::None),
    (620, Fault::Ffmpeg),
    (800, Fault::Janus),
    (980, Fault::Storage),
    (1160, Fault::Disk),
    (1340, Fault::Node),
];

/// Starts to send a tone, and a listener that has heard it.
async fn on_stage(node: &Node, hz: u32) -> (Speaker, Listener) {
    let speaker = Studio::managed(node).await.speak(node, ROOM, hz).await;
    (speaker, tuned_in(&node.target(ROOM).await, Mode::Parts, f64::from(hz)).await)
}

/// Returns the time of this tone in seconds, in steps of a tenth.
fn seconds_of(pcm: &[f32], hz: u32) -> f64 {
    let tenths = pcm.chunks_exact(4_800).filter(|tenth| level(tenth, f64::from(hz)) > 0.02);
    tenths.count() as f64 / 10.0
}

#[actix::test]
async fn recording_misses_only_the_faults() {
    let Some(mut moto) = Moto::prepare() else { return };
    moto.run().await;
    let disk = SmallDisk::mount(120);
    let dir = disk.path().join("recordings");
    let (url, endpoint) = (format!("s3://{BUCKET}"), format!("http://{}", moto.address()));
    let settings = [
        ("recording.mode", "always"),
        ("recording.dir", dir.to_str().unwrap()),
        ("recording.storage.url", url.as_str()),
        ("recording.storage.endpoint", &endpoint),
        ("recording.storage.access_key", "key"),
        ("recording.storage.secret_key", "secret"),
        ("hls.segment_ms", "500"),
        ("hls.window", "3"),
    ];
    let mut node = Node::start(&settings).await;
    node.room_on_air(ROOM).await;
    for (hz, fault) in PARTS {
        let (mut speaker, mut listener) = on_stage(&node, hz).await;
        listener.hear(HALF).await.unwrap();
        match fault {
            Fault::None => {}
            Fault::Ffmpeg => {
                let before = node.children("ffmpeg");
                signal(before[0], rustix::process::Signal::KILL);
                until_gone(&before);
            }
            Fault::Janus => {
                let before = node.children("janus");
                signal(before[0], rustix::process::Signal::KILL);
                until_gone(&before);
                let url = url::Url::parse(&managed(&node.data_dir().join("janus")).url).unwrap();
                let address = (url.host_str().unwrap().to_owned(), url.port().unwrap());
                until("Janus listens again", async || TcpStream::connect(address.clone()).await.is_ok())
                    .await;
                drop((speaker, listener));
                (speaker, listener) = on_stage(&node, hz).await;
            }
            Fault::Storage => moto.stop(),
            Fault::Disk => {
                let filler = disk.fill();
                let recorder =
                    async || node.states_of("recorder").await.into_iter().next().unwrap_or_default();
                until("segments are lost", async || recorder().await["observed"]["lost"].as_u64() > Some(1))
                    .await;
                std::fs::remove_file(filler).unwrap();
                until("it is recorded again", async || recorder().await["state"] == "recording").await;
            }
            Fault::Node => {
                node.kill();
                node.run();
                node.ready().await;
                node.until_status(ROOM, "onair").await;
                drop((speaker, listener));
                (speaker, listener) = on_stage(&node, hz).await;
            }
        }
        let deadline = std::time::Instant::now() + crate::support::PATIENCE;
        listener.hear_until(f64::from(hz), deadline).await.unwrap();
        listener.hear(HALF).await.unwrap();
        drop((speaker, listener));
    }
    let room = node.get(&format!("/api/rooms/{ROOM}")).await.json();
    let id = room["room"]["recording"].as_str().expect("recorded without a request").to_owned();
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    let known = async || node.get(&format!("/api/recordings/{id}")).await.json()["recording"].clone();
    until("the recording is ready", async || known().await["state"] == "ready").await;
    let issued = node.post(&format!("/api/recordings/{id}/token"), json!({})).await.json();
    let token = issued["token"].as_str().unwrap();
    let file = decoded_from(&format!("{}/hls/recordings/{id}/recording.m4a?token={token}", node.hls));
    for (hz, fault) in PARTS {
        let (recorded, heard) = (seconds_of(&file.pcm, hz), 2.0 * HALF.as_secs_f64());
        assert!(recorded >= heard - EDGES, "{fault:?}: {recorded} s of {heard} s at {hz} Hz are recorded");
    }
    assert!(known().await["lostSegments"].as_u64() > Some(1), "only the full disk lost segments");
    moto.run().await;
    until("it is stored after all", async || known().await["storedAt"].is_u64()).await;
}

//! RTP from Janus to FFmpeg: packets from strangers, and a forwarder that another program stops.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use stentor::janus::AudioBridge;
use stentor::probe::{Listener, Mode};

use crate::rooms::tuned_in;
use crate::support::abuse_table::withstood;
use crate::support::fault_table::recovered;
use crate::support::node::Node;
use crate::support::srtp::forged;
use crate::support::studio::Studio;
use crate::support::{PATIENCE, until};

const ROOM: &str = "live";
const HZ: f64 = 440.0;

#[actix::test]
async fn forged_rtp_is_ignored() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let studio = Studio::managed(&node).await;
    let _speaker = studio.speak(&node, ROOM, HZ as u32).await;
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, HZ).await;
    let (pids, rtp) = (node.children("ffmpeg"), rtp_of(&node).await);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..500 {
        for packet in forged(n, 100) {
            for port in [rtp.port(), rtp.port() + 1] {
                stranger.send_to(&packet, (rtp.ip(), port)).unwrap();
            }
        }
    }
    let (begun, edge) = (Instant::now(), listener.playlist().edge().0);
    let heard = listener.hear(Duration::from_secs(5)).await.unwrap();
    assert_eq!((&heard.gaps, &heard.violations, heard.discontinuities()), (&vec![], &vec![], 0));
    assert!((heard.strongest_hz().unwrap() - HZ).abs() <= 20.0, "{:?}", heard.strongest_hz());
    let made = listener.playlist().edge().0 - edge;
    assert!(made <= 3 + begun.elapsed().as_secs(), "{made} segments in {:?}", begun.elapsed());
    assert_eq!(node.children("ffmpeg"), pids);
    assert_eq!(status(&node).await, "onair");
    withstood(
        "RTP and RTCP BYE of strangers to the port of FFmpeg",
        "ignored",
        "listeners hear only the room",
    );
}

#[actix::test]
async fn forwarder_stopped_by_others_is_restarted() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let studio = Studio::managed(&node).await;
    let _speaker = studio.speak(&node, ROOM, HZ as u32).await;
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, HZ).await;
    let (janus_room, stopped) = (studio.rooms_of(ROOM).await[0].id, studio.forwarders(ROOM).await);
    let since = Instant::now();
    studio.client.stop_forwarder(janus_room, &studio.secret_of(ROOM), stopped[0].stream_id).await.unwrap();
    until("the room is not shown as on air", async || status(&node).await == "degraded").await;
    until("there is another forwarder", async || {
        let now = studio.forwarders(ROOM).await;
        now.len() == 1 && now != stopped
    })
    .await;
    hear_past(&mut listener, HZ).await;
    recovered(
        "somebody else stops the forwarder",
        "until then, and FFmpeg's start",
        since.elapsed(),
        Duration::from_secs(5),
    );
    until("the room is on air", async || status(&node).await == "onair").await;
    assert_eq!(studio.rooms_of(ROOM).await[0].id, janus_room, "the anchors lost their Janus room");
}

/// Returns the address where FFmpeg waits for RTP.
async fn rtp_of(mixer: &Node) -> SocketAddr {
    let found = std::cell::Cell::new(None);
    until("the mixer has a port", async || {
        let rooms = mixer.states_of("mixer_room").await;
        let rtp = rooms.first().and_then(|room| room["observed"]["rtp"].as_str()?.parse().ok());
        found.set(rtp);
        rtp.is_some()
    })
    .await;
    found.get().unwrap()
}

pub async fn status(node: &Node) -> String {
    node.get("/api/rooms/live").await.json()["room"]["status"].as_str().unwrap_or_default().to_owned()
}

/// Waits for the tone in segments that did not exist yet.
pub async fn hear_past(listener: &mut Listener, hz: f64) {
    let (deadline, edge) = (Instant::now() + PATIENCE, listener.playlist().edge().0);
    while listener.playlist().edge().0 <= edge {
        assert!(Instant::now() < deadline, "the playlist stands still");
        // Fails if nothing new arrives within the time limit of one request.
        let _ = listener.hear(Duration::from_millis(200)).await;
    }
    listener.hear_until(hz, deadline).await.unwrap();
}

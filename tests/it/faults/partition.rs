//! A mixer node that is cut off from the store, or from the RTP of Janus; everything else still reaches it.

use std::time::{Duration, Instant};

use stentor::probe::{Listener, Mode};

use crate::rooms::{node_on_etcd, on_etcd, tuned_in};
use crate::support::etcd::Etcd;
use crate::support::fault_table::recovered;
use crate::support::netns::Netns;
use crate::support::node::{Node, request};
use crate::support::studio::Studio;
use crate::support::tcp_proxy::TcpProxy;
use crate::support::until;

const ROOM: &str = "live";
const HZ: f64 = 440.0;
/// Lease duration of heartbeats.
const TTL: &str = "3s";
/// Goal for a failover with this TTL. With a TTL of 10 s the goal is twelve seconds.
const ELSEWHERE: Duration = Duration::from_secs(5);

#[actix::test]
async fn partitioned_node_loses_its_room() {
    let (etcd, netns) = (Etcd::start(), Netns::make());
    let desk = node_on_etcd(&etcd, &settings("desk", "rooms,janus,hls")).await;
    let proxy = TcpProxy::start_at(netns.store(), etcd.address()).await;
    let cut_off = inside(&netns, &proxy, &[]).await;
    desk.room_on_air(ROOM).await;
    let other = node_on_etcd(&etcd, &settings("m2", "mixer")).await;
    let studio = Studio::managed(&desk).await;
    let _speaker = studio.speak(&desk, ROOM, HZ as u32).await;
    let mut listener = tuned_in(&desk.target(ROOM).await, Mode::Parts, HZ).await;
    let owner = async || desk.get("/api/rooms/live").await.json()["room"]["mixer"]["id"].clone();
    assert_eq!(owner().await, "m1");
    let (before, edge) = (studio.forwarders(ROOM).await, listener.playlist().edge().0);

    netns.cut();
    let since = Instant::now();
    until("the room is on the other mixer", async || {
        let room = desk.get("/api/rooms/live").await.json()["room"].clone();
        room["status"] == "onair" && room["mixer"]["id"] == "m2"
    })
    .await;
    listen_past(&mut listener, edge + 1).await;
    recovered(
        "a mixer node cut off from the store (network namespace, TTL 3 s)",
        "some seconds of media",
        since.elapsed(),
        ELSEWHERE,
    );
    let after = studio.forwarders(ROOM).await;
    assert_eq!(after.len(), 1, "the room must have one forwarder: {after:?}");
    assert_ne!(after, before);
    // The mixer is cut off and cannot know that the room moved: it continues, and nobody fetches its media.
    assert_eq!(cut_off.children("ffmpeg").len(), 1);

    netns.heal();
    until("the first mixer stops FFmpeg", async || cut_off.children("ffmpeg").is_empty()).await;
    until("the first mixer takes rooms again", async || {
        let modules = desk.get("/api/modules").await.json();
        modules["mixers"].as_array().unwrap().iter().all(|m| m["refuses"].is_null())
    })
    .await;
    assert_eq!(owner().await, "m2", "the room moved back");
    assert_eq!(studio.forwarders(ROOM).await, after, "a forwarder changed");
    assert_eq!(other.children("ffmpeg").len(), 1);
    // Open a new listener: the first one sent no request for so long that its position left the window.
    let mut listener = tuned_in(&desk.target(ROOM).await, Mode::Parts, HZ).await;
    let heard = listener.hear(Duration::from_secs(2)).await.unwrap();
    assert_eq!((&heard.gaps, &heard.violations), (&vec![], &vec![]));
    assert!((heard.strongest_hz().unwrap() - HZ).abs() <= 20.0);
}

#[actix::test]
async fn blocked_path_changes_port_then_mixer() {
    let (etcd, netns) = (Etcd::start(), Netns::make());
    let desk = node_on_etcd(&etcd, &settings("desk", "rooms,janus,hls")).await;
    let proxy = TcpProxy::start_at(netns.store(), etcd.address()).await;
    let blocked = inside(&netns, &proxy, &[("mixer.watchdog", "1s")]).await;
    desk.room_on_air(ROOM).await;
    let other = node_on_etcd(&etcd, &settings("m2", "mixer")).await;
    until("both mixers are known", async || {
        desk.get("/api/modules").await.json()["mixers"].as_array().is_some_and(|mixers| mixers.len() == 2)
    })
    .await;
    // A second, audible room keeps Janus from being restarted.
    let heard = desk.room_on_air("heard").await;
    assert_eq!(heard["mixer"]["id"], "m2", "the one with less load");
    let studio = Studio::managed(&desk).await;
    let speaker = studio.speak(&desk, ROOM, HZ as u32).await;
    tuned_in(&desk.target(ROOM).await, Mode::Parts, HZ).await;
    let room = async || desk.get("/api/rooms/live").await.json()["room"].clone();
    let janus_room = async || studio.rooms_of(ROOM).await.first().map(|room| room.id);
    let port = async || studio.forwarders(ROOM).await.first().map(|forwarder| forwarder.port);
    assert_eq!(room().await["mixer"]["id"], "m1");
    let (first_ffmpeg, first_port) = (blocked.children("ffmpeg"), port().await);
    let (first_room, janus) = (janus_room().await, desk.children("janus"));

    netns.drop_udp();
    until("the room is not shown as on air", async || room().await["status"] == "degraded").await;
    until("FFmpeg is restarted", async || {
        let now = blocked.children("ffmpeg");
        !now.is_empty() && now != first_ffmpeg
    })
    .await;
    until("Janus forwards to another port", async || port().await.is_some_and(|now| Some(now) != first_port))
        .await;
    until("the room has another Janus room", async || {
        janus_room().await.is_some_and(|now| Some(now) != first_room)
    })
    .await;
    until("another mixer has the room", async || {
        let room = room().await;
        room["status"] == "onair" && room["mixer"]["id"] == "m2"
    })
    .await;
    let metrics = request("GET", &format!("{}/metrics", desk.ops), &[], None).await.text();
    assert!(metrics.contains("stentor_room_moves_total{cause=\"silent\"} 1\n"), "{metrics}");
    assert_eq!(desk.children("janus"), janus, "Janus was not restarted");
    until("the first mixer stops FFmpeg", async || blocked.children("ffmpeg").is_empty()).await;
    assert_eq!(other.children("ffmpeg").len(), 2);
    // The new Janus room has none of the participants of the first.
    drop(speaker);
    let _speaker = studio.speak(&desk, ROOM, HZ as u32).await;
    tuned_in(&desk.target(ROOM).await, Mode::Parts, HZ).await;
}

/// Waits until the playlist, under the same URL, has passed this segment, and then until the tone is heard.
async fn listen_past(listener: &mut Listener, segment: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while listener.playlist().edge().0 <= segment {
        assert!(Instant::now() < deadline, "the playlist stands still");
        // Fails if nothing new arrives within the time limit of one request.
        let _ = listener.hear(Duration::from_millis(200)).await;
    }
    listener.hear_until(HZ, deadline).await.unwrap();
}

/// Starts the mixer `m1` in the namespace. It reaches the store over one link, and Janus and the listener
/// nodes over the other.
async fn inside(netns: &Netns, store: &TcpProxy, more: &[(&str, &str)]) -> Node {
    let endpoint = format!("http://{}", store.address());
    let (here, http) = (netns.node().to_string(), format!("{}:0", netns.node()));
    let mut settings = on_etcd(&endpoint, &settings("m1", "mixer"));
    settings.extend([
        ("node.advertise", here.as_str()),
        ("listen.media", here.as_str()),
        ("listen.hls", http.as_str()),
        // This node also listens on addresses other than loopback, which requires API keys.
        ("auth.mode", "keys"),
        ("auth.api_keys", "0123456789abcdef"),
    ]);
    settings.extend_from_slice(more);
    let mut node = Node::prepare(&settings);
    node.within(netns.name());
    node.run();
    node.ready().await;
    node
}

fn settings<'a>(id: &'a str, roles: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("node.id", id),
        ("node.roles", roles),
        ("rooms.heartbeat_ttl", TTL),
        ("rooms.housekeeping_interval", "1s"),
    ]
}

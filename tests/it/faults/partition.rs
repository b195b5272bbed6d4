//! A mixer node that is cut off from the store, and from nothing else: Janus still reaches it, and so do listeners.

use std::time::{Duration, Instant};

use stentor::domain::ids::RoomId;
use stentor::probe::listener::Target;
use stentor::probe::{Listener, Mode};

use crate::rooms::{node_on_etcd, tuned_in};
use crate::support::etcd::Etcd;
use crate::support::fault_table::recovered;
use crate::support::node::Node;
use crate::support::studio::Studio;
use crate::support::tcp_proxy::TcpProxy;
use crate::support::until;

const ROOM: &str = "live";
const HZ: f64 = 440.0;
/// The goal of twelve seconds is for heartbeats of ten.
const TTL: &str = "3s";
const ELSEWHERE: Duration = Duration::from_secs(5);

#[actix::test]
async fn a_node_cut_off_from_the_store_loses_its_room_to_another_and_doubles_nothing() {
    let etcd = Etcd::start();
    let proxies = [TcpProxy::start(etcd.address()).await, TcpProxy::start(etcd.address()).await];
    let desk = member(&etcd, "desk", "rooms,janus,hls", &etcd.endpoint()).await;
    let mut mixers = Vec::new();
    for (n, proxy) in proxies.iter().enumerate() {
        let endpoint = format!("http://{}", proxy.address());
        mixers.push(member(&etcd, &format!("m{}", n + 1), "mixer", &endpoint).await);
    }
    desk.room_on_air(ROOM).await;
    let studio = Studio::managed(&desk).await;
    let _speaker = studio.speak(&desk, ROOM, HZ as u32).await;
    let mut listener = tuned_in(&target(&desk).await, Mode::Parts, HZ).await;
    let owner = async || usize::from(desk.get("/api/rooms/live").await.json()["room"]["mixer"]["id"] == "m2");
    let first = owner().await;
    let (before, edge) = (studio.forwarders(ROOM).await, listener.playlist().edge().0);

    proxies[first].freeze();
    let since = Instant::now();
    until("the room is elsewhere", async || {
        let room = desk.get("/api/rooms/live").await.json()["room"].clone();
        room["status"] == "onair" && owner().await != first
    })
    .await;
    listen_past(&mut listener, edge + 1).await;
    recovered(
        "a mixer node cut off from the store (TTL 3 s)",
        "some seconds of media",
        since.elapsed(),
        ELSEWHERE,
    );
    let after = studio.forwarders(ROOM).await;
    assert_eq!(after.len(), 1, "nobody feeds the old one: {after:?}");
    assert_ne!(after, before);
    // Cut off, it cannot know: its media run on, and nobody follows them.
    assert_eq!(mixers[first].children("ffmpeg").len(), 1);

    proxies[first].heal();
    until("it stops its part", async || mixers[first].children("ffmpeg").is_empty()).await;
    until("it takes rooms again", async || {
        let modules = desk.get("/api/modules").await.json();
        modules["mixers"].as_array().unwrap().iter().all(|m| m["refuses"].is_null())
    })
    .await;
    assert_ne!(owner().await, first, "nothing moves back");
    assert_eq!(studio.forwarders(ROOM).await, after, "nothing is doubled");
    // Another one: who does not ask for as long as the window is falls out of it.
    let mut listener = tuned_in(&target(&desk).await, Mode::Parts, HZ).await;
    let heard = listener.hear(Duration::from_secs(2)).await.unwrap();
    assert_eq!((&heard.gaps, &heard.violations), (&vec![], &vec![]));
    assert!((heard.strongest_hz().unwrap() - HZ).abs() <= 20.0);
}

/// Until the playlist, under the same URL, is past this segment, and the tone is heard from it.
async fn listen_past(listener: &mut Listener, segment: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while listener.playlist().edge().0 <= segment {
        assert!(Instant::now() < deadline, "the playlist stands still");
        // An error: nothing new within the patience of one request.
        let _ = listener.hear(Duration::from_millis(200)).await;
    }
    listener.hear_until(HZ, deadline).await.unwrap();
}

async fn target(desk: &Node) -> Target {
    Target {
        base_url: desk.hls.clone(),
        room: RoomId::new(ROOM).unwrap(),
        token: desk.token(ROOM).await,
        ffmpeg: "ffmpeg".into(),
    }
}

async fn member(etcd: &Etcd, id: &str, roles: &str, endpoint: &str) -> Node {
    let settings = [
        ("node.id", id),
        ("node.roles", roles),
        ("store.etcd.endpoints", endpoint),
        ("rooms.heartbeat_ttl", TTL),
        ("rooms.housekeeping_interval", "1s"),
    ];
    node_on_etcd(etcd, &settings).await
}

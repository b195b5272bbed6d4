//! hls.js in headless Chromium on a listener node, while two mixers of the room die, one after the other.

use std::time::{Duration, Instant};

use crate::rooms::{node_on_etcd, tuned_in};
use crate::support::browser::listen;
use crate::support::etcd::Etcd;
use crate::support::fault_table::recovered;
use crate::support::node::Node;
use crate::support::report;
use crate::support::studio::Studio;
use crate::support::{PATIENCE, until};
use stentor::probe::listener::Target;
use stentor::probe::{Listener, Mode};

const ROOM: &str = "live";
const HZ: u32 = 440;
/// Lease duration of heartbeats.
const TTL: &str = "3s";
/// Goal for a failover with this TTL. With a TTL of 10 s the goal is twelve seconds.
const GOAL: Duration = Duration::from_secs(5);
const LISTENED_SECONDS: u32 = 40;

#[actix::test]
async fn page_plays_across_lost_mixers() {
    let etcd = Etcd::start();
    let desk = member(&etcd, "desk", "rooms,janus").await;
    let mut mixers = [member(&etcd, "m1", "mixer").await, member(&etcd, "m2", "mixer").await];
    let ear = member(&etcd, "ear", "hls").await;
    desk.room_on_air(ROOM).await;
    let _speaker = Studio::managed(&desk).await.speak(&desk, ROOM, HZ).await;
    let mut target = desk.target(ROOM).await;
    target.base_url = ear.hls.clone();
    tuned_in(&target, Mode::Parts, f64::from(HZ)).await;

    let page = format!("{}/listen/{ROOM}#token={}", ear.hls, target.token);
    let losses = async {
        for _ in 0..2 {
            tuned_in(&target, Mode::Parts, f64::from(HZ)).await;
            let from = newest(&target).await;
            // Wait before the kill: Chromium starts and the page plays within this time.
            until("four more segments exist", async || newest(&target).await >= from + 4).await;
            let owner = owner(&desk).await;
            mixers[owner].kill();
            until("another mixer has the room", async || {
                desk.get("/api/rooms/live").await.json()["room"]["status"] == "onair"
                    && self::owner(&desk).await != owner
            })
            .await;
            mixers[owner].run();
            mixers[owner].ready().await;
        }
    };
    let (listened, ()) = tokio::join!(listen(&page, LISTENED_SECONDS), losses);
    report(format!("{listened:?}"));
    assert_eq!(
        (listened.state.as_str(), &listened.foreign_requests),
        ("playing", &vec![]),
        "{:?}",
        listened.errors
    );
    assert!((listened.dominant_hz.unwrap() - f64::from(HZ)).abs() < 15.0);
    let fault = "kill -9 mixer node, twice (TTL 3 s), in hls.js";
    recovered(fault, "media until then", listened.longest_silence(), GOAL);
}

/// Returns the media sequence number of the segment in production.
async fn newest(target: &Target) -> u64 {
    let listener = Listener::open_by(target, Mode::Parts, Instant::now() + PATIENCE).await.unwrap();
    listener.playlist().edge().0
}

async fn owner(desk: &Node) -> usize {
    usize::from(desk.get("/api/rooms/live").await.json()["room"]["mixer"]["id"] == "m2")
}

async fn member(etcd: &Etcd, id: &str, roles: &str) -> Node {
    let settings = [
        ("node.id", id),
        ("node.roles", roles),
        ("rooms.heartbeat_ttl", TTL),
        ("rooms.housekeeping_interval", "1s"),
    ];
    node_on_etcd(etcd, &settings).await
}

//! Leader election: one of the nodes with the role `rooms` is the leader.

use std::time::{Duration, Instant};

use stentor::etcd::EtcdStore;
use stentor::store::Store;

use super::{LONG, ROOM, leader_of, leads, member, within};
use crate::support::abuse_table::withstood;
use crate::support::etcd::Etcd;
use crate::support::fault_table::recovered;
use crate::support::node::request;
use crate::support::until;

#[actix::test]
async fn leader_is_unique_and_replaced() {
    let etcd = Etcd::start();
    let media = member(&etcd, "media", "janus,mixer,hls", &[]).await;
    let mut desks = [member(&etcd, "d1", "rooms", &[]).await, member(&etcd, "d2", "rooms", &[]).await];
    let first = leader_of(&[&desks[0], &desks[1]]).await;
    let other = 1 - first;
    assert!(!leads(&desks[other]).await);
    until("the other node knows the leader", async || {
        desks[other].state_of("elector").await["observed"]["leader"] == format!("d{}", first + 1)
    })
    .await;
    let metrics = request("GET", &format!("{}/metrics", desks[first].ops), &[], None).await.text();
    assert!(metrics.contains("stentor_leader 1"), "{metrics}");
    assert!(desks[other].states_of("housekeeper").await.is_empty());
    let room = desks[other].room_on_air(ROOM).await;

    desks[first].kill();
    let killed = Instant::now();
    within("the other node leads", LONG, async || leads(&desks[other]).await).await;
    let goal = Duration::from_secs(4);
    recovered("kill -9 the leader (TTL 3 s): another leads", "nothing", killed.elapsed(), goal);
    until("the housekeeper of the new leader works", async || {
        desks[other].state_of("housekeeper").await["state"] == "resting"
    })
    .await;
    assert_eq!(desks[other].get(&format!("/api/rooms/{ROOM}")).await.json()["room"]["epoch"], room["epoch"]);

    desks[first].run();
    desks[first].ready().await;
    until("the restarted node knows the leader", async || {
        desks[first].state_of("elector").await["observed"]["leader"] == format!("d{}", other + 1)
    })
    .await;
    assert!(!leads(&desks[first]).await);
    let left = Instant::now();
    assert_eq!(desks[other].stop().code(), Some(0));
    within("the first node leads again", LONG, async || leads(&desks[first]).await).await;
    recovered("TERM to the leader: another leads", "nothing", left.elapsed(), Duration::from_secs(1));
    drop(media);
}

#[actix::test]
async fn keys_without_a_lease_are_taken_over() {
    let etcd = Etcd::start();
    let desks = [member(&etcd, "d1", "rooms", &[]).await, member(&etcd, "d2", "rooms", &[]).await];
    leader_of(&[&desks[0], &desks[1]]).await;
    let store = EtcdStore::connect(&[etcd.endpoint()], Duration::from_secs(5)).await.unwrap();
    for forged in [r#"{"id":"nobody","incarnation":"x","lease":0,"since":0}"#, "garbage"] {
        let written = store.put("/leaders/rooms", forged.into()).await.unwrap();
        within("a node leads by a key of its own", LONG, async || {
            let key = store.get("/leaders/rooms").await.unwrap();
            let leading = leads(&desks[0]).await || leads(&desks[1]).await;
            key.is_some_and(|key| key.mod_revision > written && key.lease.is_some()) && leading
        })
        .await;
    }
    let mut alarms = Vec::new();
    for desk in &desks {
        let metrics = request("GET", &format!("{}/metrics", desk.ops), &[], None).await.text();
        alarms.extend(metrics.lines().filter(|line| line.contains("leader_key_orphaned")).map(str::to_owned));
    }
    assert!(!alarms.is_empty(), "no node reports the key without a lease");
    withstood("a leader key without a lease", "taken over, with an alarm", "a node leads");
}

#[actix::test]
async fn room_status_follows_heartbeats() {
    let etcd = Etcd::start();
    let desk = member(&etcd, "desk", "rooms", &[]).await;
    let mut media = member(&etcd, "media", "janus,mixer,hls", &[]).await;
    desk.room_on_air(ROOM).await;
    let shown = async || {
        let metrics = request("GET", &format!("{}/metrics", desk.ops), &[], None).await.text();
        let counted = |line: &str| {
            let status = line.strip_prefix("stentor_rooms{status=\"")?.strip_suffix("\"} 1")?;
            Some(status.to_owned())
        };
        let actor = desk.state_of("room").await["state"].as_str().unwrap_or_default().to_owned();
        (metrics.lines().find_map(counted).unwrap_or_default(), actor)
    };
    let both = |status: &str| (status.to_owned(), status.to_owned());
    within("metric and actor show the room on air", LONG, async || shown().await == both("onair")).await;
    // Only the heartbeats of the room's modules end. No other module can take the room, so its keys do not
    // change.
    media.kill();
    within("metric and actor show the room degraded", LONG, async || shown().await == both("degraded")).await;
    media.run();
    media.ready().await;
    within("metric and actor show the room on air again", LONG, async || shown().await == both("onair"))
        .await;
}

//! One of the nodes with the role `rooms` keeps house.

use std::time::{Duration, Instant};

use super::{LONG, ROOM, actor, leader_of, leads, member, within};
use crate::support::etcd::Etcd;
use crate::support::fault_table::recovered;
use crate::support::node::request;
use crate::support::until;

#[actix::test]
async fn there_is_one_leader_and_another_when_it_dies_or_leaves() {
    let etcd = Etcd::start();
    let media = member(&etcd, "media", "janus,mixer,hls", &[]).await;
    let mut desks = [member(&etcd, "d1", "rooms", &[]).await, member(&etcd, "d2", "rooms", &[]).await];
    let first = leader_of(&[&desks[0], &desks[1]]).await;
    let other = 1 - first;
    assert!(!leads(&desks[other]).await);
    let shown = actor(&desks[other], "elector").await["observed"]["leader"].clone();
    assert_eq!(shown, format!("d{}", first + 1), "the others know who it is");
    let metrics = request("GET", &format!("{}/metrics", desks[first].ops), &[], None).await.text();
    assert!(metrics.contains("stentor_leader 1"), "{metrics}");
    assert!(desks[other].states_of("housekeeper").await.is_empty());
    let room = desks[other].room_on_air(ROOM).await;

    desks[first].kill();
    let killed = Instant::now();
    within("the other leads", LONG, async || leads(&desks[other]).await).await;
    let goal = Duration::from_secs(4);
    recovered("kill -9 the leader (TTL 3 s): another leads", "nothing", killed.elapsed(), goal);
    assert_eq!(actor(&desks[other], "housekeeper").await["state"], "resting");
    assert_eq!(desks[other].get(&format!("/api/rooms/{ROOM}")).await.json()["room"]["epoch"], room["epoch"]);

    desks[first].run();
    desks[first].ready().await;
    until("it knows who leads", async || {
        actor(&desks[first], "elector").await["observed"]["leader"] == format!("d{}", other + 1)
    })
    .await;
    assert!(!leads(&desks[first]).await);
    let left = Instant::now();
    assert_eq!(desks[other].stop().code(), Some(0));
    within("the first leads again", LONG, async || leads(&desks[first]).await).await;
    recovered("TERM to the leader: another leads", "nothing", left.elapsed(), Duration::from_secs(1));
    drop(media);
}

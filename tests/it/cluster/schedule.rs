//! Scheduled rooms: the leader starts each room once, even if leaders die.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use stentor::domain::civil_time::Rfc3339;
use stentor::domain::ids::UnixMs;

use super::{LONG, ROOM, leader_of, leads, member, within};
use crate::support::etcd::Etcd;
use crate::support::node::Node;
use crate::support::until;

#[actix::test]
async fn scheduled_room_starts_once() {
    let etcd = Etcd::start();
    let _media = member(&etcd, "media", "janus,mixer,hls", &[]).await;
    let mut desks = [member(&etcd, "d1", "rooms", &[]).await, member(&etcd, "d2", "rooms", &[]).await];
    let first = leader_of(&[&desks[0], &desks[1]]).await;
    let other = 1 - first;
    until("modules are known", async || {
        desks[other].get("/api/stats").await.json()["mixers"]["pickable"] == 1
    })
    .await;
    let at = now() + 4_000;
    let wanted = json!({ "roomId": ROOM, "startsAt": Rfc3339(UnixMs(at)).to_string() });
    let created = desks[other].post("/api/rooms", wanted).await;
    assert_eq!((created.status, &created.json()["room"]["status"]), (201, &json!("created")), "{created:?}");
    assert_eq!(created.json()["room"]["startsAt"], Rfc3339(UnixMs(at)).to_string());

    desks[first].kill();
    within("the other node leads", LONG, async || leads(&desks[other]).await).await;
    let room = desks[other].until_status(ROOM, "onair").await;
    assert_eq!(room.get("startsAt"), None, "{room}");
    assert!(room["startedAt"].as_u64().unwrap() >= at, "{room}");
    desks[first].run();
    desks[first].ready().await;
    assert_eq!(desks[other].post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    desks[other].until_status(ROOM, "created").await;
    // The next leader examines all rooms and must not start this one again.
    assert_eq!(desks[other].stop().code(), Some(0));
    within("the first node leads again", LONG, async || leads(&desks[first]).await).await;
    until("the scheduler of the first node rests", async || {
        desks[first].state_of("scheduler").await["state"] == "resting"
    })
    .await;
    assert_eq!(desks[first].get(&format!("/api/rooms/{ROOM}")).await.json()["room"]["status"], "created");
    assert_eq!(kinds(&desks[first]).await, ["room_created", "room_scheduled", "room_started", "room_ended"]);
}

/// Returns the types of the room's events.
async fn kinds(node: &Node) -> Vec<String> {
    let events = node.get(&format!("/api/events?room={ROOM}")).await.json();
    let kind = |event: &Value| event["type"].as_str().unwrap().to_owned();
    events["events"].as_array().unwrap().iter().map(kind).collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

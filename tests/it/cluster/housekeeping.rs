//! Housekeeping: the leader removes rooms and keys that no other component handles any more.

use std::time::Duration;

use stentor::etcd::EtcdStore;
use stentor::store::Store;

use super::{LONG, ROOM, leader_of, member, within};
use crate::support::etcd::Etcd;
use crate::support::node::request;

#[actix::test]
async fn housekeeping_removes_expired_and_orphaned_rooms() {
    let etcd = Etcd::start();
    let settings = [("rooms.removing_grace", "2s"), ("rooms.never_started_after", "3s")];
    let desk = member(&etcd, "desk", "rooms", &settings).await;
    let mut media = member(&etcd, "media", "janus,mixer,hls", &[]).await;
    leader_of(&[&desk]).await;
    let store = EtcdStore::connect(&[etcd.endpoint()], Duration::from_secs(5)).await.unwrap();
    store.put("/rooms/strange/meta", "not json".into()).await.unwrap();
    store.put("/rooms/strange/unknown", "{}".into()).await.unwrap();
    store.put("/rooms/ghost/sequence", r#"{"ceiling":1024,"discontinuity":0}"#.into()).await.unwrap();
    store.put("/rooms/ghost/users/ann", r#"{"role":"anchor","createdAt":0}"#.into()).await.unwrap();
    store.put("/rooms/nobodys/users/ann", r#"{"role":"anchor","createdAt":0}"#.into()).await.unwrap();
    store.put("/rooms/stuck/mixer", mixer("nobody").into()).await.unwrap();
    desk.post("/api/rooms", serde_json::json!({ "roomId": "idle" })).await;
    desk.room_on_air(ROOM).await;
    media.kill();
    assert_eq!(desk.delete(&format!("/api/rooms/{ROOM}")).await.status, 200);

    within("the keys are removed", LONG, async || {
        let keys = store.list("/rooms/").await.unwrap().entries;
        let left: Vec<_> = keys.iter().map(|entry| entry.key.as_str()).collect();
        left == ["/rooms/strange/meta", "/rooms/strange/unknown"]
    })
    .await;
    within("the housekeeper reports its actions", LONG, async || {
        let done = desk.state_of("housekeeper").await["observed"]["done"].clone();
        done.as_array().is_some_and(|done| done.len() >= 4)
    })
    .await;
    let housekeeper = desk.state_of("housekeeper").await;
    let odd = housekeeper["observed"]["invalidKeys"].as_array().unwrap();
    assert_eq!(odd.len(), 2, "{housekeeper:#}");
    let done = housekeeper["observed"]["done"].as_array().unwrap();
    for (room, action) in
        [("idle", "never_started"), ("ghost", "sweep"), ("nobodys", "sweep"), ("stuck", "sweep")]
    {
        let entry = done.iter().find(|d| d["room"] == room).unwrap_or_else(|| panic!("{housekeeper:#}"));
        assert_eq!(entry["action"], action);
        assert!(entry["reason"].as_str().is_some_and(|r| r.len() > 10));
    }
    let metrics = request("GET", &format!("{}/metrics", desk.ops), &[], None).await.text();
    let line = format!("stentor_housekeeping_actions_total{{action=\"{}\"}} 3", "sweep");
    assert!(metrics.contains(&line), "{metrics}");
    store.delete("/rooms/strange/unknown").await.unwrap();
    within("the deleted key is no longer reported", LONG, async || {
        desk.state_of("housekeeper").await["observed"]["invalidKeys"].as_array().is_some_and(|o| o.len() == 1)
    })
    .await;
}

fn mixer(id: &str) -> String {
    format!(r#"{{"id":"{id}","ip":"127.0.0.1","port":20000,"hlsUrl":"http://127.0.0.1","epoch":1}}"#)
}

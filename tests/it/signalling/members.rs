//! Who is in the room, as every gateway tells it; and how many may be.

use futures::future::join_all;
use serde_json::json;

use crate::support::stage::Stage;

#[actix::test]
async fn every_connection_of_a_room_is_told_who_is_there() {
    let stage = Stage::pair(&[]).await;
    let mut watcher = stage.connect(0, "wanda", "").await;
    watcher.members(0).await;
    let mut anna = stage.connect(1, "anna", "").await;
    anna.call("join", json!({ "displayName": "Anna 🎙" })).await.unwrap();
    let expected = json!({ "userId": "anna", "role": "anchor", "status": "idle", "muted": false, "displayName": "Anna 🎙" });
    assert_eq!(watcher.members(1).await, [expected]);
    anna.members(1).await;
    anna.call("status", json!({ "status": "onair" })).await.unwrap();
    watcher.note("roomStatus", |p| p["members"][0]["status"] == "onair").await;
    anna.call("leave", json!({})).await.unwrap();
    watcher.members(0).await;
    anna.call("join", json!({})).await.expect("who left may come again");
    watcher.members(1).await;
}

#[actix::test]
async fn a_member_that_is_not_heard_of_is_out_and_comes_back_with_its_next_word() {
    let stage = Stage::pair(&[("presence.timeout", "2s")]).await;
    let mut watcher = stage.connect(0, "wanda", "").await;
    let mut anna = stage.connect(1, "anna", "").await;
    anna.call("join", json!({})).await.unwrap();
    watcher.members(1).await;
    watcher.members(0).await;
    anna.call("keepalive", json!({ "status": "idle" })).await.unwrap();
    watcher.members(1).await;
}

#[actix::test]
async fn three_may_speak_and_no_fourth_however_many_come_at_once() {
    let stage = Stage::pair(&[]).await;
    let mut all = Vec::new();
    for n in 0..20 {
        all.push(stage.connect(n % 2, &format!("user-{n}"), "").await);
    }
    let joins = join_all(all.iter_mut().map(|caller| caller.call("join", json!({})))).await;
    let (inside, refused): (Vec<_>, Vec<_>) = joins.into_iter().partition(Result::is_ok);
    assert_eq!(inside.len(), 3);
    for error in refused {
        let error = error.unwrap_err();
        assert_eq!(
            (error["code"].as_i64(), &error["data"]["code"]),
            (Some(-32009), &json!("room_full")),
            "{error}"
        );
    }
    let mut watcher = stage.connect(0, "wanda", "").await;
    watcher.members(3).await;
}

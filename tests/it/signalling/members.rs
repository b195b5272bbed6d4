//! Members of a room, as every gateway reports them, and their maximum number.

use futures::future::join_all;
use serde_json::json;
use stentor::auth::Role;

use crate::support::caller::Caller;
use crate::support::stage::{Stage, token};

#[actix::test]
async fn room_status_reaches_every_connection() {
    let stage = Stage::pair(&[]).await;
    let mut watcher = stage.connect(0, "wanda", "").await;
    watcher.members(0).await;
    let mut anna = stage.connect(1, "anna", "").await;
    anna.call("join", json!({ "displayName": "Anna 🎙" })).await.unwrap();
    let name = "Anna 🎙";
    let expected =
        json!({ "userId": "anna", "role": "anchor", "status": "idle", "muted": false, "displayName": name });
    let mut members = watcher.members(1).await;
    let person = members[0].as_object_mut().unwrap().remove("personId").unwrap();
    assert_eq!(person.as_str().map(str::len), Some(16), "{person}");
    assert_eq!(members, [expected]);
    anna.members(1).await;
    anna.call("status", json!({ "status": "onair" })).await.unwrap();
    watcher.note("roomStatus", |p| p["members"][0]["status"] == "onair").await;
    anna.call("leave", json!({})).await.unwrap();
    watcher.members(0).await;
    anna.call("join", json!({})).await.expect("a user who left may join again");
    watcher.members(1).await;
}

#[actix::test]
async fn silent_member_is_removed_and_rejoins() {
    let stage = Stage::pair(&[("presence.timeout", "2s")]).await;
    let mut watcher = stage.connect(0, "wanda", "").await;
    let mut anna = stage.connect(1, "anna", "").await;
    let (joined, _media) = anna.speak(440).await;
    watcher.members(1).await;
    watcher.members(0).await;
    let told = anna.note("reconnect", |_| true).await;
    assert_eq!(told["reason"], "silent");
    let gone = anna.call("keepalive", json!({ "status": "onair" })).await.unwrap_err();
    assert_eq!(gone["data"]["code"], "not_joined");
    let again = anna.call("join", json!({ "jtoken": joined["jtoken"] })).await.unwrap();
    assert_eq!(again["resume"], false, "a user who is not a member is not in the mix");
    watcher.members(1).await;
}

#[actix::test]
async fn leave_before_close_takes_effect() {
    // No user is removed by a timeout.
    let stage = Stage::pair(&[("presence.timeout", "10m")]).await;
    let mut watcher = stage.connect(0, "wanda", "").await;
    let mut anna = stage.connect(1, "anna", "").await;
    anna.call("join", json!({})).await.unwrap();
    watcher.members(1).await;
    // The close may overtake calls in flight, even the `leave`.
    anna.goodbye().await;
    watcher.members(0).await;
}

#[actix::test]
async fn concurrent_joins_respect_max_anchors() {
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

#[actix::test]
async fn stopping_gateway_hands_anchors_over() {
    let mut stage = Stage::pair(&[]).await;
    let mut anna = stage.connect(1, "anna", "&clientId=a").await;
    let (joined, _media) = anna.speak(440).await;
    assert!(stage.two.take().expect("it runs").stop().success());
    let told = anna.note("reconnect", |_| true).await;
    assert!(told["reason"] == "draining" && told["retryAfterMs"].as_u64().is_some(), "{told}");
    assert_eq!(anna.closed().await, 4503);
    let mut back = Caller::connect(&stage.one.ws, &token("anna", Role::Anchor), "&clientId=a").await;
    let again = back.call("join", json!({ "jtoken": joined["jtoken"] })).await.unwrap();
    assert_eq!(again["resume"], true);
}

#[actix::test]
async fn user_ids_of_identity_providers_work() {
    let stage = Stage::pair(&[]).await;
    let mut host = stage.connect_host(0, "hugo@example.org").await;
    host.call("join", json!({})).await.unwrap();
    let id = "auth0|ünal b";
    let mut anna = stage.connect(1, id, "").await;
    let _media = anna.speak(440).await;
    assert_eq!(host.members(2).await[0]["userId"], id);
    host.note("talking", |p| p["userId"] == id && p["talking"] == true).await;
    host.call("mute", json!({ "userId": id })).await.expect("known to Janus by the same name");
    host.note("roomStatus", |p| p["members"][0]["muted"] == true).await;
    host.call("remove", json!({ "userId": id })).await.unwrap();
    assert_eq!(anna.closed().await, 4403);
    let mut again = stage.connect(1, id, "").await;
    assert_eq!(again.closed().await, 4403);
}

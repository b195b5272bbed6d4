//! Tests of a Janus that handles requests late or not at all.

use std::time::{Duration, Instant};

use serde_json::json;
use stentor::domain::ids::{Epoch, RoomId};
use stentor::janus::{AudioBridge, NewRoom, OwnershipTag};
use stentor::probe::Mode;

use crate::rooms::tuned_in;
use crate::support::PATIENCE;
use crate::support::caller::Caller;
use crate::support::external::on_janus;
use crate::support::fault_table::recovered;
use crate::support::janus::{TestJanus, room};
use crate::support::janus_proxy::JanusProxy;
use crate::support::node::Node;
use crate::support::studio::Studio;
use crate::support::until;

const LATE: &str = "stentor/default/late/";

#[actix::test]
async fn late_creates_leave_one_janus_room() {
    let janus = TestJanus::start().await;
    let (mut node, mut proxy) = held_up(&janus).await;
    let made = node.post("/api/rooms", json!({ "roomId": "late", "start": true })).await;
    assert_eq!(made.status, 201, "{}", made.text());
    proxy.held(2).await;
    proxy.release(LATE);
    node.until_status("late", "onair").await;
    let studio = Studio::at(&janus.connect_options(), &node).await;
    assert_eq!(studio.marked_rooms().await, ["late"]);
    assert_eq!(studio.forwarders("late").await.len(), 1);
    assert!(node.stop().success());
}

#[actix::test]
async fn late_create_of_deleted_room_is_destroyed() {
    let janus = TestJanus::start().await;
    let (mut node, mut proxy) = held_up(&janus).await;
    node.post("/api/rooms", json!({ "roomId": "late", "start": true })).await;
    proxy.held(1).await;
    assert_eq!(node.delete("/api/rooms/late").await.status, 200);
    let waits =
        async || node.state_of("janus_room").await["reason"].to_string().contains("unanswered create");
    until("the actor waits for the late room", waits).await;
    proxy.release(LATE);
    let studio = Studio::at(&janus.connect_options(), &node).await;
    until("the late room exists", async || studio.marked_rooms().await == ["late"]).await;
    until("the late room is destroyed", async || studio.marked_rooms().await.is_empty()).await;
    until("the room's actor ends", async || node.states_of("janus_room").await.is_empty()).await;
    assert_eq!(node.get("/api/rooms/late").await.status, 404);
    assert!(node.stop().success());
}

#[actix::test]
async fn room_that_janus_loses_is_recreated() {
    let node = Node::start(&[]).await;
    node.room_on_air("live").await;
    let made = node.post("/api/rooms/live/users", json!({ "role": "anchor", "userId": "anna" })).await.json();
    let token = made["token"].as_str().unwrap();
    let mut anna = Caller::connect(&node.ws, token, "&clientId=a").await;
    let (joined, _media) = anna.speak(440).await;
    let mut listener = tuned_in(&node.target("live").await, Mode::Parts, 440.0).await;
    let studio = Studio::managed(&node).await;
    let lost = studio.rooms_of("live").await[0].id;

    let since = Instant::now();
    studio.client.destroy_room(lost, &studio.secret_of("live")).await.unwrap();
    anna.note("reconnect", |_| true).await;
    let (mut anna, again) = Caller::come_back(&node.ws, token, &joined["jtoken"]).await;
    assert_eq!(again["resume"], false);
    let _media = anna.offer(660).await;
    listener.hear_until(660.0, Instant::now() + PATIENCE).await.unwrap();
    recovered(
        "a room destroyed in Janus behind its node's back: anchors heard",
        "media until then",
        since.elapsed(),
        Duration::from_secs(4),
    );
    let there = studio.rooms_of("live").await;
    assert_eq!(there.len(), 1);
    assert_ne!(there[0].id, lost);
    assert_eq!(studio.forwarders("live").await.len(), 1);
}

/// Starts a node behind a proxy that holds requests to create the room `late` until they are released.
async fn held_up(janus: &TestJanus) -> (Node, JanusProxy) {
    let proxy = JanusProxy::start(janus.janus.url()).await;
    proxy.hold(LATE);
    let mut node = on_janus(janus, &proxy.url, &[("janus.request_timeout", "1s")]);
    node.run();
    node.ready().await;
    (node, proxy)
}

#[actix::test]
async fn janus_room_with_other_secret_is_reported() {
    let janus = TestJanus::start().await;
    let (client, _events) = janus.client().await;
    let mark = OwnershipTag::new("default", RoomId::new("old").unwrap(), Epoch(1)).unwrap();
    client.create_room(&NewRoom { description: mark.to_string(), ..room(100_001) }).await.unwrap();
    let mut node = on_janus(&janus, janus.janus.url(), &[]);
    node.run();
    node.ready().await;
    let named = async || {
        let actor = &node.state_of("janus_room").await;
        let reason = actor["reason"].as_str().unwrap_or_default();
        reason.starts_with("Janus room 100001 ") && reason.contains("restart that Janus")
    };
    until("the actor names the foreign room and the remedy", named).await;

    node.room_on_air("old").await;
    let studio = Studio::at(&janus.connect_options(), &node).await;
    assert_eq!(studio.rooms_of("old").await.len(), 2);
    assert_eq!(studio.forwarders("old").await.len(), 1, "the node can manage only one of the two rooms");
    node.delete("/api/rooms/old").await;
    until("the room is gone", async || node.get("/api/rooms/old").await.status == 404).await;
    until("the room of the node is destroyed", async || studio.rooms_of("old").await.len() == 1).await;
    until("the actor names the foreign room again", named).await;
    assert!(client.exists(100_001).await.unwrap());
    assert!(node.stop().success());
    let problems = node.problems();
    assert!(matches!(&problems[..], [one] if one.contains("hls.secret")), "{problems:#?}");
}

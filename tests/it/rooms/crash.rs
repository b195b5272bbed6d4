//! Tests of nodes killed while rooms are on air: no process outlives them, and the rooms continue after a
//! restart.

use std::time::Duration;

use serde_json::{Value, json};
use stentor::domain::ids::{Epoch, RoomId};
use stentor::janus::{AudioBridge, ConnectOptions, NewRoom, OwnershipTag, Secret};
use stentor::probe::{Listener, Mode};

use super::{assert_only, node_on_etcd, tuned_in};
use crate::support::etcd::Etcd;
use crate::support::janus::{TestJanus, pin};
use crate::support::node::{Node, until_gone};
use crate::support::studio::Studio;
use crate::support::until;

const ROOMS: [&str; 2] = ["one", "two"];
const STRANGERS: u32 = 4_711;

#[actix::test]
async fn killed_node_resumes_rooms_embedded() {
    rooms_go_on(Node::start(&[]).await).await;
}

#[actix::test]
async fn killed_node_resumes_rooms_etcd() {
    let etcd = Etcd::start();
    rooms_go_on(node_on_etcd(&etcd, &[]).await).await;
}

async fn rooms_go_on(mut node: Node) {
    let mut heard_until = Vec::new();
    for room in ROOMS {
        node.room_on_air(room).await;
        heard_until.push(last_sequence(&node, room).await);
    }
    let children = [node.children("ffmpeg"), node.children("janus")].concat();
    assert_eq!(children.len(), 3);
    node.kill();
    until_gone(&children);

    node.run();
    node.ready().await;
    let studio = settled(&node, None).await;
    for (room, last) in ROOMS.into_iter().zip(heard_until) {
        let _speaker = studio.speak(&node, room, 440).await;
        let mut listener = tuned_in(&node.target(room).await, Mode::Parts, 440.0).await;
        assert_only(&listener.hear(Duration::from_secs(1)).await.unwrap(), 440.0, &[]);
        let first = listener.playlist().media_sequence;
        assert!(first > last, "{first} after {last}");
    }
}

#[actix::test]
async fn restarted_node_adopts_rooms_of_janus() {
    let janus = TestJanus::start().await;
    let mut node = Node::start(&borrowed(&janus)).await;
    let outside = janus.connect_options();
    node.room_on_air("one").await;
    node.room_on_air("two").await;
    let studio = Studio::at(&outside, &node).await;
    let _speaker = studio.speak(&node, "one", 440).await;
    tuned_in(&node.target("one").await, Mode::Parts, 440.0).await;
    let before = studio.rooms_of("one").await;
    studio.client.create_room(&left_behind("ghost", &studio)).await.unwrap();
    studio.client.create_room(&strangers_room()).await.unwrap();
    let ffmpeg = node.children("ffmpeg");
    node.kill();
    until_gone(&ffmpeg);

    node.run();
    node.ready().await;
    let studio = settled(&node, Some(&outside)).await;
    assert_eq!(studio.rooms_of("one").await[0].id, before[0].id, "the participants are still in it");
    assert!(studio.client.exists(STRANGERS).await.unwrap());
    let mut listener = tuned_in(&node.target("one").await, Mode::Parts, 440.0).await;
    assert_only(&listener.hear(Duration::from_secs(1)).await.unwrap(), 440.0, &[]);
    for room in ROOMS {
        assert_eq!(studio.forwarders(room).await.len(), 1);
    }
}

#[actix::test]
async fn room_is_degraded_while_node_down() {
    let etcd = Etcd::start();
    let quick = ("rooms.heartbeat_ttl", "2s");
    let mut node = node_on_etcd(&etcd, &[quick]).await;
    let api = node_on_etcd(&etcd, &[quick, ("node.roles", "rooms")]).await;
    node.room_on_air("live").await;
    api.until_status("live", "onair").await;
    node.kill();
    api.until_status("live", "degraded").await;
    // The two heartbeats of the node have separate leases.
    until("neither is there", async || {
        let room = &api.get("/api/rooms/live").await.json()["room"];
        (&room["janus"]["status"], &room["mixer"]["listening"]) == (&Value::Null, &json!(false))
    })
    .await;
    assert_eq!(api.get("/api/stats").await.json()["rooms"]["degraded"], 1);
    node.run();
    node.ready().await;
    let room = api.until_status("live", "onair").await;
    assert_eq!((&room["janus"]["status"], &room["mixer"]["listening"]), (&json!("forwarding"), &json!(true)));
    assert_eq!(Studio::managed(&node).await.forwarders("live").await.len(), 1, "on air means it is");
}

#[actix::test]
async fn room_deleted_meanwhile_is_removed_from_janus() {
    let (etcd, janus) = (Etcd::start(), TestJanus::start().await);
    let mut node = node_on_etcd(&etcd, &borrowed(&janus)).await;
    let mut settings = borrowed(&janus);
    settings.push(("node.roles", "rooms"));
    let api = node_on_etcd(&etcd, &settings).await;
    node.room_on_air("gone").await;
    node.room_on_air("kept").await;
    node.kill();
    assert_eq!(api.delete("/api/rooms/gone").await.status, 200);
    assert_eq!(api.get("/api/rooms/gone").await.json()["room"]["status"], "removing");

    node.run();
    node.ready().await;
    let studio = Studio::at(&janus.connect_options(), &node).await;
    until("the room goes", async || api.get("/api/rooms/gone").await.status == 404).await;
    assert_eq!(studio.marked_rooms().await, ["kept"]);
    until("one FFmpeg is left", async || node.children("ffmpeg").len() == 1).await;
}

/// Waits until everything exists exactly once: a Janus room with one forwarder to the mixer's port, and one
/// FFmpeg.
async fn settled(node: &Node, janus: Option<&ConnectOptions>) -> Studio {
    let studio = match janus {
        Some(options) => Studio::at(options, node).await,
        None => Studio::managed(node).await,
    };
    until("each room is there once", async || {
        let mut ports = Vec::new();
        for room in ROOMS {
            ports.extend(studio.forwarders(room).await.iter().map(|f| f.port));
        }
        ports.sort_unstable();
        let actors = node.states_of("mixer_room").await;
        let mut listening: Vec<u16> = actors.iter().filter_map(|actor| port(&actor["observed"])).collect();
        listening.sort_unstable();
        studio.marked_rooms().await == ROOMS
            && ports.len() == ROOMS.len()
            && ports == listening
            && node.children("ffmpeg").len() == ROOMS.len()
    })
    .await;
    studio
}

fn port(observed: &serde_json::Value) -> Option<u16> {
    observed["rtp"].as_str()?.rsplit_once(':')?.1.parse().ok()
}

async fn last_sequence(node: &Node, room: &str) -> u64 {
    let mut listener = Listener::open(&node.target(room).await, Mode::Parts).await.unwrap();
    listener.hear(Duration::from_secs(3)).await.unwrap();
    listener.playlist().edge().0
}

fn borrowed(janus: &TestJanus) -> Vec<(&'static str, &str)> {
    let options = &janus.options;
    vec![
        ("janus.mode", "external"),
        ("janus.url", janus.janus.url()),
        ("janus.api_secret", &options.api_secret.0),
        ("janus.admin_key", &options.admin_key.0),
    ]
}

/// Returns the Janus room that a node leaves behind if it dies after creating it and before writing its key.
fn left_behind(room: &str, studio: &Studio) -> NewRoom {
    let mark = OwnershipTag::new("default", RoomId::new(room).unwrap(), Epoch(1)).unwrap();
    let secret = studio.secret_of(room);
    NewRoom { janus_room_id: 100_999, description: mark.to_string(), pin: pin(), secret }
}

fn strangers_room() -> NewRoom {
    let secret = Secret("a stranger's".to_owned());
    NewRoom { janus_room_id: STRANGERS, description: "A stranger's room".to_owned(), pin: pin(), secret }
}

//! Replay from object storage: recordings whose mixer has removed its data, or is dead.

use std::time::Duration;

use serde_json::{Value, json};
use stentor::domain::ids::RoomId;
use stentor::probe::Mode;
use stentor::probe::listener::Target;

use crate::captions::recogniser::Recogniser;
use crate::rooms::{node_on_etcd, tuned_in};
use crate::support::caller::Caller;
use crate::support::etcd::Etcd;
use crate::support::moto::{BUCKET, Moto};
use crate::support::node::{Answer, Node, request};
use crate::support::studio::Studio;
use crate::support::{opus, until};

const ROOM: &str = "shelved";

fn stored_in(endpoint: &str) -> Vec<(&'static str, String)> {
    vec![
        ("recording.mode", "always".to_owned()),
        ("recording.storage.url", format!("s3://{BUCKET}/radio")),
        ("recording.storage.endpoint", endpoint.to_owned()),
        ("recording.storage.access_key", "key".to_owned()),
        ("recording.storage.secret_key", "hidden-secret".to_owned()),
        ("hls.segment_ms", "500".to_owned()),
    ]
}

/// Requests of one listener with a replay token.
struct Replay<'a> {
    node: &'a Node,
    id: &'a str,
    token: &'a str,
}

impl Replay<'_> {
    async fn get(&self, name: &str, headers: &[(&str, &str)]) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let url = format!("{}/hls/recordings/{}/{name}", self.node.hls, self.id);
        let all: Vec<_> = [&[("authorization", bearer.as_str())], headers].concat();
        request("GET", &url, &all, None).await
    }

    /// Returns the playlist, the first segment, the whole file and a clip.
    async fn everything(&self) -> [Answer; 4] {
        let list = self.get("index.m3u8", &[]).await;
        assert_eq!(list.status, 200, "{list:?}");
        let text = list.text();
        let first = text.lines().find(|line| line.ends_with(".ts")).expect("a segment").to_owned();
        let clip = self.get("recording.m4a?from=1&to=2.5", &[]).await;
        [list, self.get(&first, &[]).await, self.get("recording.m4a", &[]).await, clip]
    }
}

fn assert_same(now: &[Answer], before: &[Answer]) {
    for (now, before) in now.iter().zip(before) {
        assert_eq!((now.status, before.status), (200, 200), "{} {}", now.text(), before.text());
        assert!(now.body == before.body, "{} and {} bytes", now.body.len(), before.body.len());
        assert_eq!(now.header("etag"), before.header("etag"));
    }
}

/// Records a tone for some seconds, waits until the recording is ready and has its chapters, and returns its
/// id.
async fn recorded(node: &Node, target: &Target, mode: Mode) -> String {
    let studio = Studio::managed(node).await;
    let _speaker = studio.speak(node, ROOM, 440).await;
    let mut listener = tuned_in(target, mode, 440.0).await;
    listener.hear(Duration::from_secs(4)).await.unwrap();
    let room = node.get(&format!("/api/rooms/{ROOM}")).await.json();
    let id = room["room"]["recording"].as_str().expect("recorded without a request").to_owned();
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    // The chapters are written a moment later, and are part of the M4A file.
    until("the recording is ready and has chapters", async || {
        let known = known(node, &id).await;
        known["state"] == "ready" && known["chapters"] != json!([])
    })
    .await;
    id
}

async fn known(node: &Node, id: &str) -> Value {
    node.get(&format!("/api/recordings/{id}")).await.json()["recording"].clone()
}

async fn token(node: &Node, id: &str) -> String {
    let issued = node.post(&format!("/api/recordings/{id}/token"), json!({})).await.json();
    issued["token"].as_str().expect("a token").to_owned()
}

#[actix::test]
async fn dropped_recording_plays_from_storage() {
    let Some(mut moto) = Moto::prepare() else { return };
    let endpoint = format!("http://{}", moto.address());
    let settings = stored_in(&endpoint);
    let mut settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    settings.push(("recording.storage.keep_local", "false"));
    let mut node = Node::start(&settings).await;
    node.room_on_air(ROOM).await;
    let id = recorded(&node, &node.target(ROOM).await, Mode::Parts).await;
    let token = token(&node, &id).await;
    let before = Replay { node: &node, id: &id, token: &token }.everything().await;
    let folder = node.data_dir().join("recordings").join(&id);
    assert!(folder.exists(), "nothing is removed before it is stored");

    moto.run().await;
    until("the local data is removed", async || {
        !folder.exists() && known(&node, &id).await["mixers"] == json!([])
    })
    .await;
    assert!(known(&node, &id).await["storedAt"].is_u64());
    let replay = Replay { node: &node, id: &id, token: &token };
    assert_same(&replay.everything().await, &before);
    let etag = before[2].header("etag").expect("an ETag").to_owned();
    let rest = replay.get("recording.m4a", &[("range", "bytes=5000-"), ("if-range", &etag)]).await;
    assert_eq!(rest.status, 206, "a download that began before continues");
    assert!(rest.body == before[2].body[5_000..]);

    // A node that has just started has nothing in memory.
    assert!(node.stop().success());
    node.run();
    node.ready().await;
    assert_same(&Replay { node: &node, id: &id, token: &token }.everything().await, &before);
    assert!(!node.output().contains("hidden-secret"));

    assert_eq!(node.delete(&format!("/api/recordings/{id}")).await.status, 200);
    let gone = Replay { node: &node, id: &id, token: &token }.get("recording.m4a", &[]).await;
    assert_eq!(gone.code(), "recording_not_found", "a deleted recording is refused at once");
    for kind in ["m4a", "segments"] {
        let name = format!("radio/{ROOM}/{id}.{kind}");
        until("the copy is removed", async || moto.object(&name).await.status == 404).await;
    }
}

#[actix::test]
async fn tracks_and_captions_are_stored() {
    let Some(mut moto) = Moto::prepare() else { return };
    let endpoint = format!("http://{}", moto.address());
    let settings = stored_in(&endpoint);
    let mut settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let more = [("recording.storage.keep_local", "false"), ("recording.tracks", "true")];
    settings.extend(more.into_iter().chain([("presence.timeout", "10m")]));
    let node = Node::start(&settings).await;
    node.room_on_air(ROOM).await;
    let users = format!("/api/rooms/{ROOM}/users");
    let anchor = node.post(&users, json!({ "role": "anchor", "userId": "ann" })).await.json();
    let mut caller = Caller::connect(&node.ws, anchor["token"].as_str().expect("a token"), "").await;
    caller.call("join", json!({})).await.unwrap();
    let media = caller.publish(opus::frames("sine=frequency=440:sample_rate=48000")).await;
    let mut recogniser = Recogniser::connect(&node, ROOM, "?language=en").await;
    recogniser.listen(5).await;
    let end = recogniser.end();
    recogniser.say(end - 500, end, "A tone.", true).await;
    let room = node.get(&format!("/api/rooms/{ROOM}")).await.json();
    let id = room["room"]["recording"].as_str().expect("recorded without a request").to_owned();
    let transcript = async || node.get(&format!("/api/recordings/{id}/transcript")).await;
    until("the caption is stored", async || transcript().await.text().lines().count() == 1).await;
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    drop((media, caller, recogniser));
    until("there is a track", async || !known(&node, &id).await["tracks"].as_array().unwrap().is_empty())
        .await;

    moto.run().await;
    let copy = async |kind: &str| moto.object(&format!("radio/{ROOM}/{id}.{kind}")).await;
    let kinds = ["m4a", "segments", "captions.jsonl", "info.json", "track-1.opus"];
    for kind in kinds {
        until("the copy is there", async || copy(kind).await.status == 200).await;
    }
    let track = node.get(&format!("/api/recordings/{id}/tracks/1")).await;
    assert!(copy("track-1.opus").await.body == track.body && track.body.starts_with(b"OggS"));
    assert_eq!(copy("captions.jsonl").await.text(), transcript().await.text());
    until("the copy has the waveform", async || copy("info.json").await.json()["waveform"].is_array()).await;
    until("the copy has the speaking time", async || {
        let (stored, known) = (copy("info.json").await.json(), known(&node, &id).await);
        stored["anchors"] == known["anchors"] && known["anchors"][0]["spokenMs"].as_u64() > Some(1_000)
    })
    .await;
    let (stored, known) = (copy("info.json").await.json(), known(&node, &id).await);
    for name in ["recordingId", "roomId", "startedAt", "endedAt", "durationMs", "loudness", "chapters"] {
        assert_eq!(stored[name], known[name], "{name}");
    }
    assert_eq!(stored["anchors"][0]["userId"], "ann", "{stored}");

    assert_eq!(node.delete(&format!("/api/recordings/{id}")).await.status, 200);
    for kind in kinds {
        until("the copy is removed", async || copy(kind).await.status == 404).await;
    }
    let folder = node.data_dir().join("recordings").join(&id);
    until("nothing is left", async || !folder.exists()).await;
}

#[actix::test]
async fn recording_of_dead_mixer_plays_on() {
    let Some(mut moto) = Moto::prepare() else { return };
    moto.run().await;
    let etcd = Etcd::start();
    let endpoint = format!("http://{}", moto.address());
    let stored = stored_in(&endpoint);
    let member = async |id: &str, roles: &str| {
        let mut settings: Vec<_> = stored.iter().map(|(key, value)| (*key, value.as_str())).collect();
        settings.extend([("node.id", id), ("node.roles", roles), ("rooms.heartbeat_ttl", "3s")]);
        node_on_etcd(&etcd, &settings).await
    };
    let desk = member("desk", "rooms,janus,hls").await;
    let mut mixers = [member("m1", "mixer").await, member("m2", "mixer").await];
    desk.room_on_air(ROOM).await;
    let target = Target {
        base_url: desk.hls.clone(),
        room: RoomId::new(ROOM).unwrap(),
        token: desk.token(ROOM).await,
        ffmpeg: "ffmpeg".into(),
    };
    let id = recorded(&desk, &target, Mode::Segments).await;
    let token = token(&desk, &id).await;
    let replay = Replay { node: &desk, id: &id, token: &token };
    let before = replay.everything().await;
    let segments = format!("radio/{ROOM}/{id}.segments");
    let owner = usize::from(known(&desk, &id).await["mixers"] == json!(["m2"]));
    until("the segments are stored", async || {
        let uploader = mixers[owner].state_of("uploader").await;
        moto.object(&segments).await.status == 200 && uploader["desired"]["recordings"] == json!([])
    })
    .await;

    mixers[owner].kill();
    until("the mixer counts as dead", async || {
        let modules = desk.get("/api/modules").await.json();
        let ids = modules["mixers"].as_array().cloned().unwrap_or_default();
        !ids.iter().any(|mixer| mixer["id"] == format!("m{}", owner + 1) && mixer["present"] != false)
    })
    .await;
    assert_same(&replay.everything().await, &before);

    // The other mixer removes the copies; the dead one removes its data when it is back.
    assert_eq!(desk.delete(&format!("/api/recordings/{id}")).await.status, 200);
    until("the copies are removed", async || moto.object(&segments).await.status == 404).await;
    assert_eq!(moto.object(&format!("radio/{ROOM}/{id}.m4a")).await.status, 404);
    let folder = mixers[owner].data_dir().join("recordings").join(&id);
    assert!(folder.exists());
    mixers[owner].run();
    mixers[owner].ready().await;
    until("the data is removed", async || !folder.exists()).await;
}

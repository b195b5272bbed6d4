//! Tests of failover: a room moves off a lost, failed or cordoned module; its other module stays assigned.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::json;
use stentor::probe::Mode;

use super::{Cluster, HZ, LONG, ROOM, TTL, TTL_GOAL, leader_of, member, within};
use crate::rooms::tuned_in;
use crate::support::etcd::Etcd;
use crate::support::fault_table::recovered;
use crate::support::node::{Node, until_gone};
use crate::support::studio::Studio;
use crate::support::until;

#[actix::test]
async fn killed_mixer_node_rooms_move_repeatedly() {
    let mut cluster = Cluster::start(2).await;
    let (_speaker, mut listener) = cluster.on_air().await;
    let first = cluster.room().await;
    listener.hear(Duration::from_secs(1)).await.unwrap();
    let mut last = listener.playlist().edge().0;
    for _ in 0..2 {
        let victim = cluster.owner().await;
        let ffmpeg = cluster.mixers[victim].children("ffmpeg");
        let killed = Instant::now();
        cluster.mixers[victim].kill();
        until_gone(&ffmpeg);
        let (_, mut listener) =
            cluster.heard_from_another(victim, "kill -9 mixer node (TTL 3 s)", killed).await;
        listener.hear(Duration::from_secs(1)).await.unwrap();
        let sequence = listener.playlist().media_sequence;
        assert!(sequence > last, "{sequence} after {last}");
        last = listener.playlist().edge().0;
        cluster.mixers[victim].run();
        cluster.mixers[victim].ready().await;
    }
    let room = cluster.room().await;
    assert_eq!(room["janus"]["id"], first["janus"]["id"]);
    assert_eq!(room["epoch"].as_u64().unwrap(), first["epoch"].as_u64().unwrap() + 2, "one each");
    let failover = cluster.desk.state_of("failover").await;
    assert_eq!(failover["observed"]["moved"], 2, "{failover:#}");
    let why = failover["observed"]["recent"][0]["why"].as_str().unwrap();
    assert!(why.contains("has no heartbeat"), "{why}");
}

#[actix::test]
async fn crashing_ffmpeg_moves_room() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().unwrap();
    let crashing = folder.path().join("ffmpeg");
    std::fs::write(&crashing, "#!/bin/sh\n[ \"$1\" = -version ] && exec ffmpeg -version\nexit 3\n").unwrap();
    // FFmpeg may run as a different user from the tests.
    for open in [folder.path(), &crashing] {
        std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let desk = member(&etcd, "desk", "rooms,janus", &[]).await;
    let bad = ("mixer.ffmpeg", crashing.to_str().unwrap());
    let mut cluster = Cluster { desk, mixers: vec![member(&etcd, "m1", "mixer,hls", &[bad]).await], etcd };
    let made = cluster.desk.post("/api/rooms", json!({ "roomId": ROOM, "start": true })).await;
    assert_eq!(made.status, 201, "{made:?}");
    let given_up = async || {
        let why = cluster.desk.state_of("failover").await["reason"].as_str().unwrap_or("").to_owned();
        why.contains("gave up") && why.contains("no mixer takes the room")
    };
    within("the mixer gives up, and no other takes the room", LONG, given_up).await;
    let there = Instant::now();
    cluster.mixers.push(member(&cluster.etcd, "m2", "mixer,hls", &[]).await);
    within("the room moves", LONG, async || cluster.owner().await == 1).await;
    cluster.desk.until_status(ROOM, "onair").await;
    let _speaker = Studio::managed(&cluster.desk).await.speak(&cluster.desk, ROOM, HZ as u32).await;
    tuned_in(&cluster.target(1).await, Mode::Parts, HZ).await;
    let lost = "media until there is another mixer";
    recovered("FFmpeg crash loop: on another mixer", lost, there.elapsed(), Duration::from_secs(5));
    until("the first mixer has no room", async || cluster.mixers[0].states_of("mixer_room").await.is_empty())
        .await;
}

#[actix::test]
async fn room_leaves_unready_or_killed_janus() {
    let etcd = Etcd::start();
    let desk = member(&etcd, "desk", "rooms", &[]).await;
    let mut januses = [member(&etcd, "j1", "janus", &[]).await, member(&etcd, "j2", "janus", &[]).await];
    let mut cluster = Cluster { desk, mixers: vec![member(&etcd, "m1", "mixer,hls", &[]).await], etcd };
    cluster.desk.room_on_air(ROOM).await;
    let at = async |cluster: &Cluster| {
        let id = cluster.room().await["janus"]["id"].clone();
        usize::from(id == "j2")
    };
    let first = at(&cluster).await;
    let mark = format!("/api/modules/januses/j{}/mark", first + 1);
    assert_eq!(cluster.desk.put(&mark, json!({ "label": "unready" })).await.status, 200);
    let second = 1 - first;
    within("the room moves", LONG, async || at(&cluster).await == second).await;
    heard(&cluster, &januses[second], HZ as u32).await;
    let old = Studio::managed(&januses[first]).await;
    until("the old Janus has no room", async || old.rooms_of(ROOM).await.is_empty()).await;

    assert_eq!(cluster.desk.delete(&mark).await.status, 200);
    januses[second].kill();
    let killed = Instant::now();
    within("the room moves back", LONG, async || at(&cluster).await == first).await;
    heard(&cluster, &januses[first], 660).await;
    recovered("kill -9 Janus and its node (TTL 3 s): heard", "the calls", killed.elapsed(), TTL_GOAL);
    assert_eq!(cluster.room().await["mixer"]["id"], "m1");
    cluster.mixers.clear();
}

async fn heard(cluster: &Cluster, janus: &Node, hz: u32) {
    cluster.desk.until_status(ROOM, "onair").await;
    let studio = Studio::managed(janus).await;
    let pin = cluster.room().await["pin"].as_str().unwrap().to_owned();
    let _speaker = studio.speak_with(&pin, ROOM, hz).await;
    tuned_in(&cluster.target(0).await, Mode::Parts, f64::from(hz)).await;
}

#[actix::test]
async fn a_frozen_store_moves_nothing() {
    let cluster = Cluster::start(2).await;
    let (_speaker, mut listener) = cluster.on_air().await;
    let before = cluster.room().await;
    leader_of(&[&cluster.desk]).await;
    let frozen = Instant::now();
    cluster.etcd.freeze();
    // The freeze lasts longer than a lease, and the room is heard throughout.
    while frozen.elapsed() < Duration::from_secs(6) {
        listener.hear(Duration::from_millis(500)).await.unwrap();
    }
    cluster.etcd.thaw();
    let ttl: u64 = TTL.trim_end_matches('s').parse().unwrap();
    let end = Instant::now() + LONG;
    // Wait until the store has been stable for so long that lost heartbeats would have caused a move.
    loop {
        let heard = listener.hear(Duration::from_millis(500)).await.unwrap();
        assert_eq!(heard.gaps, vec![]);
        let elector = cluster.desk.state_of("elector").await;
        let steady = elector["observed"]["storeSteadyFor"].as_u64();
        if elector["state"] == "leading" && steady > Some(2 * ttl) {
            break;
        }
        assert!(Instant::now() < end, "{elector:#}");
    }
    assert_eq!(cluster.room().await["epoch"], before["epoch"]);
    assert_eq!(cluster.room().await["status"], "onair");
}

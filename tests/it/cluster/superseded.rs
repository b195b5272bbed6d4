//! A mixer node that was frozen and finds its room on another node.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Cluster, HZ, ROOM};
use crate::rooms::tuned_in;
use crate::support::studio::Studio;
use crate::support::until;
use stentor::probe::Mode;

#[actix::test]
async fn thawed_mixer_node_doubles_nothing() {
    let cluster = Cluster::start(2).await;
    let (_speaker, _) = cluster.on_air().await;
    let frozen = cluster.owner().await;
    let since = Instant::now();
    cluster.mixers[frozen].signal(Signal::STOP);
    let (owner, mut listener) =
        cluster.heard_from_another(frozen, "SIGSTOP mixer node (TTL 3 s)", since).await;
    let epoch = cluster.room().await["epoch"].clone();
    listener.hear(Duration::from_secs(3)).await.unwrap();
    let ffmpeg = cluster.mixers[frozen].children("ffmpeg");
    cluster.mixers[frozen].signal(Signal::CONT);
    until("the FFmpeg of the thawed mixer ends", async || {
        !ffmpeg.iter().any(|pid| crate::support::node::is_alive(*pid))
    })
    .await;
    until("the room ends on the thawed mixer", async || {
        cluster.mixers[frozen].states_of("mixer_room").await.is_empty()
    })
    .await;
    let heartbeats = async || {
        let modules = cluster.desk.get("/api/modules").await.json();
        modules["mixers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|m| m["refuses"].is_null() && m["status"] == "healthy")
    };
    until("both mixers take rooms again", heartbeats).await;
    let studio = Studio::managed(&cluster.desk).await;
    assert_eq!(studio.forwarders(ROOM).await.len(), 1, "Janus forwards to one of them");
    let heard = listener.hear(Duration::from_secs(2)).await.unwrap();
    assert_eq!(heard.gaps, vec![]);
    assert!((heard.strongest_hz().unwrap() - HZ).abs() <= 20.0);
    tuned_in(&cluster.target(owner).await, Mode::Parts, HZ).await;
    assert_eq!(cluster.room().await["epoch"], epoch);
    assert_eq!(cluster.owner().await, owner);
}

//! Tests that audio of a room arrives at its listeners, and at no others.

use std::time::Duration;

use futures::future::join_all;
use stentor::probe::{HeardAudio, Mode};

use super::{assert_only, node_on_etcd, tuned_in};
use crate::support::etcd::Etcd;
use crate::support::node::Node;
use crate::support::studio::Studio;

#[actix::test]
async fn anchor_is_heard_with_embedded_store() {
    a_speaker_is_heard(&Node::start(&[]).await).await;
}

#[actix::test]
async fn anchor_is_heard_with_etcd() {
    let etcd = Etcd::start();
    a_speaker_is_heard(&node_on_etcd(&etcd, &[]).await).await;
}

async fn a_speaker_is_heard(node: &Node) {
    node.room_on_air("tone").await;
    let studio = Studio::managed(node).await;
    let _speaker = studio.speak(node, "tone", 440).await;
    let target = node.target("tone").await;
    let listening = [Mode::Parts, Mode::Segments]
        .map(async |mode| tuned_in(&target, mode, 440.0).await.hear(Duration::from_secs(3)).await.unwrap());
    for heard in join_all(listening).await {
        assert_only(&heard, 440.0, &[]);
    }
}

#[actix::test]
async fn concurrent_rooms_are_heard_separately() {
    let node = Node::start(&[("hls.key_rotation", "2")]).await;
    let studio = Studio::managed(&node).await;
    let mut speakers = Vec::new();
    for (room, hz) in [("low", 440), ("high", 1_000)] {
        node.room_on_air(room).await;
        speakers.push(studio.speak(&node, room, hz).await);
    }
    let (low, high) = (node.target("low").await, node.target("high").await);
    let ears = [
        (&low, Mode::Parts, 440.0, 1_000.0),
        (&low, Mode::Segments, 440.0, 1_000.0),
        (&high, Mode::Parts, 1_000.0, 440.0),
        (&high, Mode::Segments, 1_000.0, 440.0),
    ];
    let listening = ears.map(async |(target, mode, own, other)| {
        let heard: HeardAudio = tuned_in(target, mode, own).await.hear_segments(5).await.unwrap();
        assert_only(&heard, own, &[other]);
        assert!(heard.segments().len() >= 5, "{:?}", heard.segments());
        assert!(heard.keys().len() >= 3, "{:?}", heard.keys());
    });
    join_all(listening).await;
}

#[actix::test]
async fn ten_khz_tone_is_heard() {
    let node = Node::start(&[]).await;
    node.room_on_air("treble").await;
    let studio = Studio::managed(&node).await;
    let _speaker = studio.speak(&node, "treble", 10_000).await;
    let mut listener = tuned_in(&node.target("treble").await, Mode::Parts, 10_000.0).await;
    assert_only(&listener.hear(Duration::from_secs(2)).await.unwrap(), 10_000.0, &[]);
}

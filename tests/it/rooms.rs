//! Tests of rooms on a real node: created, started, heard, stopped, deleted, and the faults they survive.

mod crash;
mod endings;
mod failures;
mod janus_trouble;
mod levels;
mod orderly;
mod tones;
mod uplink;

use std::time::{Duration, Instant};

use stentor::probe::listener::Target;
use stentor::probe::{HeardAudio, Listener, Mode};

use crate::support::etcd::Etcd;
use crate::support::node::Node;
use crate::support::{PATIENCE, pause_async};

const SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
const JWT_SECRETS: &str = "k1:0f1e2d3c4b5a69788796a5b4c3d2e1f0";

#[actix::test]
async fn room_without_anchor_is_playable() {
    let node = Node::start(&[]).await;
    node.room_on_air("silent").await;
    let mut listener = Listener::open(&node.target("silent").await, Mode::Parts).await.unwrap();
    let heard = listener.hear(Duration::from_secs(3)).await.unwrap();
    assert_eq!(heard.violations, Vec::<String>::new());
    assert!(heard.seconds() >= 3.0, "{}", heard.seconds());
    assert_eq!(heard.strongest_hz(), None, "silence has no tone");
}

/// Starts a node of a cluster.
pub async fn node_on_etcd(etcd: &Etcd, settings: &[(&str, &str)]) -> Node {
    Node::start(&on_etcd(&etcd.endpoint(), settings)).await
}

/// Returns the settings shared by all nodes of a cluster (rooms in etcd, secrets configured) and `settings`.
pub fn on_etcd<'a>(endpoint: &'a str, settings: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![
        ("store.kind", "etcd"),
        ("store.etcd.endpoints", endpoint),
        ("auth.jwt_secrets", JWT_SECRETS),
        ("hls.secret", SECRET),
    ];
    all.extend_from_slice(settings);
    all
}

/// Opens a listener and waits until it has heard the tone.
pub async fn tuned_in(target: &Target, mode: Mode, hz: f64) -> Listener {
    let deadline = Instant::now() + PATIENCE;
    let mut listener = Listener::open_by(target, mode, deadline).await.unwrap();
    loop {
        match listener.hear_until(hz, deadline).await {
            Ok(_) => return listener,
            Err(refused) if refused.is_passing() && Instant::now() < deadline => pause_async().await,
            Err(refused) => panic!("{refused}"),
        }
    }
}

/// Asserts that only the tone was heard, without gaps or protocol violations.
fn assert_only(heard: &HeardAudio, hz: f64, others: &[f64]) {
    assert_eq!(heard.violations, Vec::<String>::new());
    assert_eq!(heard.gaps, vec![]);
    let strongest = heard.strongest_hz().unwrap_or_default();
    // A packet lost on a busy machine shifts the phase, which moves the maximum by a few hertz.
    assert!((strongest - hz).abs() <= 20.0, "{strongest} Hz instead of {hz}");
    assert!(heard.level(hz) > 0.03, "{hz} Hz has only {}", heard.level(hz));
    for other in others {
        assert!(heard.level(*other) < heard.level(hz) / 20.0, "{other} Hz has {}", heard.level(*other));
    }
    assert!(heard.segments().is_sorted_by(|a, b| a + 1 == *b), "{:?}", heard.segments());
}

//! Several nodes on one etcd: modules lost, frozen and drained under a room on air, and leader election.

mod anchors;
mod captions;
mod drain;
mod explain;
mod housekeeping;
mod invalid_values;
mod leader;
mod listening;
mod moves;
mod plain;
mod registration;
mod schedule;
pub mod stage;
mod superseded;

use std::time::{Duration, Instant};

use serde_json::Value;
use stentor::domain::ids::RoomId;
use stentor::probe::listener::Target;
use stentor::probe::{Listener, Mode};

use crate::rooms::{node_on_etcd, tuned_in};
use crate::support::etcd::Etcd;
use crate::support::fault_table::recovered;
use crate::support::node::Node;
use crate::support::studio::{Speaker, Studio};
use crate::support::until;

/// Lease duration of heartbeats: short, so that a loss is noticed soon; etcd grants nothing below 2 s.
const TTL: &str = "3s";
/// Goal for a failover with this TTL. With a TTL of 10 s the goal is twelve seconds.
const TTL_GOAL: Duration = Duration::from_secs(5);
const ROOM: &str = "live";
const HZ: f64 = 440.0;

/// Time limit of waits, far above any goal.
const LONG: Duration = Duration::from_secs(90);

/// A node for the API and Janus, and mixer nodes `m1`, `m2`, …
struct Cluster {
    desk: Node,
    mixers: Vec<Node>,
    etcd: Etcd,
}

impl Cluster {
    async fn start(mixers: usize) -> Self {
        let etcd = Etcd::start();
        let desk = member(&etcd, "desk", "rooms,janus", &[]).await;
        let mut nodes = Vec::new();
        for n in 1..=mixers {
            nodes.push(member(&etcd, &format!("m{n}"), "mixer,hls", &[]).await);
        }
        Self { desk, mixers: nodes, etcd }
    }

    async fn room(&self) -> Value {
        self.desk.get(&format!("/api/rooms/{ROOM}")).await.json()["room"].clone()
    }

    /// Returns the index of the mixer that has the room.
    async fn owner(&self) -> usize {
        let id = self.room().await["mixer"]["id"].clone();
        let number = id.as_str().unwrap().trim_start_matches('m');
        number.parse::<usize>().unwrap() - 1
    }

    async fn target(&self, mixer: usize) -> Target {
        Target {
            base_url: self.mixers[mixer].hls.clone(),
            room: RoomId::new(ROOM).unwrap(),
            token: self.desk.token(ROOM).await,
            ffmpeg: "ffmpeg".into(),
        }
    }

    /// Puts the room on air with a tone, and returns the anchor and a listener at the room's mixer.
    async fn on_air(&self) -> (Speaker, Listener) {
        self.desk.room_on_air(ROOM).await;
        let speaker = Studio::managed(&self.desk).await.speak(&self.desk, ROOM, HZ as u32).await;
        let listener = tuned_in(&self.target(self.owner().await).await, Mode::Parts, HZ).await;
        (speaker, listener)
    }

    /// Waits until the room is on air on a mixer other than `left`, and a listener at that mixer hears it.
    /// Reports the time since `since`. Returns the index of the mixer and the listener.
    async fn heard_from_another(&self, left: usize, fault: &str, since: Instant) -> (usize, Listener) {
        let moved = async || {
            let room = self.room().await;
            room["status"] == "onair" && room["mixer"]["id"] != format!("m{}", left + 1)
        };
        within("the room moves", LONG, moved).await;
        let owner = self.owner().await;
        let listener = tuned_in(&self.target(owner).await, Mode::Parts, HZ).await;
        recovered(fault, "media until then", since.elapsed(), TTL_GOAL);
        (owner, listener)
    }
}

/// Starts a node of the cluster with this id and these roles.
async fn member(etcd: &Etcd, id: &str, roles: &str, settings: &[(&str, &str)]) -> Node {
    let mut all = vec![
        ("node.id", id),
        ("node.roles", roles),
        ("rooms.heartbeat_ttl", TTL),
        ("rooms.housekeeping_interval", "1s"),
    ];
    all.extend_from_slice(settings);
    node_on_etcd(etcd, &all).await
}

/// Waits like `until`, with its own deadline.
async fn within(what: &str, deadline: Duration, condition: impl AsyncFn() -> bool) {
    let end = Instant::now() + deadline;
    while !condition().await {
        assert!(Instant::now() < end, "{what} did not happen within {deadline:?}");
        crate::support::pause_async().await;
    }
}

/// Returns true if this node is the leader.
async fn leads(node: &Node) -> bool {
    node.state_of("elector").await["state"] == "leading"
}

/// Waits until one of the nodes is the leader and returns its index.
async fn leader_of(nodes: &[&Node]) -> usize {
    let found = std::cell::Cell::new(0);
    until("a leader is elected", async || {
        for (n, node) in nodes.iter().enumerate() {
            if leads(node).await {
                found.set(n);
                return true;
            }
        }
        false
    })
    .await;
    found.get()
}

//! A three-member etcd cluster that loses its leader, is gone for a minute, and is frozen for longer than the
//! heartbeat lease. The tests use production timers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stentor::probe::listener::Target;
use stentor::probe::{Listener, Mode};

use crate::rooms::{node_on_etcd, tuned_in};
use crate::support::caller::Caller;
use crate::support::etcd::Etcd;
use crate::support::fault_table::recovered;
use crate::support::janus::TestJanus;
use crate::support::node::Node;
use crate::support::until;
use crate::support::webrtc::WebRtcClient;

const ROOM: &str = "live";
const HZ: f64 = 440.0;
const CONVERGED: Duration = Duration::from_secs(2);
const GONE: Duration = Duration::from_secs(60);
/// Duration of the freeze; heartbeats expire after 10 s.
const FROZEN: Duration = Duration::from_secs(15);

/// The nodes and services, in the order in which they are dropped.
struct House {
    desk: Node,
    gate: Node,
    mixers: Vec<Node>,
    ear: Node,
    etcd: Etcd,
    _janus: TestJanus,
}

/// The room's state before the faults, with its anchor and a listener.
struct LiveRoom {
    anna: Caller,
    media: WebRtcClient,
    listener: Listener,
    discontinuity: Option<u64>,
    room: Value,
    ffmpegs: Vec<i32>,
}

#[actix::test]
async fn rooms_on_air_survive_etcd_outage() {
    let mut house = House::start().await;
    let mut live = house.on_air().await;

    let leader = house.etcd.leader();
    house.etcd.stop_member(leader);
    house.takes_changes("etcd: its leader killed", "changes: for a moment", "after-leader").await;
    house.etcd.run();
    live.is_undisturbed(&house).await;

    house.etcd.stop();
    let away = Instant::now();
    house.refuses_changes().await;
    while away.elapsed() < GONE {
        live.goes_on().await;
    }
    house.refuses_changes().await;
    house.etcd.run();
    house.takes_changes("etcd: all three stopped for 60 s", "changes: 503 meanwhile", "after-stop").await;
    live.is_undisturbed(&house).await;

    house.etcd.freeze();
    let frozen = Instant::now();
    house.refuses_changes().await;
    while frozen.elapsed() < FROZEN {
        live.goes_on().await;
    }
    house.etcd.thaw();
    house.takes_changes("etcd: frozen for 15 s", "changes: 503 meanwhile", "after-freeze").await;
    live.is_undisturbed(&house).await;
    // Listen for so long that modules which wrongly count as lost would have been replaced.
    let thawed = Instant::now();
    while thawed.elapsed() < FROZEN {
        live.goes_on().await;
    }
    live.is_undisturbed(&house).await;
}

impl LiveRoom {
    /// Listens for a second, and asserts that the anchor is heard and gets answers.
    async fn goes_on(&mut self) {
        let sent = self.media.progress().sent;
        let heard = self.listener.hear(Duration::from_secs(1)).await.unwrap();
        assert_eq!((&heard.gaps, &heard.violations), (&vec![], &vec![]), "heard throughout");
        assert!(heard.level(HZ) > 0.03);
        self.anna.call("keepalive", json!({ "status": "onair" })).await.unwrap();
        self.media.until("the anchor's media go on", |p| p.sent > sent).await;
    }

    /// Asserts that no client noticed a fault and that no process was replaced.
    async fn is_undisturbed(&mut self, house: &House) {
        self.goes_on().await;
        let segments = &self.listener.playlist().segments;
        let newest = segments.last().map(|s| s.discontinuity);
        assert_eq!(newest, self.discontinuity);
        // Heartbeats whose leases have expired come back a moment after the store.
        until("the room is on air", async || house.room().await["status"] == "onair").await;
        let room = house.room().await;
        for what in ["epoch", "janus", "mixer"] {
            assert_eq!(room[what], self.room[what], "{what}");
        }
        assert_eq!(house.ffmpegs(), self.ffmpegs);
    }
}

impl House {
    /// Starts everything and puts the room on air.
    async fn start() -> Self {
        let (etcd, janus) = (Etcd::start_members(3), TestJanus::start().await);
        let external = [
            ("janus.mode", "external"),
            ("janus.url", janus.janus.url()),
            ("janus.api_secret", janus.options.api_secret.0.as_str()),
            ("janus.admin_key", janus.options.admin_key.0.as_str()),
        ];
        let desk = member(&etcd, "desk", "rooms,janus", &external).await;
        let gate = member(&etcd, "gate", "gateway", &external).await;
        let mixers = vec![member(&etcd, "m1", "mixer", &[]).await, member(&etcd, "m2", "mixer", &[]).await];
        let ear = member(&etcd, "ear", "hls", &[]).await;
        desk.room_on_air(ROOM).await;
        Self { desk, gate, mixers, ear, etcd, _janus: janus }
    }

    /// Connects an anchor, and a listener through a listener node.
    async fn on_air(&self) -> LiveRoom {
        let wanted = json!({ "role": "anchor", "userId": "anna" });
        let made = self.desk.post(&format!("/api/rooms/{ROOM}/users"), wanted).await.json();
        let mut anna = Caller::connect(&self.gate.ws, made["token"].as_str().unwrap(), "").await;
        let (_, media) = anna.speak(HZ as u32).await;
        let target = Target { base_url: self.ear.hls.clone(), ..self.desk.target(ROOM).await };
        let listener = tuned_in(&target, Mode::Parts, HZ).await;
        let discontinuity = listener.playlist().segments.last().map(|s| s.discontinuity);
        LiveRoom { anna, media, listener, discontinuity, room: self.room().await, ffmpegs: self.ffmpegs() }
    }

    async fn room(&self) -> Value {
        self.desk.get(&format!("/api/rooms/{ROOM}")).await.json()["room"].clone()
    }

    fn ffmpegs(&self) -> Vec<i32> {
        self.mixers.iter().flat_map(|mixer| mixer.children("ffmpeg")).collect()
    }

    async fn refuses_changes(&self) {
        let refused = self.desk.post("/api/rooms", json!({ "roomId": "meanwhile" })).await;
        assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"), "{refused:?}");
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
    }

    /// Waits until a new room is on air, which needs every module to be back; then deletes the room.
    async fn takes_changes(&self, fault: &str, lost: &str, room: &str) {
        let since = Instant::now();
        let path = format!("/api/rooms/{room}");
        until("a room is made", async || {
            let made = self.desk.post("/api/rooms", json!({ "roomId": room })).await.status;
            made == 201 || made == 409
        })
        .await;
        until("the new room is on air", async || {
            self.desk.post(&format!("{path}/start"), json!({})).await.status == 200
                && self.desk.get(&path).await.json()["room"]["status"] == "onair"
        })
        .await;
        recovered(fault, lost, since.elapsed(), CONVERGED);
        assert_eq!(self.desk.delete(&path).await.status, 200);
        until("the FFmpeg of the new room is gone", async || self.ffmpegs().len() == 1).await;
    }
}

async fn member(etcd: &Etcd, id: &str, roles: &str, settings: &[(&str, &str)]) -> Node {
    let mut all = vec![("node.id", id), ("node.roles", roles)];
    all.extend_from_slice(settings);
    node_on_etcd(etcd, &all).await
}

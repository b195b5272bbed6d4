//! Tests of anchors in a cluster in which each Janus is controlled by its own node. A Janus and its node are
//! killed, a Janus freezes, or a node restarts while its Janus keeps running.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use stentor::domain::ids::RoomId;
use stentor::probe::listener::Target;
use stentor::probe::{Listener, Mode};

use super::{LONG, ROOM, TTL, TTL_GOAL, member, within};
use crate::rooms::tuned_in;
use crate::support::caller::Caller;
use crate::support::etcd::Etcd;
use crate::support::fault_table::recovered;
use crate::support::janus::TestJanus;
use crate::support::node::{Node, signal};
use crate::support::redis::Redis;
use crate::support::studio::Studio;
use crate::support::until;
use crate::support::webrtc::WebRtcClient;

/// One second of audio, in frames.
const SECOND: u64 = 50;

/// The nodes and services, in the order in which they are dropped.
struct House {
    desk: Node,
    gate: Node,
    mixer: Node,
    /// Nodes `j1` and `j2`; each controls the Janus of the same index.
    nodes: Vec<Node>,
    januses: Vec<TestJanus>,
    _redis: Redis,
    _etcd: Etcd,
}

#[actix::test]
async fn anchors_reconnect_after_janus_node_death() {
    let mut house = House::start(TTL).await;
    let (mut anna, jtoken, _media) = house.anchor(440).await;
    let mut listener = house.listener(440.0).await;
    let lost = house.janus().await;
    let since = Instant::now();
    signal(house.pid(lost), Signal::KILL);
    house.nodes[lost].kill();
    let told = anna.note("reconnect", |_| true).await;
    assert_eq!(told["reason"], "janus_moved");
    let (_anna, _media) = house.back(&jtoken, 660).await;
    heard(&mut listener, 660.0).await;
    recovered(
        "kill -9 Janus and its node (TTL 3 s): anchors heard",
        "media until then",
        since.elapsed(),
        TTL_GOAL,
    );
    assert_eq!(house.janus().await, 1 - lost);
}

#[actix::test]
async fn restarted_janus_node_keeps_rooms() {
    let mut house = House::start("10s").await;
    let (mut anna, _, media) = house.anchor(440).await;
    let (mut bert, _, _tone) = house.anchor_named("bert", 660).await;
    let mut listener = house.listener(440.0).await;
    let (before, ffmpeg, at) =
        (house.room().await, house.mixer.children("ffmpeg"), media.hear(SECOND).await.len());
    assert!(at > 0);
    let (node, progress) = (house.janus().await, media.progress());
    house.nodes[node].kill();
    let since = Instant::now();
    house.nodes[node].run();
    house.nodes[node].ready().await;
    let rebuilt = async || {
        let node = &house.nodes[node];
        let rooms = node.states_of("janus_room").await;
        let link = node.states_of("janus_connection").await;
        let up = link.first().is_some_and(|link| link["state"] == "up");
        up && rooms.len() == 1 && house.room().await["status"] == "onair"
    };
    within("the room is rebuilt", LONG, rebuilt).await;
    recovered(
        "kill -9 janus node, its Janus lives: rebuilt",
        "nothing",
        since.elapsed(),
        Duration::from_secs(2),
    );
    let listened = listener.hear(Duration::from_secs(4)).await.unwrap();
    assert_eq!((&listened.gaps, &listened.violations), (&vec![], &vec![]));
    assert!(listened.level(440.0) > 0.03 && listened.level(660.0) > 0.03);
    assert_eq!(house.mixer.children("ffmpeg"), ffmpeg);
    assert_eq!(house.room().await["epoch"], before["epoch"]);
    assert_eq!(house.room().await["janus"]["id"], before["janus"]["id"]);
    let studio = house.studio(node).await;
    assert_eq!((studio.marked_rooms().await, studio.forwarders(ROOM).await.len()), (vec![ROOM.into()], 1));

    let now = media.until("media flows on", |p| p.sent >= progress.sent + 5 * SECOND).await;
    let (sent, received) = (now.sent - progress.sent, now.received - progress.received);
    assert!(received + SECOND > sent, "{received} frames received while {sent} were sent");
    media.until_hears(&[660.0], &[]).await;
    for caller in [&mut anna, &mut bert] {
        caller.call("keepalive", json!({ "status": "onair" })).await.unwrap();
        assert_eq!(caller.call("leave", json!({})).await, Ok(json!({})), "the anchor lost its session");
    }
}

#[actix::test]
async fn thawed_janus_doubles_nothing() {
    let house = House::start(TTL).await;
    let (mut anna, jtoken, _media) = house.anchor(440).await;
    let mut listener = house.listener(440.0).await;
    let frozen = house.janus().await;
    let since = Instant::now();
    signal(house.pid(frozen), Signal::STOP);
    within("the frozen Janus counts as dead", LONG, async || house.health(frozen).await == "unhealthy").await;
    recovered("SIGSTOP Janus: taken for dead", "the calls", since.elapsed(), Duration::from_secs(5));
    anna.note("reconnect", |_| true).await;
    let (_anna, media) = house.back(&jtoken, 660).await;
    heard(&mut listener, 660.0).await;
    let goal = Duration::from_secs(8);
    recovered("SIGSTOP Janus: anchors heard elsewhere", "media until then", since.elapsed(), goal);
    assert_eq!(house.janus().await, 1 - frozen);
    let epoch = house.room().await["epoch"].clone();

    signal(house.pid(frozen), Signal::CONT);
    let (old, new) = (house.studio(frozen).await, house.studio(1 - frozen).await);
    until("the room in the old Janus is destroyed", async || old.marked_rooms().await.is_empty()).await;
    within("the old Janus is healthy again", LONG, async || house.health(frozen).await == "healthy").await;
    assert_eq!((new.marked_rooms().await, new.forwarders(ROOM).await.len()), (vec![ROOM.into()], 1));
    listener.hear(Duration::from_millis(200)).await.unwrap();
    let before = listener.playlist().segments.last().map(|s| s.discontinuity);
    let listened = listener.hear(Duration::from_secs(3)).await.unwrap();
    assert!(listened.level(660.0) > 0.03 && listened.level(440.0) < 0.01, "the old one is not heard");
    assert_eq!(listener.playlist().segments.last().map(|s| s.discontinuity), before);
    assert_eq!((house.room().await["epoch"].clone(), house.janus().await), (epoch, 1 - frozen));
    let sent = media.progress().sent;
    media.until("media goes on", |p| p.sent > sent + SECOND).await;
}

impl House {
    /// Starts everything and puts the room on air.
    async fn start(ttl: &str) -> Self {
        let (etcd, redis) = (Etcd::start(), Redis::start());
        let (januses, url) = (vec![TestJanus::start().await, TestJanus::start().await], redis.url());
        let shared =
            [("rooms.heartbeat_ttl", ttl), ("presence.kind", "redis"), ("presence.redis.url", url.as_str())];
        let desk = member(&etcd, "desk", "rooms", &shared).await;
        let mixer = member(&etcd, "m1", "mixer,hls", &shared).await;
        let mut nodes = Vec::new();
        for (n, janus) in januses.iter().enumerate() {
            let settings = [&external(janus)[..], &shared].concat();
            nodes.push(member(&etcd, &format!("j{}", n + 1), "janus", &settings).await);
        }
        let settings = [&external(&januses[0])[..], &shared].concat();
        let gate = member(&etcd, "gate", "gateway", &settings).await;
        desk.room_on_air(ROOM).await;
        Self { desk, gate, mixer, nodes, januses, _redis: redis, _etcd: etcd }
    }

    async fn room(&self) -> Value {
        self.desk.get(&format!("/api/rooms/{ROOM}")).await.json()["room"].clone()
    }

    /// Returns the index of the Janus that has the room.
    async fn janus(&self) -> usize {
        usize::from(self.room().await["janus"]["id"] == "j2")
    }

    fn pid(&self, janus: usize) -> i32 {
        self.januses[janus].janus.pid().unwrap() as i32
    }

    /// Returns the status that this Janus module reports.
    async fn health(&self, janus: usize) -> Value {
        let (modules, id) = (self.desk.get("/api/modules").await.json(), format!("j{}", janus + 1));
        let all = modules["januses"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|m| m["id"] == id).unwrap_or_default()["status"].clone()
    }

    async fn studio(&self, janus: usize) -> Studio {
        Studio::at(&self.januses[janus].connect_options(), &self.nodes[janus]).await
    }

    async fn token(&self, user: &str) -> String {
        let wanted = json!({ "role": "anchor", "userId": user });
        let made = self.desk.post(&format!("/api/rooms/{ROOM}/users"), wanted).await;
        made.json()["token"].as_str().expect("a token").to_owned()
    }

    /// Puts the anchor `anna` on air; returns its caller, resume token and media.
    async fn anchor(&self, hz: u32) -> (Caller, Value, WebRtcClient) {
        self.anchor_named("anna", hz).await
    }

    async fn anchor_named(&self, user: &str, hz: u32) -> (Caller, Value, WebRtcClient) {
        let mut caller = Caller::connect(&self.gate.ws, &self.token(user).await, "&clientId=a").await;
        let (joined, media) = caller.speak(hz).await;
        (caller, joined["jtoken"].clone(), media)
    }

    /// Reconnects `anna`, whose media session is gone, and sends a new offer.
    async fn back(&self, jtoken: &Value, hz: u32) -> (Caller, WebRtcClient) {
        let token = self.token("anna").await;
        let (mut caller, joined) = Caller::come_back(&self.gate.ws, &token, jtoken).await;
        assert_eq!(joined["resume"], false);
        let media = caller.offer(hz).await;
        (caller, media)
    }

    async fn listener(&self, hz: f64) -> Listener {
        let target = Target {
            base_url: self.mixer.hls.clone(),
            room: RoomId::new(ROOM).unwrap(),
            token: self.desk.token(ROOM).await,
            ffmpeg: "ffmpeg".into(),
        };
        tuned_in(&target, Mode::Parts, hz).await
    }
}

pub(super) fn external(janus: &TestJanus) -> [(&str, &str); 4] {
    [
        ("janus.mode", "external"),
        ("janus.url", janus.janus.url()),
        ("janus.api_secret", janus.options.api_secret.0.as_str()),
        ("janus.admin_key", janus.options.admin_key.0.as_str()),
    ]
}

/// Waits until the same listener hears the tone, ignoring errors and gaps meanwhile.
pub(super) async fn heard(listener: &mut Listener, hz: f64) {
    let end = Instant::now() + LONG;
    loop {
        let listened = listener.hear(Duration::from_millis(300)).await;
        if listened.is_ok_and(|heard| heard.level(hz) > 0.03) {
            return;
        }
        assert!(Instant::now() < end, "{hz} Hz is not heard");
    }
}

//! A listener goes to the stage and back, and one node dies at each step. The nodes die in this order: the
//! listener node where the hand was raised, the leader, the gateway, the mixer, and Janus with its node.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use stentor::domain::ids::RoomId;
use stentor::probe::listener::Target;
use stentor::probe::{Listener, Mode};

use super::anchors::{external, heard};
use super::{LONG, leads, member, within};
use crate::channel::{Events, ROOM, done, listener, send};
use crate::rooms::tuned_in;
use crate::support::caller::Caller;
use crate::support::etcd::Etcd;
use crate::support::fault_table::recovered;
use crate::support::janus::TestJanus;
use crate::support::node::{Node, PUBLIC_WS_URL, signal};
use crate::support::redis::Redis;
use crate::support::webrtc::WebRtcClient;

const ANN_HZ: u32 = 440;
const BOB_HZ: u32 = 660;
/// Goal for each step with a lease of 3 s: failure detection, move and first sound.
pub const STEP_GOAL: Duration = Duration::from_secs(8);

/// Two nodes of each role, and the services, in the order in which they are dropped.
pub struct House {
    pub managers: Vec<Node>,
    pub ears: Vec<Node>,
    pub gates: Vec<Node>,
    pub mixers: Vec<Node>,
    /// Nodes `j1` and `j2`; each controls the Janus of the same index.
    studios: Vec<Node>,
    januses: Vec<TestJanus>,
    _redis: Redis,
    _etcd: Etcd,
}

#[actix::test]
async fn stage_survives_a_death_at_each_step() {
    let mut house = House::start(&[("http.public_ws_url", PUBLIC_WS_URL)]).await;
    house.managers[0].room_on_air(ROOM).await;
    let made = house.managers[0].post(&format!("/api/rooms/{ROOM}/users"), json!({ "role": "host" })).await;
    let host = made.json()["token"].as_str().expect("a token").to_owned();
    let ann = Speaker::join(&house.gates[1], &host, ANN_HZ).await;
    let bob = listener(&house.managers[0], "bob", Some("Bob")).await;
    let mut player = house.listener(ANN_HZ.into()).await;
    let mut at_host = Events::open(&house.ears[1].hls, &host, None).await;
    at_host.next("snapshot").await;

    // The hand outlives the listener node where it was raised.
    let mut at_bob = Events::open(&house.ears[0].hls, &bob, None).await;
    let me = at_bob.next("hello").await["you"]["id"].as_str().unwrap().to_owned();
    done(&send(&house.ears[0].hls, &bob, "POST", "hand", json!({ "note": "tea" })).await);
    assert_eq!(at_host.next("hand_raised").await["note"], "tea");
    at_bob.next("hand_raised").await;
    let last = at_bob.last_id.clone();
    house.ears[0].kill();
    let snapshot = Events::open(&house.ears[1].hls, &host, None).await.next("snapshot").await;
    assert_eq!(snapshot["hands"][0]["person"]["id"], me.as_str());

    // The invitation is sent and accepted while the cluster has no leader.
    let desk = house.kill_leader().await;
    let ear = house.ears[1].hls.clone();
    done(&send(&ear, &host, "PUT", &format!("hands/{me}/invitation"), Value::Null).await);
    let mut at_bob = Events::open(&ear, &bob, Some(&last)).await;
    assert_eq!(at_bob.next("invited").await["person"], me.as_str());
    let entered = send(&ear, &bob, "POST", "stage", json!({})).await.json();
    let token = entered["token"].as_str().unwrap_or_else(|| panic!("no token: {entered}")).to_owned();

    // Bob speaks; the gateway dies, and the media never stop.
    let mut speaker = Speaker::join(&house.gates[0], &token, BOB_HZ).await;
    heard(&mut player, BOB_HZ.into()).await;
    ann.media.until_hears(&[BOB_HZ.into()], &[]).await;
    let (since, sent) = (Instant::now(), speaker.media.progress().sent);
    house.gates[0].kill();
    assert_eq!(speaker.come_back(&house.gates[1], &token).await["resume"], true);
    assert!(speaker.media.progress().sent > sent);
    recovered("kill -9 gateway of an invited listener", "nothing: media go on", since.elapsed(), STEP_GOAL);

    // The mixer dies; listeners keep their URL.
    let (since, edge) = (Instant::now(), player.playlist().edge().0);
    let mixer = house.kill_mixer(desk).await;
    within("another mixer is heard", LONG, async || house.room(desk).await["mixer"]["id"] != mixer).await;
    heard(&mut player, BOB_HZ.into()).await;
    assert!(player.playlist().edge().0 > edge);
    recovered("kill -9 mixer of an invited listener", "media until then", since.elapsed(), STEP_GOAL);

    // The room's Janus instance and its node die; Bob speaks through the other instance.
    let since = Instant::now();
    house.kill_janus(desk).await;
    speaker.caller.note("reconnect", |_| true).await;
    assert_eq!(speaker.come_back(&house.gates[1], &token).await["resume"], false);
    speaker.media = speaker.caller.offer(BOB_HZ).await;
    heard(&mut player, BOB_HZ.into()).await;
    recovered("kill -9 Janus of an invited listener", "media until then", since.elapsed(), STEP_GOAL);

    // Back among the listeners, Bob is silent and may raise the hand again.
    speaker.caller.call("leave", json!({})).await.expect("a leave");
    drop(speaker);
    unheard(&mut player, BOB_HZ.into()).await;
    let snapshot = Events::open(&ear, &bob, None).await.next("snapshot").await;
    assert_eq!(snapshot["hands"], json!([]));
    done(&send(&ear, &bob, "POST", "hand", json!({ "note": "once more" })).await);
    let mut at_host = Events::open(&ear, &host, None).await;
    assert_eq!(at_host.next("snapshot").await["hands"][0]["note"], "once more");
}

/// An anchor on air.
struct Speaker {
    caller: Caller,
    jtoken: Value,
    media: WebRtcClient,
}

impl Speaker {
    async fn join(gate: &Node, token: &str, hz: u32) -> Self {
        let mut caller = Caller::connect(&gate.ws, token, "&clientId=a").await;
        let (joined, media) = caller.speak(hz).await;
        Self { caller, jtoken: joined["jtoken"].clone(), media }
    }

    /// Joins again with the resume token, and returns the result.
    async fn come_back(&mut self, gate: &Node, token: &str) -> Value {
        let (caller, joined) = Caller::come_back(&gate.ws, token, &self.jtoken).await;
        self.caller = caller;
        self.jtoken = joined["jtoken"].clone();
        joined
    }
}

impl House {
    /// Starts all nodes and services. `more`: further settings of all nodes.
    pub async fn start(more: &[(&str, &str)]) -> Self {
        let (etcd, redis) = (Etcd::start(), Redis::start());
        let januses = vec![TestJanus::start().await, TestJanus::start().await];
        let url = redis.url();
        let shared = [&[("presence.kind", "redis"), ("presence.redis.url", url.as_str())], more].concat();
        let pair = async |prefix: &str, roles: &str| {
            let mut nodes = Vec::new();
            for (n, janus) in januses.iter().enumerate() {
                let settings = [&external(janus)[..], &shared].concat();
                let settings = if matches!(roles, "janus" | "gateway") { &settings[..] } else { &shared };
                nodes.push(member(&etcd, &format!("{prefix}{}", n + 1), roles, settings).await);
            }
            nodes
        };
        let (managers, ears) = (pair("r", "rooms").await, pair("l", "hls").await);
        let (mixers, studios) = (pair("m", "mixer").await, pair("j", "janus").await);
        let gates = pair("g", "gateway").await;
        Self { managers, ears, gates, mixers, studios, januses, _redis: redis, _etcd: etcd }
    }

    /// Kills the leader. Returns the index of the other manager.
    pub async fn kill_leader(&mut self) -> usize {
        let leader = usize::from(!leads(&self.managers[0]).await);
        self.managers[leader].kill();
        1 - leader
    }

    /// Kills the room's mixer and returns its id. `manager`: index of a living manager.
    pub async fn kill_mixer(&mut self, manager: usize) -> Value {
        let mixer = self.room(manager).await["mixer"]["id"].clone();
        self.mixers[usize::from(mixer == "m2")].kill();
        mixer
    }

    /// Kills the room's Janus and the node that controls it. Returns the id that they share.
    pub async fn kill_janus(&mut self, manager: usize) -> Value {
        let janus = self.room(manager).await["janus"]["id"].clone();
        let lost = usize::from(janus == "j2");
        signal(self.januses[lost].janus.pid().unwrap() as i32, Signal::KILL);
        self.studios[lost].kill();
        janus
    }

    pub async fn room(&self, manager: usize) -> Value {
        self.managers[manager].get(&format!("/api/rooms/{ROOM}")).await.json()["room"].clone()
    }

    /// Opens a listener at the second listener node.
    async fn listener(&self, hz: f64) -> Listener {
        let target = Target {
            base_url: self.ears[1].hls.clone(),
            room: RoomId::new(ROOM).unwrap(),
            token: self.managers[0].token(ROOM).await,
            ffmpeg: "ffmpeg".into(),
        };
        tuned_in(&target, Mode::Parts, hz).await
    }
}

/// Waits until the listener no longer hears the tone.
async fn unheard(listener: &mut Listener, hz: f64) {
    let end = Instant::now() + LONG;
    while listener.hear(Duration::from_secs(1)).await.is_ok_and(|heard| heard.level(hz) > 0.01) {
        assert!(Instant::now() < end, "{hz} Hz is still heard");
    }
}

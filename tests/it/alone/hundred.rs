//! Many rooms at once on one node: a real Janus, with FFmpeg replaced by an idle process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use stentor::auth::Secrets;
use stentor::domain::ids::MediaAddr;
use stentor::janus::{
    AudioBridge, ConnectOptions, JanusClient, JanusError, LinkEvent, OwnershipTag, PluginError,
};
use stentor::probe::{Listener, Mode};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::support::external::{FakeFfmpeg, janus_secret, on_janus, secrets};
use crate::support::fault_table;
use crate::support::janus::{TestJanus, connect};
use crate::support::janus_proxy::JanusProxy;
use crate::support::node::Node;
use crate::support::report;

const ROOMS: usize = 100;
const HELD: &str = "room-042";
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[actix::test]
async fn hundred_rooms_start_despite_held_room() {
    let janus = TestJanus::start().await;
    let mut proxy = JanusProxy::without_silence(janus.janus.url()).await;
    proxy.hold(&format!("stentor/default/{HELD}/"));
    let mut house =
        House::open(&janus, &proxy.url, &[("mixer.rtp_ports", "30000-30399"), ("mixer.capacity", "200")])
            .await;
    let began = Instant::now();
    let names: BTreeSet<String> = (0..ROOMS).map(|n| format!("room-{n:03}")).collect();
    let starts =
        names.iter().map(|name| house.node.post("/api/rooms", json!({ "roomId": name, "start": true })));
    for answer in join_all(starts).await {
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let accepted = began.elapsed();
    let others: BTreeSet<String> = names.iter().filter(|name| *name != HELD).cloned().collect();
    house.until_forwarding(&others).await;
    let most = began.elapsed();
    proxy.held(1).await;
    proxy.release(&format!("stentor/default/{HELD}/"));
    house.until_forwarding(&names).await;
    report(format!(
        "{ROOMS} rooms: accepted after {accepted:.2?}, all but the held one forwarding after {most:.2?}, all \
         after {:.2?}",
        began.elapsed()
    ));
    house.is_consistent(&names).await;
    assert!(house.node.stop().success());
}

/// Two FFmpeg processes may start at once. Four rooms wait for Janus. Without RTP, their FFmpeg processes
/// would never write audio and would keep both slots.
#[actix::test]
async fn held_rooms_leave_ffmpeg_start_slots() {
    let janus = TestJanus::start().await;
    let proxy = JanusProxy::start(janus.janus.url()).await;
    proxy.hold("stentor/default/held-");
    let mut node = on_janus(&janus, &proxy.url, &[("mixer.start_limit", "2")]);
    node.run();
    node.ready().await;
    for n in 0..4 {
        let made = node.post("/api/rooms", json!({ "roomId": format!("held-{n}"), "start": true })).await;
        assert_eq!(made.status, 201);
    }
    node.room_on_air("free").await;
    let mut listener =
        Listener::open_by(&node.target("free").await, Mode::Parts, Instant::now() + PATIENCE).await.unwrap();
    assert!(listener.hear(Duration::from_secs(1)).await.unwrap().seconds() >= 1.0);
    assert_eq!(node.get("/api/rooms/held-0").await.json()["room"]["status"], "starting");
    proxy.release("stentor/default/held-");
    for n in 0..4 {
        node.until_status(&format!("held-{n}"), "onair").await;
    }
    assert!(node.stop().success());
}

#[actix::test]
async fn ports_run_out_without_losing_any() {
    let janus = TestJanus::start().await;
    // Three port pairs for three rooms. The default capacity would be two, because it keeps one pair free for
    // repairs.
    let settings = [("mixer.rtp_ports", "30400-30405"), ("mixer.capacity", "3")];
    let mut house = House::open(&janus, janus.janus.url(), &settings).await;
    let names: Vec<String> = (0..4).map(|n| format!("room-{n}")).collect();
    for name in &names {
        assert_eq!(house.node.post("/api/rooms", json!({ "roomId": name })).await.status, 201);
    }
    let (cycles, since) = (if fault_table::is_wanted() { 1000 } else { 30 }, Instant::now());
    for cycle in 0..cycles {
        let turn = |n: usize| names[(cycle + n) % 4].as_str();
        let on_air: BTreeSet<String> = (0..3).map(|n| turn(n).to_owned()).collect();
        for name in &on_air {
            let started = house.start(name).await;
            assert_eq!(started.status, 200, "cycle {cycle}: {}", started.text());
        }
        let refused = house.start(turn(3)).await;
        assert_eq!((refused.status, refused.code().as_str()), (503, "no_capacity"));
        assert_eq!(refused.json()["details"]["considered"][0]["reason"], "full: 3 of 3 rooms");
        house.until_forwarding(&on_air).await;
        for name in &on_air {
            assert_eq!(house.node.post(&format!("/api/rooms/{name}/stop"), json!({})).await.status, 200);
        }
        for name in &on_air {
            house.node.until_status(name, "created").await;
        }
    }
    house.is_consistent(&BTreeSet::new()).await;
    let fault = format!("RTP ports exhausted, {cycles} times: 503, nothing leaked; each time");
    fault_table::recovered(&fault, "nothing", since.elapsed() / cycles as u32, Duration::from_secs(1));
    assert!(house.node.stop().success());
}

#[actix::test]
async fn change_storm_settles_consistently() {
    let janus = TestJanus::start().await;
    let mut house = House::open(&janus, janus.janus.url(), &[("mixer.rtp_ports", "30410-30449")]).await;
    let clients = (0..8).map(|_| async {
        for _ in 0..40 {
            house.any_change(&format!("room-{}", rand::random_range(0..4))).await;
        }
    });
    join_all(clients).await;
    let on_air = house.until_settled().await;
    house.until_forwarding(&on_air).await;
    house.is_consistent(&on_air).await;
    for (room, _) in house.statuses().await {
        assert_eq!(house.node.delete(&format!("/api/rooms/{room}")).await.status, 200);
    }
    house.until("all rooms are gone", async |house| house.statuses().await.is_empty()).await;
    house.is_consistent(&BTreeSet::new()).await;
    assert!(house.node.stop().success());
}

/// A node on a Janus that the test can query directly.
struct House {
    node: Node,
    client: JanusClient,
    _events: UnboundedReceiver<LinkEvent>,
    secrets: Secrets,
    _ffmpeg: FakeFfmpeg,
}

impl House {
    async fn open(janus: &TestJanus, url: &str, settings: &[(&str, &str)]) -> Self {
        let ffmpeg = FakeFfmpeg::make();
        let path = ffmpeg.path().display().to_string();
        // The fake FFmpeg writes only once, so the watchdog gets a long timeout.
        let mut all =
            vec![("mixer.ffmpeg", path.as_str()), ("mixer.watchdog", "60s"), ("janus.capacity", "200")];
        all.extend(settings);
        let mut node = on_janus(janus, url, &all);
        node.run();
        node.ready().await;
        let options = ConnectOptions { request_timeout: PATIENCE, ..janus.connect_options() };
        let (client, events) = connect(&options).await;
        Self { secrets: secrets(&node), node, client, _events: events, _ffmpeg: ffmpeg }
    }

    async fn start(&self, room: &str) -> crate::support::node::Answer {
        self.node.post(&format!("/api/rooms/{room}/start"), json!({})).await
    }

    /// Makes a random change to the room. Asserts that some state of the room explains the answer.
    async fn any_change(&self, room: &str) {
        let path = format!("/api/rooms/{room}");
        let answer = match rand::random_range(0..6) {
            0 => self.node.post("/api/rooms", json!({ "roomId": room })).await,
            1 => self.node.post("/api/rooms", json!({ "roomId": room, "start": true })).await,
            2 | 3 => self.start(room).await,
            4 => self.node.post(&format!("{path}/stop"), json!({})).await,
            _ => self.node.delete(&path).await,
        };
        let sensible = match answer.status {
            200 | 201 => true,
            404 => answer.code() == "room_not_found",
            409 => ["room_exists", "room_removing"].contains(&answer.code().as_str()),
            503 => answer.code() == "busy",
            _ => false,
        };
        assert!(sensible, "{room}: {answer:?}");
    }

    async fn rooms(&self) -> Vec<Value> {
        let listed = self.node.get("/api/rooms?limit=1000").await.json();
        listed["rooms"].as_array().expect("a list of rooms").clone()
    }

    async fn statuses(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.rooms().await.iter().map(|room| (text(&room["roomId"]), text(&room["status"]))).collect()
    }

    /// Waits until no room is in a transition, and returns those on air.
    async fn until_settled(&self) -> BTreeSet<String> {
        let settled = |status: &String| ["onair", "created"].contains(&status.as_str());
        self.until("the rooms settle", async |house| house.statuses().await.values().all(settled)).await;
        let statuses = self.statuses().await;
        statuses.into_iter().filter(|(_, status)| status == "onair").map(|(room, _)| room).collect()
    }

    /// Waits until the API reports exactly these rooms as forwarding.
    async fn until_forwarding(&self, wanted: &BTreeSet<String>) {
        let forwarding = async |house: &Self| {
            let rooms = house.rooms().await;
            let forwarding = rooms.iter().filter(|room| room["janus"]["status"] == "forwarding");
            forwarding.map(|room| room["roomId"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
                == *wanted
        };
        self.until("the rooms are forwarding", forwarding).await;
    }

    async fn until(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self).await {
            assert!(Instant::now() < deadline, "not yet: {what}; {:#?}", self.statuses().await);
            // Sleep: between two checks, each of which makes the node list a hundred rooms.
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn has_no_errors(&self) {
        let errors: Vec<_> = self.node.log().into_iter().filter(|l| l["level"] == "ERROR").collect();
        assert_eq!(errors, Vec::<Value>::new());
    }

    /// Asserts that Janus has exactly one room and one forwarder for each of these rooms, and that as many
    /// FFmpeg processes run, each with its own port.
    async fn is_consistent(&self, on_air: &BTreeSet<String>) {
        let as_wanted = async |house: &Self| {
            let janus = house.on_janus().await;
            janus.keys().eq(on_air) && janus.values().all(|targets| targets.len() == 1)
        };
        self.until("Janus has what is on air", as_wanted).await;
        self.until("an FFmpeg for each", async |h| h.node.children("ffmpeg").len() == on_air.len()).await;
        let targets = self.on_janus().await.into_values().flatten();
        let ports: BTreeSet<u16> = targets.map(|target| target.port).collect();
        assert_eq!(ports.len(), on_air.len(), "no port is shared");
        self.has_no_errors();
    }

    /// Returns the forwarding targets of each room on Janus. If a room exists twice, its entry has the
    /// targets of both.
    async fn on_janus(&self) -> BTreeMap<String, Vec<MediaAddr>> {
        let infos = self.client.list_rooms().await.unwrap();
        let asked = infos.iter().map(async |info| {
            let room = OwnershipTag::parse(&info.description).expect("our tag").room.to_string();
            match self.client.list_forwarders(info.id, &janus_secret(&self.secrets, &room)).await {
                // The room was destroyed between the two requests.
                Err(JanusError::Plugin(PluginError::NoSuchRoom)) => None,
                listed => Some((room, listed.unwrap())),
            }
        });
        let mut found: BTreeMap<String, Vec<MediaAddr>> = BTreeMap::new();
        for (room, forwarders) in join_all(asked).await.into_iter().flatten() {
            let targets = forwarders.iter().map(|f| MediaAddr { ip: f.ip, port: f.port });
            found.entry(room).or_default().extend(targets);
        }
        found
    }
}

//! Tests of listener nodes: rooms mixed elsewhere are fetched once, and followed when they move.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use stentor::domain::ids::RoomId;
use stentor::etcd::EtcdStore;
use stentor::probe::listener::Target;
use stentor::probe::{Listener, Mode};
use stentor::store::{Store, Txn};

use super::{Cluster, HZ, LONG, ROOM, TTL_GOAL, member, within};
use crate::rooms::tuned_in;
use crate::support::abuse_table::withstood;
use crate::support::etcd::Etcd;
use crate::support::fault_table::recovered;
use crate::support::node::{Node, PUBLIC_HLS_URL, request};
use crate::support::report;
use crate::support::studio::{Speaker, Studio};
use crate::support::until;

/// Mixers that serve no listener, and a listener node.
pub(super) struct House {
    pub cluster: Cluster,
    pub ear: Node,
}

impl House {
    pub async fn start(mixers: usize) -> Self {
        let etcd = Etcd::start();
        let desk = member(&etcd, "desk", "rooms,janus", &[]).await;
        let mut nodes = Vec::new();
        for n in 1..=mixers {
            nodes.push(member(&etcd, &format!("m{n}"), "mixer", &[]).await);
        }
        let ear = member(&etcd, "ear", "hls", &[]).await;
        Self { cluster: Cluster { desk, mixers: nodes, etcd }, ear }
    }

    pub async fn speaker(&self) -> Speaker {
        self.cluster.desk.room_on_air(ROOM).await;
        Studio::managed(&self.cluster.desk).await.speak(&self.cluster.desk, ROOM, HZ as u32).await
    }

    async fn target(&self) -> Target {
        Target {
            base_url: self.ear.hls.clone(),
            room: RoomId::new(ROOM).unwrap(),
            token: self.cluster.desk.token(ROOM).await,
            ffmpeg: "ffmpeg".into(),
        }
    }
}

#[actix::test]
async fn many_listeners_cost_mixer_like_one() {
    let house = House::start(1).await;
    let _speaker = house.speaker().await;
    let (mut listeners, mut tokens) = (Vec::new(), BTreeSet::new());
    for n in 0..8 {
        let mode = if n == 0 { Mode::Segments } else { Mode::Parts };
        let target = house.target().await;
        listeners.push(tuned_in(&target, mode, HZ).await);
        tokens.insert(target.token);
    }
    let hearing = listeners.iter_mut().map(|listener| listener.hear(Duration::from_secs(6)));
    let desk = &house.cluster.desk;
    let counting = until("an API node that serves no listener counts them", async || {
        let room = desk.get(&format!("/api/rooms/{ROOM}")).await.json()["room"]["listeners"].clone();
        let all = desk.get("/api/stats").await.json()["listeners"].clone();
        (room, all) == (tokens.len().into(), tokens.len().into())
    });
    let (heard, ()) = futures::join!(futures::future::join_all(hearing), counting);
    for heard in heard {
        let heard = heard.unwrap();
        assert_eq!((&heard.gaps, &heard.violations), (&vec![], &vec![]));
        assert!((heard.strongest_hz().unwrap() - HZ).abs() <= 20.0);
    }
    let [mixer, ear] = [&house.cluster.mixers[0], &house.ear];
    let made = figure(mixer, "stentor_media_fragments_total").await;
    let fetched = figure(ear, "stentor_relay_requests_total{outcome=\"ok\",what=\"file\"}").await;
    let lists = figure(ear, "stentor_relay_requests_total{outcome=\"ok\",what=\"playlist\"}").await;
    let served =
        figure(ear, "stentor_http_requests_total{route=\"/hls/rooms/{room}/{name}\",status=\"2xx\"}").await;
    report(format!(
        "{made} parts made, {fetched} files and {lists} playlists fetched, {served} requests served"
    ));
    assert!(fetched <= 1.5 * made && lists <= made + 5.0, "files or playlists were fetched repeatedly");
    // There are eight listeners. On a busy machine, each of them skips some parts.
    assert!(served > 2.0 * (fetched + lists), "too few requests were served");
}

#[actix::test]
async fn listeners_keep_url_across_mixer_deaths() {
    let mut house = House::start(2).await;
    let _speaker = house.speaker().await;
    let room = house.cluster.room().await;
    assert_eq!(room["hlsUrl"], format!("{PUBLIC_HLS_URL}/hls/rooms/{ROOM}/index.m3u8"));
    let mut listener = tuned_in(&house.target().await, Mode::Parts, HZ).await;
    for _ in 0..2 {
        let (victim, before) = (house.cluster.owner().await, listener.playlist().edge());
        house.cluster.mixers[victim].kill();
        let killed = Instant::now();
        heard_beyond(&mut listener, before.0 + 500).await;
        let lost = "media until then; same URL";
        recovered("kill -9 mixer node (TTL 3 s), through a listener node", lost, killed.elapsed(), TTL_GOAL);
        house.cluster.mixers[victim].run();
        house.cluster.mixers[victim].ready().await;
    }
    let heard = listener.hear(Duration::from_secs(1)).await.unwrap();
    // Tolerate the loss of media that a mixer had listed just before it died.
    let lost = |v: &&String| v.contains("cannot fetch the hinted part") || v.contains("is listed, but");
    assert_eq!(heard.violations.iter().filter(|v| !lost(v)).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(heard.gaps.len(), 2, "one jump per mixer: {:?}", heard.gaps);

    assert_eq!(
        house.cluster.desk.post(&format!("/api/rooms/{ROOM}/stop"), serde_json::json!({})).await.status,
        200
    );
    let playlist = format!("{}/hls/rooms/{ROOM}/index.m3u8", house.ear.hls);
    until("the end is told", async || {
        request("GET", &playlist, &[], None).await.text().contains("#EXT-X-ENDLIST")
    })
    .await;
    assert_eq!(house.cluster.desk.delete(&format!("/api/rooms/{ROOM}")).await.status, 200);
    within("the listener node has dropped the room", LONG, async || {
        house.ear.states_of("relay_room").await.is_empty()
    })
    .await;
    assert_eq!(request("GET", &playlist, &[], None).await.status, 404);
}

#[actix::test]
async fn mixer_drain_is_gapless_for_listeners() {
    let house = House::start(2).await;
    let _speaker = house.speaker().await;
    let mut listener = tuned_in(&house.target().await, Mode::Parts, HZ).await;
    for _ in 0..2 {
        let left = house.cluster.owner().await;
        let mark = format!("/api/modules/mixers/m{}/mark", left + 1);
        let answer = house.cluster.desk.put(&mark, serde_json::json!({ "label": "draining" })).await;
        assert_eq!(answer.status, 200);
        let before = listener.playlist().segments.last().map(|s| s.discontinuity);
        let since = Instant::now();
        while !house.cluster.mixers[left].children("ffmpeg").is_empty() {
            assert!(since.elapsed() < LONG, "the room stays on its mixer");
            listener.hear(Duration::from_millis(400)).await.unwrap();
        }
        report(format!("mixed elsewhere {:?} after the mark", since.elapsed()));
        let heard = listener.hear(Duration::from_secs(3)).await.unwrap();
        report(format!("longest silence {} s, gaps {:?}", heard.longest_silence(), heard.gaps));
        let after = listener.playlist().segments.last().map(|s| s.discontinuity);
        assert_eq!(after, before, "one timeline on both mixers");
        // A part hinted by one mixer and requested from the next may be refused briefly.
        let lost = |v: &&String| v.contains("cannot fetch the hinted part");
        assert_eq!(heard.violations.iter().filter(|v| !lost(v)).collect::<Vec<_>>(), Vec::<&String>::new());
        // At most the end of the segment that the mixer was writing is lost.
        assert!(heard.gaps.iter().all(|gap| gap.to == gap.from + 1), "{:?}", heard.gaps);
        assert!((heard.strongest_hz().unwrap() - HZ).abs() <= 20.0);
        assert_eq!(house.cluster.desk.delete(&mark).await.status, 200);
    }
}

#[actix::test]
async fn mixers_serve_only_listener_nodes() {
    let house = House::start(1).await;
    let _speaker = house.speaker().await;
    tuned_in(&house.target().await, Mode::Parts, HZ).await;
    let mixer = &house.cluster.mixers[0];
    let at = |node: &Node, path: &str| format!("{}{path}", node.hls);
    let status =
        async |url: String, headers: &[(&str, &str)]| request("GET", &url, headers, None).await.status;
    assert_eq!(status(at(mixer, "/hls/rooms/live/index.m3u8"), &[]).await, 404);
    assert_eq!(status(at(mixer, "/relay/rooms/live/index.m3u8"), &[]).await, 401);
    let forged = [("x-stentor-relay", "0000")];
    assert_eq!(status(at(mixer, "/relay/rooms/live/index.m3u8"), &forged).await, 401);
    assert_eq!(status(at(&house.ear, "/relay/rooms/live/index.m3u8"), &forged).await, 401);
    assert_eq!(status(at(&house.ear, "/hls/rooms/live/index.m3u8"), &[]).await, 200);
    assert_eq!(status(at(&house.ear, "/hls/rooms/live/enc.key?n=ab&k=1"), &[]).await, 401);
    assert_eq!(status(at(&house.ear, "/hls/rooms/nosuch/index.m3u8"), &[]).await, 404);
    assert_eq!(status(at(&house.ear, "/hls/rooms/live/ffffffffffff-1.ts"), &[]).await, 410);
    withstood("requests to the relay without its token", "401", "no access");
}

#[actix::test]
async fn listener_node_tells_every_end() {
    let house = House::start(1).await;
    let desk = &house.cluster.desk;
    desk.room_on_air(ROOM).await;
    let playlist = format!("{}/hls/rooms/{ROOM}/index.m3u8", house.ear.hls);
    for _ in 0..6 {
        until("the broadcast is served", async || {
            let answer = request("GET", &playlist, &[], None).await;
            answer.status == 200 && !answer.text().contains("#EXT-X-ENDLIST")
        })
        .await;
        assert_eq!(desk.post(&format!("/api/rooms/{ROOM}/stop"), serde_json::json!({})).await.status, 200);
        until("the end is told", async || {
            let answer = request("GET", &playlist, &[], None).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.text().contains("#EXT-X-ENDLIST")
        })
        .await;
        until("the room can start again", async || {
            desk.post(&format!("/api/rooms/{ROOM}/start"), serde_json::json!({})).await.status == 200
        })
        .await;
    }
}

/// Listens, in spite of faults, until the tone is heard in segment `sequence` or later.
async fn heard_beyond(listener: &mut Listener, sequence: u64) {
    let end = Instant::now() + LONG;
    loop {
        if let Ok(heard) = listener.hear(Duration::from_millis(300)).await {
            let there = heard.segments().iter().any(|s| *s >= sequence);
            if there && heard.level(HZ) > 0.03 {
                return;
            }
        }
        assert!(Instant::now() < end, "nothing is heard");
    }
}

/// Returns a metric of the node; 0 while it does not exist.
async fn figure(node: &Node, name: &str) -> f64 {
    let metrics = request("GET", &format!("{}/metrics", node.ops), &[], None).await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or(0.0)
}

/// A mixer gets no requests and no RTP if only the room's keys in the store name it, without a heartbeat.
#[actix::test]
async fn forged_mixer_keys_are_not_followed() {
    let house = House::start(1).await;
    let (desk, ear) = (&house.cluster.desk, &house.ear);
    desk.room_on_air(ROOM).await;
    let playlist = format!("{}/hls/rooms/{ROOM}/index.m3u8?token={}", ear.hls, desk.token(ROOM).await);
    let listed = async || request("GET", &playlist, &[], None).await.status == 200;
    within("the listener node serves it", LONG, async || listed().await).await;
    let web = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let rtp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    web.set_nonblocking(true).unwrap();
    rtp.set_nonblocking(true).unwrap();

    let store = EtcdStore::connect(&[house.cluster.etcd.endpoint()], Duration::from_secs(5)).await.unwrap();
    let key = |part: &str| format!("/rooms/{ROOM}/{part}");
    let read = async |part: &str| -> serde_json::Value {
        serde_json::from_slice(&store.get(&key(part)).await.unwrap().unwrap().value).unwrap()
    };
    let (mut live, mut mixer) = (read("livemeta").await, read("mixer").await);
    let epoch = live["epoch"].as_u64().unwrap() + 1;
    (live["epoch"], live["mixerId"]) = (epoch.into(), "evil".into());
    (mixer["epoch"], mixer["id"]) = (epoch.into(), "evil".into());
    mixer["port"] = rtp.local_addr().unwrap().port().into();
    mixer["hlsUrl"] = format!("http://{}", web.local_addr().unwrap()).into();
    let forged = [("livemeta", &live), ("mixer", &mixer)];
    let txn = forged.iter().fold(Txn::new(), |txn, (part, json)| txn.put(key(part), json.to_string()));
    store.txn(txn).await.unwrap();
    within("the room is back on a mixer that lives", LONG, async || {
        listed().await;
        let room = house.cluster.room().await;
        room["status"] == "onair" && room["mixer"]["id"] == "m1" && room["epoch"].as_u64() > Some(epoch)
    })
    .await;
    within("the listener node serves it again", LONG, async || listed().await).await;
    assert!(web.accept().is_err(), "the listener node asked a stranger");
    assert!(rtp.recv(&mut [0; 64]).is_err(), "Janus sent the room's sound to a stranger");
    withstood("a forged mixer in the store", "not fetched from, not forwarded to", "rooms play on");
}

//! Anchors: time until on air, time until others learn of a change, and memory of an idle connection.
//!
//! Baselines: the same join directly on a Janus; the response to the client that makes the change; a server
//! of bare actix-web-actors connections, in a separate process.

use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};
use stentor::auth::Role;
use stentor::domain::mix::MixShare;
use stentor::janus::{AnchorJoin, AudioBridge, Quality};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::bare::BareServer;
use super::house::{Backend, Gateway, House, new_room};
use super::support::caller::Caller;
use super::support::node::Node;
use super::support::stage::{ROOM, Stage, jwt_secrets, token};
use super::support::webrtc::WebRtcClient;
use super::table::{Row, Times, short};
use super::usage;

const ROOMS: usize = 5;
/// Maximum number of anchors in a room.
const ANCHORS: usize = 5;
const DIRECT_ROOM: u32 = 555_555;
const CHANGES: usize = 200;
/// Number of idle connections. With a limit of 20,000 file descriptors, the signalling socket may hold so
/// many.
const IDLE: usize = 4000;
/// Number of clients that connect at the same time.
const AT_ONCE: usize = 50;

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

pub async fn measure() -> Vec<Row> {
    vec![joins().await, news().await, idle().await]
}

async fn joins() -> Row {
    let floor = direct_joins().await;
    let house = House::open(Backend::Embedded, &[]).await;
    let (mut times, mut on_air) = (Times::default(), Vec::new());
    for room in 0..ROOMS {
        let room = format!("anchors-{room}");
        let body = json!({ "roomId": room, "maxAnchors": ANCHORS, "start": true });
        assert_eq!(house.node.post("/api/rooms", body).await.status, 201);
        house.node.until_status(&room, "onair").await;
        for user in 0..ANCHORS {
            let token = speaker(&house.node, &room, &format!("user-{user}")).await;
            let begin = Instant::now();
            let mut caller = Caller::connect(&house.node.ws, &token, "").await;
            let (_, media) = caller.speak(440).await;
            media.until("sound", |progress| progress.received > 0).await;
            times.add(begin.elapsed());
            on_air.push((caller, media));
        }
    }
    Row::new(
        format!(
            "connect, join, offer, to the first packet of the mix; {} WebRTC clients, p50 / p99 (floor: on \
             Janus directly)",
            ROOMS * ANCHORS
        ),
        floor.to_string(),
        times.to_string(),
        "",
    )
}

async fn direct_joins() -> Times {
    let gateway = Gateway::start().await;
    let room = new_room(DIRECT_ROOM);
    gateway.client.create_room(&room).await.expect("a room");
    let (mut times, mut on_air) = (Times::default(), Vec::new());
    for user in 0..ROOMS * ANCHORS {
        let begin = Instant::now();
        let join = AnchorJoin {
            janus_room_id: DIRECT_ROOM,
            pin: room.pin.clone(),
            display: format!("user-{user}"),
            muted: false,
            share: MixShare::of(3),
            quality: Quality::default(),
            file: None,
        };
        let (room, events) = gateway.client.join(&join).await.expect("a join");
        let media = WebRtcClient::new(super::support::opus::tone(440)).await;
        media.answer(&room.session.offer(media.offer()).await.expect("an answer"));
        media.until("sound", |progress| progress.received > 0).await;
        times.add(begin.elapsed());
        on_air.push((room, events, media));
    }
    times
}

/// Measures the time from an anchor's change until the client on the other node learns of it.
async fn news() -> Row {
    let stage = Stage::pair(&[("ws.rate", "10000"), ("ws.burst", "10000")]).await;
    let mut watcher = stage.connect(0, "wanda", "").await;
    let mut anna = stage.connect(1, "anna", "").await;
    anna.call("join", json!({})).await.expect("a join");
    let (mut answers, mut heard) = (Times::default(), Times::default());
    for n in 0..CHANGES {
        let status = if n % 2 == 0 { "onair" } else { "idle" };
        let begin = Instant::now();
        anna.call("status", json!({ "status": status })).await.expect("an answer");
        answers.add(begin.elapsed());
        watcher.note("roomStatus", |room| room["members"][0]["status"] == status).await;
        heard.add(begin.elapsed());
    }
    Row::new(
        "roomStatus on another gateway (Redis), p50 / p99 (floor: the answer to the call itself)",
        answers.to_string(),
        heard.to_string(),
        format!("≤ {}", short(Duration::from_millis(100))),
    )
}

async fn idle() -> Row {
    let bare = BareServer::start();
    let floor = per_connection(bare.pid(), |_| bare.url("ws", "/ws")).await;
    let house = House::open(Backend::Embedded, &[("auth.jwt_secrets", &jwt_secrets())]).await;
    house.node.room_on_air(ROOM).await;
    let base = house.node.ws.replacen("http", "ws", 1);
    let url = |n| format!("{base}/ws?token={}", token(&format!("user-{n}"), Role::Anchor));
    let ours = per_connection(house.node.pid(), url).await;
    Row::new(
        format!("memory per idle connection, {IDLE} of them (floor: bare actix-web-actors)"),
        format!("{floor:.1} kB"),
        format!("{ours:.1} kB"),
        "≤ 20 kB",
    )
}

/// Returns the private memory of the process, in kB per connection.
async fn per_connection(pid: i32, url: impl Fn(usize) -> String) -> f64 {
    // Make one-time allocations happen before the measurement.
    drop(open(&url, 0..AT_ONCE).await);
    let before = usage::private_bytes(pid);
    let sockets = open(&url, AT_ONCE..IDLE).await;
    let grown = usage::private_bytes(pid).saturating_sub(before);
    grown as f64 / sockets.len() as f64 / 1e3
}

/// Opens connections. A connection counts as open once the server has sent a message on it.
async fn open(url: impl Fn(usize) -> String, which: std::ops::Range<usize>) -> Vec<Socket> {
    let opened = futures::stream::iter(which.map(url)).map(|url| async move {
        let (mut socket, _) = connect_async(url).await.expect("an upgrade");
        socket.next().await.expect("a first message").expect("a good one");
        socket
    });
    opened.buffer_unordered(AT_ONCE).collect().await
}

async fn speaker(node: &Node, room: &str, user: &str) -> String {
    let body = json!({ "userId": user, "role": "anchor" });
    let invited: Value = node.post(&format!("/api/rooms/{room}/users"), body).await.json();
    invited["token"].as_str().expect("a token").to_owned()
}

//! Time until a thousand new rooms are on air, and until they are on air again after a restart. Janus and
//! FFmpeg are stubs.
//!
//! The node and its Janus are killed, so everything must be rebuilt. The baseline is the same work done
//! directly: a thousand rooms with their forwarders, and a thousand processes up to their first bytes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use stentor::domain::ids::MediaAddr;
use stentor::domain::mix::MixShare;
use stentor::etcd::EtcdStore;
use stentor::ffmpeg::{Ffmpeg, FfmpegCommand, FfmpegProgram, Loudness};
use stentor::janus::{AudioBridge, ConnectOptions, FORWARD_PAYLOAD_TYPE, JanusClient};
use stentor::store::{Store, WatchEvent, WatchStream};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc::unbounded_channel;

use super::house::{base_settings, client, etcd_settings, new_room, room_secret, send, srtp_key};
use super::quiet_janus::QuietJanus;
use super::stub;
use super::support::etcd::Etcd;
use super::support::fault_table::recovered;
use super::support::node::Node;
use super::table::{Row, short};

const ROOMS: u32 = 1000;
/// Goal: maximum time in addition to the work of Janus and FFmpeg.
const REACH: Duration = Duration::from_secs(2);
const AT_ONCE: usize = 64;
/// Number of FFmpeg processes that start at once, the same limit as the node's.
const SPAWNS_AT_ONCE: usize = 4;

pub async fn measure() -> Vec<Row> {
    let (rooms, processes) = (bare_rooms().await, bare_processes().await);
    let etcd = Etcd::start();
    let store = EtcdStore::connect(&[etcd.endpoint()], Duration::from_secs(5)).await.expect("etcd");
    let janus = QuietJanus::start().await;
    let mut node = node(&etcd, &janus);
    node.run();
    node.ready().await;
    let begin = Instant::now();
    let watch = rooms_watch(&*store).await;
    start_all(&node).await;
    until_forwarding(watch).await;
    let first = begin.elapsed();

    node.kill();
    drop((node, janus));
    let janus = QuietJanus::start().await;
    let mut node = self::node(&etcd, &janus);
    let watch = rooms_watch(&*store).await;
    let begin = Instant::now();
    node.run();
    let (ready, all) = futures::join!(
        async {
            node.ready().await;
            begin.elapsed()
        },
        async {
            until_forwarding(watch).await;
            begin.elapsed()
        }
    );
    let beside = all.saturating_sub(rooms.max(processes));
    recovered("1,000 rooms known at start, besides Janus and FFmpeg", "nothing", beside, REACH);
    let floor = format!("Janus {}, FFmpeg {}", short(rooms), short(processes));
    let goal = "≤ 2 s besides Janus and FFmpeg";
    vec![
        Row::new(
            "1,000 rooms: POST create+start of each -> all forwarding, etcd (floor: what the stubs of Janus \
             and FFmpeg do)",
            floor.clone(),
            short(first),
            "",
        ),
        Row::new(
            "1,000 rooms: node and Janus killed, started -> all forwarding, etcd (floor: the same)",
            floor,
            format!("{} (ready after {})", short(all), short(ready)),
            goal,
        ),
    ]
}

/// Prepares a node that is not running yet.
fn node(etcd: &Etcd, janus: &QuietJanus) -> Node {
    let (endpoint, ffmpeg) = (etcd.endpoint(), stub::path().display().to_string());
    let mut settings = base_settings();
    settings.extend(etcd_settings(&endpoint));
    settings.extend([
        ("node.id", "bench"),
        ("janus.mode", "external"),
        ("janus.url", &janus.url),
        ("janus.api_secret", "bench api secret"),
        ("janus.admin_key", "bench admin key"),
        ("janus.capacity", "1000"),
        ("mixer.capacity", "1000"),
        ("mixer.ffmpeg", &ffmpeg),
        // A stub writes nothing after its first part.
        ("mixer.watchdog", "60s"),
    ]);
    Node::prepare(&settings)
}

async fn start_all(node: &Node) {
    let (http, url) = (client(), format!("{}/api/rooms", node.api));
    let make = |n: u32| {
        let (http, url) = (http.clone(), url.clone());
        async move {
            let body = json!({ "roomId": name(n), "start": true });
            let answer: Value = send(&http, "POST", &url, body).await;
            assert_eq!(answer["success"], true, "{answer}");
        }
    };
    stream::iter(0..ROOMS).map(make).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

fn name(n: u32) -> String {
    format!("room-{n:04}")
}

async fn rooms_watch(store: &dyn Store) -> WatchStream {
    let revision = store.list("/rooms/").await.expect("a list").revision;
    store.watch("/rooms/", revision + 1).await.expect("a watch")
}

/// Waits until, for every room, the newest Janus state since the watch began is `forwarding`.
async fn until_forwarding(mut watch: WatchStream) {
    let mut forwarding = BTreeSet::new();
    while forwarding.len() < ROOMS as usize {
        let batch = watch.next().await.expect("the watch goes on").expect("etcd answers");
        for event in batch.events {
            let WatchEvent::Put(kv) = event else { continue };
            let Some(room) = kv.key.strip_suffix("/janus") else { continue };
            let value: Value = serde_json::from_slice(&kv.value).expect("JSON");
            match value["status"] == "forwarding" {
                true => forwarding.insert(room.to_owned()),
                false => forwarding.remove(room),
            };
        }
    }
}

/// Measures the creation of a thousand rooms with forwarders in a fresh Janus stub.
async fn bare_rooms() -> Duration {
    let janus = QuietJanus::start().await;
    let options = ConnectOptions {
        url: janus.url.clone(),
        api_secret: None,
        admin_key: None,
        request_timeout: Duration::from_secs(30),
        keep_alive: Duration::from_secs(20),
    };
    let client = JanusClient::connect(&options, unbounded_channel().0).await.expect("it answers");
    let client = &client;
    let begin = Instant::now();
    let make = |n: u32| async move {
        let target = MediaAddr { ip: [127, 0, 0, 1].into(), port: 40_000 + n as u16 };
        client.create_room(&new_room(300_000 + n)).await.expect("a room");
        client.start_forwarder(300_000 + n, &room_secret(), target, &srtp_key()).await.expect("a forwarder");
    };
    stream::iter(0..ROOMS).map(make).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    begin.elapsed()
}

/// Measures a thousand stubs up to their first bytes.
async fn bare_processes() -> Duration {
    let begin = Instant::now();
    let spawn = |n: u32| async move {
        let command = FfmpegCommand {
            program: FfmpegProgram { binary: stub::path(), account: None },
            rtp: MediaAddr { ip: [127, 0, 0, 1].into(), port: 40_000 + n as u16 },
            bitrate: 64_000,
            payload_type: FORWARD_PAYLOAD_TYPE,
            loudness: Loudness::new(MixShare::of(3), Some(-18), -1),
            srtp: srtp_key(),
        };
        let mut ffmpeg = Ffmpeg::spawn(&command).expect("a stub");
        ffmpeg.stdout.read_u8().await.expect("its first byte");
        ffmpeg
    };
    let running: Vec<_> = stream::iter(0..ROOMS).map(spawn).buffer_unordered(SPAWNS_AT_ONCE).collect().await;
    let took = begin.elapsed();
    for ffmpeg in running {
        let mut process = ffmpeg.process;
        process.stop(Duration::ZERO).await.expect("it ends");
    }
    took
}

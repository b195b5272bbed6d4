//! Cost of a room in which three participants talk, next to the cost of an empty room and of the same room
//! with Stentor's original encoder settings. All processes of a comparison run at the same time.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stentor::domain::ids::MediaAddr;
use stentor::domain::mix::MixShare;
use stentor::ffmpeg::{Ffmpeg, FfmpegCommand, FfmpegLogLines, FfmpegProcess, FfmpegProgram, Loudness};
use stentor::janus::{AudioBridge, FORWARD_PAYLOAD_TYPE, Quality};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

use super::bridge::{Bridge, SPEAKERS};
use super::house::{Backend, Gateway, House, room_secret, srtp_key};
use super::table::Row;
use super::usage;

const ROOMS: u32 = 3;
const WATCHED: Duration = Duration::from_secs(20);
/// Time in which buffers fill and encoders adapt.
const SETTLES: Duration = Duration::from_secs(4);
/// First port of the bare FFmpeg processes, above the node's ports.
const BARE_PORTS: u16 = 33_000;
const PIN: &str = "abc123";

/// Settings of one bare room.
#[derive(Clone)]
struct Settings {
    /// Fields added to the AudioBridge request `create`.
    create: Value,
    /// Fields added to the AudioBridge request `join`.
    join: Value,
    coder: &'static str,
}

/// Processor time per room, as a share of one core.
#[derive(Clone, Copy)]
struct Cost {
    janus: f64,
    ffmpeg: f64,
}

impl Settings {
    /// Returns Stentor's original settings, which were chosen without regard to processor time.
    fn first() -> Self {
        Self { create: json!({}), join: json!({ "expected_loss": 10 }), coder: "twoloop" }
    }
}

pub async fn measure() -> Vec<Row> {
    let mut rows = product().await;
    let first = Settings::first();
    let quality = serde_json::to_value(Quality::ANCHORS).expect("JSON");
    for (n, (what, settings)) in (2u16..).zip([
        ("AAC coder of FFmpeg: fast", Settings { coder: "fast", ..first.clone() }),
        ("encoder complexity and bit rate of anchors", Settings { join: quality, ..first.clone() }),
        (
            "bit rate of the forwarder's encoder",
            Settings {
                create: json!({ "default_bitrate": 96_000 }),
                join: json!({ "expected_loss": 10, "bitrate": 51_000 }),
                ..first.clone()
            },
        ),
    ]) {
        let bare = [BareRooms::start(&first, n * 2).await, BareRooms::start(&settings, n * 2 + 1).await];
        let [floor, cost] = watch(&bare).await;
        rows.push(row(&format!("three speakers, one setting alone: {what}"), floor, cost, None));
    }
    rows
}

/// Compares the rooms of a node with bare rooms under the first settings, first while participants talk, and
/// then empty.
async fn product() -> Vec<Row> {
    let house = House::open(Backend::Embedded, &[]).await;
    let mut bridge = Bridge::open(&house.gateway).await;
    let quality = serde_json::to_value(Quality::ANCHORS).expect("JSON");
    for n in 0..ROOMS {
        let room = format!("speakers-{n}");
        house.node.room_on_air(&room).await;
        let number = house.janus_room(&room).await;
        let pin = house.room(&room).await["room"]["pin"].as_str().expect("a PIN").to_owned();
        bridge.talk(number, &pin, &quality).await;
    }
    let mut bare = BareRooms::start(&Settings::first(), 0).await;
    let mut rows = Vec::new();
    for (what, goal) in [("three speakers", Some(0.6)), ("empty room", None)] {
        let (cost, node, floor) = beside(&house, &bare).await;
        rows.push(row(what, floor, cost, goal));
        rows.push(Row::new(
            format!("{what}: processor time of the node, % of a core per room"),
            "",
            format!("{:.2} %", node * 100.0),
            "",
        ));
        bridge.empty().await;
        bare.bridge.empty().await;
    }
    rows
}

/// Returns the processor time per room, measured over the same time: of Janus and FFmpeg for the node's
/// rooms, of the node itself, and of Janus and FFmpeg for the bare rooms.
async fn beside(house: &House, bare: &BareRooms) -> (Cost, f64, Cost) {
    // Sleep: buffers fill, encoders adapt.
    tokio::time::sleep(SETTLES).await;
    let janus = house.gateway.janus.pid().map(|pid| pid as i32).expect("Janus runs");
    let (ffmpegs, node) = (house.node.children("ffmpeg"), house.node.pid());
    let all = || [usage::cpu(&[janus]), usage::cpu(&ffmpegs), usage::cpu(&[node])];
    let (begin, before, bare_before) = (Instant::now(), all(), bare.used());
    // Sleep: the interval over which processor time is measured.
    tokio::time::sleep(WATCHED).await;
    let (after, bare_after, passed) = (all(), bare.used(), begin.elapsed());
    let [janus, ffmpeg, node] = std::array::from_fn(|n| share(after[n] - before[n], passed));
    (Cost { janus, ffmpeg }, node, cost(bare_before, bare_after, passed))
}

/// Returns the costs of two sets of bare rooms over the same time.
async fn watch(bare: &[BareRooms; 2]) -> [Cost; 2] {
    // Sleep: buffers fill, encoders adapt.
    tokio::time::sleep(SETTLES).await;
    let (begin, before) = (Instant::now(), [bare[0].used(), bare[1].used()]);
    // Sleep: the interval over which processor time is measured.
    tokio::time::sleep(WATCHED).await;
    let (after, passed) = ([bare[0].used(), bare[1].used()], begin.elapsed());
    std::array::from_fn(|n| cost(before[n], after[n], passed))
}

fn cost(before: [Duration; 2], after: [Duration; 2], passed: Duration) -> Cost {
    Cost { janus: share(after[0] - before[0], passed), ffmpeg: share(after[1] - before[1], passed) }
}

fn share(used: Duration, passed: Duration) -> f64 {
    used.as_secs_f64() / passed.as_secs_f64() / f64::from(ROOMS)
}

fn row(what: &str, floor: Cost, cost: Cost, goal: Option<f64>) -> Row {
    let sum = |cost: Cost| cost.janus + cost.ffmpeg;
    let shown = |cost: Cost| {
        let [all, janus, ffmpeg] = [sum(cost), cost.janus, cost.ffmpeg].map(|share| share * 100.0);
        format!("{all:.2} % (Janus {janus:.2}, FFmpeg {ffmpeg:.2})")
    };
    Row::new(
        format!("{what}: Janus and FFmpeg per room, % of a core (floor: the first settings, same run)"),
        shown(floor),
        format!("{}, {:+.0} %", shown(cost), (sum(cost) / sum(floor) - 1.0) * 100.0),
        goal.map_or(String::new(), |goal| format!("≤ {:.2} %", sum(floor) * goal * 100.0)),
    )
}

/// Rooms with three talking anchors each. All rooms share one separate Janus instance, which forwards each
/// room to a bare FFmpeg process.
struct BareRooms {
    bridge: Bridge,
    gateway: Gateway,
    ffmpegs: Vec<(FfmpegProcess, FfmpegLogLines)>,
    _dir: TempDir,
}

impl BareRooms {
    /// Starts the rooms. Instances that run at the same time must have different `nth`, which chooses their
    /// ports.
    async fn start(settings: &Settings, nth: u16) -> Self {
        let gateway = Gateway::start().await;
        let mut bridge = Bridge::open(&gateway).await;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let binary = dir.path().join("ffmpeg");
        let script = format!("#!/bin/bash\nexec ffmpeg \"${{@/#fast/{}}}\"\n", settings.coder);
        std::fs::write(&binary, script).expect("a file");
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        let mut ffmpegs = Vec::new();
        for n in 0..ROOMS as u16 {
            let number = 700_000 + u32::from(n);
            let rtp =
                MediaAddr { ip: [127, 0, 0, 1].into(), port: BARE_PORTS + 2 * (nth * ROOMS as u16 + n) };
            bridge.create(number, PIN, &settings.create).await;
            let loudness = Loudness::new(MixShare::of(SPEAKERS as u8), Some(-18), -1);
            let command = FfmpegCommand {
                program: FfmpegProgram { binary: binary.clone(), account: None },
                rtp,
                bitrate: 64_000,
                payload_type: FORWARD_PAYLOAD_TYPE,
                loudness,
                srtp: srtp_key(),
            };
            let ffmpeg = Ffmpeg::spawn(&command).expect("FFmpeg starts");
            bridge.talk(number, PIN, &settings.join).await;
            let client = &gateway.client;
            client.start_forwarder(number, &room_secret(), rtp, &srtp_key()).await.expect("a forwarder");
            let Ffmpeg { mut stdout, log, process } = ffmpeg;
            stdout.read_exact(&mut [0; 1]).await.expect("audio");
            tokio::spawn(async move { tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await });
            ffmpegs.push((process, log));
        }
        Self { bridge, gateway, ffmpegs, _dir: dir }
    }

    /// Returns the processor time of Janus and of all FFmpeg processes so far.
    fn used(&self) -> [Duration; 2] {
        let janus = self.gateway.janus.pid().map(|pid| pid as i32).expect("Janus runs");
        let ffmpegs: Vec<i32> = self.ffmpegs.iter().map(|(process, _)| process.pid() as i32).collect();
        [usage::cpu(&[janus]), usage::cpu(&ffmpegs)]
    }
}

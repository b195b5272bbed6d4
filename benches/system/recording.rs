//! Cost of recording and of rewind per room: processor time and memory of the node, and disk space.
//!
//! Baseline: the same rooms of the same node, not recorded and without rewind, measured before and after. The
//! rooms are silent, so they need about a third of the disk space of speech.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::house::{Backend, House, send};
use super::support::pause_async;
use super::table::Row;
use super::usage;

const ROOMS: usize = 20;
const WATCHED: Duration = Duration::from_secs(30);
/// Time in which the segments of one kind of rooms have replaced those of the other kind.
const SETTLES: Duration = Duration::from_secs(6);
/// Length of the rewind window, in seconds.
const REWIND: u32 = 3_600;

pub async fn measure() -> Vec<Row> {
    let house =
        House::open(Backend::Embedded, &[("hls.rewind", "0s"), ("recording.waveform", "false")]).await;
    for n in 0..ROOMS {
        house.node.room_on_air(&room(n)).await;
    }
    let dir = house.node.data_dir();
    let plain = watch(&house, &dir.join("recordings")).await;
    ask(&house, "POST", "/recording", json!({})).await;
    until_written(&dir.join("recordings")).await;
    let recorded = watch(&house, &dir.join("recordings")).await;
    ask(&house, "DELETE", "/recording", Value::Null).await;
    let between = watch(&house, &dir.join("recordings")).await;
    ask(&house, "PATCH", "", json!({ "rewind": REWIND })).await;
    until_written(&dir.join("rewind")).await;
    let rewound = watch(&house, &dir.join("rewind")).await;
    let floor = PhaseCost { cpu: f64::midpoint(plain.cpu, between.cpu), ..between };
    vec![
        row("recording of the mix", &plain, &floor, &recorded, "≤ 0.3 %"),
        row("rewind", &between, &floor, &rewound, ""),
    ]
}

/// State of the node during one phase. The values are those of all rooms.
struct PhaseCost {
    /// Processor time of the node, as a share of one core.
    cpu: f64,
    memory: f64,
    /// Bytes per second by which a folder grows.
    disk: f64,
}

async fn watch(house: &House, folder: &Path) -> PhaseCost {
    // Sleep: what the change of the rooms itself costs is over, and the segments are of the new kind.
    tokio::time::sleep(SETTLES).await;
    let pid = house.node.pid();
    let (begin, before, size) = (Instant::now(), usage::cpu(&[pid]), bytes_in(folder));
    // Sleep: the interval over which processor time is measured.
    tokio::time::sleep(WATCHED).await;
    let passed = begin.elapsed().as_secs_f64();
    PhaseCost {
        cpu: (usage::cpu(&[pid]) - before).as_secs_f64() / passed,
        memory: usage::private_bytes(pid) as f64,
        disk: bytes_in(folder).saturating_sub(size) as f64 / passed,
    }
}

fn row(what: &str, before: &PhaseCost, floor: &PhaseCost, measured: &PhaseCost, goal: &str) -> Row {
    let rooms = ROOMS as f64;
    let share = |cpu: f64| cpu / rooms * 100.0;
    Row::new(
        format!("{what}: node per room, % of a core, memory, disk, {ROOMS} rooms (floor: without)"),
        format!("{:.3} %", share(floor.cpu)),
        format!(
            "{:+.3} %, {:+.0} kB, {:.1} MB/h",
            share(measured.cpu - floor.cpu),
            (measured.memory - before.memory) / rooms / 1e3,
            measured.disk * 3_600.0 / rooms / 1e6,
        ),
        goal,
    )
}

/// Sends the same request for all rooms.
async fn ask(house: &House, method: &str, path: &str, body: Value) {
    for n in 0..ROOMS {
        let url = format!("{}/api/rooms/{}{path}", house.node.api, room(n));
        let answer = send(&house.http, method, &url, body.clone()).await;
        assert_eq!(answer["success"], true, "{url}: {answer}");
    }
}

/// Waits until media of every room are in the folder.
async fn until_written(folder: &Path) {
    let written = || std::fs::read_dir(folder).map_or(0, Iterator::count);
    while written() < ROOMS || bytes_in(folder) == 0 {
        pause_async().await;
    }
}

/// Returns the size of all files in a folder.
fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(known) if known.is_dir() => bytes_in(&entry.path()),
        known => known.map_or(0, |known| known.len()),
    };
    entries.filter_map(Result::ok).map(size).sum()
}

fn room(n: usize) -> String {
    format!("recorded-{n}")
}

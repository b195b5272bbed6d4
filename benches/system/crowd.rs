//! Sixty live rooms on this machine: parts that came late, and how many rooms Janus and FFmpeg alone would allow.

use std::time::{Duration, Instant};

use super::house::{Backend, House};
use super::support::pause_async;
use super::table::Row;
use super::usage;

const ROOMS: usize = 60;
const WATCHED: Duration = Duration::from_secs(20);
const FRAGMENTS: &str = "stentor_media_fragments_total";
/// The node's own count of parts that came more than one and a half part durations after the one before.
const LATE: &str = "stentor_media_late_parts_total";

pub async fn measure() -> Vec<Row> {
    let house = House::open(Backend::Embedded, &[]).await;
    for n in 0..ROOMS {
        house.node.room_on_air(&format!("crowd-{n}")).await;
    }
    let node = house.node.pid();
    let media = media_processes(&house);
    until_all_produce(&house).await;
    let before = (house.metric(LATE).await, house.metric(FRAGMENTS).await);
    let (begin, of_media, of_node) = (Instant::now(), usage::cpu(&media), usage::cpu(&[node]));
    // Sleep: the stretch of time over which parts are counted.
    tokio::time::sleep(WATCHED).await;
    let share = |used: Duration| used.as_secs_f64() / begin.elapsed().as_secs_f64();
    let (of_media, of_node) = (share(usage::cpu(&media) - of_media), share(usage::cpu(&[node]) - of_node));
    let (late, parts) = (house.metric(LATE).await - before.0, house.metric(FRAGMENTS).await - before.1);
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    vec![Row::new(
        format!(
            "{ROOMS} live rooms on {cores} cores: late parts (floor: rooms that Janus and FFmpeg alone allow)"
        ),
        format!("{:.0} rooms", cores / (of_media / ROOMS as f64)),
        format!(
            "{late:.0} of {parts:.0} late; Janus and FFmpeg {:.0} %, node {:.1} % of a core",
            of_media * 100.0,
            of_node * 100.0
        ),
        "none late",
    )]
}

fn media_processes(house: &House) -> Vec<i32> {
    let mut pids = house.node.children("ffmpeg");
    assert_eq!(pids.len(), ROOMS, "one FFmpeg per room");
    pids.extend(house.gateway.janus.pid().map(|pid| pid as i32));
    pids
}

/// A few parts of each, so that nobody is still starting.
async fn until_all_produce(house: &House) {
    while house.metric(FRAGMENTS).await < (20 * ROOMS) as f64 {
        pause_async().await;
    }
}

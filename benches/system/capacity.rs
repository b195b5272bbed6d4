//! Number of live rooms that this machine serves without a late part, next to the number that Janus and
//! FFmpeg alone would allow.

use std::time::{Duration, Instant};

use super::house::{Backend, House};
use super::support::pause_async;
use super::table::Row;
use super::usage;

const STEP: usize = 10;
/// Maximum number of rooms. No machine with two cores serves so many.
const MOST: usize = 200;
const WATCHED: Duration = Duration::from_secs(10);
/// Time limit for new rooms to settle. On an overloaded machine they never settle.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// Goal relative to the baseline: 60 rooms if Janus and FFmpeg alone can serve 76.
const GOAL: f64 = 60.0 / 76.0;
const FRAGMENTS: &str = "stentor_media_fragments_total";
/// Metric of the node: number of parts that came more than one and a half part durations after the part
/// before.
const LATE: &str = "stentor_media_late_parts_total";

/// One measurement of the running rooms.
struct RoomsMeasurement {
    late: f64,
    /// CPU time as a share of one core, for Janus and FFmpeg.
    media: f64,
    node: f64,
}

pub async fn measure() -> Vec<Row> {
    let house = House::open(Backend::Embedded, &[("janus.capacity", "200"), ("mixer.capacity", "200")]).await;
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let (mut allowed, mut carried) = (0.0, None);
    for rooms in (STEP..=MOST).step_by(STEP) {
        if !grow_to(&house, rooms).await {
            break;
        }
        let mut watched = watch(&house).await;
        // Other load on the machine may have interfered, so measure once more.
        if watched.late > 0.0 {
            watched = watch(&house).await;
        }
        if rooms == STEP {
            allowed = cores / (watched.media / STEP as f64);
        }
        if watched.late > 0.0 {
            break;
        }
        carried = Some((rooms, watched));
    }
    let measured = carried.map_or("none".to_owned(), |(rooms, watched)| {
        format!(
            "{rooms} rooms; Janus and FFmpeg {:.0} %, node {:.1} % of a core",
            watched.media * 100.0,
            watched.node * 100.0
        )
    });
    vec![Row::new(
        format!(
            "live rooms on {cores} cores, by tens, no late part (floor: what Janus and FFmpeg alone allow, \
             by ten)"
        ),
        format!("{allowed:.0} rooms"),
        measured,
        format!("≥ {:.0} rooms", allowed * GOAL),
    )]
}

/// Starts rooms up to this number and returns true once all of them produce media.
async fn grow_to(house: &House, rooms: usize) -> bool {
    for n in rooms - STEP..rooms {
        house.node.room_on_air(&format!("room-{n}")).await;
    }
    let (before, end) = (house.metric(FRAGMENTS).await, Instant::now() + SETTLED_WITHIN);
    // Wait for some parts of each room, so that none is still starting.
    while house.metric(FRAGMENTS).await < before + (20 * rooms) as f64 {
        if Instant::now() > end {
            return false;
        }
        pause_async().await;
    }
    true
}

async fn watch(house: &House) -> RoomsMeasurement {
    let (node, mut media) = (house.node.pid(), house.node.children("ffmpeg"));
    media.extend(house.gateway.janus.pid().map(|pid| pid as i32));
    let late = house.metric(LATE).await;
    let (begin, of_media, of_node) = (Instant::now(), usage::cpu(&media), usage::cpu(&[node]));
    // Sleep: the time over which parts are counted.
    tokio::time::sleep(WATCHED).await;
    let share = |used: Duration| used.as_secs_f64() / begin.elapsed().as_secs_f64();
    RoomsMeasurement {
        late: house.metric(LATE).await - late,
        media: share(usage::cpu(&media).saturating_sub(of_media)),
        node: share(usage::cpu(&[node]) - of_node),
    }
}

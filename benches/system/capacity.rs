//! Number of live rooms that this machine serves without a late part, next to the number that Janus and
//! FFmpeg alone would allow: empty rooms, and rooms in which three participants talk.

use std::time::{Duration, Instant};

use serde_json::Value;
use stentor::janus::Quality;

use super::bridge::Bridge;
use super::house::{Backend, House};
use super::support::pause_async;
use super::table::Row;
use super::usage;

/// Number of empty rooms that are added at a time, and of rooms with speakers.
const STEP: usize = 10;
const TALKING_STEP: usize = 4;
/// Maximum number of rooms. No machine with two cores serves so many.
const MOST: usize = 200;
const WATCHED: Duration = Duration::from_secs(10);
/// Time limit for new rooms to settle. On an overloaded machine they never settle.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// Goal relative to the baseline: 60 rooms if Janus and FFmpeg alone can serve 76.
const GOAL: f64 = 60.0 / 76.0;
/// Default of `janus.capacity` and `mixer.capacity`, in rooms per core.
const DEFAULT_CAPACITY: f64 = 10.0;
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

/// Rooms of a trial.
struct Trial {
    house: House,
    /// Speakers of the rooms; `None`: the rooms are empty.
    speakers: Option<(Bridge, Value)>,
    step: usize,
}

pub async fn measure() -> Vec<Row> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let empty = Trial::open(false).await.row("empty rooms", cores, |allowed| allowed * GOAL).await;
    let capacity = DEFAULT_CAPACITY * cores;
    let talking = Trial::open(true).await;
    vec![empty, talking.row("rooms with three speakers", cores, |_| capacity).await]
}

impl Trial {
    async fn open(talking: bool) -> Self {
        let capacity = [("janus.capacity", "200"), ("mixer.capacity", "200")];
        let house = House::open(Backend::Embedded, &capacity).await;
        let quality = serde_json::to_value(Quality::ANCHORS).expect("JSON");
        let speakers = match talking {
            true => Some((Bridge::open(&house.gateway).await, quality)),
            false => None,
        };
        Self { house, speakers, step: if talking { TALKING_STEP } else { STEP } }
    }

    /// Adds rooms until a part is late. `goal`: rooms to reach, from the number that Janus and FFmpeg allow.
    async fn row(mut self, what: &str, cores: f64, goal: impl Fn(f64) -> f64) -> Row {
        let (step, mut allowed, mut carried) = (self.step, 0.0, None);
        for rooms in (step..=MOST).step_by(step) {
            if !self.grow_to(rooms).await {
                break;
            }
            let mut watched = watch(&self.house).await;
            // Other load on the machine may have interfered, so measure once more.
            if watched.late > 0.0 {
                watched = watch(&self.house).await;
            }
            if rooms == step {
                allowed = cores / (watched.media / step as f64);
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
        Row::new(
            format!(
                "{what} on {cores} cores, {step} more at a time, no late part (floor: what Janus and FFmpeg \
                 alone allow, by the first {step})"
            ),
            format!("{allowed:.0} rooms"),
            measured,
            format!("≥ {:.0} rooms", goal(allowed)),
        )
    }

    /// Starts rooms up to this number and returns true once all of them produce media.
    async fn grow_to(&mut self, rooms: usize) -> bool {
        let house = &self.house;
        for n in rooms - self.step..rooms {
            let room = format!("room-{n}");
            house.node.room_on_air(&room).await;
            if let Some((bridge, quality)) = &mut self.speakers {
                let number = house.janus_room(&room).await;
                let pin = house.room(&room).await["room"]["pin"].as_str().expect("a PIN").to_owned();
                bridge.talk(number, &pin, quality).await;
            }
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

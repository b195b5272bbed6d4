//! Cost of rooms with many participants who all talk, and the number of talking participants with which Janus
//! uses one whole processor core.

use std::time::{Duration, Instant};

use stentor::janus::Quality;

use super::bridge::Bridge;
use super::house::{Backend, House};
use super::table::Row;
use super::usage;

const WATCHED: Duration = Duration::from_secs(20);
/// Time in which buffers fill and encoders adapt.
const SETTLES: Duration = Duration::from_secs(4);
/// Participants of one room; 20 is the largest `maxAnchors`.
const SIZES: [usize; 4] = [0, 5, 10, 20];

pub async fn measure() -> Vec<Row> {
    let house = House::open(Backend::Embedded, &[]).await;
    let mut bridge = Bridge::open(&house.gateway).await;
    let quality = serde_json::to_value(Quality::ANCHORS).expect("JSON");
    house.node.room_on_air("stage").await;
    let number = house.janus_room("stage").await;
    let pin = house.room("stage").await["room"]["pin"].as_str().expect("a PIN").to_owned();
    let (mut rows, mut empty) = (Vec::new(), 0.0);
    for size in SIZES {
        bridge.talk_as(number, &pin, &quality, size).await;
        let share = janus(&house).await;
        bridge.empty().await;
        if size == 0 {
            empty = share;
            continue;
        }
        rows.push(Row::new(
            format!("{size} participants of one room talk: Janus, % of a core (floor: the empty room)"),
            format!("{:.1} %", empty * 100.0),
            format!("{:.1} %, {:.2} % per participant", share * 100.0, (share - empty) / size as f64 * 100.0),
            "",
        ));
        rows.push(Row::new(
            format!("participants who talk in rooms of {size} until Janus uses one core"),
            "",
            format!("{:.0}", size as f64 / share),
            "",
        ));
    }
    rows
}

/// Returns the processor time of Janus as a share of one core.
async fn janus(house: &House) -> f64 {
    // Sleep: buffers fill, encoders adapt.
    tokio::time::sleep(SETTLES).await;
    let janus = house.gateway.janus.pid().map(|pid| pid as i32).expect("Janus runs");
    let (begin, before) = (Instant::now(), usage::cpu(&[janus]));
    // Sleep: the interval over which processor time is measured.
    tokio::time::sleep(WATCHED).await;
    (usage::cpu(&[janus]) - before).as_secs_f64() / begin.elapsed().as_secs_f64()
}

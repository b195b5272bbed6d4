//! A recogniser at a node that mixes nothing, across a handover and the loss of a mixer.

use serde_json::json;

use super::listening::House;
use super::{LONG, ROOM, within};
use crate::captions::recogniser::Recogniser;
use crate::support::report;

#[actix::test]
async fn recognisers_follow_rooms_across_mixers() {
    let mut house = House::start(2).await;
    let _speaker = house.speaker().await;
    let mut recogniser = Recogniser::connect(&house.cluster.desk, ROOM, "").await;
    recogniser.listen(3).await;
    let owner = house.cluster.owner().await;
    let mark = format!("/api/modules/mixers/m{}/mark", owner + 1);
    assert_eq!(house.cluster.desk.put(&mark, json!({ "label": "draining" })).await.status, 200);
    within("the room moves", LONG, async || house.cluster.owner().await != owner).await;
    recogniser.listen(8).await;
    let gap = recogniser.longest_gap();
    report(format!("a handover costs a recogniser {gap} ms"));
    assert!(gap < 100, "{gap} ms");
    assert!(hears_tone(&recogniser));

    assert_eq!(house.cluster.desk.delete(&mark).await.status, 200);
    house.cluster.mixers[1 - owner].kill();
    within("the room moves back", LONG, async || house.cluster.owner().await == owner).await;
    recogniser.listen(5).await;
    report(format!("a lost mixer costs a recogniser {} ms", recogniser.longest_gap()));
    assert!(recogniser.longest_gap() < 30_000);
    assert!(hears_tone(&recogniser));
}

/// Returns true if the last second has a tone.
fn hears_tone(recogniser: &Recogniser) -> bool {
    let last = recogniser.chunks.iter().rev().take(10);
    last.flat_map(|(_, samples)| samples).any(|sample| *sample > 0.02)
}

//! A recording across all kinds of faults, compared with the sent audio: nothing is missing except what the
//! faults made inaudible live, and the tracks do not drift from the mix.
//!
//! Two anchors send tones that change at known times. A listener hears the room live. Afterwards the levels
//! of the tones in the live sound, the recording and its tracks are compared, in steps of 10 ms.

mod anchors;
mod compare;
mod house;
mod live;
mod sound;

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stentor::domain::recording_journal::parse;
use stentor::domain::upload::LONGEST_DELAY;

use anchors::Anchor;
use compare::{Period, Sound, compare};
use house::{FAULTS, Fault, House, ROOM};
use live::LivePlayback;
use sound::{ANCHORS, SentTones, SoundLevels};

use crate::support::node::request;
use crate::support::{PATIENCE, report, until, until_within};

/// Users, in the order of their tones.
const USERS: [&str; ANCHORS] = ["ann", "bob"];
/// Times of a short run, in seconds: from one fault to the next, and of one tone.
const SHORT: (u64, u64) = (8, 6);
/// The same times of a long run.
const LONG: (u64, u64) = (60, 60);
/// Shortest time from the end of a fault to the next one. The tracks are compared in it.
const SETTLED: Duration = Duration::from_secs(4);
/// Shortest duration of a long run, in seconds.
const LONG_FROM: u64 = 600;

#[actix::test]
async fn recording_survives_all_faults() {
    let wanted = std::env::var("STENTOR_TEST_RECORD_SECONDS").ok().map(|text| text.parse::<u64>().unwrap());
    let (every, slot) = if wanted.is_some_and(|seconds| seconds >= LONG_FROM) { LONG } else { SHORT };
    let count = wanted.map_or(FAULTS.len(), |seconds| (seconds / every) as usize);
    let mut house = House::start().await;
    let id = house.room().await["recording"].as_str().expect("it is recorded").to_owned();
    let sent = SentTones { since: Instant::now(), epoch: unix_seconds(), slot };
    let mut sending = Vec::new();
    for (n, user) in USERS.into_iter().enumerate() {
        sending.push(Anchor::new(n, house.token(user).await, sent, &house.shared).send());
    }
    let live = LivePlayback::listen(house.shared.clone());
    let now = || sent.since.elapsed().as_secs_f64();
    until("the anchors are in the room", async || house.shared.sessions.load(Relaxed) == ANCHORS).await;
    let (begin, mut repaired) = (Instant::now(), Instant::now());
    let mut periods = vec![Period { fault: None, from: now() + 2.0, to: 0.0 }];
    for n in 0..count {
        let due = Duration::from_secs(every) * (n as u32 + 1);
        until_past((begin + due).max(repaired + SETTLED)).await;
        let fault = FAULTS[n % FAULTS.len()];
        let from = now() - fault.unwritten();
        periods.last_mut().unwrap().to = from;
        report(format!("{:.1} s: {}", now(), fault.name()));
        house.suffer(fault).await;
        periods.push(Period { fault: Some(fault), from, to: 0.0 });
        until("the room is on air", async || house.room().await["status"] == "onair").await;
        report(format!("{:.1} s: repaired", now()));
        repaired = Instant::now();
        if fault == Fault::StorageAway
            && n + 1 < count
            && let Some(moto) = &mut house.moto
        {
            moto.run().await;
        }
    }
    until_past((begin + Duration::from_secs(every) * (count as u32 + 1)).max(repaired + SETTLED)).await;
    let end = now();
    periods.last_mut().unwrap().to = end - 1.0;
    assert_eq!(house.desk().post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    house.shared.over.store(true, Relaxed);
    sending.into_iter().for_each(|anchor| anchor.join().unwrap());
    let pieces = live.stop();
    let (mix, tracks) = recorded(&house, &id, sent, end + 2.0).await;
    let live = pieces.levels(sent, end + 2.0);
    compare(USERS, &periods, &Sound { live, mix, tracks });
    stored(&mut house, &id).await;
}

/// Fetches the recording and its tracks. Returns the levels of the mix, and of the track of each anchor.
async fn recorded(house: &House, id: &str, sent: SentTones, seconds: f64) -> (SoundLevels, Vec<SoundLevels>) {
    let known = async || house.desk().get(&format!("/api/recordings/{id}")).await.json()["recording"].clone();
    until("the recording is ready", async || known().await["state"] == "ready").await;
    until("the tracks are made", async || {
        let folders = house.januses.iter().map(|node| node.data_dir().join("janus/tracks").join(id));
        folders.into_iter().all(|folder| !folder.exists())
            && known().await["tracks"].as_array().is_some_and(|tracks| tracks.len() >= ANCHORS)
    })
    .await;
    let known = known().await;
    report(format!("{} segments lost; mixers {}", known["lostSegments"], known["mixers"]));
    let start = house.folders().filter_map(|folder| started(&folder, id)).fold(f64::INFINITY, f64::min);
    let issued = house.desk().post(&format!("/api/recordings/{id}/token"), json!({})).await.json();
    let token = issued["token"].as_str().expect("a token");
    let mut mix = SoundLevels::new(seconds);
    let url = format!("{}/hls/recordings/{id}/recording.m4a?token={token}", house.desk().hls);
    let duration = mix.add("aac", &url, start, sent);
    let scratch = tempfile::tempdir().unwrap();
    let mut tracks = vec![SoundLevels::new(seconds), SoundLevels::new(seconds)];
    for track in known["tracks"].as_array().unwrap() {
        let node = &house.januses[usize::from(track["node"] == "j2")];
        let file = request(
            "GET",
            &format!("{}/api/recordings/{id}/tracks/{}", node.api, track["number"]),
            &[],
            None,
        )
        .await;
        assert_eq!(file.status, 200, "{track}: {}", file.text());
        let path = scratch.path().join(format!("{}.opus", track["number"]));
        std::fs::write(&path, &file.body).unwrap();
        let user = USERS.iter().position(|user| track["userId"] == *user).expect("an anchor");
        let mut heard = SoundLevels::new(seconds);
        let length = heard.add("libopus", path.to_str().unwrap(), start, sent);
        assert!((length - duration).abs() < 0.03, "{track}: {length} s of {duration} s");
        tracks[user].join(&heard);
    }
    (mix, tracks)
}

/// Returns the time of the first segment that a mixer has recorded, in seconds since the Unix epoch.
fn started(folder: &Path, id: &str) -> Option<f64> {
    let journal = std::fs::read(folder.join(id).join("journal.jsonl")).ok()?;
    Some(parse(&journal).first()?.started_at.0 as f64 / 1000.0)
}

/// Checks that the recording is stored once the storage is back.
async fn stored(house: &mut House, id: &str) {
    let Some(mut moto) = house.moto.take() else { return };
    moto.stop();
    moto.run().await;
    let known = async || house.desk().get(&format!("/api/recordings/{id}")).await.json()["recording"].clone();
    // The uploads failed until now, so the next attempt may be a whole delay away.
    let deadline = LONGEST_DELAY + PATIENCE;
    until_within("the recording is stored", deadline, async || known().await["storedAt"].is_u64()).await;
    let copy = moto.object(&format!("hour/{ROOM}/{id}.m4a")).await;
    let issued: Value = house.desk().post(&format!("/api/recordings/{id}/token"), json!({})).await.json();
    let token = issued["token"].as_str().expect("a token");
    let url = format!("{}/hls/recordings/{id}/recording.m4a?token={token}", house.desk().hls);
    let file = request("GET", &url, &[], None).await;
    assert!(copy.status == 200 && copy.body == file.body, "the copy differs: {}", copy.status);
}

async fn until_past(time: Instant) {
    // Sleep: the faults happen at fixed times.
    tokio::time::sleep_until(time.into()).await;
}

fn unix_seconds() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

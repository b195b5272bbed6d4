//! Recordings on real nodes: a recorded room becomes a complete playlist, even after faults.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use stentor::domain::ids::RoomId;
use stentor::probe::listener::Target;
use stentor::probe::{HeardAudio, Mode};

use crate::faults::disk::SmallDisk;
use crate::recording_files::{have_speaking_time, have_title_and_chapters};
use crate::rooms::{node_on_etcd, tuned_in};
use crate::support::abuse_table::withstood;
use crate::support::etcd::Etcd;
use crate::support::node::{Node, request, signal, until_gone};
use crate::support::pages::{Pages, tone};
use crate::support::studio::Studio;
use crate::support::until;

const ROOM: &str = "taped";

#[actix::test]
async fn recorded_room_can_be_replayed() {
    let mut node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let studio = Studio::managed(&node).await;
    let speaker = studio.speak(&node, ROOM, 440).await;
    let target = node.target(ROOM).await;
    let mut listener = tuned_in(&target, Mode::Parts, 440.0).await;
    let before = node.children("ffmpeg");
    let id = start(&node).await;
    assert_eq!(start(&node).await, id, "a room that is already recorded is unchanged");
    listener.hear(Duration::from_secs(4)).await.unwrap();
    assert_eq!(node.children("ffmpeg"), before, "recording restarts nothing");
    assert_eq!(replay(&node, &id, "index.m3u8", "").await.code(), "recording_not_ready");
    assert_eq!(node.delete(&format!("/api/recordings/{id}")).await.code(), "recording_active");

    signal(before[0], rustix::process::Signal::KILL);
    until_gone(&before);
    let heard = listener.hear_until(440.0, std::time::Instant::now() + crate::support::PATIENCE).await;
    assert_eq!(heard.unwrap().violations, Vec::<String>::new());
    let live_key = key_path(&node, ROOM, &target.token).await;
    drop((speaker, studio, listener));

    assert!(node.stop().success());
    node.run();
    node.ready().await;
    node.until_status(ROOM, "onair").await;
    assert_eq!(recorded(&node).await, Some(id.clone()), "still wanted after the restart");
    let studio = Studio::managed(&node).await;
    let _speaker = studio.speak(&node, ROOM, 1_000).await;
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, 1_000.0).await;
    listener.hear(Duration::from_secs(3)).await.unwrap();
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    ready(&node, &id).await;

    let token = replay_token(&node, &id).await;
    let list = replay(&node, &id, "index.m3u8", &format!("?token={token}")).await.text();
    assert!(list.contains("#EXT-X-PLAYLIST-TYPE:VOD") && list.ends_with("#EXT-X-ENDLIST\n"), "{list}");
    let heard = decoded(&node, &id, &token);
    let [seconds, listed] = [heard.pcm.len() as f64 / 48_000.0, listed(&list)];
    // Some audio is missing until the decoder has its first frame, at the start and after a discontinuity.
    assert!((seconds - listed).abs() < 0.3, "{seconds} s of {listed} s");
    assert!(listed > 7.0, "{listed} s");
    let part =
        |from: usize, to: usize| HeardAudio { pcm: heard.pcm[from..to].to_vec(), ..Default::default() };
    let end = heard.pcm.len();
    let (first, last) = (part(0, 2 * 48_000), part(end - 2 * 48_000, end));
    assert!(first.level(440.0) > 0.03 && first.level(1_000.0) < 0.01, "{}", first.level(440.0));
    assert!(last.level(1_000.0) > 0.03 && last.level(440.0) < 0.01, "{}", last.level(1_000.0));

    // With the replay token, the live URL leads to the recording.
    let live = format!("{}/hls/rooms/{ROOM}/index.m3u8?token=", node.hls);
    let moved = request("GET", &format!("{live}{token}"), &[], None).await;
    let location = format!("../../recordings/{id}/index.m3u8?token={token}");
    assert_eq!((moved.status, moved.header("location")), (307, Some(location.as_str())), "{moved:?}");
    let from_live = decoded_from(&format!("{live}{token}"));
    assert_eq!(from_live.pcm.len(), heard.pcm.len());
    let listener = request("GET", &format!("{live}{}", target.token), &[], None).await;
    assert_ne!(listener.status, 307, "a listener token gives no access to a recording");

    let file = m4a(&node, &id, &token, None).await;
    let played = decoded_from(&format!("{}?token={token}", m4a_url(&node, &id)));
    let seconds = played.pcm.len() as f64 / 48_000.0;
    assert!((seconds - listed).abs() < 0.3, "{seconds} s of {listed} s");
    let [from, to] = [2, seconds as usize - 2].map(|second| second * 48_000);
    let part =
        |range: std::ops::Range<usize>| HeardAudio { pcm: played.pcm[range].to_vec(), ..Default::default() };
    assert!(part(0..from).level(440.0) > 0.03 && part(to..to + 48_000).level(1_000.0) > 0.03);
    let middle = m4a(&node, &id, &token, Some("bytes=5000-30000")).await;
    assert_eq!(middle, file[5_000..=30_000]);
    assert_eq!(replay(&node, &id, "recording.m4a", "").await.code(), "token_missing");
    let listener = format!("?token={}", target.token);
    assert_eq!(replay(&node, &id, "recording.m4a", &listener).await.code(), "token_wrong_audience");

    clips(&node, &id, &token, &file).await;
    withstood(
        "tokens of a live room on its recording, tokens of a clip beyond the clip",
        "401, 403",
        "the whole recording plays on with its own token",
    );

    // The listener token gets no key of the recording, and the replay token no key of the live room.
    let key = list.split("URI=\"").nth(1).unwrap().split('"').next().unwrap().split("&token").next().unwrap();
    let with = |token: &str| format!("?{}&token={token}", key.split_once('?').unwrap().1);
    assert_eq!(replay(&node, &id, "enc.key", &with(&token)).await.status, 200);
    assert_eq!(replay(&node, &id, "enc.key", &with(&target.token)).await.code(), "token_wrong_audience");
    assert_eq!(replay(&node, &id, "enc.key", &with("")).await.status, 400);
    let other = key.split("k=").next().unwrap().to_owned() + "k=999999";
    let other = format!("?{}&token={token}", other.split_once('?').unwrap().1);
    assert_eq!(replay(&node, &id, "enc.key", &other).await.code(), "key_not_found");
    let live = request("GET", &format!("{}{live_key}&token={token}", node.hls), &[], None).await;
    assert_eq!(live.code(), "token_wrong_audience");

    let listed = node.get(&format!("/api/recordings?room={ROOM}")).await.json();
    assert_eq!(listed["recordings"][0]["recordingId"], id.as_str(), "{listed}");
    assert_eq!(listed["recordings"][0]["lostSegments"], 0, "{listed}");
    let folder = node.data_dir().join("recordings").join(&id);
    assert!(folder.join("journal.jsonl").exists());
    assert_eq!(node.delete(&format!("/api/rooms/{ROOM}")).await.status, 200);
    assert_eq!(
        replay(&node, &id, "index.m3u8", "").await.status,
        200,
        "the recording was removed with its room"
    );
    assert_eq!(node.delete(&format!("/api/recordings/{id}")).await.status, 200);
    assert_eq!(replay(&node, &id, "index.m3u8", "").await.code(), "recording_not_found");
    until("the data is removed", async || !folder.exists()).await;
    assert_eq!(node.get(&format!("/api/recordings/{id}")).await.code(), "recording_not_found");
}

#[actix::test]
async fn full_disk_costs_recording_only() {
    let disk = SmallDisk::mount(80);
    let dir = disk.path().join("recordings");
    let settings = [
        ("recording.dir", dir.to_str().unwrap()),
        ("recording.mode", "always"),
        ("hls.segment_ms", "500"),
        ("hls.window", "3"),
    ];
    let node = Node::start(&settings).await;
    node.room_on_air(ROOM).await;
    let _speaker = Studio::managed(&node).await.speak(&node, ROOM, 440).await;
    tuned_in(&node.target(ROOM).await, Mode::Parts, 440.0).await;
    let recorder = async || node.states_of("recorder").await.into_iter().next().unwrap_or_default();
    until("the room is recorded", async || recorder().await["observed"]["segments"].as_u64() > Some(3)).await;
    let id = recorded(&node).await.expect("recorded without a request");

    let filler = disk.fill();
    until("segments are lost", async || recorder().await["observed"]["lost"].as_u64() > Some(2)).await;
    let failing = recorder().await;
    assert_eq!(failing["state"], "failing", "{failing}");
    assert!(failing["reason"].as_str().unwrap().contains("are free"), "{failing}");
    let problems = node.problems();
    let named = problems.iter().filter(|line| line.contains("cannot write a recording")).count();
    assert_eq!(named, 1, "one line per interval: {problems:?}");
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, 440.0).await;
    let heard = listener.hear(Duration::from_secs(2)).await.unwrap();
    assert_eq!((heard.gaps, heard.violations), (vec![], vec![]), "heard meanwhile");
    assert_eq!(recorder().await["state"], "failing");

    std::fs::remove_file(filler).unwrap();
    until("the room is recorded again", async || recorder().await["state"] == "recording").await;
    listener.hear(Duration::from_secs(1)).await.unwrap();
    assert_eq!(node.delete(&format!("/api/rooms/{ROOM}/recording")).await.status, 200);
    let pending = async || node.get(&format!("/api/recordings/{id}")).await.json()["recording"].clone();
    until("the recording has its end time", async || pending().await["endedAt"].is_u64()).await;
    let known = pending().await;
    assert_eq!(known["state"], "pending", "a recording is pending until its broadcast ends: {known}");
    assert!(known["lostSegments"].as_u64() > Some(2), "{known}");
    assert_eq!(recorded(&node).await, None, "a stop is respected");
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    ready(&node, &id).await;
    let token = replay_token(&node, &id).await;
    let list = replay(&node, &id, "index.m3u8", "").await.text();
    assert!(list.contains("#EXT-X-DISCONTINUITY\n") && list.contains(",IV=0x"), "{list}");
    let heard = decoded(&node, &id, &token);
    let seconds = heard.pcm.len() as f64 / 48_000.0;
    assert!((seconds - listed(&list)).abs() < 0.5, "{seconds} s of {} s", listed(&list));
    assert!(heard.level(440.0) > 0.03, "{}", heard.level(440.0));
    // In the file the gap is silence.
    let file = decoded_from(&format!("{}?token={token}", m4a_url(&node, &id)));
    let in_file = file.pcm.len() as f64 / 48_000.0;
    assert!(in_file > seconds + 1.0, "{in_file} s, {seconds} s without the gap");
}

#[actix::test]
async fn moved_room_continues_its_recording() {
    let etcd = Etcd::start();
    let member = async |id: &str, roles: &str| {
        let quick = ("rooms.heartbeat_ttl", "3s");
        node_on_etcd(&etcd, &[("node.id", id), ("node.roles", roles), quick]).await
    };
    let desk = member("desk", "rooms,janus,hls").await;
    let mut mixers = [member("m1", "mixer,hls").await, member("m2", "mixer,hls").await];
    desk.room_on_air(ROOM).await;
    let owner = async || {
        let room = desk.get(&format!("/api/rooms/{ROOM}")).await.json()["room"].clone();
        usize::from(room["mixer"]["id"] == "m2")
    };
    let id = start(&desk).await;
    let _speaker = Studio::managed(&desk).await.speak(&desk, ROOM, 440).await;
    let target = Target {
        base_url: desk.hls.clone(),
        room: RoomId::new(ROOM).unwrap(),
        token: desk.token(ROOM).await,
        ffmpeg: "ffmpeg".into(),
    };
    let mut listener = tuned_in(&target, Mode::Segments, 440.0).await;
    listener.hear(Duration::from_secs(3)).await.unwrap();
    let first = owner().await;
    let drain = format!("/api/modules/mixers/m{}/mark", first + 1);
    assert_eq!(desk.put(&drain, json!({ "label": "draining" })).await.status, 200);
    until("the room moves", async || owner().await != first).await;
    until("both mixers have a take", async || {
        let known = desk.get(&format!("/api/recordings/{id}")).await.json();
        known["recording"]["mixers"].as_array().is_some_and(|mixers| mixers.len() == 2)
    })
    .await;
    listener.hear(Duration::from_secs(3)).await.unwrap();
    assert_eq!(desk.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    ready(&desk, &id).await;
    let token = replay_token(&desk, &id).await;
    let list = replay(&desk, &id, "index.m3u8", "").await.text();
    assert!(!list.contains("#EXT-X-DISCONTINUITY\n"), "both takes are one timeline: {list}");
    let heard = decoded(&desk, &id, &token);
    assert!(heard.level(440.0) > 0.03, "{}", heard.level(440.0));
    let seconds = heard.pcm.len() as f64 / 48_000.0;
    assert!((seconds - listed(&list)).abs() < 0.3, "{seconds} s of {} s", listed(&list));

    // A mixer that is down does not delay the deletion of a recording, and removes its data when it is back.
    mixers[first].kill();
    assert_eq!(desk.delete(&format!("/api/recordings/{id}")).await.status, 200);
    let folder = |mixer: &Node| mixer.data_dir().join("recordings").join(&id);
    until("one mixer removes its data", async || !folder(&mixers[1 - first]).exists()).await;
    assert!(folder(&mixers[first]).exists());
    mixers[first].run();
    mixers[first].ready().await;
    until("the other mixer removes its data", async || !folder(&mixers[first]).exists()).await;
}

#[actix::test]
async fn replay_page_plays_chapters_and_clips() {
    let node = Node::start(&[("hls.segment_ms", "500")]).await;
    node.room_on_air(ROOM).await;
    let fields = json!({ "title": "Tea & talk", "recordingMode": "always" });
    let titled = request("PATCH", &format!("{}/api/rooms/{ROOM}", node.api), &[], Some(fields)).await;
    assert_eq!(titled.status, 200, "{titled:?}");
    let scratch = tempfile::tempdir().unwrap();
    let wav = tone(scratch.path(), 440).await;
    let invited = node.post(&format!("/api/rooms/{ROOM}/users"), json!({ "role": "host" })).await.json();
    let mut pages = Pages::start().await;
    let ann = json!({ "url": invited["inviteUrl"], "wav": wav, "displayName": "Ann" });
    pages.ask("ann", "open", ann).await;
    pages.connected("ann").await;
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, 440.0).await;
    listener.hear(Duration::from_secs(6)).await.unwrap();
    let id = recorded(&node).await.expect("recorded without a request");
    until("the ledger has the anchor", async || {
        let page = node.get("/api/events?type=anchor_joined").await.json();
        page["events"].as_array().is_some_and(|events| !events.is_empty())
    })
    .await;
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    drop(listener);
    pages.ask("ann", "close", json!({})).await;
    ready(&node, &id).await;
    let known = node.get(&format!("/api/recordings/{id}")).await.json()["recording"].clone();
    assert_eq!((&known["title"], &known["chapters"][0]["title"]), (&json!("Tea & talk"), &json!("Ann")));
    assert_eq!(known["anchors"][0]["displayName"], "Ann", "{known}");
    assert!(known["anchors"][0]["visits"][0]["leftAt"].is_u64(), "{known}");
    have_title_and_chapters(&node, &id, &replay_token(&node, &id).await).await;
    have_speaking_time(&node, &id).await;

    let issued = node.post(&format!("/api/recordings/{id}/token"), json!({})).await.json();
    let url = issued["replayUrl"].as_str().unwrap();
    for (name, hands) in [("phone", "touch"), ("desk", "mouse")] {
        pages.ask(name, "open", json!({ "url": url, "hands": hands })).await;
        shows(&mut pages, name, "#title", "Tea & talk").await;
        shows(&mut pages, name, "#anchors", "AAnn").await;
        assert_eq!(pages.ask(name, "fit", json!({})).await, json!({ "wide": 0, "small": [] }), "{name}");
        until_plays(&mut pages, name).await;
    }
    pages.ask("phone", "close", json!({})).await;
    pages.ask("desk", "keys", json!({ "target": "#seek", "keys": ["End"] })).await;
    shows(&mut pages, "desk", "#left", "−0:00").await;
    until_plays(&mut pages, "desk").await;

    // With a link to a clip, playback stops at the end of the clip; a token for a clip gives access to
    // nothing else.
    pages.ask("desk", "go", json!({ "to": "about:blank" })).await;
    pages.ask("desk", "go", json!({ "to": format!("{url}&from=2&to=4") })).await;
    shows(&mut pages, "desk", "#part-text", "You hear 0:02 to 0:04").await;
    pages.ask("desk", "press", json!({ "target": "#play" })).await;
    shows(&mut pages, "desk", "#pill-text", "At the end").await;
    shows(&mut pages, "desk", "#position", "0:04").await;
    pages.ask("desk", "press", json!({ "target": "#whole" })).await;
    shows(&mut pages, "desk", "#kind", "Recording").await;
    let part = json!({ "from": 1, "to": 3 });
    let issued = node.post(&format!("/api/recordings/{id}/token"), part).await.json();
    pages.ask("desk", "go", json!({ "to": "about:blank" })).await;
    pages.ask("desk", "go", json!({ "to": issued["replayUrl"] })).await;
    shows(&mut pages, "desk", "#part-text", "You hear 0:01 to 0:03").await;
    let whole = pages.ask("desk", "text", json!({ "target": "#whole" })).await;
    assert!(!whole.is_string(), "the token gives access only to the clip: {whole}");
    pages.ask("desk", "press", json!({ "target": "#play" })).await;
    shows(&mut pages, "desk", "#pill-text", "At the end").await;
    shows(&mut pages, "desk", "#position", "0:03").await;
    let state = pages.ask("desk", "state", json!({})).await;
    assert_eq!(state["errors"], json!([]), "{state}");
}

/// Waits until the tone of the recording is heard. The recording is short, so it may have to be started
/// again.
async fn until_plays(pages: &mut Pages, name: &str) {
    let pages = tokio::sync::Mutex::new(pages);
    until(&format!("{name} plays"), async || {
        let mut pages = pages.lock().await;
        if pages.ask(name, "text", json!({ "target": "#pill-text" })).await != "Playing" {
            pages.ask(name, "press", json!({ "target": "#play" })).await;
        }
        let heard = pages.ask(name, "analyse", json!({ "hz": [440], "ms": 1000 })).await;
        heard["hears"]["440"] == true
    })
    .await;
}

/// Waits until the element of a page shows this text.
async fn shows(pages: &mut Pages, name: &str, target: &str, text: &str) {
    let pages = tokio::sync::Mutex::new(pages);
    until(&format!("{name} shows {text} in {target}"), async || {
        let shown = pages.lock().await.ask(name, "text", json!({ "target": target })).await;
        shown.as_str().is_some_and(|shown| shown.starts_with(text))
    })
    .await;
}

/// Checks the clip from 2 s to 4 s of a recording. `file`: the M4A file of the recording.
async fn clips(node: &Node, id: &str, token: &str, file: &[u8]) {
    const FRAMES: usize = 94;
    let of = |query: &str| format!("{}?{query}", m4a_url(node, id));
    let range = "from=2&to=4";
    let clip = request("GET", &of(&format!("{range}&token={token}")), &[], None).await;
    assert_eq!(clip.status, 200, "{:?}", clip.headers);
    assert!(clip.body.len() < file.len(), "{} of {} bytes", clip.body.len(), file.len());
    let heard = decoded_from(&of(&format!("{range}&token={token}")));
    assert!(heard.pcm.len().abs_diff(FRAMES * 1024) <= 1024, "{} samples", heard.pcm.len());
    assert!(heard.level(440.0) > 0.03, "{}", heard.level(440.0));
    let list = replay(node, id, "index.m3u8", &format!("?{range}")).await.text();
    let listed = listed(&list);
    assert!((2.0..6.0).contains(&listed) && list.ends_with("#EXT-X-ENDLIST\n"), "{listed} s: {list}");
    let played = decoded_from(&format!("{}/hls/recordings/{id}/index.m3u8?{range}&token={token}", node.hls));
    assert!((played.pcm.len() as f64 / 48_000.0 - listed).abs() < 0.3, "{} samples", played.pcm.len());

    let part = json!({ "from": 2, "to": 4 });
    let issued = node.post(&format!("/api/recordings/{id}/token"), part).await.json();
    let token = issued["token"].as_str().unwrap();
    assert!(issued["replayUrl"].as_str().unwrap().ends_with(&format!("/replay/{id}#token={token}")));
    assert_eq!(request("GET", &of(&format!("token={token}")), &[], None).await.body, clip.body);
    let wider = request("GET", &of(&format!("from=1&to=4&token={token}")), &[], None).await;
    assert_eq!((wider.status, wider.code()), (403, "token_wrong_room".into()));
    let own = replay(node, id, "index.m3u8", &format!("?token={token}")).await.text();
    assert_eq!(self::listed(&own), listed, "{own}");
    assert_eq!(replay(node, id, "index.m3u8", "?from=9000").await.code(), "invalid_query");
    assert_eq!(replay(node, id, "info.json", "").await.code(), "token_missing");
}

/// Starts a recording of the room and returns its id.
async fn start(node: &Node) -> String {
    let asked = node.post(&format!("/api/rooms/{ROOM}/recording"), json!({})).await;
    assert_eq!(asked.status, 200, "{asked:?}");
    asked.json()["room"]["recording"].as_str().expect("a recording").to_owned()
}

/// Returns the id of the recording that the room's JSON contains.
async fn recorded(node: &Node) -> Option<String> {
    let room: Value = node.get(&format!("/api/rooms/{ROOM}")).await.json();
    room["room"]["recording"].as_str().map(str::to_owned)
}

async fn ready(node: &Node, id: &str) {
    until("the recording can be played", async || {
        node.get(&format!("/api/recordings/{id}")).await.json()["recording"]["state"] == "ready"
    })
    .await;
    until("the ledger says so, once", async || {
        let page = node.get("/api/events?type=recording_ready&limit=1000").await.json();
        let events = page["events"].as_array().unwrap().iter();
        events.filter(|event| event["data"]["recordingId"] == id).count() == 1
    })
    .await;
}

async fn replay(node: &Node, id: &str, name: &str, query: &str) -> crate::support::node::Answer {
    request("GET", &format!("{}/hls/recordings/{id}/{name}{query}", node.hls), &[], None).await
}

async fn replay_token(node: &Node, id: &str) -> String {
    let answer = node.post(&format!("/api/recordings/{id}/token"), json!({})).await;
    answer.json()["token"].as_str().expect("a token").to_owned()
}

/// Returns the path of a key that the live playlist names.
async fn key_path(node: &Node, room: &str, token: &str) -> String {
    let url = format!("{}/hls/rooms/{room}/index.m3u8", node.hls);
    let list = request("GET", &url, &[("authorization", &format!("Bearer {token}"))], None).await.text();
    let key = list.split("URI=\"enc.key").nth(1).expect("a key").split('"').next().unwrap().to_owned();
    format!("/hls/rooms/{room}/enc.key{key}")
}

/// Returns the sum of the durations in a playlist, in seconds.
fn listed(list: &str) -> f64 {
    let durations = list.lines().filter_map(|line| line.strip_prefix("#EXTINF:")?.strip_suffix(','));
    durations.map(|seconds| seconds.parse::<f64>().unwrap()).sum()
}

/// Plays the recording with FFmpeg, an independent player.
fn decoded(node: &Node, id: &str, token: &str) -> HeardAudio {
    decoded_from(&format!("{}/hls/recordings/{id}/index.m3u8?token={token}", node.hls))
}

fn m4a_url(node: &Node, id: &str) -> String {
    format!("{}/hls/recordings/{id}/recording.m4a", node.hls)
}

/// Returns the recording as one file, or a range of it.
async fn m4a(node: &Node, id: &str, token: &str, range: Option<&str>) -> Vec<u8> {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("authorization", bearer.as_str())];
    headers.extend(range.map(|range| ("range", range)));
    let answer = request("GET", &m4a_url(node, id), &headers, None).await;
    assert_eq!(answer.status, if range.is_some() { 206 } else { 200 }, "{:?}", answer.headers);
    answer.body
}

/// Decodes everything at a URL.
pub fn decoded_from(url: &str) -> HeardAudio {
    let played = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-i", url])
        .args(["-f", "f32le", "-ac", "1", "-ar", "48000", "-"])
        .output()
        .unwrap();
    let problems = String::from_utf8_lossy(&played.stderr);
    assert!(played.status.success() && problems.is_empty(), "{problems}");
    let samples = played.stdout.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    HeardAudio { pcm: samples.collect(), ..HeardAudio::default() }
}

//! Going back in rooms on air, on real nodes: in the page, through listener nodes, after faults.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use stentor::domain::ids::RoomId;
use stentor::probe::listener::Target;
use stentor::probe::{HeardAudio, Listener, Mode};
use tokio::sync::Mutex;

use crate::faults::disk::SmallDisk;
use crate::rooms::{node_on_etcd, tuned_in};
use crate::support::abuse_table::withstood;
use crate::support::etcd::Etcd;
use crate::support::node::{Answer, Node, request, signal, until_gone};
use crate::support::pages::Pages;
use crate::support::studio::{Speaker, Studio};
use crate::support::until;

const ROOM: &str = "looking-back";
/// Settings for segments of half a second. The live window then holds thirteen segments.
const SHORT: [(&str, &str); 2] = [("hls.segment_ms", "500"), ("hls.window", "3")];

#[actix::test]
async fn page_goes_back_and_returns() {
    let mut node = Node::start(&[("hls.rewind", "10m")]).await;
    let room = node.room_on_air(ROOM).await;
    assert!(room["rewindUrl"].as_str().is_some_and(|url| url.ends_with("/rewind.m3u8")), "{room}");
    let studio = Studio::managed(&node).await;
    let first = studio.speak(&node, ROOM, 440).await;
    let target = node.target(ROOM).await;
    let mut listener = tuned_in(&target, Mode::Parts, 440.0).await;
    listener.hear(Duration::from_secs(18)).await.unwrap();
    let before = node.children("ffmpeg");
    signal(before[0], rustix::process::Signal::KILL);
    until_gone(&before);
    drop(first);
    let _second = studio.speak(&node, ROOM, 660).await;
    tuned_in(&target, Mode::Parts, 660.0).await;

    let mut pages = Pages::start().await;
    let url = format!("{}/listen/{ROOM}#token={}", node.hls, node.token(ROOM).await);
    pages.ask("eve", "open", json!({ "url": url })).await;
    pages.until_hears("eve", &json!({ "440": false, "660": true })).await;
    let text =
        async |pages: &mut Pages, target: &str| pages.ask("eve", "text", json!({ "target": target })).await;
    let offered = Mutex::new(&mut pages);
    until("the seek bar is there", async || !text(&mut *offered.lock().await, "#live").await.is_null()).await;
    pages.ask("eve", "keys", json!({ "target": "#seek", "keys": ["Home"] })).await;
    pages.until_hears("eve", &json!({ "440": true, "660": false })).await;
    let behind = text(&mut pages, "#behind").await;
    assert!(behind.as_str().unwrap().ends_with("behind live"), "{behind}");
    pages.ask("eve", "press", json!({ "target": "#live" })).await;
    pages.until_hears("eve", &json!({ "440": false, "660": true })).await;
    let state = pages.ask("eve", "state", json!({})).await;
    let fatal = state["errors"].as_array().unwrap().iter().any(|error| error["fatal"] == true);
    assert!(!fatal && state["playing"] == true, "{state}");

    // An independent player plays the whole window, across the restart of FFmpeg.
    let list = rewind(&node, ROOM, "").await.text();
    assert!(list.contains("#EXT-X-PROGRAM-DATE-TIME:") && !list.contains("#EXT-X-PART"), "{list}");
    let heard = played_from_start(&node, ROOM, &target.token, 8);
    assert!(heard.level(440.0) > 0.03 && heard.level(660.0) < 0.01, "{}", heard.level(440.0));
    let folders = folders(&node);
    assert_eq!(folders.len(), 1, "{folders:?}");
    node.kill();
    node.run();
    node.ready().await;
    until("the window from before the crash is erased", async || !folders[0].exists()).await;
}

/// Nodes of a cluster whose room is on air with a rewind window that exceeds the live window.
struct Cluster {
    /// Node that is asked for everything but sound.
    desk: Node,
    mixers: Vec<Node>,
    /// Node for listeners.
    ear: Node,
    token: String,
    listener: Listener,
    _speaker: Speaker,
}

impl Cluster {
    /// Starts the nodes, with this number of mixers: `m0`, `m1` and so on.
    async fn start(etcd: &Etcd, mixers: usize) -> Self {
        let member = async |id: &str, roles: &str| {
            node_on_etcd(etcd, &[&[("node.id", id), ("node.roles", roles)], &SHORT[..]].concat()).await
        };
        let desk = member("desk", "rooms,janus").await;
        let mut members = Vec::new();
        for n in 0..mixers {
            members.push(member(&format!("m{n}"), "mixer").await);
        }
        let ear = member("ear", "hls").await;
        let made = desk.post("/api/rooms", json!({ "roomId": ROOM, "rewind": 600, "start": true })).await;
        assert_eq!(made.status, 201, "{made:?}");
        desk.until_status(ROOM, "onair").await;
        let speaker = Studio::managed(&desk).await.speak(&desk, ROOM, 440).await;
        let token = desk.token(ROOM).await;
        let room = RoomId::new(ROOM).unwrap();
        let target =
            Target { base_url: ear.hls.clone(), room, token: token.clone(), ffmpeg: "ffmpeg".into() };
        let listener = tuned_in(&target, Mode::Segments, 440.0).await;
        until("the window exceeds the live window", async || {
            segments(&rewind(&ear, ROOM, "").await.text()).len() > 24
        })
        .await;
        Self { desk, mixers: members, ear, token, listener, _speaker: speaker }
    }
}

#[actix::test]
async fn listener_node_serves_rewind() {
    let etcd = Etcd::start();
    let Cluster { desk, mixers, ear, token, listener: _listener, _speaker } = Cluster::start(&etcd, 1).await;
    let list = rewind(&ear, ROOM, "").await.text();
    let delta = rewind(&ear, ROOM, "?_HLS_skip=YES").await.text();
    let skipped = number(&delta, "#EXT-X-SKIP:SKIPPED-SEGMENTS=").expect("a delta update");
    assert!(skipped > 0 && segments(&delta).len() < segments(&list).len(), "{delta}");
    assert!(!get(&ear, ROOM, "index.m3u8", "").await.text().contains("CAN-SKIP-UNTIL"));
    let oldest = segments(&list)[0].clone();
    assert!(!get(&ear, ROOM, "index.m3u8", "").await.text().contains(&oldest));
    assert_eq!(get(&ear, ROOM, &oldest, "").await.status, 200);
    let heard = played_from_start(&ear, ROOM, &token, 4);
    assert!(heard.level(440.0) > 0.03, "{}", heard.level(440.0));
    let keys = async |index: u64, token: &str| {
        let hint = oldest.split('-').next().unwrap();
        get(&ear, ROOM, "enc.key", &format!("?n={hint}&k={index}&token={token}")).await
    };
    let index = number(&list.replace("&k=", "\n#k="), "#k=").expect("a key");
    assert_eq!(keys(index, &token).await.status, 200);
    assert_eq!(keys(index + 9, &token).await.code(), "key_out_of_window");
    assert_eq!(keys(index, "a.b.c").await.code(), "token_invalid");
    withstood("keys of the rewind window without a token, and outside the window", "401, 403", "no access");

    let off =
        request("PATCH", &format!("{}/api/rooms/{ROOM}", desk.api), &[], Some(json!({ "rewind": 0 }))).await;
    assert_eq!((off.status, off.json()["room"]["rewindUrl"].clone()), (200, Value::Null), "{off:?}");
    until("rewind is switched off", async || rewind(&ear, ROOM, "").await.code() == "rewind_off").await;
    until("the window is erased", async || folders(&mixers[0]).is_empty()).await;
}

#[actix::test]
async fn window_survives_move_of_mixer() {
    let etcd = Etcd::start();
    let Cluster { desk, mut mixers, ear, token, mut listener, _speaker } = Cluster::start(&etcd, 2).await;
    let list = async || rewind(&ear, ROOM, "").await.text();

    let owner = async || {
        let room = desk.get(&format!("/api/rooms/{ROOM}")).await.json()["room"].clone();
        usize::from(room["mixer"]["id"] == "m1")
    };
    // The first move is an operator's drain, the second one that of a node that stops.
    let mut before = list().await;
    for stops in [false, true] {
        let from = owner().await;
        match stops {
            false => {
                let drain = format!("/api/modules/mixers/m{from}/mark");
                assert_eq!(desk.put(&drain, json!({ "label": "draining" })).await.status, 200);
            }
            true => {
                let uncordoned = format!("/api/modules/mixers/m{}/mark", 1 - from);
                assert!(desk.delete(&uncordoned).await.status < 300);
                mixers[from].signal(rustix::process::Signal::TERM);
            }
        }
        // Each playlist continues the one before it, during the whole move.
        let newest = Mutex::new(before.clone());
        until("the new mixer has taken the window", async || {
            let new = list().await;
            let mut newest = newest.lock().await;
            assert_continues(&newest, &new);
            *newest = new;
            let taken = mixers[1 - from].states_of("rewind").await.pop();
            let is_whole = taken.is_some_and(|actor| actor["observed"]["takenFrom"].is_null());
            owner().await != from && is_whole && (stops || folders(&mixers[from]).is_empty())
        })
        .await;
        if stops {
            mixers[from].ended();
            let log = mixers[from].log();
            let ended = log.iter().find(|line| line["message"] == "drain ended").expect("it has drained");
            assert_eq!(ended["rewind_windows"], true, "it waited for the takeover: {ended}");
        }
        listener.hear(Duration::from_secs(2)).await.unwrap();
        let new = list().await;
        assert_continues(&newest.into_inner(), &new);
        assert_eq!(segments(&new)[0], segments(&before)[0], "the oldest segment is still there");
        for segment in segments(&new) {
            assert_eq!(get(&ear, ROOM, &segment, "").await.status, 200, "{segment}");
        }
        before = new;
    }

    // The tone is in the whole window, except at its start, where nobody spoke yet.
    let seconds = segments(&before).len() as u32 / 2 - 2;
    let heard = played_from_start(&ear, ROOM, &token, seconds).pcm;
    let speaks = |pcm: &[f32]| HeardAudio { pcm: pcm.to_vec(), ..HeardAudio::default() }.level(440.0) > 0.03;
    let tone: Vec<_> = heard.chunks_exact(24_000).map(speaks).skip_while(|speaks| !speaks).collect();
    assert!(tone.len() as u32 > 2 * (seconds - 5), "{} of {seconds} s", tone.len() / 2);
    assert!(tone.iter().all(|speaks| *speaks), "{tone:?}");
}

/// Asserts that a player can load `new` after `old`.
fn assert_continues(old: &str, new: &str) {
    for name in ["#EXT-X-MEDIA-SEQUENCE:", "#EXT-X-DISCONTINUITY-SEQUENCE:"] {
        assert!(number(new, name) >= number(old, name), "{old}\n{new}");
    }
    let (old, new) = (segments(old), segments(new));
    assert!(new.len() >= old.len() && new[..old.len()] == old[..], "{old:?}\n{new:?}");
}

#[actix::test]
async fn full_disk_shrinks_rewind_only() {
    let disk = SmallDisk::mount(200);
    let data = disk.path().join("data");
    let settings = [("node.data_dir", data.to_str().unwrap()), ("hls.rewind", "10m")];
    let node = Node::start(&[&settings[..], &SHORT[..]].concat()).await;
    node.room_on_air(ROOM).await;
    let _speaker = Studio::managed(&node).await.speak(&node, ROOM, 440).await;
    tuned_in(&node.target(ROOM).await, Mode::Parts, 440.0).await;
    let actor = async || node.states_of("rewind").await.into_iter().next().unwrap_or_default();
    until("the window is kept", async || actor().await["observed"]["seconds"].as_u64() > Some(8)).await;

    // Less space is free than rewind must leave for recordings, but still enough for the store.
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![1; 100 << 20]).unwrap();
    until("segments are lost", async || actor().await["observed"]["lost"].as_u64() > Some(2)).await;
    let failing = actor().await;
    assert_eq!(
        (&failing["state"], &failing["observed"]["seconds"]),
        (&json!("failing"), &json!(0)),
        "{failing}"
    );
    assert!(failing["reason"].as_str().unwrap().contains("are free"), "{failing}");
    let problems = node.problems();
    let named = problems.iter().filter(|line| line.contains("cannot write a rewind window")).count();
    assert_eq!(named, 1, "one line per interval: {problems:?}");
    assert_eq!(rewind(&node, ROOM, "").await.code(), "media_not_ready");
    let metrics = request("GET", &format!("{}/metrics", node.ops), &[], None).await.text();
    let dropped = number(&metrics, "stentor_rewind_segments_total{outcome=\"dropped\"} ");
    assert!(dropped > Some(0), "{dropped:?}");
    let mut listener = tuned_in(&node.target(ROOM).await, Mode::Parts, 440.0).await;
    let heard = listener.hear(Duration::from_secs(2)).await.unwrap();
    assert_eq!((heard.gaps, heard.violations), (vec![], vec![]), "heard meanwhile");

    std::fs::remove_file(filler).unwrap();
    until("the window is kept again", async || actor().await["state"] == "writing").await;
    assert_eq!(rewind(&node, ROOM, "").await.status, 200);
}

async fn get(node: &Node, room: &str, name: &str, query: &str) -> Answer {
    request("GET", &format!("{}/hls/rooms/{room}/{name}{query}", node.hls), &[], None).await
}

async fn rewind(node: &Node, room: &str, query: &str) -> Answer {
    get(node, room, "rewind.m3u8", query).await
}

/// Returns the segments that a playlist lists.
fn segments(list: &str) -> Vec<String> {
    let lines = list.lines().filter(|line| line.ends_with(".ts"));
    lines.map(str::to_owned).collect()
}

/// Returns the number after `before` at the start of a line.
fn number(text: &str, before: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let digits = line.strip_prefix(before)?;
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    })
}

/// Returns the folders of the windows that a node keeps.
fn folders(node: &Node) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(node.data_dir().join("rewind")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Plays the first seconds of a window with FFmpeg, an independent player.
fn played_from_start(node: &Node, room: &str, token: &str, seconds: u32) -> HeardAudio {
    let url = format!("{}/hls/rooms/{room}/rewind.m3u8?token={token}", node.hls);
    let played = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-live_start_index", "0", "-i", &url])
        .args(["-t", &seconds.to_string(), "-f", "f32le", "-ac", "1", "-ar", "48000", "-"])
        .output()
        .unwrap();
    assert!(played.status.success(), "{}", String::from_utf8_lossy(&played.stderr));
    let samples = played.stdout.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    HeardAudio { pcm: samples.collect(), ..HeardAudio::default() }
}

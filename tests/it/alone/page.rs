//! hls.js in headless Chromium on a staged room: every segment, key and discontinuity is known beforehand.

use std::time::Duration;

use serde_json::{Value, json};
use stentor::probe::Mode;

use crate::rooms::tuned_in;
use crate::support::browser::{ListeningResult, listen, listen_natively, listen_plainly};
use crate::support::node::Node;
use crate::support::pages::Pages;
use crate::support::staged::{ROOM, Stage, TOKEN, Take};
use crate::support::studio::{Speaker, Studio};
use crate::support::{pause_async, report, until};

/// Longest tolerated silence. The staged room always has media, so a silence is a stall of the player. Short
/// stalls are normal on a busy machine.
const LONGEST_SILENCE: Duration = Duration::from_secs(4);
/// Distance in seconds behind live that the page keeps: the goal for the 95th percentile.
const CLOSE_TO_LIVE: f64 = 1.3;

#[actix::test]
async fn page_plays_across_key_change_and_discontinuity() {
    let takes = [Take { hz: 440, segments: 6 }, Take { hz: 440, segments: 14 }];
    let stage = Stage::open(&takes).await;
    let listened = listen(&page(&stage, &TOKEN), 10).await;
    report(format!("longest silence {:?}", listened.longest_silence()));
    assert!(listened.errors_of_ours().is_empty(), "{listened:?}");
    assert!(listened.first_sound_ms.is_some(), "{listened:?}");
    assert!(listened.longest_silence() < LONGEST_SILENCE, "{listened:?}");
    let hz = listened.dominant_hz.unwrap();
    assert!((hz - 440.0).abs() < 15.0, "{hz}");
    assert!(listened.behind_live.p50.is_some(), "{listened:?}");
    assert_eq!((listened.state.as_str(), listened.foreign_requests), ("playing", vec![]));
}

#[actix::test]
async fn page_without_token_reports_error() {
    let stage = Stage::open(&[Take { hz: 440, segments: 14 }]).await;
    let listened = listen(&page(&stage, ""), 2).await;
    assert_eq!((listened.state.as_str(), listened.first_sound_ms), ("failed", None), "{listened:?}");
    assert_eq!(listened.errors[0]["code"], "token_missing");
}

#[actix::test]
async fn page_plays_without_media_source() {
    let node = Node::start(&[]).await;
    node.room_on_air("live").await;
    let _speaker = Studio::managed(&node).await.speak(&node, "live", 440).await;
    // Chromium's own HLS player starts only if the playlist holds as much as the player buffers.
    let mut listener = tuned_in(&node.target("live").await, Mode::Segments, 440.0).await;
    listener.hear_segments(3).await.unwrap();
    let page = format!("{}/listen/live#token={}", node.hls, node.token("live").await);
    let listened = listen_natively(&page, 12).await;
    plays(&listened);
    // While the room is on air, open the same page in a browser without any HLS.
    plays(&listen_plainly(&page, 6).await);
}

fn plays(listened: &ListeningResult) {
    report(format!("{listened:?}"));
    assert_eq!(listened.state, "playing", "{listened:?}");
    assert!(listened.first_sound_ms.is_some(), "{listened:?}");
    assert!((listened.dominant_hz.unwrap() - 440.0).abs() < 15.0, "{listened:?}");
    assert_eq!(listened.foreign_requests, Vec::<String>::new());
}

#[actix::test]
async fn page_resumes_after_room_restart() {
    let node = Node::start(&[]).await;
    node.room_on_air("live").await;
    let studio = Studio::managed(&node).await;
    let first = studio.speak(&node, "live", 440).await;
    let mut pages = Pages::start().await;
    let url = format!("{}/listen/live#token={}", node.hls, node.token("live").await);
    pages.ask("eve", "open", json!({ "url": url })).await;
    pages.until_hears("eve", &json!({ "440": true, "660": false })).await;

    stop(&node).await;
    drop(first);
    pages.ask("eve", "wait", json!({ "state": "waiting" })).await;
    // Reload while the end of the broadcast is still served, but its keys are not.
    pages.ask("eve", "reload", json!({})).await;
    pages.ask("eve", "wait", json!({ "state": "waiting" })).await;
    let second = restart(&node, &studio, 660).await;
    pages.until_hears("eve", &json!({ "440": false, "660": true })).await;

    // The room is on air again before the page has played to the end, or just after.
    stop(&node).await;
    drop(second);
    let _third = restart(&node, &studio, 880).await;
    pages.until_hears("eve", &json!({ "660": false, "880": true })).await;
    assert_eq!(pages.ask("eve", "state", json!({})).await["state"], "playing");
}

#[actix::test]
async fn page_returns_to_live_after_interruptions() {
    let node = Node::start(&[]).await;
    node.room_on_air("live").await;
    let _speaker = Studio::managed(&node).await.speak(&node, "live", 440).await;
    let mut pages = Pages::start().await;
    let url = format!("{}/listen/live#token={}", node.hls, node.token("live").await);
    pages.ask("eve", "open", json!({ "url": url })).await;
    pages.until_hears("eve", &json!({ "440": true })).await;
    for (how, ms) in [("freeze", 4_000), ("offline", 1_500), ("offline", 8_000), ("freeze", 20_000)] {
        pages.ask("eve", "interrupt", json!({ "how": how, "ms": ms })).await;
        let shared = tokio::sync::Mutex::new(&mut pages);
        until(&format!("the page is live again after {ms} ms of {how}"), async || {
            let state = shared.lock().await.ask("eve", "state", json!({})).await;
            state["playing"] == true
                && state["behindLiveSeconds"].as_f64().is_some_and(|s| s <= CLOSE_TO_LIVE)
        })
        .await;
        pages.until_hears("eve", &json!({ "440": true })).await;
    }
}

#[actix::test]
async fn page_shows_playback_state() {
    let stage = Stage::open(&[Take { hz: 440, segments: 60 }]).await;
    let mut pages = Pages::start().await;
    for (name, more) in [("eve", json!({})), ("fox", json!({ "firefoxHz": 220 }))] {
        let mut request = json!({ "url": page(&stage, &TOKEN) });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        pages.ask(name, "open", request).await;
        shows(&mut pages, name, "Live").await;
        // The system pauses the media element: the page is not live and does not resume by itself.
        pages.ask(name, "disturb", json!({ "how": "pause" })).await;
        let paused = shows(&mut pages, name, "Paused").await;
        assert!(paused["words"].as_str().unwrap().contains("Press play"), "{paused}");
        pages.ask(name, "play", json!({})).await;
        shows(&mut pages, name, "Live").await;
        // The playhead stops without any event.
        pages.ask(name, "disturb", json!({ "how": "stall" })).await;
        shows(&mut pages, name, "Buffering").await;
        for _ in 0..200 {
            let stalled = pages.ask(name, "state", json!({})).await;
            assert_ne!(stalled["pill"], "Live", "{stalled}");
            pause_async().await;
        }
        pages.ask(name, "disturb", json!({ "how": "resume" })).await;
        shows(&mut pages, name, "Live").await;
        pages.ask(name, "press", json!({ "target": "#sound" })).await;
        shows(&mut pages, name, "Muted").await;
        pages.ask(name, "press", json!({ "target": "#sound" })).await;
        shows(&mut pages, name, "Live").await;
        pages.ask(name, "close", json!({})).await;
    }
}

async fn shows(pages: &mut Pages, name: &str, pill: &str) -> Value {
    pages.ask(name, "wait", json!({ "pill": pill })).await
}

#[actix::test]
async fn address_bar_does_not_keep_the_token() {
    let stage = Stage::open(&[Take { hz: 440, segments: 60 }]).await;
    let clean = format!("{}/listen/{ROOM}", stage.base_url());
    let mut pages = Pages::start().await;
    pages.ask("eve", "open", json!({ "url": page(&stage, &TOKEN) })).await;
    assert_eq!(shows(&mut pages, "eve", "Live").await["address"], clean);
    pages.ask("eve", "reload", json!({})).await;
    assert_eq!(shows(&mut pages, "eve", "Live").await["address"], clean);
    pages.ask("eve", "go", json!({ "to": stage.base_url() })).await;
    assert_eq!(pages.ask("eve", "go", json!({ "to": "back" })).await["address"], clean);
    shows(&mut pages, "eve", "Live").await;
    // Another tab has only the address, which has no token.
    pages.ask("bob", "open", json!({ "url": clean })).await;
    let refused = pages.ask("bob", "wait", json!({ "state": "failed" })).await;
    assert!(refused["words"].as_str().unwrap().contains("no valid token"), "{refused}");
}

async fn stop(node: &Node) {
    assert_eq!(node.post("/api/rooms/live/stop", json!({})).await.status, 200);
}

/// Starts the stopped room again and puts another anchor on air.
async fn restart(node: &Node, studio: &Studio, hz: u32) -> Speaker {
    node.until_status("live", "created").await;
    assert_eq!(node.post("/api/rooms/live/start", json!({})).await.status, 200);
    node.until_status("live", "onair").await;
    studio.speak(node, "live", hz).await
}

fn page(stage: &Stage, token: &str) -> String {
    format!("{}/listen/{ROOM}#token={token}", stage.base_url())
}

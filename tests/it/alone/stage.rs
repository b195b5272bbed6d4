//! The listener channel in browsers: a listener raises a hand, is invited, speaks from the listen page, and
//! returns to listening.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use stentor::domain::civil_time::Rfc3339;
use stentor::domain::ids::UnixMs;

use crate::support::node::Node;
use crate::support::pages::{Pages, tone};
use crate::support::until;

const ROOM: &str = "talk";

#[actix::test]
async fn listener_speaks_on_invitation() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let mut pages = Pages::start().await;
    let sounds = tempfile::tempdir().unwrap();
    let made =
        node.post(&format!("/api/rooms/{ROOM}/users"), json!({ "role": "host", "userId": "ann" })).await;
    let host = made.json()["inviteUrl"].as_str().expect("a URL").to_owned();
    let (low, high) = (tone(sounds.path(), 440).await, tone(sounds.path(), 660).await);
    pages.ask("ann", "open", json!({ "url": host, "wav": low, "displayName": "Ann" })).await;
    pages.connected("ann").await;
    let (bob, eve) = (listen(&node, "bob", Some("Bob")).await, listen(&node, "eve", None).await);
    pages.ask("eve", "open", json!({ "url": eve })).await;
    pages.until_hears("eve", &json!({ "440": true, "660": false })).await;
    until_text(&mut pages, "eve", ".speaker bdi", "Ann").await;
    until_text(&mut pages, "eve", ".speaker-state", "Host · Talking").await;
    let opened = pages.ask("bob", "open", json!({ "url": bob, "wav": high })).await;
    assert_eq!(opened["fit"]["wide"], 0, "{opened}");

    // A name that looks like markup is shown as text.
    pages.ask("eve", "write", json!({ "target": "#say-name", "text": "<img src=x>" })).await;
    pages.ask("eve", "write", json!({ "target": "#say-text", "text": "<b>hello</b> & more" })).await;
    pages.ask("eve", "press", json!({ "target": "#say button" })).await;
    for name in ["ann", "bob", "eve"] {
        until_text(&mut pages, name, ".message-text", "<b>hello</b> & more").await;
        until_text(&mut pages, name, ".message-head bdi", "<img src=x>").await;
    }

    pages.ask("bob", "press", json!({ "target": "#hand" })).await;
    pages.ask("bob", "write", json!({ "target": "#hand-note", "text": "about tea" })).await;
    pages.ask("bob", "press", json!({ "target": "#hand-send" })).await;
    until_text(&mut pages, "bob", "#hand-place", "Your hand is up · place 1").await;
    until_text(&mut pages, "ann", ".hand .name", "Bob").await;
    until_text(&mut pages, "ann", ".hand-note", "about tea").await;
    pages.ask("ann", "press", json!({ "target": "#hands [data-do=invite]" })).await;
    pages.ask("bob", "press", json!({ "target": "#accept" })).await;
    until_text(&mut pages, "bob", "#stage-state", "You are on the stage. Everybody hears you.").await;
    pages.until_hears("eve", &json!({ "440": true, "660": true })).await;
    until_text(&mut pages, "ann", "#hands-empty", "No hand is raised.").await;

    pages.ask("bob", "press", json!({ "target": "#stage-leave" })).await;
    pages.until_hears("bob", &json!({ "440": true, "660": false })).await;
    pages.until_hears("eve", &json!({ "440": true, "660": false })).await;
    for name in ["ann", "bob", "eve"] {
        let state = pages.ask(name, "state", json!({})).await;
        assert!(state["errors"].as_array().unwrap().iter().all(|error| error["fatal"] == false), "{state}");
    }
}

#[actix::test]
async fn host_kicks_speaker_by_button() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let mut pages = Pages::start().await;
    let sounds = tempfile::tempdir().unwrap();
    let wav = tone(sounds.path(), 440).await;
    let mut invites = Vec::new();
    for (user, role) in [("ann", "host"), ("bob", "anchor")] {
        let made =
            node.post(&format!("/api/rooms/{ROOM}/users"), json!({ "role": role, "userId": user })).await;
        let url = made.json()["inviteUrl"].clone();
        let invite = json!({ "url": url, "wav": wav, "displayName": user });
        pages.ask(user, "open", invite.clone()).await;
        pages.connected(user).await;
        invites.push(invite);
    }
    pages.ask("ann", "wait", json!({ "names": ["ann", "bob"] })).await;
    pages.ask("ann", "press", json!({ "target": "[data-user=bob] [data-do=kick]" })).await;
    until_text(&mut pages, "ann", "#confirm-yes", "Kick").await;
    pages.ask("ann", "press", json!({ "target": "#confirm-yes" })).await;
    pages.ask("bob", "wait", json!({ "view": "ended", "code": "removed" })).await;
    pages.ask("ann", "wait", json!({ "names": ["ann"] })).await;
    until("the kick is over", async || {
        let users = node.get(&format!("/api/rooms/{ROOM}/users")).await.json();
        users["users"].as_array().unwrap().iter().all(|user| user["removedAt"].is_null())
    })
    .await;
    // The same invitation opens the room again.
    pages.ask("bob", "close", json!({})).await;
    pages.ask("bob", "open", invites[1].clone()).await;
    pages.connected("bob").await;
    pages.ask("ann", "wait", json!({ "names": ["ann", "bob"] })).await;
}

/// Tests a browser that plays only after a tap: a tap during the countdown is enough.
#[actix::test]
async fn waiting_page_plays_when_backstage_goes_live() {
    let node = Node::start(&[]).await;
    let at = Rfc3339(UnixMs(now_ms() + 3_600_000)).to_string();
    let wanted = json!({ "roomId": ROOM, "title": "Tea at six", "backstage": true, "startsAt": at });
    assert_eq!(node.post("/api/rooms", wanted).await.status, 201);
    let mut pages = Pages::start().await;
    let sounds = tempfile::tempdir().unwrap();
    let eve = listen(&node, "eve", None).await;
    let opened = pages.ask("eve", "open", json!({ "url": eve, "hands": "touch" })).await;
    assert_eq!(opened["fit"]["wide"], 0, "{opened}");
    pages.ask("eve", "wait", json!({ "pill": "Scheduled" })).await;
    until_text(&mut pages, "eve", "#room", "Tea at six").await;
    pages.ask("eve", "press", json!({ "target": "#play" })).await;
    until_text(&mut pages, "eve", "#starts-how", "The sound starts here by itself.").await;

    let made =
        node.post(&format!("/api/rooms/{ROOM}/users"), json!({ "role": "host", "userId": "ann" })).await;
    let host = made.json()["inviteUrl"].as_str().expect("a URL").to_owned();
    let wav = tone(sounds.path(), 440).await;
    pages.ask("ann", "open", json!({ "url": host, "wav": wav, "displayName": "Ann" })).await;
    pages.connected("ann").await;
    until_text(&mut pages, "ann", "#backstage .strong", "Listeners do not hear you yet.").await;
    until_text(&mut pages, "eve", "#speakers-empty", "Nobody speaks yet.").await;
    pages.ask("ann", "press", json!({ "target": "#go-live" })).await;
    pages.ask("ann", "press", json!({ "target": "#confirm-yes" })).await;
    pages.ask("ann", "wait", json!({ "says": "You are live: listeners hear you." })).await;
    pages.until_hears("eve", &json!({ "440": true, "660": false })).await;
    pages.ask("eve", "wait", json!({ "pill": "Live" })).await;
    until_text(&mut pages, "eve", ".speaker bdi", "Ann").await;
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

async fn listen(node: &Node, user: &str, name: Option<&str>) -> String {
    let body = json!({ "roomId": ROOM, "userId": user, "name": name });
    let token = node.post("/api/token", body).await.json();
    format!("{}/listen/{ROOM}#token={}", node.hls, token["token"].as_str().expect("a token"))
}

pub async fn until_text(pages: &mut Pages, name: &str, target: &str, text: &str) {
    let pages = tokio::sync::Mutex::new(pages);
    until(&format!("{name} reads {text} in {target}"), async || {
        pages.lock().await.ask(name, "text", json!({ "target": target })).await == text
    })
    .await;
}

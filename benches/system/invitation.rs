//! Measures how long an invited listener waits on the stage until others hear them, in headless Chromium: the
//! listen page turns into a speaking page, without a reload.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::node::Node;
use super::support::pages::{Pages, tone};
use super::support::until;
use super::table::{Row, Times, short};

const ROOM: &str = "stage";
const ROUNDS: usize = 5;
/// Time over which one look at the sound of a page extends: the resolution of the measurement.
const LOOK: Duration = Duration::from_millis(200);

pub async fn measure() -> Vec<Row> {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let mut pages = Pages::start().await;
    let sounds = tempfile::tempdir().expect("a folder");
    let (low, high) = (tone(sounds.path(), 440).await, tone(sounds.path(), 660).await);
    let host = json!({ "role": "host", "userId": "ann" });
    let host = node.post(&format!("/api/rooms/{ROOM}/users"), host).await.json()["inviteUrl"].clone();
    pages.ask("ann", "open", json!({ "url": host, "wav": low, "displayName": "Ann" })).await;
    pages.connected("ann").await;
    for (user, wav) in [("bob", json!(high)), ("eve", Value::Null)] {
        let wanted = json!({ "roomId": ROOM, "userId": user, "name": user });
        let token = node.post("/api/token", wanted).await.json()["token"].clone();
        let url = format!("{}/listen/{ROOM}#token={}", node.hls, token.as_str().expect("a token"));
        pages.ask(user, "open", json!({ "url": url, "wav": wav })).await;
        pages.until_hears(user, &json!({ "440": true, "660": false })).await;
    }
    let (mut anchor, mut listener, mut back) = (Times::default(), Times::default(), Times::default());
    for _ in 0..ROUNDS {
        pages.ask("bob", "press", json!({ "target": "#hand" })).await;
        pages.ask("bob", "press", json!({ "target": "#hand-send" })).await;
        until_shown(&mut pages, "ann", "#hands [data-do=invite]").await;
        pages.ask("ann", "press", json!({ "target": "#hands [data-do=invite]" })).await;
        until_shown(&mut pages, "bob", "#accept").await;
        let accepted = Instant::now();
        pages.ask("bob", "press", json!({ "target": "#accept" })).await;
        until_tone(&mut pages, "ann", "660", true).await;
        anchor.add(accepted.elapsed());
        until_tone(&mut pages, "eve", "660", true).await;
        listener.add(accepted.elapsed());
        let left = Instant::now();
        pages.ask("bob", "press", json!({ "target": "#stage-leave" })).await;
        until_tone(&mut pages, "bob", "440", true).await;
        back.add(left.elapsed());
        until_tone(&mut pages, "eve", "660", false).await;
    }
    let row = |what: &str, times: &Times, goal: &str| {
        Row::new(format!("{what} (floor: one look)"), short(LOOK), times.to_string(), goal)
    };
    vec![
        row("invitation accepted -> heard by an anchor", &anchor, "≤ 1.5 s"),
        row("invitation accepted -> heard by a listener", &listener, "≤ 1.5 s + time behind live"),
        row("stage left -> the room is heard as a listener", &back, "≤ 1.5 s"),
    ]
}

async fn until_shown(pages: &mut Pages, name: &str, target: &str) {
    let pages = tokio::sync::Mutex::new(pages);
    until(&format!("{name} has {target}"), async || {
        pages.lock().await.ask(name, "text", json!({ "target": target })).await.is_string()
    })
    .await;
}

async fn until_tone(pages: &mut Pages, name: &str, hz: &str, audible: bool) {
    let pages = tokio::sync::Mutex::new(pages);
    until(&format!("{name} hears {hz} Hz: {audible}"), async || {
        let look = json!({ "hz": [hz.parse::<u32>().unwrap()], "ms": LOOK.as_millis() as u64 });
        pages.lock().await.ask(name, "analyse", look).await["hears"][hz] == audible
    })
    .await;
}

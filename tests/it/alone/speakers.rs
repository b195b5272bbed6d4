//! Headless browsers in one room, on the pages that the node serves, under common user actions and faults.

use serde_json::{Value, json};

use crate::support::abuse_table::withstood;
use crate::support::browser::errors_of_ours;
use crate::support::external::on_janus;
use crate::support::free_ports;
use crate::support::janus::TestJanus;
use crate::support::node::Node;
use crate::support::pages::{Pages, tone};
use crate::support::report;
use crate::support::until;

pub(super) const ROOM: &str = "talk";
/// Five seconds of audio, in packets of 20 ms.
const FIVE_SECONDS: u64 = 250;
/// Upper bound in seconds behind live. The player's target is less than 2 s, and the player jumps at 3 s
/// beyond its target; an overloaded machine adds to that.
const MOST_BEHIND: f64 = 10.0;

#[actix::test]
async fn browsers_hear_each_other_and_listeners_both() {
    let mut node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let mut pages = Pages::start().await;
    let sounds = tempfile::tempdir().unwrap();
    for (name, role, hz) in [("ann", "host", 440), ("bob", "anchor", 660)] {
        let url = invite(&node, name, role).await;
        let wav = tone(sounds.path(), hz).await;
        pages.ask(name, "open", json!({ "url": url, "wav": wav })).await;
        pages.connected(name).await;
    }
    pages.until_hears("ann", &json!({ "440": false, "660": true })).await;
    pages.until_hears("bob", &json!({ "440": true, "660": false })).await;
    let listen = format!("{}/listen/{ROOM}#token={}", node.hls, node.token(ROOM).await);
    pages.ask("eve", "open", json!({ "url": listen })).await;
    pages.until_hears("eve", &json!({ "440": true, "660": true })).await;
    let behind = pages.ask("eve", "state", json!({})).await["behindLiveSeconds"].as_f64().unwrap();
    report(format!("a listener of two browsers is {behind:.2} s behind live"));
    assert!(behind < MOST_BEHIND, "{behind} s");
    pages.ask("eve", "close", json!({})).await;

    survives_a_cut(&mut pages).await;
    is_muted_by_the_host(&mut pages).await;
    pages.ask("ann", "remove", json!({ "user": "bob" })).await;
    let ended = pages.ask("bob", "wait", json!({ "view": "ended" })).await;
    assert_eq!(ended["problem"]["code"], "removed", "{ended}");
    // The old token is no longer valid.
    pages.ask("bob", "reload", json!({})).await;
    let again = pages.ask("bob", "wait", json!({ "view": "ended" })).await;
    assert_eq!(again["problem"]["code"], "removed", "{again}");
    // The reload read the token from the tab's session storage; the address does not contain it.
    assert_eq!(again["address"], format!("{}/speak/{ROOM}", node.hls));
    for name in ["ann", "bob"] {
        assert_eq!(pages.ask(name, "state", json!({})).await["errors"], json!([]));
    }
    drop(pages);
    assert!(node.stop().success());
}

#[actix::test]
async fn firefox_and_chromium_hear_each_other() {
    let mut node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let mut pages = Pages::start().await;
    let sounds = tempfile::tempdir().unwrap();
    let (ann, fox) = (invite(&node, "ann", "host").await, invite(&node, "fox", "anchor").await);
    let wav = tone(sounds.path(), 440).await;
    pages.ask("ann", "open", json!({ "url": ann, "wav": wav })).await;
    pages.ask("fox", "open", json!({ "url": fox, "firefoxHz": 880 })).await;
    pages.connected("fox").await;
    pages.until_hears("ann", &json!({ "440": false, "880": true })).await;
    pages.until_hears("fox", &json!({ "440": true, "880": false })).await;
    let listen = format!("{}/listen/{ROOM}#token={}", node.hls, node.token(ROOM).await);
    pages.ask("eve", "open", json!({ "url": listen, "firefoxHz": 220 })).await;
    pages.until_hears("eve", &json!({ "440": true, "880": true })).await;
    let eve = pages.ask("eve", "wait", json!({ "state": "playing" })).await;
    // Firefox's buffer may begin after the position that hls.js wants; hls.js skips the gap and reports that.
    assert!(eve["errors"].as_array().unwrap().iter().all(|error| error["fatal"] == false), "{eve}");
    pages.ask("fox", "mute", json!({ "muted": true })).await;
    pages.until_hears("ann", &json!({ "440": false, "880": false })).await;
    pages.ask("fox", "leave", json!({})).await;
    pages.ask("fox", "wait", json!({ "view": "ended" })).await;
    assert_eq!(pages.ask("fox", "state", json!({})).await["errors"], json!([]));
    drop(pages);
    assert!(node.stop().success());
}

/// Mutes bob as the host: both pages show it, and bob is not heard.
async fn is_muted_by_the_host(pages: &mut Pages) {
    let before = pages.ask("bob", "state", json!({})).await;
    assert_eq!((&before["microphone"], &before["muted"]), (&json!("Mute"), &json!(false)), "{before}");
    pages.ask("ann", "mute", json!({ "user": "bob", "muted": true })).await;
    let muted = json!({ "cards": { "bob": "Muted" }, "says": "A host muted you." });
    let at_bob = pages.ask("bob", "wait", muted).await;
    assert_eq!((&at_bob["microphone"], &at_bob["muted"]), (&json!("Unmute"), &json!(true)), "{at_bob}");
    let at_ann = pages.ask("ann", "wait", json!({ "cards": { "bob": "Muted" } })).await;
    assert_eq!((&at_ann["microphone"], &at_ann["muted"]), (&json!("Mute"), &json!(false)), "{at_ann}");
    pages.until_hears("ann", &json!({ "440": false, "660": false })).await;
}

/// Cuts the WebSocket for five seconds: the media continue without a break, on the same peer connection.
async fn survives_a_cut(pages: &mut Pages) {
    let before = pages.packets("ann").await;
    pages.ask("ann", "cut", json!({ "how": "reset" })).await;
    pages.ask("ann", "wait", json!({ "state": "reconnecting" })).await;
    let cell = tokio::sync::Mutex::new(&mut *pages);
    until("five seconds of packets flow both ways", async || {
        let (sent, received) = cell.lock().await.packets("ann").await;
        sent >= before.0 + FIVE_SECONDS && received >= before.1 + FIVE_SECONDS
    })
    .await;
    let cut = pages.packets("ann").await;
    pages.ask("ann", "restore", json!({})).await;
    pages.connected("ann").await;
    let after = pages.packets("ann").await;
    // The counters of a new peer connection would restart.
    assert!(after.0 >= cut.0 && after.1 >= cut.1, "{cut:?} {after:?}");
    pages.until_hears("ann", &json!({ "440": false, "660": true })).await;
}

#[actix::test]
async fn browser_is_heard_after_node_restart() {
    // The pages also accept trickled candidates.
    let janus = TestJanus::full_trickle().await;
    let [ws, hls] = free_ports().map(|port| format!("127.0.0.1:{port}"));
    let mut node = on_janus(&janus, janus.janus.url(), &[("listen.ws", &ws), ("listen.hls", &hls)]);
    node.run();
    node.ready().await;
    node.room_on_air(ROOM).await;
    let mut pages = Pages::start().await;
    let sounds = tempfile::tempdir().unwrap();
    for (name, hz) in [("ann", 440), ("bob", 660)] {
        let url = invite(&node, name, "anchor").await;
        let wav = tone(sounds.path(), hz).await;
        pages.ask(name, "open", json!({ "url": url, "wav": wav })).await;
        pages.connected(name).await;
    }
    pages.until_hears("ann", &json!({ "440": false, "660": true })).await;
    node.kill();
    pages.ask("bob", "wait", json!({ "state": "reconnecting" })).await;
    node.run();
    node.ready().await;
    for name in ["ann", "bob"] {
        pages.connected(name).await;
    }
    pages.until_hears("ann", &json!({ "440": false, "660": true })).await;
    pages.until_hears("bob", &json!({ "440": true, "660": false })).await;
    drop(pages);
    assert!(node.stop().success());
}

#[actix::test]
async fn pages_work_by_keyboard_and_on_phones() {
    let mut node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let mut pages = Pages::start().await;
    let sounds = tempfile::tempdir().unwrap();
    let fits = json!({ "wide": 0, "small": [] });
    // Markup, another writing direction, or a word wider than a phone must not break a page.
    let people = [
        ("ann", "host", "keyboard", 440, "W".repeat(64)),
        ("bob", "anchor", "touch", 660, "<img src=x onerror=alert(1)> \u{5e2}\u{5d3}\u{5d4}".to_owned()),
    ];
    for (name, role, hands, hz, display_name) in &people {
        let url = invite(&node, name, role).await;
        let wav = tone(sounds.path(), *hz).await;
        let request = json!({ "url": url, "wav": wav, "hands": hands, "displayName": display_name });
        let opened = pages.ask(name, "open", request).await;
        assert_eq!(opened["fit"], fits, "{name}");
        pages.connected(name).await;
    }
    let names: Vec<_> = people.iter().map(|(.., display_name)| display_name.as_str()).collect();
    pages.ask("ann", "wait", json!({ "names": names })).await;
    pages.ask("bob", "wait", json!({ "names": names })).await;
    assert_eq!(pages.ask("ann", "fit", json!({})).await, fits);
    pages.until_hears("ann", &json!({ "440": false, "660": true })).await;
    pages.until_hears("bob", &json!({ "440": true, "660": false })).await;
    assert_eq!(pages.ask("bob", "fit", json!({})).await, fits);
    let listen = format!("{}/listen/{ROOM}#token={}", node.hls, node.token(ROOM).await);
    let opened = pages.ask("eve", "open", json!({ "url": listen, "hands": "touch" })).await;
    assert_eq!(opened["fit"], fits);
    let ready = pages.ask("eve", "wait", json!({ "state": "ready" })).await;
    assert_eq!((&ready["touched"], &ready["firstSoundMs"]), (&json!(false), &Value::Null), "{ready}");
    pages.ask("eve", "play", json!({})).await;
    pages.until_hears("eve", &json!({ "440": true, "660": true })).await;
    for name in ["ann", "bob"] {
        assert_eq!(pages.ask(name, "mute", json!({ "muted": true })).await["muted"], true);
    }
    pages.until_hears("eve", &json!({ "440": false, "660": false })).await;
    pages.ask("ann", "press", json!({ "target": "#lock" })).await;
    pages.ask("ann", "wait", json!({ "says": "The room is locked." })).await;
    assert_eq!(node.get(&format!("/api/rooms/{ROOM}")).await.json()["room"]["locked"], true);
    pages.ask("ann", "press", json!({ "target": "#mute-all" })).await;
    pages.ask("ann", "wait", json!({ "says": "Everybody else is muted." })).await;
    let role = format!("/api/rooms/{ROOM}/users/bob/role");
    assert_eq!(node.put(&role, json!({ "role": "co_host" })).await.status, 200);
    pages.ask("bob", "wait", json!({ "says": "You are a co-host now." })).await;
    assert_eq!(pages.ask("bob", "fit", json!({})).await, fits);
    pages.ask("ann", "remove", json!({ "user": "bob" })).await;
    let ended = pages.ask("bob", "wait", json!({ "view": "ended" })).await;
    assert_eq!(ended["problem"]["code"], "removed", "{ended}");
    assert_eq!(pages.ask("bob", "fit", json!({})).await, fits);
    pages.ask("ann", "leave", json!({})).await;
    pages.ask("ann", "wait", json!({ "view": "ended" })).await;
    for name in ["ann", "bob", "eve"] {
        let state = pages.ask(name, "state", json!({})).await;
        assert!(errors_of_ours(state["errors"].as_array().unwrap()).is_empty(), "{name}: {state}");
    }
    drop(pages);
    assert!(node.stop().success());
    withstood(
        "display names with markup, another writing direction, or one long word",
        "shown as text",
        "the pages keep their layout, and the others are heard",
    );
}

pub(super) async fn invite(node: &Node, user: &str, role: &str) -> String {
    let body = json!({ "userId": user, "role": role });
    let invited: Value = node.post(&format!("/api/rooms/{ROOM}/users"), body).await.json();
    invited["inviteUrl"].as_str().unwrap_or_else(|| panic!("{invited}")).to_owned()
}

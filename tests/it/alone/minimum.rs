//! The pages in a Chromium without the APIs that the oldest supported browsers lack.

use serde_json::json;

use crate::alone::speakers::{ROOM, invite};
use crate::support::node::Node;
use crate::support::pages::{Pages, tone};

#[actix::test]
async fn pages_work_in_minimum_browsers() {
    let mut node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let mut pages = Pages::start().await;
    let sounds = tempfile::tempdir().unwrap();
    for (name, role, hz) in [("ann", "host", 440), ("bob", "anchor", 660)] {
        let url = invite(&node, name, role).await;
        let wav = tone(sounds.path(), hz).await;
        pages.ask(name, "open", json!({ "url": url, "wav": wav, "minimum": true })).await;
        pages.connected(name).await;
    }
    pages.until_hears("ann", &json!({ "440": false, "660": true })).await;
    let listen = format!("{}/listen/{ROOM}#token={}", node.hls, node.token(ROOM).await);
    pages.ask("eve", "open", json!({ "url": listen, "minimum": true })).await;
    pages.until_hears("eve", &json!({ "440": true, "660": true })).await;
    // Mute and remove others, also through the dialog.
    pages.ask("ann", "mute", json!({ "user": "bob", "muted": true })).await;
    pages.ask("bob", "wait", json!({ "cards": { "bob": "Muted" } })).await;
    pages.ask("ann", "remove", json!({ "user": "bob" })).await;
    pages.ask("bob", "wait", json!({ "view": "ended" })).await;
    // The loss and recovery of the media connection are detected without `connectionState`.
    pages.ask("ann", "cut", json!({ "how": "reset" })).await;
    pages.ask("ann", "wait", json!({ "state": "reconnecting" })).await;
    pages.ask("ann", "restore", json!({})).await;
    pages.connected("ann").await;
    for name in ["ann", "bob"] {
        assert_eq!(pages.ask(name, "state", json!({})).await["errors"], json!([]), "{name}");
    }
    drop(pages);
    assert!(node.stop().success());
}

#[actix::test]
async fn unsupported_browsers_get_remedy() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let mut pages = Pages::start().await;
    let speak = invite(&node, "ann", "anchor").await;
    pages.ask("ann", "open", json!({ "url": speak, "without": ["RTCPeerConnection"] })).await;
    let ended = pages.ask("ann", "wait", json!({ "view": "ended" })).await;
    assert_eq!(ended["heading"], "This browser cannot speak here", "{ended}");
    assert!(ended["words"].as_str().unwrap().contains("Firefox 102"), "{ended}");
    // The page's script fails in its first lines.
    let listen = format!("{}/listen/{ROOM}#token={}", node.hls, node.token(ROOM).await);
    pages.ask("eve", "open", json!({ "url": listen, "without": ["URLSearchParams"] })).await;
    let waited = pages.ask("eve", "wait", json!({ "notStarted": true })).await;
    assert!(waited["notStarted"].as_str().unwrap().contains("Firefox 102"), "{waited}");
}

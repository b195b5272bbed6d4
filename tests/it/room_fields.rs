//! Fields of a room on real nodes: changed on air, stored, and applied by listener nodes and the leader.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::channel::Events;
use crate::rooms::node_on_etcd;
use crate::support::etcd::Etcd;
use crate::support::node::{Answer, Node, request};
use crate::support::studio::Studio;
use crate::support::{in_time, until};

const SOON: (&str, &str) = ("rooms.housekeeping_interval", "1s");

#[actix::test]
async fn room_fields_change_on_air_embedded() {
    let mut node = Node::start(&[SOON]).await;
    fields_change_on_air(&node).await;
    node.kill();
    node.run();
    node.ready().await;
    let room = &node.get("/api/rooms/talk").await.json()["room"];
    assert_eq!((&room["title"], &room["endReason"]), (&json!("Tea <b>time</b>"), &json!("empty")));
}

#[actix::test]
async fn room_fields_change_on_air_etcd() {
    let etcd = Etcd::start();
    fields_change_on_air(&node_on_etcd(&etcd, &[SOON]).await).await;
}

/// Changes the fields of a room on air. Returns once the leader has stopped the room because no anchor was in
/// it.
async fn fields_change_on_air(node: &Node) {
    let fields = json!({ "roomId": "talk", "start": true, "tags": ["News"], "owner": "ann", "title": "Tea" });
    let created = node.post("/api/rooms", fields).await;
    assert_eq!((created.status, &created.json()["room"]["title"]), (201, &json!("Tea")), "{created:?}");
    node.until_status("talk", "onair").await;
    let token = node.token("talk").await;
    let mut events = Events::open(&node.hls, &token, None).await;
    assert_eq!(events.next("snapshot").await["room"]["title"], "Tea");

    let limited =
        patch(node, "talk", json!({ "title": "Tea <b>time</b>", "listenerLimit": 1, "owner": null })).await;
    assert_eq!((limited.status, limited.json()["room"].get("owner")), (200, None), "{limited:?}");
    in_time("the title", async { while events.next("room").await["title"] != "Tea <b>time</b>" {} }).await;
    assert_eq!(
        node.get("/api/rooms?tag=news&status=onair&q=TIME").await.json()["rooms"][0]["roomId"],
        "talk"
    );
    assert_eq!(node.get("/api/rooms?owner=ann").await.json()["rooms"], json!([]));

    until("the first listener is let in", async || playlist(node, &token).await.status == 200).await;
    let other = node.token("talk").await;
    let refused = playlist(node, &other).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "listeners_full"), "{refused:?}");
    assert_eq!(playlist(node, &token).await.status, 200, "a listener keeps the place");
    assert_eq!(patch(node, "talk", json!({ "listenerLimit": null })).await.status, 200);
    until("the limit is gone", async || playlist(node, &other).await.status == 200).await;

    // The housekeeping of the leader learns of the field through the store.
    assert_eq!(patch(node, "talk", json!({ "emptyTimeout": 1 })).await.status, 200);
    until("the broadcast ends", async || {
        let room = node.get("/api/rooms/talk").await.json()["room"].clone();
        room["status"] == "created" && room["endReason"] == "empty"
    })
    .await;
    in_time("the end", async { while events.next("room").await["endReason"] != "empty" {} }).await;
    assert_eq!(patch(node, "talk", json!({ "maxAnchors": 5 })).await.code(), "immutable_field");
}

#[actix::test]
async fn plain_titles_change_on_air() {
    let node = Node::start(&[]).await;
    let fields = json!({ "roomId": "talk", "start": true, "title": "Bob's \"tea\"; Über" });
    node.post("/api/rooms", fields).await;
    node.until_status("talk", "onair").await;
    let studio = Studio::managed(&node).await;
    let _speaker = studio.speak(&node, "talk", 440).await;
    let token = node.token("talk").await;
    let at = |format: &str| format!("/live/talk.{format}?token={token}");
    let mut stream = TcpStream::connect(node.hls.trim_start_matches("http://")).await.unwrap();
    let head = format!("GET {} HTTP/1.1\r\nHost: radio\r\nIcy-MetaData: 1\r\n\r\n", at("aac"));
    stream.write_all(head.as_bytes()).await.unwrap();
    until_sent(&mut stream, "icy-name: Bob's \"tea\"; Über\r\n").await;
    until_sent(&mut stream, "StreamTitle='Bob\u{2019}s \"tea\"; Über';").await;
    assert_eq!(patch(&node, "talk", json!({ "title": "Coffee" })).await.status, 200);
    until_sent(&mut stream, "StreamTitle='Coffee';").await;
    assert_eq!(patch(&node, "talk", json!({ "title": null })).await.status, 200);
    until_sent(&mut stream, "StreamTitle='talk';").await;
    patch(&node, "talk", json!({ "title": "Tea" })).await;
    for (format, entry) in [("m3u", "\n#EXTINF:-1,Tea\n"), ("pls", "\nTitle1=Tea\n")] {
        let text = request("GET", &format!("{}{}", node.hls, at(format)), &[], None).await.text();
        assert!(text.contains(entry), "{text}");
    }
}

/// Reads the stream until this text has been read.
async fn until_sent(stream: &mut TcpStream, text: &str) {
    let (mut read, mut buffer) = (Vec::new(), vec![0; 16_384]);
    let text = text.as_bytes();
    in_time("the text", async {
        while !read.windows(text.len()).any(|part| part == text) {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the stream ended");
            read.extend_from_slice(&buffer[..count]);
        }
    })
    .await;
}

async fn patch(node: &Node, room: &str, fields: Value) -> Answer {
    request("PATCH", &format!("{}/api/rooms/{room}", node.api), &[], Some(fields)).await
}

async fn playlist(node: &Node, token: &str) -> Answer {
    let url = format!("{}/hls/rooms/talk/index.m3u8?token={token}", node.hls);
    request("GET", &url, &[], None).await
}

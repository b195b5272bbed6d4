//! The pages for listeners, anchors and recordings in light and in dark, on a desktop and on a phone.

use serde_json::{Value, json};

use crate::support::browser::looks;
use crate::support::caller::Caller;
use crate::support::node::{Node, request};
use crate::support::until;

const ROOM: &str = "talk";

#[actix::test]
async fn pages_are_readable_in_every_look() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let fields = json!({
        "title": "Tea & talk: why the kettle whistles", "description": "They talk about tea.\nAsk them!",
        "coverUrl": "https://covers.example/tea.svg", "recordingMode": "always",
    });
    let path = format!("{}/api/rooms/{ROOM}", node.api);
    let changed = request("PATCH", &path, &[], Some(fields)).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let invite = async |user: &str, role: &str| {
        let body = json!({ "userId": user, "role": role });
        node.post(&format!("/api/rooms/{ROOM}/users"), body).await.json()
    };
    let bob = invite("bob", "anchor").await;
    let mut caller = Caller::connect(&node.ws, bob["token"].as_str().unwrap(), "").await;
    let (_, _media) = caller.speak(440).await;
    let recordings = async || node.get("/api/recordings").await.json()["recordings"].clone();
    until("the room is recorded", async || recordings().await[0]["recordingId"].is_string()).await;

    let token = node.token(ROOM).await;
    let host = invite("hera", "host").await["inviteUrl"].clone();
    let [listen, embed] = ["listen", "embed"].map(|page| format!("{}/{page}/{ROOM}#token={token}", node.hls));
    let live = [
        json!({ "name": "listen", "url": listen, "ready": "#cover" }),
        json!({ "name": "embed", "url": embed, "ready": "#cover" }),
        json!({ "name": "lobby", "url": host, "ready": "#lobby-cover" }),
        json!({ "name": "speak", "url": host, "press": "#join", "ready": "#room-cover" }),
        json!({ "name": "start", "url": node.hls, "ready": "#rooms .room" }),
    ];
    readable(&looks(&json!(live)).await);

    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), Value::Null).await.status, 200);
    until("the recording is ready", async || recordings().await[0]["state"] == "ready").await;
    let id = recordings().await[0]["recordingId"].as_str().unwrap().to_owned();
    let issued = node.post(&format!("/api/recordings/{id}/token"), json!({})).await.json();
    let replay = json!([{ "name": "replay", "url": issued["replayUrl"], "ready": "#cover" }]);
    readable(&looks(&replay).await);
}

/// Asserts that each page fits, that its texts can be read, and that it shows the cover.
fn readable(seen: &[Value]) {
    assert!(!seen.is_empty());
    for look in seen {
        let cover = if look["page"] == "start" { 0 } else { 1 };
        assert_eq!((&look["wide"], &look["poor"]), (&json!(0), &json!([])), "{look}");
        assert_eq!(look["covers"], cover, "{look}");
    }
}

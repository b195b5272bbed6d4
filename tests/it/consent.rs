//! Consent of anchors to recordings: over the WebSocket, over WHIP, and on the page for speaking.

use serde_json::{Value, json};

use crate::support::caller::Caller;
use crate::support::node::{Node, request};
use crate::support::pages::{Pages, tone};
use crate::support::webrtc::WebRtcClient;
use crate::support::{opus, raw, until};

const ROOM: &str = "agreed";

async fn token(node: &Node, user: &str) -> String {
    let path = format!("/api/rooms/{ROOM}/users");
    let made = node.post(&path, json!({ "role": "anchor", "userId": user })).await;
    made.json()["token"].as_str().expect("a token").to_owned()
}

#[actix::test]
async fn anchors_consent_before_they_join() {
    let node = Node::start(&[("recording.mode", "always"), ("recording.consent", "required")]).await;
    let notice = async || {
        let url = format!("{}/pages/rooms/{ROOM}/recording", node.hls);
        request("GET", &url, &[], None).await.json()
    };
    assert_eq!(
        notice().await,
        json!({ "recorded": true, "consentRequired": true }),
        "before the room is on air"
    );
    node.room_on_air(ROOM).await;
    let mut ann = Caller::connect(&node.ws, &token(&node, "ann").await, "").await;
    let refused = ann.call("join", json!({ "displayName": "Ann" })).await.unwrap_err();
    assert_eq!(refused["data"], json!({ "code": "consent_required", "retryable": false }), "{refused}");
    ann.call("join", json!({ "displayName": "Ann", "recordingConsent": true })).await.unwrap();

    let obs = token(&node, "obs").await;
    let headers = format!("Content-Type: application/sdp\r\nAuthorization: Bearer {obs}\r\n");
    let publish = async |query: &str| {
        let offer = WebRtcClient::new(opus::tone(440)).await.offer();
        let target = format!("/whip/{ROOM}{query}");
        raw::request(&node.ws, "POST", target.as_bytes(), &headers, offer.as_bytes()).await
    };
    let refused = publish("").await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "consent_required"));
    assert!(refused.text().contains("recordingConsent=true"), "{}", refused.text());
    assert_eq!(publish("?recordingConsent=yes").await.code(), "invalid_query");
    assert_eq!(publish("?recordingConsent=true").await.status, 201);

    let joined = async || {
        let page = node.get("/api/events?type=anchor_joined").await.json();
        page["events"].as_array().cloned().unwrap_or_default()
    };
    until("the ledger has both", async || joined().await.len() == 2).await;
    assert!(joined().await.iter().all(|event| event["data"]["recordingConsent"] == true));
    let room = node.get(&format!("/api/rooms/{ROOM}")).await.json();
    let id = room["room"]["recording"].as_str().expect("recorded without a request").to_owned();
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    let anchors = async || {
        let known = node.get(&format!("/api/recordings/{id}")).await.json();
        known["recording"]["anchors"].as_array().cloned().unwrap_or_default()
    };
    until("the recording has both", async || anchors().await.len() == 2).await;
    let consents: Vec<Value> =
        anchors().await.into_iter().map(|anchor| anchor["recordingConsent"].clone()).collect();
    assert_eq!(consents, [json!(true), json!(true)]);
}

#[actix::test]
async fn lobby_asks_for_consent() {
    let node = Node::start(&[("recording.consent", "required")]).await;
    node.room_on_air(ROOM).await;
    let scratch = tempfile::tempdir().unwrap();
    let wav = tone(scratch.path(), 440).await;
    let invited = node.post(&format!("/api/rooms/{ROOM}/users"), json!({ "role": "host" })).await.json();
    let mut pages = Pages::start().await;
    let ann = json!({ "url": invited["inviteUrl"], "wav": wav, "displayName": "Ann", "consent": true });
    pages.ask("ann", "open", ann).await;
    pages.connected("ann").await;
}

#[actix::test]
async fn lobby_gets_title_with_token() {
    let key = "0123456789abcdef";
    let node = Node::start(&[("auth.mode", "keys"), ("auth.api_keys", key)]).await;
    let bearer = |token: &str| format!("Bearer {token}");
    let api = async |path: &str, body: Value| {
        let url = format!("{}{path}", node.api);
        request("POST", &url, &[("authorization", &bearer(key))], Some(body)).await.json()
    };
    api("/api/rooms", json!({ "roomId": ROOM, "title": "Tea with Ann" })).await;
    let invited = api(&format!("/api/rooms/{ROOM}/users"), json!({ "role": "anchor" })).await;
    let notice = async |token: &str| {
        let url = format!("{}/pages/rooms/{ROOM}/recording", node.hls);
        request("GET", &url, &[("authorization", &bearer(token))], None).await.json()
    };
    let token = invited["token"].as_str().expect("a token");
    assert_eq!(notice(token).await["title"], "Tea with Ann");
    assert!(notice("x").await["title"].is_null(), "titles are for people with a link");
}

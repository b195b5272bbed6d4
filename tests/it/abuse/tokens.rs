//! Tokens at the wrong place: resume tokens of others, and each kind of token on each kind of endpoint.

use futures::StreamExt;
use serde_json::{Value, json};
use stentor::probe::{Listener, Mode};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{ROOM, token};
use crate::support::abuse_table::withstood;
use crate::support::caller::Caller;
use crate::support::node::{Node, request};
use crate::support::{raw, until};

const KEY: &str = "a-key-of-the-tests-0123456789";
/// Room whose recording can be played.
const PAST: &str = "past";

#[actix::test]
async fn resume_tokens_open_nothing_elsewhere() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    node.room_on_air("other").await;
    let as_ann = token(&node, "ann").await;
    let mut ann = Caller::connect(&node.ws, &as_ann, "&clientId=a").await;
    let (joined, media) = ann.speak(440).await;
    let jtoken = &joined["jtoken"];
    assert!(jtoken.is_string(), "{joined}");
    for (room, user) in [(ROOM, "bob"), ("other", "ann")] {
        let invited = json!({ "role": "anchor", "userId": user });
        let invited = node.post(&format!("/api/rooms/{room}/users"), invited).await.json();
        let mut thief = Caller::connect(&node.ws, invited["token"].as_str().unwrap(), "&clientId=a").await;
        let taken = thief.call("join", json!({ "jtoken": jtoken })).await.unwrap();
        assert_eq!(taken["resume"], false, "{user} in {room}");
        thief.goodbye().await;
    }
    let packets = media.progress().received;
    media.until("media of the owner goes on", |progress| progress.received > packets + 10).await;

    // The next broadcast has another epoch and another room in Janus.
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await.status, 200);
    node.until_status(ROOM, "created").await;
    assert_eq!(node.post(&format!("/api/rooms/{ROOM}/start"), json!({})).await.status, 200);
    node.until_status(ROOM, "onair").await;
    let (_, again) = Caller::come_back(&node.ws, &as_ann, jtoken).await;
    assert_eq!(again["resume"], false, "a token of an earlier broadcast resumed a session");
    withstood(
        "resume tokens of another user, another room and an earlier broadcast",
        "a new session, nothing is resumed",
        "the owner speaks on",
    );
}

#[actix::test]
async fn tokens_open_only_their_endpoints() {
    let settings = [("auth.mode", "keys"), ("auth.api_keys", KEY), ("recording.mode", "always")];
    let node = Node::start(&[&settings[..], &[("hls.segment_ms", "500")]].concat()).await;
    let recording = recorded(&node).await;
    node.room_on_air(ROOM).await;
    let tokens = tokens(&node, &recording).await;
    let key_uri = key_uri(&node).await;
    let Node { api, hls, ws, ops, .. } = &node;
    let bearer = |token: &str| format!("Bearer {token}");
    let ask = async |method: &str, url: String, token: &str, body: Option<Value>| {
        request(method, &url, &[("authorization", &bearer(token))], body).await.status
    };
    for (endpoint, opened_by) in [
        ("room API", &["API key"][..]),
        ("actions of operators", &["API key"]),
        ("content keys", &["listener"]),
        ("listener channel", &["listener", "anchor", "host"]),
        ("signalling", &["anchor", "host"]),
        ("WHIP", &["anchor", "host"]),
        ("captions for a room", &["API key"]),
        ("event ledger", &["API key"]),
        ("webhooks", &["API key"]),
        ("bans", &["API key"]),
        ("tracks of a recording", &["API key"]),
        ("transcript of a recording", &["API key"]),
        ("captions of a recording", &["replay"]),
        ("description of a recording", &["replay"]),
        ("file of a recording", &["replay", "feed"]),
        ("feed", &["feed"]),
        ("relay", &[]),
    ] {
        for (kind, token) in &tokens {
            let status = match endpoint {
                "room API" => ask("GET", format!("{api}/api/rooms"), token, None).await,
                "actions of operators" => {
                    let action = json!({ "action": "reconcile" });
                    ask("POST", format!("{ops}/dashboard/actions"), token, Some(action)).await
                }
                "content keys" => ask("GET", format!("{hls}{key_uri}"), token, None).await,
                "listener channel" => {
                    ask("DELETE", format!("{hls}/hls/rooms/{ROOM}/hand"), token, None).await
                }
                "signalling" => signalling(ws, token).await,
                "WHIP" => {
                    let head = format!("Content-Type: application/sdp\r\nAuthorization: Bearer {token}\r\n");
                    let answer =
                        raw::request(ws, "POST", format!("/whip/{ROOM}").as_bytes(), &head, b"v=0").await;
                    // A valid token gets as far as the offer, which is not valid.
                    if matches!(answer.status, 400 | 422) { 200 } else { answer.status }
                }
                "description of a recording" => {
                    ask("GET", format!("{hls}/hls/recordings/{recording}/info.json"), token, None).await
                }
                "captions for a room" => {
                    // With a valid key, the request gets as far as the upgrade, which it lacks.
                    let status = ask("GET", format!("{api}/api/rooms/{ROOM}/captions"), token, None).await;
                    if status == 400 { 200 } else { status }
                }
                "event ledger" => ask("GET", format!("{api}/api/events"), token, None).await,
                "webhooks" => ask("GET", format!("{api}/api/webhooks"), token, None).await,
                "bans" => ask("GET", format!("{api}/api/rooms/{ROOM}/bans"), token, None).await,
                "tracks of a recording" => {
                    // The recording has no tracks.
                    let url = format!("{api}/api/recordings/{recording}/tracks/1");
                    let status = ask("GET", url, token, None).await;
                    if status == 404 { 200 } else { status }
                }
                "transcript of a recording" => {
                    let url = format!("{api}/api/recordings/{recording}/transcript");
                    ask("GET", url, token, None).await
                }
                "captions of a recording" => {
                    ask("GET", format!("{hls}/hls/recordings/{recording}/captions.vtt"), token, None).await
                }
                "file of a recording" => {
                    let url = format!("{hls}/hls/recordings/{recording}/recording.m4a?token={token}");
                    request("GET", &url, &[], None).await.status
                }
                "feed" => {
                    request("GET", &format!("{hls}/hls/feed.xml?token={token}"), &[], None).await.status
                }
                "relay" => {
                    let url = format!("{hls}/relay/rooms/{ROOM}/index.m3u8");
                    request("GET", &url, &[("x-stentor-relay", token)], None).await.status
                }
                _ => unreachable!(),
            };
            let expected: &[u16] = if opened_by.contains(kind) { &[200] } else { &[401, 403, 4401] };
            assert!(expected.contains(&status), "{kind} at {endpoint}: {status}");
        }
    }
    withstood(
        "each kind of token (8) at each kind of endpoint (17)",
        "401, 403, closed with 4401, unless it is the right kind",
        "no access",
    );
}

/// Opens a WebSocket for signalling. Returns the status or the close code of a refusal, otherwise 200.
async fn signalling(base: &str, token: &str) -> u16 {
    let url = format!("{}/ws?token={token}", base.replacen("http", "ws", 1));
    let mut socket = match connect_async(url).await {
        Ok((socket, _)) => socket,
        Err(Error::Http(refused)) => return refused.status().as_u16(),
        Err(error) => panic!("{error}"),
    };
    // The first message is the status of the room.
    match socket.next().await.expect("a message").unwrap() {
        Message::Close(frame) => frame.expect("a code").code.into(),
        _ => 200,
    }
}

/// Returns the kinds of tokens, each with a valid one.
async fn tokens(node: &Node, recording: &str) -> Vec<(&'static str, String)> {
    let text = |value: &Value| value.as_str().expect("a token").to_owned();
    let invite = async |role: &str, user: &str| {
        let user = json!({ "role": role, "userId": user });
        text(&node.post(&format!("/api/rooms/{ROOM}/users"), user).await.json()["token"])
    };
    let mut carl = Caller::connect(&node.ws, &invite("anchor", "carl").await, "").await;
    let resume = text(&carl.call("join", json!({})).await.unwrap()["jtoken"]);
    let replay = node.post(&format!("/api/recordings/{recording}/token"), json!({})).await.json();
    let feed = node.post("/api/feeds", json!({ "tag": "talk", "title": "Talks" })).await.json();
    let (_, feed) = feed["feedUrl"].as_str().expect("a feed").split_once("token=").expect("a token");
    let (url, key) = (format!("{}/dashboard/login", node.ops), json!({ "key": KEY }));
    let login = request("POST", &url, &[("origin", &node.ops)], Some(key)).await;
    let session = login.header("set-cookie").expect("a session").split(['=', ';']).nth(1).unwrap().to_owned();
    vec![
        ("API key", KEY.to_owned()),
        ("listener", node.token(ROOM).await),
        ("anchor", invite("anchor", "ann").await),
        ("host", invite("host", "hera").await),
        ("replay", text(&replay["token"])),
        ("feed", feed.to_owned()),
        ("resume", resume),
        ("session of an operator", session),
    ]
}

/// Records a room with the tag `talk`, and returns the id of the recording, which can be played.
async fn recorded(node: &Node) -> String {
    let room = json!({ "roomId": PAST, "tags": ["talk"], "start": true });
    assert_eq!(node.post("/api/rooms", room).await.status, 201);
    node.until_status(PAST, "onair").await;
    let mut listener = Listener::open(&node.target(PAST).await, Mode::Parts).await.expect("a listener");
    listener.hear_segments(3).await.expect("sound");
    let room = node.get(&format!("/api/rooms/{PAST}")).await.json();
    let id = room["room"]["recording"].as_str().expect("recorded").to_owned();
    assert_eq!(node.post(&format!("/api/rooms/{PAST}/stop"), json!({})).await.status, 200);
    until("the recording can be played", async || {
        node.get(&format!("/api/recordings/{id}")).await.json()["recording"]["state"] == "ready"
    })
    .await;
    id
}

/// Returns the path of a content key of the room.
async fn key_uri(node: &Node) -> String {
    let mut listener = Listener::open(&node.target(ROOM).await, Mode::Parts).await.expect("a listener");
    let heard = listener.hear_segments(1).await.expect("sound");
    let uri = heard.pieces.iter().find_map(|piece| piece.key_uri.clone()).expect("a key");
    format!("/hls/rooms/{ROOM}/{uri}")
}

//! WHIP publishers on a real node: listeners hear them, every rule of a room applies to them, and their
//! sessions end with their media.

use std::time::Instant;

use serde_json::json;
use stentor::probe::{Listener, Mode};

use crate::support::abuse_table::withstood;
use crate::support::caller::Caller;
use crate::support::janus::TestJanus;
use crate::support::node::{Answer, Node};
use crate::support::stage::{self, Stage};
use crate::support::webrtc::WebRtcClient;
use crate::support::{PATIENCE, opus, raw, until};

const ROOM: &str = "studio";
/// Setting with which a connection may watch the room without joining it.
const WATCHES: (&str, &str) = ("ws.join_within", "1h");
const SDP: &str = "Content-Type: application/sdp\r\n";
const FRAGMENT: &str = "Content-Type: application/trickle-ice-sdpfrag\r\n";

/// WHIP client with one session.
struct Publisher {
    base: String,
    token: String,
    location: String,
    media: WebRtcClient,
}

impl Publisher {
    /// Publishes a tone, with all candidates in the offer, and waits for the connection.
    async fn start(base: &str, token: &str, room: &str, hz: u32) -> Self {
        let media = WebRtcClient::new(opus::tone(hz)).await;
        let published = publish(base, token, room, &sendonly(&media.offer())).await;
        let publisher = Self::of(base, token, media, &published);
        publisher.media.until("the connection", |p| p.connected).await;
        publisher
    }

    /// Creates the publisher from the response to its offer, and gives `media` the SDP answer.
    fn of(base: &str, token: &str, media: WebRtcClient, published: &Answer) -> Self {
        assert_eq!((published.status, published.header("content-type")), (201, Some("application/sdp")));
        let answer = published.text();
        assert!(answer.contains("a=recvonly") && answer.contains("a=candidate:"), "{answer}");
        media.answer(&answer);
        let location = published.header("location").unwrap().to_owned();
        Self { base: base.to_owned(), token: token.to_owned(), location, media }
    }

    async fn ask(&self, method: &str, headers: &str, body: &str) -> Answer {
        let headers = format!("{headers}{}", bearer(&self.token));
        raw::request(&self.base, method, self.location.as_bytes(), &headers, body.as_bytes()).await
    }

    async fn end(&self) -> Answer {
        self.ask("DELETE", "", "").await
    }

    /// Waits until the session has ended, although the client has not sent `DELETE`.
    async fn until_ended(&self) {
        until("the session ends", async || {
            // While the session exists, a fragment without candidates gives another error.
            self.ask("PATCH", FRAGMENT, "a=mid:0").await.code() == "session_not_found"
        })
        .await;
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

async fn publish(base: &str, token: &str, room: &str, offer: &str) -> Answer {
    let (target, headers) = (format!("/whip/{room}"), format!("{SDP}{}", bearer(token)));
    raw::request(base, "POST", target.as_bytes(), &headers, offer.as_bytes()).await
}

/// Makes an offer send-only, like those of broadcast software.
fn sendonly(offer: &str) -> String {
    assert!(offer.contains("a=sendrecv"), "{offer}");
    offer.replace("a=sendrecv", "a=sendonly")
}

async fn token(node: &Node, user: &str, role: &str) -> String {
    let made =
        node.post(&format!("/api/rooms/{ROOM}/users"), json!({ "role": role, "userId": user })).await.json();
    assert_eq!(made["whipUrl"], format!("{}/whip/{ROOM}", node.ws));
    made["token"].as_str().expect("a token").to_owned()
}

async fn host(node: &Node) -> Caller {
    let mut host = Caller::connect(&node.ws, &token(node, "hera", "host").await, "").await;
    host.call("join", json!({})).await.unwrap();
    host
}

#[actix::test]
async fn whip_publisher_is_heard_by_listeners() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let mut host = host(&node).await;
    let at_host = host.offer(0).await;
    let target = node.target(ROOM).await;
    let deadline = Instant::now() + PATIENCE;
    let mut listener = Listener::open_by(&target, Mode::Parts, deadline).await.unwrap();

    // Trickle ICE: the client sends its only candidate after the offer.
    let (obs, media) = (token(&node, "obs", "anchor").await, WebRtcClient::new(opus::tone(440)).await);
    let offer = sendonly(&media.offer_without_candidates());
    let published = publish(&node.ws, &obs, ROOM, &offer).await;
    let publisher = Publisher::of(&node.ws, &obs, media, &published);
    let fragment =
        format!("m=audio 9 RTP/AVP 0\r\na={}\r\na=end-of-candidates\r\n", publisher.media.candidate());
    assert_eq!(publisher.ask("PATCH", FRAGMENT, &fragment).await.status, 204);
    publisher.media.until("the connection", |p| p.connected).await;

    let on_air = |params: &serde_json::Value| {
        let members = params["members"].as_array().unwrap();
        members.iter().any(|m| m["userId"] == "obs" && m["source"] == "whip" && m["status"] == "onair")
    };
    host.note("roomStatus", on_air).await;
    let users = node.get(&format!("/api/rooms/{ROOM}/users")).await.json();
    let shown = users["users"].as_array().unwrap().iter().find(|user| user["userId"] == "obs").unwrap();
    assert_eq!((&shown["connected"], &shown["source"]), (&json!(true), &json!("whip")));
    at_host.until_hears(&[440.0], &[]).await;
    listener.hear_until(440.0, Instant::now() + PATIENCE).await.unwrap();
    until("the event names the kind of the publisher", async || {
        let page = node.get("/api/events?type=anchor_joined").await.json();
        let joined = page["events"].as_array().unwrap().iter();
        let mut kinds =
            joined.map(|event| (event["data"]["userId"].clone(), event["data"]["source"].clone()));
        kinds.any(|kind| kind == (json!("obs"), json!("whip")))
    })
    .await;

    // A host can mute the publisher like any other anchor.
    host.call("mute", json!({ "userId": "obs" })).await.unwrap();
    at_host.until_hears(&[], &[440.0]).await;
    host.call("unmute", json!({ "userId": "obs" })).await.unwrap();
    at_host.until_hears(&[440.0], &[]).await;

    let restart = "a=ice-ufrag:other\r\na=ice-pwd:0123456789abcdef01234567\r\n";
    let refused = publisher.ask("PATCH", FRAGMENT, restart).await;
    assert_eq!((refused.status, refused.code().as_str()), (422, "ice_restart_refused"));
    assert_eq!(publisher.end().await.status, 200);
    host.members(1).await;
    let again = publisher.end().await;
    assert_eq!((again.status, again.code().as_str()), (404, "session_not_found"));
    at_host.until_hears(&[], &[440.0]).await;
    let clients = async || node.states_of("ws_client").await.len();
    until("only the host is left", async || clients().await == 1).await;
}

#[actix::test]
async fn whip_session_ends_with_its_media() {
    let node = Node::start(&[("presence.timeout", "3s"), WATCHES]).await;
    node.room_on_air(ROOM).await;
    let mut watcher = Caller::connect(&node.ws, &token(&node, "wanda", "host").await, "").await;
    let obs = token(&node, "obs", "anchor").await;

    // While media flow, the session outlives the time limit for silent clients (`presence.timeout`).
    let closing = Publisher::start(&node.ws, &obs, ROOM, 440).await;
    let sent = closing.media.progress().sent;
    closing.media.until("six seconds pass", |p| p.sent >= sent + 300).await;
    assert_eq!(watcher.members(1).await[0]["userId"], "obs");
    assert_eq!(
        closing.ask("PATCH", FRAGMENT, "a=mid:0").await.code(),
        "invalid_body",
        "the session has ended"
    );
    let Publisher { media, .. } = closing;
    media.close().await;
    watcher.members(0).await;

    let mut crashing = Publisher::start(&node.ws, &obs, ROOM, 440).await;
    watcher.members(1).await;
    crashing.media = WebRtcClient::new(Vec::new()).await;
    crashing.until_ended().await;
    watcher.members(0).await;

    // The media of this publisher never arrive.
    let media = WebRtcClient::new(opus::tone(440)).await;
    let published = publish(&node.ws, &obs, ROOM, &sendonly(&media.offer_without_candidates())).await;
    assert_eq!(published.status, 201);
    watcher.members(1).await;
    watcher.members(0).await;

    let ending = Publisher::start(&node.ws, &obs, ROOM, 440).await;
    assert_eq!(node.delete(&format!("/api/rooms/{ROOM}")).await.status, 200);
    ending.until_ended().await;
}

#[actix::test]
async fn rules_of_rooms_bind_publishers() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let mut host = host(&node).await;
    let obs = token(&node, "obs", "anchor").await;
    let offer = sendonly(&WebRtcClient::new(Vec::new()).await.offer());
    let refused = async |token: &str| {
        let answer = publish(&node.ws, token, ROOM, &offer).await;
        (answer.status, answer.code())
    };

    // One connection per user: a new publisher replaces an earlier publisher of the same user, but not the
    // user's page.
    let first = Publisher::start(&node.ws, &obs, ROOM, 440).await;
    let second = Publisher::start(&node.ws, &obs, ROOM, 440).await;
    first.until_ended().await;
    assert_eq!(host.members(2).await.len(), 2);
    let stolen = Publisher { token: token(&node, "mallory", "anchor").await, ..first };
    let theirs = Publisher { location: second.location.clone(), ..stolen };
    assert_eq!(theirs.end().await.code(), "session_not_found");
    let mut page = Caller::connect(&node.ws, &token(&node, "ann", "anchor").await, "").await;
    page.call("join", json!({})).await.unwrap();
    assert_eq!(refused(&token(&node, "ann", "anchor").await).await, (409, "already_connected".into()));

    // The room admits three anchors.
    assert_eq!(refused(&token(&node, "bob", "anchor").await).await, (409, "room_full".into()));
    page.call("leave", json!({})).await.unwrap();
    host.members(2).await;
    host.call("lock", json!({})).await.unwrap();
    host.note("roomStatus", |params| params["locked"] == true).await;
    assert_eq!(refused(&token(&node, "bob", "anchor").await).await, (409, "room_locked".into()));
    host.call("unlock", json!({})).await.unwrap();

    host.call("ban", json!({ "userId": "obs" })).await.unwrap();
    second.until_ended().await;
    host.members(1).await;
    assert_eq!(refused(&obs).await, (409, "user_removed".into()));
    host.call("unban", json!({ "userId": "obs" })).await.unwrap();
    until("obs may publish again", async || refused(&obs).await.0 == 201).await;
    let third = Publisher::start(&node.ws, &obs, ROOM, 440).await;
    assert_eq!(third.end().await.status, 200);

    let elsewhere = publish(&node.ws, &obs, "elsewhere", &offer).await;
    assert_eq!((elsewhere.status, elsewhere.code().as_str()), (403, "token_wrong_room"));
    let listener = node.token(ROOM).await;
    assert_eq!(refused(&listener).await, (401, "token_invalid".into()));
    node.post(&format!("/api/rooms/{ROOM}/stop"), json!({})).await;
    node.until_status(ROOM, "created").await;
    assert_eq!(refused(&obs).await, (404, "room_not_on_air".into()));
}

#[actix::test]
async fn full_trickle_answers_have_candidates() {
    let stage = Stage::on(TestJanus::full_trickle().await, &[]).await;
    let mut host = stage.connect_host(0, "hera").await;
    let (_, at_host) = host.speak(0).await;
    let token = stage::token("obs", stentor::auth::Role::Anchor);
    let publisher = Publisher::start(&stage.gateways()[1], &token, stage::ROOM, 440).await;
    at_host.until_hears(&[440.0], &[]).await;
    assert_eq!(host.members(2).await.iter().filter(|member| member["source"] == "whip").count(), 1);
    assert_eq!(publisher.end().await.status, 200);
    host.members(1).await;
}

#[actix::test]
async fn whip_refuses_bad_requests() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let mut witness = host(&node).await;
    let obs = token(&node, "obs", "anchor").await;
    let good = sendonly(&WebRtcClient::new(Vec::new()).await.offer());
    let (auth, endpoint, session) = (bearer(&obs), "/whip/studio", "/whip/studio/0123456789abcdef");
    let ask = async |method: &str, target: &str, headers: &str, body: &[u8]| {
        raw::request(&node.ws, method, target.as_bytes(), headers, body).await
    };
    let typed = format!("{SDP}{auth}");
    let insecure = good.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP");
    let big = "x".repeat(10 << 20);
    for (headers, body, status, code) in [
        (String::new(), good.as_str(), 401, "token_missing"),
        ("Authorization: Bearer x.y.z\r\n".to_owned(), &good, 401, "token_invalid"),
        (auth.clone(), &good, 415, "unsupported_media_type"),
        (format!("Content-Type: application/json\r\n{auth}"), "{}", 415, "unsupported_media_type"),
        (format!("{typed}Content-Encoding: gzip\r\n"), &good, 415, "unsupported_media_type"),
        (typed.clone(), "", 400, "offer_refused"),
        (typed.clone(), "v=0", 400, "offer_refused"),
        (typed.clone(), &insecure, 400, "offer_refused"),
        (typed.clone(), &big, 413, "body_too_large"),
    ] {
        let answer = ask("POST", endpoint, &headers, body.as_bytes()).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{headers}");
    }
    let garbled = ask("POST", endpoint, &typed, b"v=0\xff\xfe").await;
    assert_eq!((garbled.status, garbled.code().as_str()), (400, "invalid_body"));
    let fragment = format!("{FRAGMENT}{auth}");
    for (method, target, headers, status, code) in [
        ("POST", "/whip/a", typed.as_str(), 400, "invalid_room_id"),
        ("POST", "/whip/a%2fb", typed.as_str(), 400, "invalid_room_id"),
        ("POST", "/whip", typed.as_str(), 404, "not_found"),
        ("POST", "/whip/studio/a/b", typed.as_str(), 404, "not_found"),
        ("GET", endpoint, auth.as_str(), 405, "method_not_allowed"),
        ("DELETE", endpoint, auth.as_str(), 405, "method_not_allowed"),
        ("GET", session, auth.as_str(), 405, "method_not_allowed"),
        ("DELETE", session, "", 401, "token_missing"),
        ("DELETE", session, auth.as_str(), 404, "session_not_found"),
        ("PATCH", session, fragment.as_str(), 404, "session_not_found"),
    ] {
        let answer = ask(method, target, headers, b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {target}");
    }
    let options = ask("OPTIONS", endpoint, "", b"").await;
    assert_eq!((options.status, options.header("accept-post")), (204, Some("application/sdp")));
    assert_eq!(options.header("allow"), Some("POST, OPTIONS"));
    let foreign = ask("POST", endpoint, &format!("{typed}Origin: http://evil.example\r\n"), b"v=0").await;
    assert_eq!((foreign.status, foreign.code().as_str()), (403, "origin_not_allowed"));

    // None of these requests led to a join. The limits of clients also apply to a publisher.
    let publisher = Publisher::start(&node.ws, &obs, ROOM, 440).await;
    let many = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n".repeat(100);
    let refused = publisher.ask("PATCH", FRAGMENT, &many).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "offer_refused"));
    for body in ["", "a=mid:0", "a=candidate:\u{7}"] {
        let refused = publisher.ask("PATCH", FRAGMENT, body).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_body"), "{body:?}");
    }
    let sent = publisher.media.progress().sent;
    publisher.media.until("media goes on", |p| p.sent > sent + 10).await;
    assert_eq!(witness.members(2).await.len(), 2);
    let answer = witness.call("keepalive", json!({ "status": "idle" })).await;
    assert_eq!(answer, Ok(json!({})), "the witness is unharmed");
    withstood(
        "WHIP: offers that cannot work, wrong types, 10 MB, sessions of others, floods of candidates",
        "400 to 422 with a code",
        "an anchor speaks on",
    );
}

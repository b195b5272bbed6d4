//! Admission of anchors by an application that admits, refuses, fails, sends invalid answers, or is silent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::abuse_table::withstood;
use crate::support::caller::Caller;
use crate::support::node::Node;
use crate::support::opus;
use crate::support::raw;
use crate::support::receiver::{Receiver, Request};
use crate::support::webrtc::WebRtcClient;

const ROOM: &str = "club";
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

async fn node(app: &Receiver, settings: &[(&str, &str)]) -> Node {
    let (url, secret) = (format!("http://{}/admit", app.address), format!("whsec_{KEY}"));
    let ours = [("admission.url", url.as_str()), ("admission.secret", secret.as_str())];
    let node = Node::start(&[&ours[..], settings].concat()).await;
    node.room_on_air(ROOM).await;
    node
}

async fn token(node: &Node, user: &str) -> String {
    let path = format!("/api/rooms/{ROOM}/users");
    let made = node.post(&path, json!({ "role": "anchor", "userId": user })).await;
    made.json()["token"].as_str().expect("a token").to_owned()
}

async fn connect(node: &Node, user: &str) -> Caller {
    Caller::connect(&node.ws, &token(node, user).await, "").await
}

/// Returns true if the request has a valid signature of the Standard Webhooks specification.
fn is_signed(request: &Request) -> bool {
    let header = |name: &str| request.headers[name].as_str();
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(KEY).unwrap()).unwrap();
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(&request.body);
    header("webhook-signature") == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[actix::test]
async fn application_admits_refuses_and_gives_roles() {
    let app = Receiver::start().await;
    // Long enough for every answer, even on a busy machine.
    let node = node(&app, &[("admission.timeout", "10s")]).await;
    let mut ann = connect(&node, "ann").await;
    app.say(r#"{"allow": true, "role": "co_host"}"#);
    ann.call("join", json!({ "displayName": "Ann" })).await.unwrap();
    let is_co_host = |params: &Value| params["members"][0]["role"] == "co_host";
    ann.note("roomStatus", is_co_host).await;
    let asked = app.requests().pop().unwrap();
    assert!(is_signed(&asked));
    let event = asked.event();
    assert_eq!(
        (&event["type"], &event["roomId"], &event["id"]),
        (&json!("join"), &json!(ROOM), &json!(asked.headers["webhook-id"]))
    );
    assert_eq!(event["data"], json!({ "userId": "ann", "role": "anchor", "displayName": "Ann" }));

    let mut bob = connect(&node, "bob").await;
    app.say(r#"{"allow": false, "reason": "members only"}"#);
    let refused = bob.call("join", json!({})).await.unwrap_err();
    assert_eq!((&refused["code"], &refused["message"]), (&json!(-32020), &json!("members only")));
    assert_eq!(refused["data"], json!({ "code": "not_admitted", "retryable": false }));
    let offer = WebRtcClient::new(opus::tone(440)).await.offer();
    let headers =
        format!("Content-Type: application/sdp\r\nAuthorization: Bearer {}\r\n", token(&node, "obs").await);
    let target = format!("/whip/{ROOM}");
    let whip = raw::request(&node.ws, "POST", target.as_bytes(), &headers, offer.as_bytes()).await;
    assert_eq!((whip.status, whip.code().as_str()), (403, "not_admitted"));
    assert_eq!(app.requests().pop().unwrap().event()["data"]["source"], "whip");

    // If the application fails or its answer is invalid, nobody is admitted, and the user may try again.
    for (status, body) in [
        (500, r#"{"allow": true}"#),
        (302, r#"{"allow": true}"#),
        (200, ""),
        (200, "yes"),
        (200, r#"{"allow": "true"}"#),
        (200, r#"{"allow": true, "role": "emperor"}"#),
        (200, r#"{"allow": true, "role": "listener"}"#),
        (200, &format!(r#"{{"allow": true, "reason": "{}"}}"#, "x".repeat(1 << 20))),
    ] {
        app.answer(status);
        app.say(body);
        let refused = bob.call("join", json!({})).await.unwrap_err();
        assert_eq!(refused["data"]["code"], "admission_unavailable", "{status} {refused}");
        assert_eq!(refused["data"]["retryable"], true);
    }
    let whip = raw::request(&node.ws, "POST", target.as_bytes(), &headers, offer.as_bytes()).await;
    assert_eq!((whip.status, whip.code().as_str()), (503, "admission_unavailable"));
    app.answer(200);
    app.say(r#"{"allow": true}"#);
    bob.call("join", json!({})).await.unwrap();
    assert_eq!(bob.members(2).await.len(), 2);
    withstood(
        "an admitting application that fails, redirects, or answers nonsense or a megabyte",
        "the join fails and can be repeated",
        "an anchor who is in the room stays",
    );
}

#[actix::test]
async fn silent_application_admits_if_configured() {
    let app = Receiver::start().await;
    app.answer(0);
    let node = node(&app, &[("admission.timeout", "200ms"), ("admission.on_failure", "allow")]).await;
    let mut ann = connect(&node, "ann").await;
    ann.call("join", json!({})).await.unwrap();
    assert_eq!(ann.members(1).await[0]["userId"], "ann");
    assert_eq!(app.requests().len(), 1, "the application was not asked exactly once");
}

//! Anchors join, speak, hear each other, and are heard by the listeners.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use serde_json::json;
use stentor::auth::Role;
use stentor::probe::{Listener, Mode};

use crate::support::PATIENCE;
use crate::support::caller::Caller;
use crate::support::node::Node;
use crate::support::stage::{ROOM, Stage, token};
use crate::support::webrtc::WebRtcClient;

#[actix::test]
async fn anchors_on_two_gateways_are_heard() {
    let stage = Stage::pair(&[]).await;
    let mut anna = stage.connect(0, "anna", "").await;
    let mut bert = stage.connect(1, "bert", "").await;
    let (joined, at_anna) = anna.speak(440).await;
    assert_eq!((&joined["resume"], &joined["iceServers"]), (&json!(false), &json!([])));
    assert!(joined["jtoken"].is_string());
    let (_, at_bert) = bert.speak(660).await;
    let talks =
        |user: &'static str| move |p: &serde_json::Value| *p == json!({ "userId": user, "talking": true });
    anna.note("talking", talks("bert")).await;
    bert.note("talking", talks("bert")).await;
    at_anna.until_hears(&[660.0], &[440.0]).await;
    at_bert.until_hears(&[440.0], &[660.0]).await;
    for hz in [440.0, 660.0] {
        let deadline = Instant::now() + PATIENCE;
        let mut listener =
            Listener::open_by(&stage.one.target(ROOM).await, Mode::Parts, deadline).await.unwrap();
        listener.hear_until(hz, deadline).await.unwrap();
    }
}

#[actix::test]
async fn sdp_answer_uses_public_ip() {
    let nat: Ipv4Addr = "203.0.113.7".parse().unwrap();
    let settings = [("janus.public_ip", "203.0.113.7"), ("janus.webrtc_ports", "23000-23099")];
    let node = Node::start(&settings).await;
    node.room_on_air(ROOM).await;
    let user = json!({ "role": "anchor", "userId": "anna" });
    let invited = node.post(&format!("/api/rooms/{ROOM}/users"), user).await.json();
    let mut anna = Caller::connect(&node.ws, invited["token"].as_str().unwrap(), "").await;
    anna.call("join", json!({})).await.unwrap();
    let media = WebRtcClient::new(Vec::new()).await;
    let offer = json!({ "sdp": { "type": "offer", "sdp": media.offer() } });
    let answer = anna.call("offer", offer).await.unwrap();
    let sdp = answer["sdp"]["sdp"].as_str().unwrap();
    let candidates = WebRtcClient::candidates(sdp);
    // The NAT concerns IPv4 only; IPv6 addresses of this machine remain.
    let passed_on =
        |(ip, port): &(IpAddr, u16)| (*ip == nat || ip.is_ipv6()) && (23_000..=23_099).contains(port);
    assert!(candidates.iter().any(|(ip, _)| *ip == nat) && candidates.iter().all(passed_on), "{sdp}");
    // No machine has that address here, but a client on Janus's side of the NAT gets media from Janus
    // directly.
    media.answer(sdp);
    media.until("the connection", |p| p.connected).await;
}

#[actix::test]
async fn refused_joins_carry_error_codes() {
    let mut stage = Stage::pair(&[]).await;
    let code = |error: serde_json::Value| error["data"]["code"].as_str().unwrap_or("none").to_owned();
    let mut anna = stage.connect(0, "anna", "").await;
    assert_eq!(
        code(anna.call("offer", json!({"sdp": {"type": "offer", "sdp": "v=0"}})).await.unwrap_err()),
        "not_joined"
    );
    for pin in ["wrong1", "five5", "", "no pin at all", "wrong1"] {
        assert_eq!(code(anna.call("join", json!({ "pin": pin })).await.unwrap_err()), "wrong_pin");
    }
    let error = anna.call("join", json!({ "pin": "wrong1" })).await.unwrap_err();
    assert!(error["data"]["retryAfterMs"].as_u64().is_some_and(|ms| ms > 1000), "{error}");
    assert_eq!(code(error), "too_many_pins");
    let room = stage.one.get(&format!("/api/rooms/{ROOM}")).await.json();
    let pin = room["room"]["pin"].as_str().unwrap();
    let mut bert = stage.connect(1, "bert", "").await;
    bert.call("join", json!({ "pin": pin })).await.expect("the right pin");
    assert_eq!(
        code(
            bert.call("offer", json!({"sdp": {"type": "offer", "sdp": "v=0\r\nnonsense"}}))
                .await
                .unwrap_err()
        ),
        "media_refused"
    );

    stage.one.post("/api/rooms", json!({ "roomId": "idle" })).await;
    stage.one.delete(&format!("/api/rooms/{ROOM}")).await;
    bert.note("roomClosed", |p| p["roomId"] == ROOM).await;
    assert_eq!(bert.closed().await, 4410);
    assert_eq!(anna.closed().await, 4410);
    let mut late = Caller::connect(&stage.gateways()[0], &token("carl", Role::Anchor), "").await;
    assert_eq!(late.closed().await, 4404);
    assert!(stage.one.stop().success());
    assert!(stage.two.take().unwrap().stop().success());
}

#[actix::test]
async fn host_mutes_and_removes_anchors() {
    let stage = Stage::pair(&[]).await;
    let mut host = stage.connect_host(0, "hera").await;
    let mut anna = stage.connect(1, "anna", "").await;
    let (_, _media) = host.speak(0).await;
    let (_, _anna_media) = anna.speak(440).await;
    let muted = |user: &'static str, muted: bool| {
        move |p: &serde_json::Value| {
            let members = p["members"].as_array().cloned().unwrap_or_default();
            members.iter().any(|m| m["userId"] == user && m["muted"] == muted)
        }
    };
    anna.call("mute", json!({})).await.unwrap();
    host.note("roomStatus", muted("anna", true)).await;
    anna.call("unmute", json!({})).await.unwrap();
    host.note("roomStatus", muted("anna", false)).await;
    host.call("mute", json!({ "userId": "anna" })).await.unwrap();
    anna.note("roomStatus", muted("anna", true)).await;
    let forbidden = anna.call("remove", json!({ "userId": "hera" })).await.unwrap_err();
    assert_eq!(forbidden["data"]["code"], "forbidden");
    let nobody = host.call("remove", json!({ "userId": "nobody" })).await.unwrap_err();
    assert_eq!(nobody["data"]["code"], "no_such_member");

    host.call("remove", json!({ "userId": "anna" })).await.unwrap();
    assert_eq!(anna.closed().await, 4403);
    let members = host.members(1).await;
    assert_eq!(members[0]["userId"], "hera");
    for gateway in 0..2 {
        assert_eq!(stage.connect(gateway, "anna", "").await.closed().await, 4403, "the old token is no good");
    }
}

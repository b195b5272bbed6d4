//! ICE: an anchor that changes networks, and a Janus that trickles its candidates.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::support::caller::Caller;
use crate::support::janus::TestJanus;
use crate::support::opus;
use crate::support::stage::Stage;
use crate::support::two_homes::TwoHomes;
use crate::support::webrtc::{WebRtcClient, media_ip};

#[actix::test]
async fn ice_restart_survives_network_change() {
    let homes = TwoHomes::make();
    let [home, elsewhere] = homes.addresses();
    let interface = Some(homes.interface().to_owned());
    let janus = TestJanus::start_with(|options| options.ice_interface = interface).await;
    let stage = Stage::on(janus, &[]).await;
    let mut bert = stage.connect(1, "bert", "").await;
    let (_, at_bert) = speak_from(home, &mut bert, 660).await;
    let mut anna = stage.connect(0, "anna", "&clientId=a").await;
    let (joined, mut at_anna) = speak_from(home, &mut anna, 440).await;
    until_they_hear_each_other(&at_anna, &at_bert).await;
    let before = stage.participants().await;
    assert_eq!(before.len(), 2, "{before:?}");

    at_anna.move_to(elsewhere).await;
    at_bert.until_hears(&[], &[440.0]).await;
    anna.negotiate(&at_anna, at_anna.offer()).await;
    until_they_hear_each_other(&at_anna, &at_bert).await;

    // Move back, and send a candidate after the answer.
    at_anna.move_to(home).await;
    at_bert.until_hears(&[], &[440.0]).await;
    anna.negotiate(&at_anna, at_anna.offer_without_candidates()).await;
    anna.trickle(&at_anna).await;
    until_they_hear_each_other(&at_anna, &at_bert).await;

    assert_eq!(stage.participants().await, before, "nobody joined again");
    assert_eq!(anna.noted("reconnect"), None);

    // A phone that loses its network also loses the WebSocket, and may return through another gateway.
    at_anna.move_to(elsewhere).await;
    anna.cut();
    let mut anna = stage.connect(1, "anna", "&clientId=a").await;
    let again = anna.call("join", json!({ "jtoken": joined["jtoken"] })).await.unwrap();
    assert_eq!(again["resume"], true);
    at_bert.until_hears(&[], &[440.0]).await;
    anna.negotiate(&at_anna, at_anna.offer()).await;
    until_they_hear_each_other(&at_anna, &at_bert).await;
    assert_eq!(stage.participants().await, before, "nobody joined again");
}

#[actix::test]
async fn janus_trickled_candidates_carry_media() {
    let stage = Stage::on(TestJanus::full_trickle().await, &[]).await;
    let mut bert = stage.connect(1, "bert", "").await;
    let at_bert = arrive(&mut bert, 660).await;
    let mut anna = stage.connect(0, "anna", "").await;
    let mut at_anna = arrive(&mut anna, 440).await;
    until_they_hear_each_other(&at_anna, &at_bert).await;

    // Move to another port: Janus sends its candidates again.
    at_anna.move_to(media_ip()).await;
    at_bert.until_hears(&[], &[440.0]).await;
    meet(&mut anna, &at_anna).await;
    until_they_hear_each_other(&at_anna, &at_bert).await;
}

async fn speak_from(address: IpAddr, caller: &mut Caller, hz: u32) -> (Value, WebRtcClient) {
    let joined = caller.call("join", json!({})).await.unwrap();
    let mut media = WebRtcClient::at(address, opus::tone(hz)).await;
    media.amplify(joined["mixGainDb"].as_f64().unwrap());
    caller.negotiate(&media, media.offer()).await;
    media.until("the connection", |p| p.connected).await;
    (joined, media)
}

/// Joins and connects with trickled candidates.
async fn arrive(caller: &mut Caller, hz: u32) -> WebRtcClient {
    let joined = caller.call("join", json!({})).await.unwrap();
    let mut media = WebRtcClient::new(opus::tone(hz)).await;
    media.amplify(joined["mixGainDb"].as_f64().unwrap());
    meet(caller, &media).await;
    media.until("the connection", |p| p.connected).await;
    media
}

async fn meet(caller: &mut Caller, media: &WebRtcClient) {
    let answer = caller.negotiate(media, media.offer_without_candidates()).await;
    assert!(!answer.contains("a=candidate") && !answer.contains("a=end-of-candidates"), "{answer}");
    // The client sends no candidate of its own: Janus cannot start checks, so only Janus's candidates can
    // work.
    caller
        .call("icecandidate", json!({ "candidate": null }))
        .await
        .expect("the end of candidates is accepted");
    let mut count = 0;
    loop {
        match &caller.note("icecandidate", |_| true).await["candidate"] {
            Value::Null => break,
            candidate => {
                let text = candidate["candidate"].as_str().expect("a text");
                assert!(text.starts_with("candidate:") && candidate["sdpMLineIndex"] == 0, "{candidate}");
                media.add_candidate(text);
                count += 1;
            }
        }
    }
    assert!(count > 0, "there were some before the end");
}

async fn until_they_hear_each_other(at_anna: &WebRtcClient, at_bert: &WebRtcClient) {
    at_bert.until_hears(&[440.0], &[]).await;
    at_anna.until_hears(&[660.0], &[]).await;
}

//! The backstage on real nodes: anchors hear each other, listeners hear nothing until all go live together.

use serde_json::json;
use stentor::probe::Mode;

use crate::channel::Events;
use crate::rooms::tuned_in;
use crate::support::node::request;
use crate::support::stage::{ROOM, Stage};
use crate::support::until;

#[actix::test]
async fn backstage_goes_live_together() {
    let stage = Stage::pair(&[]).await;
    let (node, room) = (&stage.one, format!("/api/rooms/{ROOM}"));
    let refused = node.post(&format!("{room}/backstage"), json!({})).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "room_on_air"), "{refused:?}");
    node.delete(&room).await;
    until("the room is gone", async || node.get(&room).await.status == 404).await;
    until("FFmpeg has ended", async || node.children("ffmpeg").is_empty()).await;
    let opened = node.post("/api/rooms", json!({ "roomId": ROOM, "backstage": true })).await;
    assert_eq!((opened.status, &opened.json()["room"]["status"]), (201, &json!("backstage")), "{opened:?}");
    assert_eq!(node.post(&format!("{room}/backstage"), json!({})).await.status, 200, "may be repeated");

    let mut host = stage.connect_host(0, "hera").await;
    let mut bert = stage.connect(1, "bert", "").await;
    host.note("roomStatus", |status| status["backstage"] == true).await;
    until("the Janus room is there", async || {
        node.get(&room).await.json()["room"]["janus"]["status"] == "room_created"
    })
    .await;
    let (_, at_host) = host.speak(440).await;
    let (_, at_bert) = bert.speak(660).await;
    at_host.until_hears(&[660.0], &[]).await;
    at_bert.until_hears(&[440.0], &[]).await;

    let token = node.token(ROOM).await;
    let playlist = format!("{}/hls/rooms/{ROOM}/index.m3u8?token={token}", node.hls);
    let refused = request("GET", &playlist, &[], None).await;
    // 410: this node still knows that an earlier broadcast has ended.
    assert!([404, 410].contains(&refused.status), "{refused:?}");
    let mut events = Events::open(&node.hls, &token, None).await;
    let snapshot = events.next("snapshot").await;
    assert_eq!((&snapshot["room"]["status"], &snapshot["members"]), (&json!("backstage"), &json!([])));
    assert_eq!(snapshot["talking"], json!([]));
    assert!(node.children("ffmpeg").is_empty(), "no mixer runs");

    let participants = stage.participants().await;
    let refused = bert.call("goLive", json!({})).await.unwrap_err();
    assert_eq!(refused["data"]["code"], "forbidden");
    host.call("goLive", json!({})).await.unwrap();
    assert_eq!(host.call("goLive", json!({})).await, Ok(json!({})), "may be repeated");
    bert.note("roomStatus", |status| status["backstage"] == false).await;
    node.until_status(ROOM, "onair").await;
    drop(tuned_in(&node.target(ROOM).await, Mode::Parts, 440.0).await);
    assert_eq!(stage.participants().await, participants, "the sessions are the same");
    at_host.until_hears(&[660.0], &[]).await;
    while events.next("members").await["members"].as_array().unwrap().len() < 2 {}

    let kinds = async || {
        let page = node.get(&format!("/api/events?room={ROOM}")).await.json();
        let events = page["events"].as_array().unwrap().iter();
        events.map(|event| event["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let joined = |kind: &&String| *kind == "anchor_joined";
    until("both anchors are reported", async || kinds().await.iter().filter(joined).count() == 2).await;
    let of_people = ["anchor_joined", "listener_peak"];
    let others: Vec<_> = kinds().await.into_iter().filter(|kind| !of_people.contains(&&**kind)).collect();
    assert!(others.ends_with(&["backstage_opened".into(), "room_started".into()]), "{others:?}");
}

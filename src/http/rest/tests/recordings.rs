//! Tests of the endpoints for recordings.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use serde_json::{Value, json};

use super::house::{claims, house, house_of};
use crate::domain::api_key::KeyScope;
use crate::store::Store;

/// Id of the recording that the test setup creates.
const ID: &str = "0123456789abcdef";

#[actix::test]
async fn recordings_are_listed_newest_first() {
    let house = house().await;
    let listed = house.send(Method::GET, "/api/recordings").await.json;
    let recording = &listed["recordings"][0];
    assert_eq!((recording["recordingId"].as_str(), recording["state"].as_str()), (Some(ID), Some("ready")));
    assert_eq!((&recording["lostSegments"], &recording["endedAt"]), (&json!(1), &json!(9)));
    assert_eq!(recording["hlsUrl"], format!("https://live.example.org/hls/recordings/{ID}/index.m3u8"));
    assert_eq!(recording["replayUrl"], format!("https://live.example.org/replay/{ID}"));
    assert_eq!((&recording["anchors"], &recording["chapters"]), (&json!([]), &json!([])));
    assert!(listed["next"].is_null());
    for query in ["room=other".to_owned(), format!("after={ID}"), "after=aaaaaaaaaaaaaaaa".to_owned()] {
        let none = house.send(Method::GET, &format!("/api/recordings?{query}")).await.json;
        assert_eq!(none["recordings"], json!([]), "{query}");
    }
    let one = house.send(Method::GET, &format!("/api/recordings/{ID}")).await.json;
    assert_eq!(one["recording"], *recording);
    house.send(Method::GET, "/api/recordings/aaaaaaaaaaaaaaaa").await.refused(404, "recording_not_found");
    house.send(Method::GET, "/api/recordings/A").await.refused(400, "invalid_recording_id");
}

#[actix::test]
async fn tracks_are_listed_and_downloaded() {
    let house = house_of(&[KeyScope::Read]).await;
    let one = house.send(Method::GET, &format!("/api/recordings/{ID}")).await.json;
    let tracks = json!([{ "number": 1, "userId": "ann", "node": "one", "bytes": 300_000 },
        { "number": 3, "userId": "bob", "node": "gone", "bytes": 9 }]);
    assert_eq!(one["recording"]["tracks"], tracks);
    let folder = house.folder.path().join(format!("tracks/{ID}"));
    std::fs::create_dir_all(&folder).unwrap();
    let alphabet: Vec<u8> = (b'a'..=b'z').cycle().take(300_000).collect();
    std::fs::write(folder.join("ann.opus"), alphabet).unwrap();
    let path = |track: &str| format!("/api/recordings/{ID}/tracks/{track}");
    let whole = house.send(Method::GET, &path("1")).await;
    assert_eq!((whole.status, whole.text.len(), whole.header("content-type")), (200, 300_000, "audio/ogg"));
    assert!(whole.text.ends_with("wxyzabcdefghijkl"), "{}", &whole.text[299_980..]);
    let range = TestRequest::default().uri(&path("1")).insert_header(("range", "bytes=262140-262149"));
    let part = house.call(range).await;
    assert_eq!((part.status, part.text), (206, whole.text[262_140..262_150].to_owned()));
    house.send(Method::GET, &path("3")).await.refused(503, "media_unavailable");
    for absent in ["2", "0", "ann"] {
        house.send(Method::GET, &path(absent)).await.refused(404, "track_not_found");
    }
    let other = house_of(&[KeyScope::Users]).await;
    other.send(Method::GET, &path("1")).await.refused(403, "scope_missing");
}

#[actix::test]
async fn deletion_marks_recording_in_store() {
    let house = house().await;
    assert_eq!(house.delete(&format!("/api/recordings/{ID}")).await.status, 200);
    let stored = house.store.get(&format!("/recordings/{ID}")).await.unwrap().unwrap();
    let stored: Value = serde_json::from_slice(&stored.value).unwrap();
    assert!(stored["deletedAt"].is_u64() && stored["takes"]["one"].is_object(), "{stored}");
    house.delete(&format!("/api/recordings/{ID}")).await.refused(404, "recording_not_found");
}

#[actix::test]
async fn replay_tokens_are_issued_per_recording() {
    let house = house().await;
    let folder = house.folder.path().join(ID);
    std::fs::create_dir_all(&folder).unwrap();
    let segment = r#"{"sequence":1,"durationUs":99500000,"startedAt":2,"discontinuity":false,"keyIndex":0,
        "bytes":9,"file":1,"offset":0}"#;
    std::fs::write(folder.join("journal.jsonl"), segment.replace('\n', "")).unwrap();
    std::fs::write(folder.join("media-00001.ts"), "nine byte").unwrap();
    let issued = house.post(&format!("/api/recordings/{ID}/token"), Value::Null).await;
    let told = claims(&issued.json["token"]);
    assert_eq!((issued.status, &told["role"], &told["recordingId"]), (200, &json!("replay"), &json!(ID)));
    let url =
        format!("https://live.example.org/replay/{ID}#token={}", issued.json["token"].as_str().unwrap());
    assert_eq!((&told["clip"], issued.json["replayUrl"].as_str()), (&Value::Null, Some(url.as_str())));
    let clip = house.post(&format!("/api/recordings/{ID}/token"), json!({ "from": 90, "to": 92.5 })).await;
    assert_eq!(claims(&clip.json["token"])["clip"], json!({ "from": 90.0, "to": 92.5 }));
    for body in [
        json!({ "from": 2, "to": 1 }),
        json!({ "from": -1, "to": 1 }),
        json!({ "from": 2 }),
        json!({ "from": 90, "to": 101 }),
        json!({ "from": 99.5, "to": 100 }),
        json!({ "at": 2 }),
    ] {
        house.post(&format!("/api/recordings/{ID}/token"), body).await.refused(400, "invalid_body");
    }
    let late = house.post(&format!("/api/recordings/{ID}/token"), json!({ "from": 200, "to": 300 })).await;
    assert!(late.json["error"].as_str().unwrap().contains("lasts 99.5 seconds"), "{}", late.text);
    let unknown = house.post("/api/recordings/aaaaaaaaaaaaaaaa/token", Value::Null).await;
    unknown.refused(404, "recording_not_found");
}

#[actix::test]
async fn only_rooms_on_air_can_be_recorded() {
    let house = house().await;
    let ask = async || house.post("/api/rooms/demo/recording", Value::Null).await;
    ask().await.refused(404, "room_not_found");
    house.post("/api/rooms", json!({ "roomId": "demo" })).await;
    ask().await.refused(404, "room_not_on_air");
    house.post("/api/rooms/demo/start", Value::Null).await;
    let first = ask().await.json["room"]["recording"].clone();
    assert!(first.is_string());
    assert_eq!(ask().await.json["room"]["recording"], first, "may be repeated");
    let stopped = house.delete("/api/rooms/demo/recording").await;
    assert_eq!((stopped.status, &stopped.json["room"]["recording"]), (200, &Value::Null));
    assert_eq!(house.delete("/api/rooms/demo/recording").await.status, 200);
    assert_ne!(ask().await.json["room"]["recording"], first, "another recording");
}

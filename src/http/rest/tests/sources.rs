//! Tests of the endpoints for sources.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::house::house;
use crate::store::Store;

#[actix::test]
async fn source_urls_stay_secret() {
    let house = house().await;
    house.post("/api/rooms", json!({ "roomId": "tea-room" })).await;
    let path = "/api/rooms/tea-room/sources";
    for (url, shown) in [
        ("rtmp://live.example.org/app/s3cret-key?token=s3cret", "rtmp://live.example.org/app/…"),
        ("http://radio.example.org/s3cret/live.mp3", "http://radio.example.org/…"),
    ] {
        let added = house.post(path, json!({ "url": url })).await;
        assert_eq!((added.status, &added.json["source"]["url"]), (201, &json!(shown)), "{}", added.text);
        assert_eq!(added.json["source"]["kind"], "url");
        let listed = house.send(Method::GET, path).await;
        assert!(listed.text.contains(shown) && !listed.text.contains("s3cret"), "{}", listed.text);
    }
    let short = house.post(path, json!({ "url": "srt://live.example.org:9000?passphrase=s3cret" })).await;
    short.refused(400, "invalid_source");
    assert!(short.text.contains("10 to 79 bytes") && !short.text.contains("s3cret"), "{}", short.text);
    let stored = house.store.get("/rooms/tea-room/sources").await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&stored.value).contains("s3cret"), "sealed in the store");
}

#[actix::test]
async fn excluded_sources_leave_closed_room() {
    let house = house().await;
    house.post("/api/rooms", json!({ "roomId": "tea-room" })).await;
    let path = "/api/rooms/tea-room";
    for by_kick in [true, false] {
        let added = house.post(&format!("{path}/sources"), json!({ "file": "a.mp3" })).await;
        let id = added.json["source"]["sourceId"].as_str().unwrap().to_owned();
        let done = match by_kick {
            true => house.post(&format!("{path}/users/{id}/kick"), Value::Null).await,
            false => house.send(Method::PUT, &format!("{path}/bans/{id}")).await,
        };
        assert_eq!(done.status, 200, "{}", done.text);
        let listed = house.send(Method::GET, &format!("{path}/sources")).await.json;
        assert_eq!(listed["sources"], json!([]));
    }
}

//! Tests of the endpoints for outputs.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::house::house;
use crate::store::Store;

const ROOM: &str = "/api/rooms/tea-room";

#[actix::test]
async fn outputs_are_added_and_removed() {
    let house = house().await;
    house.post("/api/rooms", json!({ "roomId": "tea-room" })).await;
    let path = format!("{ROOM}/outputs");
    let url = "rtmp://live.example.org/app/s3cret-key";
    let added = house.post(&path, json!({ "url": url })).await;
    let output = &added.json["output"];
    let id = output["outputId"].as_str().unwrap();
    assert_eq!((added.status, &output["state"], &output["kind"]), (200, &json!("waiting"), &json!("rtmp")));
    assert_eq!(output["target"], "rtmp://live.example.org:1935/app/…");
    let listed = house.send(Method::GET, &path).await.json;
    assert_eq!(listed["outputs"], json!([output]));
    let stored = house.store.get("/rooms/tea-room/outputs").await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&stored.value).contains("s3cret"), "sealed in the store");
    house.post(&path, json!({ "url": "srt://live.example.org:9000" })).await;
    house.post(&path, json!({ "url": url })).await.refused(409, "too_many_outputs");
    assert_eq!(house.delete(&format!("{path}/{id}")).await.status, 200);
    house.delete(&format!("{path}/{id}")).await.refused(404, "output_not_found");
    house.delete(&format!("{path}/UPPER")).await.refused(404, "output_not_found");
    house.send(Method::GET, "/api/rooms/other-room/outputs").await.refused(404, "room_not_found");
}

#[actix::test]
async fn outputs_are_validated() {
    let house = house().await;
    house.post("/api/rooms", json!({ "roomId": "tea-room" })).await;
    let path = format!("{ROOM}/outputs");
    for url in
        ["http://a.example.org/", "srt://127.0.0.1:9", "icecast://u:p@10.0.0.1:8000/a", "srt://[::1]:9"]
    {
        house.post(&path, json!({ "url": url })).await.refused(400, "invalid_output");
    }
    let short = house.post(&path, json!({ "url": "srt://a.example.org:9?passphrase=too-short" })).await;
    short.refused(400, "invalid_output");
    assert!(short.json["error"].as_str().unwrap().contains("10 to 79 bytes"), "{}", short.text);
    let mp3 = json!({ "url": "srt://a.example.org:9", "format": "mp3" });
    house.post(&path, mp3).await.refused(400, "invalid_output");
    for body in
        [json!({}), json!({ "url": 1 }), json!({ "url": "srt://a.example.org:9", "x": 1 }), Value::Null]
    {
        let refused = house.post(&path, body).await;
        assert_eq!(refused.status, 400, "{}", refused.json);
    }
}

//! Tests of `/api/webhooks`.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::house::house;

const REPLAY: &str = "/api/webhooks/app/replay";
const DEAD: &str = "/api/webhooks/app/dead";

#[actix::test]
async fn webhooks_show_their_progress() {
    let house = house().await;
    let listed = house.send(Method::GET, "/api/webhooks").await;
    let waiting =
        json!({ "roomId": "abc", "from": "7.1", "attempts": 2, "since": 5, "next": 6, "error": "no" });
    let expected = json!({
        "name": "app", "url": "http://127.0.0.1:1/events", "types": ["room_ended"], "rooms": [],
        "cursor": "99.0", "waiting": [waiting], "deadLetters": 1,
    });
    assert_eq!((listed.status, &listed.json["webhooks"]), (200, &json!([expected])));
}

#[actix::test]
async fn replay_moves_the_cursor_back() {
    let house = house().await;
    let replayed = house.post(REPLAY, json!({ "after": "7.0" })).await;
    assert_eq!(
        (replayed.status, &replayed.json["webhook"]["cursor"]),
        (200, &json!("7.0")),
        "{}",
        replayed.text
    );
    assert_eq!(replayed.json["webhook"]["waiting"], json!([]), "it is read again");
    let listed = house.send(Method::GET, "/api/webhooks").await;
    assert_eq!(listed.json["webhooks"][0], replayed.json["webhook"]);
    house.post(REPLAY, json!({ "after": "7.1" })).await.refused(400, "invalid_body");
    for wrong in ["", "x", "-1", "1.2.3", "7.0 ", "99999999999999999999"] {
        house.post(REPLAY, json!({ "after": wrong })).await.refused(400, "invalid_body");
    }
    for wrong in [json!({}), json!({ "after": 7 }), json!({ "after": "0", "from": "0" })] {
        house.post(REPLAY, wrong).await.refused(400, "invalid_body");
    }
}

#[actix::test]
async fn replay_waits_for_leader() {
    let house = house().await;
    house.store.delete_now("/webhooks/app/state");
    let listed = house.send(Method::GET, "/api/webhooks").await;
    assert_eq!(listed.json["webhooks"][0]["cursor"], Value::Null);
    house.post(REPLAY, json!({ "after": "0" })).await.refused(503, "busy");
}

#[actix::test]
async fn dead_letters_stay_until_delivered() {
    let house = house().await;
    let listed = house.send(Method::GET, DEAD).await.json;
    let letter = &listed["deadLetters"][0];
    assert_eq!((&letter["attempts"], &letter["error"], &letter["at"]), (&json!(10), &json!("no"), &json!(8)));
    let id = letter["event"]["id"].as_str().unwrap().to_owned();
    // Nothing listens on port 1.
    house.post(&format!("{DEAD}/{id}"), Value::Null).await.refused(502, "not_delivered");
    assert_eq!(house.send(Method::GET, DEAD).await.json, listed);
    for unknown in ["evt_1", "evt_000000000000000000000000000000020", "%ff"] {
        house.post(&format!("{DEAD}/{unknown}"), Value::Null).await.refused(404, "dead_letter_not_found");
    }
}

#[actix::test]
async fn unknown_webhooks_are_refused() {
    let house = house().await;
    for name in ["other", "APP", "a%2Fb", "%00", "%ff", &"x".repeat(65)] {
        let path = format!("/api/webhooks/{name}");
        house.send(Method::GET, &format!("{path}/dead")).await.refused(404, "webhook_not_found");
        let event = "evt_000000000000000000000000000000010";
        house.post(&format!("{path}/dead/{event}"), Value::Null).await.refused(404, "webhook_not_found");
        house
            .post(&format!("{path}/replay"), json!({ "after": "0" }))
            .await
            .refused(404, "webhook_not_found");
    }
}

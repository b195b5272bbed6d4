//! Tests of users: invitations, lists, removals, and the counts of anchors.

use std::time::Instant;

use actix_web::http::Method;
use serde_json::{Value, json};

use super::house::{claims, house, json_request};
use crate::domain::ids::RoomId;

#[actix::test]
async fn invitation_contains_connection_details() {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "demo", "pin": "abc123"})).await;
    let made = house.post("/api/rooms/demo/users", json!({"role": "host", "userId": "bob"})).await;
    assert_eq!(made.status, 201);
    let expires = made.json["expiresAt"].as_u64().unwrap();
    assert!(expires > 1_600_000_000_000);
    let token = made.json["token"].as_str().unwrap();
    let person = made.json["personId"].as_str().unwrap();
    assert_eq!(person.len(), 16);
    let told = claims(&made.json["token"]);
    assert_eq!(
        (&told["role"], &told["sub"], &told["roomId"]),
        (&json!("host"), &json!("bob"), &json!("demo"))
    );
    assert_eq!(
        made.json,
        json!({
            "success": true, "userId": "bob", "personId": person, "role": "host",
            "token": token, "expiresAt": expires,
            "wsUrl": "wss://live.example.org/ws", "pin": "abc123",
            "whipUrl": "https://live.example.org/whip/demo",
            "inviteUrl": format!("https://live.example.org/speak/demo#token={token}"),
        })
    );
    let again = house.post("/api/rooms/demo/users", json!({"role": "anchor", "userId": "bob"})).await;
    let told = claims(&again.json["token"]);
    assert_eq!((again.status, &told["role"], &told["sub"]), (201, &json!("anchor"), &json!("bob")));
    let chosen = house.post("/api/rooms/demo/users", json!({"role": "anchor"})).await;
    assert_eq!(chosen.json["userId"].as_str().unwrap().len(), 16);
}

#[actix::test]
async fn user_list_includes_invited_removed_connected() {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "demo"})).await;
    house.post("/api/rooms/demo/users", json!({"role": "anchor", "userId": "bob"})).await;
    assert_eq!(house.delete("/api/rooms/demo/users/cat").await.json, json!({"success": true}));
    let users = house.send(Method::GET, "/api/rooms/demo/users").await.json["users"].clone();
    let ann = json!({"userId": "ann", "personId": users[0]["personId"], "role": "host", "connected": true,
                     "displayName": "Ann", "muted": true, "status": "onair", "source": "whip",
                     "spokenMs": 0});
    assert_eq!(users[0], ann, "her token was made elsewhere");
    assert_eq!((&users[1]["userId"], &users[1]["role"]), (&json!("bob"), &json!("anchor")));
    assert_eq!((&users[1]["connected"], users[1].get("removedAt")), (&json!(false), None));
    assert_eq!(users[2]["userId"], "cat");
    assert!(users[2]["removedAt"].is_u64() && users[2].get("createdAt").is_none(), "never invited: {users}");
    assert_eq!(users.as_array().unwrap().len(), 3);
}

#[actix::test]
async fn people_of_users_can_be_found() {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "demo"})).await;
    let person = house.send(Method::GET, "/api/rooms/demo/users/lena%401/person").await.json;
    let id = person["personId"].clone();
    assert_eq!(person, json!({"success": true, "userId": "lena@1", "personId": id}));
    let token = house.post("/api/token", json!({"roomId": "demo", "userId": "lena@1"})).await.json;
    assert_eq!((&token["userId"], &token["personId"]), (&json!("lena@1"), &id));
    house.put("/api/rooms/demo/bans/lena%401", Value::Null).await;
    let bans = house.send(Method::GET, "/api/rooms/demo/bans").await.json["bans"].clone();
    assert_eq!(bans[0]["personId"], id);
    let random = house.post("/api/token", json!({"roomId": "demo"})).await.json["userId"].clone();
    assert_eq!(random.as_str().unwrap().len(), 16);
    house.send(Method::GET, "/api/rooms/other/users/ann/person").await.refused(404, "room_not_found");
}

#[actix::test]
async fn removed_user_cannot_be_invited() {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "demo"})).await;
    house.post("/api/rooms/demo/users", json!({"role": "anchor", "userId": "bob"})).await;
    for _ in 0..2 {
        assert_eq!(house.delete("/api/rooms/demo/users/bob").await.status, 200);
    }
    let back = house.post("/api/rooms/demo/users", json!({"role": "host", "userId": "bob"})).await;
    back.refused(409, "user_removed");
}

#[actix::test]
async fn kicked_user_can_be_invited() {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "demo"})).await;
    let kick = async |user: &str| house.post(&format!("/api/rooms/demo/users/{user}/kick"), json!({})).await;
    for _ in 0..2 {
        assert_eq!(kick("bob").await.json, json!({"success": true}));
    }
    assert_eq!(house.send(Method::GET, "/api/rooms/demo/bans").await.json["bans"], json!([]));
    let users = house.send(Method::GET, "/api/rooms/demo/users").await.json["users"].clone();
    assert!(users[1]["removedAt"].is_u64(), "{users}");
    let back = house.post("/api/rooms/demo/users", json!({"role": "anchor", "userId": "bob"})).await;
    assert_eq!(back.status, 201);
    let token = house.post("/api/token", json!({"roomId": "demo", "userId": "bob"})).await;
    assert_eq!(token.status, 200);
    kick("a%20").await.refused(400, "invalid_user_id");
    house.post("/api/rooms/other/users/bob/kick", json!({})).await.refused(404, "room_not_found");
    house.delete("/api/rooms/demo/users/bob").await;
    assert_eq!(kick("bob").await.status, 200);
    let bans = house.send(Method::GET, "/api/rooms/demo/bans").await.json["bans"].clone();
    assert_eq!(bans[0]["userId"], "bob", "a kick does not end a ban");
}

#[actix::test]
async fn user_ids_may_be_mail_addresses() {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "demo"})).await;
    for (id, path) in [
        ("auth0|123", "auth0%7C123"),
        ("ann@example.org", "ann@example.org"),
        ("a/b%2F c", "a%2Fb%252F%20c"),
        ("did:example:1", "did:example:1"),
        ("ünal", "%C3%BCnal"),
    ] {
        let made = house.post("/api/rooms/demo/users", json!({"role": "host", "userId": id})).await;
        assert_eq!((made.status, &made.json["userId"]), (201, &json!(id)));
        assert_eq!(house.delete(&format!("/api/rooms/demo/users/{path}")).await.status, 200, "{path}");
        let users = house.send(Method::GET, "/api/rooms/demo/users").await.json["users"].clone();
        let removed = users.as_array().unwrap().iter().find(|user| user["userId"] == id).unwrap().clone();
        assert!(removed["removedAt"].is_u64(), "{removed}");
    }
}

#[actix::test]
async fn bad_requests_about_users_change_nothing() {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "demo"})).await;
    let before = house.store.revision();
    for (body, code) in [
        (r#"{}"#, "invalid_body"),
        (r#"{"role": "listener"}"#, "invalid_body"),
        (r#"{"role": "Host"}"#, "invalid_body"),
        (r#"{"role": "host", "userId": 7}"#, "invalid_body"),
        (r#"{"role": "host", "name": "x"}"#, "invalid_body"),
        (r#"{"role": "host", "userId": ""}"#, "invalid_user_id"),
        (r#"{"role": "host", "userId": "1:2"}"#, "invalid_user_id"),
        (r#"{"role": "host", "userId": "a\nb"}"#, "invalid_user_id"),
        (r#"{"role": "host""#, "invalid_json"),
    ] {
        let answer = house.call(json_request(Method::POST, "/api/rooms/demo/users", body)).await;
        assert_eq!((answer.status, &answer.json["code"]), (400, &json!(code)), "{body}");
    }
    for user in ["%00", "a%20", "1%3A2", "%FF", &"x".repeat(256)] {
        house.delete(&format!("/api/rooms/demo/users/{user}")).await.refused(400, "invalid_user_id");
    }
    let role = json!({"role": "host"});
    house.post("/api/rooms/other/users", role.clone()).await.refused(404, "room_not_found");
    house.send(Method::GET, "/api/rooms/other/users").await.refused(404, "room_not_found");
    house.delete("/api/rooms/other/users/bob").await.refused(404, "room_not_found");
    house.post("/api/rooms/a%2Fb/users", role.clone()).await.refused(400, "invalid_room_id");
    house.delete("/api/rooms/a%2Fb/users/bob").await.refused(400, "invalid_room_id");
    assert_eq!(house.store.revision(), before);
    house.store.set_down(true);
    house.post("/api/rooms/demo/users", role).await.refused(503, "store_unavailable");
    house.delete("/api/rooms/demo/users/bob").await.refused(503, "store_unavailable");
    assert_eq!(house.send(Method::GET, "/api/rooms/demo/users").await.status, 200, "what is known is told");
}

#[actix::test]
async fn api_removing_room_refuses_users() {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "demo", "start": true})).await;
    house.delete("/api/rooms/demo").await;
    house.post("/api/rooms/demo/users", json!({"role": "host"})).await.refused(409, "room_removing");
    house.delete("/api/rooms/demo/users/bob").await.refused(409, "room_removing");
}

#[actix::test]
async fn room_responses_list_present_users() {
    let house = house().await;
    let idle = house.post("/api/rooms", json!({"roomId": "demo"})).await.json["room"].clone();
    assert_eq!((&idle["anchors"], &idle["listeners"]), (&json!(0), &json!(0)));
    house.post("/api/rooms/demo/start", Value::Null).await;
    for listener in ["a token", "another"] {
        house.api.listeners.counter.record(&RoomId::new("demo").unwrap(), listener, None, Instant::now());
    }
    let live = house.send(Method::GET, "/api/rooms/demo").await.json["room"].clone();
    assert_eq!((&live["anchors"], &live["listeners"]), (&json!(1), &json!(2)));
    let listed = house.send(Method::GET, "/api/rooms").await.json["rooms"][0].clone();
    assert_eq!(listed, live);
    assert_eq!(house.send(Method::GET, "/api/stats").await.json["listeners"], 2);
}

#[actix::test]
async fn refusals_name_the_field() {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "demo"})).await;
    for (path, body, wanted) in [
        ("token", json!({"roomId": "demo", "name": ""}), "name must be"),
        ("rooms/demo/sources", json!({"url": "https://a.example/b", "title": ""}), "title must be"),
        (
            "rooms/demo/users",
            json!({"role": "host", "userId": 7}),
            "userId: invalid type: integer `7`, expected a string",
        ),
        ("rooms/demo/users", json!({"role": "boss"}), "role: unknown variant `boss`"),
    ] {
        let answer = house.post(&format!("/api/{path}"), body).await;
        let told = answer.json["error"].as_str().unwrap();
        assert!(answer.status == 400 && told.starts_with(wanted) && !told.contains(" line "), "{told}");
    }
    let query = house.send(Method::GET, "/api/rooms?foo=1").await;
    assert!(query.json["error"].as_str().unwrap().starts_with("unknown field `foo`"), "{}", query.json);
}

//! Tests of `/api/keys`, of scopes and of quotas.

use actix_web::http::Method;
use serde_json::{Value, json};

use crate::domain::api_key::KeyScope;

use super::house::{Answer, House, house_with, json_request};

const KEYS: &str = "/api/keys";
const ROOT: &str = "the-key";
const ROOT_NAME: &str = "key of the configuration";

#[actix::test]
async fn created_key_works_until_revoked() {
    let house = house_with(Some("the-key"), &[]).await;
    let made = create(&house, json!({ "name": " Studio  app ", "scopes": ["read", "rooms", "read"] })).await;
    let (secret, key) = (made["secret"].as_str().unwrap(), &made["key"]);
    let id = key["id"].as_str().unwrap();
    assert!(secret.starts_with(&format!("stentor_{id}_")), "{id}");
    assert_eq!((&key["name"], &key["scopes"]), (&json!("Studio app"), &json!(["rooms", "read"])));
    assert_eq!(
        (&key["quotas"], &key["expiresAt"], &key["revokedAt"]),
        (&json!({}), &Value::Null, &Value::Null)
    );
    let created = house.with_key(secret, Method::POST, "/api/rooms", json!({ "roomId": "tea" })).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let listed = house.with_key(ROOT, Method::GET, KEYS, Value::Null).await;
    assert_eq!(listed.json["keys"][0]["usage"], json!({ "rooms": 1, "roomsOnAir": 0 }));
    let secret_part = secret.rsplit('_').next().unwrap();
    assert!(!listed.text.contains(secret_part) && !listed.text.contains("digest"), "{}", listed.text);
    let kept = house.store.keys().into_iter().filter(|key| key.starts_with("/apikeys/")).collect::<Vec<_>>();
    assert_eq!(kept, [format!("/apikeys/{id}")]);
    let header = format!("Bearer {secret}");
    let permits = |scope| house.api.auth.still_permits(Some(header.as_bytes()), scope);
    assert!(permits(KeyScope::Rooms) && !permits(KeyScope::Operations));
    let revoked = house.with_key(ROOT, Method::DELETE, &format!("{KEYS}/{id}"), Value::Null).await;
    assert!(revoked.status == 200 && revoked.json["key"]["revokedAt"].is_u64(), "{}", revoked.text);
    let refused = house.with_key(secret, Method::GET, "/api/rooms", Value::Null).await;
    refused.refused(401, "unauthorized");
    assert!(refused.json["error"].as_str().unwrap().contains("revoked"));
    assert!(!permits(KeyScope::Rooms), "open connections end, too");
    let rooms = house.with_key(ROOT, Method::GET, "/api/rooms/tea", Value::Null).await;
    assert_eq!(rooms.status, 200, "its room stays");
}

#[actix::test]
async fn changes_have_audit_entries() {
    let house = house_with(Some("the-key"), &[]).await;
    let made = create(&house, json!({ "name": "Ann", "scopes": ["operations", "rooms"] })).await;
    let (secret, id) = (made["secret"].as_str().unwrap(), made["key"]["id"].clone());
    let path = |tail: &str| format!("/api/{tail}");
    let key = path(&format!("keys/{}", id.as_str().unwrap()));
    let label = json!({ "label": "draining" });
    for (method, path, body, status) in [
        (Method::POST, path("rooms"), json!({ "roomId": "tea", "start": true }), 201),
        (Method::POST, path("rooms/tea/stop"), Value::Null, 200),
        (Method::POST, path("rooms/none/stop"), Value::Null, 404),
        (Method::DELETE, path("rooms/tea"), Value::Null, 200),
        (Method::PUT, path("modules/mixers/one/mark"), label, 200),
        (Method::DELETE, path("modules/mixers/one/mark"), Value::Null, 200),
        (Method::PATCH, key.clone(), json!({ "name": "Ann A." }), 200),
        (Method::DELETE, key, Value::Null, 200),
    ] {
        let request = json_request(method, &path, &body.to_string());
        let request = if body.is_null() { request.set_payload("") } else { request };
        let request = request.insert_header(("authorization", format!("Bearer {secret}")));
        let answer = house.call(request.peer_addr("192.0.2.7:4711".parse().unwrap())).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
    }
    let entries = house.api.audit.log().list().await.unwrap();
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"]["action"].as_str().unwrap()).collect();
    let wanted = [
        "create_key",
        "stop_room",
        "stop_room",
        "delete_room",
        "set_label",
        "clear_label",
        "update_key",
        "revoke_key",
    ];
    let sorted = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.join(" ")
    };
    // Entries of the same millisecond have no order.
    assert_eq!(sorted(actions), sorted(wanted.to_vec()));
    let (first, rest): (Vec<_>, Vec<_>) =
        entries.iter().partition(|entry| entry["action"]["action"] == "create_key");
    assert_eq!((&first[0]["operator"]["name"], &first[0]["action"]["key"]), (&ROOT_NAME.into(), &id));
    for entry in rest {
        let operator = &entry["operator"];
        assert!(operator["key"] == id && operator["name"].as_str().unwrap().starts_with("Ann"), "{entry}");
        assert_eq!(entry["address"], "192.0.2.7", "{entry}");
        let failed = entry["action"]["room"] == "none";
        assert_eq!(entry["outcome"]["result"], if failed { "failed" } else { "done" }, "{entry}");
    }
    assert!(!serde_json::to_string(&entries).unwrap().contains(secret));
}

#[actix::test]
async fn changes_need_an_audit_entry() {
    let house = house_with(Some("the-key"), &[]).await;
    house.store.set_down(true);
    let refused = house.with_key(ROOT, Method::POST, "/api/rooms/tea/stop", Value::Null).await;
    refused.refused(503, "store_unavailable");
}

#[actix::test]
async fn key_gives_no_more_than_it_has() {
    let house = house_with(Some("the-key"), &[]).await;
    let made = create(&house, json!({ "name": "ops", "scopes": ["operations", "read"] })).await;
    let secret = made["secret"].as_str().unwrap();
    let ask = async |scopes: Value| {
        house.with_key(secret, Method::POST, KEYS, json!({ "name": "x", "scopes": scopes })).await
    };
    assert_eq!(ask(json!(["read"])).await.status, 201);
    let refused = ask(json!(["read", "users"])).await;
    refused.refused(403, "scope_missing");
    assert_eq!(refused.json["details"], json!({ "scope": "users" }));
    assert!(refused.json["error"].as_str().unwrap().contains("users"));
}

#[actix::test]
async fn invalid_keys_are_refused() {
    let house = house_with(Some("the-key"), &[]).await;
    let before = house.store.revision();
    for (body, code) in [
        (json!({ "scopes": ["read"] }), "invalid_body"),
        (json!({ "name": "x", "scopes": [] }), "invalid_body"),
        (json!({ "name": "x", "scopes": ["admin"] }), "invalid_body"),
        (json!({ "name": "\u{202E}x", "scopes": ["read"] }), "invalid_name"),
        (json!({ "name": "x", "scopes": ["read"], "ttl": 0 }), "invalid_ttl"),
        (json!({ "name": "x", "scopes": ["read"], "quotas": { "rooms": -1 } }), "invalid_body"),
        (json!({ "name": "x", "scopes": ["read"], "quotas": { "room": 1 } }), "invalid_body"),
    ] {
        let refused = house.with_key(ROOT, Method::POST, KEYS, body.clone()).await;
        refused.refused(400, code);
    }
    assert_eq!(house.store.revision(), before);
    for path in ["/api/keys/abcdefghijkl", "/api/keys/one", "/api/keys/%ff"] {
        for (method, body) in [(Method::PATCH, json!({})), (Method::DELETE, Value::Null)] {
            house.with_key(ROOT, method, path, body).await.refused(404, "api_key_not_found");
        }
    }
    let expiring = create(&house, json!({ "name": "x", "scopes": ["read"], "ttl": 60 })).await;
    let [created, expires] = ["createdAt", "expiresAt"].map(|field| expiring["key"][field].as_u64().unwrap());
    assert!(expires.abs_diff(created + 60_000) < 10_000, "{created} {expires}");
}

#[actix::test]
async fn quotas_refuse_with_their_number() {
    let house = house_with(Some("the-key"), &[]).await;
    let quotas = json!({ "rooms": 1, "usersPerRoom": 1, "tokensPerMinute": 2 });
    let body = json!({ "name": "app", "scopes": ["rooms", "users"], "quotas": quotas });
    let made = create(&house, body).await;
    let (secret, id) = (made["secret"].as_str().unwrap(), made["key"]["id"].as_str().unwrap());
    assert_eq!(made["key"]["quotas"], quotas);
    let room =
        async |id: &str| house.with_key(secret, Method::POST, "/api/rooms", json!({ "roomId": id })).await;
    assert_eq!(room("tea").await.status, 201);
    exceeded(&room("two").await, 403, "quota_exceeded", "rooms", 1);
    let user = async |user: &str| {
        let body = json!({ "role": "anchor", "userId": user });
        house.with_key(ROOT, Method::POST, "/api/rooms/tea/users", body).await
    };
    assert_eq!(user("ann").await.status, 201);
    exceeded(&user("bob").await, 403, "quota_exceeded", "usersPerRoom", 1);
    let token = async || house.with_key(secret, Method::POST, "/api/token", json!({ "roomId": "tea" })).await;
    assert_eq!((token().await.status, token().await.status), (200, 200));
    let refused = token().await;
    exceeded(&refused, 429, "token_quota_exceeded", "tokensPerMinute", 2);
    assert!((1..=60).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
    let more = json!({ "quotas": { "rooms": 2, "tokensPerMinute": null } });
    let changed = house.with_key(ROOT, Method::PATCH, &format!("{KEYS}/{id}"), more).await;
    assert_eq!(changed.json["key"]["quotas"], json!({ "rooms": 2, "usersPerRoom": 1 }), "{}", changed.text);
    assert_eq!((room("two").await.status, token().await.status), (201, 200));
    exceeded(&room("three").await, 403, "quota_exceeded", "rooms", 2);
}

fn exceeded(answer: &Answer, status: u16, code: &str, quota: &str, limit: u32) {
    answer.refused(status, code);
    assert_eq!(answer.json["details"], json!({ "quota": quota, "limit": limit }));
    let message = answer.json["error"].as_str().unwrap();
    assert!(message.contains(quota) && message.contains(&limit.to_string()), "{message}");
}

async fn create(house: &House, body: Value) -> Value {
    let made = house.with_key(ROOT, Method::POST, KEYS, body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.json
}

//! Tests of rooms, tokens, cordon labels and modules: the OpenAPI document has the status and error code of
//! every response, and invalid input has no effect.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::house::{claims, house, json_request};
use crate::domain::ids::{RoomId, UnixMs};
use crate::rooms::Fault;

#[actix::test]
async fn a_room_lives_and_ends() {
    let house = house().await;
    let created = house.post("/api/rooms", json!({"roomId": "demo", "pin": "abc123", "maxAnchors": 5})).await;
    assert_eq!(created.status, 201);
    let room = &created.json["room"];
    assert_eq!(created.json["success"], true);
    assert_eq!(room["roomId"], "demo");
    assert_eq!(room["pin"], "abc123");
    assert_eq!(room["maxAnchors"], 5);
    assert_eq!(room["status"], "created");
    assert_eq!(room["hlsUrl"], "https://live.example.org/hls/rooms/demo/index.m3u8");
    assert!(room["createdAt"].as_u64().unwrap() > 1_600_000_000_000);

    let started = house.post("/api/rooms/demo/start", Value::Null).await;
    assert_eq!((started.status, &started.json["room"]["status"]), (200, &json!("starting")));
    assert_eq!(started.json["room"]["janus"], json!({"id": "one", "reason": "no other janus took rooms"}));
    assert!(!started.text.contains("nonce"), "the answer contains no nonce");
    let again = house.post("/api/rooms/demo/start", Value::Null).await;
    assert_eq!(again.json, started.json, "a second start changes nothing");

    let stopped = house.post("/api/rooms/demo/stop", Value::Null).await;
    assert_eq!((stopped.status, &stopped.json["room"]["status"]), (200, &json!("removing")));
    let too_soon = house.post("/api/rooms/demo/start", Value::Null).await;
    too_soon.refused(409, "room_removing");
    assert_eq!(too_soon.header("retry-after"), "1");
    house.post("/api/token", json!({"roomId": "demo"})).await.refused(409, "room_removing");
    house.rooms.finish_removal(&RoomId::new("demo").unwrap(), UnixMs(0)).await.unwrap();
    let gone = house.send(Method::DELETE, "/api/rooms/demo").await;
    assert_eq!((gone.status, gone.json), (200, json!({"success": true})));
    house.send(Method::GET, "/api/rooms/demo").await.refused(404, "room_not_found");
}

#[actix::test]
async fn create_fills_in_missing_fields() {
    let house = house().await;
    let bare = house.send(Method::POST, "/api/rooms").await;
    assert_eq!(bare.status, 201, "no body at all is as good as {{}}");
    let room = house.post("/api/rooms", json!({"start": true})).await.json["room"].clone();
    assert_eq!(room["status"], "starting");
    assert_eq!(room["maxAnchors"], 3);
    assert_eq!(room["pin"].as_str().unwrap().len(), 6);
    assert_eq!(room["roomId"].as_str().unwrap().len(), 10);
}

#[actix::test]
async fn lists_come_in_pages() {
    let house = house().await;
    for name in ["alpha", "beta", "gamma"] {
        house.post("/api/rooms", json!({"roomId": name})).await;
    }
    let first = house.send(Method::GET, "/api/rooms?limit=2").await.json;
    assert_eq!((first["rooms"].as_array().unwrap().len(), &first["next"]), (2, &json!("beta")));
    let second = house.send(Method::GET, "/api/rooms?limit=2&after=beta").await.json;
    assert_eq!((&second["rooms"][0]["roomId"], second.get("next")), (&json!("gamma"), None));
}

#[actix::test]
async fn rooms_are_changed_by_merge_patch() {
    let house = house().await;
    let fields =
        json!({"roomId": "demo", "title": " Tea\ttime ", "tags": ["News"], "custom": {"a": 1, "b": 2}});
    let created = house.post("/api/rooms", fields).await;
    assert_eq!((created.status, &created.json["room"]["title"]), (201, &json!("Tea time")));
    house.post("/api/rooms/demo/start", Value::Null).await;
    let patch = json!({"title": null, "description": "a\nb", "custom": {"b": null}, "maxDuration": 60});
    let changed = house.call(json_request(Method::PATCH, "/api/rooms/demo", &patch.to_string())).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    let room = &changed.json["room"];
    assert_eq!(
        (room.get("title"), &room["tags"], &room["description"]),
        (None, &json!(["news"]), &json!("a\nb"))
    );
    assert_eq!((&room["custom"], &room["maxDuration"]), (&json!({"a": 1}), &json!(60)));
    let before = house.store.revision();
    let again = house.call(json_request(Method::PATCH, "/api/rooms/demo", &patch.to_string())).await;
    assert_eq!((again.status, house.store.revision()), (200, before), "the same again writes nothing");
    let merge = json_request(Method::PATCH, "/api/rooms/demo", "{}")
        .insert_header(("content-type", "application/merge-patch+json"));
    assert_eq!(house.call(merge).await.status, 200);
    house.call(json_request(Method::PATCH, "/api/rooms/other", "{}")).await.refused(404, "room_not_found");
    for (body, code) in [
        ("[]", "invalid_body"),
        (r#"{"title": 1}"#, "invalid_body"),
        (r#"{"titel": "x"}"#, "invalid_body"),
        (r#"{"title": "\u202e"}"#, "invalid_room_field"),
        (r#"{"coverUrl": "http://example.org"}"#, "invalid_room_field"),
        (r#"{"maxAnchors": 4}"#, "immutable_field"),
        (r#"{"pin": "abc123"}"#, "immutable_field"),
    ] {
        house.call(json_request(Method::PATCH, "/api/rooms/demo", body)).await.refused(400, code);
    }
    assert_eq!(house.store.revision(), before);
    house.delete("/api/rooms/demo").await;
    house.call(json_request(Method::PATCH, "/api/rooms/demo", "{}")).await.refused(409, "room_removing");
}

#[actix::test]
async fn schedule_and_backstage_are_shown() {
    let house = house().await;
    let at = |hours: u64| {
        let ms = crate::rooms::now().0 + hours * 3_600_000;
        crate::domain::civil_time::Rfc3339(crate::domain::ids::UnixMs(ms)).to_string()
    };
    let created =
        house.post("/api/rooms", json!({"roomId": "demo", "startsAt": at(1), "maxAnchors": 20})).await;
    assert_eq!((created.status, &created.json["room"]["status"]), (201, &json!("created")));
    assert!(created.json["room"]["startsAt"].is_string(), "{}", created.json);
    house
        .post("/api/rooms", json!({"startsAt": at(1), "start": true}))
        .await
        .refused(400, "invalid_room_field");
    let patch = |starts_at: Value| {
        json_request(Method::PATCH, "/api/rooms/demo", &json!({"startsAt": starts_at}).to_string())
    };
    for bad in ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
        house.call(patch(bad.into())).await.refused(400, "invalid_room_field");
    }
    let later = house.call(patch(at(2).into())).await;
    assert_eq!(later.status, 200);
    let opened = house.post("/api/rooms/demo/backstage", Value::Null).await;
    assert_eq!((opened.status, &opened.json["room"]["status"]), (200, &json!("backstage")));
    assert_eq!(opened.json["room"].get("startedAt"), None);
    assert_eq!(house.post("/api/rooms/demo/backstage", Value::Null).await.status, 200, "may be repeated");
    let listed = house.send(Method::GET, "/api/rooms?status=backstage").await;
    assert_eq!(listed.json["rooms"][0]["roomId"], "demo");
    let started = house.post("/api/rooms/demo/start", Value::Null).await;
    assert_eq!(
        (&started.json["room"]["status"], started.json["room"].get("startsAt")),
        (&json!("starting"), None)
    );
    house.post("/api/rooms/demo/backstage", Value::Null).await.refused(409, "room_on_air");
    house.call(patch(at(3).into())).await.refused(400, "immutable_field");
    house.post("/api/rooms/other/backstage", Value::Null).await.refused(404, "room_not_found");
}

#[actix::test]
async fn lists_are_filtered_in_pages() {
    let house = house().await;
    for (room, tag, owner) in
        [("a-1", "tea", "ann"), ("b-2", "jam", "ann"), ("c-3", "tea", "bob"), ("d-4", "tea", "ann")]
    {
        let fields = json!({"roomId": room, "tags": [tag], "owner": owner, "title": format!("Talk {room}")});
        assert_eq!(house.post("/api/rooms", fields).await.status, 201);
    }
    house.post("/api/rooms/d-4/start", Value::Null).await;
    let ids = async |query: &str| {
        let answer = house.send(Method::GET, &format!("/api/rooms?{query}")).await;
        let ids = answer.json["rooms"].as_array().unwrap().iter();
        (
            ids.map(|room| room["roomId"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
            answer.json["next"].clone(),
        )
    };
    assert_eq!(ids("tag=Tea").await.0, ["a-1", "c-3", "d-4"]);
    assert_eq!(ids("tag=tea&limit=2").await, (vec!["a-1".into(), "c-3".into()], json!("c-3")));
    assert_eq!(ids("tag=tea&limit=2&after=c-3").await, (vec!["d-4".into()], Value::Null));
    assert_eq!(ids("owner=ann&tag=tea").await.0, ["a-1", "d-4"]);
    assert_eq!(ids("status=starting").await.0, ["d-4"]);
    assert_eq!(ids("status=created&q=TALK").await.0, ["a-1", "b-2", "c-3"]);
    assert!(ids("q=nothing").await.0.is_empty());
    for (query, code) in [
        ("status=live", "invalid_query"),
        ("q=", "invalid_query"),
        ("tag=", "invalid_room_field"),
        ("owner=%00", "invalid_room_field"),
    ] {
        house.send(Method::GET, &format!("/api/rooms?{query}")).await.refused(400, code);
    }
}

#[actix::test]
async fn bad_bodies_change_nothing() {
    let house = house().await;
    let cases = [
        (r#"{"roomId": "demo""#, "invalid_json"),
        ("nonsense", "invalid_json"),
        ("[]", "invalid_body"),
        ("null", "invalid_body"),
        (r#""demo""#, "invalid_body"),
        (r#"{"roomId": 7}"#, "invalid_body"),
        (r#"{"start": "yes"}"#, "invalid_body"),
        (r#"{"roomid": "demo"}"#, "invalid_body"),
        (r#"{"roomId": "one", "roomId": "two"}"#, "invalid_body"),
        (r#"{"maxAnchors": 1.5}"#, "invalid_body"),
        (r#"{"roomId": "a/b"}"#, "invalid_room_id"),
        (r#"{"roomId": "a\nb"}"#, "invalid_room_id"),
        (r#"{"roomId": "a\u0000b"}"#, "invalid_room_id"),
        (r#"{"roomId": "ab"}"#, "invalid_room_id"),
        (r#"{"roomId": ""}"#, "invalid_room_id"),
        (r#"{"roomId": "räume"}"#, "invalid_room_id"),
        (r#"{"pin": "12345"}"#, "invalid_pin"),
        (r#"{"pin": "1234567"}"#, "invalid_pin"),
        (r#"{"pin": "12 456"}"#, "invalid_pin"),
        (r#"{"pin": 123456}"#, "invalid_body"),
        (r#"{"maxAnchors": 0}"#, "invalid_max_anchors"),
        (r#"{"maxAnchors": 21}"#, "invalid_max_anchors"),
        (r#"{"startsAt": 1769882400000}"#, "invalid_body"),
        (r#"{"startsAt": "soon"}"#, "invalid_room_field"),
        (r#"{"startsAt": "2020-01-01T00:00:00Z"}"#, "invalid_room_field"),
        (r#"{"startsAt": "2999-01-01T00:00:00Z"}"#, "invalid_room_field"),
        (r#"{"start": true, "backstage": true}"#, "invalid_body"),
        (r#"{"maxAnchors": -1}"#, "invalid_max_anchors"),
        (r#"{"maxAnchors": 300}"#, "invalid_max_anchors"),
    ];
    let before = house.store.revision();
    for (body, code) in cases {
        let answer = house.call(json_request(Method::POST, "/api/rooms", body)).await;
        assert_eq!((answer.status, &answer.json["code"]), (400, &json!(code)), "{body}");
    }
    let deep = "[".repeat(100_000 / 2);
    house.call(json_request(Method::POST, "/api/rooms", &deep)).await.refused(400, "invalid_json");
    assert_eq!(house.store.revision(), before);
    assert_eq!(house.post("/api/rooms", json!({"roomId": "demo"})).await.status, 201, "unharmed");
}

#[actix::test]
async fn bad_paths_and_queries_are_refused() {
    let house = house().await;
    for id in ["a%2Fb", "a%0Ab", "a%00b", "ab", "%FF%FE%FD", "a%20b", "..%2f..%2fetc", &"x".repeat(33)] {
        for (method, tail) in
            [(Method::GET, ""), (Method::DELETE, ""), (Method::POST, "/start"), (Method::POST, "/stop")]
        {
            let answer = house.send(method, &format!("/api/rooms/{id}{tail}")).await;
            answer.refused(400, "invalid_room_id");
        }
    }
    for query in ["limit=0", "limit=1001", "limit=x", "limit=-1", "offset=3", "limit=1&limit=2"] {
        house.send(Method::GET, &format!("/api/rooms?{query}")).await.refused(400, "invalid_query");
    }
    house.send(Method::GET, "/api/rooms?after=a%2Fb").await.refused(400, "invalid_room_id");
    for path in
        ["/api", "/api/", "/api/nothing", "/api/rooms/", "/api/rooms/demo/users/7/x", "/api/rooms//start"]
    {
        house.send(Method::GET, path).await.refused(404, "not_found");
    }
}

#[actix::test]
async fn unknown_rooms_get_404_existing_409() {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "demo"})).await;
    house.post("/api/rooms", json!({"roomId": "demo"})).await.refused(409, "room_exists");
    house.send(Method::GET, "/api/rooms/other").await.refused(404, "room_not_found");
    house.send(Method::DELETE, "/api/rooms/other").await.refused(404, "room_not_found");
    house.post("/api/rooms/other/start", Value::Null).await.refused(404, "room_not_found");
    house.post("/api/rooms/other/stop", Value::Null).await.refused(404, "room_not_found");
    house.post("/api/token", json!({"roomId": "other"})).await.refused(404, "room_not_found");
}

#[actix::test]
async fn start_without_capacity_names_reasons() {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "demo"})).await;
    house.put("/api/modules/januses/one/mark", json!({"label": "draining"})).await;
    let before = house.store.revision();
    let refused = house.post("/api/rooms/demo/start", Value::Null).await;
    refused.refused(503, "no_janus_available");
    assert_eq!(refused.header("retry-after"), "5");
    assert_eq!(refused.json["details"]["considered"], json!([{"id": "one", "reason": "marked draining"}]));
    house.post("/api/rooms", json!({"start": true})).await.refused(503, "no_janus_available");
    assert_eq!(house.store.revision(), before, "nothing was written");
    house.send(Method::DELETE, "/api/modules/januses/one/mark").await;
    house.put("/api/modules/mixers/one/mark", json!({"label": "cordon", "ttl": 60})).await;
    house.post("/api/rooms/demo/start", Value::Null).await.refused(503, "no_mixer_available");
}

#[actix::test]
async fn store_failure_is_retryable_503() {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "demo"})).await;
    (0..20).for_each(|_| house.store.fail_next(Fault::Conflict));
    house.post("/api/rooms/demo/start", Value::Null).await.refused(503, "busy");
    house.store.set_down(true);
    for (method, path) in [
        (Method::POST, "/api/rooms"),
        (Method::POST, "/api/rooms/demo/start"),
        (Method::POST, "/api/rooms/demo/stop"),
        (Method::DELETE, "/api/rooms/demo"),
        (Method::GET, "/api/rooms/unheard-of"),
        (Method::DELETE, "/api/modules/mixers/one/mark"),
    ] {
        let answer = house.send(method, path).await;
        answer.refused(503, "store_unavailable");
        assert_eq!(answer.header("retry-after"), "2");
        assert!(!answer.text.contains("switched off"), "{}", answer.text);
    }
    house
        .put("/api/modules/mixers/one/mark", json!({"label": "ready"}))
        .await
        .refused(503, "store_unavailable");
    house.post("/api/token", json!({"roomId": "unheard-of"})).await.refused(503, "store_unavailable");
    assert_eq!(house.send(Method::GET, "/api/rooms/demo").await.status, 200, "what is known is told");
}

#[actix::test]
async fn corrupt_store_value_is_internal_error() {
    let house = house().await;
    house.store.put_now("/rooms/demo/meta", r#"{"pin": 123456}"#);
    let answer = house.send(Method::GET, "/api/rooms/demo").await;
    answer.refused(500, "internal");
    assert!(!answer.text.contains("123456"));
}

#[actix::test]
async fn modules_are_shown_marked_and_counted() {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "demo", "start": true})).await;
    let done = house.put("/api/modules/mixers/one/mark", json!({"label": "draining", "ttl": 60})).await;
    assert_eq!((done.status, done.json), (200, json!({"success": true})));
    let modules = house.send(Method::GET, "/api/modules").await.json;
    let mixer = &modules["mixers"][0];
    assert_eq!((&mixer["mark"], &mixer["pickable"]), (&json!("draining"), &json!(false)));
    assert_eq!((&mixer["reason"], &mixer["load"]), (&json!("marked draining"), &json!(1)));
    assert_eq!(modules["januses"][0]["pickable"], true);
    let stats = house.send(Method::GET, "/api/stats").await.json;
    assert_eq!((&stats["rooms"]["total"], &stats["rooms"]["starting"]), (&json!(1), &json!(1)));
    assert_eq!(stats["mixers"], json!({"known": 1, "healthy": 1, "pickable": 0, "capacity": 50, "load": 1}));
}

#[actix::test]
async fn bad_marks_are_refused() {
    let house = house().await;
    let before = house.store.revision();
    for (path, body, status, code) in [
        ("mixers/nobody", json!({"label": "ready"}), 404, "module_not_found"),
        ("others/one", json!({"label": "ready"}), 404, "not_found"),
        ("mixers/o%2Fne", json!({"label": "ready"}), 400, "invalid_module_id"),
        ("mixers/o%00ne", json!({"label": "ready"}), 400, "invalid_module_id"),
        ("mixers/one", json!({"label": "sleepy"}), 400, "invalid_body"),
        ("mixers/one", json!({}), 400, "invalid_body"),
        ("mixers/one", json!({"label": "ready", "ttl": 0}), 400, "invalid_ttl"),
        ("mixers/one", json!({"label": "ready", "ttl": 604801}), 400, "invalid_ttl"),
        ("mixers/one", json!({"label": "ready", "ttl": "1h"}), 400, "invalid_body"),
    ] {
        house.put(&format!("/api/modules/{path}/mark"), body).await.refused(status, code);
    }
    house.send(Method::DELETE, "/api/modules/others/one/mark").await.refused(404, "not_found");
    house.send(Method::DELETE, "/api/modules/mixers/o%2Fne/mark").await.refused(400, "invalid_module_id");
    // One entry was written, in two transactions: the request about `mixers/nobody`, and then its outcome.
    assert_eq!(house.store.revision(), before + 2);
}

#[actix::test]
async fn listener_tokens_are_for_one_known_room() {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "demo"})).await;
    let issued = house.post("/api/token", json!({"roomId": "demo"})).await;
    let listen =
        format!("https://live.example.org/listen/demo#token={}", issued.json["token"].as_str().unwrap());
    assert_eq!(issued.json["listenUrl"], listen);
    let told = claims(&issued.json["token"]);
    assert_eq!((issued.status, &told["role"], &told["roomId"]), (200, &json!("listener"), &json!("demo")));
    assert!(issued.json["expiresAt"].as_u64().unwrap() > 1_600_000_000_000);
    house.post("/api/token", json!({"roomId": "a/b"})).await.refused(400, "invalid_room_id");
    house.post("/api/token", json!({})).await.refused(400, "invalid_body");
    house.send(Method::POST, "/api/token").await.refused(400, "invalid_body");
}

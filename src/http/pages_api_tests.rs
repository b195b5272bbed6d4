//! Tests of the answers to pages, in open mode and otherwise.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use actix_web::{App, test, web};
use serde_json::{Value, json};

use super::*;
use crate::http::rest::tests::house::{House, claims, house, json_request};
use crate::store::Store;

const GATEWAY: &str = "wss://live.example.org/ws";

#[actix::test]
async fn open_mode_lists_rooms_and_issues_tokens() {
    let house = on_air().await;
    let listed = ask(&house, true, TestRequest::get().uri("/pages/rooms")).await;
    let since = listed.json["rooms"][0]["onAirSince"].as_u64().unwrap();
    assert!(since > 1_600_000_000_000);
    let room = json!({"roomId": "demo", "anchors": 1, "listeners": 0, "onAirSince": since});
    let expected = json!({"open": true, "wsUrl": GATEWAY, "rooms": [room]});
    assert_eq!((listed.status, listed.json), (200, expected), "rooms that are off air are not listed");
    let listener = token(&house, "demo", json!({"role": "listener"})).await;
    let told = claims(&listener.json["token"]);
    assert_eq!((listener.status, &told["role"], &told["roomId"]), (200, &json!("listener"), &json!("demo")));
    let anchor = token(&house, "demo", json!({"role": "anchor", "name": "Änne  Lee 🎙"})).await;
    let id = anchor.json["userId"].as_str().unwrap();
    assert!(id.starts_with("nne-lee-") && id.len() == 14, "{id}");
    let told = claims(&anchor.json["token"]);
    assert_eq!(
        (&told["role"], told["sub"].as_str(), &told["roomId"]),
        (&json!("anchor"), Some(id), &json!("demo"))
    );
    let host = token(&house, "demo", json!({"role": "host"})).await;
    assert_eq!(claims(&host.json["token"])["role"], "host");
    let known = house.rooms.users(&RoomId::new("demo").unwrap()).await.unwrap();
    assert_eq!(known.len(), 2, "the list names every user with a token");
}

#[actix::test]
async fn keys_mode_pages_get_only_gateway_url() {
    let house = on_air().await;
    let settings = json!({"open": false, "wsUrl": GATEWAY});
    let config = ask(&house, false, TestRequest::get().uri("/pages/config")).await;
    assert_eq!((config.status, config.json, config.caching), (200, settings, "no-store".into()));
    let rooms = ask(&house, false, TestRequest::get().uri("/pages/rooms")).await;
    assert_eq!((rooms.status, &rooms.json["rooms"], &rooms.json["open"]), (200, &json!([]), &json!(false)));
    for role in ["listener", "anchor", "host"] {
        let request =
            json_request(Method::POST, "/pages/rooms/demo/token", &json!({ "role": role }).to_string());
        let refused = ask(&house, false, request).await;
        assert_eq!((refused.status, &refused.json["code"]), (403, &json!("pages_closed")));
        assert!(refused.json["error"].as_str().unwrap().contains("inviteUrl"), "the remedy is named");
    }
    assert!(house.rooms.users(&RoomId::new("demo").unwrap()).await.unwrap().is_empty());
}

#[actix::test]
async fn bad_requests_get_their_codes() {
    let house = on_air().await;
    for (room, body, status, code) in [
        ("demo", json!({}), 400, "invalid_body"),
        ("demo", json!({"role": "king"}), 400, "invalid_body"),
        ("demo", json!({"role": "anchor", "name": "a\nb"}), 400, "invalid_name"),
        ("demo", json!({"role": "anchor", "name": "x".repeat(65)}), 400, "invalid_name"),
        ("a%2Fb", json!({"role": "anchor"}), 400, "invalid_room_id"),
        ("other", json!({"role": "anchor"}), 404, "room_not_found"),
        ("other", json!({"role": "listener"}), 404, "room_not_found"),
    ] {
        let refused = token(&house, room, body.clone()).await;
        assert_eq!((refused.status, &refused.json["code"]), (status, &json!(code)), "{room} {body}");
    }
    for (method, path, status) in [
        (Method::POST, "/pages/config", 405),
        (Method::DELETE, "/pages/rooms", 405),
        (Method::GET, "/pages/rooms/demo/token", 405),
        (Method::GET, "/pages/nothing", 404),
    ] {
        let answer = ask(&house, true, TestRequest::default().method(method).uri(path)).await;
        assert_eq!(answer.status, status, "{path}");
    }
}

#[actix::test]
async fn foreign_pages_get_nothing() {
    let house = on_air().await;
    for request in [
        TestRequest::get().uri("/pages/rooms"),
        json_request(Method::POST, "/pages/rooms/demo/token", r#"{"role":"host"}"#),
    ] {
        let foreign = request.insert_header(("origin", "https://evil.example"));
        let answer = ask(&house, true, foreign.insert_header(("host", "127.0.0.1:8080"))).await;
        assert_eq!((answer.status, &answer.json["code"]), (403, &json!("origin_not_allowed")));
    }
}

#[actix::test]
async fn pages_report_missing_gateway() {
    let house = on_air().await;
    for (path, rest) in [("/pages/config", json!({})), ("/pages/rooms", json!({"rooms": []}))] {
        let mut expected = json!({"open": false, "wsUrl": null});
        expected.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let answer = ask_at(None, &house, false, TestRequest::get().uri(path)).await;
        assert_eq!((answer.status, answer.json), (200, expected), "{path}");
    }
}

struct Answer {
    status: u16,
    caching: String,
    json: Value,
}

/// Returns an API with two rooms: `demo` is on air, `idle` is not.
async fn on_air() -> House {
    let house = house().await;
    house.post("/api/rooms", json!({"roomId": "idle"})).await;
    let room = house.post("/api/rooms", json!({"roomId": "demo", "start": true})).await.json;
    let epoch = &room["room"]["epoch"];
    let janus =
        json!({"id": "one", "janusRoomId": 1, "status": "forwarding", "timestamp": 1, "epoch": epoch});
    let mixer = json!({"id": "one", "ip": "127.0.0.1", "port": 1, "hlsUrl": "http://m", "epoch": epoch});
    house.store.put_now("/rooms/demo/janus", &janus.to_string());
    house.store.put_now("/rooms/demo/mixer", &mixer.to_string());
    house
}

async fn token(house: &House, room: &str, body: Value) -> Answer {
    let path = format!("/pages/rooms/{room}/token");
    ask(house, true, json_request(Method::POST, &path, &body.to_string())).await
}

async fn ask(house: &House, open: bool, request: TestRequest) -> Answer {
    ask_at(Some(GATEWAY), house, open, request).await
}

async fn ask_at(gateway: Option<&str>, house: &House, open: bool, request: TestRequest) -> Answer {
    let side = web::Data::new(PagesSide {
        open,
        ws_url: gateway.map(str::to_owned),
        rooms: house.rooms.clone(),
        tokens: house.api.tokens.clone(),
        anchors: house.api.anchors.clone(),
        listeners: house.api.listeners.clone(),
        origins: Origins::default(),
        recording: RecordingMode::OnRequest,
        consent: true,
        body_limit: BodyLimit::Fixed(1024),
    });
    let app = test::init_service(App::new().configure(|config| configure(config, side))).await;
    let answer = test::call_service(&app, request.to_request()).await;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let caching = headers.get(CACHE_CONTROL).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = test::read_body(answer).await;
    Answer { status, caching, json: serde_json::from_slice(&body).unwrap_or(Value::Null) }
}

#[actix::test]
async fn recording_notice_needs_no_token() {
    let house = on_air().await;
    let notice = async |room: &str| {
        let path = format!("/pages/rooms/{room}/recording");
        ask(&house, false, TestRequest::get().uri(&path)).await.json
    };
    assert_eq!(notice("demo").await, json!({ "recorded": false, "consentRequired": true }));
    let live = house.store.get("/rooms/demo/livemeta").await.unwrap().unwrap();
    let live: Value = serde_json::from_slice(&live.value).unwrap();
    let request = json!({ "id": "0123456789abcdef", "nonce": live["nonce"], "since": 1 });
    house.store.put_now("/rooms/demo/recording", &request.to_string());
    assert_eq!(notice("demo").await["recorded"], true);
    assert_eq!(notice("unknown").await, json!({ "recorded": false, "consentRequired": true }));
}

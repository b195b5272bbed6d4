//! Floods of rooms, users and tokens, by one API key and from one address.

use serde_json::{Value, json};

use crate::support::abuse_table::withstood;
use crate::support::node::{Answer, Node, request};
use crate::support::{PATIENCE, until};

const ROOT: &str = "a-key-of-the-tests-0123456789";
const KEYS: [(&str, &str); 2] = [("auth.mode", "keys"), ("auth.api_keys", ROOT)];

#[actix::test]
async fn floods_of_one_key_end_at_quota() {
    let node = Node::start(&KEYS).await;
    let quotas = json!({ "rooms": 3, "usersPerRoom": 4, "tokensPerMinute": 40 });
    let made =
        node.post("/api/keys", json!({ "name": "m", "scopes": ["rooms", "users"], "quotas": quotas })).await;
    let key = made.json()["secret"].as_str().expect("a key").to_owned();
    let other = node.post("/api/keys", json!({ "name": "o", "scopes": ["rooms", "users"] })).await;
    let other = other.json()["secret"].as_str().expect("a key").to_owned();
    let ask = async |key: &str, path: &str, body: Value| {
        let bearer = format!("Bearer {key}");
        request("POST", &format!("{}{path}", node.api), &[("authorization", &bearer)], Some(body)).await
    };
    let count = |answers: &[Answer], status| answers.iter().filter(|answer| answer.status == status).count();
    let flood = async |path: &str, body: fn(usize) -> Value, times: usize| {
        futures::future::join_all((0..times).map(|n| ask(&key, path, body(n)))).await
    };
    let rooms = flood("/api/rooms", |n| json!({ "roomId": format!("room-{n}") }), 30).await;
    assert_eq!((count(&rooms, 201), count(&rooms, 403)), (3, 27), "{rooms:?}");
    let made = rooms.iter().find(|answer| answer.status == 201).unwrap().json();
    let room = made["room"]["roomId"].as_str().unwrap().to_owned();
    let users = format!("/api/rooms/{room}/users");
    let users = flood(&users, |n| json!({ "role": "anchor", "userId": format!("user-{n}") }), 12).await;
    assert_eq!((count(&users, 201) + count(&users, 200), count(&users, 403)), (4, 8), "{users:?}");
    let mut tokens = Vec::new();
    while count(&tokens, 429) == 0 {
        assert!(tokens.len() < 60, "{tokens:?}");
        tokens.push(ask(&key, "/api/token", json!({ "roomId": room })).await);
    }
    let refused = tokens.last().unwrap();
    assert_eq!(refused.code(), "token_quota_exceeded");
    let wait: u64 = refused.header("retry-after").expect("a time").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");

    assert_eq!(ask(&other, "/api/rooms", json!({ "roomId": "another" })).await.status, 201);
    assert_eq!(ask(&other, "/api/token", json!({ "roomId": "another" })).await.status, 200);
    withstood(
        "floods of rooms, users and tokens by one API key",
        "403 and 429 with Retry-After, at the quota of the key",
        "another key creates rooms and tokens",
    );
}

#[actix::test]
async fn event_streams_are_bounded() {
    const MOST: usize = 100;
    let node = Node::start(&KEYS).await;
    let open = async || {
        let client = awc::Client::builder().disable_timeout().finish();
        let stream = client.get(format!("{}/api/events", node.api)).timeout(PATIENCE);
        let stream = stream.insert_header(("authorization", format!("Bearer {ROOT}")));
        stream.insert_header(("accept", "text/event-stream")).send().await.expect("an answer")
    };
    until("the node has read the ledger", async || node.get("/api/events").await.status == 200).await;
    let mut deaf = Vec::new();
    for n in 0..MOST {
        let stream = open().await;
        assert_eq!(stream.status().as_u16(), 200, "stream {n}");
        deaf.push(stream);
    }
    assert_eq!(open().await.status().as_u16(), 503);
    assert_eq!(node.post("/api/rooms", json!({ "roomId": "another" })).await.status, 201);
    let has_event = async || node.get("/api/events?room=another").await.json()["events"][0].is_object();
    until("a page has the event", has_event).await;
    drop(deaf);
    until("a stream is free", async || open().await.status().as_u16() == 200).await;
    withstood(
        "streams of events that nobody reads",
        "503 with Retry-After from the 101st on",
        "rooms are created, and pages of events are read",
    );
}

#[actix::test]
async fn requests_of_one_key_are_limited() {
    let node = Node::start(&[&[("http.requests_per_key", "10")], &KEYS[..]].concat()).await;
    let made = async |name: &str| {
        let made = node.post("/api/keys", json!({ "name": name, "scopes": ["read"] })).await.json();
        format!("Bearer {}", made["secret"].as_str().expect("a key"))
    };
    let (key, other) = (made("m").await, made("o").await);
    let list = async |bearer: &str| {
        request("GET", &format!("{}/api/rooms", node.api), &[("authorization", bearer)], None).await
    };
    let answers = futures::future::join_all((0..100).map(|_| list(&key))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!refused.is_empty() && answers.iter().all(|answer| matches!(answer.status, 200 | 429)));
    for answer in refused {
        assert_eq!(answer.code(), "too_many_requests");
        assert!(answer.header("retry-after").is_some_and(|after| after.parse::<u64>().is_ok_and(|s| s > 0)));
    }
    assert_eq!(list(&other).await.status, 200);
    withstood("a flood of requests with one API key", "429 with Retry-After", "another key is served");
}

#[actix::test]
async fn floods_of_one_address_are_limited() {
    // Loopback is not limited, so the clients are behind a proxy.
    let limits = [("http.requests_per_address", "20"), ("http.trusted_proxies", "127.0.0.1")];
    let node = Node::start(&[&limits[..], &KEYS[..]].concat()).await;
    let bearer = format!("Bearer {ROOT}");
    let create = async |from: &str, n: usize| {
        let headers = [("x-forwarded-for", from), ("authorization", &bearer)];
        let room = json!({ "roomId": format!("room-{n}") });
        request("POST", &format!("{}/api/rooms", node.api), &headers, Some(room)).await
    };
    let rooms = futures::future::join_all((0..200).map(|n| create("198.51.100.7", n))).await;
    let limited: Vec<_> = rooms.iter().filter(|answer| answer.status == 429).collect();
    assert!(!limited.is_empty(), "{rooms:?}");
    for answer in limited {
        assert_eq!(answer.code(), "too_many_requests");
        assert!(answer.header("retry-after").is_some_and(|after| after.parse::<u64>().is_ok_and(|s| s > 0)));
    }
    assert!(rooms.iter().all(|answer| matches!(answer.status, 201 | 429)));
    assert_eq!(create("198.51.100.8", 1_000).await.status, 201, "another address");
    withstood(
        "floods of new rooms from one address",
        "429 with Retry-After",
        "another address creates a room",
    );
}

//! API keys on nodes that share an etcd: scopes, revocation, quotas, a store outage, and operations endpoints
//! that are not on loopback.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::rooms::on_etcd;
use crate::support::etcd::Etcd;
use crate::support::node::{Answer, Node, request};
use crate::support::until;

const KEY: &str = "a-key-of-the-tests-0123456789";
const SETTINGS: [(&str, &str); 3] = [("node.roles", "rooms"), ("auth.mode", "keys"), ("auth.api_keys", KEY)];

#[actix::test]
async fn api_keys_work_on_all_nodes() {
    let mut etcd = Etcd::start();
    let endpoint = etcd.endpoint();
    let settings = on_etcd(&endpoint, &SETTINGS);
    let (one, other) = futures::join!(Node::start(&settings), Node::start(&settings));

    let (id, writer) = create(&one, json!({ "name": "writer", "scopes": ["rooms", "read"] })).await;
    until("the other node knows the key", async || status(&other, &writer, "GET", "/api/stats").await == 200)
        .await;
    let refused = ask(&other, &writer, "POST", "/api/token", Some(json!({ "roomId": "tea" }))).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "scope_missing"), "{}", refused.text());

    // Requests to two nodes at once cannot exceed the key's quota of rooms.
    let body = json!({ "name": "app", "scopes": ["rooms"], "quotas": { "rooms": 5 } });
    let (_, bounded) = create(&other, body).await;
    until("the first node knows the key", async || {
        status(&one, &bounded, "GET", "/api/openapi.json").await == 200
    })
    .await;
    let creations = (0..12).map(|n| {
        let node = if n % 2 == 0 { &one } else { &other };
        let body = json!({ "roomId": format!("room-{n}") });
        let bounded = &bounded;
        async move { ask(node, bounded, "POST", "/api/rooms", Some(body)).await }
    });
    let made = join_all(creations).await;
    assert_eq!(made.iter().filter(|made| made.status == 201).count(), 5);
    for refused in made.iter().filter(|made| made.status != 201) {
        assert_eq!((refused.status, refused.code().as_str()), (403, "quota_exceeded"), "{}", refused.text());
        assert_eq!(refused.json()["details"], json!({ "quota": "rooms", "limit": 5 }));
    }
    assert_eq!(one.get("/api/rooms").await.json()["rooms"].as_array().unwrap().len(), 5);

    // Without the store, known keys still work, and keys can be neither created nor revoked.
    etcd.stop();
    until("the node has lost the store", async || {
        let keys = one.state_of("api_key_watch").await;
        keys["state"] == "lost"
    })
    .await;
    assert_eq!(status(&one, &writer, "GET", "/api/rooms").await, 200);
    let revoke = format!("/api/keys/{id}");
    let refused = ask(&one, KEY, "DELETE", &revoke, None).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"), "{}", refused.text());
    assert_eq!(status(&one, &format!("{}x", &writer[..writer.len() - 1]), "GET", "/api/rooms").await, 401);
    etcd.run();

    until("the key is revoked", async || status(&one, KEY, "DELETE", &revoke).await == 200).await;
    assert_eq!(status(&one, &writer, "GET", "/api/rooms").await, 401);
    until("the other node refuses the key", async || {
        status(&other, &writer, "GET", "/api/rooms").await == 401
    })
    .await;
    for node in [&one, &other] {
        for secret in [&writer, &bounded] {
            let secret = secret.rsplit('_').next().unwrap();
            assert!(!node.output().contains(secret), "a key is in the log");
        }
    }
}

#[actix::test]
async fn remote_operations_need_a_key() {
    let node = Node::start(&[&SETTINGS[..], &[("listen.ops", "0.0.0.0:0")]].concat()).await;
    let problems = node.problems();
    assert!(problems.iter().any(|line| line.contains("listen.ops is not on loopback")), "{problems:?}");
    let ops = node.ops.replace("0.0.0.0", "127.0.0.1");
    let (_, reader) = create(&node, json!({ "name": "reader", "scopes": ["read"] })).await;
    let (_, operator) = create(&node, json!({ "name": "Prometheus", "scopes": ["operations"] })).await;
    let ask = async |path: &str, key: Option<&str>| {
        let authorization = key.map(|key| format!("Bearer {key}"));
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
        request("GET", &format!("{ops}{path}"), &headers, None).await
    };
    for path in ["/metrics", "/actors", "/"] {
        assert_eq!(ask(path, None).await.status, 401, "{path}");
        let refused = ask(path, Some(&reader)).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "scope_missing"), "{path}");
        assert_eq!(ask(path, Some(&operator)).await.status, 200, "{path}");
        assert_eq!(ask(path, Some(KEY)).await.status, 200, "{path}");
    }
    assert_eq!(ask("/livez", None).await.status, 200);
    assert!(ask("/readyz", None).await.json()["checks"].is_null());
    assert!(ask("/readyz", Some(&operator)).await.json()["checks"].is_array());
    let reload = request("POST", &format!("{ops}/reload"), &[], Some(json!({}))).await;
    assert_eq!(reload.status, 401);
}

/// Creates an API key; returns its id and the key itself.
async fn create(node: &Node, body: Value) -> (String, String) {
    let made = ask(node, KEY, "POST", "/api/keys", Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made["key"]["id"]), text(&made["secret"]))
}

async fn status(node: &Node, key: &str, method: &str, path: &str) -> u16 {
    ask(node, key, method, path, None).await.status
}

async fn ask(node: &Node, key: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
    let authorization = format!("Bearer {key}");
    request(method, &format!("{}{path}", node.api), &[("authorization", &authorization)], body).await
}

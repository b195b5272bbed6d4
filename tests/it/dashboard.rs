//! The operators' dashboard of a real node: server-sent events, actions, the audit log, and the page in a
//! browser.

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};

use crate::support::browser;
use crate::support::node::{Node, request};
use crate::support::until;

const KEY: &str = "sixteen-letters-1";

#[actix::test]
async fn page_follows_rooms_and_acts() {
    let node = Node::start(&[("auth.mode", "keys"), ("auth.api_keys", KEY)]).await;
    let seen = browser::dashboard(&node.ops, &node.api, KEY).await;
    assert_eq!(seen["errors"], json!([]), "{seen:#}");
    for screen in seen["screens"].as_array().unwrap() {
        for (view, pixels) in screen["tooWide"].as_object().unwrap() {
            assert_eq!(*pixels, 0, "{view} on {}", screen["name"]);
        }
    }
    let steps = &seen["steps"];
    assert_eq!((&steps["label"], &steps["refused"]), (&"–".into(), &"the API key is not valid".into()));
    assert_eq!(steps["operator"], "key of the configuration");
    let modules = node.get("/api/modules").await.json();
    assert!(modules["mixers"][0]["mark"].as_str().unwrap().starts_with("drain"), "{modules}");
    let log = request("GET", &format!("{}/audit", node.ops), &[], None).await.json();
    let entries = log["entries"].as_array().unwrap();
    assert_eq!(entries[0]["action"]["label"], "draining", "{log:#}");
    // The script confirms a restart again while the node refuses it, because the actor has just started.
    let done = entries.iter().filter(|entry| entry["outcome"]["result"] == "done");
    let actions: Vec<_> = done.map(|entry| entry["action"]["action"].as_str().unwrap()).collect();
    let all = ["set_label", "set_label", "clear_label", "restart_actor", "reconcile", "stop_room"];
    assert_eq!(actions, all, "{log:#}");
    assert_eq!(steps["confirmations"].as_array().unwrap().len(), 5, "{steps:#}");
    let by = |entry: &Value| entry["operator"]["name"] == "key of the configuration";
    assert!(entries.iter().all(by), "{log:#}");
    assert_eq!(modules["januses"][0]["mark"], Value::Null);
}

#[actix::test]
async fn stream_shows_rooms_and_ends_with_node() {
    let mut node = Node::start(&[]).await;
    let mut stream = awc::Client::builder()
        .timeout(Duration::from_secs(60))
        .finish()
        .get(format!("{}/dashboard/live", node.ops))
        .send()
        .await
        .unwrap();
    assert_eq!(stream.headers().get("content-type").unwrap(), "text/event-stream");
    node.room_on_air("demo").await;
    let mut text = String::new();
    let wanted = ["event: history", "\"status\":\"onair\"", "\"sample\":{\"at\""];
    while !wanted.iter().all(|wanted| text.contains(wanted)) {
        text += &String::from_utf8_lossy(&stream.next().await.unwrap().unwrap());
    }
    assert!(!text.contains("\"pin\""), "{text}");
    // No login is needed, because `auth.mode` is `open`.
    let act = async |action: Value| {
        request("POST", &format!("{}/dashboard/actions", node.ops), &[], Some(action)).await
    };
    assert_eq!(act(json!({ "action": "reconcile" })).await.status, 200);
    until("the watches have listed again", async || {
        let watches = node.states_of("store_watch").await;
        let listed = |watch: &Value| watch["state"] == "following";
        watches.len() == 3 && watches.iter().all(listed)
    })
    .await;
    let mixer = node.states_of("mixer_room").await[0]["path"].as_str().unwrap().to_owned();
    assert_eq!(act(json!({ "action": "restart_actor", "path": "node" })).await.code(), "actor_not_restarted");
    until("the mixer room is old enough to be restarted", async || {
        let started_at = node.state_of("mixer_room").await["started_at"].as_u64().unwrap();
        stentor::rooms::now().0 > started_at + 10_000
    })
    .await;
    assert_eq!(act(json!({ "action": "restart_actor", "path": mixer })).await.status, 200);
    until("the mixer room has restarted", async || {
        node.state_of("mixer_room").await["restarts"]["failed"] == 1
    })
    .await;
    assert_eq!(act(json!({ "action": "stop_room", "room": "demo" })).await.status, 200);
    node.until_status("demo", "created").await;
    assert!(node.stop().success());
    while let Some(Ok(_)) = stream.next().await {}
}

//! The event ledger of real nodes: exactly the events of a room's life, in order, as pages and as a stream;
//! the events of raised hands and of single mutes.

use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};
use stentor::auth::Role;

use crate::channel::send;
use crate::rooms::node_on_etcd;
use crate::support::abuse_table::withstood;
use crate::support::etcd::Etcd;
use crate::support::node::{Node, request};
use crate::support::stage::{ROOM, Stage, token};
use crate::support::until;

const LIFE: [&str; 5] = ["room_created", "room_started", "room_ended", "room_deleted", "room_created"];
const EVENT_WITHIN: Duration = Duration::from_secs(60);

#[actix::test]
async fn ledger_follows_room_embedded() {
    let mut node = Node::start(&[("node.roles", "rooms,janus,mixer,hls,gateway")]).await;
    live_and_die(&node, &node.api).await;
    let before = events(&node.api, "room=first").await;
    node.kill();
    node.run();
    node.ready().await;
    assert_eq!(events(&node.api, "room=first").await, before, "the ledger outlives the node");
}

#[actix::test]
async fn ledger_follows_room_etcd() {
    let etcd = Etcd::start();
    let node = node_on_etcd(&etcd, &[]).await;
    let reader = node_on_etcd(&etcd, &[("node.roles", "rooms")]).await;
    live_and_die(&node, &reader.api).await;
    assert_eq!(events(&node.api, "").await, events(&reader.api, "").await, "one order for all nodes");
}

#[actix::test]
async fn hands_and_mutes_are_reported() {
    let stage = Stage::pair(&[]).await;
    let node = &stage.one;
    let mut host = stage.connect_host(0, "hera").await;
    let mut bert = stage.connect(1, "bert", "").await;
    let (_, _at_host) = host.speak(0).await;
    let (_, _at_bert) = bert.speak(660).await;
    let new = json!({ "roomId": ROOM, "userId": "lena", "name": "Lena" });
    let lena = node.post("/api/token", new).await.json();
    let (lena, person) = (lena["token"].as_str().unwrap(), lena["personId"].as_str().unwrap());
    let as_host = token("hera", Role::Host);
    let path = format!("hands/{person}/invitation");
    let steps = [
        (lena, "POST", "hand", json!({ "note": "about tea" }), "hand_raised"),
        (&as_host, "PUT", &path, Value::Null, "stage_invited"),
        (lena, "DELETE", "hand", Value::Null, "hand_lowered"),
    ];
    let of_kind = async |kind| events(&node.api, &format!("room={ROOM}&type={kind}")).await;
    for (token, method, path, body, kind) in steps {
        let answer = send(&node.hls, token, method, path, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        until(kind, async || of_kind(kind).await.len() == 1).await;
    }
    let raised = of_kind("hand_raised").await[0]["data"].clone();
    assert_eq!(
        (&raised["userId"], &raised["personId"], &raised["displayName"], &raised["note"]),
        (&json!("lena"), &json!(person), &json!("Lena"), &json!("about tea"))
    );

    // The second call changes nothing, and has no event.
    for method in ["mute", "mute", "unmute"] {
        host.call(method, json!({ "userId": "bert" })).await.unwrap();
    }
    bert.call("mute", json!({})).await.unwrap();
    for kind in ["anchor_muted", "anchor_unmuted"] {
        until(kind, async || !of_kind(kind).await.is_empty()).await;
        let data: Vec<_> = of_kind(kind).await.iter().map(|event| event["data"].clone()).collect();
        assert_eq!(data, [json!({ "userId": "bert", "by": "hera" })], "{kind}");
    }
}

#[actix::test]
async fn flood_of_hands_is_bounded() {
    let node = Node::start(&[("node.roles", "rooms,janus,mixer,hls,gateway")]).await;
    node.room_on_air(ROOM).await;
    let token = async |user: usize| {
        let new = json!({ "roomId": ROOM, "userId": format!("user-{user}"), "name": "Ann" });
        node.post("/api/token", new).await.json()["token"].as_str().unwrap().to_owned()
    };
    let people = futures::future::join_all((0..30).map(token)).await;
    let began = Instant::now();
    for _ in 0..3 {
        let raise = people.iter().map(|ann| send(&node.hls, ann, "POST", "hand", json!({})));
        futures::future::join_all(raise).await;
        let lower = people.iter().map(|ann| send(&node.hls, ann, "DELETE", "hand", Value::Null));
        futures::future::join_all(lower).await;
    }
    let raise = people.iter().map(|ann| send(&node.hls, ann, "POST", "hand", json!({})));
    let raised = futures::future::join_all(raise).await;
    assert!(raised.iter().all(|answer| answer.status == 200), "{raised:?}");
    let hands = async || {
        let page = node.get(&format!("/api/events?room={ROOM}&limit=1000")).await.json();
        let kinds = page["events"].as_array().unwrap().iter().map(|event| event["type"].clone());
        kinds.filter(|kind| *kind == "hand_raised" || *kind == "hand_lowered").collect::<Vec<_>>()
    };
    let up = |hands: &[Value]| hands.iter().filter(|kind| **kind == "hand_raised").count();
    until("all hands are reported", async || {
        let hands = hands().await;
        2 * up(&hands) - hands.len() == people.len()
    })
    .await;
    // One comparison at the beginning and one every two seconds, of ten events each.
    let most = 10 * (1 + began.elapsed().as_secs() / 2) as usize;
    assert!(hands().await.len() <= most, "{} events, at most {most} expected", hands().await.len());
    withstood(
        "listeners who raise and lower hands without end",
        "10 events in 2 seconds",
        "the ledger is bounded",
    );
}

/// Creates, starts, stops and deletes a room at `node`, and reads the ledger at `api`.
async fn live_and_die(node: &Node, api: &str) {
    let mut stream = Stream::open(api, "0").await;
    node.room_on_air("first").await;
    assert_eq!(node.post("/api/rooms/first/start", Value::Null).await.status, 200, "changes nothing");
    assert_eq!(node.post("/api/rooms/first/stop", Value::Null).await.status, 200);
    node.until_status("first", "created").await;
    assert_eq!(node.delete("/api/rooms/first").await.status, 200);
    assert_eq!(node.post("/api/rooms", json!({ "roomId": "second" })).await.status, 201);

    let mut streamed = Vec::new();
    for kind in LIFE {
        let event = stream.next().await;
        assert_eq!(event["type"], kind, "{event}");
        streamed.push(event);
    }
    assert_eq!(events(api, "").await, streamed, "pages and stream have the same events");
    let ended = events(api, "type=room_ended&room=first").await;
    assert_eq!((ended.len(), &ended[0]["data"]["reason"]), (1, &json!("stopped")));
    let after = streamed[1]["cursor"].as_str().unwrap();
    assert_eq!(events(api, &format!("after={after}&limit=2")).await, streamed[2..4]);
    let mut again = Stream::open(api, after).await;
    for event in &streamed[2..] {
        assert_eq!(again.next().await, *event, "a missed event does not come after the reconnection");
    }
}

/// Waits until the node has read all events. Returns the events of the page for `query`.
async fn events(api: &str, query: &str) -> Vec<Value> {
    let url = format!("{api}/api/events?{query}");
    until("the node has read the ledger", async || {
        let page = request("GET", &format!("{api}/api/events"), &[], None).await;
        page.status == 200 && page.json()["events"].as_array().unwrap().len() >= LIFE.len()
    })
    .await;
    let page = request("GET", &url, &[], None).await;
    assert_eq!(page.status, 200, "{page:?}");
    page.json()["events"].as_array().unwrap().clone()
}

/// Client of the stream of events.
struct Stream {
    chunks: std::pin::Pin<Box<dyn futures::Stream<Item = Result<bytes::Bytes, awc::error::PayloadError>>>>,
    text: String,
}

impl Stream {
    async fn open(api: &str, last: &str) -> Self {
        let client = awc::Client::builder().timeout(EVENT_WITHIN).finish();
        until("the node has read the ledger", async || {
            request("GET", &format!("{api}/api/events"), &[], None).await.status == 200
        })
        .await;
        let answer = client.get(format!("{api}/api/events")).insert_header(("accept", "text/event-stream"));
        let answer = answer.insert_header(("last-event-id", last)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers().get("content-type").unwrap(), "text/event-stream");
        Self { chunks: Box::pin(answer), text: String::new() }
    }

    async fn next(&mut self) -> Value {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let data = block.lines().find_map(|line| line.strip_prefix("data: ")).map(str::to_owned);
                self.text = rest.to_owned();
                match data {
                    Some(data) => return serde_json::from_str(&data).unwrap(),
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout(EVENT_WITHIN, self.chunks.next()).await.expect("no event comes");
            self.text.push_str(std::str::from_utf8(&chunk.expect("the stream goes on").unwrap()).unwrap());
        }
    }
}

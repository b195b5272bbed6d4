//! The listener channel on real nodes: events, requests, refusals, and the loss of a listener node.

mod socket;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use stentor::domain::stage::MAX_MESSAGES;

use crate::rooms::node_on_etcd;
use crate::support::abuse_table::withstood;
use crate::support::caller::Caller;
use crate::support::etcd::Etcd;
use crate::support::in_time;
use crate::support::node::{Answer, Node, request};
use crate::support::redis::Redis;
use crate::support::until;

pub const ROOM: &str = "talk";
const EVENT_WITHIN: Duration = Duration::from_secs(30);

/// Client of a room's events.
pub struct Events {
    chunks: std::pin::Pin<Box<dyn futures::Stream<Item = Result<bytes::Bytes, awc::error::PayloadError>>>>,
    text: String,
    pub last_id: String,
}

#[actix::test]
async fn channel_carries_hands_and_chat() {
    let node = Node::start(&[("node.roles", "rooms,hls,gateway")]).await;
    node.post("/api/rooms", json!({ "roomId": ROOM })).await;
    let (host, ann) = (host(&node).await, listener(&node, "ann", Some("Ann")).await);
    let mut at_host = Events::open(&node.hls, &host, None).await;
    let mut at_ann = Events::open(&node.hls, &ann, None).await;
    let hello = at_ann.next("hello").await;
    assert_eq!((&hello["you"]["name"], &hello["you"]["verified"]), (&json!("Ann"), &json!(true)));
    let me = hello["you"]["id"].as_str().unwrap().to_owned();
    assert_eq!(at_ann.next("snapshot").await["hands"], json!([]));

    done(&send(&node.hls, &ann, "POST", "hand", json!({ "note": "about <b>tea</b>" })).await);
    let hand = at_host.next("hand_raised").await;
    assert_eq!((&hand["person"]["name"], &hand["note"]), (&json!("Ann"), &json!("about <b>tea</b>")));
    let own = at_ann.next("hand_raised").await;
    assert_eq!((&own["person"], &own["note"]), (&json!({ "id": me }), &Value::Null));

    let sent = send(&node.hls, &ann, "POST", "chat", json!({ "text": "hello" })).await.json();
    let message = at_host.next("message_sent").await;
    assert_eq!((&message["id"], &message["text"]), (&sent["message"], &json!("hello")));
    at_ann.next("message_sent").await;
    done(&send(&node.hls, &ann, "POST", "reactions", json!({ "reaction": "clap" })).await);
    assert_eq!(at_host.next("reactions").await["counts"], json!({ "clap": 1 }));

    // The missed events arrive after the reconnection, in order.
    let last = at_ann.last_id.clone();
    drop(at_ann);
    done(&send(&node.hls, &host, "PUT", "pinned", json!({ "message": sent["message"] })).await);
    done(&send(&node.hls, &host, "PUT", "announcement", json!({ "text": "soon" })).await);
    done(&send(&node.hls, &host, "PUT", &format!("hands/{me}/invitation"), Value::Null).await);
    let mut at_ann = Events::open(&node.hls, &ann, Some(&last)).await;
    at_ann.next("hello").await;
    assert_eq!(at_ann.next("message_pinned").await["message"]["text"], "hello");
    assert_eq!(at_ann.next("announced").await["text"], "soon");
    assert_eq!(at_ann.next("invited").await["person"], me.as_str());

    let entered = send(&node.hls, &ann, "POST", "stage", json!({})).await;
    assert_eq!((entered.status, &entered.json()["userId"]), (200, &json!("ann")), "{entered:?}");
    assert_eq!(at_ann.next("hand_lowered").await["why"], "accepted");
    let users = node.get("/api/rooms/talk/users").await.json();
    assert!(users["users"].as_array().unwrap().iter().any(|user| user["userId"] == "ann"), "{users}");
    let again = send(&node.hls, &ann, "POST", "stage", json!({})).await;
    assert_eq!((again.status, again.code().as_str()), (409, "not_invited"));

    node.delete("/api/rooms/talk").await;
    at_ann.next("closed").await;
}

#[actix::test]
async fn host_controls_speakers_over_channel() {
    // The caller answers no pings and sends no keepalives while the test reads the events of the host.
    let node = Node::start(&[("presence.timeout", "10m"), ("ws.dead_after", "5m")]).await;
    node.room_on_air(ROOM).await;
    let path = format!("/api/rooms/{ROOM}/users");
    let user =
        async |role: &str, user: &str| node.post(&path, json!({ "role": role, "userId": user })).await.json();
    let (host, anna) = (user("host", "hera").await, user("anchor", "anna").await);
    let host = host["token"].as_str().unwrap();
    let mut at_host = Events::open(&node.hls, host, None).await;
    assert_eq!(at_host.next("snapshot").await["floor"], Value::Null);
    let mut caller = Caller::connect(&node.ws, anna["token"].as_str().unwrap(), "").await;
    let (_, _media) = caller.speak(440).await;

    // Everybody sees who has the floor, until when, and how long each person has spoken.
    let id = anna["personId"].as_str().unwrap().to_owned();
    let members = caller.members(1).await;
    assert_eq!(members[0]["personId"], id.as_str());
    done(&send(&node.hls, host, "PUT", "floor", json!({ "person": id, "seconds": 90 })).await);
    let floor = at_host.next("floor_given").await;
    let length = floor["until"].as_u64().unwrap() - floor["at"].as_u64().unwrap();
    assert_eq!((&floor["person"], length), (&json!(id), 90_000));
    let spoken = at_host.next("spoken").await["people"][&id].as_u64().unwrap();
    assert!(spoken >= 10_000, "{spoken} ms");
    let listed = async || {
        let users = node.get(&path).await.json();
        let users = users["users"].as_array().unwrap().clone();
        users.iter().find(|user| user["userId"] == "anna").unwrap()["spokenMs"].as_u64().unwrap()
    };
    assert!(listed().await >= spoken);
    let own = anna["token"].as_str().unwrap();
    done(&send(&node.hls, own, "DELETE", "floor", Value::Null).await);
    at_host.next("floor_ended").await;

    done(&send(&node.hls, host, "POST", "mute", Value::Null).await);
    caller.note("roomStatus", |params| params["members"][0]["muted"] == true).await;
    done(&send(&node.hls, host, "PUT", "lock", Value::Null).await);
    caller.note("roomStatus", |params| params["locked"] == true).await;
    done(&send(&node.hls, host, "DELETE", "lock", Value::Null).await);
    caller.note("roomStatus", |params| params["locked"] == false).await;

    // The speaking time since the last portion is added when the anchor leaves.
    let before = listed().await;
    caller.call("unmute", json!({})).await.unwrap();
    until("the anchor talks", async || node.state_of("media_session").await["observed"]["talking"] == true)
        .await;
    caller.goodbye().await;
    until("the rest is added", async || listed().await > before).await;
}

#[actix::test]
async fn channel_refuses_bad_requests() {
    let keys = [("node.roles", "rooms,hls"), ("auth.mode", "keys"), ("auth.api_keys", "sixteen-letters-1")];
    let node = Node::start(&keys).await;
    node.post("/api/rooms", json!({ "roomId": ROOM })).await;
    node.post("/api/rooms", json!({ "roomId": "other" })).await;
    let (host, ann) = (host(&node).await, listener(&node, "ann", Some("Ann")).await);
    let nameless = listener(&node, "bob", None).await;
    let other = node.post("/api/token", json!({ "roomId": "other" })).await.json();
    let other = other["token"].as_str().unwrap().to_owned();
    let [host, ann, nameless, other] = [&host, &ann, &nameless, &other].map(String::as_str);
    let long = "x".repeat(501);
    let (note, huge) = ("x".repeat(141), "x".repeat(100_000));
    let person = "0123456789abcdef";
    for (token, method, path, body, status, code) in [
        ("", "POST", "hand", json!({}), 401, "token_missing"),
        ("bad", "POST", "hand", json!({}), 401, "token_invalid"),
        (other, "POST", "hand", json!({}), 403, "token_wrong_room"),
        (nameless, "POST", "hand", json!({}), 400, "name_required"),
        (nameless, "POST", "chat", json!({ "text": "a" }), 400, "name_required"),
        (nameless, "POST", "chat", json!({ "text": "a", "name": "a\u{202E}b" }), 400, "invalid_name"),
        (host, "POST", "hand", json!({}), 409, "on_stage"),
        (ann, "POST", "hand", json!({ "note": note }), 400, "invalid_text"),
        (ann, "POST", "hand", json!({ "note": 7 }), 400, "invalid_body"),
        (ann, "POST", "hand", json!({ "more": 7 }), 400, "invalid_body"),
        (ann, "POST", "chat", json!({}), 400, "invalid_body"),
        (ann, "POST", "chat", json!({ "text": "" }), 400, "invalid_text"),
        (ann, "POST", "chat", json!({ "text": "a\u{0}" }), 400, "invalid_text"),
        (ann, "POST", "chat", json!({ "text": long }), 400, "invalid_text"),
        (ann, "POST", "chat", json!({ "text": huge }), 413, "body_too_large"),
        (nameless, "POST", "reactions", json!({ "reaction": "tomato" }), 400, "invalid_body"),
        (nameless, "POST", "stage", json!({}), 409, "not_invited"),
        (host, "DELETE", "chat/7", Value::Null, 404, "message_not_found"),
        (host, "DELETE", "chat/seven", Value::Null, 404, "message_not_found"),
        (host, "PUT", "pinned", json!({ "message": 7 }), 404, "message_not_found"),
        (host, "PUT", "hands/ann/invitation", Value::Null, 400, "invalid_person_id"),
        (host, "PUT", "hands/0123456789abcdef/invitation", Value::Null, 404, "hand_not_raised"),
        (
            host,
            "PUT",
            "settings",
            json!({ "handsOpen": true, "chatOpen": true, "slowModeSeconds": 601 }),
            400,
            "invalid_body",
        ),
        (
            host,
            "PUT",
            "settings",
            json!({ "handsOpen": true, "chatOpen": true, "slowModeSeconds": 0, "handOrder": "random" }),
            400,
            "invalid_body",
        ),
        (host, "PUT", "floor", json!({ "person": "ann", "seconds": 60 }), 400, "invalid_person_id"),
        (host, "PUT", "floor", json!({ "person": person, "seconds": 4 }), 400, "invalid_body"),
        (host, "PUT", "floor", json!({ "person": person, "seconds": 3601 }), 400, "invalid_body"),
        (host, "PUT", "floor", json!({ "person": person }), 400, "invalid_body"),
        (
            host,
            "PUT",
            "floor",
            json!({ "person": "0123456789abcdef", "seconds": 60 }),
            404,
            "person_not_found",
        ),
        (host, "POST", "mute", Value::Null, 404, "room_not_on_air"),
        (host, "POST", "pinned", json!({}), 405, "method_not_allowed"),
    ] {
        let answer = send(&node.hls, token, method, path, body.clone()).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path} {body}");
        pace().await;
    }
    let settings = json!({ "handsOpen": false, "chatOpen": false, "slowModeSeconds": 0 });
    let of_hosts = [
        ("DELETE", format!("hands/{person}"), Value::Null),
        ("PUT", format!("hands/{person}/invitation"), Value::Null),
        ("DELETE", format!("hands/{person}/invitation"), Value::Null),
        ("POST", format!("kicks/{person}"), Value::Null),
        ("PUT", format!("bans/{person}"), Value::Null),
        ("DELETE", format!("bans/{person}"), Value::Null),
        ("PUT", "pinned".into(), json!({ "message": 7 })),
        ("DELETE", "pinned".into(), Value::Null),
        ("DELETE", "floor".into(), Value::Null),
        ("PUT", "announcement".into(), json!({ "text": "a" })),
        ("DELETE", "announcement".into(), Value::Null),
        ("PUT", "settings".into(), settings.clone()),
        ("PUT", "floor".into(), json!({ "person": person, "seconds": 60 })),
        ("POST", "mute".into(), Value::Null),
        ("PUT", "lock".into(), Value::Null),
        ("DELETE", "lock".into(), Value::Null),
    ];
    for (method, path, body) in &of_hosts {
        let answer = send(&node.hls, ann, method, path, body.clone()).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "host_only"), "{method} {path}");
        pace().await;
    }
    withstood(
        "bans, kicks, floor, mute, lock, invitations and settings by a listener",
        "403",
        "the room is unchanged",
    );
    // Every operation of the channel is in one of the two tables, except for those of a listener's own.
    let own = ["GET events", "DELETE hand", "POST hand", "POST stage", "POST chat", "POST reactions"];
    let own = own.into_iter().chain(["DELETE chat/{message}"]).map(str::to_owned);
    let covered =
        of_hosts.iter().map(|(method, path, _)| format!("{method} {}", path.replace(person, "{person}")));
    let covered: BTreeSet<_> = covered.chain(own).collect();
    let document = node.get("/api/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap().iter();
    let paths = paths.filter_map(|(path, item)| Some((path.strip_prefix("/hls/rooms/{room}/")?, item)));
    let operations = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    assert_eq!(operations.collect::<BTreeSet<_>>(), covered);
    done(&send(&node.hls, host, "PUT", "settings", settings).await);
    for (path, code) in [("hand", "hands_closed"), ("chat", "chat_closed")] {
        let body = if path == "chat" { json!({ "text": "a" }) } else { json!({}) };
        let answer = send(&node.hls, ann, "POST", path, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (409, code));
    }
    // A cookie authorizes no change, because any page could make a browser send it.
    let url = format!("{}/hls/rooms/{ROOM}/hand", node.hls);
    let cookie = format!("stentor_listener={ann}");
    let refused = request("POST", &url, &[("cookie", &cookie)], Some(json!({}))).await;
    assert_eq!(refused.code(), "token_missing");
    node.delete("/api/rooms/talk/users/ann").await;
    let removed = in_time("the refusal", async {
        loop {
            let answer = send(&node.hls, ann, "POST", "reactions", json!({ "reaction": "clap" })).await;
            if answer.status != 200 {
                return answer;
            }
            pace().await;
        }
    })
    .await;
    assert_eq!((removed.status, removed.code().as_str()), (409, "user_removed"));
    assert!(!node.output().contains(ann) && !node.output().contains(host), "no token in the log");
    withstood(
        "wrong tokens, names, texts and calls of the listener channel",
        "400, 401, 403, 404, 409, 413",
        "no access",
    );
}

#[actix::test]
async fn floods_are_limited() {
    let node = Node::start(&[("node.roles", "rooms,hls,gateway")]).await;
    node.post("/api/rooms", json!({ "roomId": ROOM })).await;
    let (ann, bob) = (listener(&node, "ann", Some("Ann")).await, listener(&node, "bob", Some("Bob")).await);
    let mut at_bob = Events::open(&node.hls, &bob, None).await;
    at_bob.next("snapshot").await;
    let react =
        async |token: &str| send(&node.hls, token, "POST", "reactions", json!({ "reaction": "heart" })).await;
    let (mut taken, mut refused) = (0, 0);
    while refused == 0 && taken < 10_000 {
        let answer = react(&ann).await;
        match answer.status {
            200 => taken += 1,
            _ => {
                assert_eq!((answer.status, answer.code().as_str()), (429, "too_many_requests"));
                assert!(answer.header("retry-after").is_some());
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "{taken} taken");
    assert_eq!(react(&bob).await.status, 200, "others are not held back");
    assert!(at_bob.next("reactions").await["counts"]["heart"].as_u64().unwrap() > 0);
    withstood("floods of reactions", "429", "another listener reacts");
}

#[actix::test]
async fn hands_survive_listener_node_death() {
    let (etcd, redis) = (Etcd::start(), Redis::start());
    let url = redis.url();
    let shared = [("presence.kind", "redis"), ("presence.redis.url", url.as_str())];
    let member = async |id: &'static str, roles: &'static str| {
        let settings = [&[("node.id", id), ("node.roles", roles)], &shared[..]].concat();
        node_on_etcd(&etcd, &settings).await
    };
    let desk = member("desk", "rooms").await;
    let (mut one, two) = (member("ear1", "hls").await, member("ear2", "hls").await);
    desk.post("/api/rooms", json!({ "roomId": ROOM })).await;
    let (host, ann) = (host(&desk).await, listener(&desk, "ann", Some("Ann")).await);
    let mut at_host = Events::open(&two.hls, &host, None).await;
    assert_eq!(at_host.next("snapshot").await["hands"], json!([]));
    let mut at_ann = Events::open(&one.hls, &ann, None).await;
    let me = at_ann.next("hello").await["you"]["id"].as_str().unwrap().to_owned();
    done(&send(&one.hls, &ann, "POST", "hand", json!({ "note": "tea" })).await);
    assert_eq!(at_host.next("hand_raised").await["note"], "tea");
    done(&send(&two.hls, &host, "POST", "chat", json!({ "text": "welcome", "name": "Host" })).await);
    assert_eq!(at_ann.next("message_sent").await["text"], "welcome");
    let last = at_ann.last_id.clone();

    one.kill();
    done(&send(&two.hls, &host, "PUT", &format!("hands/{me}/invitation"), Value::Null).await);
    // The other node continues where the dead one ended.
    let mut at_ann = Events::open(&two.hls, &ann, Some(&last)).await;
    assert_eq!(at_ann.next("invited").await["person"], me.as_str());
    one.run();
    one.ready().await;
    let mut at_ann = Events::open(&one.hls, &ann, None).await;
    let snapshot = at_ann.next("snapshot").await;
    assert_eq!(
        (&snapshot["hands"][0]["person"]["id"], &snapshot["hands"][0]["invited"]),
        (&json!(me), &json!(true))
    );
    assert_eq!(snapshot["messages"][0]["text"], "welcome");

    // Redis may lose everything: the nodes still have the state. The other node gets it as a whole.
    redis.flush();
    done(&send(&one.hls, &ann, "POST", "hand", json!({ "note": "still here" })).await);
    assert_eq!(at_host.next("snapshot").await["hands"][0]["note"], "still here");
    let snapshot = Events::open(&two.hls, &host, None).await.next("snapshot").await;
    assert_eq!(
        (&snapshot["hands"][0]["note"], snapshot["messages"].as_array().unwrap().len()),
        (&json!("still here"), 1)
    );
    assert!(snapshot["messages"].as_array().unwrap().len() <= MAX_MESSAGES);
}

impl Events {
    pub async fn open(hls: &str, token: &str, last: Option<&str>) -> Self {
        let client = awc::Client::builder().disable_timeout().finish();
        let mut request = client.get(format!("{hls}/hls/rooms/{ROOM}/events"));
        request = request.insert_header(("authorization", format!("Bearer {token}")));
        if let Some(last) = last {
            request = request.insert_header(("last-event-id", last));
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers().get("content-type").unwrap(), "text/event-stream");
        Self { chunks: Box::pin(response), text: String::new(), last_id: String::new() }
    }

    /// Waits until the response ends. Skips its remaining events.
    pub async fn ends(&mut self) {
        let ended = async { while self.chunks.next().await.is_some_and(|chunk| chunk.is_ok()) {} };
        tokio::time::timeout(EVENT_WITHIN, ended).await.expect("the response ends");
    }

    /// Returns the data of the next event with this name. Others are skipped.
    pub async fn next(&mut self, name: &str) -> Value {
        loop {
            let event = self.any(name).await;
            if event["event"] == name {
                return event["data"].clone();
            }
        }
    }

    /// Returns the next event, in the form in which a WebSocket sends it. `wanted`: name of the event that
    /// the test waits for, for the message of a failure.
    pub async fn any(&mut self, wanted: &str) -> Value {
        let found = async {
            loop {
                while let Some((event, rest)) = self.text.split_once("\n\n") {
                    let field = |key: &str| event.lines().find_map(|line| line.strip_prefix(key));
                    let id = field("id: ").map(str::to_owned);
                    let data = field("data: ").map(|data| serde_json::from_str::<Value>(data).expect("JSON"));
                    let shown = data.map(|data| json!({ "event": field("event: "), "data": data }));
                    self.text = rest.to_owned();
                    if let Some(mut shown) = shown {
                        if let Some(id) = id {
                            shown["id"] = id.as_str().into();
                            self.last_id = id;
                        }
                        return shown;
                    }
                }
                let chunk = self.chunks.next().await.expect("the stream continues").expect("bytes");
                self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
            }
        };
        tokio::time::timeout(EVENT_WITHIN, found).await.unwrap_or_else(|_| panic!("no {wanted}"))
    }
}

/// Sends a request with a token; without a body if `body` is null.
pub async fn send(hls: &str, token: &str, method: &str, path: &str, body: Value) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let headers = if token.is_empty() { &[][..] } else { &headers[..] };
    let body = Some(body).filter(|body| !body.is_null());
    request(method, &format!("{hls}/hls/rooms/{ROOM}/{path}"), headers, body).await
}

pub fn done(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
}

pub async fn listener(node: &Node, user: &str, name: Option<&str>) -> String {
    let body = json!({ "roomId": ROOM, "userId": user, "name": name });
    let answer = node.post("/api/token", body).await;
    answer.json()["token"].as_str().expect("a token").to_owned()
}

async fn host(node: &Node) -> String {
    let answer = node.post(&format!("/api/rooms/{ROOM}/users"), json!({ "role": "host" })).await;
    answer.json()["token"].as_str().expect("a token").to_owned()
}

/// Waits long enough to stay below the request rate that one token subject is allowed.
pub async fn pace() {
    // Sleep: only the passage of time helps against a rate limit.
    tokio::time::sleep(Duration::from_millis(300)).await;
}

//! Moderation on real nodes: bans of anchors and listeners, and their effect on every node.

use std::time::Instant;

use futures::StreamExt;
use serde_json::{Value, json};
use stentor::auth::Role;

use crate::channel::{Events, send};
use crate::rooms::node_on_etcd;
use crate::support::abuse_table::withstood;
use crate::support::caller::Caller;
use crate::support::etcd::Etcd;
use crate::support::node::{Answer, Node, request};
use crate::support::redis::Redis;
use crate::support::stage::{ROOM, Stage, token};
use crate::support::{PATIENCE, until};

#[actix::test]
async fn banned_anchor_leaves_mix() {
    let stage = Stage::pair(&[]).await;
    let mut host = stage.connect_host(0, "hera").await;
    let mut bert = stage.connect(1, "bert", "").await;
    let (_, at_host) = host.speak(0).await;
    let (_, at_bert) = bert.speak(660).await;
    at_host.until_hears(&[660.0], &[]).await;
    let refused = bert.call("ban", json!({ "userId": "hera" })).await.unwrap_err();
    assert_eq!(refused["data"]["code"], "forbidden");

    host.call("ban", json!({ "userId": "bert" })).await.unwrap();
    assert_eq!(bert.closed().await, 4403);
    host.members(1).await;
    at_host.until_hears(&[], &[660.0]).await;
    until("Janus has one participant", async || stage.participants().await.len() == 1).await;
    for gateway in 0..2 {
        assert_eq!(stage.connect(gateway, "bert", "").await.closed().await, 4403);
    }
    let bans = stage.one.get(&format!("/api/rooms/{ROOM}/bans")).await.json();
    assert_eq!((&bans["bans"][0]["userId"], bans["bans"].as_array().unwrap().len()), (&json!("bert"), 1));

    host.call("unban", json!({ "userId": "bert" })).await.unwrap();
    assert_eq!(host.call("unban", json!({ "userId": "bert" })).await, Ok(json!({})), "may be repeated");
    drop(at_bert);
    let mut bert = stage.connect(1, "bert", "").await;
    let (_, _again) = bert.speak(660).await;
    at_host.until_hears(&[660.0], &[]).await;
    let ledger = events_of(&stage.one, &["user_banned", "user_unbanned"]).await;
    assert_eq!(ledger, ["user_banned bert by hera", "user_unbanned bert by hera"]);

    stage.one.delete(&format!("/api/rooms/{ROOM}")).await;
    assert_eq!(host.note("roomClosed", |_| true).await, json!({ "roomId": ROOM, "reason": "deleted" }));
}

#[actix::test]
async fn kicked_people_come_back() {
    let stage = Stage::pair(&[]).await;
    let mut host = stage.connect_host(0, "hera").await;
    let mut bert = stage.connect(1, "bert", "").await;
    let (_, at_host) = host.speak(0).await;
    let (joined, at_bert) = bert.speak(660).await;
    at_host.until_hears(&[660.0], &[]).await;
    let lena = listener(&stage.one, "lena").await;
    let mut at_lena = Events::open(&stage.one.hls, &lena, None).await;
    let me = at_lena.next("hello").await["you"]["id"].as_str().unwrap().to_owned();
    done(&send(&stage.one.hls, &lena, "POST", "hand", json!({ "name": "Lena" })).await);
    let refused = bert.call("kick", json!({ "userId": "hera" })).await.unwrap_err();
    assert_eq!(refused["data"]["code"], "forbidden");
    let path = format!("kicks/{me}");
    assert_eq!(send(&stage.one.hls, &lena, "POST", &path, json!({})).await.code(), "host_only");

    host.call("kick", json!({ "userId": "bert" })).await.unwrap();
    assert_eq!(bert.closed().await, 4403);
    let as_host = token("hera", Role::Host);
    done(&send(&stage.one.hls, &as_host, "POST", &path, json!({})).await);
    at_lena.ends().await;
    host.members(1).await;
    at_host.until_hears(&[], &[660.0]).await;
    until("Janus has one participant", async || stage.participants().await.len() == 1).await;
    let bans = stage.one.get(&format!("/api/rooms/{ROOM}/bans")).await.json();
    assert_eq!(bans["bans"], json!([]));

    until("Lena is let in again", async || {
        let clap = json!({ "reaction": "clap" });
        send(&stage.one.hls, &lena, "POST", "reactions", clap).await.status == 200
    })
    .await;
    let mut snapshot = Events::open(&stage.one.hls, &lena, None).await;
    assert_eq!(snapshot.next("snapshot").await["hands"], json!([]), "the hand was lowered");
    drop(at_bert);
    let as_bert = token("bert", Role::Anchor);
    let (mut bert, back) = Caller::come_back(&stage.gateways()[1], &as_bert, &joined["jtoken"]).await;
    assert_eq!(back["resume"], false, "the earlier session is over");
    let _again = bert.offer(660).await;
    at_host.until_hears(&[660.0], &[]).await;
    let of_bert = async || {
        let kinds = ["user_kicked", "anchor_joined", "anchor_left"];
        let ledger = events_of(&stage.one, &kinds).await;
        ledger.into_iter().filter(|line| line.contains("bert")).collect::<Vec<_>>()
    };
    until("the ledger tells that Bert is back", async || of_bert().await.len() >= 4).await;
    let [joined, left] = ["joined", "left"].map(|what| format!("anchor_{what} bert by -"));
    assert_eq!(of_bert().await, [&joined, "user_kicked bert by hera", &left, &joined]);
    let kicked = events_of(&stage.one, &["user_kicked", "user_kicked"]).await;
    assert_eq!(kicked, ["user_kicked bert by hera", "user_kicked lena by hera"]);
}

#[actix::test]
async fn hosts_mute_all_and_lock() {
    let mut stage = Stage::pair(&[]).await;
    let mut host = stage.connect_host(0, "hera").await;
    let bert = token("bert", Role::Anchor);
    let mut at_two = Caller::connect(&stage.gateways()[1], &bert, "&clientId=a").await;
    let mut carl = stage.connect(0, "carl", "").await;
    let (_, at_host) = host.speak(440).await;
    let (joined, at_bert) = at_two.speak(660).await;
    let (_, _at_carl) = carl.speak(880).await;
    at_host.until_hears(&[660.0, 880.0], &[]).await;
    for method in ["muteAll", "lock", "unlock"] {
        let refused = at_two.call(method, json!({})).await.unwrap_err();
        assert_eq!(refused["data"]["code"], "forbidden", "{method}");
    }

    host.call("muteAll", json!({})).await.unwrap();
    at_two.note("roomStatus", |status| muted(status) == ["bert", "carl"]).await;
    at_host.until_hears(&[], &[660.0, 880.0]).await;
    at_bert.until_hears(&[440.0], &[880.0]).await;
    at_two.call("unmute", json!({})).await.unwrap();
    at_host.until_hears(&[660.0], &[880.0]).await;
    assert_eq!(stage.one.post(&format!("/api/rooms/{ROOM}/mute"), json!({})).await.status, 200);
    at_two.note("roomStatus", |status| muted(status) == ["bert", "carl", "hera"]).await;
    at_two.call("unmute", json!({})).await.unwrap();
    at_host.until_hears(&[660.0], &[]).await;

    host.call("lock", json!({})).await.unwrap();
    at_two.note("roomStatus", |status| status["locked"] == true).await;
    let shown = stage.one.get(&format!("/api/rooms/{ROOM}")).await.json();
    assert_eq!(shown["room"]["locked"], true);
    carl.call("leave", json!({})).await.unwrap();
    // Statuses from before carl joined also have two members. The condition on `locked` excludes them.
    let without_carl = |status: &Value| {
        status["locked"] == true && status["members"].as_array().is_some_and(|members| members.len() == 2)
    };
    host.note("roomStatus", without_carl).await;
    for caller in [&mut carl, &mut stage.connect(1, "dora", "").await] {
        let refused = caller.call("join", json!({})).await.unwrap_err();
        assert_eq!(
            (&refused["data"]["code"], &refused["data"]["retryable"]),
            (&json!("room_locked"), &json!(true))
        );
    }
    // Users who were already in the locked room may come back, even if their gateway died.
    stage.two.as_mut().unwrap().kill();
    let (mut at_one, back) = Caller::come_back(&stage.gateways()[0], &bert, &joined["jtoken"]).await;
    assert_eq!(back["resume"], true);
    at_host.until_hears(&[660.0], &[]).await;
    at_one.note("roomStatus", |status| status["locked"] == true).await;
    let mut second = stage.connect_host(0, "hugo").await;
    assert!(second.call("join", json!({})).await.is_ok(), "hosts may join");
    host.members(3).await;
    second.call("leave", json!({})).await.unwrap();
    host.members(2).await;

    let url = format!("{}/api/rooms/{ROOM}", stage.one.api);
    let open = request("PATCH", &url, &[], Some(json!({ "locked": null }))).await;
    assert_eq!((open.status, open.json()["room"].get("locked")), (200, None));
    at_one.note("roomStatus", |status| status["locked"] == false).await;
    assert!(carl.call("join", json!({})).await.is_ok());
    let ledger = events_of(&stage.one, &["room_muted", "room_locked", "room_unlocked"]).await;
    assert_eq!(
        ledger,
        ["room_muted - by hera", "room_muted - by -", "room_locked - by hera", "room_unlocked - by -"]
    );
}

#[actix::test]
async fn roles_change_and_survive_gateway_death() {
    let mut stage = Stage::pair(&[]).await;
    let mut host = stage.connect_host(0, "hera").await;
    let mut hugo = stage.connect_host(0, "hugo").await;
    let bert = token("bert", Role::Anchor);
    let mut at_two = Caller::connect(&stage.gateways()[1], &bert, "&clientId=a").await;
    let (_, _at_host) = host.speak(0).await;
    let (_, _at_hugo) = hugo.speak(0).await;
    let (joined, _at_bert) = at_two.speak(660).await;
    let set = |user: &str, role: &str| json!({ "userId": user, "role": role });
    for (method, params) in [
        ("setRole", set("bert", "host")),
        ("setRole", set("hugo", "anchor")),
        ("transferHost", json!({ "userId": "hugo" })),
        ("mute", json!({ "userId": "hera" })),
        ("ban", json!({ "userId": "hera" })),
    ] {
        let refused = at_two.call(method, params).await.unwrap_err();
        assert_eq!(refused["data"]["code"], "forbidden", "{method}");
    }
    withstood(
        "moderation of a room by an anchor, over signalling",
        "forbidden",
        "nobody is muted or removed",
    );
    for (params, code) in [
        (set("hera", "anchor"), "forbidden"),
        (set("nobody", "co_host"), "no_such_member"),
        (set("bert", "king"), "invalid_params"),
    ] {
        assert_eq!(host.call("setRole", params).await.unwrap_err()["data"]["code"], code);
    }

    host.call("setRole", set("bert", "co_host")).await.unwrap();
    for caller in [&mut host, &mut at_two] {
        caller.note("roomStatus", |status| role_of(status, "bert") == "co_host").await;
    }
    at_two.call("lock", json!({})).await.unwrap();
    at_two.call("unlock", json!({})).await.unwrap();
    for (method, params) in [("ban", json!({ "userId": "hera" })), ("setRole", set("hugo", "anchor"))] {
        assert_eq!(at_two.call(method, params).await.unwrap_err()["data"]["code"], "forbidden", "{method}");
    }
    let mut events = Events::open(&stage.one.hls, &bert, None).await;
    assert_eq!(events.next("hello").await["you"]["role"], "co_host");
    events.next("snapshot").await;
    let settings = json!({ "handsOpen": false, "chatOpen": true, "slowModeSeconds": 0 });
    done(&send(&stage.one.hls, &bert, "PUT", "settings", settings.clone()).await);

    stage.two.as_mut().unwrap().kill();
    let (mut at_one, back) = Caller::come_back(&stage.gateways()[0], &bert, &joined["jtoken"]).await;
    assert_eq!(back["resume"], true);
    at_one.note("roomStatus", |status| role_of(status, "bert") == "co_host").await;
    host.call("transferHost", json!({ "userId": "bert" })).await.unwrap();
    let handed = |status: &Value| role_of(status, "bert") == "host" && role_of(status, "hera") == "co_host";
    host.note("roomStatus", handed).await;
    let refused = host.call("setRole", set("bert", "anchor")).await.unwrap_err();
    assert_eq!(refused["data"]["code"], "forbidden", "the token of a host does not help");
    events.ends().await;
    let mut events = Events::open(&stage.one.hls, &bert, None).await;
    assert_eq!(events.next("hello").await["you"]["role"], "host");

    let path = |user: &str| format!("/api/rooms/{ROOM}/users/{user}/role");
    assert_eq!(stage.one.put(&path("bert"), json!({ "role": "anchor" })).await.status, 200);
    at_one.note("roomStatus", |status| role_of(status, "bert") == "anchor").await;
    assert_eq!(stage.one.put(&path("nobody"), json!({ "role": "host" })).await.code(), "person_not_found");
    until("an anchor again, also in the channel", async || {
        send(&stage.one.hls, &bert, "PUT", "settings", settings.clone()).await.code() == "host_only"
    })
    .await;
    let users = stage.one.get(&format!("/api/rooms/{ROOM}/users")).await.json();
    let roles: Vec<_> = users["users"].as_array().unwrap().iter().map(|user| user["role"].clone()).collect();
    assert_eq!(roles, ["anchor", "co_host", "host"], "{users}");
    let present = events_of(&stage.one, &["anchor_joined", "anchor_joined", "anchor_left"]).await;
    let joined = ["bert", "hera", "hugo"].map(|user| format!("anchor_joined {user} by -"));
    assert!(sorted(present.clone()) == joined, "a gateway that dies causes no event: {present:?}");
    let ledger = events_of(&stage.one, &["role_changed"; 4]).await;
    let lines = ["bert by hera", "bert by hera", "hera by hera", "bert by -"];
    assert_eq!(ledger, lines.map(|line| format!("role_changed {line}")));
}

#[actix::test]
async fn host_sends_anchor_back_to_listening() {
    let stage = Stage::pair(&[]).await;
    let mut host = stage.connect_host(0, "hera").await;
    let (_, at_host) = host.speak(0).await;
    let lena = listener(&stage.one, "lena").await;
    let as_host = token("hera", Role::Host);
    let hear = async || {
        let url = format!("{}/hls/rooms/{ROOM}/index.m3u8?token={lena}", stage.one.hls);
        request("GET", &url, &[], None).await.status
    };
    let mut tokens = Vec::new();
    for round in 0..2 {
        let mut at_lena = Events::open(&stage.one.hls, &lena, None).await;
        let hello = at_lena.next("hello").await;
        let me = hello["you"]["id"].as_str().unwrap().to_owned();
        assert_eq!(hello["you"]["role"], "listener");
        done(&send(&stage.one.hls, &lena, "POST", "hand", json!({ "name": "Lena" })).await);
        done(&send(&stage.one.hls, &as_host, "PUT", &format!("hands/{me}/invitation"), Value::Null).await);
        let invited = send(&stage.one.hls, &lena, "POST", "stage", json!({})).await;
        assert_eq!(invited.status, 200, "{invited:?}");
        tokens.push(invited.json()["token"].as_str().unwrap().to_owned());
        let (mut speaker, _) = Caller::come_back(&stage.gateways()[1], &tokens[round], &Value::Null).await;
        let at_speaker = speaker.offer(660).await;
        at_host.until_hears(&[660.0], &[]).await;

        host.call("setRole", json!({ "userId": "lena", "role": "listener" })).await.unwrap();
        assert_eq!(speaker.closed().await, 4403);
        at_host.until_hears(&[], &[660.0]).await;
        drop(at_speaker);
        for token in &tokens {
            assert_eq!(Caller::connect(&stage.gateways()[1], token, "").await.closed().await, 4403);
        }
        until("she listens as before", async || hear().await == 200).await;
    }
    let shown = stage.one.get(&format!("/api/rooms/{ROOM}/users")).await.json();
    let lenas = shown["users"].as_array().unwrap().iter().find(|user| user["userId"] == "lena").unwrap();
    assert_eq!((&lenas["role"], &lenas["connected"]), (&json!("listener"), &json!(false)));
}

#[actix::test]
async fn locked_room_keeps_listeners_off_stage() {
    let node = Node::start(&[("node.roles", "rooms,hls,gateway")]).await;
    node.post("/api/rooms", json!({ "roomId": ROOM, "locked": true })).await;
    let host = node.post(&format!("/api/rooms/{ROOM}/users"), json!({ "role": "host" })).await.json();
    let (host, ann) = (host["token"].as_str().unwrap().to_owned(), listener(&node, "ann").await);
    let mut at_ann = Events::open(&node.hls, &ann, None).await;
    let me = at_ann.next("hello").await["you"]["id"].as_str().unwrap().to_owned();
    assert_eq!(at_ann.next("snapshot").await["room"]["locked"], true);
    done(&send(&node.hls, &ann, "POST", "hand", json!({ "name": "Ann" })).await);
    done(&send(&node.hls, &host, "PUT", &format!("hands/{me}/invitation"), Value::Null).await);
    let refused = send(&node.hls, &ann, "POST", "stage", json!({})).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "room_locked"));
    let url = format!("{}/api/rooms/{ROOM}", node.api);
    assert_eq!(request("PATCH", &url, &[], Some(json!({ "locked": false }))).await.status, 200);
    done(&send(&node.hls, &ann, "POST", "stage", json!({})).await);
    let muted = node.post(&format!("/api/rooms/{ROOM}/mute"), json!({})).await;
    assert_eq!((muted.status, muted.code().as_str()), (404, "room_not_on_air"));
}

#[actix::test]
async fn banned_listener_gets_no_sound() {
    let node = Node::start(&[("node.roles", "rooms,janus,mixer,hls,gateway")]).await;
    node.room_on_air(ROOM).await;
    let (lena, mona) = (listener(&node, "lena").await, listener(&node, "mona").await);
    let bans = format!("/api/rooms/{ROOM}/bans/lena");
    let playlist = async |token: &str| {
        let url = format!("{}/hls/rooms/{ROOM}/index.m3u8?token={token}", node.hls);
        request("GET", &url, &[], None).await
    };
    until("the room is heard", async || playlist(&lena).await.status == 200).await;
    let key = async |token: &str| {
        let text = playlist(&mona).await.text();
        let uri = text.rsplit("METHOD=AES-128,URI=\"").next().unwrap().split('"').next().unwrap();
        let uri = uri.replace(&mona, token);
        request("GET", &format!("{}/hls/rooms/{ROOM}/{uri}", node.hls), &[], None).await
    };
    assert_eq!(key(&lena).await.status, 200);
    let mut streams = Vec::new();
    for user in [&lena, &mona] {
        streams.push(plain(&node, user).await);
    }
    let mut events = Events::open(&node.hls, &lena, None).await;
    events.next("snapshot").await;

    let at = Instant::now();
    assert_eq!(node.put(&bans, Value::Null).await.status, 200);
    let lenas = &mut streams[0];
    let ended = async { while lenas.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the plain stream ends");
    events.ends().await;
    crate::support::report(format!("streams of a banned listener ended after {:?}", at.elapsed()));
    for refused in [key(&lena).await, playlist(&lena).await, open_plain(&node, &lena).await] {
        assert_eq!((refused.status, refused.code().as_str()), (409, "user_removed"));
    }
    for (method, path) in [("POST", "hand"), ("POST", "chat"), ("POST", "stage"), ("GET", "events")] {
        let body = if path == "chat" { json!({ "text": "let me in" }) } else { json!({}) };
        let body = if method == "GET" { Value::Null } else { body };
        let refused = send(&node.hls, &lena, method, path, body).await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "user_removed"), "{path}");
    }
    let fresh = node.post("/api/token", json!({ "roomId": ROOM, "userId": "lena" })).await;
    assert_eq!((fresh.status, fresh.code().as_str()), (409, "user_removed"));
    assert_eq!(key(&mona).await.status, 200, "others listen on");
    assert!(streams[1].next().await.is_some());

    assert_eq!(node.delete(&bans).await.status, 200);
    assert_eq!(key(&lena).await.status, 200, "the same token works again");
    let users = node.get(&format!("/api/rooms/{ROOM}/users")).await.json();
    assert_eq!(users["users"], json!([]), "a listener who was banned once is not an anchor");
    for name in ["%0A", "a%00b", "%FF", "%20a", "%E2%80%AEann", "auth0%7C1:2", &"x".repeat(256)] {
        let refused = node.put(&format!("/api/rooms/{ROOM}/bans/{name}"), Value::Null).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_user_id"), "{name}");
    }
}

#[actix::test]
async fn hosts_ban_listeners_on_all_nodes() {
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
    let host = desk.post(&format!("/api/rooms/{ROOM}/users"), json!({ "role": "host" })).await.json();
    let host = host["token"].as_str().unwrap().to_owned();
    let (ann, bob) = (listener(&desk, "ann").await, listener(&desk, "bob").await);
    let mut at_host = Events::open(&two.hls, &host, None).await;
    at_host.next("snapshot").await;
    let mut at_ann = Events::open(&one.hls, &ann, None).await;
    let me = at_ann.next("hello").await["you"]["id"].as_str().unwrap().to_owned();
    done(&send(&one.hls, &ann, "POST", "hand", json!({ "name": "Ann" })).await);
    at_host.next("hand_raised").await;

    let path = format!("bans/{me}");
    for (token, path, status, code) in [
        (&bob, path.as_str(), 403, "host_only"),
        (&host, "bans/0123456789abcdef", 404, "person_not_found"),
        (&host, "bans/ann", 400, "invalid_person_id"),
    ] {
        let refused = send(&two.hls, token, "PUT", path, Value::Null).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code));
    }
    done(&send(&two.hls, &host, "PUT", &path, Value::Null).await);
    at_ann.ends().await;
    assert_eq!(at_host.next("hand_lowered").await["person"], me.as_str());
    one.kill();
    one.run();
    one.ready().await;
    let refused = send(&one.hls, &ann, "POST", "hand", json!({ "name": "Ann" })).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "user_removed"), "the store remembers");
    let bans = desk.get(&format!("/api/rooms/{ROOM}/bans")).await.json();
    assert_eq!((&bans["bans"][0]["userId"], &bans["bans"][0]["name"]), (&json!("ann"), &json!("Ann")));
    let known = Events::open(&one.hls, &host, None).await.next("snapshot").await;
    assert_eq!((&known["bans"][0]["id"], &known["bans"][0]["name"]), (&json!(me), &json!("Ann")));
    let unseen = Events::open(&one.hls, &bob, None).await.next("snapshot").await;
    assert_eq!(unseen["bans"], Value::Null, "listeners see no bans");

    assert_eq!(send(&one.hls, &bob, "DELETE", &path, Value::Null).await.code(), "host_only");
    done(&send(&one.hls, &host, "DELETE", &path, Value::Null).await);
    until("Ann is let in again", async || {
        send(&two.hls, &ann, "POST", "reactions", json!({ "reaction": "clap" })).await.status == 200
    })
    .await;
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Returns the role of a member, or an empty text.
fn role_of(status: &Value, user: &str) -> String {
    let member = status["members"].as_array().unwrap().iter().find(|member| member["userId"] == user);
    member.and_then(|member| member["role"].as_str()).unwrap_or_default().to_owned()
}

/// Returns the ids of the muted members, sorted.
fn muted(status: &Value) -> Vec<String> {
    let members = status["members"].as_array().unwrap().iter().filter(|member| member["muted"] == true);
    let mut ids: Vec<_> = members.map(|member| member["userId"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

/// Returns the events of these types as `type user by host`, once there are as many events as types.
async fn events_of(node: &Node, kinds: &[&str]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |event: &Value| {
        let [user, by] = ["userId", "by"].map(|field| text(&event["data"][field]));
        format!("{} {user} by {by}", text(&event["type"]))
    };
    let found = async || {
        let page = node.get("/api/events?limit=1000").await.json();
        let events = page["events"].as_array().unwrap().iter();
        events.filter(|event| kinds.iter().any(|kind| event["type"] == *kind)).map(line).collect::<Vec<_>>()
    };
    until("the ledger has the events", async || found().await.len() >= kinds.len()).await;
    found().await
}

async fn listener(node: &Node, user: &str) -> String {
    let answer = node.post("/api/token", json!({ "roomId": ROOM, "userId": user })).await;
    answer.json()["token"].as_str().expect("a token").to_owned()
}

fn done(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
}

type Body = std::pin::Pin<Box<dyn futures::Stream<Item = Result<bytes::Bytes, awc::error::PayloadError>>>>;

/// Opens the plain stream and waits for its first bytes.
async fn plain(node: &Node, token: &str) -> Body {
    let client = awc::Client::builder().disable_timeout().finish();
    let url = format!("{}/live/{ROOM}.aac?token={token}", node.hls);
    let response = client.get(url).timeout(PATIENCE).send().await.expect("an answer");
    assert_eq!(response.status().as_u16(), 200);
    let mut body: Body = Box::pin(response);
    assert!(body.next().await.is_some_and(|chunk| chunk.is_ok()), "the stream begins");
    body
}

async fn open_plain(node: &Node, token: &str) -> Answer {
    request("GET", &format!("{}/live/{ROOM}.aac?token={token}", node.hls), &[], None).await
}

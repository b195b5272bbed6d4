//! Lifetimes of tokens, connections and keys.

use std::time::Duration;

use serde_json::json;
use stentor::auth::{Role, Tokens};
use stentor::domain::ids::RoomId;

use crate::support::abuse_table::withstood;
use crate::support::caller::Caller;
use crate::support::external::secrets;
use crate::support::node::{Answer, Node, request};
use crate::support::until;

const ROOM: &str = "talk";

#[actix::test]
async fn tokens_end_with_their_room() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let (host, ann) = (invite(&node, "host", "hugo").await, invite(&node, "anchor", "ann").await);
    let listener = node.token(ROOM).await;
    assert_eq!(key(&node, &key_uri(&node).await, &listener).await.status, 200);
    assert_eq!(node.delete(&format!("/api/rooms/{ROOM}/users/ann")).await.status, 200);
    let mut hugo = Caller::connect(&node.ws, &host, "&clientId=a").await;
    hugo.call("join", json!({})).await.unwrap();
    assert_eq!(node.delete(&format!("/api/rooms/{ROOM}")).await.status, 200);
    assert_eq!(hugo.closed().await, 4410);
    let gone = async || node.get(&format!("/api/rooms/{ROOM}")).await.status == 404;
    until("the room is gone", gone).await;

    node.room_on_air(ROOM).await;
    for token in [&host, &ann] {
        assert_eq!(Caller::connect(&node.ws, token, "").await.closed().await, 4401);
    }
    let uri = key_uri(&node).await;
    let refused = key(&node, &uri, &listener).await;
    assert_eq!((refused.status, refused.code()), (401, "token_invalid".into()));
    assert_eq!(key(&node, &uri, &node.token(ROOM).await).await.status, 200);
    let again = invite(&node, "host", "hugo").await;
    Caller::connect(&node.ws, &again, "").await.call("join", json!({})).await.expect("a token of this room");
    withstood("tokens of a deleted room on a new room of the same name", "refused", "no access");
}

#[actix::test]
async fn connections_end_with_their_token() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let tokens = Tokens::new(&secrets(&node).jwt, "stentor", Duration::from_secs(60));
    let mut ann = Caller::connect(&node.ws, &invite(&node, "anchor", "ann").await, "").await;
    ann.call("join", json!({})).await.unwrap();
    let (room, ttl, issued) = (RoomId::new(ROOM).unwrap(), Duration::from_secs(12), stentor::rooms::now());
    let token = |role, user| tokens.issue(role, user, &room, None, ttl, issued);
    let (host, anchor) = (token(Role::Host, "hugo"), token(Role::Anchor, "bob"));
    let mut hugo = Caller::connect(&node.ws, &host.token, "").await;
    hugo.call("join", json!({})).await.unwrap();
    hugo.call("mute", json!({ "userId": "ann" })).await.unwrap();
    let mut bob = Caller::connect(&node.ws, &anchor.token, "").await;
    until("the tokens have expired", async || stentor::rooms::now() >= host.expires_at).await;
    // Expired connections are closed within a second. Until then the methods refuse them.
    let (unmuted, joined) =
        futures::join!(hugo.call("unmute", json!({ "userId": "ann" })), bob.call("join", json!({})));
    assert!(unmuted.is_err() && joined.is_err(), "{unmuted:?} {joined:?}");
    assert_eq!((hugo.closed().await, bob.closed().await), (4401, 4401));
    ann.call("leave", json!({})).await.unwrap();
    until("the media session is over", async || node.states_of("media_session").await.is_empty()).await;
}

#[actix::test]
async fn a_token_opens_one_connection_that_joins() {
    let node = Node::start(&[("ws.join_within", "3s")]).await;
    node.room_on_air(ROOM).await;
    let token = invite(&node, "anchor", "ann").await;
    let mut first = Caller::connect(&node.ws, &token, "").await;
    for _ in 0..20 {
        assert_eq!(Caller::connect(&node.ws, &token, "").await.closed().await, 4423);
    }
    let mut joined = Caller::connect(&node.ws, &invite(&node, "anchor", "bob").await, "").await;
    joined.call("join", json!({})).await.unwrap();
    assert_eq!(first.closed().await, 4407);
    joined.call("keepalive", json!({ "status": "idle" })).await.expect("a connection in the room stays open");
    joined.call("leave", json!({})).await.unwrap();
    assert_eq!(joined.closed().await, 4407);
    withstood(
        "any number of sockets with one token",
        "one at a time; closed unless they join",
        "another user joins",
    );
}

#[actix::test]
async fn key_endpoint_serves_only_window_keys() {
    let node = Node::start(&[("hls.key_rotation", "2")]).await;
    node.room_on_air(ROOM).await;
    let token = node.token(ROOM).await;
    let uri = key_uri(&node).await;
    let (path, current) = uri.rsplit_once('=').unwrap();
    let current: u64 = current.parse().unwrap();
    let mut given = Vec::new();
    for index in 0..400 {
        let answer = key(&node, &format!("{path}={index}"), &token).await;
        match answer.status {
            200 => given.push(index),
            _ => assert_eq!((answer.status, answer.code()), (403, "key_out_of_window".into())),
        }
    }
    assert!(given.contains(&current), "{current} of {given:?}");
    // Each key covers two segments. Valid keys: six for the twelve segments that are listed or were listed
    // recently, that of the open segment, the next key, and the keys of segments produced meanwhile.
    assert!(given.len() < 20, "{given:?}");
    withstood("keys of the past and of the future", "403", "no access");
}

#[actix::test]
async fn invented_tokens_are_no_listeners() {
    let node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    key_uri(&node).await;
    for n in 0..50 {
        let agent = format!("agent {n}");
        let url = format!("{}/hls/rooms/{ROOM}/index.m3u8?token=invented-{n}", node.hls);
        assert_eq!(request("GET", &url, &[("user-agent", &agent)], None).await.status, 200);
    }
    let token = node.token(ROOM).await;
    let url = format!("{}/hls/rooms/{ROOM}/index.m3u8?token={token}", node.hls);
    assert_eq!(request("GET", &url, &[], None).await.status, 200);
    let listeners = node.get(&format!("/api/rooms/{ROOM}")).await.json()["room"]["listeners"].clone();
    assert_eq!(listeners, 2, "one token and one address");
    withstood("invented listener tokens", "one listener per address", "the count stays true");
}

async fn invite(node: &Node, role: &str, user: &str) -> String {
    let made = node.post(&format!("/api/rooms/{ROOM}/users"), json!({ "role": role, "userId": user })).await;
    made.json()["token"].as_str().expect("a token").to_owned()
}

/// Waits for a playlist with a key and returns the URI of the newest key.
async fn key_uri(node: &Node) -> String {
    let url = format!("{}/hls/rooms/{ROOM}/index.m3u8", node.hls);
    until("there is a playlist", async || request("GET", &url, &[], None).await.status == 200).await;
    let text = request("GET", &url, &[], None).await.text();
    let uri = text.lines().filter_map(|line| line.split_once("URI=\"enc.key")).next_back().expect("a key").1;
    format!("enc.key{}", uri.split('"').next().unwrap())
}

async fn key(node: &Node, uri: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    request("GET", &format!("{}/hls/rooms/{ROOM}/{uri}", node.hls), &[("authorization", &bearer)], None).await
}

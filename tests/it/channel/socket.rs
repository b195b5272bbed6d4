//! The listener channel as a WebSocket: the same events, commands and refusals as over HTTP.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use super::{Events, ROOM, done, host, listener, pace, send};
use crate::support::abuse_table::withstood;
use crate::support::node::{Node, request};
use crate::support::{in_time, raw, until};
use crate::ws::client::{Client, RefusedUpgrade};

/// Client of a room's channel.
struct Channel {
    client: Client,
    /// Events that arrived while the client waited for an answer.
    events: Vec<Value>,
    next_id: u64,
}

#[actix::test]
async fn both_transports_carry_one_channel() {
    let node = Node::start(&[("node.roles", "rooms,hls,gateway")]).await;
    node.post("/api/rooms", json!({ "roomId": ROOM })).await;
    let (host, ann) = (host(&node).await, listener(&node, "ann", Some("Ann")).await);
    let mut streams = [Events::open(&node.hls, &host, None).await, Events::open(&node.hls, &ann, None).await];
    let mut sockets = [Channel::open(&node, &host, "").await, Channel::open(&node, &ann, "").await];
    let [at_host, at_ann] = &mut sockets;
    let me = at_ann.event("hello").await["you"]["id"].as_str().unwrap().to_owned();
    at_ann.does("POST", "hand", json!({ "note": "about <b>\"tea\"</b>" })).await;
    let sent = at_ann.does("POST", "chat", json!({ "text": "hello" })).await;
    at_host.does("PUT", "pinned", json!({ "message": sent["message"] })).await;
    at_host.does("PUT", "announcement", json!({ "text": "soon" })).await;
    at_host.does("PUT", &format!("hands/{me}/invitation"), Value::Null).await;
    let mut last = Value::Null;
    for (stream, socket) in streams.iter_mut().zip(&mut sockets) {
        let (by_stream, by_socket) = (stage_events(stream).await, socket.stage_events().await);
        assert_eq!(by_socket, by_stream);
        let names: Vec<_> = by_socket.iter().map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(
            names,
            ["snapshot", "hand_raised", "message_sent", "message_pinned", "announced", "invited"]
        );
        last = by_socket[2]["id"].clone();
    }

    // Both transports catch up from the same event id, whichever transport delivered it.
    let last = last.as_str().unwrap();
    let by_stream = stage_events(&mut Events::open(&node.hls, &ann, Some(last)).await).await;
    let by_socket = Channel::open(&node, &ann, &format!("&lastEventId={last}")).await.stage_events().await;
    assert_eq!((by_socket.len(), &by_socket), (3, &by_stream));

    let [_, at_ann] = &mut sockets;
    let entered = at_ann.does("POST", "stage", Value::Null).await;
    assert_eq!((&entered["userId"], entered["token"].is_string()), (&json!("ann"), true));
    node.delete("/api/rooms/talk").await;
    for mut socket in sockets {
        socket.event("closed").await;
        assert_eq!(socket.client.closed().await, (4404, "room_gone".into()));
    }
    until("no client is counted", async || metric(&node, "stentor_channel_clients 0").await).await;
}

#[actix::test]
async fn socket_carries_every_command() {
    let node = Node::start(&[("node.roles", "rooms,hls,gateway")]).await;
    node.post("/api/rooms", json!({ "roomId": ROOM })).await;
    let (host, ann) = (host(&node).await, listener(&node, "ann", Some("Ann")).await);
    let (mut at_host, mut at_ann) =
        (Channel::open(&node, &host, "").await, Channel::open(&node, &ann, "").await);
    let me = at_ann.event("hello").await["you"]["id"].as_str().unwrap().to_owned();
    let settings = json!({ "handsOpen": true, "chatOpen": true, "slowModeSeconds": 1 });
    let floor = json!({ "person": me, "seconds": 60 });
    at_ann.does("POST", "hand", json!({})).await;
    at_ann.does("DELETE", "hand", Value::Null).await;
    at_ann.does("POST", "hand", json!({})).await;
    let message = at_ann.does("POST", "chat", json!({ "text": "hi" })).await["message"].clone();
    at_ann.does("POST", "reactions", json!({ "reaction": "clap" })).await;
    for (method, path, body, event) in [
        ("PUT", format!("hands/{me}/invitation"), Value::Null, "invited"),
        ("DELETE", format!("hands/{me}/invitation"), Value::Null, "invitation_revoked"),
        ("DELETE", format!("hands/{me}"), Value::Null, "hand_lowered"),
        ("PUT", "pinned".into(), json!({ "message": message }), "message_pinned"),
        ("DELETE", "pinned".into(), Value::Null, "message_pinned"),
        ("PUT", "announcement".into(), json!({ "text": "soon" }), "announced"),
        ("DELETE", "announcement".into(), Value::Null, "announced"),
        ("PUT", "settings".into(), settings, "configured"),
        ("PUT", "floor".into(), floor, "floor_given"),
        ("DELETE", "floor".into(), Value::Null, "floor_ended"),
        ("DELETE", format!("chat/{message}"), Value::Null, "message_deleted"),
        ("PUT", "lock".into(), Value::Null, "room"),
        ("DELETE", "lock".into(), Value::Null, "room"),
    ] {
        at_ann.events.clear();
        at_host.does(method, &path, body).await;
        at_ann.event(event).await;
        pace().await;
    }
    assert_eq!(at_host.ask("POST", "mute", Value::Null).await["body"]["code"], "room_not_on_air");
    at_ann.does("POST", "hand", json!({})).await;
    at_host.does("PUT", &format!("bans/{me}"), Value::Null).await;
    assert_eq!(at_ann.client.closed().await, (4403, "removed".into()));
    let banned = Channel::refused(&node, &format!("?token={ann}"), &[]).await;
    assert_eq!((banned.status, &banned.body["code"]), (409, &json!("user_removed")));
    pace().await;
    at_host.does("DELETE", &format!("bans/{me}"), Value::Null).await;
    let back = async || Channel::try_open(&node, &format!("?token={ann}"), &[]).await.is_ok();
    until("the ban is lifted", back).await;
    let mut at_ann = Channel::open(&node, &ann, "").await;
    at_ann.does("POST", "hand", json!({})).await;
    at_host.does("POST", &format!("kicks/{me}"), Value::Null).await;
    assert_eq!(at_ann.client.closed().await, (4403, "removed".into()));
}

#[actix::test]
async fn socket_refuses_like_http() {
    let node = Node::start(&[("node.roles", "rooms,hls,gateway")]).await;
    node.post("/api/rooms", json!({ "roomId": ROOM })).await;
    node.post("/api/rooms", json!({ "roomId": "other" })).await;
    let (host, ann) = (host(&node).await, listener(&node, "ann", Some("Ann")).await);
    let nameless = listener(&node, "bob", None).await;
    let long = "x".repeat(501);
    for (token, cases) in [
        (
            &nameless,
            vec![
                ("POST", "hand", json!({}), 400, "name_required"),
                ("POST", "chat", json!({ "text": "a", "name": "a\u{202E}b" }), 400, "invalid_name"),
                ("POST", "reactions", json!({ "reaction": "tomato" }), 400, "invalid_body"),
                ("POST", "stage", json!({}), 409, "not_invited"),
            ],
        ),
        (
            &ann,
            vec![
                ("POST", "hand", json!({ "note": 7 }), 400, "invalid_body"),
                ("POST", "hand", json!({ "more": 7 }), 400, "invalid_body"),
                ("POST", "hand", json!([]), 400, "invalid_body"),
                ("POST", "chat", json!({ "text": long }), 400, "invalid_text"),
                ("PUT", "announcement", json!({ "text": "a" }), 403, "host_only"),
                ("PUT", "bans/0123456789abcdef", Value::Null, 403, "host_only"),
                ("PUT", "hands/ann/invitation", Value::Null, 400, "invalid_person_id"),
                ("POST", "pinned", json!({}), 405, "method_not_allowed"),
                ("PATCH", "hand", json!({}), 405, "method_not_allowed"),
            ],
        ),
        (
            &host,
            vec![
                ("POST", "hand", json!({}), 409, "on_stage"),
                ("DELETE", "chat/seven", Value::Null, 404, "message_not_found"),
                ("PUT", "hands/0123456789abcdef/invitation", Value::Null, 404, "hand_not_raised"),
                ("PUT", "bans/0123456789abcdef", Value::Null, 404, "person_not_found"),
                ("PUT", "floor", json!({ "person": "0123456789abcdef", "seconds": 4 }), 400, "invalid_body"),
            ],
        ),
    ] {
        let mut channel = Channel::open(&node, token, "").await;
        for (method, path, body, status, code) in cases {
            let by_http = send(&node.hls, token, method, path, body.clone()).await;
            pace().await;
            let by_socket = channel.ask(method, path, body.clone()).await;
            pace().await;
            assert_eq!((by_http.status, by_http.code().as_str()), (status, code), "{method} {path} {body}");
            let (mut of_http, mut of_socket) = (by_http.json(), by_socket["body"].clone());
            assert!(of_socket["requestId"].is_string() && of_http["requestId"] != of_socket["requestId"]);
            of_http["requestId"].take();
            of_socket["requestId"].take();
            assert_eq!(
                (&by_socket["status"], of_socket),
                (&json!(status), of_http),
                "{method} {path} {body}"
            );
        }
    }
    let mut channel = Channel::open(&node, &ann, "").await;
    let deep = format!(
        r#"{{"id":1,"method":"POST","path":"hand","body":{}1{}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    for (text, code) in [
        ("", "invalid_json"),
        ("nonsense", "invalid_json"),
        (r#"{"id":1"#, "invalid_json"),
        (&deep, "invalid_body"),
        ("[]", "invalid_body"),
        (r#"{"id":1}"#, "invalid_body"),
        (r#"{"id":"1","method":"POST","path":"hand"}"#, "invalid_body"),
        (r#"{"id":1,"id":2,"method":"POST","path":"hand"}"#, "invalid_body"),
        (r#"{"id":1,"method":"POST","path":"hand","token":"x"}"#, "invalid_body"),
        (r#"{"id":1,"method":"POST","path":7}"#, "invalid_body"),
    ] {
        let answer = channel.answer_to(text.to_owned()).await;
        assert_eq!((&answer["id"], &answer["status"]), (&Value::Null, &json!(400)), "{text:.80} {answer}");
        assert_eq!((&answer["body"]["code"], &answer["body"]["success"]), (&json!(code), &json!(false)));
    }
    // No path leaves the room of the token, opens another stream, or reaches another part of the server.
    for path in [
        "",
        "/",
        "/hand",
        "../other/hand",
        "..%2Fother%2Fhand",
        "%2e%2e/other/hand",
        "events",
        "index.m3u8",
        "hand\u{0}",
        "hand/",
        "nothing",
        "h\u{e4}nd",
        "hand\r\nx: y",
        "../../../api/rooms",
    ] {
        let answer = channel.ask("POST", path, json!({})).await;
        assert_eq!(
            (&answer["status"], &answer["body"]["code"]),
            (&json!(404), &json!("not_found")),
            "{path:?}"
        );
    }
    for method in ["", "GET /x", "G\u{0}", "\u{e4}"] {
        let answer = channel.ask(method, "hand", json!({})).await;
        assert_eq!(answer["body"]["code"], "invalid_body", "{method:?}");
    }
    channel.does("POST", "hand", json!({})).await;
    assert!(!node.output().contains(&*ann) && !node.output().contains(&*host), "no token in the log");
    withstood(
        "wrong commands over the channel's WebSocket: JSON, fields, paths, methods",
        "400, 403, 404, 405, 409",
        "the client's next command works",
    );
}

#[actix::test]
async fn socket_handshakes_need_own_token() {
    let keys = [
        ("node.roles", "rooms,hls"),
        ("auth.mode", "keys"),
        ("auth.api_keys", "sixteen-letters-1"),
        ("http.allowed_origins", "https://app.example.org"),
    ];
    let mut node = Node::start(&keys).await;
    node.post("/api/rooms", json!({ "roomId": ROOM })).await;
    node.post("/api/rooms", json!({ "roomId": "other" })).await;
    let ann = listener(&node, "ann", Some("Ann")).await;
    let other = node.post("/api/token", json!({ "roomId": "other" })).await.json();
    let other = other["token"].as_str().unwrap().to_owned();
    let (bearer, cookie) = (format!("Bearer {ann}"), format!("stentor_listener={ann}"));
    let protocols = format!("stentor, bearer.{ann}");
    for (query, headers) in [
        (format!("?token={ann}"), vec![]),
        (String::new(), vec![("authorization", bearer.as_str())]),
        (String::new(), vec![("sec-websocket-protocol", protocols.as_str())]),
        // A page of any origin may connect with a token of its own, as over HTTP.
        (
            String::new(),
            vec![("sec-websocket-protocol", protocols.as_str()), ("origin", "https://a.example")],
        ),
    ] {
        let (mut channel, selected) = Channel::try_open(&node, &query, &headers).await.expect("let in");
        let asked = headers.iter().any(|(name, _)| *name == "sec-websocket-protocol");
        assert_eq!(selected, asked.then(|| "stentor".to_owned()));
        assert_eq!(channel.event("hello").await["you"]["name"], "Ann");
        channel.does("POST", "reactions", json!({ "reaction": "clap" })).await;
    }
    let page = ("sec-websocket-protocol", "stentor");
    for origin in ["https://evil.example", "https://app.example.org", node.hls.as_str()] {
        // Browsers let every page open a WebSocket, and add the cookie.
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        let refused = Channel::refused(&node, "", &headers).await;
        assert_eq!((refused.status, &refused.body["code"]), (401, &json!("token_missing")), "{origin}");
        let (mut channel, _) = Channel::try_open(&node, "", &[headers[0], headers[1], page]).await.unwrap();
        assert_eq!(channel.client.closed().await, (4401, "token_invalid".into()));
    }
    for (token, status, code, closed) in
        [("a.b.c", 401, "token_invalid", 4401), (&*other, 403, "token_wrong_room", 4401)]
    {
        let refused = Channel::refused(&node, &format!("?token={token}"), &[]).await;
        assert_eq!((refused.status, &refused.body["code"]), (status, &json!(code)));
        let (mut channel, _) = Channel::try_open(&node, &format!("?token={token}"), &[page]).await.unwrap();
        assert_eq!(channel.client.closed().await.0, closed);
    }
    let target = format!("/hls/rooms/{ROOM}/events?token={ann}");
    for (version, key, status, code) in [
        ("8", "dGhlIHNhbXBsZSBub25jZQ==", 426, "websocket_version"),
        ("13", "short", 400, "websocket_expected"),
    ] {
        let headers = format!(
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: {version}\r\n\
             Sec-WebSocket-Key: {key}\r\n"
        );
        let refused = raw::request(&node.hls, "GET", target.as_bytes(), &headers, b"").await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code));
    }
    withstood(
        "WebSockets of the channel with a cookie or a wrong token",
        "401, 403, closed with 4401",
        "no access",
    );

    let anna =
        node.post(&format!("/api/rooms/{ROOM}/users"), json!({ "role": "anchor", "userId": "anna" })).await;
    let anna = anna.json()["token"].as_str().unwrap().to_owned();
    let mut at_anna = Channel::open(&node, &anna, "").await;
    at_anna.event("hello").await;
    let role = node.put(&format!("/api/rooms/{ROOM}/users/anna/role"), json!({ "role": "host" })).await;
    done(&role);
    assert_eq!(at_anna.client.closed().await, (4412, "role_changed".into()));
    let mut at_anna = Channel::open(&node, &anna, "").await;
    assert_eq!(at_anna.event("hello").await["you"]["role"], "host");
    let stopped = async { at_anna.client.closed().await };
    node.signal(rustix::process::Signal::TERM);
    assert_eq!(stopped.await, (4503, "draining".into()));
    assert!(node.ended().success());
}

#[actix::test]
async fn abusive_sockets_are_closed_alone() {
    let node = Node::start(&[("node.roles", "rooms,hls,gateway")]).await;
    node.post("/api/rooms", json!({ "roomId": ROOM })).await;
    let (ann, bob) = (listener(&node, "ann", Some("Ann")).await, listener(&node, "bob", Some("Bob")).await);
    let mut at_bob = Channel::open(&node, &bob, "").await;
    for (message, code) in [
        (Message::binary(vec![1, 2, 3]), 1003),
        (Message::text("x".repeat(10 << 20)), 1009),
        (Message::Close(None), 1000),
    ] {
        let mut channel = Channel::open(&node, &ann, "").await;
        // An error means that the connection is already closed.
        let _ = channel.client.socket.send(message).await;
        assert_eq!(channel.client.closed().await.0, code);
    }
    // Commands that are sent without waiting are answered in order. Those above the rate are refused.
    let mut channel = Channel::open(&node, &ann, "").await;
    for id in 0..60 {
        let react =
            json!({ "id": id, "method": "POST", "path": "reactions", "body": { "reaction": "heart" } });
        channel.client.socket.feed(Message::text(react.to_string())).await.unwrap();
    }
    channel.client.socket.flush().await.unwrap();
    let mut refused = 0;
    for id in 0..60 {
        let answer = channel.answer().await;
        assert_eq!(answer["id"], id);
        if answer["status"] == 429 {
            assert_eq!(
                (&answer["body"]["code"], answer["retryAfter"].is_u64()),
                (&json!("too_many_requests"), true)
            );
            refused += 1;
        }
    }
    assert!(refused > 0);

    // One client reads nothing. Its connection is cut; the others get all events.
    let address: SocketAddr = node.hls.trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let url = format!("ws://{address}/hls/rooms/{ROOM}/events?token={}", listener(&node, "deaf", None).await);
    let mut deaf = client_async(url, stream).await.expect("an upgrade").0;
    drop(channel);
    until("two clients are left", async || metric(&node, "stentor_channel_clients 2").await).await;
    let text = "\u{1d54f}".repeat(500);
    let mut said = 0;
    in_time("the end of the slow client", async {
        while !metric(&node, "stentor_channel_clients 1").await {
            let answer = at_bob.ask("POST", "chat", json!({ "text": text })).await;
            if answer["status"] == 200 {
                at_bob.event("message_sent").await;
                said += 1;
            }
            pace().await;
        }
    })
    .await;
    assert!(said > 0);
    in_time("the end of the stream", async {
        while let Some(Ok(message)) = deaf.next().await {
            assert!(!message.is_close(), "a client that reads nothing got a close frame");
        }
    })
    .await;
    at_bob.does("POST", "reactions", json!({ "reaction": "clap" })).await;
    withstood(
        "WebSockets of the channel: binary, 10 MB, floods, a client that does not read",
        "closed with a code; 429; cut",
        "another listener gets all events",
    );
}

impl Channel {
    /// Opens the channel with a token in the query. `more`: further parameters.
    async fn open(node: &Node, token: &str, more: &str) -> Self {
        Self::try_open(node, &format!("?token={token}{more}"), &[]).await.expect("an upgrade").0
    }

    /// Opens the channel, and returns it with the selected subprotocol.
    async fn try_open(
        node: &Node,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Self, Option<String>), RefusedUpgrade> {
        let address = node.hls.trim_start_matches("http://").parse().unwrap();
        let target = format!("/hls/rooms/{ROOM}/events{query}");
        let (client, response) = Client::open_at(address, &target, headers).await?;
        let selected = response.headers().get("sec-websocket-protocol");
        let selected = selected.map(|protocol| protocol.to_str().unwrap().to_owned());
        Ok((Self { client, events: Vec::new(), next_id: 0 }, selected))
    }

    async fn refused(node: &Node, query: &str, headers: &[(&'static str, &str)]) -> RefusedUpgrade {
        Self::try_open(node, query, headers).await.map(|_| ()).expect_err("a refusal")
    }

    /// Sends a command and returns its answer.
    async fn ask(&mut self, method: &str, path: &str, body: Value) -> Value {
        self.next_id += 1;
        let mut command = json!({ "id": self.next_id, "method": method, "path": path });
        if !body.is_null() {
            command["body"] = body;
        }
        let answer = self.answer_to(command.to_string()).await;
        assert_eq!(answer["id"], self.next_id);
        answer
    }

    /// Sends a command that succeeds, and returns the body of the answer.
    async fn does(&mut self, method: &str, path: &str, body: Value) -> Value {
        let mut answer = self.ask(method, path, body).await;
        assert_eq!(
            (&answer["status"], &answer["body"]["success"]),
            (&json!(200), &json!(true)),
            "{path} {answer}"
        );
        answer["body"].take()
    }

    async fn answer_to(&mut self, text: String) -> Value {
        self.client.send(text).await;
        self.answer().await
    }

    /// Returns the next answer. Keeps the events before it.
    async fn answer(&mut self) -> Value {
        loop {
            let message = self.client.next().await;
            if message.get("event").is_none() {
                return message;
            }
            self.events.push(message);
        }
    }

    /// Returns the data of the next event with this name. Others are skipped.
    async fn event(&mut self, name: &str) -> Value {
        if let Some(at) = self.events.iter().position(|event| event["event"] == name) {
            return self.events.drain(..=at).next_back().unwrap()["data"].take();
        }
        self.events.clear();
        let found = async {
            loop {
                let mut message = self.client.next().await;
                if message["event"] == name {
                    return message["data"].take();
                }
            }
        };
        in_time(name, found).await
    }

    /// Reads events up to and including the invitation, the kept ones first. Returns those that have an id.
    async fn stage_events(&mut self) -> Vec<Value> {
        let mut events = std::mem::take(&mut self.events);
        while !events.iter().any(|event| event["event"] == "invited") {
            events.push(self.client.next().await);
        }
        events.into_iter().filter(|event| event["id"].is_string()).collect()
    }
}

/// Reads events up to and including the invitation. Returns those that have an id.
async fn stage_events(stream: &mut Events) -> Vec<Value> {
    let mut events = Vec::new();
    while !events.iter().any(|event: &Value| event["event"] == "invited") {
        events.push(stream.any("invited").await);
    }
    events.into_iter().filter(|event| event["id"].is_string()).collect()
}

/// Returns true if the node's metrics have this line.
async fn metric(node: &Node, line: &str) -> bool {
    let metrics = request("GET", &format!("{}/metrics", node.ops), &[], None).await.text();
    metrics.lines().any(|known| known == line)
}

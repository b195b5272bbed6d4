//! Access checks of the upgrade: token, origin, subprotocol.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use stentor::auth::Role;
use stentor::domain::ids::RoomId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Client, RefusedUpgrade};
use super::gateway::{Gateway, tokens};
use crate::support::abuse_table::withstood;
use crate::support::in_time;
use crate::support::node::request;

async fn refused(gateway: &Gateway, query: &str, headers: &[(&'static str, &str)]) -> RefusedUpgrade {
    Client::open(gateway.address, query, headers).await.map(|_| ()).expect_err("a refusal")
}

#[actix::test]
async fn token_is_accepted_in_three_ways() {
    let gateway = Gateway::start().await;
    let token = gateway.token("ann");
    let authorization = format!("Bearer {token}");
    let protocols = format!("stentor, bearer.{token}");
    for (query, headers) in [
        (format!("?token={token}&clientId=tab-1"), vec![]),
        (String::new(), vec![("authorization", authorization.as_str())]),
    ] {
        let (mut client, answer) = Client::open(gateway.address, &query, &headers).await.expect("let in");
        assert!(answer.headers().get("sec-websocket-protocol").is_none());
        assert_eq!(client.call("join", json!({})).await, json!({ "user": "ann" }));
    }
    let headers = [("sec-websocket-protocol", protocols.as_str())];
    let (mut client, answer) = Client::open(gateway.address, "", &headers).await.expect("let in");
    assert_eq!(answer.headers()["sec-websocket-protocol"], "stentor");
    assert!(!format!("{answer:?}").contains(&token));
    assert_eq!(client.call("join", json!({})).await, json!({ "user": "ann" }));
    let peer = gateway.script.connected.lock().unwrap()[0].clone();
    assert_eq!((peer.room.as_str(), peer.role), ("demo", Role::Anchor));
    assert_eq!(peer.client_id.clone().map(String::from), Some("tab-1".into()));
    assert!(peer.address.is_loopback());
    gateway.stop().await;
}

#[actix::test]
async fn frames_sent_with_handshake_are_read() {
    let gateway = Gateway::start().await;
    let call = br#"{"jsonrpc":"2.0","id":1,"method":"join"}"#;
    let request = format!(
        "GET /ws?token={} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        gateway.token("ann")
    );
    // The call as a text frame, masked with zeros.
    let frame = [&[0x81, 0x80 | call.len() as u8, 0, 0, 0, 0], &call[..]].concat();
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(&[request.as_bytes(), &frame].concat()).await.unwrap();
    let mut answer = Vec::new();
    in_time("the answer to the call", async {
        while !String::from_utf8_lossy(&answer).contains(r#""result":{"user":"ann"}"#) {
            assert!(socket.read_buf(&mut answer).await.unwrap() > 0);
        }
    })
    .await;
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    // An empty close frame.
    socket.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    in_time("the end of the connection", socket.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.ends_with(b"\x03\xe8normal"), "close code 1000");
    gateway.stop().await;
}

#[actix::test]
async fn upgrade_refuses_invalid_tokens() {
    let gateway = Gateway::start().await;
    let now = gateway.clock.wall();
    let (room, hour) = (RoomId::new("demo").unwrap(), Duration::from_secs(3600));
    let past = stentor::domain::ids::UnixMs(now.0 - 7_200_000);
    let claims = json!({
        "exp": now.0 / 1000 + 60, "iat": now.0 / 1000, "aud": "stentor/anchor", "iss": "stentor",
        "sub": "ann", "roomId": "demo", "role": "anchor", "jti": "1"});
    assert!(
        Client::open(gateway.address, &format!("?token={}", signed(&claims, Algorithm::HS256)), &[])
            .await
            .is_ok()
    );
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        signed(&claims, Algorithm::HS256)
    };
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        signed(&claims, Algorithm::HS256)
    };
    for (what, token, code) in [
        ("none", unsigned(&claims), "token_invalid"),
        ("another algorithm", signed(&claims, Algorithm::HS512), "token_invalid"),
        ("no exp", without("exp"), "token_invalid"),
        ("no role", without("role"), "token_invalid"),
        ("no room", without("roomId"), "token_invalid"),
        (
            "expired",
            gateway.tokens.issue(Role::Anchor, "ann", &room, None, hour, past).token,
            "token_expired",
        ),
        ("a listener's", gateway.tokens.issue_listener(&room, None, now).token, "token_invalid"),
        ("another audience", with("aud", json!("elsewhere")), "token_invalid"),
        ("another issuer", with("iss", json!("mallory")), "token_invalid"),
        ("no room id", with("roomId", json!("../etc")), "token_invalid"),
        ("no user id", with("sub", json!("a\u{0}b")), "token_invalid"),
        (
            "rotated out",
            tokens("k0", 1).issue(Role::Anchor, "ann", &room, None, hour, now).token,
            "token_invalid",
        ),
        (
            "another secret",
            tokens("k1", 9).issue(Role::Anchor, "ann", &room, None, hour, now).token,
            "token_invalid",
        ),
        ("garbage", "a.b.c".into(), "token_invalid"),
        ("empty", String::new(), "token_invalid"),
        ("long", "x".repeat(5000), "token_invalid"),
    ] {
        let refused = refused(&gateway, &format!("?token={token}"), &[]).await;
        assert_eq!((refused.status, &refused.body["code"]), (401, &json!(code)), "{what}");
        assert!(refused.body["requestId"].is_string() && refused.body["success"] == false);
        assert!(token.is_empty() || !refused.body.to_string().contains(&token), "{what}");
    }
    // A page cannot see the status of a refused upgrade, so the upgrade is accepted, and a close code reports
    // the refusal.
    let protocols = format!("stentor, bearer.{}", unsigned(&claims));
    let (mut page, _) = Client::open(gateway.address, "", &[("sec-websocket-protocol", &protocols)])
        .await
        .expect("an upgrade");
    assert_eq!(page.closed().await, (4401, "token_invalid".into()));
    let nothing = refused(&gateway, "", &[]).await;
    assert_eq!((nothing.status, &nothing.body["code"]), (401, &json!("token_missing")));
    assert_eq!(gateway.script.connected.lock().unwrap().len(), 1, "only the good one came so far");
    gateway.stop().await;
    withstood("upgrades with invalid tokens", "closed or refused with a code", "no access");
}

#[actix::test]
async fn pages_need_an_allowed_origin() {
    let gateway = Gateway::start().await;
    let query = format!("?token={}", gateway.token("ann"));
    let own = format!("http://{}", gateway.address);
    for allowed in [own.as_str(), "https://app.example.org"] {
        let opened = Client::open(gateway.address, &query, &[("origin", allowed)]).await;
        assert!(opened.is_ok(), "{allowed}");
    }
    for foreign in
        ["https://evil.example.org", "null", "https://app.example.org.evil.com", "http://127.0.0.1"]
    {
        let refused = refused(&gateway, &query, &[("origin", foreign)]).await;
        assert_eq!((refused.status, &refused.body["code"]), (403, &json!("origin_not_allowed")), "{foreign}");
    }
    gateway.stop().await;
    withstood("pages of foreign origins", "403", "no access");
}

#[actix::test]
async fn non_upgrade_requests_are_refused() {
    let gateway = Gateway::start().await;
    let url = format!("http://{}/ws?token={}", gateway.address, gateway.token("ann"));
    let plain = request("GET", &url, &[], None).await;
    assert_eq!((plain.status, plain.code()), (400, "websocket_expected".into()));
    for (name, value, status, code) in [
        ("sec-websocket-key", "", 400, "websocket_expected"),
        ("sec-websocket-version", "8", 426, "websocket_version"),
    ] {
        let mut headers = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        headers.iter_mut().filter(|(known, _)| *known == name).for_each(|header| header.1 = value);
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let target = url.trim_start_matches(&format!("http://{}", gateway.address));
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        let mut client = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut client, bytes.as_bytes()).await.unwrap();
        let mut answer = [0; 1024];
        let read = tokio::io::AsyncReadExt::read(&mut client, &mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains("nosniff"), "{answer}");
        assert!(answer.contains(code), "{answer}");
        assert_eq!(answer.contains("sec-websocket-version: 13\r\n"), status == 426, "{answer}");
    }
    let posted = request("POST", &url, &[], None).await;
    assert_eq!((posted.status, posted.code()), (405, "method_not_allowed".into()));
    let odd = refused(&gateway, &format!("?token={}&clientId=a%20b", gateway.token("ann")), &[]).await;
    assert_eq!((odd.status, &odd.body["code"]), (400, &json!("invalid_query")));
    gateway.stop().await;
    withstood("requests that are not a valid upgrade (RFC 6455 section 4.2.1)", "400, 405, 426", "no access");
}

fn signed(claims: &Value, algorithm: Algorithm) -> String {
    let header = Header { kid: Some("k1".into()), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(&[1; 32])).unwrap()
}

fn unsigned(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({"alg": "none", "kid": "k1", "typ": "JWT"})), part(claims))
}

//! Tricks with the host, the headers, the method and the encoding of requests, at each listening socket.

use crate::support::abuse_table::withstood;
use crate::support::node::Node;
use crate::support::raw;

/// Requests that must be refused. `{line}` is replaced by a method and a path of the socket.
fn refused() -> Vec<(&'static str, String)> {
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    vec![
        ("no host", "{line} HTTP/1.1\r\n\r\n".into()),
        ("two hosts", "{line} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n".into()),
        ("two hosts, reversed", "{line} HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n".into()),
        ("host of others", "{line} HTTP/1.1\r\nHost: evil.example\r\n\r\n".into()),
        ("host with a user", "{line} HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n".into()),
        ("host with a space", "{line} HTTP/1.1\r\nHost: localhost evil.example\r\n\r\n".into()),
        ("host with a null byte", "{line} HTTP/1.1\r\nHost: localhost\0.evil.example\r\n\r\n".into()),
        ("name with a space", "{line} HTTP/1.1\r\nHost : localhost\r\n\r\n".into()),
        ("folded header", "{line} HTTP/1.1\r\nHost: localhost\r\nX: y\r\n z\r\n\r\n".into()),
        ("null byte in a value", "{line} HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n".into()),
        ("line without a colon", "{line} HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n".into()),
        ("200 headers", format!("{{line}} HTTP/1.1\r\nHost: localhost\r\n{many}\r\n")),
        (
            "header of 200 kB",
            format!("{{line}} HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "y".repeat(200_000)),
        ),
        ("unknown version", "{line} HTTP/9.9\r\nHost: localhost\r\n\r\n".into()),
        ("control character in the path", "GET /a\x01b HTTP/1.1\r\nHost: localhost\r\n\r\n".into()),
        ("path of 100 kB", format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(100_000))),
        ("overlong UTF-8", "GET /%c0%ae%c0%ae/secrets.json HTTP/1.1\r\nHost: localhost\r\n\r\n".into()),
        ("double encoding", "GET /%252e%252e/secrets.json HTTP/1.1\r\nHost: localhost\r\n\r\n".into()),
        ("CONNECT", "CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n".into()),
        ("TRACE", "TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n".into()),
    ]
}

/// Bodies for `POST /api/rooms` that must be refused.
fn bodies() -> Vec<(&'static str, &'static str, &'static [u8])> {
    const JSON: &str = "Content-Type: application/json\r\n";
    let room = br#"{"roomId":"made"}"#;
    vec![
        ("gzip", "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", b"\x1f\x8b\x08\0\0\0\0\0"),
        ("gzip of a plain body", "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", room),
        ("UTF-16", JSON, b"\xff\xfe{\0}\0"),
        ("invalid UTF-8", JSON, b"{\"roomId\":\"\xff\"}"),
        ("form", "Content-Type: application/x-www-form-urlencoded\r\n", b"roomId=made"),
        ("text", "Content-Type: text/plain\r\n", room),
    ]
}

#[actix::test]
async fn header_tricks_are_refused() {
    let node = Node::start(&[("node.roles", "rooms,gateway,hls")]).await;
    let mut odd = Vec::new();
    for (socket, base, line) in [
        ("api", &node.api, "GET /api/rooms"),
        ("hls", &node.hls, "GET /pages/config"),
        ("ws", &node.ws, "GET /ws"),
        ("ops", &node.ops, "GET /actors"),
    ] {
        for (form, text) in refused() {
            let text = text.replace("{line}", line).replacen("\r\n", "\r\nConnection: close\r\n", 1);
            let answer = raw::send(base, text.as_bytes()).await;
            // 0: closed without an answer.
            if !matches!(answer.status, 0 | 400..=499 | 501 | 505) {
                odd.push(format!("{form} at {socket}: {} {}", answer.status, answer.text()));
            }
        }
    }
    for (form, headers, body) in bodies() {
        let answer = raw::request(&node.api, "POST", b"/api/rooms", headers, body).await;
        if !matches!(answer.status, 400 | 415) {
            odd.push(format!("body, {form}: {} {}", answer.status, answer.text()));
        }
    }
    assert!(odd.is_empty(), "{odd:#?}");
    // A host that only a trusted proxy may name appears in no answer.
    let forwarded = "X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n";
    let answer = raw::request(&node.hls, "GET", b"/listen/demo", forwarded, b"").await;
    assert!(!answer.text().contains("evil.example"), "{answer:?}");
    let rooms = node.get("/api/rooms").await;
    assert_eq!((rooms.status, &rooms.json()["rooms"]), (200, &serde_json::json!([])));
    withstood(
        &format!("tricks with host, headers, method and encoding ({})", refused().len() + bodies().len()),
        "400, 403, 404, 405, 415, 431 or closed",
        "no room is made; the next request is answered",
    );
}

//! Requests whose length is ambiguous (RFC 9112 section 11.2). Behind a proxy that reads the length
//! differently, the end of such a request would be taken for another client's request.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::abuse_table::withstood;
use crate::support::node::Node;

/// Request that an attacker hides in the body of another one.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Returns headers with an ambiguous length, each with a body that matches one possible reading.
fn ambiguous() -> Vec<(&'static str, String)> {
    let chunked = || format!("0\r\n\r\n{HIDDEN}");
    let hidden = || HIDDEN.to_owned();
    vec![
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunked()),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunked()),
        ("Content-Length: 0\r\nContent-Length: 66\r\n", hidden()),
        ("Content-Length: 66\r\nContent-Length: 0\r\n", hidden()),
        ("Content-Length: 0, 66\r\n", hidden()),
        ("Content-Length: +0\r\n", hidden()),
        ("Content-Length: -1\r\n", hidden()),
        ("Content-Length: 0x0\r\n", hidden()),
        ("Content-Length: 0 0\r\n", hidden()),
        ("Content-Length: 99999999999999999999999\r\n", hidden()),
        ("Content-Length : 0\r\n", hidden()),
        ("Content-Length:\r\n 0\r\n", hidden()),
        ("Transfer-Encoding: xchunked\r\n", chunked()),
        ("Transfer-Encoding: chunked, identity\r\n", chunked()),
        ("Transfer-Encoding: identity, chunked\r\n", chunked()),
        ("Transfer-Encoding: gzip, chunked\r\n", chunked()),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunked()),
        ("Transfer-Encoding : chunked\r\n", chunked()),
        ("Transfer-Encoding:\r\n chunked\r\n", chunked()),
        ("X: y\r\n Transfer-Encoding: chunked\r\n", chunked()),
        ("Transfer-Encoding: \u{b}chunked\r\n", chunked()),
        ("Transfer-Encoding: chunked\r\n", format!("FFFFFFFFFFFFFFFF0\r\n\r\n{HIDDEN}")),
        ("Transfer-Encoding: chunked\r\n", format!("-0\r\n\r\n{HIDDEN}")),
        ("Transfer-Encoding: chunked\r\n", format!("0x0\r\n\r\n{HIDDEN}")),
        ("Transfer-Encoding: chunked\r\n", format!("0;a\n\r\n{HIDDEN}")),
        ("Transfer-Encoding: chunked\r\n", format!("0\n\n{HIDDEN}")),
        ("Transfer-Encoding: chunked\r\n", format!("2\r\n{{}}0\r\n\r\n{HIDDEN}")),
        ("Transfer-Encoding: chunked\r\n", format!("2\r\n{{}}XX0\r\n\r\n{HIDDEN}")),
    ]
}

#[actix::test]
async fn ambiguous_lengths_hide_no_request() {
    let node = Node::start(&[("node.roles", "rooms,gateway,hls")]).await;
    let sockets = [
        (&node.api, "POST /api/rooms"),
        (&node.hls, "POST /pages/rooms/room-a/token"),
        (&node.ws, "POST /ws"),
        (&node.ops, "POST /reload"),
    ];
    let mut answered = Vec::new();
    for (base, line) in sockets {
        for (headers, body) in ambiguous() {
            let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
            let received = exchange(base, format!("{head}{headers}\r\n{body}").as_bytes()).await;
            let responses = received.matches("HTTP/1.1 ").count();
            if responses > 1 || received.starts_with("HTTP/1.1 2") {
                answered.push(format!("{line} {headers:?} {body:?}: {received:?}"));
            }
        }
        // A chunk extension is legal and does not change the length (RFC 9112 section 7.1.1).
        let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        let legal = format!("{head}0;a=\"b\"\r\n\r\n{HIDDEN}");
        let received = exchange(base, legal.as_bytes()).await;
        assert!(received.matches("HTTP/1.1 ").count() >= 1, "{line}: {received:?}");
    }
    assert!(answered.is_empty(), "{}", answered.join("\n"));
    // Only the legal request has made a room.
    assert_eq!(node.get("/api/rooms").await.json()["rooms"].as_array().map(Vec::len), Some(1));
    withstood(
        "request smuggling: CL.TE, TE.CL, doubled and odd lengths, odd encodings, chunks, folded headers",
        "400, 405, 501, closed",
        "no hidden request is answered",
    );
}

/// Sends bytes and ends the sending direction. Returns everything that the node answers.
async fn exchange(base: &str, bytes: &[u8]) -> String {
    let address = base.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut received = Vec::new();
    let talk = async {
        // The node may close the connection while the request is sent or the answer is read. The bytes
        // received until then count.
        let _ = socket.write_all(bytes).await;
        let _ = socket.shutdown().await;
        let _ = socket.read_to_end(&mut received).await;
    };
    tokio::time::timeout(crate::support::PATIENCE, talk).await.expect("the node closes the connection");
    String::from_utf8_lossy(&received).into_owned()
}

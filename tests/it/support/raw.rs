//! HTTP as raw bytes, for requests that a well-behaved client never sends.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::node::Answer;

const PATIENCE: Duration = Duration::from_secs(30);

/// Sends a request for exactly this target: nothing is normalised or encoded. `headers` are whole lines.
pub async fn request(base: &str, method: &str, target: &[u8], headers: &str, body: &[u8]) -> Answer {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!(" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}{headers}\r\n");
    send(base, &[method.as_bytes(), b" ", target, head.as_bytes(), body].concat()).await
}

/// Sends these bytes. Status 0: the connection was closed without an answer.
pub async fn send(base: &str, request: &[u8]) -> Answer {
    let address = base.strip_prefix("http://").expect("an http URL");
    let (mut reader, mut writer) = TcpStream::connect(address).await.expect("the node listens").into_split();
    let mut received = Vec::new();
    let exchange = async {
        // The server may close the connection during the write or the read. The bytes received until then are
        // the answer.
        let write = async { drop(writer.write_all(request).await) };
        let read = async { drop(reader.read_to_end(&mut received).await) };
        tokio::join!(write, read);
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("the server closes the connection");
    parse(&received)
}

/// Parses a response. Our bodies have a length, so they are never chunked.
fn parse(received: &[u8]) -> Answer {
    let end = received.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(received.len());
    let head = String::from_utf8_lossy(&received[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let pairs = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = pairs.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Answer { status, headers, body: received.get(end + 4..).unwrap_or_default().to_vec() }
}

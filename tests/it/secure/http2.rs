//! HTTP/2 over TLS, on a real node: a player's requests, a browser, attacks.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::frames::{self, Frame};
use super::{Authority, ROOM, https, start};
use crate::support::abuse_table::withstood;
use crate::support::node::{Node, request};
use crate::support::pages::Pages;
use crate::support::{PATIENCE, report, until};

/// Number of reloads of the playlist.
const ROUNDS: usize = 20;

async fn socket(authority: &Authority, base: &str) -> TlsStream<TcpStream> {
    let mut config = ClientConfig::clone(&authority.client());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let socket = TcpStream::connect(base.split_once("://").unwrap().1).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap()
}

async fn connect(authority: &Authority, base: &str) -> SendRequest<Bytes> {
    let socket = socket(authority, base).await;
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    actix::spawn(async {
        // An error of the connection also fails the requests on it, which the tests check.
        let _ = connection.await;
    });
    client
}

async fn get(client: &SendRequest<Bytes>, url: &str) -> (u16, Vec<u8>) {
    let mut client = client.clone();
    poll_fn(|task| client.poll_ready(task)).await.unwrap();
    let (response, _) = client.send_request(http::Request::get(url).body(()).unwrap(), true).unwrap();
    let response = tokio::time::timeout(PATIENCE, response).await.unwrap().unwrap();
    let status = response.status().as_u16();
    let (mut body, mut bytes) = (response.into_body(), Vec::new());
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    (status, bytes)
}

/// Returns the media sequence number of the segment in progress, the number of its parts, and the URI of the
/// last part.
fn position(playlist: &str) -> (u64, usize, String) {
    let first = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).unwrap();
    let segments = playlist.lines().filter(|line| line.starts_with("#EXTINF:")).count() as u64;
    let parts = playlist.rsplit("#EXTINF:").next().unwrap();
    let parts: Vec<_> = parts.lines().filter(|line| line.starts_with("#EXT-X-PART:")).collect();
    let last = playlist.lines().rfind(|line| line.starts_with("#EXT-X-PART:")).unwrap();
    let uri = last.split_once("URI=\"").unwrap().1.split_once('"').unwrap().0;
    (first.parse::<u64>().unwrap() + segments, parts.len(), uri.to_owned())
}

#[actix::test]
async fn low_latency_hls_over_http2() {
    let authority = Authority::new();
    let mut node = start(authority.settings(), &[("tls.sockets", "hls,ws")]).await;
    node.room_on_air(ROOM).await;
    let (hls, token) = (https(&node.hls), node.token(ROOM).await);
    let client = connect(&authority, &hls).await;
    let base = format!("{hls}/hls/rooms/{ROOM}");
    let playlist = async |query: String| {
        let (status, body) = get(&client, &format!("{base}/index.m3u8?token={token}{query}")).await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, 200, "{body}");
        body
    };
    let (mut sequence, mut part, mut last) = position(&playlist(String::new()).await);
    for _ in 0..ROUNDS {
        // Request the next playlist and the last part at the same time on one connection.
        let reload = playlist(format!("&_HLS_msn={sequence}&_HLS_part={part}"));
        let url = url::Url::parse(&format!("{base}/index.m3u8")).unwrap().join(&last).unwrap();
        let (playlist, (status, bytes)) = futures::join!(reload, get(&client, url.as_str()));
        assert_eq!((status, bytes.len() % 16), (200, 0), "{last}");
        let now = position(&playlist);
        assert!((now.0, now.1) > (sequence, part), "{now:?}: {playlist}");
        (sequence, part, last) = now;
    }
    // This path opens WebSockets, which HTTP/2 does not carry here.
    let users = format!("/api/rooms/{ROOM}/users");
    let invited = node.post(&users, json!({ "role": "anchor" })).await.json();
    let ws = connect(&authority, &https(&node.ws)).await;
    let url = format!("{}/ws?token={}", https(&node.ws), invited["token"].as_str().unwrap());
    let (status, body) = get(&ws, &url).await;
    let body = String::from_utf8(body).unwrap();
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("websocket_expected") && body.contains("HTTP/1.1 is needed"), "{body}");
    drop((client, ws));

    let mut pages = Pages::start().await;
    let url = format!("{hls}/listen/{ROOM}#token={token}");
    pages.ask("eve", "open", json!({ "url": url, "selfSigned": true })).await;
    let state = pages.ask("eve", "wait", json!({ "pill": "Live" })).await;
    assert_eq!(state["protocols"], json!(["h2"]), "{state}");
    report(format!("a browser is {} s behind live over HTTP/2", state["behindLiveSeconds"]));
    drop(pages);
    assert!(node.stop().success());
}

/// Sends `bytes` and reads until the node closes the connection, or until `enough`.
async fn attack(
    socket: &mut TlsStream<TcpStream>,
    bytes: &[u8],
    enough: impl Fn(&[Frame]) -> bool,
) -> Vec<Frame> {
    let (mut reading, mut writing) = tokio::io::split(socket);
    let send = async {
        // An error means that the node has closed the connection.
        let _ = writing.write_all(bytes).await;
        let _ = writing.flush().await;
    };
    let read = async {
        let mut received = Vec::new();
        while !enough(&frames::split(&received)) {
            match reading.read_buf(&mut received).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
        frames::split(&received)
    };
    tokio::time::timeout(PATIENCE, futures::future::join(send, read)).await.expect("an end").1
}

#[actix::test]
async fn http2_floods_end_their_connection() {
    let authority = Authority::new();
    let node = start(authority.settings(), &[("node.roles", "hls"), ("store.kind", "embedded")]).await;
    let hls = https(&node.hls);
    let witness = connect(&authority, &hls).await;
    let path = "/listen";
    let pair = |stream| {
        [frames::get(stream, path), frames::frame(frames::RST_STREAM, stream, &frames::CANCEL)].concat()
    };
    let headers = frames::header("x-more", &"x".repeat(1000)).repeat(10);
    let attacks = [
        ("PING", frames::frame(frames::PING, 0, &[0; 8]).repeat(60_000)),
        ("PING acknowledgement", frames::acknowledgement(frames::PING, &[0; 8]).repeat(60_000)),
        ("SETTINGS", frames::frame(frames::SETTINGS, 0, &[]).repeat(60_000)),
        ("WINDOW_UPDATE", frames::frame(frames::WINDOW_UPDATE, 0, &[0, 0, 0, 1]).repeat(60_000)),
        ("unknown", frames::frame(0xf0, 0, &[0; 1000]).repeat(2_000)),
        ("rapid reset", (0..20_000).flat_map(|n| pair(2 * n + 1)).collect()),
        (
            "CONTINUATION",
            [frames::begin(1, path), frames::frame(frames::CONTINUATION, 1, &headers).repeat(1_000)].concat(),
        ),
        (
            "empty CONTINUATION",
            [frames::begin(1, path), frames::frame(frames::CONTINUATION, 1, &[]).repeat(60_000)].concat(),
        ),
    ];
    for (name, bytes) in attacks {
        let mut socket = socket(&authority, &hls).await;
        let received = attack(&mut socket, &[frames::opening(), bytes].concat(), |_| false).await;
        let answers = received.iter().filter(|frame| frame.kind == frames::HEADERS).count();
        assert!(answers < 200, "{name}: {answers} requests were answered");
        assert_eq!(get(&witness, &format!("{hls}/listen/{ROOM}")).await.0, 200, "{name}");
    }
    let metrics = metrics(&node).await;
    assert!(metrics.contains("stentor_connections_cut_total{reason=\"flood\"} "), "{metrics}");
    let lines = node.log().len();
    assert!(lines < 1000, "the floods wrote {lines} log lines");
    withstood(
        "HTTP/2: rapid reset, floods of PING, PING ACK, SETTINGS, WINDOW_UPDATE and CONTINUATION",
        "the connection is closed after 256 kB, or after 20 canceled requests",
        "a client on another connection gets a page",
    );
}

/// Sends requests one by one, each after the first frame that answers the one before. Returns the answers, up
/// to the one that ends the connection.
async fn one_by_one(
    socket: &mut TlsStream<TcpStream>,
    requests: impl IntoIterator<Item = (u32, Vec<u8>)>,
    after: impl Fn(u32) -> Vec<u8>,
) -> Vec<Frame> {
    let (mut received, mut answers) = (Vec::new(), Vec::new());
    // No body can be sent, so each response is in progress until it is canceled.
    let no_window = frames::frame(frames::SETTINGS, 0, &[0, frames::INITIAL_WINDOW_SIZE, 0, 0, 0, 0]);
    socket.write_all(&[frames::opening(), no_window].concat()).await.unwrap();
    for (stream, request) in requests {
        // An error means that the node has closed the connection, whose last frames can still be read.
        let _ = socket.write_all(&request).await;
        let answer = loop {
            let mut frames = frames::split(&received).into_iter();
            let found = frames.find(|frame| {
                let is_answer = matches!(frame.kind, frames::HEADERS | frames::RST_STREAM);
                frame.kind == frames::GOAWAY || (is_answer && frame.stream == stream)
            });
            if let Some(found) = found {
                break found;
            }
            let read = tokio::time::timeout(PATIENCE, socket.read_buf(&mut received)).await.unwrap();
            assert!(read.is_ok_and(|count| count > 0), "the connection ended without GOAWAY");
        };
        let is_last = answer.kind == frames::GOAWAY;
        answers.push(answer);
        if is_last {
            break;
        }
        let _ = socket.write_all(&after(stream)).await;
        received.clear();
    }
    answers
}

#[actix::test]
async fn http2_cancellations_have_a_budget() {
    let authority = Authority::new();
    let node = start(authority.settings(), &[("node.roles", "hls"), ("store.kind", "embedded")]).await;
    let hls = https(&node.hls);
    let requests = (0..10_000).map(|n| 2 * n + 1).map(|stream| (stream, frames::get(stream, "/listen/a")));
    let cancel = |stream| frames::frame(frames::RST_STREAM, stream, &frames::CANCEL);
    let mut socket = socket(&authority, &hls).await;
    let answers = one_by_one(&mut socket, requests, cancel).await;
    let Some(Frame { kind: frames::GOAWAY, payload, .. }) = answers.last() else { panic!("no end") };
    assert_eq!(payload[4..8], frames::CALM);
    let served = answers.iter().filter(|frame| frame.kind == frames::HEADERS).count();
    assert!(served >= 100, "after only {served}");
    let cut = "stentor_connections_cut_total{reason=\"flood\"} 1\n";
    until("the cut is counted", async || metrics(&node).await.contains(cut)).await;
    withstood(
        "HTTP/2: requests that are canceled once the response has begun",
        "the connection is closed after 100 cancellations and 10 per second",
        "no other connection is affected",
    );
}

#[actix::test]
async fn malformed_http2_heads_are_reset() {
    let authority = Authority::new();
    let node = start(authority.settings(), &[("node.roles", "hls"), ("store.kind", "embedded")]).await;
    let hls = https(&node.hls);
    let heads = [
        ("/listen/a", frames::header("host", "other")),
        ("/listen/a", [frames::header("host", "127.0.0.1"), frames::header("host", "other")].concat()),
        ("listen/a", Vec::new()),
        ("/listen/a", frames::header("Upper", "x")),
        ("/listen/a", frames::header("connection", "close")),
        ("/listen/a", frames::header("transfer-encoding", "chunked")),
        ("/listen/a", frames::header("content-length", "7")),
        ("/listen/a", frames::header(":path", "/other")),
    ];
    for (path, headers) in &heads {
        let mut socket = socket(&authority, &hls).await;
        let requests = [(1, frames::get_with(1, path, headers)), (3, frames::get(3, "/listen/a"))];
        let answers = one_by_one(&mut socket, requests, |_| Vec::new()).await;
        let shown = String::from_utf8_lossy(headers);
        match &answers[..] {
            [reset, served] if reset.kind == frames::RST_STREAM => {
                assert_eq!((&reset.payload[..], served.kind), (&frames::PROTOCOL_ERROR[..], frames::HEADERS));
            }
            [end] => {
                assert_eq!((end.kind, &end.payload[4..8]), (frames::GOAWAY, &frames::PROTOCOL_ERROR[..]))
            }
            other => panic!("{path} {shown}: {other:?}"),
        }
    }
    // Each malformed head counts as a canceled request.
    let malformed = |stream| (stream, frames::get_with(stream, heads[0].0, &heads[0].1));
    let mut socket = socket(&authority, &hls).await;
    let answers = one_by_one(&mut socket, (0..10_000).map(|n| malformed(2 * n + 1)), |_| Vec::new()).await;
    let last = answers.last().unwrap();
    assert_eq!((last.kind, &last.payload[4..8]), (frames::GOAWAY, &frames::CALM[..]));
    assert!(answers.len() > 100, "after only {}", answers.len());
    withstood(
        "HTTP/2: malformed request heads",
        "each is reset with PROTOCOL_ERROR; the connection is closed after 100 and 10 per second",
        "other requests of the connection are served until then",
    );
}

#[actix::test]
async fn surplus_http2_streams_are_refused() {
    let authority = Authority::new();
    let node = start(authority.settings(), &[("tls.sockets", "hls")]).await;
    node.room_on_air(ROOM).await;
    let (hls, token) = (https(&node.hls), node.token(ROOM).await);
    let witness = connect(&authority, &hls).await;
    let path = format!("/hls/rooms/{ROOM}/events?token={token}");
    let requests: Vec<u8> = (0..200).flat_map(|n| frames::get(2 * n + 1, &path)).collect();
    let mut socket = socket(&authority, &hls).await;
    let count = |received: &[Frame], kind| received.iter().filter(|frame| frame.kind == kind).count();
    let received = attack(&mut socket, &[frames::opening(), requests].concat(), |received| {
        count(received, frames::HEADERS) >= 32 && count(received, frames::RST_STREAM) >= 168
    })
    .await;
    assert_eq!((count(&received, frames::HEADERS), count(&received, frames::RST_STREAM)), (32, 168));
    let refused = received.iter().filter(|frame| frame.kind == frames::RST_STREAM);
    assert!(refused.map(|frame| &frame.payload[..]).all(|code| code == frames::REFUSED));
    // Each endless response counts as a connection.
    let open = "stentor_connections{listener=\"hls\"} 34\n";
    assert!(metrics(&node).await.contains(open), "{}", metrics(&node).await);
    assert_eq!(get(&witness, &format!("{hls}/listen/{ROOM}")).await.0, 200);
    drop(socket);
    until("the slots are free", async || {
        metrics(&node).await.contains("stentor_connections{listener=\"hls\"} 1\n")
    })
    .await;
    withstood(
        "HTTP/2: 200 requests for endless responses at once on one connection",
        "32 are served, and count as connections; the others get REFUSED_STREAM",
        "a client on another connection gets a page",
    );
}

async fn metrics(node: &Node) -> String {
    request("GET", &format!("{}/metrics", node.ops), &[], None).await.text()
}

//! Clients that open many connections, send slowly or never read, against a node with few descriptors.

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde_json::json;
use stentor::probe::{Listener, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::PATIENCE;
use crate::support::abuse_table::withstood;
use crate::support::caller::Caller;
use crate::support::node::{Node, request};
use crate::support::until;

/// Soft limit of the node's open files.
const SOFT: u64 = 256;
/// Hard limit of the node's open files.
const HARD: u64 = 1024;
const CLIENTS: usize = 100;
const ROOM: &str = "demo";

async fn connect(base: &str) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2304).unwrap();
    let connecting = socket.connect(base.trim_start_matches("http://").parse().unwrap());
    tokio::time::timeout(Duration::from_secs(2), connecting).await.ok()?.ok()
}

async fn send(base: &str, bytes: &[u8]) -> Option<TcpStream> {
    let mut client = connect(base).await?;
    client.write_all(bytes).await.ok().map(|()| client)
}

/// Returns the node's anonymous resident memory in kB, without file-backed pages.
fn anonymous_kb(node: &Node) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn descriptors(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

fn limit(pid: i32) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[actix::test]
async fn idle_connections_leave_other_sockets_alone() {
    let mut node = Node::prepare(&[("node.roles", "rooms,gateway,hls")]);
    node.limit_descriptors(SOFT, HARD);
    node.run();
    node.ready().await;
    assert_eq!(limit(node.pid()), HARD, "the soft limit was raised");
    let mut flood = Vec::new();
    for base in [&node.hls, &node.ws, &node.api] {
        for _ in 0..HARD {
            let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
            match send(base, request).await {
                Some(client) => flood.push(client),
                None => break,
            }
        }
        let open = descriptors(&node);
        assert!(open < HARD as usize, "{open} descriptors");
        let live = live_status(&node).await;
        assert_eq!(live, 200);
    }
    let metrics = request("GET", &format!("{}/metrics", node.ops), &[], None).await.text();
    for listener in ["hls", "ws", "api"] {
        let refused = format!("stentor_connections_refused_total{{listener=\"{listener}\"}} ");
        assert!(metrics.contains(&refused), "{listener}: {metrics}");
    }
    drop(flood);
    until("the API answers", async || {
        let asked = tokio::time::timeout(Duration::from_secs(2), node.get("/api/rooms"));
        asked.await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    withstood(
        "more idle connections than the node has descriptors",
        "connections are bounded per socket",
        "other sockets answer",
    );
}

async fn live_status(node: &Node) -> u16 {
    let url = format!("{}/livez", node.ops);
    let asked = request("GET", &url, &[], None);
    tokio::time::timeout(Duration::from_secs(10), asked).await.expect("/livez answers").status
}

#[actix::test]
async fn one_websocket_takes_one_descriptor() {
    let node = Node::start(&[("node.roles", "rooms,gateway")]).await;
    let before = descriptors(&node);
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = connect(&node.ws).await.unwrap();
        client.write_all(b"GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 401");
        clients.push(client);
    }
    let grown = descriptors(&node) - before;
    assert!((clients.len()..clients.len() + 5).contains(&grown), "{grown} for {}", clients.len());
}

#[actix::test]
async fn slow_clients_are_cut_and_hold_little() {
    let node = Node::start(&[("node.roles", "rooms,gateway,hls")]).await;
    let page = b"GET /assets/listen.js HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(request("GET", &format!("{}/assets/listen.js", node.hls), &[], None).await.status, 200);
    let before = anonymous_kb(&node);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(send(&node.hls, &page.repeat(300)).await.unwrap());
    }
    until("the node serves them", async || opened(&node, "hls").await >= CLIENTS).await;
    let held = anonymous_kb(&node).saturating_sub(before);
    crate::support::report(format!("{CLIENTS} clients that never read: {held} kB"));
    assert!(held <= CLIENTS * 128, "{held} kB for {CLIENTS} clients");
    let mut told = Vec::new();
    let announced = "Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n{";
    let chunked = "Transfer-Encoding: chunked\r\n\r\nffff\r\n";
    for (base, line, rest) in [
        (&node.hls, "POST /pages/rooms/room-a/token", announced),
        (&node.api, "POST /api/rooms", announced),
        (&node.hls, "GET /listen/room-a", chunked),
        (&node.ops, "GET /livez", chunked),
        (&node.ws, "GET /ws", chunked),
    ] {
        for _ in 0..5 {
            let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{rest}");
            let client = send(base, request.as_bytes()).await.unwrap();
            if rest == announced { told.push(client) } else { clients.push(client) }
        }
    }
    let begun = Instant::now();
    for listener in ["hls", "api", "ws"] {
        until_within("all are cut", Duration::from_secs(100), async || opened(&node, listener).await == 0)
            .await;
    }
    for mut client in told {
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
    }
    crate::support::report(format!("all cut after {} s", begun.elapsed().as_secs()));
    withstood(
        "clients that never read, requests that never end",
        "closed at a deadline",
        "at most 128 kB each",
    );
}

/// Number of slow clients at each public listening socket.
const SLOW_CLIENTS: usize = 1000;
/// Number of slow clients at `listen.ops` at a time. It serves 112 connections and refuses others with 503.
/// So [`SLOW_CLIENTS`] arrive in waves.
const SLOW_OPERATORS: usize = 100;
/// Requests of a well-behaved client from which a percentile is taken.
const SAMPLES: usize = 100;
/// Number of percentiles from which the median is taken.
const WINDOWS: usize = 5;
/// Tolerance for the other programs on the machine of the tests, in addition to a doubled percentile.
const NOISE: Duration = Duration::from_millis(100);
/// Number of measurements of which one must be within the limit. Noise passes; starvation remains.
const ATTEMPTS: usize = 3;

#[actix::test]
async fn slow_clients_delay_no_other() {
    stentor::process::raise_descriptor_limit();
    let node = Node::start(&[("node.roles", "rooms,gateway,hls")]).await;
    let mut measured = Vec::new();
    for (listener, base, path, status, at_once) in [
        ("api", &node.api, "/api/rooms", 200, SLOW_CLIENTS),
        ("ws", &node.ws, "/ws", 401, SLOW_CLIENTS),
        ("hls", &node.hls, "/listen/room-a", 200, SLOW_CLIENTS),
        ("ops", &node.ops, "/livez", 200, SLOW_OPERATORS),
    ] {
        let url = format!("{base}{path}");
        let before = p99(&url, status).await;
        let mut slowest_wave = Duration::ZERO;
        for _ in 0..SLOW_CLIENTS / at_once {
            let _clients = slow_clients(base, at_once).await;
            // During the first requests the node still answers what the slow clients have sent.
            window(&url, status).await;
            let mut beside = p99(&url, status).await;
            for _ in 1..ATTEMPTS {
                if beside < before * 2 + NOISE {
                    break;
                }
                beside = p99(&url, status).await;
            }
            slowest_wave = slowest_wave.max(beside);
        }
        assert!(slowest_wave < before * 2 + NOISE, "{listener}: {before:?} to {slowest_wave:?}");
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        measured.push(format!("{listener} {:.1} to {:.1} ms", ms(before), ms(slowest_wave)));
    }
    withstood(
        "1,000 clients (ops: 100 at a time) that never read or never end their request",
        "closed at a deadline",
        &format!("p99 of others: {}", measured.join(", ")),
    );
}

/// Opens connections that never read, and connections whose request never ends.
async fn slow_clients(base: &str, count: usize) -> Vec<TcpStream> {
    let never_read = "GET /assets/listen.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20);
    let never_end = "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    let mut clients = Vec::new();
    for n in 0..count {
        let bytes = if n % 2 == 0 { &never_read } else { never_end };
        clients.push(send(base, bytes.as_bytes()).await.expect("the node accepts the client"));
    }
    clients
}

/// Returns the median of several 99th percentiles.
async fn p99(url: &str, status: u16) -> Duration {
    let mut windows = Vec::new();
    for _ in 0..WINDOWS {
        windows.push(window(url, status).await);
    }
    windows.sort_unstable();
    windows[WINDOWS / 2]
}

/// Sends requests one after the other, each on its own connection. Returns the 99th percentile of their
/// times.
async fn window(url: &str, status: u16) -> Duration {
    let mut times = Vec::new();
    for _ in 0..SAMPLES {
        let begun = Instant::now();
        assert_eq!(request("GET", url, &[], None).await.status, status, "{url}");
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times[SAMPLES * 99 / 100]
}

/// Duration of the media that a listener hears during the flood.
const HEARD: Duration = Duration::from_secs(10);

#[actix::test]
async fn rooms_sound_on_during_floods() {
    let mut node = Node::prepare(&[
        ("auth.mode", "keys"),
        ("auth.api_keys", "a-key-of-the-tests-0123456789"),
        ("http.requests_per_address", "20"),
        ("http.trusted_proxies", "127.0.0.1"),
    ]);
    node.limit_descriptors(SOFT, HARD);
    node.run();
    node.ready().await;
    node.room_on_air(ROOM).await;
    let invited = json!({ "role": "anchor", "userId": "ann" });
    let invited = node.post(&format!("/api/rooms/{ROOM}/users"), invited).await.json();
    let mut ann = Caller::connect(&node.ws, invited["token"].as_str().unwrap(), "").await;
    let (_, _media) = ann.speak(440).await;
    let deadline = Instant::now() + PATIENCE;
    let mut listener = Listener::open_by(&node.target(ROOM).await, Mode::Parts, deadline).await.unwrap();
    listener.hear_until(440.0, deadline).await.unwrap();
    let over = Cell::new(false);
    let listening = async {
        let heard = listener.hear(HEARD).await;
        over.set(true);
        heard.expect("the listener is served")
    };
    let (heard, limited) = tokio::join!(listening, flood(&node, &over));
    let metrics = request("GET", &format!("{}/metrics", node.ops), &[], None).await.text();
    for socket in ["ws", "api"] {
        let refused = format!("stentor_connections_refused_total{{listener=\"{socket}\"}} ");
        assert!(metrics.contains(&refused), "{socket}: {metrics}");
    }
    assert!(limited > 0, "requests were refused");
    assert_eq!(listener.gaps().len(), 0, "{:?}", listener.gaps());
    assert!(heard.level(440.0) > 0.03, "{}", heard.level(440.0));
    // The gaps above are of the stream. The sound itself may pause if the processors are busy.
    assert!(heard.longest_silence() < 1.0, "{} s of silence", heard.longest_silence());
    withstood(
        "floods of connections and requests while a room is on air",
        "503 and 429 with Retry-After",
        &format!("a listener hears {} s without a gap", HEARD.as_secs()),
    );
}

/// Opens idle connections and sends requests from one address behind a proxy, until `over`. Returns the
/// number of requests that were refused with 429.
async fn flood(node: &Node, over: &Cell<bool>) -> usize {
    let (mut idle, mut limited) = (Vec::new(), 0);
    let url = format!("{}/hls/rooms/{ROOM}/index.m3u8", node.hls);
    while !over.get() {
        if idle.len() < HARD as usize {
            for base in [&node.ws, &node.api] {
                for _ in 0..20 {
                    idle.extend(send(base, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await);
                }
            }
        }
        for _ in 0..50 {
            let answer = request("GET", &url, &[("x-forwarded-for", "198.51.100.7")], None).await;
            limited += usize::from(answer.status == 429 && answer.header("retry-after").is_some());
        }
        crate::support::pause_async().await;
    }
    limited
}

/// Returns the number of open connections at a listening socket, from the node's own metrics.
async fn opened(node: &Node, listener: &str) -> usize {
    let metrics = request("GET", &format!("{}/metrics", node.ops), &[], None).await.text();
    let name = format!("stentor_connections{{listener=\"{listener}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

async fn until_within(what: &str, patience: Duration, done: impl AsyncFn() -> bool) {
    let end = Instant::now() + patience;
    while !done().await {
        assert!(Instant::now() < end, "not within {patience:?}: {what}");
        crate::support::pause_async().await;
    }
}

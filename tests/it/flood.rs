//! Clients that open many connections, send slowly or never read, against a node with few descriptors.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::abuse_table::withstood;
use crate::support::node::{Node, request};
use crate::support::until;

/// Soft limit of the node's open files.
const SOFT: u64 = 256;
/// Hard limit of the node's open files.
const HARD: u64 = 1024;
const CLIENTS: usize = 100;

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
/// Number of slow clients at `listen.ops`, which serves 112 connections and refuses others with 503.
const SLOW_OPERATORS: usize = 100;
/// Number of requests of a well-behaved client from which a percentile is computed.
const SAMPLES: usize = 300;

/// Measures well-behaved clients beside slow ones at each listening socket. The goal is a p99 that less
/// than doubles. It is reported and not asserted, because other programs run on the machine of the tests.
#[actix::test]
async fn slow_clients_delay_no_other() {
    stentor::process::raise_descriptor_limit();
    let node = Node::start(&[("node.roles", "rooms,gateway,hls")]).await;
    let never_read = "GET /assets/listen.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20);
    let never_end = "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    let mut measured = Vec::new();
    for (listener, base, path, status, slow) in [
        ("api", &node.api, "/api/rooms", 200, SLOW_CLIENTS),
        ("ws", &node.ws, "/ws", 401, SLOW_CLIENTS),
        ("hls", &node.hls, "/listen/room-a", 200, SLOW_CLIENTS),
        ("ops", &node.ops, "/livez", 200, SLOW_OPERATORS),
    ] {
        let url = format!("{base}{path}");
        let before = p99(&url, status).await;
        let mut clients = Vec::new();
        for n in 0..slow {
            let bytes = if n % 2 == 0 { &never_read } else { never_end };
            clients.push(send(base, bytes.as_bytes()).await.expect("the node accepts the client"));
        }
        // Measure twice: during the first round the node still answers what the slow clients have sent.
        p99(&url, status).await;
        let beside = p99(&url, status).await;
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        measured.push(format!("{listener} {:.1} to {:.1} ms", ms(before), ms(beside)));
    }
    withstood(
        "1,000 clients (ops: 100) that never read or never end their request",
        "closed at a deadline",
        &format!("p99 of others: {}", measured.join(", ")),
    );
}

/// Sends requests one after the other, each on its own connection. Returns the 99th percentile of their
/// times.
async fn p99(url: &str, status: u16) -> Duration {
    let mut times = Vec::new();
    for _ in 0..SAMPLES {
        let begun = Instant::now();
        assert_eq!(request("GET", url, &[], None).await.status, status, "{url}");
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times[SAMPLES * 99 / 100]
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

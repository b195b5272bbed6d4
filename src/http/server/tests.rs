//! Tests of the rules for every listening socket, over real connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use actix_web::middleware::from_fn;
use actix_web::{App, HttpRequest, HttpResponse, web};
use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::config::defaults;
use crate::domain::client_address::TrustedProxies;
use crate::domain::descriptors::Allotment;
use crate::domain::request_rates::RequestLimits;
use crate::http::error::{ApiError, not_found};
use crate::http::methods::only_get;

mod http2;
mod proxied;
mod tls;
mod upgrades;

const LARGE: &[u8] = &[b'x'; 4 << 20];

struct TestServer {
    address: SocketAddr,
    metrics: Metrics,
    handle: actix_web::dev::ServerHandle,
    detached: DetachedConnections,
}

/// Returns limits with this maximum of requests per second from one address.
fn limits(requests_per_address: u32) -> Arc<ArcSwap<RequestLimits>> {
    Arc::new(ArcSwap::from_pointee(RequestLimits { requests_per_address, ..defaults().http.limits }))
}

impl TestServer {
    fn start(served: usize) -> Self {
        Self::start_with(served, |_| ())
    }

    fn start_with(served: usize, amend: impl FnOnce(&mut Options)) -> Self {
        Self::start_at("127.0.0.1:0", served, amend)
    }

    fn start_at(address: &str, served: usize, amend: impl FnOnce(&mut Options)) -> Self {
        let listener = bind(address.parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::new(std::time::SystemTime::UNIX_EPOCH);
        let mut options = Options {
            name: "test",
            workers: Some(1),
            allotment: Allotment { served, accepted: served + 2 },
            header_timeout: Duration::from_secs(3),
            tls: None,
            hsts: Some(Duration::from_secs(3600)),
            clients: Clients::new(TrustedProxies::default(), limits(1000), &metrics),
            proxy_protocol: false,
            shutdown_timeout: Duration::from_secs(1),
        };
        amend(&mut options);
        let app = || {
            App::new()
                .service(only_get("/client", async |request: HttpRequest| {
                    let host = request.headers().get("host").unwrap().to_str().unwrap().to_owned();
                    format!("{} {host}", request.peer_addr().unwrap().ip())
                }))
                .service(only_get("/small", async || "small"))
                .service(only_get("/list", async || LARGE.to_vec()).wrap(from_fn(large)))
                .service(only_get("/large", async || HttpResponse::Ok().body(LARGE)))
                .service(only_get("/never", async || std::future::pending::<&str>().await))
                .service(only_get("/endless", endless))
                .service(only_get("/counted", counted))
                .service(only_get("/polled", polled))
                .service(only_get("/ending", ending))
                .service(only_get("/silent", silent))
                .service(only_get("/feed", silent).wrap(from_fn(large)))
                .service(only_get("/upgrade", upgrades::echo))
                .service(only_get("/goodbye", upgrades::goodbye))
                .service(only_get("/idle", upgrades::idle))
                .service(web::resource("/error").to(async || Err::<&str, _>(ApiError::internal("a cause"))))
                .route("/echo", web::post().to(async |body: String| body))
                .default_service(web::to(not_found))
        };
        let (server, detached) = serve(listener, options, &metrics, app).unwrap();
        let handle = server.handle();
        actix::spawn(server);
        Self { address, metrics, handle, detached }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until this many connections are open.
    async fn until_open(&self, count: usize) {
        let line = format!("stentor_connections{{listener=\"test\"}} {count}\n");
        let end = Instant::now() + Duration::from_secs(20);
        while !self.metrics.render().contains(&line) {
            assert!(Instant::now() < end, "not {count} connections");
            // Sleep: the interval between two polls.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a request. Returns all bytes that arrive until the server closes the connection.
    async fn ask(&self, request: &str) -> String {
        let mut client = self.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        read(&mut client).await
    }
}

/// Number of pieces that bodies of `/counted` have given.
static COUNTED: AtomicUsize = AtomicUsize::new(0);

/// Answers with a body that ends only with its connection, in pieces of 1,000 bytes.
async fn counted() -> HttpResponse {
    let pieces = futures::stream::repeat_with(|| {
        COUNTED.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Error>(bytes::Bytes::from_static(&LARGE[..1000]))
    });
    HttpResponse::Ok().streaming(pieces)
}

/// Number of polls of bodies of `/polled`.
static POLLED: AtomicUsize = AtomicUsize::new(0);

/// Answers with a body that never has anything to send.
async fn polled() -> HttpResponse {
    let pieces = futures::stream::poll_fn(|_| {
        POLLED.fetch_add(1, Ordering::Relaxed);
        std::task::Poll::<Option<Result<bytes::Bytes, Error>>>::Pending
    });
    HttpResponse::Ok().streaming(pieces)
}

async fn endless(request: HttpRequest) -> HttpResponse {
    Connection::of(&request).unwrap().endless();
    let pieces = futures::stream::unfold((), async |()| {
        // Sleep: the pace of a live source.
        tokio::time::sleep(Duration::from_millis(2)).await;
        Some((Ok::<_, Error>(bytes::Bytes::from_static(&LARGE[..3000])), ()))
    });
    HttpResponse::Ok().force_close().streaming(pieces)
}

/// Answers with a response that is marked as endless but ends.
async fn ending(request: HttpRequest) -> HttpResponse {
    Connection::of(&request).unwrap().endless();
    let pieces = [&LARGE[..100_000], b"", b"middle", &LARGE[..1], b"end"].map(bytes::Bytes::from_static);
    HttpResponse::Ok().streaming(futures::stream::iter(pieces.map(Ok::<_, Error>)))
}

/// Answers with an endless response that sends nothing.
async fn silent(request: HttpRequest) -> HttpResponse {
    Connection::of(&request).unwrap().endless();
    HttpResponse::Ok().streaming(futures::stream::pending::<Result<bytes::Bytes, Error>>())
}

async fn read(client: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let read = client.read_to_end(&mut answer);
    // A reset means that the server closed the connection before it read all bytes. The answer of the server
    // had arrived by then.
    let _ = tokio::time::timeout(Duration::from_secs(20), read).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

#[actix::test]
async fn head_is_get_without_body() {
    let served = TestServer::start(10);
    for (path, length) in [("/small", "5"), ("/large", "4194304")] {
        let answer = served.ask(&request("HEAD", path)).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{answer}");
        assert!(head.contains(&format!("content-length: {length}")), "{head}");
    }
    let whole = served.ask(&request("GET", "/large")).await;
    assert_eq!(whole.split_once("\r\n\r\n").unwrap().1.len(), LARGE.len());
    served.handle.stop(false).await;
}

#[actix::test]
async fn every_response_forbids_sniffing() {
    let served = TestServer::start(10);
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(200_000));
    for (request, status) in [
        (request("GET", "/small"), 200),
        (request("OPTIONS", "/small"), 204),
        (request("GET", "/none"), 404),
        (request("POST", "/small"), 405),
        (request("GET", "/error"), 500),
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nunfinished".to_owned(), 408),
        (large, 431),
    ] {
        let answer = served.ask(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
        assert_eq!(answer.matches("x-content-type-options: nosniff\r\n").count(), 1, "{answer}");
    }
    served.handle.stop(false).await;
}

#[actix::test]
async fn surplus_connections_get_503() {
    let served = TestServer::start(4);
    let mut idle = Vec::new();
    for _ in 0..4 {
        let mut client = served.connect().await;
        client.write_all(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        idle.push(client);
    }
    let refused = served.ask(&request("GET", "/small")).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 5\r\n"), "{refused}");
    assert!(refused.contains("\"code\":\"too_many_clients\"") && refused.contains("nosniff"), "{refused}");
    // Under pressure, an idle connection is closed after five seconds, long before the usual keep-alive time.
    let one_yields = async {
        let reads = idle.iter_mut().map(|client| Box::pin(read(client)));
        futures::future::select_all(reads).await;
    };
    one_yields.await;
    let admitted = served.ask(&request("GET", "/small")).await;
    assert!(admitted.starts_with("HTTP/1.1 200 "), "{admitted}");
    let metrics = served.metrics.render();
    assert!(metrics.contains("stentor_connections_refused_total{listener=\"test\"} 1\n"), "{metrics}");
    assert!(metrics.contains("stentor_connections_cut_total{reason=\"idle\"}"), "{metrics}");
    served.handle.stop(false).await;
}

#[actix::test]
async fn unfinished_later_requests_are_cut() {
    let served = TestServer::start(10);
    for rest in ["GET /small HTTP/1.1\r\n", "GET /small HTTP/1.1\r\nHost: localhost\r\nx: "] {
        let mut client = served.connect().await;
        client.write_all(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        client.write_all(rest.as_bytes()).await.unwrap();
        // A reset is accepted as a close.
        let mut ignored = Vec::new();
        let closed = client.read_to_end(&mut ignored);
        let _ = tokio::time::timeout(Duration::from_secs(20), closed).await.expect("the server closes");
    }
    served.handle.stop(false).await;
}

#[actix::test]
async fn pipelined_large_responses_arrive_whole() {
    let served = TestServer::start(10);
    let mut client = served.connect().await;
    let requests = "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(4);
    client.write_all(requests.as_bytes()).await.unwrap();
    client.write_all(request("GET", "/small").as_bytes()).await.unwrap();
    let answer = read(&mut client).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 5);
    assert!(answer.len() > 4 * LARGE.len() && answer.ends_with("small"));
    served.handle.stop(false).await;
}

#[actix::test]
async fn pipelined_requests_keep_their_bodies() {
    let served = TestServer::start(10);
    let post = |body: &str| {
        format!("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let get = "GET /small HTTP/1.1\nHost: localhost\n\n";
    // Two bodies with empty lines, and one without.
    let bodies = ["a\r\n\r\nb", "\n\n\n", "{}"];
    let mut requests = String::new();
    for body in bodies {
        requests.push_str(&post(body));
        requests.push_str(&get.repeat(40));
    }
    requests.push_str(&request("GET", "/small"));
    // In one write, byte by byte, and in pieces of 50 bytes.
    for piece in [requests.len(), 1, 50] {
        let mut client = served.connect().await;
        let (mut answers, mut sending) = client.split();
        let send = async {
            for bytes in requests.as_bytes().chunks(piece) {
                sending.write_all(bytes).await.unwrap();
            }
        };
        let receive = async {
            let mut answer = String::new();
            let read = answers.read_to_string(&mut answer);
            let patience = Duration::from_secs(60);
            tokio::time::timeout(patience, read).await.expect("the server closes").unwrap();
            answer
        };
        let ((), answer) = futures::join!(send, receive);
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 3 * 41 + 1, "{answer}");
        for body in bodies {
            assert!(answer.contains(&format!("\r\n\r\n{body}HTTP/1.1 200 ")), "{body:?}: {answer}");
        }
    }
    served.handle.stop(false).await;
}

#[actix::test]
async fn endless_bodies_are_not_read_for_head() {
    let served = TestServer::start(10);
    let answer = served.ask(&request("HEAD", "/endless")).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    served.handle.stop(false).await;
}

#[actix::test]
async fn disconnect_during_a_request_ends_it() {
    let served = TestServer::start(10);
    let mut client = served.connect().await;
    client.write_all(b"GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    served.until_open(1).await;
    // Closing with a linger time of zero sends a reset.
    client.set_zero_linger().unwrap();
    drop(client);
    served.until_open(0).await;
    served.handle.stop(false).await;
}

#[actix::test]
async fn few_large_responses_are_held() {
    let served = TestServer::start(100);
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = served.connect().await;
        client.write_all(request("GET", "/list").as_bytes()).await.unwrap();
        clients.push(client);
    }
    // The first four clients get their response at once, and read no more than the beginning of it.
    let mut answered = 0;
    let mut heads: Vec<_> = clients.iter_mut().map(|client| Box::pin(head(client))).collect();
    while answered < 4 {
        let (status, _, rest) = futures::future::select_all(heads).await;
        assert_eq!(&status, b"HTTP/1.1 200");
        (heads, answered) = (rest, answered + 1);
    }
    // The next client waits until one of the first is cut off.
    let next = futures::future::select_all(heads);
    let (status, _, _) = next.await;
    assert_eq!(&status, b"HTTP/1.1 200");
    let metrics = served.metrics.render();
    assert!(!metrics.contains("stentor_connections_cut_total{reason=\"slow_reader\"} 0\n"), "nobody was cut");
    // A small response does not wait.
    assert!(served.ask(&request("GET", "/small")).await.ends_with("small"));
    served.handle.stop(false).await;
}

#[actix::test]
async fn endless_responses_are_not_large() {
    let served = TestServer::start(100);
    let mut feeds = Vec::new();
    for _ in 0..10 {
        let mut feed = served.connect().await;
        feed.write_all(request("GET", "/feed").as_bytes()).await.unwrap();
        assert_eq!(&head(&mut feed).await, b"HTTP/1.1 200");
        feeds.push(feed);
    }
    let list = served.ask(&request("GET", "/list")).await;
    assert_eq!(list.split_once("\r\n\r\n").unwrap().1.len(), LARGE.len());
    served.handle.stop(false).await;
}

async fn head(client: &mut TcpStream) -> [u8; 12] {
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    answer
}

#[actix::test]
async fn endless_bodies_suit_old_clients() {
    let served = TestServer::start(10);
    let mut client = served.connect().await;
    client.write_all(b"GET /endless HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while answer.len() < 1000 {
        client.read_buf(&mut answer).await.unwrap();
    }
    let text = String::from_utf8_lossy(&answer);
    let head = text.split("\r\n\r\n").next().unwrap();
    assert!(!head.contains("transfer-encoding") && head.contains("200 OK"), "{head}");
    assert!(text.contains("\r\n\r\nxxx"), "no chunks");
    served.handle.stop(false).await;
}

/// The first client reads nothing, the second reads everything.
#[actix::test]
async fn stalled_readers_of_endless_bodies_are_cut() {
    let served = TestServer::start(10);
    let mut clients = [served.connect().await, served.connect().await];
    for client in &mut clients {
        client.write_all(request("GET", "/endless").as_bytes()).await.unwrap();
    }
    let [mut stalled, mut reader] = clients;
    let cut = "stentor_connections_cut_total{reason=\"slow_reader\"} 1\n";
    let mut buffer = vec![0; 64 * 1024];
    while !served.metrics.render().contains(cut) {
        let read = tokio::time::timeout(Duration::from_secs(5), reader.read(&mut buffer)).await;
        assert!(read.expect("the other is served").unwrap() > 0);
    }
    let _ = tokio::time::timeout(Duration::from_secs(20), read(&mut stalled)).await.expect("it is closed");
    assert!(reader.read(&mut buffer).await.unwrap() > 0);
    served.handle.stop(false).await;
}

#[actix::test]
async fn ended_endless_bodies_are_complete() {
    let served = TestServer::start(10);
    let mut client = served.connect().await;
    // The second request is never answered: the first response ends the connection.
    let requests = "GET /ending HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2);
    client.write_all(requests.as_bytes()).await.unwrap();
    assert_whole_ending(&read(&mut client).await);
    served.until_open(0).await;
    served.detached.ended(Duration::from_secs(20)).await;
    served.handle.stop(false).await;
}

/// Checks a response of [`ending`]: its head, its chunks and its end.
fn assert_whole_ending(answer: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nconnection: close"), "{head}");
    assert_eq!(head.matches("transfer-encoding: chunked").count(), 1, "{head}");
    let (mut rest, mut whole) = (body, String::new());
    while let Some((size, following)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole += &following[..size];
        assert!(following[size..].starts_with("\r\n"), "{}", &following[size..]);
        rest = &following[size + 2..];
        assert!(size > 0 || rest.is_empty(), "bytes after the last chunk");
    }
    assert!(rest.is_empty() && body.ends_with("\r\n0\r\n\r\n"), "no last chunk");
    assert_eq!(whole.len(), 100_000 + "middlexend".len());
    assert!(whole.ends_with("xmiddlexend"), "{}", &whole[99_990..]);
}

#[actix::test]
async fn endless_bodies_end_with_their_connection() {
    let served = TestServer::start(10);
    let (mut gone, mut half_closed) = (served.connect().await, served.connect().await);
    for (client, path) in [(&mut gone, "/silent"), (&mut half_closed, "/endless")] {
        client.write_all(request("GET", path).as_bytes()).await.unwrap();
        assert_eq!(&head(client).await, b"HTTP/1.1 200");
    }
    gone.set_zero_linger().unwrap();
    drop(gone);
    served.until_open(1).await;
    // A client that closes its own direction may continue to read.
    half_closed.shutdown().await.unwrap();
    let mut bytes = vec![0; 1 << 20];
    half_closed.read_exact(&mut bytes).await.unwrap();
    half_closed.set_zero_linger().unwrap();
    drop(half_closed);
    served.until_open(0).await;
    served.handle.stop(false).await;
}

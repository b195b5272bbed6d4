//! Tests of the rules for every listening socket, over real connections.

use std::net::SocketAddr;

use actix_web::{App, HttpResponse, web};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::domain::descriptors::Allotment;
use crate::http::error::{ApiError, not_found};
use crate::http::methods::only_get;

const LARGE: &[u8] = &[b'x'; 4 << 20];

struct Served {
    address: SocketAddr,
    metrics: Metrics,
    handle: actix_web::dev::ServerHandle,
}

impl Served {
    fn start(served: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let options = Options {
            name: "test",
            workers: Some(1),
            allotment: Allotment { served, accepted: served + 2 },
            header_timeout: Duration::from_secs(3),
            shutdown_timeout: Duration::from_secs(1),
        };
        let metrics = Metrics::new(std::time::SystemTime::UNIX_EPOCH);
        let app = || {
            App::new()
                .service(only_get("/small", async || "small"))
                .service(only_get("/large", async || HttpResponse::Ok().body(LARGE)))
                .service(web::resource("/error").to(async || Err::<&str, _>(ApiError::internal("a cause"))))
                .default_service(web::to(not_found))
        };
        let server = serve(listener, options, &metrics, app).unwrap();
        let handle = server.handle();
        actix::spawn(server);
        Self { address, metrics, handle }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request. Returns everything until the server closes.
    async fn ask(&self, request: &str) -> String {
        let mut client = self.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        read(&mut client).await
    }
}

async fn read(client: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = client.read_to_end(&mut answer);
    // A reset means that the server closed without reading everything; its answer arrived before.
    let _ = tokio::time::timeout(Duration::from_secs(20), read).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

#[actix::test]
async fn head_is_get_without_body() {
    let served = Served::start(10);
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
    let served = Served::start(10);
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
async fn surplus_connections_get_503_until_idle_ones_yield() {
    let served = Served::start(4);
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
    // One is closed after five seconds, long before the keep-alive of a server without pressure.
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
    let served = Served::start(10);
    for rest in ["GET /small HTTP/1.1\r\n", "GET /small HTTP/1.1\r\nHost: localhost\r\nx: "] {
        let mut client = served.connect().await;
        client.write_all(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        client.write_all(rest.as_bytes()).await.unwrap();
        // A reset counts as an end.
        let mut ignored = Vec::new();
        let closed = client.read_to_end(&mut ignored);
        let _ = tokio::time::timeout(Duration::from_secs(20), closed).await.expect("the server closes");
    }
    served.handle.stop(false).await;
}

#[actix::test]
async fn pipelined_large_responses_arrive_whole() {
    let served = Served::start(10);
    let mut client = served.connect().await;
    let requests = "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(4);
    client.write_all(requests.as_bytes()).await.unwrap();
    client.write_all(request("GET", "/small").as_bytes()).await.unwrap();
    let answer = read(&mut client).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 5);
    assert!(answer.len() > 4 * LARGE.len() && answer.ends_with("small"));
    served.handle.stop(false).await;
}

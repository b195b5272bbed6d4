//! Tests of HTTP/2 over TLS: requests at the same time, limits, slow readers, the end of a connection.

use std::future::poll_fn;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::response::Parts;
use http::{Method, Request, StatusCode, Version};

use super::tls::TlsTestServer;
use super::*;

impl TlsTestServer {
    /// Opens a connection. Each stream may receive `window` bytes before the test reads.
    async fn http2(&self, window: u32) -> SendRequest<Bytes> {
        let socket = self.connect_by(&self.connector).await.unwrap();
        assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut builder = Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(1 << 30);
        let (requests, connection) = builder.handshake(socket).await.unwrap();
        actix::spawn(async {
            // The tests see an error in their requests.
            let _ = connection.await;
        });
        requests
    }

    async fn stop(self) {
        self.served.handle.stop(false).await;
    }
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("https://localhost{path}")).body(()).unwrap()
}

/// Sends a request without a body.
async fn send(client: &mut SendRequest<Bytes>, request: Request<()>) -> ResponseFuture {
    poll_fn(|task| client.poll_ready(task)).await.unwrap();
    client.send_request(request, true).unwrap().0
}

async fn whole(response: ResponseFuture) -> Result<(Parts, Vec<u8>), h2::Error> {
    let (head, mut body) =
        tokio::time::timeout(Duration::from_secs(60), response).await.unwrap()?.into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = read(&mut body).await? {
        bytes.extend_from_slice(&piece);
    }
    Ok((head, bytes))
}

/// Reads a piece of a body.
async fn read(body: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let piece = tokio::time::timeout(Duration::from_secs(60), body.data()).await.unwrap().transpose()?;
    if let Some(piece) = &piece {
        body.flow_control().release_capacity(piece.len())?;
    }
    Ok(piece)
}

async fn fetch(client: &mut SendRequest<Bytes>, request: Request<()>) -> (Parts, Vec<u8>) {
    whole(send(client, request).await).await.unwrap()
}

/// Sends the whole body as the server permits it.
async fn upload(stream: &mut SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let capacity = poll_fn(|task| stream.poll_capacity(task)).await.unwrap().unwrap();
        stream.send_data(body.split_to(capacity.min(body.len())), false).unwrap();
    }
    stream.send_data(body, true).unwrap();
}

#[actix::test]
async fn http2_serves_requests_and_bodies() {
    let secured = TlsTestServer::start(10);
    let mut client = secured.http2(65_535).await;
    let (head, body) = fetch(&mut client, get("/large")).await;
    assert_eq!((head.status, head.version, body.len()), (StatusCode::OK, Version::HTTP_2, LARGE.len()));
    assert_eq!(head.headers["content-length"], LARGE.len().to_string());
    assert_eq!(head.headers["x-content-type-options"], "nosniff");
    assert_eq!(head.headers["strict-transport-security"], "max-age=3600");
    assert!(head.headers["date"].to_str().unwrap().ends_with(" GMT"));
    let (_, body) = fetch(&mut client, get("/client")).await;
    assert_eq!(body, b"127.0.0.1 localhost");
    for path in ["/list", "/ending"] {
        let (head, body) = fetch(&mut client, get(path)).await;
        assert_eq!(head.status, StatusCode::OK);
        assert!(body.len() > 100_000 && !head.headers.contains_key("transfer-encoding"), "{head:?}");
    }
    // More than the windows of the stream and of the connection.
    let text = Bytes::from("x".repeat(200_000));
    for _ in 0..3 {
        let request = Request::post("https://localhost/echo").body(()).unwrap();
        let (response, mut stream) = client.send_request(request, false).unwrap();
        let (answer, ()) = futures::join!(whole(response), upload(&mut stream, text.clone()));
        assert_eq!(answer.unwrap().1, text);
    }
    for (path, status) in [("/none", 404), ("/error", 500), ("*", 404)] {
        let uri = http::Uri::builder().scheme("https").authority("localhost").path_and_query(path);
        let request = Request::get(uri.build().unwrap()).body(()).unwrap();
        let (head, _) = fetch(&mut client, request).await;
        assert_eq!(head.status, status, "{path}");
        assert_eq!(head.headers["x-content-type-options"], "nosniff");
    }
    secured.stop().await;
}

#[actix::test]
async fn http2_head_has_no_body() {
    let secured = TlsTestServer::start(10);
    let mut client = secured.http2(65_535).await;
    for (path, length) in [("/small", Some("5")), ("/large", Some("4194304")), ("/endless", None)] {
        let mut request = get(path);
        *request.method_mut() = Method::HEAD;
        let (head, body) = fetch(&mut client, request).await;
        assert_eq!((head.status, body.len()), (StatusCode::OK, 0));
        assert_eq!(head.headers.get("content-length").map(|value| value.to_str().unwrap()), length);
    }
    secured.stop().await;
}

#[actix::test]
async fn http2_requests_have_limits() {
    let secured = TlsTestServer::start(10);
    let mut client = secured.http2(65_535).await;
    let _unanswered: Vec<_> = {
        let mut sent = Vec::new();
        for _ in 0..31 {
            sent.push(send(&mut client, get("/never")).await);
        }
        sent
    };
    assert_eq!(fetch(&mut client, get("/small")).await.1, b"small");
    assert_eq!(client.current_max_send_streams(), 32);
    let with = |name: &str, value: String| {
        let mut request = get("/small");
        request.headers_mut().insert(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        request
    };
    let (head, _) = fetch(&mut client, with("x-long", "x".repeat(20_000))).await;
    assert_eq!(head.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let other = whole(send(&mut client, with("host", "other".into())).await).await;
    assert_eq!(other.unwrap_err().reason(), Some(Reason::PROTOCOL_ERROR));
    // The library gives up a connection with a head of several times the limit.
    let response = send(&mut client, with("x-long", "x".repeat(200_000))).await;
    assert!(whole(response).await.is_err());
    secured.until_metric("stentor_connections{listener=\"test\"} 0\n").await;
    secured.stop().await;
}

#[actix::test]
async fn http2_bodies_wait_for_permission() {
    let secured = TlsTestServer::start(10);
    let mut client = secured.http2(5000).await;
    let mut unread = send(&mut client, get("/counted")).await.await.unwrap().into_body();
    let mut head = get("/small");
    *head.method_mut() = Method::HEAD;
    let counted = || COUNTED.load(Ordering::Relaxed);
    while counted() < 5 {
        fetch(&mut client, head.clone()).await;
    }
    for _ in 0..20 {
        fetch(&mut client, head.clone()).await;
    }
    assert_eq!(counted(), 5, "nothing is read ahead of the client");
    let mut received = 0;
    while received < 100_000 {
        received += read(&mut unread).await.unwrap().unwrap().len();
    }
    assert!((100..150).contains(&counted()), "{}", counted());
    secured.stop().await;
}

#[actix::test]
async fn idle_http2_bodies_are_not_polled() {
    let secured = TlsTestServer::start(10);
    let mut client = secured.http2(65_535).await;
    let idle = send(&mut client, get("/polled")).await.await.unwrap().into_body();
    for _ in 0..50 {
        fetch(&mut client, get("/small")).await;
    }
    let polls = POLLED.load(Ordering::Relaxed);
    assert!((1..10).contains(&polls), "{polls} polls without anything to send");
    drop(idle);
    secured.stop().await;
}

#[actix::test]
async fn http2_slow_readers_lose_their_response() {
    let secured = TlsTestServer::start(10);
    // A small window, because the time limit grows with the bytes that were sent.
    let mut client = secured.http2(8_192).await;
    let (stalled, unread) =
        (send(&mut client, get("/large")).await, send(&mut client, get("/endless")).await);
    let (mut stalled, _unread) = (stalled.await.unwrap().into_body(), unread.await.unwrap().into_body());
    let cut = "stentor_connections_cut_total{reason=\"slow_reader\"} 2\n";
    // The other responses of the connection are not delayed. The pauses spare the processor.
    let mut pauses = tokio::time::interval(Duration::from_millis(500));
    while !secured.served.metrics.render().contains(cut) {
        assert_eq!(fetch(&mut client, get("/large")).await.1.len(), LARGE.len());
        pauses.tick().await;
    }
    let error = loop {
        match read(&mut stalled).await {
            Ok(piece) => assert!(piece.is_some(), "the response is complete"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    assert_eq!(fetch(&mut client, get("/small")).await.1, b"small");
    secured.stop().await;
}

#[actix::test]
async fn http2_slow_bodies_end_their_request() {
    let secured = TlsTestServer::start(10);
    let mut client = secured.http2(65_535).await;
    let request = Request::post("https://localhost/echo").body(()).unwrap();
    let (response, mut stream) = client.send_request(request, false).unwrap();
    stream.send_data(Bytes::from_static(b"unfinished"), false).unwrap();
    let (head, _) = whole(response).await.unwrap();
    // The extractor of this handler reports every error of a body like this.
    assert_eq!(head.status, StatusCode::BAD_REQUEST);
    secured.until_metric("stentor_connections_cut_total{reason=\"slow_body\"} 1\n").await;
    assert_eq!(fetch(&mut client, get("/small")).await.1, b"small");
    secured.stop().await;
}

#[actix::test]
async fn http2_slow_sockets_are_cut() {
    let secured = TlsTestServer::start(10);
    let socket = secured.connect_by(&secured.connector).await.unwrap();
    let mut builder = Builder::new();
    builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    let (mut client, mut connection) = builder.handshake::<_, Bytes>(socket).await.unwrap();
    let _response = client.send_request(get("/large"), true).unwrap();
    // Sends the request. From here on, the test reads nothing.
    poll_fn(|task| {
        assert!(std::pin::Pin::new(&mut connection).poll(task).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    secured.until_metric("stentor_connections_cut_total{reason=\"slow_reader\"} 1\n").await;
    secured.stop().await;
}

#[actix::test]
async fn http2_clients_must_send_requests() {
    let secured = TlsTestServer::start(10);
    let _silent = secured.http2(65_535).await;
    let _no_preface = secured.connect_by(&secured.connector).await.unwrap();
    secured.until_metric("stentor_connections_cut_total{reason=\"slow_request\"} 2\n").await;
    secured.served.until_open(0).await;
    secured.stop().await;
}

#[actix::test]
async fn idle_http2_connections_yield_under_pressure() {
    let secured = TlsTestServer::start(4);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = secured.http2(65_535).await;
        assert_eq!(fetch(&mut client, get("/small")).await.1, b"small");
        clients.push(client);
    }
    secured.until_metric("stentor_connections_cut_total{reason=\"idle\"} 1\n").await;
    secured.stop().await;
}

#[actix::test]
async fn http2_endless_responses_take_slots() {
    let secured = TlsTestServer::start(3);
    let mut client = secured.http2(65_535).await;
    let mut endless = Vec::new();
    for _ in 0..2 {
        let mut body = send(&mut client, get("/endless")).await.await.unwrap().into_body();
        let mut received = 0;
        while received < 1 << 20 {
            received += read(&mut body).await.unwrap().unwrap().len();
        }
        endless.push(body);
    }
    secured.served.until_open(3).await;
    let (refused, body) = fetch(&mut client, get("/endless")).await;
    assert_eq!(
        (refused.status, refused.headers["retry-after"].to_str().unwrap()),
        (StatusCode::SERVICE_UNAVAILABLE, "5")
    );
    assert!(String::from_utf8(body).unwrap().contains("too_many_clients"));
    // The client cancels both endless requests.
    drop(endless);
    secured.served.until_open(1).await;
    secured.served.detached.ended(Duration::from_secs(20)).await;
    assert_eq!(fetch(&mut client, get("/small")).await.1, b"small");
    secured.stop().await;
}

#[actix::test]
async fn stopping_servers_finish_http2_requests() {
    let secured = TlsTestServer::start_with(10, |options| options.shutdown_timeout = Duration::from_secs(30));
    let mut client = secured.http2(65_535).await;
    let request = Request::post("https://localhost/echo").body(()).unwrap();
    let (response, mut stream) = client.send_request(request, false).unwrap();
    stream.send_data(Bytes::from_static(b"be"), false).unwrap();
    secured.served.until_open(1).await;
    let handle = secured.served.handle.clone();
    let stopping = actix::spawn(async move { handle.stop(true).await });
    // The server no longer accepts requests.
    let refused = loop {
        if poll_fn(|task| client.poll_ready(task)).await.is_err() {
            break true;
        }
        if let Err(error) = whole(send(&mut client, get("/small")).await).await {
            break error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
        }
    };
    assert!(refused);
    stream.send_data(Bytes::from_static(b"gun"), true).unwrap();
    assert_eq!(whole(response).await.unwrap().1, b"begun");
    tokio::time::timeout(Duration::from_secs(20), stopping).await.expect("the server stops").unwrap();
}

#[actix::test]
async fn surplus_http2_clients_get_503() {
    let secured = TlsTestServer::start(1);
    let mut held = secured.http2(65_535).await;
    assert_eq!(fetch(&mut held, get("/small")).await.1, b"small");
    let mut refused = secured.connect_by(&secured.connector).await.unwrap();
    assert_eq!(refused.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    refused.write_all(request("GET", "/small").as_bytes()).await.unwrap();
    assert!(super::read(&mut refused).await.starts_with("HTTP/1.1 503 "));
    secured.stop().await;
}

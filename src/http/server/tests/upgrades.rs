//! Tests of upgraded connections: the first bytes, the last bytes, and the end.

use actix_web::http::header::UPGRADE;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::*;

const ASK: &str =
    "GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Upgrades the connection, and sends back what the client sends, up to the byte `.`.
pub(super) async fn echo(request: HttpRequest) -> HttpResponse {
    // Sleep: simulates the checks of a real handler, during which bytes arrive.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (echoed, mut taken) = mpsc::channel(1);
    Connection::of(&request).unwrap().upgrade(async move |mut received: ClientBytes| {
        while let Some(bytes) = received.next().await {
            let is_last = bytes.contains(&b'.');
            if echoed.send(bytes).await.is_err() || is_last {
                return;
            }
        }
    });
    accept(futures::stream::poll_fn(move |task| taken.poll_recv(task)))
}

/// Upgrades the connection, reads nothing, and ends it.
pub(super) async fn goodbye(request: HttpRequest) -> HttpResponse {
    Connection::of(&request).unwrap().upgrade(async |received| drop(received));
    accept(futures::stream::iter([Bytes::from_static(b"bye")]))
}

/// Upgrades the connection, and neither reads nor sends until the client is gone.
pub(super) async fn idle(request: HttpRequest) -> HttpResponse {
    let connection = Connection::of(&request).unwrap();
    connection.upgrade(async |mut received: ClientBytes| while received.next().await.is_some() {});
    accept(futures::stream::pending())
}

fn accept(frames: impl futures::Stream<Item = Bytes> + 'static) -> HttpResponse {
    let frames = futures::StreamExt::map(frames, Ok::<_, Error>);
    HttpResponse::SwitchingProtocols()
        .upgrade("websocket")
        .insert_header((UPGRADE, "websocket"))
        .streaming(frames)
}

/// Checks that the server sends back what it gets with the request, after it, and in small pieces.
pub(super) async fn check_echo(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    // A large first message, with what looks like the end of a request head.
    let first = format!("{}\r\n\r\n{}", "a".repeat(3000), "b".repeat(3000));
    client.write_all(format!("{ASK}{first}").as_bytes()).await.unwrap();
    let mut sent = first;
    for byte in b"soon after" {
        client.write_all(&[*byte]).await.unwrap();
        sent.push(char::from(*byte));
    }
    let mut answer = Vec::new();
    let is_echoed = |answer: &[u8]| answer.ends_with(b"soon after");
    while !is_echoed(&answer) {
        assert!(client.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
    }
    client.write_all(b"end.").await.unwrap();
    client.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, echoed) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("upgrade: websocket"), "{head}");
    assert!(!head.contains("transfer-encoding") && !head.contains("close"), "{head}");
    assert_eq!(echoed, sent + "end.");
}

#[actix::test]
async fn upgrades_keep_early_bytes() {
    let served = TestServer::start(10);
    check_echo(&mut served.connect().await).await;
    // The upgrade may follow another request.
    let mut client = served.connect().await;
    client.write_all(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    client.write_all(format!("{ASK}early.").as_bytes()).await.unwrap();
    let answer = read(&mut client).await;
    assert!(answer.contains("\r\n\r\nsmallHTTP/1.1 101 ") && answer.ends_with("\r\n\r\nearly."), "{answer}");
    served.until_open(0).await;
    served.detached.ended(Duration::from_secs(20)).await;
    served.handle.stop(false).await;
}

#[actix::test]
async fn last_bytes_survive_unread_ones() {
    let served = TestServer::start(10);
    let mut client = served.connect().await;
    let ask = ASK.replace("/upgrade", "/goodbye");
    client.write_all(format!("{ask}{}", "x".repeat(20_000)).as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("no reset");
    assert!(answer.ends_with("\r\n\r\nbye"), "{answer}");
    // The client does not close, so the server disconnects it.
    served.until_open(0).await;
    served.handle.stop(false).await;
}

#[actix::test]
async fn upgraded_connections_end_with_client() {
    let served = TestServer::start(10);
    let ask = ASK.replace("/upgrade", "/idle");
    let (mut gone, mut half_closed) = (served.connect().await, served.connect().await);
    for client in [&mut gone, &mut half_closed] {
        client.write_all(ask.as_bytes()).await.unwrap();
        assert_eq!(&head(client).await, b"HTTP/1.1 101");
    }
    served.until_open(2).await;
    gone.set_zero_linger().unwrap();
    drop(gone);
    served.until_open(1).await;
    half_closed.shutdown().await.unwrap();
    served.until_open(0).await;
    served.handle.stop(false).await;
}

#[actix::test]
async fn refused_upgrades_are_answered() {
    let served = TestServer::start(10);
    let mut client = served.connect().await;
    client.write_all(format!("{}early", ASK.replace("/upgrade", "/small")).as_bytes()).await.unwrap();
    let answer = read(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nsmall"), "{answer}");
    served.until_open(0).await;
    // A body may follow the request nevertheless.
    let body = "POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nUpgrade: h2c\r\n\
                Content-Length: 9\r\n\r\nsome body";
    assert!(served.ask(body).await.ends_with("\r\n\r\nsome body"));
    served.handle.stop(false).await;
}

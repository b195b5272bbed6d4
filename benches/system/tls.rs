//! CPU time of the node for low-latency HLS listeners over TLS: HTTP/2 next to HTTP/1.1. Each listener has
//! one connection, on which it requests the playlist (blocking reload) and each new part, one by one.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use stentor::probe::m3u8::Playlist;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::house::{Backend, House};
use super::table::Row;
use super::usage;

const ROOM: &str = "secure";
const LISTENERS: usize = 100;
/// Time for the listeners to connect and to reach the live edge.
const SETTLED: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(20);

/// Connection of a listener.
enum Client {
    Http1(Box<TlsStream<TcpStream>>),
    Http2(SendRequest<Bytes>),
}

/// Room that the listeners request.
struct ListenedRoom {
    connector: TlsConnector,
    address: String,
    token: String,
}

pub async fn measure() -> Vec<Row> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| folder.path().join(name).display().to_string());
    let pair = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    let certificate = params.self_signed(&pair).expect("a certificate");
    std::fs::write(&chain, certificate.pem()).expect("a file");
    std::fs::write(&key, pair.serialize_pem()).expect("a file");
    let settings = [("tls.sockets", "hls"), ("tls.certificate_file", &chain), ("tls.key_file", &key)];
    let house = House::open(Backend::Embedded, &settings).await;
    house.node.room_on_air(ROOM).await;
    let (http1, http2) =
        (share(&house, &certificate, b"http/1.1").await, share(&house, &certificate, b"h2").await);
    let percent = |share: f64| format!("{:.1} % of a core", share * 100.0);
    vec![Row::new(
        format!("CPU of the node for {LISTENERS} LL-HLS listeners over TLS, HTTP/2 (floor: HTTP/1.1)"),
        percent(http1),
        percent(http2),
        "≤ 1.5 × HTTP/1.1",
    )]
}

/// Returns the node's CPU time per second with the listeners, less that without them.
async fn share(house: &House, certificate: &rcgen::Certificate, protocol: &[u8]) -> f64 {
    let address = house.node.hls.rsplit('/').next().expect("an address").to_owned();
    let token = house.node.token(ROOM).await;
    let room = Rc::new(ListenedRoom { connector: connector(certificate.der(), protocol), address, token });
    let idle = used(house).await;
    let listening: Vec<_> = (0..LISTENERS)
        .map(|_| {
            let room = room.clone();
            actix::spawn(async move { room.listen().await })
        })
        .collect();
    // Sleep: see the constant.
    tokio::time::sleep(SETTLED).await;
    let busy = used(house).await;
    assert!(listening.iter().all(|listener| !listener.is_finished()), "all listeners are served");
    listening.into_iter().for_each(|listener| listener.abort());
    busy - idle
}

/// Returns the CPU time per second of the node.
async fn used(house: &House) -> f64 {
    let (begin, before) = (Instant::now(), usage::cpu(&[house.node.pid()]));
    // Sleep: the time over which CPU time is counted.
    tokio::time::sleep(WATCHED).await;
    (usage::cpu(&[house.node.pid()]) - before).as_secs_f64() / begin.elapsed().as_secs_f64()
}

fn connector(certificate: &CertificateDer<'static>, protocol: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("versions of TLS");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsConnector::from(Arc::new(config))
}

impl ListenedRoom {
    /// Listens until the task is aborted.
    async fn listen(&self) {
        let mut client = self.connect().await;
        let base = format!("/hls/rooms/{ROOM}/");
        let index = format!("{base}index.m3u8?token={}", self.token);
        let mut wanted = index.clone();
        loop {
            let text = self.get(&mut client, &wanted).await;
            let playlist = Playlist::parse(&String::from_utf8_lossy(&text)).expect("a playlist");
            let last = playlist.segments.last().expect("a segment");
            // Without parts, the last segment is complete.
            let (sequence, parts) = match last.uri {
                Some(_) => (last.sequence + 1, 0),
                None => (last.sequence, last.parts.len()),
            };
            wanted = format!("{index}&_HLS_msn={sequence}&_HLS_part={parts}");
            if let Some(part) = playlist.segments.iter().flat_map(|segment| &segment.parts).last() {
                self.get(&mut client, &format!("{base}{}", part.uri)).await;
            }
        }
    }

    async fn connect(&self) -> Client {
        let socket = TcpStream::connect(&self.address).await.expect("a connection");
        socket.set_nodelay(true).expect("an option");
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let socket = self.connector.connect(name, socket).await.expect("a handshake");
        if socket.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Client::Http1(Box::new(socket));
        }
        let (requests, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
        actix::spawn(async {
            // A listener whose connection ends fails its next request.
            let _ = connection.await;
        });
        Client::Http2(requests)
    }

    async fn get(&self, client: &mut Client, path: &str) -> Vec<u8> {
        match client {
            Client::Http1(socket) => {
                let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
                socket.write_all(request.as_bytes()).await.expect("a request");
                http1_body(socket).await
            }
            Client::Http2(requests) => {
                let url = format!("https://{}{path}", self.address);
                let request = http::Request::get(url).body(()).expect("a request");
                poll_fn(|task| requests.poll_ready(task)).await.expect("a connection");
                let (response, _) = requests.send_request(request, true).expect("a request");
                let response = response.await.expect("a response");
                assert_eq!(response.status(), 200, "{path}");
                let (mut body, mut bytes) = (response.into_body(), Vec::new());
                while let Some(piece) = body.data().await {
                    let piece = piece.expect("a body");
                    body.flow_control().release_capacity(piece.len()).expect("a window");
                    bytes.extend_from_slice(&piece);
                }
                bytes
            }
        }
    }
}

/// Reads a response, whose head must have a length.
async fn http1_body(socket: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let (mut received, end) = (Vec::new(), b"\r\n\r\n");
    let body = loop {
        assert!(socket.read_buf(&mut received).await.expect("a response") > 0, "the connection ended");
        if let Some(at) = received.windows(end.len()).position(|window| window == end) {
            break at + end.len();
        }
    };
    let head = String::from_utf8_lossy(&received[..body]).to_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).expect("a length");
    while received.len() < body + length {
        assert!(socket.read_buf(&mut received).await.expect("a response") > 0, "the connection ended");
    }
    received.split_off(body)
}

//! A receiver of webhooks: keeps every request, and answers with the status and body that the test sets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    /// Certificate of a receiver with TLS for `localhost`, in PEM.
    pub certificate: Option<String>,
    shared: Arc<ReceiverState>,
}

#[derive(Default)]
struct ReceiverState {
    /// 0: requests get no answer.
    status: AtomicU16,
    body: Mutex<String>,
    /// Room whose events are refused with 400.
    refused_room: Mutex<Option<String>>,
    requests: Mutex<Vec<Request>>,
}

#[derive(Clone)]
pub struct Request {
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// Status of the answer.
    pub status: u16,
}

impl Request {
    pub fn event(&self) -> Value {
        serde_json::from_slice(&self.body).expect("an event")
    }
}

impl Receiver {
    pub async fn start() -> Self {
        Self::listen(None, None).await
    }

    pub async fn start_with_tls() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a key for its certificate");
        Self::listen(Some(TlsAcceptor::from(Arc::new(config))), Some(made.cert.pem())).await
    }

    async fn listen(tls: Option<TlsAcceptor>, certificate: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(ReceiverState { status: AtomicU16::new(200), ..ReceiverState::default() });
        let receiver = Self { address, certificate, shared: shared.clone() };
        actix::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (shared, tls) = (shared.clone(), tls.clone());
                actix::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                shared.serve(socket).await;
                            }
                        }
                        None => shared.serve(socket).await,
                    }
                });
            }
        });
        receiver
    }

    pub fn answer(&self, status: u16) {
        self.shared.status.store(status, Relaxed);
    }

    /// Sets the body of the answers.
    pub fn say(&self, body: &str) {
        *self.shared.body.lock().expect("no test panics under it") = body.to_owned();
    }

    pub fn refuse_room(&self, room: Option<&str>) {
        *self.shared.refused_room.lock().expect("no test panics under it") = room.map(str::to_owned);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("no test panics under it").clone()
    }

    /// Returns the accepted events in the order of their first arrival.
    pub fn events(&self) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        for request in self.requests().iter().filter(|request| request.status == 200) {
            let event = request.event();
            if !events.contains(&event) {
                events.push(event);
            }
        }
        events
    }
}

impl ReceiverState {
    async fn serve(&self, mut socket: impl AsyncRead + AsyncWrite + Unpin) {
        let Some((headers, body)) = read(&mut socket).await else { return };
        let event: Value = serde_json::from_slice(&body).unwrap_or_default();
        let refused = self.refused_room.lock().expect("no test panics under it").clone();
        let is_refused = refused.is_some_and(|room| event["roomId"] == *room);
        let status = if is_refused { 400 } else { self.status.load(Relaxed) };
        self.requests.lock().expect("no test panics under it").push(Request { headers, body, status });
        if status == 0 {
            return std::future::pending().await;
        }
        let body = self.body.lock().expect("no test panics under it").clone();
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        // The client may be dead.
        let _ = socket.write_all(answer.as_bytes()).await;
        let _ = socket.shutdown().await;
    }
}

async fn read(socket: &mut (impl AsyncRead + Unpin)) -> Option<(BTreeMap<String, String>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: BTreeMap<_, _> = head.lines().skip(1).filter_map(header).collect();
    // A request of an Icecast source has no length.
    let length: usize = headers.get("content-length").map_or(Ok(0), |length| length.parse()).ok()?;
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if socket.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((headers, body))
}

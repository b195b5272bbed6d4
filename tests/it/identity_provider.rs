//! Tokens of an identity provider, whose keys a node fetches over https.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::secured_backends::Certificates;
use crate::support::node::{Node, request};
use crate::support::until;
use crate::ws::client::Client;

const ISSUER: &str = "https://id.example.org/";
const ROOM: &str = "tea-room";
/// Minimum time between two fetches of the provider's keys by one node.
const LEAST_GAP: Duration = Duration::from_secs(10);

#[actix::test]
async fn provider_tokens_follow_its_keys() {
    let certificates = Certificates::make();
    let (first, second) = (Key::new("a"), Key::new("b"));
    let provider = Provider::start(&certificates, set(&[&first])).await;
    let mut node = Node::prepare(&[
        ("node.roles", "rooms,gateway,hls"),
        ("auth.jwks.url", &provider.url),
        ("auth.jwks.issuer", ISSUER),
        ("auth.jwks.audience", "stentor-api"),
        ("auth.jwks.room_claim", "https://app/room"),
    ]);
    node.environment(vec![("SSL_CERT_FILE".to_owned(), certificates.path("ca.pem"))]);
    node.run();
    node.ready().await;
    let started = Instant::now();
    assert_eq!(node.post("/api/rooms", json!({ "roomId": ROOM })).await.status, 201);

    let listener = first.token("listener");
    until("the keys are fetched", async || is_accepted(&node, &listener).await).await;
    let gateway = node.ws.trim_start_matches("http://").parse().unwrap();
    drop(Client::connect_to(gateway, &first.token("host")).await);
    assert!(!is_accepted(&node, &first.token("host")).await, "a host is not a listener");
    for forged in [first.hmac(), Key::new("a").token("listener"), first.token("replay")] {
        assert!(!is_accepted(&node, &forged).await);
    }

    // A new key is fetched when a token names it, but at most once per `LEAST_GAP`.
    provider.answer(set(&[&first, &second]));
    let (rotated, unknown) = (second.token("listener"), Key::new("c").token("listener"));
    until("the new key is fetched", async || {
        assert!(!is_accepted(&node, &unknown).await);
        is_accepted(&node, &rotated).await
    })
    .await;
    assert!(is_accepted(&node, &listener).await);
    let gaps = started.elapsed().as_secs() / LEAST_GAP.as_secs();
    assert!(provider.fetches() as u64 <= gaps + 2, "{} fetches in {gaps} gaps", provider.fetches());

    // Known keys stay if the provider fails.
    provider.answer("<html>".to_owned());
    until("the failure is reported", async || {
        assert!(!is_accepted(&node, &unknown).await && is_accepted(&node, &rotated).await);
        node.output().contains("keys of the identity provider not read")
    })
    .await;
    assert!(is_accepted(&node, &rotated).await);
    assert!(!node.output().contains(&rotated), "a token is in the log");
}

#[actix::test]
async fn unusable_key_file_fails_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, r#"{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0"}]}"#).unwrap();
    let file = file.display().to_string();
    let settings =
        [("auth.jwks.file", file.as_str()), ("auth.jwks.issuer", ISSUER), ("auth.jwks.audience", "x")];
    let mut node = Node::prepare(&settings);
    node.run();
    assert_eq!(node.ended().code(), Some(1), "{}", node.output());
    assert!(node.output().contains("auth.jwks.file") && node.output().contains(&file), "{}", node.output());
}

/// Returns true if the token is a listener's, valid for the room.
async fn is_accepted(node: &Node, token: &str) -> bool {
    let url = format!("{}/hls/rooms/{ROOM}/enc.key?n=000000000000&k=0&token={token}", node.hls);
    let answer = request("GET", &url, &[], None).await;
    match (answer.status, answer.code().as_str()) {
        // The room is not on air.
        (403, "key_refused") => true,
        (401, "token_invalid") | (403, "token_wrong_audience") => false,
        other => panic!("{other:?}"),
    }
}

/// Signing key of the provider.
struct Key {
    kid: &'static str,
    pair: KeyPair,
}

impl Key {
    fn new(kid: &'static str) -> Self {
        Self { kid, pair: KeyPair::generate().unwrap() }
    }

    fn jwk(&self) -> Value {
        // Skip the first byte, which only marks the point as not compressed (SEC 1, section 2.3.3).
        let (x, y) = self.pair.public_key_raw()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": x, "y": y })
    }

    fn token(&self, role: &str) -> String {
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_der(&self.pair.serialize_der());
        jsonwebtoken::encode(&header, &claims(role), &key).unwrap()
    }

    /// Returns a token signed with HMAC, with the public key as the secret.
    fn hmac(&self) -> String {
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(Algorithm::HS256) };
        let key = EncodingKey::from_secret(self.pair.public_key_raw());
        jsonwebtoken::encode(&header, &claims("listener"), &key).unwrap()
    }
}

fn claims(role: &str) -> Value {
    let now = stentor::rooms::now().0 / 1000;
    json!({
        "iss": ISSUER, "aud": ["stentor-api", "other"], "sub": "ann", "iat": now, "exp": now + 3600,
        "role": role, "https://app/room": ROOM,
    })
}

fn set(keys: &[&Key]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// Server of the provider's JWK set. It ends with the test's runtime.
struct Provider {
    url: String,
    set: Arc<Mutex<String>>,
    fetches: Arc<AtomicUsize>,
}

impl Provider {
    async fn start(certificates: &Certificates, set: String) -> Self {
        let chain = CertificateDer::from_pem_file(certificates.path("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(certificates.path("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/jwks.json", listener.local_addr().unwrap());
        let (set, fetches) = (Arc::new(Mutex::new(set)), Arc::<AtomicUsize>::default());
        let (answers, count) = (set.clone(), fetches.clone());
        actix::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, answers, count) = (acceptor.clone(), answers.clone(), count.clone());
                actix::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    count.fetch_add(1, Relaxed);
                    let body = answers.lock().unwrap().clone();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    // The client may have disconnected; it then needs no answer.
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { url, set, fetches }
    }

    fn answer(&self, set: String) {
        *self.set.lock().unwrap() = set;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Relaxed)
    }
}

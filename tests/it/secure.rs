//! TLS and proxies: a room over https and wss, renewed certificates, the redirect, a cluster, clients behind
//! a proxy.

mod frames;
mod http2;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use stentor::domain::ids::RoomId;
use stentor::probe::listener::Target;
use stentor::probe::{Listener, Mode};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::rooms::{node_on_etcd, tuned_in};
use crate::support::abuse_table::withstood;
use crate::support::etcd::Etcd;
use crate::support::node::{Answer, Node, request};
use crate::support::pages::{Pages, tone};
use crate::support::studio::Studio;
use crate::support::until;
use crate::ws::client::Client;

const ROOM: &str = "live";
const KEY: &str = "sixteen-letters-1";

/// A CA, and the files of a certificate for 127.0.0.1 that it has signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, folder: tempfile::tempdir().unwrap() };
        authority.renew(365);
        authority
    }

    /// Writes a new certificate that is valid for `days`, and its key. Returns the certificate in DER.
    fn renew(&self, days: u64) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_after = (std::time::SystemTime::now() + Duration::from_secs(days * 24 * 3600)).into();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path("chain.pem"), signed.pem()).unwrap();
        std::fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        std::fs::set_permissions(self.path("key.pem"), PermissionsExt::from_mode(0o600)).unwrap();
        signed.der().to_vec()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs a command against the API at `api`. Returns true if it succeeded, and its standard error.
    async fn command(&self, api: &str, trusted: bool) -> (bool, String) {
        std::fs::write(self.path("ca.pem"), self.issuer.as_ref().pem()).unwrap();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_stentor"));
        command.args(["room", "show", ROOM, "--api", api]).env("STENTOR_API_KEY", KEY);
        if trusted {
            command.env("SSL_CERT_FILE", self.path("ca.pem"));
        }
        let output = command.output().await.unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }

    fn settings(&self) -> Vec<(String, String)> {
        let [certificate, key] = ["chain.pem", "key.pem"].map(|name| self.path(name));
        vec![("tls.certificate_file".into(), certificate), ("tls.key_file".into(), key)]
    }

    fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.as_ref().der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// Sends a request and verifies the certificate.
    async fn ask(&self, method: &str, url: &str, body: Option<Value>) -> Answer {
        let connector = awc::Connector::new().rustls_0_23(self.client());
        let client = awc::Client::builder().connector(connector).timeout(Duration::from_secs(30)).finish();
        let request = client.request(method.parse().unwrap(), url);
        let request = request.insert_header(("authorization", format!("Bearer {KEY}")));
        let sent = match &body {
            Some(body) => request.send_json(body).await,
            None => request.send().await,
        };
        let mut response = sent.unwrap_or_else(|error| panic!("{url}: {error}"));
        let text = |value: &awc::http::header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let headers =
            response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let body = response.body().await.unwrap().to_vec();
        Answer { status: response.status().as_u16(), headers, body }
    }

    async fn connect(&self, base: &str) -> TlsStream<TcpStream> {
        let socket = TcpStream::connect(base.split_once("://").unwrap().1).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(self.client()).connect(name, socket).await.unwrap()
    }

    /// Returns the certificate that a server presents now, in DER.
    async fn shown(&self, base: &str) -> Vec<u8> {
        let client = self.connect(base).await;
        client.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

async fn start(settings: Vec<(String, String)>, more: &[(&str, &str)]) -> Node {
    let all = settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    Node::start(&all.chain(more.iter().copied()).collect::<Vec<_>>()).await
}

fn https(address: &str) -> String {
    address.replace("http://", "https://")
}

#[actix::test]
async fn rooms_are_served_over_tls() {
    let authority = Authority::new();
    let redirect = format!("127.0.0.1:{}", crate::support::free_ports::<1>()[0]);
    let more =
        [("auth.mode", "keys"), ("auth.api_keys", KEY), ("tls.hsts", "1h"), ("listen.redirect", &redirect)];
    let mut node = start(authority.settings(), &more).await;
    let (api, hls) = (https(&node.api), https(&node.hls));
    let body = json!({ "roomId": ROOM, "start": true });
    let created = authority.ask("POST", &format!("{api}/api/rooms"), Some(body)).await;
    assert_eq!((created.status, created.header("strict-transport-security")), (201, Some("max-age=3600")));
    let room = created.json()["room"].clone();
    assert!(room["hlsUrl"].as_str().unwrap().starts_with(&hls), "{room}");
    let (users, body) = (format!("{api}/api/rooms/{ROOM}/users"), json!({ "role": "host" }));
    let invited = authority.ask("POST", &users, Some(body)).await.json();
    assert!(invited["inviteUrl"].as_str().unwrap().starts_with(&format!("{hls}/speak/")), "{invited}");
    let ws_url = invited["wsUrl"].as_str().unwrap();
    assert!(ws_url.starts_with("wss://"), "{invited}");

    let token = invited["token"].as_str().unwrap();
    let upgrade = format!("{ws_url}?token={token}").into_client_request().unwrap();
    let (_socket, answer) = client_async(upgrade, authority.connect(&node.ws).await).await.unwrap();
    assert_eq!(answer.status(), 101);

    let listener =
        authority.ask("POST", &format!("{api}/api/token"), Some(json!({ "roomId": ROOM }))).await.json();
    let token = listener["token"].as_str().unwrap().to_owned();
    let target =
        Target { base_url: hls.clone(), room: RoomId::new(ROOM).unwrap(), token, ffmpeg: "ffmpeg".into() };
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut listener = Listener::open_by(&target, Mode::Parts, deadline).await.unwrap();
    let heard = listener.hear(Duration::from_secs(3)).await.unwrap();
    assert_eq!((&heard.gaps, &heard.violations), (&vec![], &vec![]));

    let shown = authority.command(&api, true).await;
    assert!(shown.0, "{shown:?}");
    let (shown, error) = authority.command(&api, false).await;
    assert!(!shown && error.contains("cannot reach https://"), "an unknown authority is refused: {error}");

    let moved = request("GET", &format!("http://{redirect}/listen/{ROOM}?a=b"), &[], None).await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (308, Some(format!("{hls}/listen/{ROOM}?a=b").as_str()))
    );
    let metrics = request("GET", &format!("{}/metrics", node.ops), &[], None).await.text();
    assert!(metrics.contains("stentor_tls_handshakes_total{outcome=\"ok\"}"), "{metrics}");
    assert!(metrics.contains("stentor_tls_certificate_expiry_seconds{"), "{metrics}");
    assert_eq!(node.problems(), Vec::<String>::new());
    assert!(node.stop().success());
}

#[actix::test]
async fn renewed_certificates_need_no_restart() {
    let authority = Authority::new();
    let first = authority.renew(365);
    let mut node = start(authority.settings(), &[("node.roles", "hls"), ("store.kind", "embedded")]).await;
    let hls = node.hls.clone();
    assert_eq!(authority.shown(&hls).await, first);

    let second = authority.renew(10);
    until("the changed files are noticed", async || authority.shown(&hls).await == second).await;
    let warned = |message: &str| {
        node.log().iter().any(|line| line["message"].as_str().unwrap_or_default().contains(message))
    };
    until("the early expiry is warned of", async || warned("the certificate expires soon")).await;

    let third = authority.renew(365);
    node.signal(Signal::HUP);
    until("SIGHUP reads the files", async || authority.shown(&hls).await == third).await;

    std::fs::write(authority.path("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    until("the wrong key is reported", async || warned("certificate rejected")).await;
    assert_eq!(authority.shown(&hls).await, third, "the certificate before it stays");
    assert!(node.stop().success());
}

#[test]
fn check_config_reports_certificate_errors() {
    let authority = Authority::new();
    std::fs::write(authority.path("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_stentor"))
        .args(["check-config", "--config", "/dev/null", "--set", "hls.window=0"])
        .args(authority.settings().iter().flat_map(|(key, value)| ["--set".into(), format!("{key}={value}")]))
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.starts_with("2 errors ") && errors.contains("does not belong to"), "{errors}");
}

#[actix::test]
async fn listener_nodes_fetch_beside_tls() {
    let (authority, etcd) = (Authority::new(), Etcd::start());
    let settings = authority.settings();
    let mut more: Vec<_> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    more.extend([("tls.sockets", "hls,ws"), ("listen.relay", "127.0.0.1:0")]);
    let desk = node_on_etcd(&etcd, &[("node.id", "desk"), ("node.roles", "rooms,janus")]).await;
    let mixer = [&more[..], &[("node.id", "mixer"), ("node.roles", "mixer,hls")]].concat();
    let mixer = node_on_etcd(&etcd, &mixer).await;
    let ear = node_on_etcd(&etcd, &[&more[..3], &[("node.id", "ear"), ("node.roles", "hls")]].concat()).await;
    desk.room_on_air(ROOM).await;
    let _speaker = Studio::managed(&desk).await.speak(&desk, ROOM, 440).await;
    for node in [&mixer, &ear] {
        let target = Target {
            base_url: https(&node.hls),
            room: RoomId::new(ROOM).unwrap(),
            token: desk.token(ROOM).await,
            ffmpeg: "ffmpeg".into(),
        };
        tuned_in(&target, Mode::Parts, 440.0).await;
    }
    // The mixer's public socket does not serve listener nodes.
    let relay = format!("{}/relay/rooms/{ROOM}/index.m3u8", https(&mixer.hls));
    assert_eq!(authority.ask("GET", &relay, None).await.status, 404);
}

/// Speaks from a browser at the address that the demo prints, as a phone does.
#[actix::test]
async fn demo_with_tls_lets_browsers_speak() {
    let route = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect(("192.0.2.1", 9)));
    if route.is_err() {
        return crate::support::skipped("this machine has no network");
    }
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.args(["demo", "--tls", "--config", "/dev/null"]).env("TMPDIR", folder.path());
    for key in ["API", "OPS"] {
        command.env(format!("STENTOR__LISTEN__{key}"), "127.0.0.1:0");
    }
    command.env("STENTOR__MIXER__RTP_PORTS", "30400-30499");
    command.stdout(std::fs::File::create(&told).unwrap());
    let demo = crate::support::kept::KeptProcess::start(command);
    let read = || std::fs::read_to_string(&told).unwrap();
    until("the tone is heard", async || read().contains("440 Hz heard")).await;
    let screen = read();
    let line = screen.lines().find_map(|line| line.trim().strip_prefix("Speak in a browser"));
    let url = line.unwrap().trim();
    assert!(url.starts_with("https://") && !url.contains("127.0.0.1"), "{screen}");

    let mut pages = Pages::start().await;
    let wav = tone(folder.path(), 880).await;
    pages
        .ask("ann", "open", json!({ "url": url, "wav": wav, "displayName": "Ann", "selfSigned": true }))
        .await;
    pages.connected("ann").await;
    let line = screen.lines().find_map(|line| line.trim().strip_prefix("Listen in a browser"));
    let (page, token) = line.unwrap().trim().split_once("#token=").unwrap();
    let (base_url, room) = page.split_once("/listen/").unwrap();
    let target = Target {
        base_url: base_url.to_owned(),
        room: RoomId::new(room).unwrap(),
        token: token.to_owned(),
        ffmpeg: "ffmpeg".into(),
    };
    tuned_in(&target, Mode::Parts, 880.0).await;
    demo.signal(Signal::TERM);
    assert_eq!(demo.end(Duration::from_secs(60)).code(), Some(0), "{}", read());
    let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let left: Vec<_> = left.filter(|path| is_demo(path)).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn is_demo(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("stentor-demo-"))
}

/// Wrong pins and listeners are counted per client that a trusted proxy names; a forged header changes
/// nothing.
#[actix::test]
async fn pins_and_listeners_count_by_client() {
    // A later connection of the same user replaces the one before.
    let keyed = [("auth.mode", "keys"), ("auth.api_keys", KEY), ("ws.duplicate", "replace")];
    let trusting = Node::start(&[&keyed[..], &[("http.trusted_proxies", "127.0.0.1")]].concat()).await;
    let distrusting = Node::start(&keyed).await;
    for (node, distinguishes) in [(&trusting, true), (&distrusting, false)] {
        node.room_on_air(ROOM).await;
        let invited =
            node.post(&format!("/api/rooms/{ROOM}/users"), json!({ "role": "anchor" })).await.json();
        let query = format!("?token={}", invited["token"].as_str().unwrap());
        let gateway: SocketAddr = node.ws.trim_start_matches("http://").parse().unwrap();
        let tries = async |client: &str, count: usize| {
            let headers = [("x-forwarded-for", client)];
            let (mut client, _) = Client::open(gateway, &query, &headers).await.expect("an upgrade");
            let mut error = Value::Null;
            for _ in 0..count {
                let id = client.begin("join", json!({ "pin": "AAAAAA" })).await;
                // Notifications may come before the answer.
                error = loop {
                    let message = client.next().await;
                    if message["id"] == id {
                        break message["error"].clone();
                    }
                };
            }
            error["data"]["code"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(tries("203.0.113.7", 6).await, "too_many_pins");
        let expected = if distinguishes { "wrong_pin" } else { "too_many_pins" };
        assert_eq!(tries("203.0.113.8", 1).await, expected);

        let playlist = format!("{}/hls/rooms/{ROOM}/index.m3u8", node.hls);
        let expected = if distinguishes { 2 } else { 1 };
        until("the listeners are counted", async || {
            for client in ["203.0.113.7", "203.0.113.8", "198.51.100.9, 203.0.113.8"] {
                request("GET", &playlist, &[("x-forwarded-for", client)], None).await;
            }
            node.get("/api/stats").await.json()["listeners"] == expected
        })
        .await;
    }
    withstood(
        "guesses of a PIN from many addresses behind a proxy",
        "counted by client, then refused",
        "another client joins",
    );
}

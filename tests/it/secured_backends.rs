//! etcd and Redis with TLS, a private CA, and users: required settings, and errors when they are wrong.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use stentor::etcd::{EtcdOptions, EtcdStore};
use stentor::presence::redis::{RedisOptions, RedisPresence};
use stentor::presence::{ConnectionLock, Lifetimes, Presence, PresenceError};
use stentor::store::{Store, StoreError};
use tempfile::TempDir;

use crate::canary::Canary;
use crate::support::kept::KeptProcess;
use crate::support::node::{Node, request};
use crate::support::{free_ports, until};

const USER: &str = "stentor";
const PASSWORD: &str = "a password: of etcd/and @Redis";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A directory with a CA (`ca.pem`) and its certificate for 127.0.0.1 (`server.pem`, `server.key`).
pub struct Certificates(TempDir);

impl Certificates {
    pub fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let server =
            CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.as_ref().pem()).unwrap();
        std::fs::write(dir.path().join("server.pem"), server.pem()).unwrap();
        std::fs::write(dir.path().join("server.key"), key.serialize_pem()).unwrap();
        Self(dir)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn ca(&self) -> Option<Vec<u8>> {
        Some(std::fs::read(self.path("ca.pem")).unwrap())
    }
}

/// Starts an etcd that accepts only TLS.
fn etcd(certificates: &Certificates, data: &Path) -> (KeptProcess, String) {
    let [client, peer] = free_ports();
    let (client, peer) = (format!("https://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let mut command = Command::new("etcd");
    command
        .args(["--name", "m0", "--data-dir"])
        .arg(data)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("m0={peer}")])
        .args([
            "--cert-file",
            &certificates.path("server.pem"),
            "--key-file",
            &certificates.path("server.key"),
        ])
        .args(["--logger", "zap", "--log-level", "error"]);
    (start(command), client)
}

/// Starts a Redis that accepts only TLS and only [`USER`].
fn redis(certificates: &Certificates, dir: &Path) -> (KeptProcess, String) {
    let [port] = free_ports();
    let config = dir.join("redis.conf");
    std::fs::write(
        &config,
        format!(
            "port 0\ntls-port {port}\nbind 127.0.0.1\ntls-auth-clients no\nsave \"\"\ndir {}\n\
             tls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\n\
             user default off\nuser {USER} on \"#{}\" ~* &* +@all\n",
            dir.display(),
            certificates.path("server.pem"),
            certificates.path("server.key"),
            certificates.path("ca.pem"),
            sha256(PASSWORD),
        ),
    )
    .unwrap();
    let mut command = Command::new("redis-server");
    command.arg(config);
    (start(command), format!("rediss://127.0.0.1:{port}"))
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(text))
}

fn start(mut command: Command) -> KeptProcess {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    KeptProcess::start(command)
}

/// Creates the users and enables authentication.
async fn ask_for_login(endpoint: &str, certificates: &Certificates) {
    let ca = etcd_client::Certificate::from_pem(certificates.ca().unwrap());
    let options =
        etcd_client::ConnectOptions::new().with_tls(etcd_client::TlsOptions::new().ca_certificate(ca));
    let mut client = etcd_client::Client::connect([endpoint], Some(options)).await.unwrap();
    for user in ["root", USER] {
        client.user_add(user, PASSWORD, None).await.unwrap();
        client.user_grant_role(user, "root").await.unwrap();
    }
    client.auth_enable().await.unwrap();
}

#[actix::test]
async fn etcd_with_tls_and_user_is_usable() {
    let (certificates, data) = (Certificates::make(), tempfile::tempdir().unwrap());
    let (_etcd, endpoint) = etcd(&certificates, data.path());
    let options = |password: &str, ca: Option<Vec<u8>>| EtcdOptions {
        endpoints: vec![endpoint.clone()],
        login: Some((USER.to_owned(), password.to_owned())),
        ca,
        request_timeout: REQUEST_TIMEOUT,
    };
    let anonymous = EtcdOptions { login: None, ..options("", certificates.ca()) };
    let store = EtcdStore::open(anonymous).await.unwrap();
    until("etcd serves", async || store.get("/a").await.is_ok()).await;
    ask_for_login(&endpoint, &certificates).await;
    let refused = store.put("/a", "1".into()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Rejected(_)), "without login: {refused}");

    let store = EtcdStore::open(options(PASSWORD, certificates.ca())).await.unwrap();
    store.put("/a", "1".into()).await.unwrap();
    assert_eq!(store.list("/").await.unwrap().entries.len(), 1);
    let wrong = EtcdStore::open(options("wrong", certificates.ca())).await.unwrap();
    let refused = wrong.get("/a").await.unwrap_err();
    assert!(matches!(refused, StoreError::Rejected(_)), "wrong password: {refused}");
    let distrusting = EtcdStore::open(options(PASSWORD, None)).await.unwrap();
    let refused = distrusting.get("/a").await.unwrap_err();
    assert!(refused.to_string().to_lowercase().contains("certificate"), "unknown CA: {refused}");
}

#[actix::test]
async fn redis_with_tls_and_user_is_usable() {
    let (certificates, data) = (Certificates::make(), tempfile::tempdir().unwrap());
    let (_redis, address) = redis(&certificates, data.path());
    let presence = |login: &str, ca| {
        let url = address.replace("rediss://", &format!("rediss://{login}"));
        let lifetimes = Lifetimes::default();
        RedisPresence::new(RedisOptions { url, ca, request_timeout: REQUEST_TIMEOUT, lifetimes }).unwrap()
    };
    let password: String = url::form_urlencoded::byte_serialize(PASSWORD.as_bytes()).collect();
    let good = format!("{USER}:{}@", password.replace('+', "%20"));
    let room = stentor::domain::ids::RoomId::new("tea-room").unwrap();
    let redis = presence(&good, certificates.ca());
    until("Redis serves", async || redis.list(&room).await.is_ok()).await;
    assert!(redis.list(&room).await.unwrap().is_empty());
    let refused = presence("", certificates.ca()).list(&room).await.unwrap_err();
    assert!(matches!(refused, PresenceError::Rejected(_)), "without login: {refused}");
    let refused = presence(&good, None).list(&room).await.unwrap_err();
    assert!(refused.to_string().to_lowercase().contains("certificate"), "unknown CA: {refused}");
    let _: &dyn ConnectionLock = &*redis;
}

#[actix::test]
async fn node_runs_on_secured_backends() {
    let (certificates, data) = (Certificates::make(), tempfile::tempdir().unwrap());
    let (_etcd, endpoint) = etcd(&certificates, data.path());
    let redis_dir = tempfile::tempdir().unwrap();
    let (_redis, redis_url) = redis(&certificates, redis_dir.path());
    let anonymous = EtcdOptions {
        endpoints: vec![endpoint.clone()],
        login: None,
        ca: certificates.ca(),
        request_timeout: REQUEST_TIMEOUT,
    };
    let store = EtcdStore::open(anonymous).await.unwrap();
    until("etcd serves", async || store.get("/a").await.is_ok()).await;
    ask_for_login(&endpoint, &certificates).await;
    let password_file = certificates.path("password");
    std::fs::write(&password_file, PASSWORD).unwrap();
    let ca_file = certificates.path("ca.pem");
    let node = Node::start(&[
        ("store.kind", "etcd"),
        ("store.etcd.endpoints", &endpoint),
        ("store.etcd.user", USER),
        ("store.etcd.password_file", &password_file),
        ("store.etcd.ca_file", &ca_file),
        ("presence.kind", "redis"),
        ("presence.redis.url", &redis_url),
        ("presence.redis.user", USER),
        ("presence.redis.password_file", &password_file),
        ("presence.redis.ca_file", &ca_file),
        ("auth.jwt_secrets", "k1:a secret for the tokens of this test"),
        ("hls.secret", "a secret for the content keys of it"),
    ])
    .await;
    node.room_on_air("secured").await;
    let mut canary = Canary::default();
    canary.secret("password", PASSWORD);
    canary.written("the log", node.output());
    for path in ["metrics", "actors", "readyz", "audit"] {
        let answer = request("GET", &format!("{}/{path}", node.ops), &[], None).await;
        canary.written(path, answer.text());
    }
    let children = ["janus", "ffmpeg"].iter().flat_map(|name| node.children(name));
    for pid in children.collect::<Vec<_>>() {
        for file in ["cmdline", "environ"] {
            canary.written(file, std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default());
        }
    }
    assert_eq!(canary.found(), "");
}

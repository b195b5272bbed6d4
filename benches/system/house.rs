//! Setup of most measurements: a node, its Janus with direct access, and etcd if it is the backend.

use std::time::Duration;

use awc::Client;
use serde_json::{Value, json};
use stentor::domain::ids::{MediaAddr, Pin};
use stentor::domain::ports::{PLAIN_RTP_PORTS, WEBRTC_PORTS};
use stentor::domain::srtp::SrtpKey;
use stentor::janus::{
    AudioBridge, ConnectOptions, JanusClient, ManagedJanus, ManagedOptions, NewRoom, Secret,
};
use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;

use super::support::etcd::Etcd;
use super::support::node::Node;
use super::support::pause_async;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Embedded,
    Etcd,
}

/// A Janus started by the bench, and a connection to it.
pub struct Gateway {
    pub client: JanusClient,
    pub janus: ManagedJanus,
    pub api_secret: String,
    pub admin_key: String,
    _dir: TempDir,
}

/// A node and its dependencies. The node is dropped first.
pub struct House {
    pub node: Node,
    pub http: Client,
    pub gateway: Gateway,
    pub etcd: Option<Etcd>,
}

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Etcd => "etcd",
        }
    }
}

impl House {
    pub async fn open(backend: Backend, settings: &[(&str, &str)]) -> Self {
        let gateway = Gateway::start().await;
        let etcd = (backend == Backend::Etcd).then(Etcd::start);
        let endpoint = etcd.as_ref().map(Etcd::endpoint).unwrap_or_default();
        let mut all = base_settings();
        all.extend([
            ("janus.mode", "external"),
            ("janus.url", gateway.janus.url()),
            ("janus.api_secret", &gateway.api_secret),
            ("janus.admin_key", &gateway.admin_key),
        ]);
        if etcd.is_some() {
            all.extend(etcd_settings(&endpoint));
        }
        all.extend(settings);
        let node = Node::start(&all).await;
        Self { node, http: client(), gateway, etcd }
    }

    /// Waits until the room exists in Janus and returns its number.
    pub async fn janus_room(&self, room: &str) -> u32 {
        let part = format!("/{room}/");
        loop {
            let rooms = self.gateway.client.list_rooms().await.expect("Janus answers");
            if let Some(found) = rooms.iter().find(|r| r.description.contains(&part)) {
                return found.id;
            }
            pause_async().await;
        }
    }

    pub async fn create(&self, room: &str) {
        let (url, body) = (format!("{}/api/rooms", self.node.api), json!({ "roomId": room }));
        assert_eq!(send(&self.http, "POST", &url, body).await["success"], true, "{room} is created");
    }

    pub async fn start(&self, room: &str) {
        let url = format!("{}/api/rooms/{room}/start", self.node.api);
        assert_eq!(send(&self.http, "POST", &url, Value::Null).await["success"], true, "{room} is started");
    }

    pub async fn room(&self, room: &str) -> Value {
        send(&self.http, "GET", &format!("{}/api/rooms/{room}", self.node.api), Value::Null).await
    }

    /// Deletes the room and waits until it is gone, so that its end does not affect later measurements.
    pub async fn remove(&self, room: &str) {
        send(&self.http, "DELETE", &format!("{}/api/rooms/{room}", self.node.api), Value::Null).await;
        while self.room(room).await["success"] == true {
            pause_async().await;
        }
    }

    /// Returns the value of a metric without labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let url = format!("{}/metrics", self.node.ops);
        let mut answer = self.http.get(url).send().await.expect("metrics");
        let body = answer.body().limit(8 << 20).await.expect("a body");
        let text = String::from_utf8_lossy(&body);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no metric {name}"))
    }
}

impl Gateway {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = ManagedOptions {
            binary: "janus".into(),
            work_dir: dir.path().join("janus"),
            media_ip: [127, 0, 0, 1].into(),
            ice_interface: None,
            public_ip: None,
            api_secret: Secret("bench api secret".into()),
            admin_key: Secret("bench admin key".into()),
            webrtc_ports: WEBRTC_PORTS,
            plain_rtp_ports: PLAIN_RTP_PORTS,
            session_timeout: Duration::from_secs(60),
            account: None,
            data_limit: 8 << 30,
        };
        let janus = ManagedJanus::start(&options).await.expect("Janus starts");
        let connect = ConnectOptions {
            url: janus.url().to_owned(),
            api_secret: Some(options.api_secret.clone()),
            admin_key: Some(options.admin_key.clone()),
            request_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(20),
        };
        let client = JanusClient::connect(&connect, unbounded_channel().0).await.expect("Janus answers");
        let (api_secret, admin_key) = (options.api_secret.0, options.admin_key.0);
        Self { client, janus, api_secret, admin_key, _dir: dir }
    }

    /// Creates a room with its forwarder, as the node does.
    pub async fn room_with_forwarder(&self, number: u32, target: MediaAddr) {
        self.client.create_room(&new_room(number)).await.expect("a room");
        self.client.start_forwarder(number, &room_secret(), target, &srtp_key()).await.expect("a forwarder");
    }

    pub async fn destroy(&self, number: u32) {
        self.client.destroy_room(number, &room_secret()).await.expect("the room goes");
    }
}

/// Returns the common settings: RTP ports apart from those of the tests, a log as in production.
pub fn base_settings() -> Vec<(&'static str, &'static str)> {
    vec![("mixer.rtp_ports", "29000-31999"), ("log.filter", "info,actix_server=warn")]
}

/// Returns the settings for etcd, with the secrets that a cluster needs. The secrets protect nothing.
pub fn etcd_settings(endpoint: &str) -> [(&'static str, &str); 4] {
    const SECRET: &str = "thirty-two bytes that guard nothing";
    [
        ("store.kind", "etcd"),
        ("store.etcd.endpoints", endpoint),
        ("auth.jwt_secrets", "bench:thirty-two bytes that guard nothing"),
        ("hls.secret", SECRET),
    ]
}

pub fn new_room(number: u32) -> NewRoom {
    NewRoom {
        janus_room_id: number,
        description: format!("bench/{number}"),
        pin: Pin::new("abc123").expect("a pin"),
        secret: room_secret(),
    }
}

pub fn room_secret() -> Secret {
    Secret("bench room".into())
}

/// Returns the key of all bare forwarders and FFmpeg processes.
pub fn srtp_key() -> SrtpKey {
    SrtpKey::new([7; SrtpKey::LENGTH])
}

/// Creates a client that keeps its connections, as an application does.
pub fn client() -> Client {
    Client::builder().timeout(Duration::from_secs(30)).finish()
}

/// Sends a request and returns the JSON of the answer, whatever its status.
pub async fn send(client: &Client, method: &str, url: &str, body: Value) -> Value {
    let request = client.request(method.parse().expect("a method"), url);
    let sent = if body.is_null() { request.send().await } else { request.send_json(&body).await };
    let mut answer = sent.unwrap_or_else(|e| panic!("{url}: {e}"));
    let body = answer.body().limit(8 << 20).await.expect("a whole body");
    serde_json::from_slice(&body).unwrap_or_default()
}

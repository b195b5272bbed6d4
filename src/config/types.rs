//! Types of the validated configuration, which the rest of the program uses.
//!
//! Owns: the types. Does not parse; `keys` and `checks` have checked each value of these types.

mod recording;
mod telemetry;
mod tls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::keys::{AdmissionConfig, OutputsConfig, SourcesConfig};
use crate::domain::connection_limits::SignallingLimits;
use crate::domain::hls;
use crate::domain::ids::ModuleId;
use crate::domain::request_rates::RequestLimits;
use crate::domain::restart::Budget;
use crate::domain::webhooks::WebhookFilter;
pub use recording::{RecordingConfig, StorageConfig};
pub use telemetry::{LogConfig, LogFormat, OtlpConfig};
pub use tls::{AcmeConfig, TlsConfig};

/// Secret text. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(******)")
    }
}

/// Validated configuration: each value and the combination of the values were checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub node: NodeConfig,
    pub listen: ListenConfig,
    pub tls: TlsConfig,
    pub store: StoreConfig,
    pub auth: AuthConfig,
    pub http: HttpConfig,
    pub janus: JanusConfig,
    pub mixer: MixerConfig,
    pub hls: HlsConfig,
    pub recording: RecordingConfig,
    pub rooms: RoomsConfig,
    pub events: EventsConfig,
    pub webhooks: WebhooksConfig,
    pub admission: AdmissionConfig,
    pub outputs: OutputsConfig,
    pub sources: SourcesConfig,
    pub ws: SignallingLimits,
    pub presence: PresenceConfig,
    pub ice: IceConfig,
    pub supervision: SupervisionConfig,
    pub log: LogConfig,
    pub otlp: OtlpConfig,
    /// Warnings about the sources of the configuration.
    pub remarks: Vec<String>,
}

impl Config {
    /// Returns the base of the URLs given to listeners, without a trailing slash.
    pub fn hls_base_url(&self) -> String {
        self.hls_origin() + &self.http.base_path
    }

    /// Returns the base of the URLs for listeners, without `http.base_path`.
    pub fn hls_origin(&self) -> String {
        match &self.http.public_hls_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("{}://{}", if self.secure().hls { "https" } else { "http" }, self.listen.hls),
        }
    }

    /// Returns the URL that anchors connect to; `None` if it is not configured and this node has no
    /// gateway.
    pub fn ws_url(&self) -> Option<String> {
        let scheme = if self.secure().ws { "wss" } else { "ws" };
        let own = || {
            self.node
                .roles
                .gateway
                .then(|| format!("{scheme}://{}{}/ws", self.listen.ws, self.http.base_path))
        };
        self.http.public_ws_url.clone().or_else(own)
    }

    /// Returns the folder of the rewind windows. Everything in it is erased when the node starts, so it is
    /// below the data directory, which belongs to one process.
    pub fn rewind_dir(&self) -> PathBuf {
        self.node.data_dir.join("rewind")
    }

    /// Returns the folder of this node's recordings.
    pub fn recordings_dir(&self) -> PathBuf {
        self.recording.dir.clone().unwrap_or_else(|| self.node.data_dir.join("recordings"))
    }

    /// Returns the folder of a managed Janus: its configuration, and what it records for tracks.
    pub fn janus_dir(&self) -> PathBuf {
        self.node.data_dir.join("janus")
    }

    /// Returns the folder of the ACME account and certificates.
    pub fn acme_dir(&self) -> PathBuf {
        self.node.data_dir.join("acme")
    }

    /// Returns the file with the ACME certificate and its private key.
    pub fn acme_certificate(&self) -> PathBuf {
        self.acme_dir().join(format!("{}.pem", self.tls.acme.names_id()))
    }

    /// Returns the listening sockets that have TLS.
    pub fn secure(&self) -> Sockets {
        match self.tls.is_on() {
            true => self.tls.sockets,
            false => Sockets::default(),
        }
    }

    /// Returns the address at which listener nodes fetch from this node; `None` if `listen.relay` is not set
    /// and `listen.hls` has TLS. Listener nodes use plain http: the media are encrypted, and a certificate
    /// seldom names an address of the private network.
    pub fn relay_address(&self) -> Option<SocketAddr> {
        self.listen.relay.or((!self.secure().hls).then_some(self.listen.hls))
    }

    /// Returns the address at which other nodes fetch from this node and ask it; `None`: nowhere.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        let roles = self.node.roles;
        self.relay_address().filter(|_| roles.mixer || roles.hls || self.listen.relay.is_some())
    }

    /// Returns the base of the URLs at which other nodes fetch from this node in the private network, without
    /// a trailing slash.
    pub fn private_hls_url(&self) -> String {
        let port = self.relay_address().unwrap_or(self.listen.hls).port();
        let host = &self.node.advertise;
        match host.contains(':') {
            true => format!("http://[{host}]:{port}"),
            false => format!("http://{host}:{port}"),
        }
    }
}

/// Settings of the event ledger.
#[derive(Debug, Clone)]
pub struct EventsConfig {
    /// Time for which an event is kept.
    pub retention: Duration,
}

/// Receivers of events.
#[derive(Debug, Clone)]
pub struct WebhooksConfig {
    pub endpoints: Vec<WebhookEndpoint>,
    pub secrets: Vec<WebhookSecret>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct WebhookEndpoint {
    /// `^[A-Za-z0-9_-]{1,32}$`, unique.
    pub name: String,
    pub url: String,
    pub filter: WebhookFilter,
}

/// Secret of an endpoint, decoded. Each endpoint has one or two secrets, and each request is signed with all
/// of them.
#[derive(Debug, Clone)]
pub struct WebhookSecret {
    pub endpoint: String,
    pub key: Secret,
}

impl WebhooksConfig {
    /// Returns the secrets of an endpoint.
    pub fn secrets_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Secret> {
        self.secrets.iter().filter(move |secret| secret.endpoint == name).map(|secret| &secret.key)
    }
}

#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Id of the node; `None`: created once and stored in `data_dir`.
    pub id: Option<ModuleId>,
    /// Name of the installation in Janus room descriptions: `stentor/{cluster}/{room}/{epoch}`.
    pub cluster: String,
    pub data_dir: PathBuf,
    pub roles: Roles,
    /// Host name or IP address at which other nodes reach this node.
    pub advertise: String,
    /// Networks of all nodes of the cluster, for addresses in the store; empty: all except link-local ones.
    pub networks: Vec<IpNet>,
    /// User that Janus and FFmpeg run as if the node runs as root; `root`: no change.
    pub child_user: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    pub rooms: bool,
    pub janus: bool,
    pub mixer: bool,
    pub hls: bool,
    pub gateway: bool,
}

#[derive(Debug, Clone)]
pub struct ListenConfig {
    pub api: SocketAddr,
    pub ws: SocketAddr,
    pub hls: SocketAddr,
    /// Address at which listener nodes fetch from this node; `None`: `hls`, if that socket has no TLS.
    pub relay: Option<SocketAddr>,
    /// Address at which plain http is redirected to the https of `hls`.
    pub redirect: Option<SocketAddr>,
    pub ops: SocketAddr,
    /// Address on which FFmpeg receives RTP from Janus.
    pub media: IpAddr,
}

/// Subset of the public listening sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sockets {
    pub api: bool,
    pub ws: bool,
    pub hls: bool,
}

#[derive(Debug, Clone)]
pub struct StoreConfig {
    pub kind: StoreKind,
    pub etcd_endpoints: Vec<String>,
    pub etcd_user: Option<String>,
    pub etcd_password: Option<Secret>,
    /// CA certificates in PEM.
    pub etcd_ca: Option<Vec<u8>>,
    pub request_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    Embedded,
    Etcd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    Open,
    Keys,
}

#[derive(Debug, Clone)]
pub struct AuthConfig {
    pub mode: AuthMode,
    /// Bearer keys of the REST API.
    pub api_keys: Vec<Secret>,
    /// Secrets of tokens. If there is none, one is created in the data directory at the first start, which is
    /// possible only without a cluster.
    pub jwt_secrets: Vec<JwtSecret>,
    pub issuer: String,
    pub listener_token_ttl: Duration,
    /// Lifetime of the tokens of anchors and hosts.
    pub anchor_token_ttl: Duration,
    pub jwks: JwksConfig,
}

/// Identity provider whose tokens are accepted. There is none if neither `file` nor `url` is set.
#[derive(Debug, Clone)]
pub struct JwksConfig {
    /// File with the JWK set.
    pub file: Option<PathBuf>,
    /// URL of the JWK set.
    pub url: Option<String>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub user_claim: String,
    pub room_claim: String,
    pub role_claim: String,
}

/// Secret of tokens. The first secret of the list signs tokens; all secrets verify them.
#[derive(Debug, Clone)]
pub struct JwtSecret {
    pub kid: String,
    pub secret: Secret,
}

#[derive(Debug, Clone)]
pub struct HttpConfig {
    pub allowed_origins: Vec<String>,
    /// Origins of pages that may show a room in a frame.
    pub embed_origins: Vec<String>,
    pub limits: RequestLimits,
    pub header_timeout: Duration,
    /// Proxies whose forwarding headers are trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Sockets at which connections from trusted proxies begin with a PROXY protocol header.
    pub proxy_protocol: Sockets,
    /// Path below which a reverse proxy serves this node, without a slash at its end; empty: the root.
    pub base_path: String,
    /// Origin of the URLs given to listeners, such as `https://live.example.org`. `None`: that of
    /// `listen.hls`.
    pub public_hls_url: Option<String>,
    /// URL that anchors connect to, e.g. `wss://live.example.org/ws`. `None`: the address `listen.ws`, on a
    /// gateway.
    pub public_ws_url: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JanusMode {
    Managed,
    External,
}

#[derive(Debug, Clone)]
pub struct JanusConfig {
    pub mode: JanusMode,
    /// WebSocket URL of an external Janus, e.g. `ws://10.0.0.5:8188`.
    pub url: Option<String>,
    pub api_secret: Option<Secret>,
    pub admin_key: Option<Secret>,
    pub binary: PathBuf,
    pub ice_interface: Option<String>,
    /// Address that a managed Janus announces to anchors in place of its own.
    pub public_ip: Option<Ipv4Addr>,
    /// UDP port range of a managed Janus, inclusive.
    pub webrtc_ports: (u16, u16),
    pub capacity: u32,
    pub request_timeout: Duration,
    /// Time within which a disconnected anchor can return before Janus ends the media session.
    pub session_timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct MixerConfig {
    /// Port range, inclusive. The even ports are used for RTP, each with the odd port above it (RTCP).
    pub rtp_ports: (u16, u16),
    pub ffmpeg: PathBuf,
    pub capacity: u32,
    pub start_limit: usize,
    pub bitrate: u32,
    pub watchdog: Duration,
    pub crashes: Budget,
    /// Grace period between SIGINT and SIGKILL when FFmpeg is stopped.
    pub stop_grace: Duration,
    pub loudness: LoudnessConfig,
}

/// Loudness of the sound that listeners hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoudnessConfig {
    /// True if the mix is levelled to `target`; otherwise every room keeps its own level.
    pub enabled: bool,
    /// Integrated loudness of speech, in LUFS (EBU R 128).
    pub target: i32,
    /// Limit of the true peak, in dBTP; if `enabled` is false, limit of the samples.
    pub limit: i32,
}

impl MixerConfig {
    /// Returns the number of RTP/RTCP pairs (an even port and the odd one above it) in the range.
    pub fn port_pairs(&self) -> u32 {
        port_pairs(self.rtp_ports)
    }
}

/// Number of rooms per core. A core can serve them even if users talk in all of them: Janus and FFmpeg
/// together use up to 8 % of a core for a room with three anchors who talk (`make bench`, `speakers`). The
/// rest of the core is for listeners and starts.
const ROOMS_PER_CORE: u32 = 10;

pub(super) fn rooms_of_this_machine() -> u32 {
    ROOMS_PER_CORE * std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

/// Returns the number of RTP/RTCP pairs in an inclusive range of ports.
pub(super) fn port_pairs((low, high): (u16, u16)) -> u32 {
    let first_even = u32::from(low).next_multiple_of(2);
    (u32::from(high) + 1).saturating_sub(first_even) / 2
}

/// Returns the number of rooms that a range of ports allows. If there are several pairs, one stays free for
/// repairs: a room whose forwarder is repaired must get another port, because Janus starts a new forwarder
/// only to another port.
pub(super) fn rooms_of_ports(range: (u16, u16)) -> u32 {
    let pairs = port_pairs(range);
    if pairs > 1 { pairs - 1 } else { pairs }
}

#[derive(Debug, Clone)]
pub struct HlsConfig {
    pub part: Duration,
    pub segment: Duration,
    /// Number of segments in the playlist.
    pub window: usize,
    /// Number of segments per content key.
    pub key_rotation: u64,
    /// Time by which listeners can go back, unless the room has its own `rewind`; zero: rewind is off.
    pub rewind: Duration,
    /// Server secret of the content keys; `None`: created at first start in the data directory.
    pub secret: Option<Secret>,
}

/// Minimum of [`HlsConfig::patience`]. A newly started room has its first segment within this time, even on a
/// busy machine.
const LEAST_PATIENCE: Duration = Duration::from_secs(10);

impl HlsConfig {
    /// Returns the target duration as written in the playlists.
    pub fn target_duration(&self) -> Duration {
        hls::target_duration(self.segment)
    }

    /// Returns the time that a request may wait for its answer: four target durations, and at least 10 s.
    /// After three target durations, the stream itself ends the wait, and states a reason.
    pub fn patience(&self) -> Duration {
        (4 * self.target_duration()).max(LEAST_PATIENCE)
    }
}

#[derive(Debug, Clone)]
pub struct RoomsConfig {
    pub heartbeat_ttl: Duration,
    /// Time from the loss of a module to the move of its rooms.
    pub replacement_grace: Duration,
    pub housekeeping_interval: Duration,
    pub never_started_after: Duration,
    pub max_age: Duration,
    pub removing_grace: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceKind {
    Embedded,
    Redis,
}

#[derive(Debug, Clone)]
pub struct PresenceConfig {
    pub kind: PresenceKind,
    pub redis_url: Option<String>,
    pub redis_user: Option<String>,
    pub redis_password: Option<Secret>,
    /// CA certificates in PEM.
    pub redis_ca: Option<Vec<u8>>,
    pub request_timeout: Duration,
    /// Time without a `keepalive` after which a user leaves the room.
    pub timeout: Duration,
    pub lock_ttl: Duration,
    pub gateway_ttl: Duration,
}

#[derive(Debug, Clone)]
pub struct IceConfig {
    /// `stun:` and `turn:` URLs (RFC 7064, RFC 7065).
    pub servers: Vec<String>,
    pub turn_secret: Option<Secret>,
    pub turn_ttl: Duration,
}

#[derive(Debug, Clone)]
pub struct SupervisionConfig {
    pub retry_first: Duration,
    pub retry_max: Duration,
    pub shutdown_deadline: Duration,
    /// Maximum time for moving rooms to other nodes before the shutdown begins.
    pub drain_deadline: Duration,
}

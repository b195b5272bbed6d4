//! The validated configuration, as the rest of the house sees it.
//!
//! Owns: the types. Never does: parse; a value of these types was checked by `keys` and `checks`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::connection::Duplicate;
use crate::domain::hls;
use crate::domain::ids::ModuleId;
use crate::domain::restart::Budget;

/// A secret text. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(******)")
    }
}

/// The validated configuration. Whoever holds one may trust every value in it.
#[derive(Debug, Clone)]
pub struct Config {
    pub node: NodeConfig,
    pub listen: ListenConfig,
    pub store: StoreConfig,
    pub auth: AuthConfig,
    pub http: HttpConfig,
    pub janus: JanusConfig,
    pub mixer: MixerConfig,
    pub hls: HlsConfig,
    pub rooms: RoomsConfig,
    pub ws: WsConfig,
    pub presence: PresenceConfig,
    pub ice: IceConfig,
    pub supervision: SupervisionConfig,
    pub log: LogConfig,
}

impl Config {
    /// Base of the URLs given to listeners, without a slash at the end.
    pub fn hls_base_url(&self) -> String {
        match &self.http.public_hls_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.listen.hls),
        }
    }

    /// Where anchors connect to; `None` on a node that was not told and has no gateway itself.
    pub fn ws_url(&self) -> Option<String> {
        let own = || self.node.roles.gateway.then(|| format!("ws://{}/ws", self.listen.ws));
        self.http.public_ws_url.clone().or_else(own)
    }
}

impl Config {
    /// Base of the URLs other nodes fetch from, on the private network, without a slash at the end.
    pub fn private_hls_url(&self) -> String {
        let (host, port) = (&self.node.advertise, self.listen.hls.port());
        match host.contains(':') {
            true => format!("http://[{host}]:{port}"),
            false => format!("http://{host}:{port}"),
        }
    }
}

#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// `None`: made once and kept in `data_dir`.
    pub id: Option<ModuleId>,
    /// Names the installation in Janus room descriptions: `stentor/{cluster}/{room}/{epoch}`.
    pub cluster: String,
    pub data_dir: PathBuf,
    pub roles: Roles,
    /// Host or address other nodes reach this one by.
    pub advertise: String,
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
    pub ops: SocketAddr,
    /// Address of RTP between Janus and mixer.
    pub media: IpAddr,
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
    /// `None`: made at first start in the data directory (one node only).
    pub jwt_secrets: Vec<JwtSecret>,
    pub issuer: String,
    pub listener_token_ttl: Duration,
    /// Of anchors and hosts.
    pub anchor_token_ttl: Duration,
}

/// The first one signs; all verify.
#[derive(Debug, Clone)]
pub struct JwtSecret {
    pub kid: String,
    pub secret: Secret,
}

#[derive(Debug, Clone)]
pub struct HttpConfig {
    pub allowed_origins: Vec<String>,
    pub body_limit: usize,
    pub header_timeout: Duration,
    /// Base of the URLs given to listeners, e.g. `https://live.example.org`. `None`: `http://{listen.hls}`.
    pub public_hls_url: Option<String>,
    /// Where anchors connect to, e.g. `wss://live.example.org/ws`. `None`: `ws://{listen.ws}/ws` of a gateway.
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
    /// What a managed Janus tells anchors in place of its own address.
    pub public_ip: Option<Ipv4Addr>,
    /// Inclusive, UDP; of a managed Janus.
    pub webrtc_ports: (u16, u16),
    pub capacity: u32,
    pub request_timeout: Duration,
    /// Of the anchors' sessions: how long one who was cut off may be away.
    pub session_timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct MixerConfig {
    /// Inclusive; the even ports of it are used, each with the odd one above it (RTCP).
    pub rtp_ports: (u16, u16),
    pub ffmpeg: PathBuf,
    pub capacity: u32,
    pub start_limit: usize,
    pub bitrate: u32,
    pub watchdog: Duration,
    pub crashes: Budget,
    /// FFmpeg gets this long between INT and KILL.
    pub stop_grace: Duration,
    pub loudness: LoudnessConfig,
}

/// Level of what listeners hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoudnessConfig {
    /// False: every room keeps its own level.
    pub enabled: bool,
    /// Integrated loudness of speech, in LUFS (EBU R 128).
    pub target: i32,
    /// In dBTP.
    pub limit: i32,
}

impl MixerConfig {
    /// How many RTP/RTCP pairs (an even port and the odd one above it) the range holds.
    pub fn port_pairs(&self) -> u32 {
        port_pairs(self.rtp_ports)
    }
}

/// A room without speakers costs Janus and FFmpeg 2.6 % of a core together (`make bench`, `crowd`); a fifth is left for
/// speakers, listeners and starts.
const ROOMS_PER_CORE: u32 = 30;

pub(super) fn rooms_of_this_machine() -> u32 {
    ROOMS_PER_CORE * std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

/// How many RTP/RTCP pairs an inclusive range of ports holds.
pub(super) fn port_pairs((low, high): (u16, u16)) -> u32 {
    let first_even = u32::from(low).next_multiple_of(2);
    (u32::from(high) + 1).saturating_sub(first_even) / 2
}

#[derive(Debug, Clone)]
pub struct HlsConfig {
    pub part: Duration,
    pub segment: Duration,
    /// Segments in the playlist.
    pub window: usize,
    /// Segments per content key.
    pub key_rotation: u64,
    /// Server secret of the content keys; `None`: made at first start in the data directory.
    pub secret: Option<Secret>,
}

/// A room that was just started has its first segment within this, even on a busy machine.
const LEAST_PATIENCE: Duration = Duration::from_secs(10);

impl HlsConfig {
    /// As the playlists have it.
    pub fn target_duration(&self) -> Duration {
        hls::target_duration(self.segment)
    }

    /// How long a request may wait for its answer: one more than the three target durations after which a stream
    /// ends a wait by itself, with a reason.
    pub fn patience(&self) -> Duration {
        (4 * self.target_duration()).max(LEAST_PATIENCE)
    }
}

#[derive(Debug, Clone)]
pub struct RoomsConfig {
    pub heartbeat_ttl: Duration,
    /// From the loss of a module to the move of its rooms.
    pub replacement_grace: Duration,
    pub housekeeping_interval: Duration,
    pub never_started_after: Duration,
    pub max_age: Duration,
    pub removing_grace: Duration,
}

/// What one signalling connection may do.
#[derive(Debug, Clone)]
pub struct WsConfig {
    pub ping: Duration,
    pub dead_after: Duration,
    /// Bytes of one message.
    pub frame_limit: usize,
    /// Bytes that may wait for a client that does not read.
    pub queue_limit: usize,
    /// Bytes of an offer.
    pub sdp_limit: usize,
    /// Candidates after one offer.
    pub candidate_limit: usize,
    /// Calls per second.
    pub rate: u32,
    pub burst: u32,
    /// Calls that may wait for their answers.
    pub calls: usize,
    pub call_timeout: Duration,
    /// Time that a connection may be open without being in its room.
    pub join_within: Duration,
    /// What a second connection of the same user gets.
    pub duplicate: Duplicate,
    /// Wrong pins per minute, user and address.
    pub pin_attempts: u32,
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
    /// Of a member who is not heard of.
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
    /// Before that, rooms are given to other nodes for at most this long.
    pub drain_deadline: Duration,
}

#[derive(Debug, Clone)]
pub struct LogConfig {
    pub format: LogFormat,
    /// `tracing` filter, e.g. `info,stentor=debug`.
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

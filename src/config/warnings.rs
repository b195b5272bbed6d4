//! Warnings about settings that are legal but suspicious: they are right in some installations and wrong in
//! others.
//!
//! Owns: their conditions and texts. Does not refuse a configuration (`checks` does).

use std::time::Duration;

use url::Url;

use super::checks::is_on_this_machine;
use super::types::{AuthMode, Config, JanusMode, PresenceKind, StoreKind};
use crate::domain::recording::RecordingMode;

impl Config {
    /// Returns a text for each suspicious setting. Each text names the remedy.
    pub fn warnings(&self) -> Vec<String> {
        let (roles, auth) = (self.node.roles, &self.auth);
        let etcd = self.store.kind == StoreKind::Etcd;
        let spread = etcd && self.store.etcd_endpoints.iter().any(|url| !is_on_this_machine(url));
        let advertised = format!("http://{}", self.node.advertise);
        let (pages, gateway) = (self.hls_base_url(), self.ws_url());
        let mixed = pages.starts_with("https:") && gateway.as_ref().is_some_and(|url| url.starts_with("ws:"));
        let tracks = roles.janus && self.recording.tracks && self.recording.mode != RecordingMode::Off;
        let external = self.janus.mode == JanusMode::External;
        let warnings = [
            (auth.mode == AuthMode::Open, OPEN_MODE),
            (auth.mode == AuthMode::Keys && !self.listen.ops.ip().is_loopback(), REMOTE_OPERATIONS),
            (etcd && roles.gateway && self.presence.kind == PresenceKind::Embedded, ONE_GATEWAY),
            (roles.gateway && self.presence.timeout < TWO_KEEPALIVES, SHORT_SILENCE),
            (roles.rooms && auth.listener_token_ttl < self.rooms.max_age, SHORT_LISTENER_TOKEN),
            (roles.rooms && auth.anchor_token_ttl < self.rooms.max_age, SHORT_ANCHOR_TOKEN),
            (roles.hls && gateway.is_none(), NO_STAGE),
            (mixed, MIXED_CONTENT),
            (self.certificate_names_other_hosts(&pages, gateway.as_deref()), OTHER_NAMES),
            (spread && roles.mixer && is_on_this_machine(&advertised), LOOPBACK_ADVERTISED),
            (spread && roles.mixer && self.listen.media.is_loopback(), LOOPBACK_MEDIA),
            (spread && roles.janus && !external && !roles.gateway, LOCAL_JANUS),
            (tracks && external, NO_TRACKS),
            (tracks && !external && !roles.mixer, LOCAL_TRACKS),
            (etcd && self.store.request_timeout >= self.rooms.heartbeat_ttl, SLOW_STORE),
        ];
        let texts = warnings.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text.to_owned());
        texts.chain(self.remarks.iter().cloned()).collect()
    }
}

impl Config {
    /// Returns true if the URL of a socket with TLS has a host that is not in the certificate.
    fn certificate_names_other_hosts(&self, pages: &str, gateway: Option<&str>) -> bool {
        let (secure, acme) = (self.secure(), &self.tls.acme);
        let names = |host: &str| match &self.tls.certificate {
            Some(chain) => chain.names(host),
            None => !acme.is_on() || acme.domains.iter().any(|name| name == host),
        };
        let urls = [(secure.hls, Some(pages)), (secure.ws, gateway)];
        let hosts = urls.into_iter().filter_map(|(tls, url)| Url::parse(url.filter(|_| tls)?).ok());
        hosts.filter_map(|url| Some(url.host()?.to_string())).any(|host| !names(&host))
    }
}

/// Twice the interval of 10 s at which clients send `keepalive`, so that one of them may be lost.
const TWO_KEEPALIVES: Duration = Duration::from_secs(20);

const OPEN_MODE: &str = "auth.mode is open: every program and every user of this machine has the rights of a \
    host in all rooms; to serve anybody else set auth.mode to keys and give auth.api_keys";
const REMOTE_OPERATIONS: &str = "listen.ops is not on loopback, so its callers need an API key with the \
    scope operations: give one to Prometheus and to all other callers (stentor key create), or listen on \
    127.0.0.1";
const ONE_GATEWAY: &str = "store.kind is etcd and presence.kind embedded, which is right only if this is the \
    one gateway of the cluster: two gateways would admit a user twice, and each would show only its own \
    members; with several gateways, set presence.kind: redis and presence.redis.url on all nodes with the \
    roles gateway and rooms";
const SHORT_SILENCE: &str = "presence.timeout is below 20s: clients send `keepalive` every 10 s, so one \
    late keepalive removes an anchor from the room; set presence.timeout to 20s or more";
const SHORT_LISTENER_TOKEN: &str = "auth.listener_token_ttl is shorter than rooms.max_age: a listener whose \
    token has expired gets no more keys and hears nothing until it opens the playlist with a new token; set \
    auth.listener_token_ttl to rooms.max_age or more";
const SHORT_ANCHOR_TOKEN: &str = "auth.anchor_token_ttl is shorter than rooms.max_age: an anchor who loses \
    the connection late in a broadcast cannot come back without a new invitation; set auth.anchor_token_ttl \
    to rooms.max_age or more";
const NO_STAGE: &str = "this node serves listeners without a gateway of its own and does not know the URL of \
    another: listeners who are invited to the stage get an error; set http.public_ws_url";
const MIXED_CONTENT: &str = "pages are https and the WebSocket of anchors is ws: browsers refuse an \
    unencrypted WebSocket from an encrypted page; set http.public_ws_url to a wss URL, or name ws in \
    tls.sockets";
const OTHER_NAMES: &str = "the certificate (tls.certificate_file or tls.acme.domains) does not name the host \
    that clients use: browsers refuse it; set http.public_hls_url and http.public_ws_url to a name in the \
    certificate, or get another certificate";
const LOOPBACK_ADVERTISED: &str = "node.advertise is a loopback address and etcd is on another machine: \
    other nodes cannot fetch from this mixer; set node.advertise to an address they can reach";
const LOOPBACK_MEDIA: &str = "listen.media is loopback and etcd is on another machine: only a Janus on this \
    machine can send to this mixer; set listen.media to an address that every Janus of the cluster can reach";
const LOCAL_JANUS: &str = "janus.mode is managed on a node without the role gateway, and etcd is on another \
    machine: no gateway can use this Janus, because it listens on loopback; give the node the role gateway, \
    or run Janus yourself and set janus.mode: external";
const NO_TRACKS: &str = "recording.tracks is true and janus.mode external: recordings have no tracks of \
    anchors who speak through this Janus; set janus.mode: managed, or recording.tracks: false";
const LOCAL_TRACKS: &str = "recording.tracks is true on a node with the role janus but not mixer: other \
    nodes cannot fetch the tracks that it makes; download them from this node's own room API, or give it the \
    role mixer";
const SLOW_STORE: &str = "store.request_timeout is not below rooms.heartbeat_ttl: after one request \
    without an answer, the heartbeats of this node expire and its rooms move; set store.request_timeout to a \
    third of rooms.heartbeat_ttl";

//! Rules between keys.
//!
//! Owns: the rules that need more than one key. Does not change a value.

mod sockets;

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use super::reader::Reader;
use super::types::*;
use crate::domain::connection_limits::SignallingLimits;
use crate::domain::ports::PLAIN_RTP_PORTS;
use crate::domain::vouched::host_refusal;
use crate::domain::webhooks::LEAST_RETENTION;
use crate::process::Account;

pub(super) fn check(config: &Config, r: &mut Reader) {
    check_auth(config, r);
    check_jwks(&config.auth, r);
    sockets::check(config, r);
    check_cluster(config, r);
    check_given_out(config, r);
    check_janus(config, r);
    check_webrtc_ports(config, r);
    check_child_user(&config.node, r);
    check_mixer(config, r);
    check_hls(&config.hls, r);
    check_ws(&config.ws, r);
    check_presence(&config.presence, r);
    check_ice(&config.ice, r);
    check_supervision(&config.supervision, r);
    check_webhooks(config, r);
    check_admission(config, r);
}

fn check_auth(config: &Config, r: &mut Reader) {
    let listeners = [
        ("listen.api", config.listen.api),
        ("listen.ws", config.listen.ws),
        ("listen.hls", config.listen.hls),
        ("listen.ops", config.listen.ops),
    ];
    let optional = [("listen.relay", config.listen.relay), ("listen.redirect", config.listen.redirect)];
    let optional = optional.into_iter().filter_map(|(key, address)| Some((key, address?)));
    for (key, address) in listeners.into_iter().chain(optional) {
        r.require(
            &["auth.mode", key],
            config.auth.mode == AuthMode::Keys || address.ip().is_loopback(),
            format!(
                "is allowed only while every listener is on loopback, but {key} is {address}; \
                 set auth.mode to keys and give auth.api_keys, or listen on 127.0.0.1"
            ),
        );
    }
    let (open, http) = (config.auth.mode == AuthMode::Open, &config.http);
    let urls = [("http.public_hls_url", &http.public_hls_url), ("http.public_ws_url", &http.public_ws_url)];
    for (key, url) in urls {
        r.require(
            &[key, "auth.mode"],
            !open || url.as_deref().is_none_or(is_on_this_machine),
            "must name this machine (localhost or 127.0.0.1) while auth.mode is open, which gives the rights \
             of a host to everybody who can connect; set auth.mode to keys and give auth.api_keys, or remove \
             the URL",
        );
    }
    let origins =
        [("http.allowed_origins", &http.allowed_origins), ("http.embed_origins", &http.embed_origins)];
    for (key, origins) in origins {
        let foreign = origins.iter().find(|origin| !is_on_this_machine(origin));
        r.require(
            &[key, "auth.mode"],
            !open || foreign.is_none(),
            format!(
                "must name pages of this machine only while auth.mode is open, which trusts every caller, \
                 but {} is not one; set auth.mode to keys and give auth.api_keys, or remove it",
                foreign.map_or("", String::as_str)
            ),
        );
    }
    r.require(
        &["auth.api_keys", "auth.mode"],
        config.auth.mode == AuthMode::Open || !config.auth.api_keys.is_empty(),
        "must hold at least one key, because auth.mode is keys",
    );
}

/// Returns true if the host of a URL or origin is a loopback address, `localhost`, or a name below
/// `localhost` (RFC 6761 section 6.3).
pub(super) fn is_on_this_machine(url: &str) -> bool {
    let url = Url::parse(url).ok();
    match url.as_ref().and_then(Url::host) {
        // `Url` recognises IP addresses only in special schemes such as `http`. In other schemes it treats an
        // address as a domain.
        Some(Host::Domain(name)) => {
            let ip = name.parse::<IpAddr>();
            name == "localhost" || name.ends_with(".localhost") || ip.is_ok_and(|ip| ip.is_loopback())
        }
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
        None => false,
    }
}

fn check_jwks(auth: &AuthConfig, r: &mut Reader) {
    let JwksConfig { file, url, issuer, audience, .. } = &auth.jwks;
    let has_set = file.is_some() || url.is_some();
    r.require(
        &["auth.jwks.url", "auth.jwks.file"],
        file.is_none() || url.is_none(),
        "must not be set together with auth.jwks.file; remove one of them",
    );
    for (key, value) in [("auth.jwks.issuer", issuer), ("auth.jwks.audience", audience)] {
        r.require(
            &[key, "auth.jwks.url", "auth.jwks.file"],
            value.is_some() == has_set,
            "must be set if auth.jwks.url or auth.jwks.file is, and only then",
        );
    }
    r.require(
        &["auth.jwks.issuer", "auth.issuer"],
        issuer.as_ref() != Some(&auth.issuer),
        "must differ from auth.issuer, the issuer of Stentor's own tokens",
    );
}

/// Checks that the addresses that this node announces are in `node.networks`: otherwise, other nodes refuse
/// them.
fn check_networks(config: &Config, r: &mut Reader) {
    let networks = &config.node.networks;
    let mut require = |key: &'static str, host: &str| {
        let refusal = host_refusal(host, networks);
        r.require(&[key, "node.networks"], refusal.is_none(), refusal.unwrap_or_default());
    };
    require("node.advertise", &config.node.advertise);
    if config.node.roles.mixer {
        require("listen.media", &config.listen.media.to_string());
    }
    let url = config.janus.url.as_ref().and_then(|url| Url::parse(url).ok());
    if let Some(host) = url.as_ref().and_then(Url::host_str) {
        require("janus.url", host);
    }
}

/// Checks the store, the networks and the secrets of a cluster. All nodes need the same secrets: every node
/// must verify tokens that another node signed, and derive the same content keys.
fn check_cluster(config: &Config, r: &mut Reader) {
    check_networks(config, r);
    let alone = config.store.kind == StoreKind::Embedded;
    r.require(
        &["store.etcd.endpoints", "store.kind"],
        alone || !config.store.etcd_endpoints.is_empty(),
        "must name at least one etcd member, because store.kind is etcd",
    );
    let store = &config.store;
    let secure = store.etcd_endpoints.iter().filter(|url| url.starts_with("https:")).count();
    r.require(
        &["store.etcd.endpoints"],
        secure == 0 || secure == store.etcd_endpoints.len(),
        "must be all https or all http",
    );
    r.require(
        &["store.etcd.ca_file", "store.etcd.endpoints"],
        store.etcd_ca.is_none() || secure > 0,
        "is only used with https endpoints; give https:// URLs, or remove it",
    );
    r.require(
        &["store.etcd.user", "store.etcd.password"],
        store.etcd_user.is_some() == store.etcd_password.is_some(),
        "must be set together with store.etcd.password, or neither",
    );
    r.require(
        &["auth.jwt_secrets", "store.kind"],
        alone || !config.auth.jwt_secrets.is_empty(),
        "must be set, the same on every node, because store.kind is etcd",
    );
    r.require(
        &["hls.secret", "store.kind"],
        alone || config.hls.secret.is_some(),
        "must be set, the same on every node, because store.kind is etcd",
    );
}

/// Checks the public URLs. The room API returns these URLs to listeners and anchors, and the pages of the
/// role `hls` pass on the URL to which anchors connect.
fn check_given_out(config: &Config, r: &mut Reader) {
    let (roles, http, listen) = (config.node.roles, &config.http, &config.listen);
    r.require(
        &["http.public_hls_url", "node.roles"],
        !roles.rooms || roles.hls || http.public_hls_url.is_some(),
        "must be set to the URL of the listener nodes, because this node has the role rooms and not hls",
    );
    r.require(
        &["http.public_ws_url", "node.roles"],
        !roles.rooms || roles.gateway || http.public_ws_url.is_some(),
        "must be set to the URL of the gateways, like wss://live.example.org/ws, because this node has the \
         role rooms and not gateway",
    );
    r.require(
        &["http.public_hls_url", "listen.hls"],
        !(roles.rooms && roles.hls) || http.public_hls_url.is_some() || can_be_called(listen.hls),
        format!(
            "must be set, because listen.hls is {}, to which no client can connect; set it to the public \
             URL, like https://live.example.org",
            listen.hls
        ),
    );
    r.require(
        &["http.public_ws_url", "listen.ws"],
        !(roles.gateway && (roles.rooms || roles.hls))
            || http.public_ws_url.is_some()
            || can_be_called(listen.ws),
        format!(
            "must be set, because listen.ws is {}, to which no client can connect; set it to the public URL, \
             like wss://live.example.org/ws",
            listen.ws
        ),
    );
}

/// Returns true if clients can connect to the address. 0.0.0.0 and `::` mean all addresses of the machine
/// that uses them, so a client would connect to its own machine.
fn can_be_called(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_unspecified()
}

fn check_janus(config: &Config, r: &mut Reader) {
    let (janus, has_janus) = (&config.janus, config.node.roles.janus);
    // Only the role janus needs the URL: a gateway finds the Janus of each room in the store.
    r.require(
        &["janus.url", "janus.mode"],
        !has_janus || janus.mode == JanusMode::Managed || janus.url.is_some(),
        "must be set, because janus.mode is external",
    );
    r.require(
        &["janus.public_ip", "janus.mode"],
        janus.mode == JanusMode::Managed || janus.public_ip.is_none(),
        "is for a managed Janus; for an external one, set nat_1_1_mapping in its janus.jcfg",
    );
}

/// Checks that the user of Janus and FFmpeg exists, if the node would change to it.
fn check_child_user(node: &NodeConfig, r: &mut Reader) {
    let account = match node.roles.janus || node.roles.mixer {
        true => Account::for_children(&node.child_user).err(),
        false => None,
    };
    r.require(&["node.child_user"], account.is_none(), account.unwrap_or_default());
}

/// Checks the UDP port ranges. Janus binds any port of a range, so it could take a port assigned to another
/// part of the node.
fn check_webrtc_ports(config: &Config, r: &mut Reader) {
    let (roles, ports) = (config.node.roles, config.janus.webrtc_ports);
    let elsewhere = !roles.janus || config.janus.mode == JanusMode::External;
    let apart = |one: (u16, u16), other: (u16, u16)| one.1 < other.0 || other.1 < one.0;
    let (low, high) = PLAIN_RTP_PORTS;
    r.require(
        &["janus.webrtc_ports"],
        elsewhere || apart(ports, PLAIN_RTP_PORTS),
        format!("must not overlap {low}-{high}, on which the managed Janus takes plain RTP"),
    );
    let mixers = config.mixer.rtp_ports;
    r.require(
        &["mixer.rtp_ports"],
        elsewhere || !roles.mixer || apart(mixers, PLAIN_RTP_PORTS),
        format!("must not overlap {low}-{high}, on which the managed Janus takes plain RTP"),
    );
    let (low, high) = mixers;
    r.require(
        &["janus.webrtc_ports", "mixer.rtp_ports"],
        elsewhere || !roles.mixer || apart(ports, mixers),
        format!("must not overlap mixer.rtp_ports, {low}-{high}; move one of them"),
    );
}

fn check_mixer(config: &Config, r: &mut Reader) {
    let (mixer, part) = (&config.mixer, config.hls.part);
    r.require(
        &["mixer.watchdog", "hls.part_ms"],
        mixer.watchdog >= 2 * part,
        format!(
            "must be at least two parts, {} ms: the node reads FFmpeg's output once per part",
            2 * part.as_millis()
        ),
    );
    let pairs = mixer.port_pairs();
    r.require(
        &["mixer.capacity", "mixer.rtp_ports"],
        mixer.capacity <= pairs,
        format!("must not be above {pairs}, the number of port pairs in mixer.rtp_ports"),
    );
}

fn check_hls(hls: &HlsConfig, r: &mut Reader) {
    r.require(
        &["hls.segment_ms", "hls.part_ms"],
        hls.segment >= 2 * hls.part,
        format!("must be at least two parts, {} ms", 2 * hls.part.as_millis()),
    );
}

fn check_ws(ws: &SignallingLimits, r: &mut Reader) {
    r.require(
        &["ws.dead_after", "ws.ping"],
        ws.dead_after >= 2 * ws.ping,
        format!("must be at least two pings, {} ms", 2 * ws.ping.as_millis()),
    );
    r.require(
        &["ws.sdp_limit", "ws.frame_limit"],
        ws.sdp_limit < ws.frame_limit,
        format!("must be below ws.frame_limit, {}: an offer comes in one message", ws.frame_limit),
    );
}

fn check_presence(presence: &PresenceConfig, r: &mut Reader) {
    r.require(
        &["presence.redis.url", "presence.kind"],
        presence.kind == PresenceKind::Embedded || presence.redis_url.is_some(),
        "must be set, because presence.kind is redis",
    );
    r.require(
        &["presence.redis.user", "presence.redis.password"],
        presence.redis_user.is_none() || presence.redis_password.is_some(),
        "needs presence.redis.password; set it, or remove the user",
    );
    r.require(
        &["presence.redis.ca_file", "presence.redis.url"],
        presence.redis_ca.is_none()
            || presence.redis_url.as_ref().is_some_and(|url| url.starts_with("rediss:")),
        "is only used with a rediss:// URL; give one, or remove it",
    );
}

fn check_ice(ice: &IceConfig, r: &mut Reader) {
    let turn = ice.servers.iter().any(|url| url.starts_with("turn"));
    r.require(
        &["ice.turn_secret", "ice.servers"],
        !turn || ice.turn_secret.is_some(),
        "must be set, because ice.servers names a TURN server",
    );
}

fn check_supervision(supervision: &SupervisionConfig, r: &mut Reader) {
    r.require(
        &["supervision.retry_max", "supervision.retry_first"],
        supervision.retry_max >= supervision.retry_first,
        "must not be below supervision.retry_first",
    );
}

fn check_admission(config: &Config, r: &mut Reader) {
    let admission = &config.admission;
    r.require(
        &["admission.secret", "admission.url"],
        admission.url.is_none() || admission.secret.is_some(),
        "must be set if admission.url is: the application recognizes our requests by it",
    );
    r.require(
        &["admission.url", "admission.secret"],
        admission.secret.is_none() || admission.url.is_some(),
        "must be set if admission.secret is",
    );
    r.require(
        &["admission.timeout", "ws.call_timeout"],
        admission.url.is_none() || admission.timeout < config.ws.call_timeout,
        "must be below ws.call_timeout, the time limit of the whole join",
    );
}

fn check_webhooks(config: &Config, r: &mut Reader) {
    let webhooks = &config.webhooks;
    for WebhookEndpoint { name, .. } in &webhooks.endpoints {
        r.require(
            &["webhooks.secrets", "webhooks.endpoints"],
            matches!(webhooks.secrets_of(name).count(), 1 | 2),
            format!("must have one secret for the endpoint {name}, or two while one replaces the other"),
        );
    }
    for WebhookSecret { endpoint, .. } in &webhooks.secrets {
        r.require(
            &["webhooks.secrets", "webhooks.endpoints"],
            webhooks.endpoints.iter().any(|known| known.name == *endpoint),
            format!("has a secret for {endpoint}, which webhooks.endpoints does not have"),
        );
    }
    let hours = LEAST_RETENTION.as_secs() / 3600;
    r.require(
        &["events.retention", "webhooks.endpoints"],
        webhooks.endpoints.is_empty() || config.events.retention >= LEAST_RETENTION,
        format!(
            "must be at least {hours}h while webhooks.endpoints names any: a refused event is retried for up \
             to 83 hours and must stay in the ledger meanwhile"
        ),
    );
}

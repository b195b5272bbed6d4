//! All configuration keys: name, default, one line of comment, allowed values. The order is that of
//! `config.yaml`.
//!
//! Owns: the only list of keys, together with the files in `keys/`. Does not compare one key with another
//! (`checks` does).

mod admission;
mod events;
mod identity;
mod outputs;
mod recording;
mod signalling;
mod sockets;
mod sources;
mod telemetry;
mod webhooks;

pub use admission::{AdmissionConfig, FailurePolicy};
pub use outputs::OutputsConfig;
use serde_json::{Value, json};
pub use sources::SourcesConfig;

use super::parse::*;
use super::reader::Reader;
use super::types::*;
use crate::domain::ports::WEBRTC_PORTS;
use crate::domain::restart::Budget;

pub(super) fn read(r: &mut Reader) -> Config {
    Config {
        node: node(r),
        listen: sockets::listen(r),
        tls: sockets::tls(r),
        store: store(r),
        auth: auth(r),
        http: sockets::http(r),
        janus: janus(r),
        mixer: mixer(r),
        hls: hls(r),
        recording: recording::recording(r),
        outputs: outputs::outputs(r),
        rooms: rooms(r),
        events: events::events(r),
        webhooks: webhooks::webhooks(r),
        admission: admission::admission(r),
        sources: sources::sources(r),
        ws: signalling::ws(r),
        presence: signalling::presence(r),
        ice: signalling::ice(r),
        supervision: supervision(r),
        log: log(r),
        otlp: telemetry::otlp(r),
        remarks: Vec::new(),
    }
}

fn node(r: &mut Reader) -> NodeConfig {
    NodeConfig {
        id: r.optional(
            "node.id",
            "Id of this node, its Janus and its mixer; null: created once and stored in data_dir.",
            parsed("must be 1 to 64 characters of A-Z a-z 0-9 _ - ."),
        ),
        cluster: r.read(
            "node.cluster",
            "default",
            "Name of the installation; distinguishes its rooms from others on a shared Janus.",
            cluster,
        ),
        data_dir: r.read(
            "node.data_dir",
            "./stentor-data",
            "Folder for the embedded store, generated secrets and the files of the managed Janus.",
            path,
        ),
        roles: r.read(
            "node.roles",
            json!(["rooms", "janus", "mixer", "gateway", "hls"]),
            "Roles of this node: any of rooms, janus, mixer, gateway, hls.",
            roles,
        ),
        advertise: r.read(
            "node.advertise",
            "127.0.0.1",
            "Host name or IP address at which other nodes reach this node.",
            host,
        ),
        networks: r.read(
            "node.networks",
            json!([]),
            "Networks of the cluster's nodes, Januses and mixers; empty: all except link-local addresses.",
            list(network),
        ),
        child_user: r.read(
            "node.child_user",
            "nobody",
            "User that Janus and FFmpeg run as if the node runs as root; root: no change.",
            text,
        ),
    }
}

fn store(r: &mut Reader) -> StoreConfig {
    StoreConfig {
        kind: r.read(
            "store.kind",
            "embedded",
            "Backend of the rooms: embedded (one node, in data_dir) or etcd (cluster).",
            one_of(&[("embedded", StoreKind::Embedded), ("etcd", StoreKind::Etcd)]),
        ),
        etcd_endpoints: r.read(
            "store.etcd.endpoints",
            json!([]),
            "URLs of the etcd members, like http://10.0.0.1:2379.",
            list(url(&["http", "https"])),
        ),
        etcd_user: r.optional("store.etcd.user", "User name, if etcd requires one.", text),
        etcd_password: r.secret(
            "store.etcd.password",
            "Password of the etcd user.",
            "File with the password of etcd, instead of password.",
            secret,
        ),
        etcd_ca: r.optional(
            "store.etcd.ca_file",
            "File with the CA certificates (PEM) for https endpoints; null: those of the system.",
            ca_certificates,
        ),
        request_timeout: r.read(
            "store.request_timeout",
            "3s",
            "How long one request to the store may take.",
            duration("100ms", "60s"),
        ),
    }
}

fn auth(r: &mut Reader) -> AuthConfig {
    AuthConfig {
        mode: r.read(
            "auth.mode",
            "open",
            "REST API: open (no key, for this machine only: no public address, URL, origin or proxy) or \
             keys.",
            one_of(&[("open", AuthMode::Open), ("keys", AuthMode::Keys)]),
        ),
        api_keys: r
            .secret(
                "auth.api_keys",
                "API keys with all rights: 16 characters or more each, or sha256:<64 hex digits>.",
                "File with one API key per line, instead of api_keys.",
                api_keys,
            )
            .unwrap_or_default(),
        jwt_secrets: r
            .secret(
                "auth.jwt_secrets",
                "Secrets of tokens: a list of {kid, secret}; the first signs; null: created in data_dir.",
                "File with one kid:secret per line, instead of jwt_secrets.",
                jwt_secrets,
            )
            .unwrap_or_default(),
        issuer: r.read("auth.issuer", "stentor", "Issuer (iss) of the tokens.", text),
        listener_token_ttl: r.read(
            "auth.listener_token_ttl",
            "6h",
            "Validity of a listener's token; if shorter than rooms.max_age, listeners must renew it.",
            duration("1s", "720h"),
        ),
        anchor_token_ttl: r.read(
            "auth.anchor_token_ttl",
            "12h",
            "Validity of an anchor's or host's token; longer than any broadcast, so that users can return.",
            duration("1s", "720h"),
        ),
        jwks: identity::jwks(r),
    }
}

fn janus(r: &mut Reader) -> JanusConfig {
    JanusConfig {
        mode: r.read(
            "janus.mode",
            "managed",
            "managed (run and configured by this node) or external (at janus.url).",
            one_of(&[("managed", JanusMode::Managed), ("external", JanusMode::External)]),
        ),
        url: r.optional(
            "janus.url",
            "WebSocket URL of an external Janus, like ws://10.0.0.5:8188.",
            url(&["ws", "wss"]),
        ),
        api_secret: r.secret(
            "janus.api_secret",
            "API secret of an external Janus (api_secret in janus.jcfg).",
            "File with the API secret, instead of api_secret.",
            secret,
        ),
        admin_key: r.secret(
            "janus.admin_key",
            "Admin key of an external Janus's AudioBridge (admin_key in its jcfg).",
            "File with the admin key, instead of admin_key.",
            secret,
        ),
        binary: r.read(
            "janus.binary",
            "janus",
            "Program of the managed Janus; if apt has no Janus (Debian 13), see README.md, section Install.",
            path,
        ),
        ice_interface: r.optional(
            "janus.ice_interface",
            "Network interface on which the managed Janus gathers ICE candidates; null: all interfaces.",
            text,
        ),
        webrtc_ports: r.read(
            "janus.webrtc_ports",
            format!("{}-{}", WEBRTC_PORTS.0, WEBRTC_PORTS.1),
            "UDP ports of the managed Janus for anchors; a firewall must allow them.",
            udp_ports,
        ),
        public_ip: r.optional(
            "janus.public_ip",
            "IPv4 address at which anchors reach the managed Janus through a NAT that keeps ports; null: \
             no NAT.",
            public_ip,
        ),
        capacity: r
            .optional(
                "janus.capacity",
                "Maximum number of rooms on this node's Janus; 0: no rooms, null: 10 per processor core.",
                number(0..=10_000),
            )
            .unwrap_or_else(rooms_of_this_machine),
        request_timeout: r.read(
            "janus.request_timeout",
            "5s",
            "How long one request to Janus may take.",
            duration("100ms", "60s"),
        ),
        session_timeout: r.read(
            "janus.session_timeout",
            "60s",
            "Time for a disconnected anchor to return; an external Janus must have the same in janus.jcfg.",
            duration("5s", "10m"),
        ),
    }
}

fn mixer(r: &mut Reader) -> MixerConfig {
    let rtp_ports = r.read(
        "mixer.rtp_ports",
        "27000-28999",
        "UDP ports for RTP from Janus; each FFmpeg uses an even port and the odd port above it.",
        rtp_ports,
    );
    let capacity = r.optional(
        "mixer.capacity",
        "Maximum number of rooms on this mixer; null: 10 per core, but fewer than rtp_ports has port pairs.",
        number(0..=10_000),
    );
    MixerConfig {
        rtp_ports,
        ffmpeg: r.read("mixer.ffmpeg", "ffmpeg", "FFmpeg program.", path),
        capacity: capacity.unwrap_or_else(|| rooms_of_ports(rtp_ports).min(rooms_of_this_machine())),
        start_limit: r.read(
            "mixer.start_limit",
            4,
            "Maximum number of FFmpeg processes that start at the same time.",
            number(1..=64),
        ),
        bitrate: r.read("mixer.bitrate", 64_000, "AAC bit rate, bits per second.", number(16_000..=320_000)),
        watchdog: r.read(
            "mixer.watchdog",
            "2s",
            "FFmpeg is restarted if it delivers no audio for this long while Janus forwards audio to it.",
            duration("500ms", "60s"),
        ),
        crashes: Budget {
            max: r.read(
                "mixer.crash_limit",
                5,
                "A room whose FFmpeg crashes more often than this in crash_window moves to another mixer.",
                number(1..=100),
            ),
            window: r.read(
                "mixer.crash_window",
                "30s",
                "Window in which these crashes are counted.",
                duration("1s", "1h"),
            ),
        },
        stop_grace: r.read(
            "mixer.stop_grace",
            "300ms",
            "Grace period between SIGINT and SIGKILL for FFmpeg.",
            duration("10ms", "10s"),
        ),
        loudness: LoudnessConfig {
            enabled: r.read(
                "mixer.loudness.enabled",
                true,
                "Level the mix for listeners; false: each room keeps its level, and its samples are limited.",
                switch,
            ),
            target: r.read(
                "mixer.loudness.target",
                -18,
                "Target loudness of speech, LUFS; input from -30 to -10 LUFS ends up within 2 LU of it.",
                integer(-30..=-14),
            ),
            limit: r.read(
                "mixer.loudness.limit",
                -1,
                "Highest true peak, dBTP; without levelling, the highest sample.",
                integer(-9..=0),
            ),
        },
    }
}

fn hls(r: &mut Reader) -> HlsConfig {
    HlsConfig {
        part: r.read(
            "hls.part_ms",
            192,
            "Length of a part, ms; multiples of 64 are whole AAC frames (192 ms are nine).",
            millis(100..=1000),
        ),
        segment: r.read(
            "hls.segment_ms",
            2000,
            "Length of a segment, ms; at least two parts.",
            millis(500..=10_000),
        ),
        window: r.read("hls.window", 6, "Segments in the playlist.", number(3..=60)),
        key_rotation: r.read(
            "hls.key_rotation",
            30,
            "Segments per content key; 1 changes it with every segment.",
            number(1..=10_000),
        ),
        rewind: r.read(
            "hls.rewind",
            "0s",
            "How far listeners can go back during a broadcast; the audio is on disk; 0s: off.",
            duration("0s", "3h"),
        ),
        secret: r.secret(
            "hls.secret",
            "Secret from which content keys are derived, 32 bytes or more; null: created in data_dir.",
            "File with that secret in one line, instead of secret.",
            long_secret,
        ),
    }
}

fn rooms(r: &mut Reader) -> RoomsConfig {
    RoomsConfig {
        heartbeat_ttl: r.read(
            "rooms.heartbeat_ttl",
            "10s",
            "A Janus or mixer counts as dead this long after its last heartbeat.",
            duration("1s", "5m"),
        ),
        replacement_grace: r.read(
            "rooms.replacement_grace",
            "500ms",
            "Time for a lost Janus or mixer to return before its rooms move to another.",
            duration("1ms", "10m"),
        ),
        housekeeping_interval: r.read(
            "rooms.housekeeping_interval",
            "30s",
            "Time between two rounds of housekeeping.",
            duration("1s", "1h"),
        ),
        never_started_after: r.read(
            "rooms.never_started_after",
            "10m",
            "A room that was never started is removed after this long.",
            duration("1s", "720h"),
        ),
        max_age: r.read(
            "rooms.max_age",
            "3h",
            "A broadcast is ended after this long.",
            duration("1s", "720h"),
        ),
        removing_grace: r.read(
            "rooms.removing_grace",
            "1m",
            "A removal ends after this time, even if Janus or mixer have not released the room.",
            duration("1s", "1h"),
        ),
    }
}

fn supervision(r: &mut Reader) -> SupervisionConfig {
    SupervisionConfig {
        retry_first: r.read(
            "supervision.retry_first",
            "100ms",
            "First delay before a retry after a failure; doubles each time.",
            duration("1ms", "60s"),
        ),
        retry_max: r.read(
            "supervision.retry_max",
            "10s",
            "Longest delay before a retry after a failure.",
            duration("1ms", "10m"),
        ),
        shutdown_deadline: r.read(
            "supervision.shutdown_deadline",
            "10s",
            "Longest time of an orderly shutdown.",
            duration("100ms", "10m"),
        ),
        drain_deadline: r.read(
            "supervision.drain_deadline",
            "10s",
            "Longest time for which an orderly shutdown moves rooms to other nodes, if there are any.",
            duration("0s", "1h"),
        ),
    }
}

fn log(r: &mut Reader) -> LogConfig {
    LogConfig {
        format: r.read(
            "log.format",
            "text",
            "text or json, to standard error.",
            one_of(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        ),
        filter: r.read(
            "log.filter",
            Value::from("info,actix_server=warn"),
            "Log filter: a level, or levels by module like info,stentor=debug.",
            log_filter,
        ),
    }
}

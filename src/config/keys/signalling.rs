//! Keys of the sections `ws`, `presence` and `ice`.

use serde_json::json;

use crate::config::parse::*;
use crate::config::reader::Reader;
use crate::config::types::*;
use crate::domain::connection::Duplicate;
use crate::domain::connection_limits::SignallingLimits;

pub(super) fn ws(r: &mut Reader) -> SignallingLimits {
    SignallingLimits {
        ping: r.read("ws.ping", "5s", "Time between two pings to a client.", duration("100ms", "60s")),
        dead_after: r.read(
            "ws.dead_after",
            "15s",
            "A client counts as dead this long after the last data from it.",
            duration("200ms", "5m"),
        ),
        frame_limit: r.read(
            "ws.frame_limit",
            65_536,
            "Largest message from a client, bytes.",
            number(1024..=1_048_576),
        ),
        queue_limit: r.read(
            "ws.queue_limit",
            65_536,
            "The connection to a client that does not read is closed when this many bytes wait for it.",
            number(1024..=16 * 1024 * 1024),
        ),
        sdp_limit: r.read("ws.sdp_limit", 16_384, "Largest offer, bytes.", number(1024..=1_048_576)),
        candidate_limit: r.read(
            "ws.candidate_limit",
            32,
            "Maximum number of ICE candidates after one offer.",
            number(1..=1000),
        ),
        rate: r.read("ws.rate", 20, "Calls per second and client, sustained.", number(1..=10_000)),
        burst: r.read(
            "ws.burst",
            40,
            "Calls that a client may make at once after a pause.",
            number(1..=10_000),
        ),
        calls: r.read("ws.calls", 32, "Calls of a client that may wait for answers.", number(1..=1000)),
        call_timeout: r.read(
            "ws.call_timeout",
            "15s",
            "How long one call may take.",
            duration("100ms", "5m"),
        ),
        join_within: r.read(
            "ws.join_within",
            "2m",
            "A connection that is not in its room for this long is closed.",
            duration("1s", "1h"),
        ),
        duplicate: r.read(
            "ws.duplicate",
            "reject",
            "Connection of a user who is connected from another client: reject the new one or replace \
             the old one.",
            one_of(&[("reject", Duplicate::Reject), ("replace", Duplicate::Replace)]),
        ),
        pin_attempts: r.read(
            "ws.pin_attempts",
            5,
            "Wrong PINs allowed per minute, for one user from one address.",
            number(1..=1000),
        ),
    }
}

pub(super) fn presence(r: &mut Reader) -> PresenceConfig {
    PresenceConfig {
        kind: r.read(
            "presence.kind",
            "embedded",
            "Connection locks and members of rooms: embedded (one gateway) or redis (any number of them).",
            one_of(&[("embedded", PresenceKind::Embedded), ("redis", PresenceKind::Redis)]),
        ),
        redis_url: r.optional(
            "presence.redis.url",
            "Redis, like redis://10.0.0.7:6379/0, or rediss:// for TLS.",
            url(&["redis", "rediss"]),
        ),
        redis_user: r.optional("presence.redis.user", "User of Redis; null: its default user.", text),
        redis_password: r.secret(
            "presence.redis.password",
            "Password of Redis.",
            "File with the password of Redis, instead of password.",
            secret,
        ),
        redis_ca: r.optional(
            "presence.redis.ca_file",
            "File with the CA certificates (PEM) for rediss URLs; null: those of the system.",
            ca_certificates,
        ),
        request_timeout: r.read(
            "presence.request_timeout",
            "1s",
            "How long one request to Redis may take.",
            duration("50ms", "30s"),
        ),
        timeout: r.read(
            "presence.timeout",
            "30s",
            "A user who sends no keepalive for this long leaves the room; clients send one every 10 s.",
            duration("1s", "10m"),
        ),
        lock_ttl: r.read(
            "presence.lock_ttl",
            "30s",
            "A connection lock expires after this time; it is renewed three times within this time.",
            duration("1s", "10m"),
        ),
        gateway_ttl: r.read(
            "presence.gateway_ttl",
            "3s",
            "A gateway counts as dead this long after its last heartbeat; its locks can be taken over then.",
            duration("300ms", "1m"),
        ),
    }
}

pub(super) fn ice(r: &mut Reader) -> IceConfig {
    IceConfig {
        servers: r.read(
            "ice.servers",
            json!([]),
            "STUN and TURN servers for anchors, like stun:stun.example.org or \
             turn:turn.example.org?transport=tcp.",
            list(ice_server),
        ),
        turn_secret: r.secret(
            "ice.turn_secret",
            "Secret shared with the TURN servers (coturn: static-auth-secret); credentials are made from it.",
            "File with the shared secret of the TURN servers, instead of turn_secret.",
            secret,
        ),
        turn_ttl: r.read("ice.turn_ttl", "6h", "Validity of TURN credentials.", duration("1m", "720h")),
    }
}

//! Registration of a node id: at most one process holds the key `/nodes/{id}`, bound to its lease.
//!
//! ```text
//!           key absent, or its process has ended              lease lost
//!  Waiting ──────────────────────────────────────▶ Registered ──────────▶ Waiting
//!     │ another process keeps the key alive for longer than the lease TTL
//!     └──────────────▶ Refused: the node exits
//! ```
//! A node that was killed may restart before its lease expires. A successor with the same data directory
//! holds the lock of that directory, so the old process has ended. A process elsewhere waits for the lease to
//! expire.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::UnixMs;

/// Time that the store may take beyond the TTL to expire a lease.
const SLACK: Duration = Duration::from_secs(5);

/// Value of the key `/nodes/{id}`: the process that holds this id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRecord {
    /// Value of `node.advertise`.
    pub host: String,
    pub started_at: UnixMs,
    pub incarnation: String,
    /// Identity of the data directory, for one boot of one machine. Only one process can hold the lock of the
    /// directory, so an equal `place` means that the earlier process has ended.
    pub place: String,
    pub version: String,
    /// Port of `host` at which the node answers other nodes over plain http; absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl NodeRecord {
    /// Returns the base of the URLs at which the node answers other nodes, if it does.
    pub fn base_url(&self) -> Option<String> {
        let (host, port) = (&self.host, self.port?);
        Some(if host.contains(':') {
            format!("http://[{host}]:{port}")
        } else {
            format!("http://{host}:{port}")
        })
    }
}

/// State of the key as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRecord {
    /// Record in the key. `None`: the value cannot be read.
    pub record: Option<NodeRecord>,
    pub revision: i64,
    /// True if the key is bound to a lease and is therefore deleted when the lease ends.
    pub leased: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Put our record if the key is still at revision `over` (0: absent).
    Claim { over: i64 },
    /// Another process may hold the id; check again later.
    Wait,
    /// Another process holds the id; this node must exit.
    Refuse,
}

/// Decides the next step for the key. `waited`: how long the same record has been observed. `ttl`: TTL of a
/// lease.
pub fn decide(found: Option<&FoundRecord>, me: &NodeRecord, waited: Duration, ttl: Duration) -> Decision {
    let Some(found) = found else { return Decision::Claim { over: 0 } };
    let is_ours = |record: &NodeRecord| record.incarnation == me.incarnation || record.place == me.place;
    let is_gone = !found.leased || found.record.as_ref().is_some_and(is_ours);
    match is_gone {
        true => Decision::Claim { over: found.revision },
        false if waited < ttl + SLACK => Decision::Wait,
        false => Decision::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    #[test]
    fn absent_keys_are_claimed() {
        assert_eq!(decide(None, &record("a", "here"), Duration::ZERO, TTL), Decision::Claim { over: 0 });
    }

    #[test]
    fn killed_process_is_succeeded_immediately() {
        let (me, killed) = (record("b", "here"), found(Some(record("a", "here")), true));
        assert_eq!(decide(Some(&killed), &me, Duration::ZERO, TTL), Decision::Claim { over: 7 });
        let own = found(Some(record("b", "there")), true);
        assert_eq!(decide(Some(&own), &me, Duration::ZERO, TTL), Decision::Claim { over: 7 }, "our own");
    }

    #[test]
    fn other_process_is_awaited_then_refused() {
        let me = record("b", "here");
        for other in [found(Some(record("a", "there")), true), found(None, true)] {
            assert_eq!(decide(Some(&other), &me, Duration::ZERO, TTL), Decision::Wait);
            assert_eq!(decide(Some(&other), &me, TTL + Duration::from_secs(1), TTL), Decision::Wait);
            assert_eq!(decide(Some(&other), &me, TTL + SLACK, TTL), Decision::Refuse);
        }
    }

    #[test]
    fn unleased_module_key_is_claimed() {
        let forged = found(Some(record("a", "there")), false);
        let decided = decide(Some(&forged), &record("b", "here"), Duration::ZERO, TTL);
        assert_eq!(decided, Decision::Claim { over: 7 });
    }

    #[test]
    fn base_url_brackets_ipv6() {
        assert_eq!(record("a", "here").base_url(), None, "an earlier version");
        let at =
            |host: &str| NodeRecord { host: host.into(), port: Some(80), ..record("a", "here") }.base_url();
        assert_eq!(at("10.0.0.7").as_deref(), Some("http://10.0.0.7:80"));
        assert_eq!(at("fd00::7").as_deref(), Some("http://[fd00::7]:80"));
    }

    fn record(incarnation: &str, place: &str) -> NodeRecord {
        NodeRecord {
            host: "10.0.0.7".into(),
            started_at: UnixMs(1),
            incarnation: incarnation.into(),
            place: place.into(),
            version: "0".into(),
            port: None,
        }
    }

    fn found(record: Option<NodeRecord>, leased: bool) -> FoundRecord {
        FoundRecord { record, revision: 7, leased }
    }
}

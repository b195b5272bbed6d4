//! What is allowed and yet perhaps not meant: right in some installations, wrong in others, and one node cannot tell.
//!
//! Owns: the words. Never does: refuse anything (`checks` does).

use std::time::Duration;

use super::types::{Config, PresenceKind, StoreKind};

impl Config {
    /// For whoever starts a node with this configuration; each names the remedy.
    pub fn remarks(&self) -> Vec<&'static str> {
        let alone_in_a_cluster = self.store.kind == StoreKind::Etcd
            && self.node.roles.gateway
            && self.presence.kind == PresenceKind::Embedded;
        let too_soon = self.node.roles.gateway && self.presence.timeout < TWO_SIGNS_OF_LIFE;
        [alone_in_a_cluster.then_some(ONE_GATEWAY), too_soon.then_some(SHORT_SILENCE)]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Clients say `keepalive` every 10 s; one may be lost.
const TWO_SIGNS_OF_LIFE: Duration = Duration::from_secs(20);

const ONE_GATEWAY: &str = "store.kind is etcd and presence.kind embedded, which is right only if this is the one \
    gateway of the cluster: two would let a user in twice and show each only its own members; with several, set \
    presence.kind: redis and presence.redis.url on all nodes with the roles gateway and rooms";
const SHORT_SILENCE: &str = "presence.timeout is below 20s: clients give a sign of life every 10 s, so one that is late \
    throws an anchor out of the room; set presence.timeout to 20s or more";

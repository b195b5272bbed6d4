//! What is allowed and yet perhaps not meant: right in some installations, wrong in others, and one node cannot tell.
//!
//! Owns: the words. Never does: refuse anything (`checks` does).

use super::types::{Config, PresenceKind, StoreKind};

impl Config {
    /// For whoever starts a node with this configuration; each names the remedy.
    pub fn remarks(&self) -> Vec<&'static str> {
        let alone_in_a_cluster = self.store.kind == StoreKind::Etcd
            && self.node.roles.gateway
            && self.presence.kind == PresenceKind::Embedded;
        alone_in_a_cluster.then_some(ONE_GATEWAY).into_iter().collect()
    }
}

const ONE_GATEWAY: &str = "store.kind is etcd and presence.kind embedded, which is right only if this is the one \
    gateway of the cluster: two would let a user in twice and show each only its own members; with several, set \
    presence.kind: redis and presence.redis.url on all nodes with the roles gateway and rooms";

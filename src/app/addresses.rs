//! Addresses of a running node.
//!
//! Owns: the type. Does not bind an address; `servers` does.

use std::net::SocketAddr;

/// Bound addresses. They differ from the configured ones if a port is 0 (any free port). `None`: the node
/// does not serve the address.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub api: Option<SocketAddr>,
    pub ws: Option<SocketAddr>,
    pub hls: Option<SocketAddr>,
    /// Address for listener nodes; also `None` if they fetch from `hls`.
    pub relay: Option<SocketAddr>,
    pub redirect: Option<SocketAddr>,
    pub ops: SocketAddr,
}

impl Addresses {
    pub(super) fn new(ops: SocketAddr) -> Self {
        Self { api: None, ws: None, hls: None, relay: None, redirect: None, ops }
    }
}

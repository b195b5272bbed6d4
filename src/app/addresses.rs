//! Addresses of a running node.
//!
//! Owns: the type. Does not bind an address; `servers` does.

use std::net::SocketAddr;

/// Addresses that were actually bound (a configured port 0 is any free port); `None` if no role needs one.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub api: Option<SocketAddr>,
    pub ws: Option<SocketAddr>,
    pub hls: Option<SocketAddr>,
    /// `None` also if listener nodes fetch at `hls`.
    pub relay: Option<SocketAddr>,
    pub redirect: Option<SocketAddr>,
    pub ops: SocketAddr,
}

impl Addresses {
    pub(super) fn new(ops: SocketAddr) -> Self {
        Self { api: None, ws: None, hls: None, relay: None, redirect: None, ops }
    }
}

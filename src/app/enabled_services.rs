//! Services that are mounted at one address.

use crate::domain::descriptors::Share;

/// Services that are mounted at one address.
#[derive(Debug, Clone, Copy, Default)]
pub struct EnabledServices {
    pub api: bool,
    pub ws: bool,
    pub hls: bool,
    /// Endpoint at `listen.hls` from which listener nodes fetch the media of this node.
    pub relay: bool,
    /// The same endpoint at `listen.relay`.
    pub own_relay: bool,
    /// Redirect of plain http to https.
    pub redirect: bool,
    pub ops: bool,
    /// True if the socket has TLS.
    pub tls: bool,
    /// True if each connection from a trusted proxy begins with a PROXY protocol header.
    pub proxied: bool,
}

impl EnabledServices {
    /// Returns true if only operations endpoints are mounted. They get only a few requests per minute. A
    /// worker thread per processor would be too many, because each thread wakes six times per second.
    pub fn is_ops_alone(self) -> bool {
        let Self { api, ws, hls, relay, own_relay, redirect, ops, .. } = self;
        ops && !(api || ws || hls || relay || own_relay || redirect)
    }

    pub fn key(self) -> &'static str {
        match self {
            Self { api: true, .. } => "listen.api",
            Self { ws: true, .. } => "listen.ws",
            Self { hls: true, .. } | Self { relay: true, .. } => "listen.hls",
            Self { own_relay: true, .. } => "listen.relay",
            Self { redirect: true, .. } => "listen.redirect",
            _ => "listen.ops",
        }
    }

    /// Returns the label of the socket in metrics: the configuration key without its section.
    pub fn name(self) -> &'static str {
        self.key().trim_start_matches("listen.")
    }

    /// Returns the share of the file descriptors for the socket. The socket of listeners gets the largest
    /// share, because listeners are many and API clients are few.
    pub fn share(self) -> Share {
        let weights =
            [(self.api || self.redirect, 1), (self.ws, 2), (self.own_relay, 2), (self.hls || self.relay, 4)];
        let weight = weights.into_iter().filter_map(|(mounted, weight)| mounted.then_some(weight)).sum();
        Share { weight, operations: self.is_ops_alone() }
    }
}

//! TLS of the listening sockets (the certificate chain, its private key, and their replacement at run time),
//! and of outgoing requests.
//!
//! Owns: reading and checking the two PEM files, and the current certificate. Does not accept a
//! connection, or print a key.

mod client;
mod identity;

use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use client::client_config;
pub use identity::{Chain, Identity, Key};

/// Current certificate of all listening sockets.
pub struct Certificates(ArcSwap<Identity>);

impl Certificates {
    pub fn new(identity: Identity) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(identity)))
    }

    /// Returns the current certificate.
    pub fn current(&self) -> Arc<Identity> {
        self.0.load_full()
    }

    /// Uses `identity` for all later handshakes. Returns false if it is the current one.
    pub fn replace(&self, identity: Identity) -> bool {
        let changed = *self.0.load_full() != identity;
        if changed {
            self.0.store(Arc::new(identity));
        }
        changed
    }

    /// Returns the TLS configuration of a listening socket: TLS 1.2 and 1.3, and session tickets for
    /// resumption. The keys of the tickets exist in this process only. Offers no protocol (ALPN).
    ///
    /// # Errors
    /// The random number generator of the system failed.
    pub fn server_config(self: &Arc<Self>) -> io::Result<Arc<ServerConfig>> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.clone());
        config.ticketer = ring::Ticketer::new().map_err(io::Error::other)?;
        // One ticket per handshake is enough for a client that keeps its connection.
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().certified())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates")
    }
}

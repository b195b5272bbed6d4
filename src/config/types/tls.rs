//! TLS of the listening sockets.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Sockets;
use crate::tls::{Chain, Key};

/// TLS of the listening sockets. Certificate and key belong together: either both are set, or neither. They
/// are absent if the certificate is obtained through ACME.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    pub certificate: Option<Chain>,
    pub key: Option<Key>,
    pub acme: AcmeConfig,
    /// Sockets that have TLS if there is a certificate.
    pub sockets: Sockets,
    /// `max-age` of `Strict-Transport-Security` (RFC 6797 section 6.1.1).
    pub hsts: Option<Duration>,
}

impl TlsConfig {
    /// Returns true if a certificate or ACME is configured.
    pub fn is_on(&self) -> bool {
        self.certificate.is_some() || self.acme.is_on()
    }
}

/// Settings of ACME (RFC 8555).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeConfig {
    /// DNS names of the certificate; empty: ACME is off.
    pub domains: Vec<String>,
    /// Directory URL of the certificate authority.
    pub directory: String,
}

impl AcmeConfig {
    pub fn is_on(&self) -> bool {
        !self.domains.is_empty()
    }

    /// Returns the id of the certificate: a digest of its names, in any order, and of the authority.
    pub fn names_id(&self) -> String {
        let mut names = self.domains.clone();
        names.sort_unstable();
        names.dedup();
        short_digest(&format!("{}\n{}", self.directory, names.join(",")))
    }

    /// Returns the id of the authority: a digest of its directory URL.
    pub fn authority_id(&self) -> String {
        short_digest(&self.directory)
    }
}

fn short_digest(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_order_share_certificate() {
        let acme = |domains: &[&str], directory: &str| AcmeConfig {
            domains: domains.iter().map(|name| (*name).to_owned()).collect(),
            directory: directory.to_owned(),
        };
        let first = acme(&["a.example", "b.example"], "https://ca.example/a");
        assert_eq!(
            first.names_id(),
            acme(&["b.example", "a.example", "a.example"], &first.directory).names_id()
        );
        assert_ne!(first.names_id(), acme(&["a.example"], &first.directory).names_id());
        let other = acme(&["a.example", "b.example"], "https://ca.example/b");
        assert_ne!(first.names_id(), other.names_id());
        assert_ne!(first.authority_id(), other.authority_id());
        assert_eq!(first.names_id().len(), 16);
    }
}

//! ACME certificates in the store: sealed, because they contain their private keys.
//!
//! Owns: the binding to the names of the certificate. Does not parse a certificate.

use std::time::Duration;

use super::sealed::{SealError, Sealer};
use super::secrets::Secrets;
use crate::domain::ids::UnixMs;

const LABEL: &[u8] = b"stentor acme certificate";
/// Maximum length of a sealed certificate, in bytes. A chain with its key has about 5,000.
const MAX_LEN: usize = 256 << 10;

/// Sealer and opener of certificates. The same on every node. Cheap to clone.
#[derive(Clone)]
pub struct CertificateSeal(Sealer);

impl CertificateSeal {
    pub fn new(secrets: &Secrets) -> Self {
        Self(Sealer::new(secrets, LABEL).up_to(MAX_LEN))
    }

    /// Seals a private key and its chain in PEM. `names` is the id of the certificate's names and its
    /// authority. The result does not expire: the certificate in it does.
    pub fn seal(&self, names: &str, pem: &str, now: UnixMs) -> String {
        self.0.seal(pem, names.as_bytes(), now, Duration::MAX)
    }

    /// Returns the private key and its chain in PEM.
    ///
    /// # Errors
    /// They were sealed under another secret, or for other names.
    pub fn open(&self, names: &str, sealed: &str, now: UnixMs) -> Result<String, SealError> {
        self.0.open(sealed, names.as_bytes(), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn certificates_are_bound_to_their_names() {
        let seal = |byte| {
            let secret = || Secret(vec![byte; 32]);
            CertificateSeal::new(&Secrets { jwt: Vec::new(), hls: secret(), janus_room: secret() })
        };
        let (pem, now) = ("-----BEGIN PRIVATE KEY-----\n".repeat(300), UnixMs(1_000));
        let sealed = seal(7).seal("a", &pem, now);
        assert!(!sealed.contains("PRIVATE"));
        assert_eq!(seal(7).open("a", &sealed, UnixMs(u64::MAX - 1)), Ok(pem));
        assert_eq!(seal(8).open("a", &sealed, now), Err(SealError::Refused));
        assert_eq!(seal(7).open("b", &sealed, now), Err(SealError::Refused));
    }
}

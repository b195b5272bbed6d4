//! A certificate chain and its private key, read from PEM files (RFC 7468).

use std::fmt;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::certificate::{Validity as Period, X509Certificate};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::domain::acme::Validity;

/// Certificate chain: the server's certificate first, then the intermediate ones.
#[derive(Debug, Clone)]
pub struct Chain {
    path: PathBuf,
    certificates: Vec<CertificateDer<'static>>,
    validity: Period,
    renewal_id: Option<String>,
    /// DNS names and IP addresses of the server's certificate.
    names: Vec<String>,
}

/// Private key.
pub struct Key {
    path: PathBuf,
    der: PrivateKeyDer<'static>,
}

/// Chain and key that belong together.
#[derive(Debug)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    validity: Validity,
    names: Vec<String>,
}

impl Chain {
    /// Reads a chain that is valid at `now`.
    ///
    /// # Errors
    /// The file cannot be read, holds no certificate, or the server's certificate is not valid at `now`. The
    /// text is for the operator.
    pub fn read(path: &Path, now: SystemTime) -> Result<Self, String> {
        let chain = Self::parse(path, &read(path)?)?;
        let (Period { not_before, not_after }, validity) = (&chain.validity, chain.validity());
        if validity.until <= now {
            return Err(format!("the certificate has expired on {not_after}; renew it"));
        }
        if validity.from > now {
            let why = "check the clock of this machine, or wait";
            return Err(format!("the certificate is not valid before {not_before}; {why}"));
        }
        Ok(chain)
    }

    /// Parses a chain in PEM, whatever its period of validity. `path` is its file, for error texts.
    ///
    /// # Errors
    /// The text has no certificate, or the server's certificate cannot be parsed. The text is for the
    /// operator.
    pub fn parse(path: &Path, pem: &[u8]) -> Result<Self, String> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.map_err(|error| format!("the file is not valid PEM: {error}"))?;
        let Some(first) = certificates.first() else {
            return Err("the file has no certificate (-----BEGIN CERTIFICATE-----); give the chain in PEM, \
                        the server's certificate first"
                .into());
        };
        let (_, parsed) = X509Certificate::from_der(first)
            .map_err(|error| format!("the first certificate of the file cannot be parsed: {error}"))?;
        let validity = parsed.validity().clone();
        let names = names(&parsed);
        let renewal_id = renewal_id(&parsed);
        Ok(Self { path: path.to_owned(), certificates, validity, renewal_id, names })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the time at which the server's certificate expires.
    pub fn not_after(&self) -> SystemTime {
        self.validity().until
    }

    /// Returns the period of validity of the server's certificate.
    pub fn validity(&self) -> Validity {
        let Period { not_before, not_after } = &self.validity;
        Validity { from: time(not_before.timestamp()), until: time(not_after.timestamp()) }
    }

    /// Returns the id under which the authority has renewal information about the server's certificate
    /// (RFC 9773 section 4.1); `None` if the certificate does not identify the authority's key.
    pub fn renewal_id(&self) -> Option<String> {
        self.renewal_id.clone()
    }

    /// Returns true if the server's certificate is valid for a host name or an IP address.
    pub fn names(&self, host: &str) -> bool {
        self.certificates.first().is_some_and(|certificate| is_for(certificate, host))
    }
}

impl Key {
    /// Reads the first private key of a file: PKCS#8, PKCS#1 or SEC1.
    ///
    /// # Errors
    /// The file cannot be read, or holds no private key that can be used. The text is for the operator.
    pub fn read(path: &Path) -> Result<Self, String> {
        Self::parse(path, &read(path)?)
    }

    /// Parses the first private key of a text in PEM. `path` is its file, for error texts.
    ///
    /// # Errors
    /// The text has no private key that can be used. The text is for the operator.
    pub fn parse(path: &Path, pem: &[u8]) -> Result<Self, String> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                "the file has no private key (-----BEGIN PRIVATE KEY-----); give the certificate's key in \
                 PEM, without a passphrase"
                    .to_owned()
            }
            other => format!("the file is not valid PEM: {other}"),
        })?;
        ring::sign::any_supported_type(&der).map_err(
            |_| "the key type is not supported; use RSA (2048 bits), ECDSA (P-256, P-384) or Ed25519",
        )?;
        Ok(Self { path: path.to_owned(), der })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        Self { path: self.path.clone(), der: self.der.clone_key() }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.path.display())
    }
}

impl Identity {
    /// Joins a chain and its key.
    ///
    /// # Errors
    /// The key does not belong to the server's certificate. The text is for the operator.
    pub fn new(chain: &Chain, key: &Key) -> Result<Self, String> {
        let (certificates, der) = (chain.certificates.clone(), key.der.clone_key());
        let certified = CertifiedKey::from_der(certificates, der, &ring::default_provider());
        let certified = certified.map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
                "the key does not belong to the first certificate in {}: give the key that the certificate \
                 was issued for, and the server's certificate before the intermediate ones",
                chain.path.display()
            ),
            other => format!("the certificate in {} cannot be used: {other}", chain.path.display()),
        })?;
        Ok(Self { certified: Arc::new(certified), validity: chain.validity(), names: chain.names.clone() })
    }

    /// Reads both files and joins them.
    ///
    /// # Errors
    /// As for [`Chain::read`], [`Key::read`] and [`Identity::new`], with the file's path before the text.
    pub fn read(certificate: &Path, key: &Path, now: SystemTime) -> Result<Self, String> {
        let of = |path: &Path, error: String| format!("{}: {error}", path.display());
        let chain = Chain::read(certificate, now).map_err(|error| of(certificate, error))?;
        let key = Key::read(key).map_err(|error| of(key, error))?;
        Self::new(&chain, &key).map_err(|error| of(key.path(), error))
    }

    /// Creates a self-signed certificate for `names`. A node serves it until its first ACME certificate is
    /// issued. It counts as expired from the beginning, because clients refuse it.
    ///
    /// # Errors
    /// A name cannot be in a certificate, or the key cannot be created.
    pub fn self_signed(names: &[String]) -> Result<Self, String> {
        let signed = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
        let der = PrivateKeyDer::Pkcs8(signed.signing_key.serialize_der().into());
        let certified =
            CertifiedKey::from_der(vec![signed.cert.der().clone()], der, &ring::default_provider());
        let certified = certified.map_err(|error| error.to_string())?;
        let now = SystemTime::now();
        let validity = Validity { from: now, until: now };
        Ok(Self { certified: Arc::new(certified), validity, names: names.to_vec() })
    }

    /// Returns the period in which clients accept the certificate.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Returns the names of `previous` for which this certificate is not valid.
    pub fn names_lost_from(&self, previous: &Self) -> Vec<String> {
        let certificate = self.certified.cert.first();
        let has = |name: &String| {
            // A wildcard is no host name; only the same wildcard replaces it.
            self.names.contains(name) || certificate.is_some_and(|certificate| is_for(certificate, name))
        };
        previous.names.iter().filter(|name| !has(name)).cloned().collect()
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }
}

/// Compares only the certificates, because a certificate determines its key.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

/// Returns the names in the extension `subjectAltName` (RFC 5280 section 4.2.1.6), the only ones that clients
/// check.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| v6()).ok().map(|ip| ip.to_string())
        }
        _ => None,
    };
    extension.iter().flat_map(|extension| &extension.value.general_names).filter_map(text).collect()
}

/// Returns the authority's key identifier and the serial number, as RFC 9773 section 4.1 joins them.
fn renewal_id(certificate: &X509Certificate<'_>) -> Option<String> {
    let authority =
        certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref(),
            _ => None,
        })?;
    let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    Some(format!("{}.{}", text(authority.0), text(certificate.raw_serial())))
}

fn is_for(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let Ok(name) = ServerName::try_from(host.trim_matches(['[', ']'])) else { return false };
    let Ok(certificate) = rustls::server::ParsedCertificate::try_from(certificate) else { return false };
    rustls::client::verify_server_name(&certificate, &name).is_ok()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => "the file does not exist".to_owned(),
        ErrorKind::PermissionDenied => {
            "the file cannot be read (permission denied): allow the user that runs Stentor to read it"
                .to_owned()
        }
        _ => format!("the file cannot be read: {error}"),
    })
}

fn time(unix_seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(unix_seconds).unwrap_or(0))
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;

//! TLS to a node on this machine with a self-signed certificate, such as that of `stentor demo --tls`.
//!
//! Any certificate is accepted, because no attacker can intercept a connection between two sockets of one
//! machine. Does not connect to another machine.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use url::{Host, Url};

/// Returns the TLS configuration for `url`; `None` if it is not `https` on this machine.
pub fn config(url: &Url) -> Option<Arc<ClientConfig>> {
    let local = url.scheme() == "https" && url.host().is_some_and(is_local);
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    // The provider has TLS 1.2 and 1.3, so this does not fail.
    let builder = builder.with_safe_default_protocol_versions().ok().filter(|_| local)?;
    let verifier = Arc::new(AnyCertificate(provider));
    Some(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

/// Returns true for an address of this machine: only such an address can be bound.
fn is_local(host: Host<&str>) -> bool {
    let is_own = |ip: IpAddr| UdpSocket::bind((ip, 0)).is_ok();
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(ip) => is_own(ip.into()),
        Host::Ipv6(ip) => is_own(ip.into()),
    }
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_trusted() {
        for (url, trusted) in [
            ("https://127.0.0.1:8443/", true),
            ("https://localhost:8443/", true),
            ("http://127.0.0.1:8443/", false),
            ("https://192.0.2.1/", false),
            ("https://live.example.org/", false),
        ] {
            assert_eq!(config(&Url::parse(url).unwrap()).is_some(), trusted, "{url}");
        }
    }
}

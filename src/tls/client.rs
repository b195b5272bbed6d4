//! TLS of outgoing requests.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// Returns the configuration of a client that trusts the certificate authorities of the system, or those in
/// the file that the environment variable `SSL_CERT_FILE` names. Reads files.
///
/// # Errors
/// The certificate authorities cannot be read; the text names the remedy.
pub fn client_config() -> Result<Arc<ClientConfig>, String> {
    let loaded = rustls_native_certs::load_native_certs();
    if let Some(error) = loaded.errors.first()
        && loaded.certs.is_empty()
    {
        return Err(format!(
            "cannot read the certificate authorities: {error}; install ca-certificates, or set SSL_CERT_FILE"
        ));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

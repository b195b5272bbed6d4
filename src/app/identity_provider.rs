//! Keys of the identity provider: reads its JWK set at startup, every ten minutes, and when a token names an
//! unknown key.
//!
//! Owns: the schedule. Does not drop the known keys when a later read fails.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustls::ClientConfig;

use crate::auth::IdentityProvider;
use crate::config::JwksConfig;

const REFRESH: Duration = Duration::from_secs(600);
/// Shortest time between two reads, even if many tokens name unknown keys.
const LEAST_GAP: Duration = Duration::from_secs(10);
/// Time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of a set, in bytes.
const MAX_SET: usize = 256 << 10;

/// Location of the JWK set.
enum Source {
    File(std::path::PathBuf),
    Url(String, Arc<ClientConfig>),
}

/// Returns the configured identity provider, and keeps its keys up to date while the node runs.
/// Call it inside an actix system. A JWK set in a file is read before this function returns, and a set at a
/// URL soon afterwards.
///
/// # Errors
/// The file has no usable keys, or the certificate authorities cannot be read.
pub fn start(config: &JwksConfig) -> anyhow::Result<Option<Arc<IdentityProvider>>> {
    let provider = Arc::new(IdentityProvider::new(config.clone()));
    let source = match (&config.file, &config.url) {
        (Some(path), _) => {
            let read = || Ok::<_, anyhow::Error>(provider.replace_keys(&std::fs::read(path)?)?);
            read().with_context(|| format!("auth.jwks.file: cannot use {}", path.display()))?;
            Source::File(path.clone())
        }
        (None, Some(url)) => {
            Source::Url(url.clone(), crate::tls::client_config().map_err(anyhow::Error::msg)?)
        }
        (None, None) => return Ok(None),
    };
    actix::spawn(follow(provider.clone(), source));
    Ok(Some(provider))
}

async fn follow(provider: Arc<IdentityProvider>, source: Source) {
    let mut works = false;
    loop {
        let read = async { Ok::<_, anyhow::Error>(provider.replace_keys(&source.read().await?)?) };
        match read.await {
            Ok(keys) => {
                if !std::mem::replace(&mut works, true) {
                    tracing::info!(keys, "keys of the identity provider read");
                }
            }
            Err(error) => {
                works = false;
                tracing::warn!(
                    error = format!("{error:#}"),
                    "auth.jwks: keys of the identity provider not read; the known keys stay in use"
                );
            }
        }
        tokio::time::sleep(LEAST_GAP).await;
        // The next read starts when a token names an unknown key, or after `REFRESH`. Errors do not end the
        // loop, because the server may be unavailable for a while.
        let _ = tokio::time::timeout(REFRESH - LEAST_GAP, provider.unknown_key()).await;
    }
}

impl Source {
    async fn read(&self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::File(path) => Ok(tokio::fs::read(path).await?),
            Self::Url(url, tls) => {
                let connector = awc::Connector::new().timeout(TIMEOUT).rustls_0_23(tls.clone());
                let client =
                    awc::Client::builder().connector(connector).timeout(TIMEOUT).disable_redirects().finish();
                let fetch = async {
                    let mut answer = client.get(url).send().await.map_err(|e| anyhow::anyhow!("{e}"))?;
                    if !answer.status().is_success() {
                        bail!("it answered with {}", answer.status());
                    }
                    Ok(answer.body().limit(MAX_SET).await?.to_vec())
                };
                let fetched = tokio::time::timeout(TIMEOUT, fetch).await;
                fetched.context("no answer in time")?
            }
        }
    }
}

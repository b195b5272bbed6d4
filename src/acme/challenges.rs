//! Answers to HTTP-01 challenges (RFC 8555 section 8.3), read from the store.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::Config;
use crate::domain::acme::{self, ANSWERS_CACHED};
use crate::domain::keys;
use crate::store::{Store, StoreError};

/// Reader of the answers. Every node of the cluster can answer, because the authority may reach any of them.
/// Anybody may send such requests, so they are answered from a cache: each node reads the store at most about
/// once per [`ANSWERS_CACHED`]. Clones share the cache.
#[derive(Clone)]
pub struct Challenges {
    store: Arc<dyn Store>,
    latest: Arc<Mutex<Option<StoredAnswers>>>,
}

/// Result of one read of the store.
struct StoredAnswers {
    /// Time at which the read began.
    at: Instant,
    /// Key authorizations by token.
    found: Result<HashMap<String, String>, StoreError>,
}

impl Challenges {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, latest: Arc::default() }
    }

    /// Creates the reader for a node; returns `None` if ACME is not configured.
    pub fn of(config: &Config, store: &Arc<dyn Store>) -> Option<Self> {
        config.tls.acme.is_on().then(|| Self::new(store.clone()))
    }

    /// Returns the key authorization of a token; `None` if no challenge with this token is open, or if its
    /// answer was published less than [`ANSWERS_CACHED`] ago and the cache lacks it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn answer(&self, token: &str) -> Result<Option<String>, StoreError> {
        if !acme::is_token(token) {
            return Ok(None);
        }
        let arrived = Instant::now();
        // A request waits here while an earlier one reads the store, and then uses the result of that read.
        let mut latest = self.latest.clone().lock_owned().await;
        if latest.as_ref().is_none_or(|looked| looked.at + ANSWERS_CACHED <= arrived) {
            let store = self.store.clone();
            // Read in a separate task, because a client that disconnects would otherwise interrupt the read.
            let looked = tokio::spawn(async move {
                *latest = Some(StoredAnswers { at: Instant::now(), found: look(&*store).await });
                latest
            });
            latest = looked.await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        }
        match latest.as_ref().map(|looked| &looked.found) {
            Some(Ok(answers)) => Ok(answers.get(token).cloned()),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(None),
        }
    }
}

async fn look(store: &dyn Store) -> Result<HashMap<String, String>, StoreError> {
    let listing = store.list(keys::ACME_CHALLENGES).await?;
    let answers = listing.entries.into_iter().filter_map(|found| {
        let token = found.key.strip_prefix(keys::ACME_CHALLENGES)?.to_owned();
        let text = String::from_utf8(found.value.to_vec()).ok()?;
        // Another writer of the store could set any text. Only key authorizations are served.
        acme::is_key_authorization(&text, &token).then_some((token, text))
    });
    Ok(answers.collect())
}

//! Answers to HTTP-01 challenges (RFC 8555 section 8.3), read from the store.

use std::sync::Arc;

use crate::config::Config;
use crate::domain::{acme, keys};
use crate::store::{Store, StoreError};

/// Reader of the answers. Every node of the cluster can answer, because the authority may reach any of them.
#[derive(Clone)]
pub struct Challenges(Arc<dyn Store>);

impl Challenges {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Returns `None` if ACME is not configured.
    pub fn of(config: &Config, store: &Arc<dyn Store>) -> Option<Self> {
        config.tls.acme.is_on().then(|| Self::new(store.clone()))
    }

    /// Returns the key authorization of a token; `None` if no challenge with this token is open.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn answer(&self, token: &str) -> Result<Option<String>, StoreError> {
        if !acme::is_token(token) {
            return Ok(None);
        }
        let found = self.0.get(&keys::acme_challenge(token)).await?;
        // Another writer of the store could set any text. Only the text of a key authorization is served.
        let text = found.and_then(|found| String::from_utf8(found.value.to_vec()).ok());
        Ok(text.filter(|text| {
            text.split_once('.').is_some_and(|(t, thumb)| t == token && acme::is_token(thumb))
        }))
    }
}

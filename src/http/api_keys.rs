//! API keys in force: those of the configuration, and those that the store holds.
//!
//! Owns: the keys of the configuration, which a reload replaces. Does not compare a key; [`ApiKeys`]
//! does.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::error::{ApiError, Code};
use crate::auth::{ApiKeyError, ApiKeys};
use crate::domain::api_key::{Caller, KeyScope};
use crate::rooms::{ApiKeyRegistry, now};

/// API keys in force on this node.
pub struct LiveApiKeys {
    configured: ArcSwap<ApiKeys>,
    stored: Arc<ApiKeyRegistry>,
}

impl LiveApiKeys {
    pub fn new(configured: ApiKeys, stored: Arc<ApiKeyRegistry>) -> Self {
        Self { configured: ArcSwap::from_pointee(configured), stored }
    }

    /// Replaces the keys of the configuration.
    pub fn replace(&self, configured: ApiKeys) {
        self.configured.store(Arc::new(configured));
    }

    /// Checks the value of the `Authorization` header.
    ///
    /// # Errors
    /// The caller is not authorized, or this node has not listed the keys of the store yet.
    pub fn check(&self, authorization: Option<&[u8]>) -> Result<Caller, ApiKeyError> {
        self.configured.load().check(authorization, |id| self.stored.lookup(id), now())
    }

    /// Returns false if the caller of a request that was permitted would now be refused: its key was revoked,
    /// has expired, or was replaced. Returns true while this node has not listed the keys of the store.
    pub fn still_permits(&self, authorization: Option<&[u8]>, scope: KeyScope) -> bool {
        match self.check(authorization) {
            Ok(caller) => caller.require(scope).is_ok(),
            Err(error) => error == ApiKeyError::NotListed,
        }
    }
}

impl From<ApiKeyError> for ApiError {
    fn from(error: ApiKeyError) -> Self {
        let code = match error {
            ApiKeyError::NotListed => Code::StoreUnavailable,
            _ => Code::Unauthorized,
        };
        Self::new(code, error.to_string())
    }
}

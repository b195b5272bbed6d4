//! API keys in force: those of the configuration, and those that the store holds.
//!
//! Owns: the keys of the configuration, which a reload replaces, and the count of requests with each key.
//! Does not compare a key; [`ApiKeys`] does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::error::{ApiError, Code};
use crate::auth::{ApiKeyError, ApiKeys};
use crate::domain::api_key::{ApiKeyId, Caller, KeyScope};
use crate::domain::request_rates::{RequestLimits, RequestRates};
use crate::rooms::{ApiKeyRegistry, now};

/// API keys in force on this node.
pub struct LiveApiKeys {
    configured: ArcSwap<ApiKeys>,
    stored: Arc<ApiKeyRegistry>,
    limits: Arc<ArcSwap<RequestLimits>>,
    /// Requests with each key. `None`: the keys of the configuration, which count together.
    rates: Mutex<RequestRates<Option<ApiKeyId>>>,
    began: Instant,
}

impl LiveApiKeys {
    pub fn new(
        configured: ApiKeys,
        stored: Arc<ApiKeyRegistry>,
        limits: Arc<ArcSwap<RequestLimits>>,
    ) -> Self {
        let (configured, began) = (ArcSwap::from_pointee(configured), Instant::now());
        Self { configured, stored, limits, rates: Mutex::default(), began }
    }

    /// Replaces the keys of the configuration.
    pub fn replace(&self, configured: ApiKeys) {
        self.configured.store(Arc::new(configured));
    }

    /// Checks the value of the `Authorization` header of a request, and counts the request for its key. Open
    /// mode has no keys and no limit.
    ///
    /// # Errors
    /// The errors of [`check`](Self::check), and `too_many_requests` with the time after which to retry.
    pub fn admit(&self, authorization: Option<&[u8]>) -> Result<Caller, ApiError> {
        let caller = self.check(authorization)?;
        if matches!(**self.configured.load(), ApiKeys::Open) {
            return Ok(caller);
        }
        let rate = self.limits.load().requests_per_key;
        // A poisoned lock is usable: its counters are valid.
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        match rates.take(caller.key().cloned(), rate, self.began.elapsed()) {
            Ok(()) => Ok(caller),
            Err(wait) => Err(ApiError::new(
                Code::TooManyRequests,
                "too many requests with this API key (http.requests_per_key)",
            )
            .retry_in(wait)),
        }
    }

    /// Checks the value of the `Authorization` header, without counting a request.
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

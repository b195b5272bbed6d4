//! Retry and restart policy, from `stentor-backoff`, and the longest retry delay for the store.

use std::time::Duration;

pub use stentor_backoff::{Backoff, Budget, Restarts};

/// Longest delay between two attempts to reach the store, for everything that waits only for the store. The
/// system must work again two seconds after the store returns.
pub const STORE_ASKED_WITHIN: Duration = Duration::from_secs(1);

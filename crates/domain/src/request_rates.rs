//! Limit on the requests of each client: an address or an API key. This module is pure: the time is an
//! argument.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::connection_limits::TokenBucket;

/// Size of the burst, in seconds at the full rate, so that many clients behind one address may start at once.
const BURST_SECONDS: u32 = 2;
/// Maximum number of clients that are counted; they take about 3 MB. Requests from further clients are not
/// limited.
const MANY: usize = 1 << 15;
/// Time without requests after which the bucket of a client is full again.
const FORGOTTEN: Duration = Duration::from_secs(BURST_SECONDS as u64);

/// Limits of the HTTP requests and connections of each client. A reload replaces them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLimits {
    /// Maximum size of a request body, in bytes.
    pub body: usize,
    /// Maximum number of requests per second from one client address.
    pub requests_per_address: u32,
    /// Maximum number of requests per second with one API key.
    pub requests_per_key: u32,
    /// Maximum number of connections from one client address to one listening socket.
    pub connections_per_address: usize,
}

#[derive(Debug)]
pub struct RequestRates<K> {
    buckets: HashMap<K, (TokenBucket, Duration)>,
    cleaned_at: Duration,
}

impl<K> Default for RequestRates<K> {
    fn default() -> Self {
        Self { buckets: HashMap::new(), cleaned_at: Duration::ZERO }
    }
}

impl<K: Eq + Hash> RequestRates<K> {
    /// Counts a request. `rate`: maximum number of requests per second.
    ///
    /// # Errors
    /// The client has sent too many requests. The value is the time until the next request is admitted.
    pub fn take(&mut self, client: K, rate: u32, now: Duration) -> Result<(), Duration> {
        let burst = rate.saturating_mul(BURST_SECONDS);
        if self.buckets.len() >= MANY && !self.buckets.contains_key(&client) {
            if now < self.cleaned_at + FORGOTTEN {
                return Ok(());
            }
            self.cleaned_at = now;
            self.buckets.retain(|_, (_, last)| *last + FORGOTTEN > now);
        }
        let full = || (TokenBucket::full(burst, now), now);
        let (bucket, last) = self.buckets.entry(client).or_insert_with(full);
        *last = now;
        bucket.take(rate, burst, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_rate() {
        let mut rates = RequestRates::default();
        let at = Duration::from_millis;
        let admitted = |rates: &mut RequestRates<u32>, n, ms| {
            (0..100).filter(|_| rates.take(n, 10, at(ms)).is_ok()).count()
        };
        assert_eq!(admitted(&mut rates, 1, 0), 20, "two seconds at once");
        assert_eq!(rates.take(1, 10, at(0)), Err(at(100)));
        assert_eq!(admitted(&mut rates, 2, 0), 20);
        assert_eq!(admitted(&mut rates, 1, 500), 5);
        assert_eq!(admitted(&mut rates, 1, 60_000), 20);
    }

    #[test]
    fn changed_rates_apply_at_once() {
        let mut rates = RequestRates::default();
        let at = Duration::from_millis;
        let mut admitted = |rate, ms| (0..100).filter(|_| rates.take(1, rate, at(ms)).is_ok()).count();
        assert_eq!(admitted(10, 0), 20);
        assert_eq!(admitted(40, 100), 4, "the bucket fills at the new rate");
        assert_eq!(admitted(40, 60_000), 80);
        assert_eq!(admitted(5, 120_000), 10, "a lower rate has a smaller burst");
    }

    #[test]
    fn many_clients_take_bounded_memory() {
        let mut rates = RequestRates::default();
        let many = MANY as u32;
        for n in 0..many + 1000 {
            assert!(rates.take(n, 1, Duration::from_secs(1)).is_ok());
        }
        assert_eq!(rates.buckets.len(), MANY);
        assert!(rates.take(many + 5000, 1, Duration::from_secs(9)).is_ok());
        assert_eq!(rates.buckets.len(), 1, "silent clients are forgotten");
    }
}

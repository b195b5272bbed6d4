//! Limit on the requests of each client address. This module is pure: the time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::connection_limits::TokenBucket;

/// Size of the burst, in seconds at the full rate, so that many clients behind one address may start at once.
const BURST_SECONDS: u32 = 2;
/// Maximum number of addresses that are counted; they take about 3 MB. Requests from further addresses are
/// not limited.
const MANY: usize = 1 << 15;
/// Time without requests after which the bucket of an address is full again.
const FORGOTTEN: Duration = Duration::from_secs(BURST_SECONDS as u64);

#[derive(Debug)]
pub struct RequestRates {
    /// Requests per second.
    rate: u32,
    buckets: HashMap<IpAddr, (TokenBucket, Duration)>,
    cleaned_at: Duration,
}

impl RequestRates {
    pub fn new(rate: u32) -> Self {
        Self { rate, buckets: HashMap::new(), cleaned_at: Duration::ZERO }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// The address has sent too many requests. The value is the time until the next request is admitted.
    pub fn take(&mut self, address: IpAddr, now: Duration) -> Result<(), Duration> {
        let burst = self.rate.saturating_mul(BURST_SECONDS);
        if self.buckets.len() >= MANY && !self.buckets.contains_key(&address) {
            if now < self.cleaned_at + FORGOTTEN {
                return Ok(());
            }
            self.cleaned_at = now;
            self.buckets.retain(|_, (_, last)| *last + FORGOTTEN > now);
        }
        let full = || (TokenBucket::full(burst, now), now);
        let (bucket, last) = self.buckets.entry(address).or_insert_with(full);
        *last = now;
        bucket.take(self.rate, burst, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn each_address_has_its_own_rate() {
        let mut rates = RequestRates::new(10);
        let at = Duration::from_millis;
        let admitted = |rates: &mut RequestRates, n, ms| {
            (0..100).filter(|_| rates.take(address(n), at(ms)).is_ok()).count()
        };
        assert_eq!(admitted(&mut rates, 1, 0), 20, "two seconds at once");
        assert_eq!(rates.take(address(1), at(0)), Err(at(100)));
        assert_eq!(admitted(&mut rates, 2, 0), 20);
        assert_eq!(admitted(&mut rates, 1, 500), 5);
        assert_eq!(admitted(&mut rates, 1, 60_000), 20);
    }

    #[test]
    fn many_addresses_take_bounded_memory() {
        let mut rates = RequestRates::new(1);
        let many = MANY as u32;
        for n in 0..many + 1000 {
            assert!(rates.take(address(n), Duration::from_secs(1)).is_ok());
        }
        assert_eq!(rates.buckets.len(), MANY);
        assert!(rates.take(address(many + 5000), Duration::from_secs(9)).is_ok());
        assert_eq!(rates.buckets.len(), 1, "silent addresses are forgotten");
    }
}

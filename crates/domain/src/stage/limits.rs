//! Rate limits for many clients in bounded memory, using the generic cell rate algorithm (ITU-T I.371 annex
//! A), which stores one time per client.

use std::collections::HashMap;
use std::time::Duration;

/// Maximum number of clients with an entry; the entries take about 2 MB. A client is forgotten once it could
/// send a whole burst again.
const MAX_CLIENTS: usize = 1 << 16;

/// Sustained number of requests per second, and maximum number at once after an idle period.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub per_second: u32,
    pub burst: u32,
}

/// Rate limiter for clients, each identified by a hash of its token subject or address.
#[derive(Debug)]
pub struct RateLimiter {
    rate: Rate,
    /// For each client: time at which it would send its next request at the sustained rate.
    expected: HashMap<u64, Duration>,
}

impl RateLimiter {
    pub fn new(rate: Rate) -> Self {
        Self { rate, expected: HashMap::new() }
    }

    /// Counts one request of a client.
    ///
    /// # Errors
    /// The client has sent too many requests, or is new while `MAX_CLIENTS` others have an entry. The value
    /// is the time to wait before the next request.
    pub fn take(&mut self, client: u64, now: Duration) -> Result<(), Duration> {
        let step = Duration::from_secs(1) / self.rate.per_second.max(1);
        let ahead = step * self.rate.burst.max(1).saturating_sub(1);
        if !self.expected.contains_key(&client) && self.expected.len() >= MAX_CLIENTS {
            self.expected.retain(|_, expected| *expected > now);
            if self.expected.len() >= MAX_CLIENTS {
                return Err(step);
            }
        }
        let expected = self.expected.entry(client).or_insert(now);
        let from = (*expected).max(now);
        if from > now + ahead {
            return Err(from - ahead - now);
        }
        *expected = from + step;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { per_second: 2, burst: 5 };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn bursts_are_taken_then_the_rate() {
        let mut limiter = RateLimiter::new(RATE);
        let taken = |limiter: &mut RateLimiter, client, at| {
            (0..20).filter(|_| limiter.take(client, ms(at)).is_ok()).count()
        };
        assert_eq!(taken(&mut limiter, 1, 0), 5);
        assert_eq!(limiter.take(1, ms(0)), Err(ms(500)));
        assert_eq!(taken(&mut limiter, 2, 0), 5, "another client");
        assert_eq!(taken(&mut limiter, 1, 1000), 2);
        assert_eq!(taken(&mut limiter, 1, 60_000), 5, "after a pause");
    }

    #[test]
    fn remembered_clients_are_bounded() {
        let mut limiter = RateLimiter::new(RATE);
        for client in 0..MAX_CLIENTS as u64 {
            assert!(limiter.take(client, ms(0)).is_ok());
        }
        assert!(limiter.take(u64::MAX, ms(0)).is_err());
        assert!(limiter.take(u64::MAX, ms(10_000)).is_ok());
        assert_eq!(limiter.expected.len(), 1);
    }

    proptest! {
        #[test]
        fn rate_bounds_every_pattern(gaps in prop::collection::vec(0_u64..1000, 1..200)) {
            let mut limiter = RateLimiter::new(RATE);
            let (mut now, mut taken) = (0, 0_u64);
            for gap in gaps {
                now += gap;
                taken += u64::from(limiter.take(7, ms(now)).is_ok());
                prop_assert!(taken <= 5 + now * 2 / 1000);
            }
        }
    }
}

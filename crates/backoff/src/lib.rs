//! Retry and restart policy: backoff between attempts and a limit on restarts.
//!
//! The crate is pure: time and random numbers are arguments.
//!
//! ```
//! use std::time::Duration;
//! use stentor_backoff::{Backoff, Budget, Restarts};
//!
//! let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
//! assert_eq!(backoff.delay(1, 1.0), Duration::from_millis(100));
//! assert_eq!(backoff.delay(3, 0.0), Duration::from_millis(200), "half of 400 ms");
//!
//! let budget = Budget { max: 1, window: Duration::from_secs(30) };
//! let mut restarts = Restarts::default();
//! assert!(restarts.record(Duration::from_secs(0), &budget));
//! assert!(!restarts.record(Duration::from_secs(5), &budget), "a second restart within 30 s");
//! ```

use std::collections::VecDeque;
use std::time::Duration;

/// Exponential backoff with equal jitter: uniform in 50-100 % of the step. A delay is at least 1 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub max: Duration,
}

impl Backoff {
    /// Returns the delay before attempt `attempt` (1 is the first retry). `random` is uniform in `0.0..1.0`.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let step = self.first.saturating_mul(1 << doublings).min(self.max);
        step.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0)).max(Duration::from_millis(1))
    }
}

/// Limit of `max` restarts within `window`. One more restart exhausts the budget (restart intensity of
/// Erlang/OTP).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub max: usize,
    pub window: Duration,
}

/// Restarts within the window of a [`Budget`]. Times are monotonic.
#[derive(Debug, Clone, Default)]
pub struct Restarts {
    recent: VecDeque<Duration>,
}

impl Restarts {
    /// Records a restart at `now`. Returns false if it exhausts the budget.
    pub fn record(&mut self, now: Duration, budget: &Budget) -> bool {
        while self.recent.front().is_some_and(|t| now.saturating_sub(*t) > budget.window) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        if self.recent.len() > budget.max + 1 {
            self.recent.pop_front();
        }
        self.recent.len() <= budget.max
    }

    /// Returns the number of restarts within the window, as of the last [`record`](Self::record).
    pub fn count(&self) -> usize {
        self.recent.len()
    }

    pub fn clear(&mut self) {
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn backoff_delay_stays_in_bounds(attempt: u32, random in 0.0..1.0f64) {
            let b = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
            let d = b.delay(attempt, random);
            prop_assert!(d >= Duration::from_millis(50) && d <= b.max);
        }
    }

    #[test]
    fn the_budget_forgets_what_left_the_window() {
        let budget = Budget { max: 2, window: Duration::from_secs(10) };
        let mut r = Restarts::default();
        let at = Duration::from_secs;
        assert!(r.record(at(0), &budget));
        assert!(r.record(at(1), &budget));
        assert!(!r.record(at(2), &budget));
        assert!(r.record(at(12), &budget), "the restarts at 0 and 1 no longer count");
    }
}

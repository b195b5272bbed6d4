//! Clocks and random numbers of a node. The state machines receive their values as arguments.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::ids::UnixMs;
use crate::domain::timeline::Moment;

/// Monotonic clock for the state machines, and wall clock for all times that are shown to users.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Returns the time since [`start`](Self::start); never goes back.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub fn moment(&self) -> Moment {
        Moment { now: self.now(), wall: self.wall() }
    }

    pub fn wall(&self) -> UnixMs {
        // A clock set before 1970 reads as 0.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Returns a random unit, uniform in `0.0..1.0`, for jitter.
pub fn random_unit() -> f64 {
    rand::random()
}

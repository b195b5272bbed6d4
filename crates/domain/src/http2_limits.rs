//! Limits on the frames and cancellations of one HTTP/2 connection. This module is pure: the time is an
//! argument.
//!
//! A frame that transfers no request or body, such as a PING, also costs the server work (RFC 9113 section
//! 10.5). A client that cancels each request at once can start more work than the limit on concurrent
//! requests allows (CVE-2023-44487).

use std::time::{Duration, Instant};

use super::connection_limits::TokenBucket;

/// Maximum number of bytes that a client may send while no request head or body is transferred.
const FRAMES: usize = 256 * 1024;
/// Number of bytes per second by which the budget recovers, up to [`FRAMES`]. A connection whose only traffic
/// is a PING per second is therefore not closed.
const RESTORED: usize = 64;
/// Maximum number of cancellations per second, and at once.
const CANCELED: (u32, u32) = (10, 100);

/// Number of bytes that a client may still send while no request head or body is transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameBudget {
    left: usize,
    restored_at: Instant,
}

/// Number of requests that a client may still cancel.
#[derive(Debug)]
pub struct CancelBudget(TokenBucket);

impl FrameBudget {
    pub fn new(now: Instant) -> Self {
        Self { left: FRAMES, restored_at: now }
    }

    /// Records that bytes arrived. Returns false if they exceed the budget.
    pub fn received(&mut self, bytes: usize, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.restored_at).as_secs();
        self.moved(usize::try_from(seconds).unwrap_or(usize::MAX).saturating_mul(RESTORED));
        self.restored_at += Duration::from_secs(seconds);
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// Records that bytes of a request head or a body were transferred, in either direction. They restore the
    /// budget.
    pub fn moved(&mut self, bytes: usize) {
        self.left = self.left.saturating_add(bytes).min(FRAMES);
    }
}

impl CancelBudget {
    pub fn new(now: Duration) -> Self {
        Self(TokenBucket::full(CANCELED.1, now))
    }

    /// Records that the client canceled a request. Returns false if it cancels too often.
    pub fn take(&mut self, now: Duration) -> bool {
        self.0.take(CANCELED.0, CANCELED.1, now).is_ok()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "`now` is the only constructor of `Instant`")]
mod tests {
    use super::*;

    #[test]
    fn empty_frames_exhaust_the_budget() {
        let now = Instant::now();
        let mut budget = FrameBudget::new(now);
        let pings = (0..FRAMES).take_while(|_| budget.received(17, now)).count();
        assert_eq!(pings, FRAMES / 17);
        assert!(!budget.received(1, now), "the budget stays exhausted");
    }

    #[test]
    fn a_ping_per_second_is_no_flood() {
        let mut now = Instant::now();
        let mut budget = FrameBudget::new(now);
        for _ in 0..100_000 {
            now += Duration::from_millis(999);
            assert!(budget.received(17, now));
        }
    }

    #[test]
    fn requests_and_bodies_restore_the_budget() {
        let now = Instant::now();
        let mut budget = FrameBudget::new(now);
        for _ in 0..1000 {
            assert!(budget.received(16 * 1024 + 26, now));
            budget.moved(16 * 1024 + 26);
        }
        assert_eq!(budget, FrameBudget::new(now));
        budget.moved(usize::MAX);
        assert_eq!(budget, FrameBudget::new(now), "the budget does not accumulate");
    }

    #[test]
    fn cancellations_have_a_rate() {
        let second = Duration::from_secs;
        let mut budget = CancelBudget::new(second(0));
        assert_eq!((0..1000).take_while(|_| budget.take(second(0))).count(), 100);
        assert_eq!((0..1000).take_while(|_| budget.take(second(2))).count(), 20);
        assert_eq!((0..1000).take_while(|_| budget.take(second(60))).count(), 100);
    }
}

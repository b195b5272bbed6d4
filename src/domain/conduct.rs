//! What one client connection may do, and whether its other end lives. Pure: time comes in.
//!
//! Owns: the token buckets, the count of calls that wait, the dates of ping and death. Never does: send.

use std::time::Duration;

use super::signalling::methods::MAX_CANDIDATES;
use super::signalling::{ErrorCode, Method, RpcError};

/// Times how much can be refused, in bursts, before a client that goes on is taken for an abuser.
const PATIENCE: u32 = 5;

#[derive(Debug, Clone)]
pub struct Limits {
    /// Without a sign of life from the client for so long…
    pub dead_after: Duration,
    /// Time between two pings.
    pub ping: Duration,
    /// Calls per second, sustained.
    pub rate: u32,
    /// Calls at once after a pause.
    pub burst: u32,
    /// Calls that may wait for their answers.
    pub calls: usize,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Guard {
    heard: Duration,
    pinged: Duration,
    served: Bucket,
    patience: Bucket,
    waiting: usize,
    candidates: usize,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Ping,
    /// Nothing was heard for too long.
    Dead,
    NothingFor(Duration),
}

/// Whether one more call is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Taken,
    /// Too fast.
    Refused {
        retry_after: Duration,
    },
    /// Too fast for too long.
    Abuse,
}

impl Guard {
    pub fn new(limits: &Limits, now: Duration) -> Self {
        Self {
            heard: now,
            pinged: now,
            served: Bucket::full(limits.burst, now),
            patience: Bucket::full(limits.burst.saturating_mul(PATIENCE), now),
            waiting: 0,
            candidates: 0,
        }
    }

    /// Anything came from the client.
    pub fn heard(&mut self, now: Duration) {
        self.heard = self.heard.max(now);
    }

    pub fn due(&mut self, limits: &Limits, now: Duration) -> Due {
        let (dead, ping) = (self.heard + limits.dead_after, self.pinged + limits.ping);
        if dead <= now {
            return Due::Dead;
        }
        if ping <= now {
            self.pinged = now;
            return Due::Ping;
        }
        Due::NothingFor(dead.min(ping) - now)
    }

    /// One call, notification, unreadable text or ping of the client.
    pub fn admit(&mut self, limits: &Limits, now: Duration) -> Admission {
        match self.served.take(limits.rate, limits.burst, now) {
            Ok(()) => Admission::Taken,
            Err(retry_after) => {
                let burst = limits.burst.saturating_mul(PATIENCE);
                match self.patience.take(limits.rate, burst, now) {
                    Ok(()) => Admission::Refused { retry_after },
                    Err(_) => Admission::Abuse,
                }
            }
        }
    }

    /// A call that was admitted is about to begin; it waits until [`answered`](Self::answered).
    pub fn begin(&mut self, limits: &Limits, method: &Method) -> Result<(), RpcError> {
        if self.waiting >= limits.calls {
            return Err(ErrorCode::TooManyCalls.into());
        }
        match method {
            Method::Offer(_) => self.candidates = 0,
            Method::IceCandidate(_) if self.candidates >= MAX_CANDIDATES => {
                return Err(ErrorCode::TooManyCandidates.into());
            }
            Method::IceCandidate(_) => self.candidates += 1,
            _ => {}
        }
        self.waiting += 1;
        Ok(())
    }

    pub fn answered(&mut self, calls: usize) {
        self.waiting = self.waiting.saturating_sub(calls);
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

impl Bucket {
    fn full(burst: u32, now: Duration) -> Self {
        Self { tokens: burst.into(), at: now }
    }

    /// One token, or the time until there is one.
    fn take(&mut self, rate: u32, burst: u32, now: Duration) -> Result<(), Duration> {
        let gained = now.saturating_sub(self.at).as_secs_f64() * f64::from(rate);
        self.tokens = (self.tokens + gained).min(burst.into());
        self.at = self.at.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / f64::from(rate.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const LIMITS: Limits = Limits {
        dead_after: Duration::from_secs(15),
        ping: Duration::from_secs(5),
        rate: 20,
        burst: 40,
        calls: 32,
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn pings_come_every_five_seconds_and_death_exactly_after_fifteen() {
        let mut guard = Guard::new(&LIMITS, ms(0));
        let (mut now, mut pings) = (ms(0), Vec::new());
        guard.heard(ms(100));
        loop {
            match guard.due(&LIMITS, now) {
                Due::Ping => pings.push(now),
                Due::Dead => break,
                Due::NothingFor(wait) => now += wait,
            }
        }
        assert_eq!(pings, [ms(5000), ms(10_000), ms(15_000)]);
        assert_eq!(now, ms(15_100));
    }

    #[test]
    fn a_burst_is_served_then_the_rate_and_a_flood_is_abuse() {
        let mut guard = Guard::new(&LIMITS, ms(0));
        let count = |guard: &mut Guard, at, n| {
            (0..n).filter(|_| guard.admit(&LIMITS, at) == Admission::Taken).count()
        };
        assert_eq!(count(&mut guard, ms(0), 60), 40);
        assert_eq!(guard.admit(&LIMITS, ms(0)), Admission::Refused { retry_after: ms(50) });
        assert_eq!(count(&mut guard, ms(1000), 30), 20);
        let flood = (0..1000).map(|_| guard.admit(&LIMITS, ms(1000)));
        assert!(flood.last() == Some(Admission::Abuse));
    }

    #[test]
    fn calls_that_wait_and_candidates_are_counted() {
        let call = |name: &str, params| Method::parse(name, Some(params)).unwrap();
        let mut guard = Guard::new(&LIMITS, ms(0));
        let candidate = call("icecandidate", json!({"candidate": {"candidate": "candidate:1"}}));
        for _ in 0..32 {
            assert_eq!(guard.begin(&LIMITS, &candidate), Ok(()));
            guard.answered(1);
        }
        let code = |outcome: Result<(), RpcError>| outcome.map_err(|error| error.code);
        assert_eq!(code(guard.begin(&LIMITS, &candidate)), Err(ErrorCode::TooManyCandidates));
        let offer = call("offer", json!({"sdp": {"type": "offer", "sdp": "v=0"}}));
        assert_eq!(guard.begin(&LIMITS, &offer), Ok(()));
        assert_eq!(guard.begin(&LIMITS, &candidate), Ok(()), "an offer begins anew");
        let leave = call("leave", json!({}));
        (0..30).for_each(|_| assert_eq!(guard.begin(&LIMITS, &leave), Ok(())));
        assert_eq!(code(guard.begin(&LIMITS, &leave)), Err(ErrorCode::TooManyCalls));
        guard.answered(1);
        assert_eq!(guard.begin(&LIMITS, &leave), Ok(()));
    }

    proptest! {
        /// However calls are spread over time, no more are taken than burst and rate allow.
        #[test]
        fn no_pattern_beats_the_bucket(gaps in prop::collection::vec(0_u64..200, 1..500)) {
            let mut guard = Guard::new(&LIMITS, ms(0));
            let (mut now, mut taken) = (0, 0_u64);
            for gap in gaps {
                now += gap;
                taken += u64::from(guard.admit(&LIMITS, ms(now)) == Admission::Taken);
                prop_assert!(taken <= 40 + now * 20 / 1000 + 1);
            }
        }
    }
}

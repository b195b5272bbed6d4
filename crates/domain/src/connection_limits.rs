//! Limits, liveness and departure of the client of one connection. This module is pure: the time is an
//! argument.
//!
//! Owns the token buckets, the count of pending calls, the times of the next ping and of the liveness
//! timeout, and the idle time. Never sends.

use std::time::Duration;

use super::connection::Duplicate;
use super::grant::Grant;
use super::ids::UnixMs;
use super::signalling::methods::Trickle;
use super::signalling::{CloseCode, ErrorCode, Method, RpcError};

/// Number of calls, as a multiple of the burst, that may be refused before the client counts as abusive.
const PATIENCE: u32 = 5;

/// Limits of signalling connections (section `ws` of the configuration). A reload replaces them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignallingLimits {
    /// Time between two pings.
    pub ping: Duration,
    /// Time without received data after which the connection counts as dead.
    pub dead_after: Duration,
    /// Maximum size of one message, in bytes.
    pub frame_limit: usize,
    /// Maximum number of bytes that may wait for a client that does not read.
    pub queue_limit: usize,
    /// Maximum size of an offer's SDP, in bytes.
    pub sdp_limit: usize,
    /// Maximum number of candidates after one offer.
    pub candidate_limit: usize,
    /// Maximum sustained number of calls per second.
    pub rate: u32,
    /// Maximum number of calls accepted at once after an idle period (size of the token bucket).
    pub burst: u32,
    /// Maximum number of calls that wait for their responses.
    pub calls: usize,
    /// Maximum duration of a call.
    pub call_timeout: Duration,
    /// Time after which a connection that is not in its room is closed.
    pub join_within: Duration,
    /// Effect of a second connection of the same user.
    pub duplicate: Duplicate,
    /// Maximum number of wrong PINs per minute, for each pair of user and address.
    pub pin_attempts: u32,
}

/// Rate limits and liveness of one signalling connection.
#[derive(Debug)]
pub struct ConnectionLimiter {
    heard: Duration,
    pinged: Duration,
    served: TokenBucket,
    patience: TokenBucket,
    waiting: usize,
    candidates: usize,
    left: bool,
}

/// Action that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LivenessAction {
    Ping,
    /// Nothing was received for too long.
    Dead,
    NothingFor(Duration),
}

/// Decision about one more call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Taken,
    /// Too many calls now.
    Refused {
        retry_after: Duration,
    },
    /// Too many calls for too long.
    Abuse,
}

impl ConnectionLimiter {
    pub fn new(limits: &SignallingLimits, now: Duration) -> Self {
        Self {
            heard: now,
            pinged: now,
            served: TokenBucket::full(limits.burst, now),
            patience: TokenBucket::full(limits.burst.saturating_mul(PATIENCE), now),
            waiting: 0,
            candidates: 0,
            left: false,
        }
    }

    /// Records that something was received from the client.
    pub fn heard(&mut self, now: Duration) {
        self.heard = self.heard.max(now);
    }

    pub fn due(&mut self, limits: &SignallingLimits, now: Duration) -> LivenessAction {
        let (dead, ping) = (self.heard + limits.dead_after, self.pinged + limits.ping);
        if dead <= now {
            return LivenessAction::Dead;
        }
        if ping <= now {
            self.pinged = now;
            return LivenessAction::Ping;
        }
        LivenessAction::NothingFor(dead.min(ping) - now)
    }

    /// Counts one call, notification, unreadable text, ping, pong or run of fragments from the client, and
    /// decides whether it is accepted.
    pub fn admit(&mut self, limits: &SignallingLimits, now: Duration) -> Admission {
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

    /// Checks an admitted call that is about to begin. The call counts as pending until
    /// [`answered`](Self::answered).
    ///
    /// # Errors
    /// Too many pending calls, too many candidates, or an offer that is too large.
    pub fn begin(&mut self, limits: &SignallingLimits, method: &Method) -> Result<(), RpcError> {
        match method {
            Method::Leave => self.left = true,
            Method::Join(_) => self.left = false,
            _ => {}
        }
        if self.waiting >= limits.calls {
            return Err(ErrorCode::TooManyCalls.into());
        }
        match method {
            Method::Offer(offer) if offer.sdp.sdp.len() > limits.sdp_limit => {
                let message = format!("an SDP may have at most {} bytes", limits.sdp_limit);
                return Err(RpcError::new(ErrorCode::SdpTooLarge, message));
            }
            Method::Offer(_) => self.candidates = 0,
            // The end of candidates is never refused: without it, Janus would wait for more.
            Method::IceCandidate(Trickle::Completed) => {}
            Method::IceCandidate(Trickle::Candidate(_)) if self.candidates >= limits.candidate_limit => {
                let message =
                    format!("at most {} candidates are accepted after an offer", limits.candidate_limit);
                return Err(RpcError::new(ErrorCode::TooManyCandidates, message));
            }
            Method::IceCandidate(Trickle::Candidate(_)) => self.candidates += 1,
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

    /// Returns true if `leave` was called and no `join` after it. The flag is set before the call is carried
    /// out, because a client that calls `leave` and closes the connection may not wait for the response.
    pub fn left(&self) -> bool {
        self.left
    }
}

/// Time for which the client has reported no activity. Only time in which this process could have received a
/// report counts.
#[derive(Debug, Default)]
pub struct IdleTimer {
    lasted: Duration,
    looked: Duration,
}

impl IdleTimer {
    pub fn broken(&mut self, now: Duration) {
        *self = Self { lasted: Duration::ZERO, looked: now };
    }

    /// Counts the time since the previous call as idle. Returns true if the client has been idle for `limit`.
    /// Must be called at the interval `every`. If the previous call was more than two intervals ago, this
    /// process was slow. Messages from the client may still be queued, so the time beyond two intervals does
    /// not count.
    pub fn lasts(&mut self, limit: Duration, every: Duration, now: Duration) -> bool {
        self.lasted += now.saturating_sub(self.looked).min(every * 2);
        self.looked = self.looked.max(now);
        self.lasted >= limit
    }
}

/// Returns the close code for a client whose token has expired, or that has been outside the room for
/// `join_within`. `outside`: time for which the client has not been in the room; `None` while it is in the
/// room.
pub fn overdue(
    grant: &Grant,
    wall: UnixMs,
    outside: Option<Duration>,
    join_within: Duration,
) -> Option<CloseCode> {
    match outside {
        _ if grant.is_expired(wall) => Some(CloseCode::TokenInvalid),
        Some(outside) if outside >= join_within => Some(CloseCode::NotJoined),
        _ => None,
    }
}

/// Token bucket: gains `rate` tokens per second, and holds at most `burst`.
#[derive(Debug)]
pub struct TokenBucket {
    tokens: f64,
    at: Duration,
}

impl TokenBucket {
    pub fn full(burst: u32, now: Duration) -> Self {
        Self { tokens: burst.into(), at: now }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// The time until a token is available.
    pub fn take(&mut self, rate: u32, burst: u32, now: Duration) -> Result<(), Duration> {
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

    const LIMITS: SignallingLimits = SignallingLimits {
        ping: Duration::from_secs(5),
        dead_after: Duration::from_secs(15),
        frame_limit: 65_536,
        queue_limit: 65_536,
        sdp_limit: 16_384,
        candidate_limit: 32,
        rate: 20,
        burst: 40,
        calls: 32,
        call_timeout: Duration::from_secs(15),
        join_within: Duration::from_secs(120),
        duplicate: Duplicate::Reject,
        pin_attempts: 5,
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn liveness_pings_then_times_out() {
        let mut guard = ConnectionLimiter::new(&LIMITS, ms(0));
        let (mut now, mut pings) = (ms(0), Vec::new());
        guard.heard(ms(100));
        loop {
            match guard.due(&LIMITS, now) {
                LivenessAction::Ping => pings.push(now),
                LivenessAction::Dead => break,
                LivenessAction::NothingFor(wait) => now += wait,
            }
        }
        assert_eq!(pings, [ms(5000), ms(10_000), ms(15_000)]);
        assert_eq!(now, ms(15_100));
    }

    #[test]
    fn rate_limit_allows_burst_then_rate() {
        let mut guard = ConnectionLimiter::new(&LIMITS, ms(0));
        let count = |guard: &mut ConnectionLimiter, at, n| {
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
        let mut guard = ConnectionLimiter::new(&LIMITS, ms(0));
        let candidate = call("icecandidate", json!({"candidate": {"candidate": "candidate:1"}}));
        for _ in 0..32 {
            assert_eq!(guard.begin(&LIMITS, &candidate), Ok(()));
            guard.answered(1);
        }
        assert_eq!(code(guard.begin(&LIMITS, &candidate)), Err(ErrorCode::TooManyCandidates));
        let offer = call("offer", json!({"sdp": {"type": "offer", "sdp": "v=0"}}));
        assert_eq!(guard.begin(&LIMITS, &offer), Ok(()));
        assert_eq!(guard.begin(&LIMITS, &candidate), Ok(()), "an offer resets the count");
        let leave = call("leave", json!({}));
        (0..30).for_each(|_| assert_eq!(guard.begin(&LIMITS, &leave), Ok(())));
        assert_eq!(code(guard.begin(&LIMITS, &leave)), Err(ErrorCode::TooManyCalls));
        guard.answered(1);
        assert_eq!(guard.begin(&LIMITS, &leave), Ok(()));
    }

    fn method(name: &str, params: serde_json::Value) -> Method {
        Method::parse(name, Some(params)).unwrap()
    }

    fn code(begun: Result<(), RpcError>) -> Result<(), ErrorCode> {
        begun.map_err(|error| error.code)
    }

    #[test]
    fn end_of_candidates_is_not_counted() {
        let mut guard = ConnectionLimiter::new(&LIMITS, ms(0));
        let text = "candidate:1 1 udp 1 192.0.2.1 9 typ host";
        let one = method("icecandidate", json!({ "candidate": { "candidate": text } }));
        let end = method("icecandidate", json!({ "candidate": null }));
        for _ in 0..LIMITS.candidate_limit {
            assert_eq!(guard.begin(&LIMITS, &one), Ok(()));
            guard.answered(1);
        }
        assert_eq!(guard.begin(&LIMITS, &end), Ok(()));
        assert_eq!(code(guard.begin(&LIMITS, &one)), Err(ErrorCode::TooManyCandidates));
    }

    #[test]
    fn offer_sdp_size_is_limited() {
        let mut guard = ConnectionLimiter::new(&LIMITS, ms(0));
        let offer = |len| {
            let sdp = format!("{:<len$}", "v=0\r\n");
            method("offer", json!({ "sdp": { "type": "offer", "sdp": sdp } }))
        };
        assert_eq!(guard.begin(&LIMITS, &offer(LIMITS.sdp_limit)), Ok(()));
        assert_eq!(code(guard.begin(&LIMITS, &offer(LIMITS.sdp_limit + 1))), Err(ErrorCode::SdpTooLarge));
    }

    #[test]
    fn leave_counts_despite_call_limit() {
        let limits = SignallingLimits { calls: 1, ..LIMITS };
        let mut guard = ConnectionLimiter::new(&limits, ms(0));
        assert_eq!(guard.begin(&limits, &method("join", json!({}))), Ok(()));
        assert!(!guard.left());
        assert_eq!(code(guard.begin(&limits, &Method::Leave)), Err(ErrorCode::TooManyCalls));
        assert!(guard.left());
        guard.answered(1);
        assert_eq!(guard.begin(&limits, &method("join", json!({}))), Ok(()));
        assert!(!guard.left(), "the client has joined again");
    }

    #[test]
    fn connections_end_with_their_token_or_unjoined() {
        let (expires_at, within) = (UnixMs(90_000), Duration::from_secs(30));
        let grant = Grant { issued_at: UnixMs(0), expires_at, room_created_at: None };
        for (wall, outside, code) in [
            (89_999, None, None),
            (89_999, Some(29_999), None),
            (89_999, Some(30_000), Some(CloseCode::NotJoined)),
            (90_000, None, Some(CloseCode::TokenInvalid)),
            (90_000, Some(30_000), Some(CloseCode::TokenInvalid)),
        ] {
            assert_eq!(overdue(&grant, UnixMs(wall), outside.map(ms), within), code, "{wall} {outside:?}");
        }
    }

    #[test]
    fn idle_time_excludes_process_pauses() {
        let (limit, every) = (Duration::from_secs(30), Duration::from_secs(1));
        let mut silence = IdleTimer::default();
        silence.broken(ms(100_000));
        assert!((101..130).all(|s| !silence.lasts(limit, every, ms(s * 1000))));
        assert!(silence.lasts(limit, every, ms(130_000)));
        silence.broken(ms(130_500));
        assert!(!silence.lasts(limit, every, ms(131_000)));
        // The process was suspended and resumed: the messages sent during the pause arrive only now.
        assert!(!silence.lasts(limit, every, ms(900_000)));
        assert!((901..927).all(|s| !silence.lasts(limit, every, ms(s * 1000))));
        assert!(silence.lasts(limit, every, ms(930_000)));
    }

    proptest! {
        /// For any distribution of calls over time, at most as many are admitted as burst and rate allow.
        #[test]
        fn call_rate_never_exceeds_bucket(gaps in prop::collection::vec(0_u64..200, 1..500)) {
            let mut guard = ConnectionLimiter::new(&LIMITS, ms(0));
            let (mut now, mut taken) = (0, 0_u64);
            for gap in gaps {
                now += gap;
                taken += u64::from(guard.admit(&LIMITS, ms(now)) == Admission::Taken);
                prop_assert!(taken <= 40 + now * 20 / 1000 + 1);
            }
        }
    }
}

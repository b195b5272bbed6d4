//! State machine of one output: its attempts to connect to the target, and the state that the API shows. This
//! module is pure.
//!
//! ```text
//!  Idle ─▶ Connecting ─▶ Live
//!   ▲          │           │ the connection ends
//!   └── delay ─┴───────────┘
//! ```

use std::time::Duration;

use super::super::ids::UnixMs;
use super::super::plan::Retry;
use super::super::restart::Backoff;
use super::{OutputState, OutputStatus};

/// Time after which a connection counts as good, so that the next failure starts with the shortest delay.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// Phase of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No process runs.
    Idle,
    Connecting,
    /// The target has received data. `since` is monotonic.
    Live {
        since: Duration,
    },
}

#[derive(Debug)]
pub struct OutputRun {
    backoff: Backoff,
    phase: Phase,
    retry: Retry,
    status: OutputStatus,
}

impl OutputRun {
    pub fn new(backoff: Backoff, wall: UnixMs) -> Self {
        Self { backoff, phase: Phase::Idle, retry: Retry::default(), status: OutputStatus::waiting(wall) }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns the state to show.
    pub fn status(&self) -> &OutputStatus {
        &self.status
    }

    pub fn attempt(&self) -> u32 {
        self.retry.attempt()
    }

    /// Returns the time at which the next attempt is due; `None`: now.
    pub fn due(&self, now: Duration) -> Option<Duration> {
        self.retry.due().filter(|due| *due > now)
    }

    pub fn connecting(&mut self, wall: UnixMs) {
        self.phase = Phase::Connecting;
        // While attempts fail, the output stays `failing`, with the reason of the last failure.
        if self.retry.attempt() == 0 {
            self.show(OutputState::Connecting, None, wall);
        }
    }

    /// Records that the target has received data.
    pub fn live(&mut self, now: Duration, wall: UnixMs) {
        if self.phase == Phase::Connecting {
            self.phase = Phase::Live { since: now };
            self.show(OutputState::Live, None, wall);
        }
    }

    /// Records that the process has ended without a request to stop it.
    pub fn failed(&mut self, reason: &str, now: Duration, wall: UnixMs, random: f64) {
        if let Phase::Live { since } = self.phase
            && now.saturating_sub(since) >= GOOD_AFTER
        {
            self.retry.succeeded();
        }
        self.phase = Phase::Idle;
        self.retry.failed(reason, now, &self.backoff, random);
        self.show(OutputState::Failing, Some(reason.to_owned()), wall);
    }

    /// Records that the process has ended on request.
    pub fn stopped(&mut self, wall: UnixMs) {
        self.phase = Phase::Idle;
        self.retry.succeeded();
        self.show(OutputState::Waiting, None, wall);
    }

    fn show(&mut self, state: OutputState, reason: Option<String>, wall: UnixMs) {
        let since = if self.status.state == state { self.status.since } else { wall };
        // The retry counter is reset only after `GOOD_AFTER`, but a live output must show no failures.
        let failures = if state == OutputState::Failing { self.retry.attempt() } else { 0 };
        self.status = OutputStatus { state, since, failures, reason };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) };
    const WALL: UnixMs = UnixMs(1_000);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn failures_delay_next_attempt() {
        let mut run = OutputRun::new(BACKOFF, WALL);
        assert_eq!(run.due(at(0)), None);
        run.connecting(WALL);
        assert_eq!(run.status().state, OutputState::Connecting);
        run.failed("refused", at(5), WALL, 1.0);
        assert_eq!((run.due(at(5)), run.status().reason.as_deref()), (Some(at(6)), Some("refused")));
        assert_eq!(run.due(at(6)), None);
        run.connecting(UnixMs(2_000));
        assert_eq!(
            (run.status().state, run.status().since),
            (OutputState::Failing, WALL),
            "until it is live"
        );
        run.live(at(7), UnixMs(3_000));
        assert_eq!((run.status().state, run.status().failures), (OutputState::Live, 0));
        run.failed("closed", at(8), WALL, 1.0);
        assert_eq!(run.due(at(8)), Some(at(10)), "the connection lasted less than `GOOD_AFTER`");
        run.connecting(WALL);
        run.live(at(10), WALL);
        run.failed("closed", at(40), WALL, 1.0);
        assert_eq!((run.due(at(40)), run.status().failures), (Some(at(41)), 1));
        run.stopped(WALL);
        assert_eq!((run.due(at(40)), run.status().state), (None, OutputState::Waiting));
    }

    #[test]
    fn late_data_of_ended_process_is_ignored() {
        let mut run = OutputRun::new(BACKOFF, WALL);
        run.connecting(WALL);
        run.failed("refused", at(1), WALL, 0.0);
        run.live(at(1), WALL);
        assert_eq!((run.phase(), run.status().state), (Phase::Idle, OutputState::Failing));
    }

    proptest! {
        #[test]
        fn attempts_never_follow_at_once(steps in prop::collection::vec((0u64..100, any::<bool>()), 1..40)) {
            let mut run = OutputRun::new(BACKOFF, WALL);
            let mut now = at(0);
            for (lasts, becomes_live) in steps {
                now = run.due(now).unwrap_or(now);
                run.connecting(WALL);
                if becomes_live {
                    run.live(now, WALL);
                }
                now += at(lasts);
                run.failed("gone", now, WALL, 0.5);
                let due = run.due(now).expect("a delay");
                prop_assert!(due >= now + BACKOFF.first / 2 && due <= now + BACKOFF.max);
                prop_assert!(run.status().failures >= 1);
            }
        }
    }
}

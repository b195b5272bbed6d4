//! Plan: the next step of a state machine and its reason.
//!
//! Machines are level-triggered. The shell asks for a plan whenever something changed and no effect is in
//! progress. It runs the one effect that the plan names, and reports the outcome. Execution therefore makes
//! no decisions, and anything missed or failed is planned again. A machine has at most one effect in
//! progress, or one in each lane if it has lanes.

use std::borrow::Cow;
use std::time::Duration;

use super::restart::Backoff;

pub type Reason = Cow<'static, str>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan<E> {
    Do {
        effect: E,
        reason: Reason,
    },
    /// Nothing to do until something changes, or until `until` (monotonic) if it is set.
    Wait {
        reason: Reason,
        until: Option<Duration>,
    },
    /// Nothing is left to do; the actor may end.
    Finished,
}

impl<E> Plan<E> {
    pub fn act(effect: E, reason: impl Into<Reason>) -> Self {
        Self::Do { effect, reason: reason.into() }
    }

    pub fn wait(reason: impl Into<Reason>) -> Self {
        Self::Wait { reason: reason.into(), until: None }
    }
}

/// Count of consecutive failures, and the time of the next attempt. Success clears both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retry {
    attempt: u32,
    waiting: Option<(Duration, String)>,
}

impl Retry {
    /// Records a failure at `now`. The next attempt is due after the backoff's delay.
    pub fn failed(&mut self, why: impl Into<String>, now: Duration, backoff: &Backoff, random: f64) {
        self.attempt = self.attempt.saturating_add(1);
        self.waiting = Some((now + backoff.delay(self.attempt, random), why.into()));
    }

    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Records that the observed state changed. After a single failure, the next attempt may start
    /// immediately. After several, the delay stays, so that many changes cause no busy loop of failures. The
    /// count is kept.
    pub fn state_changed(&mut self) {
        if self.attempt <= 1 {
            self.waiting = None;
        }
    }

    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the wait to plan while the next attempt is not due; `None` once it is due, or if nothing has
    /// failed.
    pub fn pending<E>(&self, now: Duration) -> Option<Plan<E>> {
        let (due, why) = self.waiting.as_ref().filter(|(due, _)| *due > now)?;
        Some(Plan::Wait { reason: format!("tries again after: {why}").into(), until: Some(*due) })
    }

    /// Returns the reason of the last failure; `None` after a success.
    pub fn failure(&self) -> Option<&str> {
        self.waiting.as_ref().map(|(_, why)| why.as_str())
    }

    pub fn due(&self) -> Option<Duration> {
        self.waiting.as_ref().map(|(due, _)| *due)
    }
}

/// Reason why an effect was not carried out as requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The effect certainly did not happen.
    Refused(String),
    /// The effect may or may not have happened; inspect before acting again.
    Unknown(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::Unknown(why) => write!(f, "outcome unknown: {why}"),
        }
    }
}

/// Outcome of a conditional write of the module's own key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    Written {
        revision: i64,
    },
    /// The state on which the write was based has changed. The watch will deliver the new state.
    Superseded,
    Failed(Failure),
}

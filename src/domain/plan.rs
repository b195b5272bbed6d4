//! What a machine wants next, and why: the answer of every `plan` in this folder.
//!
//! A machine is level-triggered. Its shell asks for a plan whenever something changed and no effect is under
//! way, runs the one effect the plan names, and reports the outcome back. So a plan leaves execution no
//! choices, a room has at most one effect in flight, and what was missed or failed is simply planned again.

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
    /// Nothing is left of the room here: the actor may go.
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

/// Failures in a row and when to try again. Success and news clear it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retry {
    attempt: u32,
    waiting: Option<(Duration, String)>,
}

impl Retry {
    /// Books a failure at `now`; the next try is due after the backoff's delay.
    pub fn failed(&mut self, why: impl Into<String>, now: Duration, backoff: &Backoff, dice: f64) {
        self.attempt = self.attempt.saturating_add(1);
        self.waiting = Some((now + backoff.delay(self.attempt, dice), why.into()));
    }

    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The world changed: try at once, but keep counting, so that a flood of news is no hot loop of failures.
    pub fn news(&mut self) {
        if self.attempt <= 1 {
            self.waiting = None;
        }
    }

    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The wait to plan while the next try is not due.
    pub fn pending<E>(&self, now: Duration) -> Option<Plan<E>> {
        let (due, why) = self.waiting.as_ref().filter(|(due, _)| *due > now)?;
        Some(Plan::Wait { reason: format!("tries again after: {why}").into(), until: Some(*due) })
    }

    pub fn due(&self) -> Option<Duration> {
        self.waiting.as_ref().map(|(due, _)| *due)
    }
}

/// Why an effect did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It certainly did not happen.
    Refused(String),
    /// It may or may not have happened: look before acting again.
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
    /// What we acted on is no longer true; the watch will say what is.
    Superseded,
    Failed(Failure),
}

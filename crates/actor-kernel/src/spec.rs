//! Supervision rules: the spec that a parent gives for a child, and the decision after an exit. This module
//! is pure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::ArbiterHandle;

use stentor_backoff::{Backoff, Budget, Restarts};

/// Condition under which an ended actor is restarted (OTP's restart types).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Always, even after a normal exit.
    Permanent,
    /// Only after an abnormal exit.
    Transient,
    /// Never.
    Temporary,
}

/// Reaction to an exhausted restart budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExhaustedAction {
    /// The parent fails too, and its own parent decides what follows.
    Escalate,
    /// The child is not started for this time and is shown as parked, with its reason. Then it starts with a
    /// fresh budget.
    Park(Duration),
}

/// Grouping of children at shutdown: a stopping parent waits until one group has ended before it stops the
/// group that started earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopOrder {
    /// This child alone.
    InTurn,
    /// This child and the adjacent children with `Together`, at the same time (OTP's simple_one_for_one).
    /// Meant for many children of the same kind.
    Together,
}

/// Supervision spec of a child.
#[derive(Clone)]
pub struct ChildSpec {
    pub restart: RestartPolicy,
    pub budget: Budget,
    pub backoff: Backoff,
    pub exhausted: ExhaustedAction,
    /// Time within which the child must end after the request to stop; otherwise it is abandoned. The time is
    /// extended while the child waits for the end of its own children, which have their own deadlines.
    pub stop_deadline: Duration,
    pub stop_order: StopOrder,
    /// Maximum number of waiting messages; messages sent with `tell_latest` do not count.
    pub mailbox: usize,
    /// Arbiter on which the child runs; `None` is the parent's arbiter.
    pub arbiter: Option<ArbiterHandle>,
}

impl ChildSpec {
    /// Returns the spec of a single actor: always restarted, at most 5 times in 30 s, then the parent
    /// fails.
    pub fn worker() -> Self {
        Self {
            restart: RestartPolicy::Permanent,
            budget: Budget { max: 5, window: Duration::from_secs(30) },
            backoff: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) },
            exhausted: ExhaustedAction::Escalate,
            stop_deadline: Duration::from_secs(5),
            stop_order: StopOrder::InTurn,
            mailbox: 256,
            arbiter: None,
        }
    }

    /// Returns the spec of a supervisor: like [`worker`](Self::worker), with a larger mailbox, since its
    /// children report to it.
    pub fn supervisor() -> Self {
        Self { mailbox: 4096, ..Self::worker() }
    }

    /// Returns the spec of one of many actors of the same kind (per room, per client). The actor is
    /// restarted only after failures, and stopped together with its siblings. If the actor keeps failing, it
    /// is parked for 30 s, so that its parent and its siblings do not fail with it.
    pub fn member() -> Self {
        Self {
            restart: RestartPolicy::Transient,
            exhausted: ExhaustedAction::Park(Duration::from_secs(30)),
            stop_order: StopOrder::Together,
            mailbox: 64,
            ..Self::worker()
        }
    }
}

/// Reason why an incarnation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// The actor ended itself (`Cx::stop`).
    Normal,
    /// The parent requested the stop.
    Stopped,
    /// The actor reported a failure (`Cx::fail`).
    Failed(String),
    /// A call into the actor, or one of its effects, panicked.
    Panicked(String),
    /// A child of the actor used up its restart budget.
    ChildGaveUp { child: Arc<str>, cause: String },
    /// The arbiter ended while the actor ran on it.
    ArbiterGone,
    /// The actor did not stop before its deadline and was abandoned.
    Abandoned,
}

impl Exit {
    /// Returns the label for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Stopped => "stopped",
            Self::Failed(_) => "failed",
            Self::Panicked(_) => "panic",
            Self::ChildGaveUp { .. } => "child_gave_up",
            Self::ArbiterGone => "arbiter_gone",
            Self::Abandoned => "abandoned",
        }
    }

    pub fn is_abnormal(&self) -> bool {
        !matches!(self, Self::Normal | Self::Stopped)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("ended by itself"),
            Self::Stopped => f.write_str("stopped"),
            Self::Failed(reason) => f.write_str(reason),
            Self::Panicked(text) => write!(f, "panic: {text}"),
            Self::ChildGaveUp { child, cause } => write!(f, "child {child} gave up: {cause}"),
            Self::ArbiterGone => f.write_str("its arbiter is gone"),
            Self::Abandoned => f.write_str("did not stop in time"),
        }
    }
}

/// Kernel's decision about an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The child is restarted after the delay. `attempt` counts the restarts in the window, from 1.
    Restart { after: Duration, attempt: u32 },
    /// The budget is used up. The child is restarted after the time `rest`, with a fresh budget.
    Parked { rest: Duration },
    /// The budget is used up. The parent fails now.
    GaveUp,
    /// The child is not restarted, because of its restart policy. Its name is free.
    Ended,
    /// The child was asked to stop. Its name is free.
    Stopped,
}

/// Report about a child, for [`Behaviour::child_down`](super::Behaviour::child_down).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildDown {
    pub name: Arc<str>,
    pub kind: &'static str,
    pub exit: Exit,
    pub decision: Decision,
}

/// Decides what follows an exit, from the spec and the restarts so far. `now` comes from any monotonic clock,
/// `random` is uniform in `0.0..1.0`.
pub(super) fn decide(
    exit: &Exit,
    spec: &ChildSpec,
    restarts: &mut Restarts,
    now: Duration,
    random: f64,
) -> Decision {
    let again = match spec.restart {
        RestartPolicy::Permanent => true,
        RestartPolicy::Transient => exit.is_abnormal(),
        RestartPolicy::Temporary => false,
    };
    if !again {
        return Decision::Ended;
    }
    if restarts.record(now, &spec.budget) {
        let attempt = u32::try_from(restarts.count()).unwrap_or(u32::MAX);
        return Decision::Restart { after: spec.backoff.delay(attempt, random), attempt };
    }
    match spec.exhausted {
        ExhaustedAction::Escalate => Decision::GaveUp,
        ExhaustedAction::Park(rest) => {
            restarts.clear();
            Decision::Parked { rest }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Duration = Duration::ZERO;

    fn after(policy: RestartPolicy, exit: Exit) -> Decision {
        let spec = ChildSpec { restart: policy, ..ChildSpec::worker() };
        decide(&exit, &spec, &mut Restarts::default(), T0, 1.0)
    }

    #[test]
    fn restart_policy_decides_who_restarts() {
        let again = Decision::Restart { after: Duration::from_millis(100), attempt: 1 };
        let crash = || Exit::Panicked("x".into());
        assert_eq!(after(RestartPolicy::Permanent, Exit::Normal), again);
        assert_eq!(after(RestartPolicy::Permanent, crash()), again);
        assert_eq!(after(RestartPolicy::Transient, Exit::Normal), Decision::Ended);
        assert_eq!(after(RestartPolicy::Transient, Exit::ArbiterGone), again);
        assert_eq!(after(RestartPolicy::Temporary, crash()), Decision::Ended);
    }

    #[test]
    fn restart_delays_grow_until_budget_ends() {
        let spec =
            ChildSpec { budget: Budget { max: 3, ..ChildSpec::worker().budget }, ..ChildSpec::worker() };
        let mut restarts = Restarts::default();
        let mut next = || decide(&Exit::Failed("x".into()), &spec, &mut restarts, T0, 1.0);
        for (attempt, ms) in [(1, 100), (2, 200), (3, 400)] {
            assert_eq!(next(), Decision::Restart { after: Duration::from_millis(ms), attempt });
        }
        assert_eq!(next(), Decision::GaveUp);
    }

    #[test]
    fn parked_child_gets_fresh_budget() {
        let rest = Duration::from_secs(7);
        let budget = Budget { max: 0, window: Duration::from_secs(30) };
        let mut spec = ChildSpec { budget, exhausted: ExhaustedAction::Park(rest), ..ChildSpec::worker() };
        let mut restarts = Restarts::default();
        let crash = Exit::Failed("x".into());
        assert_eq!(decide(&crash, &spec, &mut restarts, T0, 0.5), Decision::Parked { rest });
        spec.budget.max = 1;
        assert!(matches!(
            decide(&crash, &spec, &mut restarts, T0, 0.5),
            Decision::Restart { attempt: 1, .. }
        ));
    }
}

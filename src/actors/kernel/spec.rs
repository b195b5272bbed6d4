//! How children are kept: the spec a parent gives, and the decision after an exit. Pure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::ArbiterHandle;

use crate::domain::restart::{Backoff, Budget, Restarts};

/// When an actor that ended is started again (OTP's restart types).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Always, even after a normal exit.
    Permanent,
    /// Only after an abnormal exit.
    Transient,
    /// Never.
    Temporary,
}

/// What happens when the restart budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// The parent fails in turn; its own parent decides.
    Escalate,
    /// The child rests this long, shown as parked with its reason, then starts with a fresh budget.
    Park(Duration),
}

/// Whom a stopping parent waits for before it goes on to the previous child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopOrder {
    /// This one, alone.
    InTurn,
    /// All neighbours that say `Together`, at once (OTP's simple_one_for_one): many alike.
    Together,
}

/// How a child is kept.
#[derive(Clone)]
pub struct ChildSpec {
    pub restart: RestartPolicy,
    pub budget: Budget,
    pub backoff: Backoff,
    pub exhausted: Exhausted,
    /// How long a request to stop may take before the child is abandoned. Its own children have theirs.
    pub stop_deadline: Duration,
    pub stop_order: StopOrder,
    /// Messages the mailbox holds; coalesced ones do not count.
    pub mailbox: usize,
    /// Where it runs; `None` is the parent's arbiter.
    pub arbiter: Option<ArbiterHandle>,
}

impl ChildSpec {
    /// One actor with a job: always restarted, 5 in 30 s, then the parent fails.
    pub fn worker() -> Self {
        Self {
            restart: RestartPolicy::Permanent,
            budget: Budget { max: 5, window: Duration::from_secs(30) },
            backoff: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) },
            exhausted: Exhausted::Escalate,
            stop_deadline: Duration::from_secs(5),
            stop_order: StopOrder::InTurn,
            mailbox: 256,
            arbiter: None,
        }
    }

    /// An actor that keeps others: a roomier mailbox, since its children report to it.
    pub fn supervisor() -> Self {
        Self { mailbox: 4096, ..Self::worker() }
    }

    /// One of many alike (per room, per client): restarted after failures only, parked for 30 s when it keeps
    /// failing so that it never takes its siblings along, and stopped together with them.
    pub fn member() -> Self {
        Self {
            restart: RestartPolicy::Transient,
            exhausted: Exhausted::Park(Duration::from_secs(30)),
            stop_order: StopOrder::Together,
            mailbox: 64,
            ..Self::worker()
        }
    }
}

/// Why an incarnation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It said so (`Cx::stop`).
    Normal,
    /// Its parent asked.
    Stopped,
    /// It failed on purpose (`Cx::fail`).
    Failed(String),
    /// A panic in a call into it, or in one of its effects.
    Panicked(String),
    /// A child of it used up its budget.
    ChildGaveUp { child: Arc<str>, cause: String },
    /// Its arbiter ended under it.
    ArbiterGone,
    /// It did not stop before its deadline and is left behind.
    Abandoned,
}

impl Exit {
    /// Label for metrics.
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

/// What the kernel does about an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Started again after the delay. `attempt` counts the restarts in the window, from 1.
    Restart { after: Duration, attempt: u32 },
    /// Budget used up; started again after the rest, with a fresh one.
    Parked { rest: Duration },
    /// Budget used up; the parent fails now.
    GaveUp,
    /// Not restarted, as its policy says; the name is free.
    Ended,
    /// It was asked to stop; the name is free.
    Stopped,
}

/// Report about a child, to [`Behaviour::child_down`](super::Behaviour::child_down).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildDown {
    pub name: Arc<str>,
    pub kind: &'static str,
    pub exit: Exit,
    pub decision: Decision,
}

/// Exit + spec + restarts so far → decision. `now` is any monotonic clock's, `dice` uniform in `0.0..1.0`.
pub(super) fn decide(
    exit: &Exit,
    spec: &ChildSpec,
    restarts: &mut Restarts,
    now: Duration,
    dice: f64,
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
        return Decision::Restart { after: spec.backoff.delay(attempt, dice), attempt };
    }
    match spec.exhausted {
        Exhausted::Escalate => Decision::GaveUp,
        Exhausted::Park(rest) => {
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
    fn the_policy_says_who_comes_back() {
        let again = Decision::Restart { after: Duration::from_millis(100), attempt: 1 };
        let crash = || Exit::Panicked("x".into());
        assert_eq!(after(RestartPolicy::Permanent, Exit::Normal), again);
        assert_eq!(after(RestartPolicy::Permanent, crash()), again);
        assert_eq!(after(RestartPolicy::Transient, Exit::Normal), Decision::Ended);
        assert_eq!(after(RestartPolicy::Transient, Exit::ArbiterGone), again);
        assert_eq!(after(RestartPolicy::Temporary, crash()), Decision::Ended);
    }

    #[test]
    fn delays_grow_until_the_budget_is_used_up() {
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
    fn a_parked_child_comes_back_with_a_fresh_budget() {
        let rest = Duration::from_secs(7);
        let budget = Budget { max: 0, window: Duration::from_secs(30) };
        let mut spec = ChildSpec { budget, exhausted: Exhausted::Park(rest), ..ChildSpec::worker() };
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

//! The actor kernel: Erlang/OTP supervision on top of actix's scheduling.
//!
//! Write a [`Behaviour`] (OTP's gen_server); the kernel runs it in one generic actix actor and adds what
//! actix 0.13 lacks: a bounded mailbox that outlives the incarnation, panics contained to the one actor,
//! children made by a factory under a [`ChildSpec`] (budget, backoff, escalation or parking), timers and
//! async effects that die with their incarnation, ordered shutdown, and observation that never waits.
//!
//! | file | owns |
//! |---|---|
//! | `behaviour` | what people implement: [`Message`], [`Behaviour`], [`Observed`] |
//! | `mailbox` | the queue and [`ActorRef`] |
//! | `cx` | [`Cx`]: effects, timers, children, verdicts |
//! | `spec` | pure decisions: exit reason + spec + restarts → what happens |
//! | `children` | the table of children and their phases |
//! | `shell` | the actix actor: one turn after another, unwinding |
//! | `cell` | what an actor publishes, and the signals it gets |
//! | `registry`, `metrics` | reading the cells: `/actors`, `/metrics` |
//! | `system` | start, shutdown, failure of the root |
//! | `panics` | catching, with message and place |
//!
//! Lifecycle of one child; every arrow is recorded among its transitions:
//! ```text
//!            factory, started()            stop
//! Starting ───────────────────────▶ Alive ───────▶ Stopping ─▶ gone
//!    ▲                                │ panic, fail, stop()
//!    │ backoff                        ▼
//!    ├──────────────────────── Restarting      its own children are stopped first
//!    │ after d, budget fresh          │ budget exhausted
//!    └───────── Parked ◀──────────────┴────────▶ the parent fails in turn (Escalate)
//! ```
//! Measured (2 cores, this crate optimised): `tell` to `handle` takes 0.7 µs at the median and 3 µs at the
//! 99th percentile on the same arbiter, 5 and 36 µs across threads; an idle actor costs 4.2 kB, actix's
//! context and the reference included; a snapshot of 10,000 actors takes 13 ms.
//!
//! What it never does: kill a thread. A handler that blocks is shown as stuck, and abandoned at shutdown.

mod behaviour;
mod cell;
mod children;
mod cx;
mod mailbox;
mod metrics;
mod panics;
mod registry;
mod shell;
mod spec;
mod system;
#[cfg(test)]
mod tests;

pub use behaviour::{Behaviour, Message, Observed, Stopping};
pub use cx::{Cx, Timer};
pub use mailbox::{ActorRef, Probe, TellError};
pub use registry::{ActorView, MailboxView, Registry, Status};
pub use spec::{ChildDown, ChildSpec, Decision, Exhausted, Exit, RestartPolicy, StopOrder};
pub use system::{ActorSystem, RootOptions, ShutdownReport, SystemHandle};

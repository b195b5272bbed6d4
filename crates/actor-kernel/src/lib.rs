//! The actor kernel: Erlang/OTP supervision on top of actix's scheduling.
//!
//! Implement a [`Behaviour`] (OTP's gen_server), and the kernel runs it in one generic actix actor. An
//! *incarnation* is one run of an actor, from its start to its end. The kernel adds what actix 0.13 lacks:
//! - a bounded mailbox that outlives the incarnation;
//! - panics that end one incarnation and nothing else;
//! - children made by a factory under a [`ChildSpec`] (budget, backoff, escalation or parking);
//! - timers and async effects that end with their incarnation;
//! - ordered shutdown;
//! - observation that never waits.
//!
//! | file | owns |
//! |---|---|
//! | `behaviour` | traits and types to implement: [`Message`], [`Behaviour`], [`ActorState`] |
//! | `mailbox` | the queue and [`ActorRef`] |
//! | `cx` | [`Cx`]: effects, timers, children, verdicts |
//! | `spec` | pure decision: exit reason, spec and restarts → decision |
//! | `children` | the table of children and their phases |
//! | `shell` | the actix actor: one turn after another, unwinding |
//! | `cell` | published state of an actor, and the signals to it |
//! | `registry`, `metrics` | reads of the cells: `/actors`, `/metrics` |
//! | `system` | start, shutdown, failure of the root |
//! | `panics` | panic capture with message and source location |
//!
//! ```
//! use stentor_actor_kernel::{ActorState, ActorSystem, Behaviour, Cx, Message, RootOptions};
//! use tokio::sync::oneshot;
//!
//! enum Msg {
//!     Add(u32),
//!     Report(oneshot::Sender<u32>),
//! }
//!
//! impl Message for Msg {
//!     fn kind(&self) -> &'static str {
//!         match self {
//!             Self::Add(_) => "add",
//!             Self::Report(_) => "report",
//!         }
//!     }
//! }
//!
//! struct Counter(u32);
//!
//! impl Behaviour for Counter {
//!     const KIND: &'static str = "counter";
//!     type Msg = Msg;
//!
//!     fn handle(&mut self, msg: Msg, _: &mut Cx<Self>) {
//!         match msg {
//!             Msg::Add(n) => self.0 += n,
//!             // The caller may have gone away.
//!             Msg::Report(answer) => drop(answer.send(self.0)),
//!         }
//!     }
//!
//!     fn observe(&self) -> ActorState {
//!         ActorState::state("counting")
//!     }
//! }
//!
//! actix::System::new().block_on(async {
//!     let system = ActorSystem::start(|| Counter(0), RootOptions::default());
//!     let (answer, answered) = oneshot::channel();
//!     system.root().tell(Msg::Add(2)).unwrap();
//!     system.root().tell(Msg::Report(answer)).unwrap();
//!     assert_eq!(answered.await, Ok(2));
//!     let report = system.shutdown(std::time::Duration::from_secs(5)).await;
//!     assert!(report.abandoned.is_empty());
//! });
//! ```
//!
//! Lifecycle of one child. Restarts and parking are recorded as transitions, like the changes of the state
//! that the actor itself publishes:
//! ```text
//!            factory, started()            stop
//! Starting ───────────────────────▶ Alive ───────▶ Stopping ─▶ gone
//!    ▲                                │ panic, fail, stop()
//!    │ backoff                        ▼
//!    ├──────────────────────── Restarting      its own children are stopped first
//!    │ after d, budget fresh          │ budget exhausted
//!    └───────── Parked ◀──────────────┴────────▶ the parent fails in turn (Escalate)
//! ```
//! Measured (2 cores, this crate optimised): on the same arbiter, a message takes 0.7 µs from `tell` to
//! `handle` at the median and 3 µs at the 99th percentile. Across threads it takes 5 and 36 µs. An idle actor
//! costs 4.2 kB, including actix's context and the reference. A snapshot of 10,000 actors takes 13 ms.
//!
//! The kernel never kills a thread. An actor whose handler blocks is shown as stuck, and is abandoned at
//! shutdown.

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

pub use behaviour::{ActorState, Behaviour, Message, StopAnswer};
pub use cx::{Cx, Timer};
pub use mailbox::{ActorRef, Probe, TellError};
pub use registry::{ActorView, MailboxView, Registry, RestartRefused, Status};
pub use spec::{ChildDown, ChildSpec, Decision, ExhaustedAction, Exit, RestartPolicy, StopOrder};
pub use system::{ActorSystem, RootOptions, ShutdownReport, SystemHandle};

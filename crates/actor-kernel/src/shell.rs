//! The one generic actix actor that wraps every behaviour.
//!
//! actix runs this actor in a context on an arbiter. Everything else happens in one future of that context,
//! the pump. Each turn of the pump handles signals, deadlines, completions and messages. Every call into the
//! behaviour is contained, so actix never sees a panic, which would end the context permanently. If the
//! arbiter drops the context nevertheless, the link reports the end of the actor.
//!
//! ```text
//! Starting ─▶ Running ─▶ Waiting ─▶ Unwinding ─▶ over
//!     └──────────┴── panic, fail, stop ──▲
//! ```
//! Unwinding drops the effects, stops the children youngest first, drops the behaviour and reports the exit.
//! Therefore a parent's next incarnation never meets children of the previous one.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll};

use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, ActorState, AsyncContext, Context};
use futures::Stream;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, Sleep};

use super::behaviour::{Behaviour, Message, StopAnswer};
use super::cell::{ActorCell, Lifecycle, Signal, locked};
use super::children::Link;
use super::cx::Cx;
use super::mailbox::{Inbox, Mailbox};
use super::metrics::MessageStats;
use super::panics::contain;
use super::spec::{ChildDown, Decision, Exit};

/// Maximum number of turns before the other actors of the arbiter run.
const TURNS: usize = 16;

/// Factory of incarnations; behind a mutex so that it need not be `Sync`.
pub(super) type Factory<B> = Arc<Mutex<Box<dyn Fn() -> B + Send>>>;

pub(super) struct Shell<B: Behaviour> {
    factory: Factory<B>,
    behaviour: Option<B>,
    pub cx: Cx<B>,
    cell: Arc<ActorCell>,
    mailbox: Arc<Mailbox<B::Msg>>,
    phase: Phase,
    /// True if the parent has asked this actor to stop.
    asked: bool,
    alarm: Option<Pin<Box<Sleep>>>,
    stats: Vec<(&'static str, Arc<MessageStats>)>,
    link: Link,
}

enum Phase {
    Starting,
    Running,
    /// The actor was asked to stop and still handles messages.
    Waiting {
        until: Instant,
    },
    Unwinding(Exit),
}

impl<B: Behaviour> Shell<B> {
    pub fn new(mailbox: Arc<Mailbox<B::Msg>>, factory: Factory<B>, link: Link) -> Self {
        Self {
            factory,
            behaviour: None,
            cx: Cx::new(mailbox.clone()),
            cell: mailbox.cell.clone(),
            mailbox,
            phase: Phase::Starting,
            asked: false,
            alarm: None,
            stats: Vec::new(),
            link,
        }
    }

    pub fn launch(mailbox: Arc<Mailbox<B::Msg>>, factory: Factory<B>, link: Link) {
        Self::new(mailbox, factory, link).start();
    }

    /// Runs up to [`TURNS`] turns. Returns `Ready` when the incarnation has ended.
    fn pump(&mut self, task: &mut Task<'_>) -> Poll<()> {
        self.cell.register(task.waker());
        for _ in 0..TURNS {
            if self.cell.is_killed() {
                self.die();
                return Poll::Ready(());
            }
            self.take_signals();
            self.fire_timers(task);
            match self.phase {
                Phase::Unwinding(_) => return self.unwind(task),
                Phase::Starting => self.begin(),
                Phase::Running | Phase::Waiting { .. } => {
                    if !self.turn(task) {
                        return Poll::Pending;
                    }
                }
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// Handles at most one completion and one message, so that neither starves the other. Returns true if it
    /// handled either.
    fn turn(&mut self, task: &mut Task<'_>) -> bool {
        let completion = self.next_completion(task);
        let mut busy = completion.is_some();
        match completion {
            Some(Ok(Some(msg))) => self.deliver(msg),
            Some(Err(panic)) => self.begin_unwinding(Exit::Panicked(panic)),
            Some(Ok(None)) | None => {}
        }
        if self.serves()
            && let Some(msg) = self.mailbox.take()
        {
            busy = true;
            self.deliver(msg);
        }
        busy
    }

    fn serves(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Waiting { .. })
    }

    fn next_completion(&mut self, task: &mut Task<'_>) -> Option<Result<Option<B::Msg>, String>> {
        if self.cx.effects.is_empty() {
            return None;
        }
        let since = std::time::Instant::now();
        let polled = Pin::new(&mut self.cx.effects).poll_next(task);
        self.cell.stats.polled(since.elapsed());
        match polled {
            Poll::Ready(completion) => completion,
            Poll::Pending => None,
        }
    }

    fn deliver(&mut self, msg: B::Msg) {
        match contain(|| msg.kind()) {
            Ok(kind) => drop(self.call(kind, |behaviour, cx| behaviour.handle(msg, cx))),
            Err(panic) => self.begin_unwinding(Exit::Panicked(panic)),
        }
    }

    fn begin(&mut self) {
        self.cell.begin_message("factory");
        let made = contain(|| locked(&self.factory)());
        self.cell.end_message();
        self.phase = Phase::Running;
        match made {
            Ok(behaviour) => self.behaviour = Some(behaviour),
            Err(panic) => return self.begin_unwinding(Exit::Panicked(panic)),
        }
        if self.call("started", |behaviour, cx| behaviour.started(cx)).is_some() && self.serves() {
            self.cell.set_life(Lifecycle::Alive);
        }
    }

    /// Makes one contained and timed call into the behaviour and publishes its observed state. Returns `None`
    /// after a panic.
    fn call<T>(&mut self, kind: &'static str, call: impl FnOnce(&mut B, &mut Cx<B>) -> T) -> Option<T> {
        let behaviour = self.behaviour.as_mut()?;
        self.cell.begin_message(kind);
        let result = contain(|| {
            let answer = call(behaviour, &mut self.cx);
            let quiet = std::mem::take(&mut self.cx.quiet);
            (answer, (!quiet).then(|| behaviour.observe()))
        });
        let took = self.cell.end_message();
        self.stats(kind).record(took);
        let cause = self.cx.cause.take().unwrap_or(kind.into());
        match result {
            Ok((answer, seen)) => {
                if let Some(seen) = seen {
                    self.cell.publish(seen, cause);
                }
                self.apply_verdict();
                Some(answer)
            }
            Err(panic) => {
                self.begin_unwinding(Exit::Panicked(panic));
                None
            }
        }
    }

    /// Applies the decision that the behaviour made about itself during the call, if any.
    fn apply_verdict(&mut self) {
        if let Some(exit) = self.cx.verdict.take() {
            self.begin_unwinding(exit);
        } else if self.cx.released && matches!(self.phase, Phase::Waiting { .. }) {
            self.begin_unwinding(Exit::Stopped);
        }
    }

    fn stats(&mut self, kind: &'static str) -> &MessageStats {
        let known = self.stats.iter().position(|(name, _)| *name == kind);
        let index = known.unwrap_or_else(|| {
            self.stats.push((kind, self.cell.stats.message(kind)));
            self.stats.len() - 1
        });
        &self.stats[index].1
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.cell.next_signal() {
            match signal {
                Signal::Stop { within } => self.asked_to_stop(Instant::now() + within),
                Signal::ChildUnwinding { child, within } => self.cx.children.extend(child, within),
                Signal::Restart(cause) => drop(self.call("restart", |_, cx| cx.fail(cause))),
                #[cfg(debug_assertions)]
                Signal::Panic => drop(self.call("panic", |_, _| -> () { panic!("on demand") })),
                Signal::ChildExit { child, run, exit } => {
                    let down = self.cx.children.exited(child, run, exit, rand::random());
                    down.into_iter().for_each(|down| self.child_down(&down));
                }
            }
        }
    }

    fn asked_to_stop(&mut self, until: Instant) {
        if std::mem::replace(&mut self.asked, true) {
            return;
        }
        match self.phase {
            Phase::Starting => self.begin_unwinding(Exit::Stopped),
            Phase::Waiting { .. } => {}
            Phase::Unwinding(_) => self.mailbox.close(),
            Phase::Running => {
                self.cell.set_life(Lifecycle::Stopping);
                let answer = self.call("stopping", |behaviour, cx| behaviour.stopping(cx));
                if answer == Some(StopAnswer::Wait) && !self.cx.released && self.serves() {
                    self.phase = Phase::Waiting { until };
                } else {
                    self.begin_unwinding(Exit::Stopped);
                }
            }
        }
    }

    fn child_down(&mut self, down: &ChildDown) {
        if !self.serves() {
            return;
        }
        self.call("child_down", |behaviour, cx| behaviour.child_down(down, cx));
        if down.decision == Decision::GaveUp {
            let (child, cause) = (down.name.clone(), down.exit.to_string());
            self.begin_unwinding(Exit::ChildGaveUp { child, cause });
        }
    }

    /// Fires expired timers and arms the next one.
    fn fire_timers(&mut self, task: &mut Task<'_>) {
        while self.next_date().is_some_and(|date| self.alarm_rings(date, task)) {
            if matches!(self.phase, Phase::Waiting { until } if until <= Instant::now()) {
                self.cell.kernel.overdue(&self.cell.path);
                self.begin_unwinding(Exit::Stopped);
            }
            let abandoned = self.cx.children.due();
            abandoned.iter().for_each(|down| self.child_down(down));
        }
    }

    fn next_date(&self) -> Option<Instant> {
        let own = match self.phase {
            Phase::Waiting { until } => Some(until),
            _ => None,
        };
        own.into_iter().chain(self.cx.children.next_date()).min()
    }

    fn alarm_rings(&mut self, date: Instant, task: &mut Task<'_>) -> bool {
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(date)));
        if alarm.deadline() != date {
            alarm.as_mut().reset(date);
        }
        alarm.as_mut().poll(task).is_ready()
    }

    /// Begins unwinding. Only the first call sets the reason.
    fn begin_unwinding(&mut self, exit: Exit) {
        if matches!(self.phase, Phase::Unwinding(_)) {
            return;
        }
        let exit = if self.asked && exit == Exit::Normal { Exit::Stopped } else { exit };
        if exit.is_abnormal() {
            tracing::error!(actor = %self.cell.path, kind = B::KIND, cause = %exit, "actor failed");
        }
        if self.asked {
            self.mailbox.close();
        }
        self.cell.set_life(Lifecycle::Stopping);
        self.phase = Phase::Unwinding(exit);
        self.cx.effects = FuturesUnordered::new();
    }

    fn unwind(&mut self, task: &mut Task<'_>) -> Poll<()> {
        let Some(within) = self.cx.children.stop_youngest() else {
            self.finish();
            return Poll::Ready(());
        };
        self.link.unwinding(within);
        // Stopping a child may have set the earliest deadline, so arm the timer for it.
        if let Some(date) = self.cx.children.next_date()
            && self.alarm_rings(date, task)
        {
            task.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn finish(&mut self) {
        let dropped = self.release();
        let phase = std::mem::replace(&mut self.phase, Phase::Unwinding(Exit::Normal));
        let exit = match (phase, dropped) {
            (Phase::Unwinding(Exit::Normal), Err(panic)) => Exit::Panicked(panic),
            (Phase::Unwinding(exit), _) => exit,
            _ => Exit::Normal,
        };
        self.cell.forget_task();
        self.link.report(exit);
    }

    /// Ends immediately, because the parent has abandoned this actor.
    fn die(&mut self) {
        self.cell.set_life(Lifecycle::Dead);
        self.cell.kill_children();
        // A panic is already logged in `release`, and there is no parent to report to.
        let _ = self.release();
        self.mailbox.close();
        self.cell.forget_task();
        self.link.sever();
    }

    /// Drops the effects and the behaviour. Returns the text of a panic in the behaviour's drop as an error.
    fn release(&mut self) -> Result<(), String> {
        self.cx.effects = FuturesUnordered::new();
        let behaviour = self.behaviour.take();
        contain(|| drop(behaviour)).inspect_err(|panic| {
            tracing::error!(actor = %self.cell.path, kind = B::KIND, panic, "actor panicked when dropped");
        })
    }
}

impl<B: Behaviour> Drop for Shell<B> {
    /// Releases an actor whose arbiter has ended. After any other end nothing is left to release. The link is
    /// dropped afterwards and reports the end.
    fn drop(&mut self) {
        // A panic is already logged in `release`.
        let _ = self.release();
    }
}

impl<B: Behaviour> Unpin for Shell<B> {}

impl<B: Behaviour> Actor for Shell<B> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Pump);
    }
}

/// Future that drives a shell.
struct Pump;

impl<B: Behaviour> ActorFuture<Shell<B>> for Pump {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        shell: &mut Shell<B>,
        ctx: &mut Context<Shell<B>>,
        task: &mut Task<'_>,
    ) -> Poll<()> {
        // A context that is being dropped polls this future once more. It is then too late to begin anything.
        if ctx.state() != ActorState::Running {
            return Poll::Ready(());
        }
        let polled = shell.pump(task);
        if polled.is_ready() {
            ctx.stop();
        }
        polled
    }
}

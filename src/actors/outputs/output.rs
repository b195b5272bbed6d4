//! Output of a room to one target: the shell around [`OutputRun`].
//!
//! Owns the connection, which is one effect. Writes the state of the output to the store whenever it changes.
//! Ends when this node no longer has to push the output.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;

use super::sending::{SendingEnd, send};
use super::{OutputParts, supervisor};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, Cx, Message, StopAnswer, Timer};
use crate::actors::room_children::report_finished;
use crate::clock::random_unit;
use crate::domain::ids::{Nonce, RoomId};
use crate::domain::output::{Output, OutputFormat, OutputId, OutputRun, OutputState, Phase, Target, duty};
use crate::domain::restart::Backoff;
use crate::rooms::{RoomError, report_output};

/// Delays between attempts. They limit the load of a target that is down for a long time.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) };
/// Delay after a failed write of the state.
const WRITE_AGAIN: Duration = Duration::from_secs(2);

pub struct OutputActor {
    room: RoomId,
    id: OutputId,
    context: Context,
    parts: OutputParts,
    parent: ActorRef<supervisor::Msg>,
    run: OutputRun,
    /// Broadcast of the current connection, or of the previous connection while there is no current one.
    nonce: Option<Nonce>,
    /// Target without its credentials, for logs and `/actors`.
    shown: String,
    /// State in the latest write, which may be in progress: the state, the number of failures and the reason.
    written: Option<(OutputState, u32, Option<String>)>,
    writing: bool,
    /// Time until which no further write is tried.
    write_after: Option<Duration>,
    leaving: bool,
    /// Signal to end the connection.
    left: Arc<Notify>,
    timer: Option<Timer>,
}

pub enum Msg {
    StateChanged,
    Live,
    Ended(SendingEnd),
    Written(Result<(), RoomError>),
    Due,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Live => "live",
            Self::Ended(_) => "ended",
            Self::Written(_) => "written",
            Self::Due => "due",
        }
    }
}

impl OutputActor {
    pub fn new(
        (room, id): (RoomId, OutputId),
        context: Context,
        parts: OutputParts,
        parent: ActorRef<supervisor::Msg>,
    ) -> Self {
        Self {
            run: OutputRun::new(BACKOFF, context.clock.wall()),
            room,
            id,
            context,
            parts,
            parent,
            nonce: None,
            shown: String::new(),
            written: None,
            writing: false,
            write_after: None,
            leaving: false,
            left: Arc::default(),
            timer: None,
        }
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        let now = self.context.clock.now();
        let view = self.context.directory.room(&self.room).unwrap_or_default();
        let wanted = duty(&view, &self.id, &self.context.me).filter(|_| !self.leaving);
        let mut due = None;
        match (wanted, self.run.phase()) {
            (None, Phase::Idle) => {
                if self.leaving {
                    return cx.exit();
                }
                let finished = supervisor::Msg::Finished(self.room.clone(), self.id.clone());
                due = report_finished(&self.parent, finished, now);
            }
            (None, _) => self.left.notify_one(),
            (Some((output, nonce)), Phase::Idle) => match self.run.due(now) {
                Some(later) => due = Some(later),
                None => self.connect(output, nonce, cx),
            },
            // A new broadcast has begun: end the connection of the earlier one.
            (Some((_, nonce)), _) if self.nonce.as_ref() != Some(nonce) => self.left.notify_one(),
            (Some(_), _) => {}
        }
        due = due.into_iter().chain(self.write(now, cx)).min();
        self.timer = due.map(|due| cx.after(due.saturating_sub(now), Msg::Due));
    }

    fn connect(&mut self, output: &Output, nonce: &Nonce, cx: &mut Cx<Self>) {
        self.nonce = Some(nonce.clone());
        self.shown.clone_from(&output.shown);
        self.run.connecting(self.context.clock.wall());
        // Replace the `Notify`: an unused permit of the earlier connection would end the new one.
        self.left = Arc::default();
        match self.target(output) {
            Ok(target) => {
                let reader = self.parts.streams.open(&self.room, nonce);
                let (context, left, me) = (self.context.clone(), self.left.clone(), cx.me());
                let live = move || {
                    // The notice is kept even if the mailbox is full. Ignore the error: if the actor has
                    // ended, its connection ends, too.
                    let _ = me.tell_latest("live", Msg::Live);
                };
                cx.run(send(context, target, reader, left, live), Msg::Ended);
            }
            Err(reason) => cx.run(std::future::ready(SendingEnd::Failed(reason)), Msg::Ended),
        }
    }

    fn target(&self, output: &Output) -> Result<Target, String> {
        let opened = self.parts.targets.open(&self.room, &self.id, &output.sealed);
        let changed = |_| "the URL was stored under another hls.secret; remove the output and add it again";
        let url = opened.map_err(changed)?;
        let format: OutputFormat = output.format;
        Target::parse(&url, format).map_err(|error| error.to_string())
    }

    /// Writes the state to the store if it has changed. If an earlier write failed and its delay has not
    /// passed, returns the time at which to try again.
    fn write(&mut self, now: Duration, cx: &mut Cx<Self>) -> Option<Duration> {
        let status = self.run.status().clone();
        let shown = (status.state, status.failures, status.reason.clone());
        // An output without an entry is shown as `waiting`, so that state is never written.
        let is_new = status.state != OutputState::Waiting && self.written.as_ref() != Some(&shown);
        let (false, true, Some(nonce)) = (self.writing, is_new, self.nonce.clone()) else { return None };
        if let Some(after) = self.write_after.filter(|after| *after > now) {
            return Some(after);
        }
        self.writing = true;
        self.written = Some(shown);
        let (store, room, id) = (self.context.store.clone(), self.room.clone(), self.id.clone());
        cx.run(async move { report_output(&*store, &room, &id, &nonce, &status).await }, Msg::Written);
        None
    }

    fn ended(&mut self, ended: SendingEnd) {
        let (now, wall) = (self.context.clock.now(), self.context.clock.wall());
        match ended {
            SendingEnd::Stopped => self.run.stopped(wall),
            SendingEnd::Failed(reason) => {
                let was_live = matches!(self.run.phase(), Phase::Live { .. });
                if was_live || self.run.attempt() == 0 {
                    let Self { room, id, shown, .. } = self;
                    tracing::warn!(%room, output = %id, target = shown, reason, "output failed; will retry");
                }
                self.run.failed(&reason, now, wall, random_unit());
            }
        }
        self.context.metrics.outputs().ended(self.run.status().state == OutputState::Failing);
    }
}

impl Behaviour for OutputActor {
    const KIND: &'static str = "output";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::StateChanged | Msg::Due => {}
            Msg::Live => {
                self.run.live(self.context.clock.now(), self.context.clock.wall());
                tracing::info!(room = %self.room, output = %self.id, target = self.shown, "output is live");
            }
            Msg::Ended(ended) => self.ended(ended),
            Msg::Written(outcome) => {
                self.writing = false;
                self.write_after = None;
                if let Err(error) = outcome {
                    tracing::debug!(room = %self.room, output = %self.id, %error, "state was not written");
                    self.written = None;
                    self.write_after = Some(self.context.clock.now() + WRITE_AGAIN);
                }
            }
        }
        self.step(cx);
    }

    fn stopping(&mut self, cx: &mut Cx<Self>) -> StopAnswer {
        self.leaving = true;
        if self.run.phase() == Phase::Idle {
            return StopAnswer::Now;
        }
        self.step(cx);
        StopAnswer::Wait
    }

    fn observe(&self) -> ActorState {
        let status = self.run.status();
        let now = self.context.clock.now();
        let state = match status.state {
            OutputState::Waiting => "waiting",
            OutputState::Connecting => "connecting",
            OutputState::Live => "live",
            OutputState::Failing => "failing",
        };
        ActorState {
            desired: json!({ "room": self.room, "target": self.shown }),
            reason: status.reason.clone(),
            attempt: self.run.attempt(),
            next_retry_in: self.run.due(now).and_then(|due| due.checked_sub(now)),
            ..ActorState::state(state)
        }
    }
}

//! One source of a room: the actor around [`domain::source_player`](crate::domain::source_player).

use std::convert::Infallible;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::oneshot;

use super::SourceParts;
use super::run::{self, Job, Notice};
use super::supervisor;
use crate::actors::context::Context;
use crate::actors::janus::JanusShared;
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, Cx, Message, Timer};
use crate::actors::room_children::report_finished;
use crate::clock::random_unit;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::plan::{Plan, WriteOutcome};
use crate::domain::source_player::{Effect, RunEnd, SourcePlayer};
use crate::domain::sources::Source;
use crate::domain::view::RoomView;
use crate::rooms::writes;

pub struct SourceActor {
    room: RoomId,
    id: UserId,
    context: Context,
    parts: SourceParts,
    link: JanusShared,
    parent: ActorRef<supervisor::Msg>,
    machine: SourcePlayer,
    view: Arc<RoomView>,
    /// Sender whose drop ends the run.
    run: Option<oneshot::Sender<Infallible>>,
    /// True if the run plays its input again when the input ends.
    repeats: bool,
    writing: bool,
    reason: String,
    timer: Option<Timer>,
}

#[derive(Debug)]
pub enum Msg {
    /// The store has changes for this room.
    StateChanged,
    /// The run sends sound to Janus.
    Playing,
    /// Janus reports the source as muted or not.
    Muted(bool),
    Ended(RunEnd),
    Written(WriteOutcome),
    Retry,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Playing => "playing",
            Self::Muted(_) => "muted",
            Self::Ended(_) => "ended",
            Self::Written(_) => "written",
            Self::Retry => "retry",
        }
    }
}

impl SourceActor {
    pub fn new(
        (room, id): (RoomId, UserId),
        context: Context,
        parts: SourceParts,
        link: JanusShared,
        parent: ActorRef<supervisor::Msg>,
    ) -> Self {
        let machine = SourcePlayer::new(context.me.clone(), id.clone(), context.backoff());
        Self {
            room,
            id,
            context,
            parts,
            link,
            parent,
            machine,
            view: Arc::default(),
            run: None,
            repeats: true,
            writing: false,
            reason: String::new(),
            timer: None,
        }
    }

    fn source(&self) -> Option<&Source> {
        self.view.sources.as_ref()?.0.get(&self.id)
    }

    fn look(&mut self) {
        // Read the revision before the view, so that the view is at least as new as the revision.
        let as_of = self.context.rooms_revision();
        self.view = self.context.directory.room(&self.room).unwrap_or_default();
        self.machine.observe_revision(as_of);
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        // One write at a time. `step` runs again after the outcome of the write.
        while !self.writing {
            let now = self.context.clock.now();
            self.timer = None;
            match self.machine.plan(&self.view, self.link.bridge().is_some(), now) {
                Plan::Do { effect: Effect::Start { source, janus_room_id }, reason } => {
                    self.reason = reason.into_owned();
                    self.start(source, janus_room_id, cx);
                }
                Plan::Do { effect: Effect::Stop, reason } => {
                    self.reason = reason.into_owned();
                    self.machine.stopping();
                    self.run = None;
                }
                Plan::Do { effect: Effect::Write { sources, key_revision, live_revision }, reason } => {
                    self.reason = reason.into_owned();
                    self.writing = true;
                    let context = self.context.clone();
                    let txn = writes::sources(&self.room, &sources, live_revision, key_revision);
                    cx.run(async move { context.write(txn).await }, Msg::Written);
                }
                Plan::Wait { reason, until } => {
                    self.reason = reason.into_owned();
                    self.timer = until.map(|due| cx.after(due.saturating_sub(now), Msg::Retry));
                    return;
                }
                Plan::Finished => {
                    self.reason = "the source is not wanted here".into();
                    let report = supervisor::Msg::Finished(self.room.clone(), self.id.clone());
                    let again = report_finished(&self.parent, report, now);
                    self.timer = again.map(|due| cx.after(due.saturating_sub(now), Msg::Retry));
                    return;
                }
            }
        }
    }

    fn start(&mut self, source: Source, janus_room_id: u32, cx: &mut Cx<Self>) {
        self.machine.started(janus_room_id);
        self.repeats = source.repeats;
        let (stop, stopped) = oneshot::channel();
        self.run = Some(stop);
        let job = self.link.bridge().zip(self.view.meta.as_ref()).map(|(bridge, meta)| Job {
            parts: self.parts.clone(),
            bridge,
            source,
            room: self.room.clone(),
            id: self.id.clone(),
            janus_room_id,
            pin: meta.pin.clone(),
            share: self.view.mix_share(),
            media: self.context.config.listen.media,
            ffmpeg: self.context.ffmpeg(),
        });
        let me = cx.me();
        let tell = move |notice| {
            // The newest notice of each kind is kept even if the mailbox is full. Ignore the error: an actor
            // that has ended needs no notice.
            let _ = match notice {
                Notice::Playing => me.tell_latest("playing", Msg::Playing),
                Notice::Muted(muted) => me.tell_latest("muted", Msg::Muted(muted)),
            };
        };
        let run = async move {
            let Some(job) = job else { return RunEnd::Failed("not connected to Janus".into()) };
            tokio::select! {
                // The sender sends no value. Dropping it completes `stopped`.
                _ = stopped => RunEnd::Stopped,
                end = run::run(job, tell) => end,
            }
        };
        cx.run(run, Msg::Ended);
    }

    fn ended(&mut self, end: RunEnd) {
        self.run = None;
        let (room, source) = (&self.room, &self.id);
        match &end {
            RunEnd::Failed(why) => tracing::warn!(%room, %source, why, "source interrupted"),
            RunEnd::Finished => tracing::info!(%room, %source, "source ended"),
            RunEnd::Stopped => tracing::info!(%room, %source, "source stopped"),
        }
        self.machine.run_ended(end, self.repeats, self.context.clock.now(), random_unit());
    }
}

impl Behaviour for SourceActor {
    const KIND: &'static str = "source";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.look();
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::StateChanged => self.look(),
            Msg::Playing => {
                tracing::info!(room = %self.room, source = %self.id, "source playing");
                self.machine.playing(self.context.clock.now());
            }
            Msg::Muted(muted) => self.machine.muted(muted),
            Msg::Ended(end) => self.ended(end),
            Msg::Written(outcome) => {
                self.writing = false;
                self.machine.written(outcome, self.context.clock.now(), random_unit());
                self.look();
            }
            Msg::Retry => {}
        }
        self.step(cx);
    }

    fn observe(&self) -> ActorState {
        let source = self.source();
        let input = source.map(|source| source.input.shown());
        ActorState {
            state: self.machine.state().into(),
            desired: json!({ "kind": source.map(Source::kind), "input": input }),
            observed: json!({ "muted": source.map(|source| source.muted) }),
            reason: Some(self.reason.clone()),
            attempt: self.machine.attempt(),
            next_retry_in: self.machine.retry_due().and_then(|due| due.checked_sub(self.context.clock.now())),
        }
    }
}

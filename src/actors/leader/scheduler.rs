//! Starts rooms at their `startsAt`. Runs on the leader only.
//!
//! The rules are in [`domain::schedule`](crate::domain::schedule). Each step is a compare-and-swap that also
//! removes `startsAt`. So a room is started only once, even if two leaders run at the same time, or a new
//! leader repeats a step whose answer was lost.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::json;

use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, Timer};
use crate::domain::ids::RoomId;
use crate::domain::schedule::{ScheduleStep, ScheduleTask, Scheduler};
use crate::rooms::dirty_set::DirtySet;
use crate::rooms::{RoomError, RoomService};

pub struct SchedulerActor {
    context: Context,
    service: Arc<RoomService>,
    scheduler: Scheduler,
    due: VecDeque<ScheduleTask>,
    busy: bool,
    last_error: Option<String>,
    timer: Option<Timer>,
    dirty: Option<DirtySet>,
}

pub enum Msg {
    Round,
    RoomsChanged,
    /// `false`: the step was no longer necessary.
    Done(ScheduleTask, Result<bool, RoomError>),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Round => "round",
            Self::RoomsChanged => "rooms_changed",
            Self::Done(..) => "done",
        }
    }
}

impl SchedulerActor {
    pub fn new(context: Context, service: Arc<RoomService>) -> Self {
        Self {
            context,
            service,
            scheduler: Scheduler::default(),
            due: VecDeque::new(),
            busy: false,
            last_error: None,
            timer: None,
            dirty: None,
        }
    }

    fn round(&mut self, cx: &mut Cx<Self>) {
        let directory = &self.context.directory;
        // The steps of the last round must be completed first. Before the first list, no room is known.
        if self.busy || !directory.is_listed() {
            return;
        }
        self.due = self.scheduler.round(&directory.rooms(), self.context.clock.moment()).into();
        self.next(cx);
    }

    /// Starts the next step. Only one step runs at a time, so that each placement takes the earlier ones into
    /// account. If no step is left, arms the timer of the next round.
    fn next(&mut self, cx: &mut Cx<Self>) {
        self.timer = None;
        let Some(task) = self.due.pop_front() else {
            let now = self.context.clock.now();
            let next = self.scheduler.next().map(|next| next.saturating_sub(now));
            self.timer = next.map(|left| cx.after(left, Msg::Round));
            return;
        };
        self.busy = true;
        let service = self.service.clone();
        let step = async move {
            let outcome = service.scheduled(&task.room, task.step, task.at).await;
            (task, outcome)
        };
        cx.run(step, |(task, outcome)| Msg::Done(task, outcome));
    }

    fn done(&mut self, task: &ScheduleTask, outcome: Result<bool, RoomError>) {
        self.busy = false;
        let room = &task.room;
        match outcome {
            Ok(changed) => {
                self.scheduler.done(room);
                self.last_error = None;
                match task.step {
                    _ if !changed => {}
                    ScheduleStep::Start => tracing::info!(%room, "scheduled room started"),
                    ScheduleStep::Miss => {
                        tracing::warn!(%room, "scheduled start missed; the room stays off air");
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%room, %error, "scheduled start failed");
                self.last_error = Some(format!("{room}: {error}"));
                self.scheduler.failed(room.clone(), self.context.clock.now());
            }
        }
    }
}

impl Behaviour for SchedulerActor {
    const KIND: &'static str = "scheduler";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let me = cx.me();
        // The wake-up fails only if this actor is gone; then no wake-up is needed.
        self.dirty = Some(self.context.subscribe(move || {
            let _ = me.tell_latest("rooms_changed", Msg::RoomsChanged);
        }));
        self.round(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Round => self.round(cx),
            Msg::RoomsChanged => {
                let changed = self.dirty.as_ref().map(DirtySet::take);
                let directory = &self.context.directory;
                let is_scheduled =
                    |room: &RoomId| directory.room(room).is_some_and(|view| view.starts_at().is_some());
                if changed.is_some_and(|set| set.relisted || set.rooms.iter().any(is_scheduled)) {
                    self.round(cx);
                }
            }
            Msg::Done(task, outcome) => {
                self.done(&task, outcome);
                match self.due.is_empty() {
                    true => self.round(cx),
                    false => self.next(cx),
                }
            }
        }
    }

    fn observe(&self) -> ActorState {
        let next = self.scheduler.next().map(|next| next.saturating_sub(self.context.clock.now()));
        ActorState {
            observed: json!({ "due": self.due.iter().map(|task| &task.room).collect::<Vec<_>>() }),
            reason: self.last_error.clone(),
            next_retry_in: next,
            ..ActorState::state(if self.busy { "working" } else { "resting" })
        }
    }
}

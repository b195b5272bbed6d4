//! One room that is backstage, on air or being removed: shows the reason for each wait, and finishes its
//! removal.
//!
//! ```text
//!  backstage ──▶ starting ──▶ onair ──▶ removing ──▶ (gone)
//! ```
//! The rules are in [`domain::room`](crate::domain::room); every write goes through the [`RoomService`].

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::SharedAges;
use crate::actors::context::Context;
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, Cx, Message, Timer};
use crate::actors::room_children::report_finished;
use crate::clock::random_unit;
use crate::domain::ids::{RoomId, UnixMs};
use crate::domain::plan::Retry;
use crate::domain::public_status::shown;
use crate::domain::room::{Cleanup, RoomStatus, cleanup, status};
use crate::domain::view::RoomView;
use crate::rooms::{Removal, RoomError, RoomService};

pub struct RoomActor {
    room: RoomId,
    context: Context,
    service: Arc<RoomService>,
    parent: ActorRef<super::supervisor::Msg>,
    view: Arc<RoomView>,
    ages: SharedAges,
    /// Status as shown by the API; `None`: the room is gone.
    status: Option<RoomStatus>,
    busy: bool,
    retry: Retry,
    reason: Option<String>,
    timer: Option<Timer>,
}

pub enum Msg {
    StateChanged,
    Removed(Result<Removal, RoomError>),
    Retry,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Removed(_) => "removed",
            Self::Retry => "retry",
        }
    }
}

impl RoomActor {
    pub fn new(
        room: RoomId,
        context: Context,
        service: Arc<RoomService>,
        ages: SharedAges,
        parent: ActorRef<super::supervisor::Msg>,
    ) -> Self {
        Self {
            room,
            context,
            service,
            parent,
            view: Arc::default(),
            ages,
            status: None,
            busy: false,
            retry: Retry::default(),
            reason: None,
            timer: None,
        }
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        let view = self.context.directory.room(&self.room).unwrap_or_default();
        self.status = shown(&view, &self.context.directory.modules()).map(|shown| shown.status);
        if self.busy {
            return;
        }
        self.view = view;
        self.timer = None;
        let grace = self.context.config.rooms.removing_grace;
        let now = self.context.clock.now();
        let clock = self.ages.with(|ages| ages.clock(&self.room, &self.view, now, grace));
        match cleanup(&self.view, clock) {
            Cleanup::Nothing => self.rest(cx),
            Cleanup::Waiting(waiting) => {
                self.reason = Some(waiting.to_string());
                let left = waiting.forced_at.map(|at| Duration::from_millis(at.0.saturating_sub(clock.0)));
                self.timer = left.map(|left| cx.after(left, Msg::Retry));
            }
            Cleanup::Remove(_) => self.remove(clock, cx),
        }
    }

    fn rest(&mut self, cx: &mut Cx<Self>) {
        self.retry.succeeded();
        self.reason = self.waits_for();
        if self.view.live.is_none() {
            let (report, now) =
                (super::supervisor::Msg::Finished(self.room.clone()), self.context.clock.now());
            let again = report_finished(&self.parent, report, now);
            self.timer = again.map(|due| cx.after(due.saturating_sub(now), Msg::Retry));
        }
    }

    fn remove(&mut self, clock: UnixMs, cx: &mut Cx<Self>) {
        let now = self.context.clock.now();
        if let Some(due) = self.retry.due().filter(|due| *due > now) {
            self.timer = Some(cx.after(due - now, Msg::Retry));
            return;
        }
        self.reason = Some("removes the remaining keys of the room".into());
        self.busy = true;
        let (service, room) = (self.service.clone(), self.room.clone());
        cx.run(async move { service.finish_removal(&room, clock).await }, Msg::Removed);
    }

    fn removed(&mut self, outcome: Result<Removal, RoomError>) {
        self.busy = false;
        let why = match outcome {
            // The store may be newer than this node's copy of it; an immediate retry would not change that.
            Ok(_) => "waits until the watch shows that the room is gone".to_owned(),
            Err(error) => {
                tracing::warn!(room = %self.room, %error, "room removal failed");
                error.to_string()
            }
        };
        self.retry.failed(why.as_str(), self.context.clock.now(), &self.context.backoff(), random_unit());
        self.reason = Some(why);
    }

    fn waits_for(&self) -> Option<String> {
        if let Some(part) = self.view.unreadable_part() {
            return Some(format!("its key {} cannot be read: restore it, or delete the room", part.as_str()));
        }
        if self.view.is_backstage() {
            return Some("backstage: listeners hear nothing until it is started".into());
        }
        let live = self.view.live.as_ref()?;
        let current = |epoch| epoch == live.epoch;
        if self.view.mixer.as_ref().is_none_or(|m| !current(m.epoch)) {
            return Some(format!("waits for mixer {} to start FFmpeg", live.mixer_id));
        }
        match self.view.janus.as_ref().filter(|j| current(j.epoch)) {
            None => Some(format!("waits for janus {} to create the room", live.janus_id)),
            Some(_) if status(&self.view) != Some(RoomStatus::OnAir) => {
                Some(format!("waits for janus {} to forward to the mixer", live.janus_id))
            }
            Some(_) if self.status != Some(RoomStatus::OnAir) => {
                let (janus, mixer) = (&live.janus_id, &live.mixer_id);
                Some(format!("waits for healthy heartbeats of janus {janus} and mixer {mixer}"))
            }
            Some(_) => None,
        }
    }
}

impl Behaviour for RoomActor {
    const KIND: &'static str = "room";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::StateChanged | Msg::Retry => {}
            Msg::Removed(outcome) => self.removed(outcome),
        }
        self.step(cx);
    }

    fn observe(&self) -> ActorState {
        let state = self.status.map_or("gone", RoomStatus::as_str);
        let now = self.context.clock.now();
        ActorState {
            desired: json!({ "live": self.view.live.as_ref().map(|l| json!({
                "status": l.status, "epoch": l.epoch, "janus": l.janus_id, "mixer": l.mixer_id,
            })) }),
            observed: json!({
                "janus": self.view.janus.as_ref().map(|j| j.status),
                "mixer": self.view.mixer.as_ref().map(|m| m.rtp.to_string()),
            }),
            reason: self.reason.clone(),
            attempt: self.retry.attempt(),
            next_retry_in: self.retry.due().and_then(|due| due.checked_sub(now)),
            ..ActorState::state(state)
        }
    }
}

//! One room on this node's Janus: the actor around [`domain::janus_room`](crate::domain::janus_room).
//!
//! At most one call is in flight per room, so a call that hangs blocks only this room.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::JanusShared;
use super::bridge::{self, RoomOnBridge};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, Cx, Message, Timer};
use crate::actors::room_children::report_finished;
use crate::clock::random_unit;
use crate::domain::ids::RoomId;
use crate::domain::janus_room::{Effect, FoundRoom, JanusRoom, LOCKED, Outcome};
use crate::domain::plan::Plan;
use crate::domain::view::RoomView;
use crate::domain::vouched::rtp_refusal;
use crate::rooms::writes;
use crate::telemetry::trace::Span;

/// Minimum time between two log lines about tracks that are not recorded.
const LOG_FAILURE_EVERY: Duration = Duration::from_secs(60);

pub struct JanusRoomActor {
    room: RoomId,
    context: Context,
    link: JanusShared,
    parent: ActorRef<super::connection::Msg>,
    machine: JanusRoom,
    view: Arc<RoomView>,
    busy: bool,
    reason: String,
    /// Time of the last log line about tracks that are not recorded.
    failure_logged: Option<Duration>,
    timer: Option<Timer>,
}

#[derive(Clone)]
pub enum Msg {
    /// The store has changes for this room.
    StateChanged,
    /// Janus is connected. If the rooms on Janus were listed, contains those that belong to this room.
    Linked(Option<Vec<FoundRoom>>),
    Unlinked,
    Done(Outcome),
    Retry,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Linked(_) => "linked",
            Self::Unlinked => "unlinked",
            Self::Done(_) => "done",
            Self::Retry => "retry",
        }
    }
}

impl JanusRoomActor {
    pub fn new(
        room: RoomId,
        context: Context,
        link: JanusShared,
        parent: ActorRef<super::connection::Msg>,
    ) -> Self {
        let mut machine =
            JanusRoom::new(context.me.clone(), context.incarnation.to_string(), context.backoff());
        machine.record_tracks(context.config.makes_tracks());
        Self {
            room,
            context,
            link,
            parent,
            machine,
            view: Arc::default(),
            busy: false,
            reason: String::new(),
            failure_logged: None,
            timer: None,
        }
    }

    fn look(&mut self) {
        // Read the revision before the view, so that the view may be newer than this revision, but never
        // older.
        let as_of = self.context.rooms_revision();
        self.view = self.context.directory.room(&self.room).unwrap_or_default();
        self.machine.observe_revision(as_of);
        let modules = self.context.directory.modules();
        self.machine.vouched(self.view.mixer.as_ref().and_then(|mixer| rtp_refusal(mixer, &modules)));
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        if self.busy {
            return;
        }
        let (now, wall) = (self.context.clock.now(), self.context.clock.wall());
        self.timer = None;
        self.machine.look(&self.view);
        match self.machine.plan(&self.view, now, wall) {
            Plan::Do { effect, reason } => {
                self.reason = reason.into_owned();
                self.busy = true;
                cx.run(self.execute(effect), Msg::Done);
            }
            Plan::Wait { reason, until } => {
                self.reason = reason.into_owned();
                self.timer = until.map(|due| cx.after(due.saturating_sub(now), Msg::Retry));
            }
            Plan::Finished => {
                self.reason = "the room has no resources here".into();
                let report = super::connection::Msg::Finished(self.room.clone());
                let again = report_finished(&self.parent, report, now);
                self.timer = again.map(|due| cx.after(due.saturating_sub(now), Msg::Retry));
            }
        }
    }

    fn report(&mut self, outcome: &Outcome) {
        let (room, doing) = (&self.room, &self.reason);
        match outcome {
            Outcome::Failed(failure) => tracing::warn!(%room, %failure, doing, "step of a Janus room failed"),
            Outcome::Unanswered { why, .. } => {
                tracing::warn!(%room, failure = why, doing, "step of a Janus room failed")
            }
            Outcome::NoTracks { why, .. } => {
                let now = self.context.clock.now();
                if self.failure_logged.is_none_or(|last| now.saturating_sub(last) >= LOG_FAILURE_EVERY) {
                    self.failure_logged = Some(now);
                    tracing::warn!(%room, failure = why, "tracks are not recorded; will retry");
                }
            }
            Outcome::NotModerated(failure) => {
                tracing::warn!(%room, failure, doing, "step of a Janus room failed")
            }
            Outcome::Locked { janus_room_id } => tracing::warn!(%room, "Janus room {janus_room_id} {LOCKED}"),
            _ => {}
        }
    }

    fn execute(&self, effect: Effect) -> impl Future<Output = Outcome> + 'static {
        let context = self.context.clone();
        let on_bridge = self.link.bridge().map(|bridge| RoomOnBridge {
            bridge,
            room: self.room.clone(),
            cluster: self.context.config.node.cluster.clone(),
            secrets: self.link.secrets(),
            folder: self.context.config.janus_dir(),
        });
        let (room, span) = (self.room.clone(), self.span(&effect));
        span.run(async move {
            match effect {
                Effect::WriteKey { state, live_revision, key_revision } => {
                    let txn = writes::janus_key(&room, &state, live_revision, key_revision);
                    Outcome::Key { value: Some(state), outcome: context.write(txn).await }
                }
                Effect::DeleteKey { key_revision } => {
                    let txn = writes::janus_key_gone(&room, key_revision);
                    Outcome::Key { value: None, outcome: context.write(txn).await }
                }
                effect => match on_bridge {
                    Some(on_bridge) => {
                        let outcome = on_bridge.run(effect).await;
                        if let Outcome::MutedAll { key_revision } = outcome {
                            // If this write fails, the key remains. The key has no further effect on this
                            // node, but if another instance takes over the room, the anchors are muted once
                            // more.
                            let _ = context.write(writes::mute_done(&room, key_revision)).await;
                        }
                        outcome
                    }
                    None => bridge::refused("not connected to Janus"),
                },
            }
        })
    }

    /// Begins the span of an effect in the trace of the request that put the room on air.
    fn span(&self, effect: &Effect) -> Span {
        let name = match effect {
            Effect::WriteKey { .. } | Effect::DeleteKey { .. } => "janus.store.write",
            Effect::Create { .. } => "janus.create_room",
            Effect::StartForwarder { .. } => "janus.start_forwarder",
            _ => "janus.request",
        };
        let live = self.view.live.as_ref();
        let mut span = Span::child_of(live.and_then(|live| live.start_span(self.context.clock.wall())), name);
        span.set(|span| {
            span.attribute("stentor.room", self.room.as_str());
        });
        span
    }
}

impl Behaviour for JanusRoomActor {
    const KIND: &'static str = "janus_room";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        // The parent sends `Linked`. A new actor receives the listed Janus rooms with it. A restarted actor
        // receives no list and must inspect Janus itself.
        self.look();
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::StateChanged => self.look(),
            Msg::Linked(found) => self.machine.linked(found),
            Msg::Unlinked => self.machine.unlinked(),
            Msg::Retry => {}
            Msg::Done(outcome) => {
                self.busy = false;
                self.report(&outcome);
                self.machine.done(outcome, self.context.clock.now(), random_unit());
                self.look();
            }
        }
        self.step(cx);
    }

    fn observe(&self) -> ActorState {
        let live = self.view.live.as_ref();
        ActorState {
            state: self.machine.state(&self.view).into(),
            desired: json!({
                "onAir": self.view.is_on_air(),
                "epoch": live.map(|l| l.epoch),
                "janus": live.map(|l| &l.janus_id),
                "target": self.view.mixer.as_ref().map(|m| m.rtp.to_string()),
            }),
            observed: json!({
                "key": self.view.janus.as_ref().map(|k| &k.value),
                "tracks": self.machine.recorded(),
            }),
            reason: Some(self.reason.clone()),
            attempt: self.machine.attempt(),
            next_retry_in: self.machine.retry_due().and_then(|due| due.checked_sub(self.context.clock.now())),
        }
    }
}

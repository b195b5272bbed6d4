//! Moves rooms off Janus instances and mixers that are lost, do not work, or are draining.
//!
//! The rules are in [`domain::failover`](crate::domain::failover). This actor runs on the leader only. Each
//! move is written only if the node is still the leader.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use tokio::sync::watch;

use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, Timer};
use crate::clock::random_unit;
use crate::domain::failover::{DrainedLabel, FailoverPlan, FailoverPolicy, FailoverTimers, RoomMove};
use crate::domain::ids::{Epoch, UnixMs};
use crate::domain::keys::ModuleKind;
use crate::domain::leadership::StoreStability;
use crate::domain::plan::Retry;
use crate::domain::restart::Backoff;
use crate::rooms::dirty_set::DirtySet;
use crate::rooms::{LeaderGuard, RoomError, RoomService};

/// Maximum number of moves in flight; the store commits waiting writes together.
const AT_ONCE: usize = 16;
/// Delay after a failed move or a written cordon label. It gives the watch time to show the change.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) };
/// Maximum number of entries shown in `/actors`: of the moves, and of the reasons for waiting.
const SHOWN: usize = 20;

pub struct FailoverActor {
    context: Context,
    service: Arc<RoomService>,
    guard: LeaderGuard,
    steady: watch::Receiver<StoreStability>,
    rules: FailoverPolicy,
    dirty: Option<DirtySet>,
    busy: bool,
    /// Pause after a move that failed or was decided on outdated state, and after the write of a cordon
    /// label. It gives the watch time to show the change.
    retry: Retry,
    waits: Vec<String>,
    moved: u64,
    recent: VecDeque<(UnixMs, RoomMove)>,
    last_error: Option<String>,
    timer: Option<Timer>,
}

pub enum Msg {
    StateChanged,
    Look,
    Moved(Vec<(RoomMove, Result<Option<Epoch>, RoomError>)>),
    Marked(Result<(), RoomError>),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Look => "look",
            Self::Moved(_) => "moved",
            Self::Marked(_) => "marked",
        }
    }
}

impl FailoverActor {
    pub fn new(
        context: Context,
        service: Arc<RoomService>,
        guard: LeaderGuard,
        steady: watch::Receiver<StoreStability>,
    ) -> Self {
        let rooms = &context.config.rooms;
        let rules = FailoverPolicy::new(FailoverTimers::new(rooms.replacement_grace, rooms.heartbeat_ttl));
        Self {
            context,
            service,
            guard,
            steady,
            rules,
            dirty: None,
            busy: false,
            retry: Retry::default(),
            waits: Vec::new(),
            moved: 0,
            recent: VecDeque::new(),
            last_error: None,
            timer: None,
        }
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        let now = self.context.clock.now();
        if self.busy || !self.context.directory.is_listed() {
            return;
        }
        if let Some(until) = self.retry.due().filter(|until| now < *until) {
            self.timer = Some(cx.after(until - now, Msg::Look));
            return;
        }
        let FailoverPlan { moves, drained, waits, until } = self.plan_moves(now);
        self.waits = waits;
        self.timer = until.map(|until| cx.after(until.saturating_sub(now), Msg::Look));
        if !moves.is_empty() {
            self.busy = true;
            cx.run(make(self.service.clone(), self.guard.clone(), moves), Msg::Moved);
        } else if !drained.is_empty() {
            self.busy = true;
            cx.run(mark(self.service.clone(), self.guard.clone(), drained), Msg::Marked);
        }
    }

    fn plan_moves(&mut self, now: Duration) -> FailoverPlan {
        let directory = &self.context.directory;
        let (rooms, modules) = (directory.rooms(), directory.modules());
        let followed = self.context.store_up.load(Relaxed);
        let steady = self.steady.borrow().since(now).filter(|_| followed);
        let load = ModuleKind::ALL.map(|kind| directory.load(kind));
        self.rules.plan_moves(&rooms, &modules, load, steady, now, random_unit)
    }

    fn moved(&mut self, outcomes: Vec<(RoomMove, Result<Option<Epoch>, RoomError>)>) {
        self.busy = false;
        self.last_error = None;
        let mut failed = None;
        for (order, outcome) in outcomes {
            match outcome {
                Ok(Some(_)) => {
                    self.retry.succeeded();
                    self.moved += 1;
                    self.recent.truncate(SHOWN - 1);
                    self.recent.push_front((self.context.clock.wall(), order));
                }
                Ok(None) => failed = Some(format!("{}: the store has changed in the meantime", order.room)),
                Err(error) => {
                    tracing::warn!(room = %order.room, %error, "room move failed");
                    self.last_error = Some(format!("{}: {error}", order.room));
                    failed = self.last_error.clone();
                }
            }
        }
        if let Some(why) = failed {
            self.pause(why);
        }
    }

    fn pause(&mut self, why: String) {
        self.retry.failed(why, self.context.clock.now(), &BACKOFF, random_unit());
    }
}

async fn make(
    service: Arc<RoomService>,
    guard: LeaderGuard,
    moves: Vec<RoomMove>,
) -> Vec<(RoomMove, Result<Option<Epoch>, RoomError>)> {
    let one = |order: RoomMove| {
        let (service, guard) = (&service, &guard);
        async move {
            let outcome = service.move_room(guard, &order).await;
            (order, outcome)
        }
    };
    futures::stream::iter(moves).map(one).buffer_unordered(AT_ONCE).collect().await
}

async fn mark(
    service: Arc<RoomService>,
    guard: LeaderGuard,
    drained: Vec<DrainedLabel>,
) -> Result<(), RoomError> {
    for module in &drained {
        service.mark_drained(&guard, module).await?;
    }
    Ok(())
}

impl Behaviour for FailoverActor {
    const KIND: &'static str = "failover";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let me = cx.me();
        self.dirty = Some(self.context.subscribe(move || {
            let _ = me.tell_latest("state_changed", Msg::StateChanged);
        }));
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::StateChanged => {
                // The changes do not matter: all rooms and modules are checked.
                self.dirty.as_ref().map(DirtySet::take);
            }
            Msg::Look => {}
            Msg::Moved(outcomes) => self.moved(outcomes),
            Msg::Marked(outcome) => {
                self.busy = false;
                self.last_error = outcome.err().map(|error| error.to_string());
                // Pause after success as well as after failure: a decision before the watch shows the label
                // would write the label once more.
                self.pause(
                    self.last_error.clone().unwrap_or_else(|| "waits until the watch shows its label".into()),
                );
            }
        }
        self.step(cx);
    }

    fn observe(&self) -> ActorState {
        let recent = self.recent.iter().map(|(at, order)| {
            let why: Vec<_> = order.leaves.iter().map(ToString::to_string).collect();
            let (janus, mixer) = (&order.to.janus_id, &order.to.mixer_id);
            json!({ "at": at, "room": order.room, "janus": janus, "mixer": mixer, "why": why.join(", ") })
        });
        let state = match (self.busy, self.waits.is_empty()) {
            (true, _) => "moving",
            (false, false) => "waiting",
            (false, true) => "watching",
        };
        let mut reasons = self.last_error.iter().chain(&self.waits).take(SHOWN).cloned();
        let reason = reasons.next().map(|first| reasons.fold(first, |all, next| format!("{all}; {next}")));
        ActorState {
            observed: json!({ "moved": self.moved, "recent": recent.collect::<Vec<_>>() }),
            reason,
            ..ActorState::state(state)
        }
    }
}

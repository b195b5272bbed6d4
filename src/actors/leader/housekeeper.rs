//! Runs housekeeping every `rooms.housekeeping_interval`; earlier when a room is due, or when a module or a
//! room with time limits of its own changes.
//!
//! The rules are in [`domain::housekeeping`](crate::domain::housekeeping). This actor runs on the leader
//! only. Each action is a compare-and-swap, so even two housekeepers at the same time would perform it only
//! once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;

use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, Timer};
use crate::actors::rooms::SharedAges;
use crate::domain::ages::Ages;
use crate::domain::compaction::Compaction;
use crate::domain::housekeeping::{
    HousekeepingAction, HousekeepingPolicy, HousekeepingTask, counts_anchors, is_timed,
};
use crate::domain::ids::{RoomId, UnixMs, UserId};
use crate::domain::room::ExpiryLimits;
use crate::presence::Presence;
use crate::rooms::dirty_set::DirtySet;
use crate::rooms::{Directory, Removal, RoomError, RoomService};
use crate::store::StoreError;

/// Minimum time between two rounds: in a large cluster modules change several times a second.
const BETWEEN: Duration = Duration::from_secs(1);
/// Maximum time to count anchors in a round. Rooms that are not counted in time are treated as rooms with
/// anchors.
const COUNTED_WITHIN: Duration = Duration::from_secs(2);
/// Maximum number of concurrent queries that count anchors.
const COUNTED_AT_ONCE: usize = 16;
/// Maximum number of entries shown in `/actors`: of the completed actions, and of the invalid keys.
const SHOWN: usize = 20;

pub struct Housekeeper {
    context: Context,
    service: Arc<RoomService>,
    ages: SharedAges,
    housekeeping: HousekeepingPolicy,
    compaction: Compaction,
    due: VecDeque<HousekeepingTask>,
    rounds: u64,
    last_round: Duration,
    /// True if the next round must come early: a module, or a room with time limits of its own, has changed.
    again: bool,
    done: VecDeque<TaskResult>,
    last_error: Option<String>,
    timer: Option<Timer>,
    /// `None` on a node without presence. Such a node does not end the broadcasts of rooms without anchors.
    presence: Option<Arc<dyn Presence>>,
    /// Changed rooms.
    dirty: Option<DirtySet>,
}

struct TaskResult {
    at: UnixMs,
    due: HousekeepingTask,
}

pub enum Msg {
    Round,
    StateChanged,
    /// Number of anchors of each room whose `emptyTimeout` is set. Rooms without an answer of presence are
    /// missing.
    Counted(BTreeMap<RoomId, usize>),
    /// `false`: the action was no longer necessary.
    Acted(HousekeepingTask, Result<bool, RoomError>),
    Compacted(Result<(), StoreError>),
    /// Number of events deleted from the ledger.
    Pruned(Result<usize, RoomError>),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Round => "round",
            Self::StateChanged => "state_changed",
            Self::Counted(_) => "counted",
            Self::Acted(..) => "acted",
            Self::Compacted(_) => "compacted",
            Self::Pruned(_) => "pruned",
        }
    }
}

impl Housekeeper {
    pub fn new(
        context: Context,
        service: Arc<RoomService>,
        ages: SharedAges,
        presence: Option<Arc<dyn Presence>>,
    ) -> Self {
        let rooms = &context.config.rooms;
        let limits = ExpiryLimits { never_started_after: rooms.never_started_after, max_age: rooms.max_age };
        Self {
            housekeeping: HousekeepingPolicy::new(limits, rooms.removing_grace),
            compaction: Compaction::default(),
            context,
            service,
            ages,
            due: VecDeque::new(),
            rounds: 0,
            last_round: Duration::ZERO,
            again: false,
            done: VecDeque::new(),
            last_error: None,
            timer: None,
            presence,
            dirty: None,
        }
    }

    fn round(&mut self, cx: &mut Cx<Self>) {
        self.rounds += 1;
        self.last_round = self.context.clock.now();
        self.timer = None;
        self.again = false;
        self.last_error = None;
        let rooms = self.context.directory.rooms();
        let asked: Vec<_> = counts_anchors(&rooms).cloned().collect();
        match self.presence.clone().filter(|_| !asked.is_empty()) {
            Some(presence) => {
                let directory = self.context.directory.clone();
                cx.run(count(presence, directory, asked), Msg::Counted);
            }
            None => self.decide(&BTreeMap::new(), cx),
        }
    }

    fn decide(&mut self, anchors: &BTreeMap<RoomId, usize>, cx: &mut Cx<Self>) {
        let directory = &self.context.directory;
        // Before the first list, every key would look orphaned.
        if directory.is_listed() {
            let now = self.context.clock.now();
            self.context.metrics.set_invalid_keys(directory.invalid_keys().len());
            let (rooms, modules) = (directory.rooms(), directory.modules());
            let round = |ages: &mut Ages| self.housekeeping.round(&rooms, &modules, ages, anchors, now);
            self.due = self.ages.clone().with(round).into();
        }
        self.compact(cx);
        self.prune(cx);
        self.next(cx);
    }

    /// Compacts the part of the store's history that no watch needs any more.
    fn compact(&mut self, cx: &mut Cx<Self>) {
        let Some(newest) = self.context.directory.newest_revision() else { return };
        if let Some(revision) = self.compaction.due(newest, self.context.clock.now()) {
            let store = self.context.store.clone();
            cx.run(async move { store.compact(revision).await }, Msg::Compacted);
        }
    }

    /// Deletes the events of the ledger whose retention has passed.
    fn prune(&self, cx: &mut Cx<Self>) {
        let (service, retention) = (self.service.clone(), self.context.config.events.retention);
        cx.run(async move { service.prune_events(retention).await }, Msg::Pruned);
    }

    /// Starts the next action, one at a time to limit the load on the store.
    fn next(&mut self, cx: &mut Cx<Self>) {
        let Some(due) = self.due.pop_front() else { return self.rest(cx) };
        self.timer = None;
        let (service, context) = (self.service.clone(), self.context.clone());
        let act = async move {
            let outcome = act(&service, &context, &due).await;
            (due, outcome)
        };
        cx.run(act, |(due, outcome)| Msg::Acted(due, outcome));
    }

    fn rest(&mut self, cx: &mut Cx<Self>) {
        let interval = self.context.config.rooms.housekeeping_interval;
        let soon = self.last_round + BETWEEN;
        let due = self.housekeeping.next_due().map(|due| due.max(soon));
        let regular = if self.again { soon } else { self.last_round + interval };
        let next = due.map_or(regular, |due| due.min(regular));
        self.timer = Some(cx.after(next.saturating_sub(self.context.clock.now()), Msg::Round));
    }

    fn acted(&mut self, due: HousekeepingTask, outcome: Result<bool, RoomError>) {
        let (room, action, reason) = (&due.room, due.action.as_str(), &due.reason);
        match outcome {
            Ok(true) => {
                tracing::info!(%room, action, reason, "housekeeping action done");
                self.context.metrics.housekeeping_done(action);
                self.done.truncate(SHOWN - 1);
                self.done.push_front(TaskResult { at: self.context.clock.wall(), due });
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%room, action, %error, "housekeeping action failed");
                self.last_error = Some(format!("{room}, {action}: {error}"));
            }
        }
    }

    /// Brings the next round forward.
    fn hurry(&mut self, cx: &mut Cx<Self>) {
        self.again = true;
        // A timer exists only between two rounds.
        if self.timer.is_some() {
            self.rest(cx);
        }
    }
}

/// Counts the anchors in each room. Leaves out users who are no longer allowed to speak, because presence can
/// list them for some time.
async fn count(
    presence: Arc<dyn Presence>,
    directory: Arc<Directory>,
    rooms: Vec<RoomId>,
) -> BTreeMap<RoomId, usize> {
    let counts = futures::stream::iter(rooms).map(|room| {
        let (presence, view) = (presence.clone(), directory.room(&room));
        async move {
            let members = presence.list(&room).await.ok()?;
            let off_stage = |user: &UserId| view.as_ref().is_some_and(|view| view.is_off_stage(user));
            let count = members.iter().filter(|member| !off_stage(&member.user_id)).count();
            Some((room, count))
        }
    });
    let counts = counts.buffer_unordered(COUNTED_AT_ONCE).take_until(tokio::time::sleep(COUNTED_WITHIN));
    counts.filter_map(std::future::ready).collect().await
}

async fn act(service: &RoomService, context: &Context, due: &HousekeepingTask) -> Result<bool, RoomError> {
    let room = &due.room;
    match &due.action {
        HousekeepingAction::Expire(expiry) => service.expire(room, &due.view, *expiry).await,
        HousekeepingAction::FinishRemoval => {
            service.finish_removal(room, due.clock).await.map(|removal| removal == Removal::Done)
        }
        HousekeepingAction::EndStray => service.delete(room).await.map(|_| true),
        HousekeepingAction::RemoveOrphans(left) => match context.directory.room(room) {
            Some(view) => service.remove_orphans(room, &view, left).await,
            None => Ok(false),
        },
        HousekeepingAction::EndKick(user) => service.end_kick(room, user).await,
    }
}

impl Behaviour for Housekeeper {
    const KIND: &'static str = "housekeeper";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let me = cx.me();
        // The wake-up fails only if this actor is gone; then no wake-up is needed.
        self.dirty = Some(self.context.subscribe(move || {
            let _ = me.tell_latest("state_changed", Msg::StateChanged);
        }));
        self.round(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Round => self.round(cx),
            Msg::StateChanged => {
                let changes = self.dirty.as_ref().map(DirtySet::take).unwrap_or_default();
                let directory = &self.context.directory;
                let is_timed = |room: &RoomId| directory.room(room).is_some_and(|view| is_timed(&view));
                if changes.relisted || changes.modules || changes.rooms.iter().any(is_timed) {
                    self.hurry(cx);
                }
            }
            Msg::Counted(anchors) => self.decide(&anchors, cx),
            Msg::Acted(due, outcome) => {
                self.acted(due, outcome);
                self.next(cx);
            }
            Msg::Compacted(Ok(())) => {}
            Msg::Compacted(Err(error)) => {
                tracing::warn!(%error, "store compaction failed; next attempt in a minute");
            }
            Msg::Pruned(Ok(count)) => {
                if count > 0 {
                    tracing::info!(count, "expired events deleted");
                }
            }
            Msg::Pruned(Err(error)) => {
                tracing::warn!(%error, "expired events were not deleted; retry in the next round");
            }
        }
    }

    fn observe(&self) -> ActorState {
        let done = self.done.iter().map(|TaskResult { at, due }| {
            json!({ "at": at, "room": due.room, "action": due.action.as_str(), "reason": due.reason })
        });
        let odd = self.context.directory.invalid_keys();
        let odd = odd.iter().take(SHOWN).map(|(key, what)| json!({ "key": key, "what": what }));
        ActorState {
            observed: json!({
                "rounds": self.rounds,
                "done": done.collect::<Vec<_>>(),
                "invalidKeys": odd.collect::<Vec<_>>(),
            }),
            reason: self.last_error.clone(),
            ..ActorState::state(if self.due.is_empty() { "resting" } else { "working" })
        }
    }
}

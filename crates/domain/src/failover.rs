//! Failover: decides which open rooms get another Janus instance or mixer, and why.
//!
//! ```text
//!            heartbeat gone      grace over, store steady
//!  present ─────────────────▶ absent ─────────────────────▶ its rooms move, if another module takes them
//!     ▲                         │
//!     └─── back within grace ───┘   many at once: only when the store has been steady for `settle`
//! ```
//!
//! Only the lost module is replaced. The room keeps its other module, under the new epoch. Rooms also leave a
//! module with the cordon label `unready`, `draining` or `drained`, and a module that is present but
//! unhealthy. A room also leaves a mixer that gave the room up, because FFmpeg crashed repeatedly or no audio
//! arrived.
//!
//! After a store outage, every heartbeat may be missing although every module works. Therefore an absence
//! counts only while this node follows the store and the store has been steady for a while. If many modules
//! vanish together, their rooms do not move immediately.
//!
//! Owns the observed absences and these rules. Never writes.

mod eviction;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::handover::{StaleKeys, outgoing_mixer};
use super::ids::{Epoch, ModuleId, Nonce, RoomId};
use super::keys::{ModuleKind, ModulePart};
use super::model::{Health, LiveMeta, LiveStatus, Mark, MarkLabel};
use super::placement::{Load, ModuleChoice, Placement, assigned, load_on, pick_if};
use super::view::{ModuleView, Modules, RoomView, Rooms, StoredValue};

pub use eviction::{Cause, Eviction};

/// Waiting times before rooms leave a module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailoverTimers {
    /// Time to wait for a module without a heartbeat to come back.
    pub grace: Duration,
    /// Time to wait for a module that is present but unhealthy; a managed Janus is back within a second.
    pub unhealthy: Duration,
    /// Time to wait for all modules to register again, after the store was disturbed or many modules vanished
    /// together.
    pub settle: Duration,
    /// Time span within which absences count as simultaneous.
    pub together: Duration,
}

/// Largest fraction of the modules of one kind that may vanish together without a wait for `settle`.
const FEW: f64 = 0.3;
/// Time for which a room avoids a mixer that gave it up, if there is another mixer.
const FORGIVEN_AFTER: Duration = Duration::from_secs(300);
/// Maximum number of moves of a room in one broadcast because its mix is silent although somebody speaks: one
/// for a fault of the mixer, one for a fault of Janus. The speech may be false, so more would only disturb.
/// A new leader counts again.
const MOST_UNHEARD_MOVES: usize = 2;
/// Longest time until the next check after a move, while a room cannot move, or while the store is
/// unavailable.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// New assignment of a room. Valid only while the room's key `livemeta` has the revision `live_revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomMove {
    pub room: RoomId,
    pub live_revision: i64,
    pub to: Placement,
    /// Modules that the room leaves: one or two.
    pub leaves: Vec<Eviction>,
}

/// Moves to make now, and the reasons why other moves must wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailoverPlan {
    pub moves: Vec<RoomMove>,
    /// Modules with the label `draining` that have no rooms left.
    pub drained: Vec<DrainedLabel>,
    /// Reasons why rooms do not move: the store is unavailable, a waiting time is not over, no module takes a
    /// room, or a key of the room cannot be read.
    pub waits: Vec<String>,
    /// Latest time of the next check (monotonic).
    pub until: Option<Duration>,
}

/// Cordon label to replace with `drained`, as it was read from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainedLabel {
    pub kind: ModuleKind,
    pub id: ModuleId,
    pub mark: StoredValue<Mark>,
}

type Key = (ModuleKind, ModuleId);

#[derive(Debug, Default)]
pub struct FailoverPolicy {
    patience: FailoverTimers,
    present: BTreeSet<Key>,
    absent: BTreeMap<Key, Duration>,
    unhealthy: BTreeMap<Key, Duration>,
    /// For each room: the mixers that gave it up, and the time at which each of them did so.
    given_up: BTreeMap<RoomId, BTreeMap<ModuleId, Duration>>,
    /// For each room: its broadcast, and the epochs in which it was given up although somebody spoke.
    unheard: BTreeMap<RoomId, (Nonce, BTreeSet<Epoch>)>,
    stale_keys: StaleKeys,
}

/// Reason why rooms leave a module, and the time from which they may leave it.
#[derive(Debug, Clone)]
struct EvictionRule {
    cause: Cause,
    from: Duration,
    waits_for: &'static str,
}

impl FailoverTimers {
    /// Creates the waiting times. `ttl`: lifetime of a heartbeat without renewal. A working module registers
    /// again within half of this lifetime.
    pub fn new(grace: Duration, ttl: Duration) -> Self {
        Self {
            grace,
            unhealthy: Duration::from_secs(2),
            settle: (ttl / 2).max(Duration::from_secs(1)),
            together: Duration::from_secs(3),
        }
    }
}

impl RoomMove {
    /// Returns true if only the mixer changes, and only because it is being drained. That mixer can continue
    /// until its successor produces.
    pub fn is_in_good_order(&self) -> bool {
        self.leaves.iter().all(Eviction::is_handover)
    }
}

impl FailoverPolicy {
    pub fn new(patience: FailoverTimers) -> Self {
        Self { patience, ..Self::default() }
    }

    /// Plans the moves from the newest views. `steady_since`: time from which this node has followed the
    /// store and received an answer to every request, without a break. `None`: the store is disturbed now.
    pub fn plan_moves(
        &mut self,
        rooms: &Rooms,
        modules: &Modules,
        load: [Load; 2],
        steady_since: Option<Duration>,
        now: Duration,
        random: impl FnMut() -> f64,
    ) -> FailoverPlan {
        // Without the store, a missing heartbeat does not show that a module is absent.
        if steady_since.is_some() {
            self.look(rooms, modules, now);
        }
        self.plan(rooms, modules, load, steady_since, now, random)
    }

    /// Updates presence, absence and health of the modules.
    fn look(&mut self, rooms: &Rooms, modules: &Modules, now: Duration) {
        let there = |(key, view): (&Key, &std::sync::Arc<ModuleView>)| {
            // A heartbeat that cannot be read is no reason to leave the module.
            let known = view.heartbeat.as_ref().filter(|_| !view.unreadable.contains(&ModulePart::Heartbeat));
            view.is_present().then(|| (key.clone(), known.map_or(Health::Healthy, |h| h.status)))
        };
        let there: BTreeMap<Key, Health> = modules.iter().filter_map(there).collect();
        let needed: BTreeSet<Key> = on_air(rooms).flat_map(|(_, _, live)| sides(live)).collect();
        self.absent.retain(|key, since| {
            let forgotten = !needed.contains(key) && *since + self.patience.settle < now;
            !there.contains_key(key) && !forgotten
        });
        for key in self.present.iter().chain(&needed).filter(|key| !there.contains_key(*key)) {
            self.absent.entry(key.clone()).or_insert(now);
        }
        self.unhealthy.retain(|key, _| there.get(key) == Some(&Health::Unhealthy));
        for (key, _) in there.iter().filter(|(_, status)| **status == Health::Unhealthy) {
            self.unhealthy.entry(key.clone()).or_insert(now);
        }
        self.present = there.into_keys().collect();
        self.note_given_up(rooms, now);
        self.stale_keys.look(rooms, now);
    }

    fn note_given_up(&mut self, rooms: &Rooms, now: Duration) {
        for mixers in self.given_up.values_mut() {
            mixers.retain(|_, at| now.saturating_sub(*at) < FORGIVEN_AFTER);
        }
        self.given_up.retain(|room, mixers| rooms.contains_key(room) && !mixers.is_empty());
        self.unheard.retain(|room, (nonce, _)| {
            let live = rooms.get(room).and_then(|view| view.live.as_ref());
            live.is_some_and(|live| live.nonce == *nonce)
        });
        for (room, view, live) in on_air(rooms) {
            if self.blames_mixer(view, live) {
                self.given_up.entry(room.clone()).or_default().insert(live.mixer_id.clone(), now);
                if is_unheard(view) {
                    let new = || (live.nonce.clone(), BTreeSet::new());
                    self.unheard.entry(room.clone()).or_insert_with(new).1.insert(live.epoch);
                }
            }
        }
    }

    /// Plans the moves. `load` is the current number of rooms on each module.
    fn plan(
        &self,
        rooms: &Rooms,
        modules: &Modules,
        load: [Load; 2],
        steady_since: Option<Duration>,
        now: Duration,
        mut random: impl FnMut() -> f64,
    ) -> FailoverPlan {
        let mut verdict = FailoverPlan::default();
        let Some(steady_since) = steady_since else {
            verdict.waits.push("the store is unavailable: modules that seem lost may work".into());
            verdict.until = Some(now + LOOK_AGAIN);
            return verdict;
        };
        verdict.drained = drained(rooms, modules, &load);
        let against = self.against(modules, steady_since);
        let (mut placing, mut waiting) = (PlacementRound { me: self, modules, load }, BTreeMap::new());
        for (room, view, live) in on_air(rooms) {
            let mut due = self.departures(room, view, live, &against, now, &mut waiting);
            if self.stale_keys.must_wait(room, now) && due.extract_if(.., |d| d.is_handover()).count() > 0 {
                verdict.waits.push(format!("{room}: leaves its mixer after that mixer has written its key"));
            }
            if due.is_empty() {
                continue;
            }
            let (random, mut stuck) = ([random(), random()], Vec::new());
            for choice in self.choices(room, live, due) {
                let (to, leaves, refused) = placing.place(room, live, choice, random);
                if !leaves.is_empty() {
                    let live_revision = view.live.as_ref().map_or(0, |l| l.mod_revision);
                    verdict.moves.push(RoomMove { room: room.clone(), live_revision, to, leaves });
                    stuck = refused;
                    break;
                }
                if stuck.is_empty() {
                    stuck = refused;
                }
            }
            verdict.waits.extend(stuck.into_iter().map(|why| format!("{room}: {why}")));
        }
        verdict.waits.extend(rooms.iter().filter_map(|(room, view)| {
            let key = view.unreadable_part()?.as_str();
            Some(format!("{room}: stays where it is, its key {key} cannot be read"))
        }));
        let again = (!verdict.waits.is_empty() || !verdict.moves.is_empty()).then_some(now + LOOK_AGAIN);
        verdict.until = waiting.keys().filter_map(|key| Some(against.get(key)?.from)).chain(again).min();
        verdict.waits.extend(waiting.iter().filter_map(|(key, rooms)| {
            let EvictionRule { cause, waits_for, .. } = against.get(key)?;
            Some(format!("{} {} {cause}: {rooms} rooms wait {waits_for}", key.0.as_str(), key.1))
        }));
        verdict
    }

    /// Returns the modules that the room leaves now. For each module that the room leaves later, increments
    /// the module's count in `waiting`.
    fn departures(
        &self,
        room: &RoomId,
        view: &RoomView,
        live: &LiveMeta,
        against: &BTreeMap<Key, EvictionRule>,
        now: Duration,
        waiting: &mut BTreeMap<Key, usize>,
    ) -> Vec<Eviction> {
        let mut due = Vec::new();
        for (kind, from) in sides(live) {
            let key = (kind, from.clone());
            match against.get(&key) {
                Some(a) if a.from <= now => due.push(Eviction { kind, from, cause: a.cause }),
                Some(_) => *waiting.entry(key).or_default() += 1,
                None if kind == ModuleKind::Mixer
                    && self.blames_mixer(view, live)
                    && !(is_unheard(view) && self.moved_enough(room)) =>
                {
                    let cause = if is_starved(view) { Cause::Silent } else { Cause::GaveUp };
                    due.push(Eviction { kind, from, cause });
                }
                None => {}
            }
        }
        due
    }

    /// Returns true if the mixer gave the room up and may itself be at fault. The mixer is not at fault if
    /// nothing arrives because Janus is lost.
    fn blames_mixer(&self, view: &RoomView, live: &LiveMeta) -> bool {
        let janus = (ModuleKind::Janus, live.janus_id.clone());
        let lost = self.absent.contains_key(&janus) || self.unhealthy.contains_key(&janus);
        has_given_up(view, live) && !(lost && is_starved(view))
    }

    /// Returns true if the room has made its [`MOST_UNHEARD_MOVES`] in this broadcast.
    fn moved_enough(&self, room: &RoomId) -> bool {
        self.unheard.get(room).is_some_and(|(_, epochs)| epochs.len() > MOST_UNHEARD_MOVES)
    }

    /// Returns alternative moves, the preferred one first. For a silent room, either module may be at fault:
    /// the room leaves its mixer, or its Janus if another mixer has also given the room up or no other mixer
    /// takes the room. If a room must leave both its Janus and a mixer that is being drained, it leaves Janus
    /// first, because only a move of the mixer alone is a handover.
    fn choices(&self, room: &RoomId, live: &LiveMeta, due: Vec<Eviction>) -> Vec<Vec<Eviction>> {
        if due.len() > 1 && due.iter().any(Eviction::is_handover) {
            let (handovers, others) = due.into_iter().partition(Eviction::is_handover);
            return vec![others, handovers];
        }
        if !matches!(due[..], [Eviction { cause: Cause::Silent, .. }]) {
            return vec![due];
        }
        let (kind, from, cause) = (ModuleKind::Janus, live.janus_id.clone(), Cause::Silent);
        let mut choices = vec![due, vec![Eviction { kind, from, cause }]];
        let others = |by: &BTreeMap<ModuleId, Duration>| by.keys().any(|mixer| *mixer != live.mixer_id);
        if self.given_up.get(room).is_some_and(others) {
            choices.reverse();
        }
        choices
    }

    /// Returns every module that rooms have to leave, now or later, with its rule.
    fn against(&self, modules: &Modules, steady_since: Duration) -> BTreeMap<Key, EvictionRule> {
        let mut against: BTreeMap<Key, EvictionRule> = BTreeMap::new();
        for (key, since) in &self.absent {
            let (from, waits_for) = self.absence(key.0, *since, steady_since);
            against.insert(key.clone(), EvictionRule { cause: Cause::Vanished, from, waits_for });
        }
        for (key, since) in &self.unhealthy {
            let from = *since + self.patience.unhealthy;
            let waits_for = "in case it works again";
            against.insert(key.clone(), EvictionRule { cause: Cause::Unhealthy, from, waits_for });
        }
        for (key, view) in modules {
            let label = view.mark.as_ref().map(|m| m.label).filter(|label| sends_away(*label));
            if let (Some(label), true) = (label, view.is_present()) {
                let now = EvictionRule { cause: Cause::Marked(label), from: Duration::ZERO, waits_for: "" };
                against.insert(key.clone(), now);
            }
        }
        against
    }

    /// Returns the time at which an absence that began at `since` counts as a loss, and the reason to wait
    /// until then.
    fn absence(&self, kind: ModuleKind, since: Duration, steady_since: Duration) -> (Duration, &'static str) {
        let FailoverTimers { grace, settle, together, .. } = self.patience;
        let of_kind = || self.absent.iter().filter(|((k, _), _)| *k == kind).map(|(_, at)| *at);
        let group: Vec<_> = of_kind().filter(|at| at.abs_diff(since) <= together).collect();
        let all = of_kind().count() + self.present.iter().filter(|(k, _)| *k == kind).count();
        let many = group.len() > 1 && group.len() as f64 > FEW * all as f64;
        let steady = steady_since + settle;
        match group.into_iter().max().filter(|_| many) {
            Some(last) => {
                ((last + settle).max(steady), "until the store has been steady: many vanished at once")
            }
            None if since + grace >= steady => (since + grace, "in case it comes back"),
            None => (steady, "until the store has been steady for a while"),
        }
    }
}

struct PlacementRound<'a> {
    me: &'a FailoverPolicy,
    modules: &'a Modules,
    load: [Load; 2],
}

impl PlacementRound<'_> {
    /// Returns the new placement, the evictions from `due` for which another module takes the room, and the
    /// reasons why the others are not possible.
    fn place(
        &mut self,
        room: &RoomId,
        live: &LiveMeta,
        due: Vec<Eviction>,
        random: [f64; 2],
    ) -> (Placement, Vec<Eviction>, Vec<String>) {
        let reasons = *live.placement_reasons.clone();
        let mut to = Placement { janus_id: live.janus_id.clone(), mixer_id: live.mixer_id.clone(), reasons };
        let (mut leaves, mut stuck) = (Vec::new(), Vec::new());
        for leaving in due {
            match self.pick(room, &leaving, random) {
                Ok(ModuleChoice { id, reason }) => {
                    *self.load[leaving.kind as usize].entry(id.clone()).or_default() += 1;
                    *to.reasons.of_mut(leaving.kind) = Some(format!("{leaving}; {reason}"));
                    match leaving.kind {
                        ModuleKind::Janus => to.janus_id = id,
                        ModuleKind::Mixer => to.mixer_id = id,
                    }
                    leaves.push(leaving);
                }
                Err(why) => stuck.push(why),
            }
        }
        (to, leaves, stuck)
    }

    /// Returns a module for the room, never the current one. Prefers mixers that have not given up the room.
    /// If the current mixer gave up or is silent, a mixer that has given up the room is never chosen.
    ///
    /// # Errors
    /// No module takes the room; the text says why.
    fn pick(&self, room: &RoomId, leaving: &Eviction, random: [f64; 2]) -> Result<ModuleChoice, String> {
        let Eviction { kind, from, cause } = leaving;
        let given_up = self.me.given_up.get(room).filter(|_| *kind == ModuleKind::Mixer);
        let tried = |id: &ModuleId| given_up.is_some_and(|by| by.contains_key(id));
        let pick = |may: &dyn Fn(&ModuleId) -> bool| {
            pick_if(*kind, self.modules, &self.load[*kind as usize], random, |id| id != from && may(id))
        };
        let fresh = pick(&|id| !tried(id));
        let last = matches!(cause, Cause::GaveUp | Cause::Silent);
        let taken = if last { fresh } else { fresh.or_else(|_| pick(&|_| true)) };
        let kind = kind.as_str();
        taken.map_err(|no| format!("{kind} {from} {cause}, and no {kind} takes the room: {no}"))
    }
}

fn sends_away(label: MarkLabel) -> bool {
    match label {
        MarkLabel::Unready | MarkLabel::Draining | MarkLabel::Drained => true,
        MarkLabel::Ready | MarkLabel::Cordon => false,
    }
}

/// Returns the modules with the label `draining` that have no assigned room and are not named in any room
/// key.
fn drained(rooms: &Rooms, modules: &Modules, load: &[Load; 2]) -> Vec<DrainedLabel> {
    let holds = |kind, id: &ModuleId| {
        let held = |view: &RoomView| match kind {
            ModuleKind::Janus => view.janus.as_ref().is_some_and(|key| key.id == *id),
            ModuleKind::Mixer => {
                let heard = outgoing_mixer(view).is_some_and(|handover| handover.mixer_id == *id);
                heard || view.mixer.as_ref().is_some_and(|key| key.id == *id)
            }
        };
        load_on(&load[kind as usize], id) > 0 || rooms.values().any(|view| held(view))
    };
    let marked = modules.iter().filter_map(|((kind, id), view)| {
        let mark = view.mark.clone().filter(|_| !view.unreadable.contains(&ModulePart::Mark))?;
        let mark = Some(mark).filter(|mark| mark.label == MarkLabel::Draining)?;
        (!holds(*kind, id)).then(|| DrainedLabel { kind: *kind, id: id.clone(), mark })
    });
    marked.collect()
}

/// Returns the rooms that may be moved. A room with an unreadable key is excluded, because its state is
/// uncertain.
fn on_air(rooms: &Rooms) -> impl Iterator<Item = (&RoomId, &RoomView, &LiveMeta)> {
    rooms.iter().filter_map(|(room, view)| {
        let readable = view.unreadable_part().is_none() && view.meta.is_some();
        let live = view.live.as_ref().filter(|l| l.status != LiveStatus::Removing && readable)?;
        Some((room, view.as_ref(), &live.value))
    })
}

fn sides(live: &LiveMeta) -> [Key; 2] {
    ModuleKind::ALL.map(|kind| (kind, assigned(kind, live).clone()))
}

/// Returns true if the mixer gave the room up. Only the key of the current mixer and epoch counts.
fn has_given_up(view: &RoomView, live: &LiveMeta) -> bool {
    let mixer = view.mixer.as_ref().filter(|m| m.epoch == live.epoch && m.id == live.mixer_id);
    mixer.is_some_and(|m| m.gave_up)
}

/// Returns true if the mixer's latest starvation was a silence although somebody spoke.
fn is_unheard(view: &RoomView) -> bool {
    view.mixer.as_ref().is_some_and(|mixer| mixer.unheard)
}

/// Returns true if the mixer gave up because nothing arrives, or only silence.
fn is_starved(view: &RoomView) -> bool {
    view.mixer.as_ref().is_some_and(|mixer| mixer.starved > 0)
}

#[cfg(test)]
#[path = "failover_tests.rs"]
mod tests;

//! Housekeeping: removal of rooms and keys that no other part of the system removes.
//!
//! A room that was never started is deleted. A broadcast that lasts too long or has no anchors is ended, and
//! so is a backstage that lasts too long. An overdue removal is forced, keys without a room or an owner are
//! deleted, and kicks are lifted when they are over. Unknown keys and unreadable values are never touched,
//! because a newer node may have written them.
//!
//! Owns these rules, and the times from which rooms have had invalid keys, no anchors or kicked users. Never
//! writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::ages::Ages;
use super::ids::{ModuleId, RoomId, UnixMs, UserId};
use super::keys::{ModuleKind, RoomPart};
use super::room::{
    Cleanup, Expiry, ExpiryLimits, RoomStatus, cleanup, empty_timeout, expiry, max_duration, status,
    time_left,
};
use super::users::KICK;
use super::view::{Modules, RoomView, Rooms};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HousekeepingAction {
    Expire(Expiry),
    /// The modules of a stopped room have deleted their keys, or their grace period is over.
    FinishRemoval,
    /// The room is on air or backstage but has no meta key.
    EndStray,
    /// The room has no livemeta, and the owners of these keys are gone.
    RemoveOrphans(OrphanedKeys),
    /// The kick of a user is over.
    EndKick(UserId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanedKeys {
    pub parts: Vec<RoomPart>,
    /// True if all user keys are to be deleted, because the room does not exist.
    pub users: bool,
}

/// Task for one room, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HousekeepingTask {
    pub room: RoomId,
    pub action: HousekeepingAction,
    /// View from which the task was decided; `clock` is the result of [`Ages::clock`].
    pub view: Arc<RoomView>,
    pub clock: UnixMs,
    pub reason: String,
}

#[derive(Debug)]
pub struct HousekeepingPolicy {
    limits: ExpiryLimits,
    /// Time for which keys may be invalid before they are removed, in case they become valid again.
    grace: Duration,
    odd_since: BTreeMap<RoomId, Duration>,
    /// For each room on air without anchors: time of the round that first found it empty.
    empty_since: BTreeMap<RoomId, Duration>,
    /// For each kicked user and the revision of the user's record: time of the round that first saw the kick.
    /// The duration of the kick is measured from that time and not by wall clocks. A wrong wall clock could
    /// end the kick before all nodes have seen it.
    kicked_since: BTreeMap<(RoomId, UserId, i64), Duration>,
    /// Time at which the next room will be due, as of the last round.
    next_due: Option<Duration>,
}

impl HousekeepingAction {
    /// Returns the metric label, one of a small fixed set.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Expire(Expiry::NeverStarted) => "never_started",
            Self::Expire(Expiry::TooOld) => "max_age",
            Self::Expire(Expiry::Empty) => "empty",
            Self::FinishRemoval => "finish_removal",
            Self::EndStray => "end_stray",
            Self::RemoveOrphans(_) => "sweep",
            Self::EndKick(_) => "end_kick",
        }
    }
}

impl HousekeepingPolicy {
    /// Creates the policy. `grace` (`rooms.removing_grace`): time before invalid keys are removed, and before
    /// the removal of a stopped room is forced.
    pub fn new(limits: ExpiryLimits, grace: Duration) -> Self {
        Self {
            limits,
            grace,
            odd_since: BTreeMap::new(),
            empty_since: BTreeMap::new(),
            kicked_since: BTreeMap::new(),
            next_due: None,
        }
    }

    /// Returns the time at which the next room will be due, as of the last round.
    pub fn next_due(&self) -> Option<Duration> {
        self.next_due
    }

    /// Plans one round: returns its tasks, and updates [`next_due`](Self::next_due). `ages`: ages of the
    /// rooms as this node has measured them, also before this node became the leader. `anchors`: number of
    /// anchors in each room that [`counts_anchors`] selects, without the rooms for which presence did not
    /// answer. `now` is monotonic.
    pub fn round(
        &mut self,
        rooms: &Rooms,
        modules: &Modules,
        ages: &mut Ages,
        anchors: &BTreeMap<RoomId, usize>,
        now: Duration,
    ) -> Vec<HousekeepingTask> {
        let mut due = Vec::new();
        let (mut odd, mut kicked) = (BTreeMap::new(), BTreeMap::new());
        ages.retain(rooms);
        self.next_due = None;
        // A room with an unknown number of anchors counts as one with anchors.
        self.empty_since.retain(|room, _| anchors.get(room) == Some(&0));
        for (room, view) in rooms.iter().filter(|(_, view)| view.unreadable.is_empty()) {
            let clock = ages.clock(room, view, now, self.grace);
            let task = |(action, reason)| HousekeepingTask {
                room: room.clone(),
                action,
                view: view.clone(),
                clock,
                reason,
            };
            for (user, record) in view.kicked() {
                let key = (room.clone(), user.clone(), record.mod_revision);
                let over_at =
                    *kicked.entry(key.clone()).or_insert(*self.kicked_since.get(&key).unwrap_or(&now)) + KICK;
                match over_at <= now {
                    true => due.push(task((
                        HousekeepingAction::EndKick(user.clone()),
                        format!("{user} was kicked {KICK:?} ago"),
                    ))),
                    false => self.due_at(over_at),
                }
            }
            let empty = self.empty(room, view, anchors, now);
            if let Some(ordinary) = self.ordinary(view, clock).or(empty) {
                due.push(task(ordinary));
                continue;
            }
            if let Some(left) = time_left(view, clock, &self.limits) {
                self.due_at(now + left);
            }
            if let Some(odd_one) = out_of_order(view, modules) {
                let since = *self.odd_since.get(room).unwrap_or(&now);
                odd.insert(room.clone(), since);
                if since + self.grace <= now {
                    due.push(task(odd_one));
                }
            }
        }
        (self.odd_since, self.kicked_since) = (odd, kicked);
        due
    }

    /// Returns the action that ends the broadcast if no anchor has been in the room for its `emptyTimeout`,
    /// with the reason.
    fn empty(
        &mut self,
        room: &RoomId,
        view: &RoomView,
        anchors: &BTreeMap<RoomId, usize>,
        now: Duration,
    ) -> Option<(HousekeepingAction, String)> {
        let timeout = empty_timeout(view).filter(|_| anchors.get(room) == Some(&0));
        let Some(timeout) = timeout else {
            self.empty_since.remove(room);
            return None;
        };
        let over_at = *self.empty_since.entry(room.clone()).or_insert(now) + timeout;
        if over_at <= now {
            let reason = format!("no anchor was in it for {timeout:?}");
            return Some((HousekeepingAction::Expire(Expiry::Empty), reason));
        }
        self.due_at(over_at);
        None
    }

    fn due_at(&mut self, at: Duration) {
        self.next_due = Some(self.next_due.map_or(at, |next| next.min(at)));
    }

    fn ordinary(&self, view: &RoomView, clock: UnixMs) -> Option<(HousekeepingAction, String)> {
        if let Some(expiry) = expiry(view, clock, &self.limits) {
            let reason = match expiry {
                Expiry::NeverStarted => {
                    format!("it was not started within {:?}", self.limits.never_started_after)
                }
                Expiry::TooOld => {
                    let (state, limit) = match status(view) {
                        Some(RoomStatus::Backstage) => ("backstage", self.limits.max_age),
                        _ => ("on air", max_duration(view, &self.limits)),
                    };
                    format!("it has been {state} for longer than {limit:?}")
                }
                Expiry::Empty => "no anchor was in it for its emptyTimeout".into(),
            };
            return Some((HousekeepingAction::Expire(expiry), reason));
        }
        let finish = matches!(cleanup(view, clock), Cleanup::Remove(_));
        finish.then(|| {
            (HousekeepingAction::FinishRemoval, "the modules released it, or the grace period is over".into())
        })
    }
}

/// Returns the rooms whose anchors must be counted for [`HousekeepingPolicy::round`].
pub fn counts_anchors(rooms: &Rooms) -> impl Iterator<Item = &RoomId> {
    rooms.iter().filter(|(_, view)| empty_timeout(view).is_some()).map(|(room, _)| room)
}

/// Returns true if a change of the room may make a task due: the profile sets a time limit, or a user is
/// kicked.
pub fn is_timed(view: &RoomView) -> bool {
    let of_profile = view.meta.as_ref().is_some_and(|meta| {
        let profile = &meta.profile;
        profile.max_duration.is_some() || profile.empty_timeout.is_some()
    });
    of_profile || view.kicked().next().is_some()
}

/// Returns the cleanup of keys that were left by a manual write or by a process that died between two writes,
/// with the reason; `None` if there are no such keys.
fn out_of_order(view: &RoomView, modules: &Modules) -> Option<(HousekeepingAction, String)> {
    if view.live.is_some() {
        let stray = view.is_open() && view.meta.is_none();
        return stray
            .then(|| (HousekeepingAction::EndStray, "it is on air or backstage but has no meta".into()));
    }
    let alive = |kind, id: &ModuleId| modules.get(&(kind, id.clone())).is_some_and(|m| m.is_present());
    let mut parts = Vec::new();
    // A living owner removes its key itself, as its last step.
    if view.janus.as_ref().is_some_and(|janus| !alive(ModuleKind::Janus, &janus.id)) {
        parts.push(RoomPart::Janus);
    }
    if view.mixer.as_ref().is_some_and(|mixer| !alive(ModuleKind::Mixer, &mixer.id)) {
        parts.push(RoomPart::Mixer);
    }
    if view.sequence.is_some() && view.meta.is_none() {
        parts.push(RoomPart::Sequence);
    }
    let users = view.meta.is_none() && !view.users.is_empty();
    let names: Vec<_> = parts.iter().map(|part| part.as_str()).chain(users.then_some("users")).collect();
    if names.is_empty() {
        return None;
    }
    let reason = format!("{} orphaned: the room is not live, and the owner is gone", names.join(", "));
    Some((HousekeepingAction::RemoveOrphans(OrphanedKeys { parts, users }), reason))
}

#[cfg(test)]
#[path = "housekeeping_tests.rs"]
mod tests;

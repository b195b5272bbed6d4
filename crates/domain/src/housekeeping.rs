//! Housekeeping: removal of rooms and keys that no other part of the system removes.
//!
//! A room that was never started is deleted. A broadcast that lasts too long or has no anchors is ended. An
//! overdue removal is forced, and keys without a room or an owner are deleted. Unknown keys and unreadable
//! values are never touched, because a newer node may have written them.
//!
//! Owns these rules, and the time since which a room has had invalid keys. Never writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::ages::Ages;
use super::ids::{ModuleId, RoomId, UnixMs};
use super::keys::{ModuleKind, RoomPart};
use super::room::{Cleanup, Expiry, ExpiryLimits, cleanup, empty_timeout, expiry, max_duration, time_left};
use super::view::{Modules, RoomView, Rooms};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HousekeepingAction {
    Expire(Expiry),
    /// The modules of a stopped room have deleted their keys, or their grace period is over.
    FinishRemoval,
    /// The room is on air but has no meta key.
    EndStray,
    /// Keys whose room is not live and whose owner is gone.
    Sweep(OrphanedKeys),
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
    pub chore: HousekeepingAction,
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
            Self::Sweep(_) => "sweep",
        }
    }
}

impl HousekeepingPolicy {
    /// Creates the policy. `grace` (`rooms.removing_grace`): time before invalid keys are removed, and before
    /// the removal of a stopped room is forced.
    pub fn new(limits: ExpiryLimits, grace: Duration) -> Self {
        Self { limits, grace, odd_since: BTreeMap::new(), empty_since: BTreeMap::new(), next_due: None }
    }

    /// Returns the time at which the next room will be due, as of the last round.
    pub fn next_due(&self) -> Option<Duration> {
        self.next_due
    }

    /// Returns the tasks of one round. `ages`: the clocks of this node, which also ran before it became the
    /// leader. `anchors`: number of anchors in each room that [`counts_anchors`] selects; without the rooms
    /// for which presence did not answer. `now` is monotonic.
    pub fn round(
        &mut self,
        rooms: &Rooms,
        modules: &Modules,
        ages: &mut Ages,
        anchors: &BTreeMap<RoomId, usize>,
        now: Duration,
    ) -> Vec<HousekeepingTask> {
        let mut due = Vec::new();
        let mut odd = BTreeMap::new();
        ages.retain(rooms);
        self.next_due = None;
        // A room with an unknown number of anchors counts as one with anchors.
        self.empty_since.retain(|room, _| anchors.get(room) == Some(&0));
        for (room, view) in rooms.iter().filter(|(_, view)| view.unreadable.is_empty()) {
            let clock = ages.clock(room, view, now, self.grace);
            let task = |(chore, reason)| HousekeepingTask {
                room: room.clone(),
                chore,
                view: view.clone(),
                clock,
                reason,
            };
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
        self.odd_since = odd;
        due
    }

    /// Returns the task that ends the broadcast if no anchor has been in the room for its `emptyTimeout`.
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
                    format!("it has been on air for longer than {:?}", max_duration(view, &self.limits))
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

/// Returns true if the room's profile sets a time limit, so that a change of the room may make it due.
pub fn is_timed(view: &RoomView) -> bool {
    view.meta.as_ref().is_some_and(|meta| {
        let profile = &meta.profile;
        profile.max_duration.is_some() || profile.empty_timeout.is_some()
    })
}

/// Returns the cleanup of keys that were left by a manual write or by a process that died between two writes.
fn out_of_order(view: &RoomView, modules: &Modules) -> Option<(HousekeepingAction, String)> {
    if view.live.is_some() {
        let stray = view.is_open() && view.meta.is_none();
        return stray.then(|| (HousekeepingAction::EndStray, "it is on air but has no meta".into()));
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
    Some((HousekeepingAction::Sweep(OrphanedKeys { parts, users }), reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::parse_room;
    use crate::view::ModuleView;

    const GRACE: Duration = Duration::from_secs(60);
    const NOTHING: [&str; 0] = [];
    const META: &str = r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":0}"#;
    const REMOVING: &str = r#"{
        "status":"removing","mixerId":"m","janusId":"j","nonce":"n","createdAt":0,"discardAt":65000,"epoch":1
    }"#;
    const ON_AIR: &str =
        r#"{"status":"onair","mixerId":"m","janusId":"j","nonce":"n","createdAt":0,"epoch":1}"#;
    const JANUS: &str = r#"{"id":"j","janusRoomId":100000,"status":"room_created","timestamp":0,"epoch":1}"#;
    const USER: &str = r#"{"role":"anchor","createdAt":0}"#;
    const SEQUENCE: &str = r#"{"ceiling":1024,"discontinuity":64}"#;

    #[test]
    fn forgotten_rooms_are_deleted() {
        let mut house = House::with_limits(10);
        house.put("/rooms/idle/meta", META);
        house.put("/rooms/long/meta", META);
        house.put("/rooms/long/livemeta", ON_AIR);
        assert_eq!(house.round(100), NOTHING);
        assert_eq!(house.round(110), NOTHING);
        assert_eq!(house.round(111), ["idle never_started", "long max_age"]);
    }

    /// A change of leader loses the old leader's own state only, not the ages that other nodes have observed.
    #[test]
    fn new_leader_continues_ages() {
        let mut house = House::with_limits(10);
        house.put("/rooms/idle/meta", META);
        house.put("/rooms/long/meta", META);
        house.put("/rooms/long/livemeta", ON_AIR);
        assert_eq!(house.round(100), NOTHING);
        house.housekeeping = House::with_limits(10).housekeeping;
        assert_eq!(house.round(109), NOTHING);
        assert_eq!(house.round(111), ["idle never_started", "long max_age"]);
    }

    #[test]
    fn own_limit_replaces_max_age() {
        let mut house = House::with_limits(10);
        for (room, limit) in [("brief", 5), ("long", 20)] {
            let meta = META.replace(
                "\"createdAt\":0",
                &format!("\"createdAt\":0,\"profile\":{{\"maxDuration\":{limit}}}"),
            );
            house.put(&format!("/rooms/{room}/meta"), &meta);
            house.put(&format!("/rooms/{room}/livemeta"), ON_AIR);
        }
        assert_eq!(house.round(0), NOTHING);
        assert_eq!(house.next_due(), Some(5001));
        assert_eq!(house.round(6), ["brief max_age"]);
        assert_eq!(house.next_due(), Some(20_001));
        assert_eq!(house.round(21), ["brief max_age", "long max_age"]);
    }

    #[test]
    fn broadcast_without_anchors_ends() {
        let mut house = House::default();
        let meta = META.replace("\"createdAt\":0", r#""createdAt":0,"profile":{"emptyTimeout":30}"#);
        house.put("/rooms/tea/meta", &meta);
        assert_eq!(house.round(0), NOTHING);
        house.put("/rooms/tea/livemeta", ON_AIR);
        house.put("/rooms/any/meta", META);
        house.put("/rooms/any/livemeta", ON_AIR);
        let counted = |house: &House| counts_anchors(&house.rooms).map(RoomId::to_string).collect::<Vec<_>>();
        assert_eq!(counted(&house), ["tea"]);
        let anchors = |house: &mut House, tea: Option<usize>| {
            house.anchors = tea.map(|count| (RoomId::new("tea").unwrap(), count)).into_iter().collect();
        };
        anchors(&mut house, Some(0));
        assert_eq!(house.round(100), NOTHING);
        assert_eq!(house.next_due(), Some(130_000));
        anchors(&mut house, Some(1));
        assert_eq!(house.round(120), NOTHING, "somebody came");
        anchors(&mut house, Some(0));
        assert_eq!(house.round(125), NOTHING);
        anchors(&mut house, None);
        assert_eq!(house.round(156), NOTHING, "presence does not answer");
        anchors(&mut house, Some(0));
        assert_eq!(house.round(160), NOTHING);
        assert_eq!(house.round(189), NOTHING);
        assert_eq!(house.round(190), ["tea empty"]);
    }

    #[test]
    fn started_rooms_are_never_due() {
        let mut house = House::with_limits(10);
        house
            .put("/rooms/idle/meta", &META.replace("\"createdAt\":0", "\"createdAt\":0,\"lastStartedAt\":1"));
        house.round(0);
        assert_eq!((house.round(100), house.next_due()), (Vec::new(), None));
    }

    /// Expiry does not depend on the wall clocks of the nodes that wrote the time stamps.
    #[test]
    fn skewed_clocks_expire_nothing_early() {
        for skew in [0u64, 1, 5_000, 1_000_000_000_000, 4_000_000_000_000] {
            let mut house = House::with_limits(10);
            house.put("/rooms/idle/meta", &META.replace("\"createdAt\":0", &format!("\"createdAt\":{skew}")));
            house.put("/rooms/long/meta", META);
            house.put(
                "/rooms/long/livemeta",
                &ON_AIR.replace("\"createdAt\":0", &format!("\"createdAt\":{skew}")),
            );
            house.put("/rooms/gone/meta", META);
            house.put("/rooms/gone/livemeta", &REMOVING.replace("5000", &(skew + 60_000).to_string()));
            house.put("/rooms/gone/janus", JANUS);
            assert_eq!(house.round(50), NOTHING, "{skew}");
            assert_eq!(house.round(60), NOTHING, "{skew}");
            assert_eq!(house.round(61), ["idle never_started", "long max_age"], "{skew}");
            assert_eq!(house.round(110), ["gone finish_removal", "idle never_started", "long max_age"]);
        }
    }

    #[test]
    fn unreadable_rooms_are_left_alone() {
        let mut house = House::with_limits(10);
        house.put("/rooms/idle/meta", META);
        house.unreadable("/rooms/idle/sequence");
        house.put("/rooms/demo/livemeta", REMOVING);
        house.unreadable("/rooms/demo/meta");
        house.round(0);
        assert_eq!(house.round(100_000), NOTHING);
    }

    #[test]
    fn overdue_removal_is_forced() {
        let mut house = House::default();
        house.put("/rooms/demo/meta", META);
        house.put("/rooms/demo/livemeta", REMOVING);
        house.put("/rooms/demo/janus", JANUS);
        assert_eq!(house.round(10), NOTHING);
        assert_eq!(house.round(69), NOTHING);
        assert_eq!(house.round(70), ["demo finish_removal"]);
    }

    #[test]
    fn orphaned_keys_are_removed_after_grace() {
        let mut house = House::default();
        house.put("/rooms/ghost/sequence", SEQUENCE);
        house.put("/rooms/ghost/janus", JANUS);
        assert_eq!(house.round(10), NOTHING);
        assert_eq!(house.round(69), NOTHING);
        assert_eq!(house.round(70), ["ghost sweep [Janus, Sequence]"]);
    }

    #[test]
    fn users_without_room_are_removed() {
        let mut house = House::default();
        house.put("/rooms/ghost/users/ann", USER);
        house.put("/rooms/idle/meta", META);
        house.put("/rooms/idle/users/ann", USER);
        assert_eq!(house.round(10), NOTHING);
        assert_eq!(house.round(70), ["ghost sweep [] and users"]);
        house.unreadable("/rooms/ghost/meta");
        assert_eq!(house.round(500), NOTHING, "it may be a room after all");
    }

    #[test]
    fn keys_of_live_owners_are_kept() {
        let mut house = House::default();
        house.put("/rooms/idle/meta", META);
        house.put("/rooms/idle/janus", JANUS);
        house.owner("j");
        house.round(10);
        assert_eq!(house.round(1000), NOTHING);
        house.modules.clear();
        assert_eq!(house.round(1001), NOTHING, "its grace begins when its owner is gone");
        assert_eq!(house.round(1061), ["idle sweep [Janus]"]);
    }

    #[test]
    fn broadcast_without_meta_is_ended() {
        let mut house = House::default();
        house.put("/rooms/stray/livemeta", ON_AIR);
        house.put("/rooms/other/livemeta", ON_AIR);
        house.unreadable("/rooms/other/meta");
        house.round(0);
        assert_eq!(house.round(60), ["stray end_stray"]);
    }

    struct House {
        housekeeping: HousekeepingPolicy,
        ages: Ages,
        rooms: Rooms,
        modules: Modules,
        anchors: BTreeMap<RoomId, usize>,
    }

    impl Default for House {
        fn default() -> Self {
            Self::with_limits(1_000_000)
        }
    }

    impl House {
        /// Creates the policy with `seconds` as the largest age of rooms.
        fn with_limits(seconds: u64) -> Self {
            let age = Duration::from_secs(seconds);
            let limits = ExpiryLimits { never_started_after: age, max_age: age };
            let housekeeping = HousekeepingPolicy::new(limits, GRACE);
            let (rooms, modules, anchors) = (Rooms::new(), Modules::new(), BTreeMap::new());
            Self { housekeeping, ages: Ages::default(), rooms, modules, anchors }
        }

        fn put(&mut self, key: &str, json: &str) {
            let (room, part) = parse_room(key).unwrap();
            let view = Arc::make_mut(self.rooms.entry(room).or_default());
            view.apply(part, Some((json.as_bytes(), 1))).unwrap();
        }

        fn unreadable(&mut self, key: &str) {
            let (room, part) = parse_room(key).unwrap();
            let view = Arc::make_mut(self.rooms.entry(room).or_default());
            assert!(view.apply(part, Some((br#"{"status":"paused"}"#, 2))).is_err());
        }

        fn owner(&mut self, name: &str) {
            let json = r#"{
                "status":"healthy","host":"h","url":"u","capacity":1,"startedAt":1,
                "incarnation":"i","version":"0"
            }"#;
            let mut view = ModuleView::default();
            view.apply(super::super::keys::ModulePart::Heartbeat, Some((json.as_bytes(), 1))).unwrap();
            self.modules.insert((ModuleKind::Janus, ModuleId::new(name).unwrap()), Arc::new(view));
        }

        /// Returns the time of the next due room, in milliseconds.
        fn next_due(&self) -> Option<u128> {
            self.housekeeping.next_due().map(|at| at.as_millis())
        }

        /// Runs a round at `seconds` of the monotonic clock.
        fn round(&mut self, seconds: u64) -> Vec<String> {
            let now = Duration::from_secs(seconds);
            let (rooms, modules) = (&self.rooms, &self.modules);
            let due = self.housekeeping.round(rooms, modules, &mut self.ages, &self.anchors, now);
            let say = |due: HousekeepingTask| match due.chore {
                HousekeepingAction::Sweep(OrphanedKeys { parts, users }) => {
                    format!("{} sweep {parts:?}{}", due.room, if users { " and users" } else { "" })
                }
                chore => format!("{} {}", due.room, chore.as_str()),
            };
            due.into_iter().map(say).collect()
        }
    }
}

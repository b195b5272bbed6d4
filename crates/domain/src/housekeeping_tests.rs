//! Tests of housekeeping: expired rooms, overdue removals, orphaned keys, and kicks.

use super::*;
use crate::keys::parse_room;
use crate::view::ModuleView;

const GRACE: Duration = Duration::from_secs(60);
const NOTHING: [&str; 0] = [];
const META: &str = r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":0}"#;
const REMOVING: &str = r#"{
    "status":"removing","mixerId":"m","janusId":"j","nonce":"n","createdAt":0,"discardAt":65000,"epoch":1
}"#;
const ON_AIR: &str = r#"{"status":"onair","mixerId":"m","janusId":"j","nonce":"n","createdAt":0,"epoch":1}"#;
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

/// A change of leader loses only the old leader's state, not the ages that other nodes have observed.
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
        let meta = META
            .replace("\"createdAt\":0", &format!("\"createdAt\":0,\"profile\":{{\"maxDuration\":{limit}}}"));
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
    assert_eq!(house.round(120), NOTHING, "an anchor has joined");
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
fn kick_ends_after_ten_seconds() {
    let mut house = House::default();
    house.put("/rooms/idle/meta", META);
    house.put("/rooms/idle/users/ann", r#"{"role":"anchor","createdAt":0,"removedAt":9}"#);
    assert!(!is_timed(&house.rooms[&RoomId::new("idle").unwrap()]));
    let kicked = r#"{"role":"anchor","createdAt":0,"removedAt":99999,"kicked":true}"#;
    house.put("/rooms/idle/users/bob", kicked);
    assert!(is_timed(&house.rooms[&RoomId::new("idle").unwrap()]));
    assert_eq!(house.round(100), NOTHING);
    assert_eq!(house.next_due(), Some(110_000));
    assert_eq!(house.round(109), NOTHING);
    assert_eq!(house.round(110), ["idle end_kick"]);
    assert_eq!(house.round(111), ["idle end_kick"], "until it is done");
    house.housekeeping = House::default().housekeeping;
    assert_eq!(house.round(112), NOTHING, "a new leader starts the count over");
}

#[test]
fn started_rooms_are_never_due() {
    let mut house = House::with_limits(10);
    house.put("/rooms/idle/meta", &META.replace("\"createdAt\":0", "\"createdAt\":0,\"lastStartedAt\":1"));
    house.round(0);
    assert_eq!((house.round(100), house.next_due()), (Vec::new(), None));
}

/// Expiry does not depend on the wall clocks of the nodes that wrote the timestamps.
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
    assert_eq!(house.round(70), ["ghost orphans [Janus, Sequence]"]);
}

#[test]
fn users_without_room_are_removed() {
    let mut house = House::default();
    house.put("/rooms/ghost/users/ann", USER);
    house.put("/rooms/idle/meta", META);
    house.put("/rooms/idle/users/ann", USER);
    assert_eq!(house.round(10), NOTHING);
    assert_eq!(house.round(70), ["ghost orphans [] and users"]);
    house.unreadable("/rooms/ghost/meta");
    assert_eq!(house.round(500), NOTHING, "the unreadable key may be a valid room");
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
    assert_eq!(house.round(1061), ["idle orphans [Janus]"]);
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
    /// Creates a house without rooms. `seconds` is the time within which a new room must start, and the
    /// maximum time on air or in the backstage.
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
        let say = |due: HousekeepingTask| match due.action {
            HousekeepingAction::RemoveOrphans(OrphanedKeys { parts, users }) => {
                format!("{} orphans {parts:?}{}", due.room, if users { " and users" } else { "" })
            }
            action => format!("{} {}", due.room, action.as_str()),
        };
        due.into_iter().map(say).collect()
    }
}

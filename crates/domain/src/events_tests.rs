//! Tests of the events that changes cause, of cursors, and of the retention.

use super::*;
use crate::ids::{Epoch, ModuleId, Nonce, Pin, UserId};
use crate::model::{EndReason, Meta, User, UserRole};
use crate::placement::Placement;
use crate::room::{Admission, admit_delete, admit_stop, assignment, cleanup, next_assignment};
use crate::room_lock::admit_lock;

const GRACE: Duration = Duration::from_secs(60);
const START: UnixMs = UnixMs(1_000_000);

/// Room to which writes are applied one after the other.
#[derive(Default)]
struct Room {
    view: RoomView,
    revision: i64,
}

impl Room {
    fn write(&mut self, write: RoomWrite, now: u64) -> Vec<(&'static str, Value)> {
        let events = of_write(&self.view, &write, UnixMs(now));
        self.revision += 1;
        self.view = write.applied_to(&self.view, self.revision);
        events.into_iter().map(|event| (event.kind.as_str(), event.data)).collect()
    }

    fn kinds(&mut self, write: RoomWrite) -> Vec<&'static str> {
        self.write(write, START.0).into_iter().map(|(kind, _)| kind).collect()
    }

    fn user(&mut self, id: &str, role: UserRole, removed_at: Option<UnixMs>) -> Vec<&'static str> {
        let user = Some(User { removed_at, ..User::invited(role, START) });
        let by = UserId::new("host").ok();
        self.kinds(RoomWrite::User { id: UserId::new(id).unwrap(), user, forgotten: None, by })
    }
}

fn accepted(admission: Admission<RoomWrite>) -> RoomWrite {
    match admission {
        Admission::Accepted(write) => write,
        Admission::AlreadyDone => panic!("not accepted"),
    }
}

fn placement(name: &str) -> Placement {
    let id = |kind: &str| ModuleId::new(&format!("{kind}-{name}")).unwrap();
    Placement { janus_id: id("j"), mixer_id: id("m"), reasons: Default::default() }
}

fn started(room: &Room) -> RoomWrite {
    let meta = room.view.meta.as_ref().map_or_else(meta, |meta| meta.value.clone());
    assignment(meta, placement("one"), Nonce("n".into()), START)
}

#[test]
fn life_of_room_is_reported() {
    let mut room = Room::default();
    assert_eq!(room.kinds(RoomWrite::Put { meta: Some(meta()), live: None }), ["room_created"]);
    let write = started(&room);
    assert_eq!(room.kinds(write), ["room_started"]);
    let moved = next_assignment(&room.view, placement("two"), false).unwrap();
    let moved = room.write(moved, START.0 + 1);
    assert_eq!(moved[0].0, "room_moved");
    assert_eq!((&moved[0].1["mixerId"], &moved[0].1["from"]["mixerId"]), (&json!("m-two"), &json!("m-one")));
    let write = accepted(admit_stop(&room.view, EndReason::MaxDuration, START, GRACE).unwrap());
    let ended = room.write(write, START.0 + 5000);
    let data =
        json!({ "reason": "max_duration", "startedAt": "1970-01-01T00:16:40.000Z", "durationMs": 5000 });
    assert_eq!(ended, [("room_ended", data)]);
    let write = match cleanup(&room.view, START) {
        crate::room::Cleanup::Remove(write) => write,
        other => panic!("{other:?}"),
    };
    assert_eq!(room.kinds(write), [""; 0]);
    let write = accepted(admit_delete(&room.view, START, GRACE).unwrap());
    assert_eq!(room.kinds(write), ["room_deleted"]);
}

#[test]
fn one_write_may_report_two_events() {
    let mut room = Room::default();
    let write = started(&room);
    assert_eq!(room.kinds(write), ["room_created", "room_started"]);
    let write = accepted(admit_delete(&room.view, START, GRACE).unwrap());
    let ended = room.write(write, START.0);
    assert_eq!((ended[0].0, &ended[0].1["reason"]), ("room_ended", &json!("deleted")));
    assert_eq!(room.kinds(RoomWrite::ClearAll), ["room_deleted"]);
    assert_eq!(room.kinds(RoomWrite::ClearAll), [""; 0], "there is no room any more");
}

#[test]
fn schedule_and_backstage_are_reported() {
    use crate::room::{admit_patch, admit_start, backstage};
    use crate::schedule::admit_miss;
    let mut room = Room::default();
    room.kinds(RoomWrite::Put { meta: Some(meta()), live: None });
    let patch = |room: &Room, starts_at: Value| {
        let patch = json!({ "startsAt": starts_at });
        accepted(admit_patch(&room.view, patch.as_object().unwrap(), START).unwrap())
    };
    let at = "1970-01-01T00:20:00.000Z";
    let write = patch(&room, json!(at));
    assert_eq!(room.write(write, START.0), [("room_scheduled", json!({ "startsAt": at }))]);
    let write = patch(&room, Value::Null);
    let unscheduled = |missed: bool| ("room_unscheduled", json!({ "startsAt": at, "missed": missed }));
    assert_eq!(room.write(write, START.0), [unscheduled(false)]);
    let write = patch(&room, json!(at));
    room.kinds(write);
    let late = UnixMs(1_200_000 + 15 * 60_000 + 1);
    let write = accepted(admit_miss(&room.view, late));
    assert_eq!(room.write(write, late.0), [unscheduled(true)]);
    let write = patch(&room, json!(at));
    room.kinds(write);
    let meta = room.view.meta.as_ref().unwrap().value.clone();
    let write = backstage(meta, placement("one"), Nonce("n".into()), START);
    assert_eq!(room.kinds(write), ["backstage_opened"]);
    let write = next_assignment(&room.view, placement("two"), false).unwrap();
    assert_eq!(room.kinds(write), ["room_moved"]);
    let closed = room.view.clone();
    let no_placement = || panic!("nothing to place");
    let write = accepted(admit_start(&room.view, no_placement, Nonce("n".into()), START).unwrap());
    let started = room.write(write, START.0);
    assert_eq!((started.len(), started[0].0), (1, "room_started"));
    room.view = closed;
    let write = accepted(admit_stop(&room.view, EndReason::Stopped, START, GRACE).unwrap());
    assert_eq!(room.write(write, START.0), [("backstage_closed", json!({ "reason": "stopped" }))]);
}

#[test]
fn users_are_reported_once() {
    let mut room = Room::default();
    room.kinds(RoomWrite::Put { meta: Some(meta()), live: None });
    assert_eq!(room.user("ann", UserRole::Anchor, None), ["anchor_invited"]);
    assert_eq!(room.user("ann", UserRole::Anchor, None), [""; 0]);
    assert_eq!(room.user("ann", UserRole::Host, None), ["anchor_invited"]);
    assert_eq!(room.user("ann", UserRole::Host, Some(START)), ["user_banned"]);
    assert_eq!(room.user("ann", UserRole::Host, Some(START)), [""; 0]);
    assert_eq!(room.user("ann", UserRole::Host, None), ["user_unbanned"]);
    assert_eq!(room.user("bob", UserRole::Anchor, Some(START)), ["user_banned"]);
    let (id, by) = (UserId::new("bob").unwrap(), UserId::new("ann").ok());
    let lifted = room.write(RoomWrite::User { id, user: None, forgotten: None, by }, START.0);
    assert_eq!(lifted, [("user_unbanned", json!({ "userId": "bob", "by": "ann" }))]);
}

#[test]
fn kicks_are_reported_without_their_end() {
    use crate::users::{BanOrder, admit_ban, admit_kick, admit_return};
    let mut room = Room::default();
    room.kinds(RoomWrite::Put { meta: Some(meta()), live: None });
    let order = BanOrder { user: UserId::new("ann").unwrap(), name: None, by: UserId::new("host").ok() };
    let write = accepted(admit_kick(&room.view, &order, START).unwrap());
    let data = json!({ "userId": "ann", "by": "host" });
    assert_eq!(room.write(write, START.0), [("user_kicked", data)]);
    let kicked = room.view.clone();
    let write = accepted(admit_return(&room.view, &order.user).unwrap());
    assert_eq!(room.kinds(write), [""; 0]);
    room.view = kicked;
    let write = accepted(admit_ban(&room.view, &order, START).unwrap());
    assert_eq!(room.kinds(write), ["user_banned"]);
}

#[test]
fn return_to_stage_is_reported() {
    use crate::roles::{ClaimedRole, RoleOrder, admit_role};
    let mut room = Room::default();
    room.kinds(RoomWrite::Put { meta: Some(meta()), live: None });
    room.user("ann", UserRole::Anchor, None);
    let to = ClaimedRole { user: UserId::new("ann").unwrap(), claimed: UserRole::Anchor };
    let order = RoleOrder::Assign { to, role: RoomRole::Listener, by: None };
    let write = accepted(admit_role(&room.view, &order, START).unwrap());
    let data = json!({ "userId": "ann", "role": "listener" });
    assert_eq!(room.write(write, START.0), [("role_changed", data)]);
    assert_eq!(room.user("ann", UserRole::Anchor, None), ["anchor_invited"]);
}

#[test]
fn lock_and_mute_are_reported() {
    let mut room = Room::default();
    room.kinds(RoomWrite::Put { meta: Some(meta()), live: None });
    let write = started(&room);
    room.kinds(write);
    let patch = |room: &Room, locked: bool| {
        let fields = serde_json::from_value(json!({ "locked": locked })).unwrap();
        crate::room::admit_patch(&room.view, &fields, UnixMs(0)).unwrap()
    };
    for (locked, kind) in [(true, "room_locked"), (false, "room_unlocked")] {
        let write = accepted(patch(&room, locked));
        assert_eq!(room.kinds(write), [kind]);
        assert_eq!(patch(&room, locked), Admission::AlreadyDone);
    }
    let by = UserId::new("ann").ok();
    for (locked, kind) in [(true, "room_locked"), (false, "room_unlocked")] {
        let lock = |room: &Room| admit_lock(&room.view, locked, by.clone()).unwrap();
        let write = accepted(lock(&room));
        assert_eq!(room.write(write, START.0), [(kind, json!({ "by": "ann" }))]);
        assert_eq!(lock(&room), Admission::AlreadyDone);
        assert_eq!(room.view.is_locked(), locked);
    }
    let write = accepted(crate::mute_all::admit_mute_all(&room.view, by, START).unwrap());
    assert_eq!(room.write(write, START.0), [("room_muted", json!({ "by": "ann" }))]);
}

#[test]
fn cursors_and_ids_read_back() {
    let cursor = Cursor { revision: 1234, index: 1 };
    assert_eq!(cursor.to_string().parse(), Ok(cursor));
    assert_eq!("0".parse(), Ok(Cursor::default()));
    for bad in ["", ".", "1.", ".1", "-1", "+1", "1.2.3", "1.999", "99999999999999999999", "a", " 1"] {
        assert_eq!(bad.parse::<Cursor>(), Err(InvalidCursor), "{bad}");
    }
    let id = EventId::new(u128::MAX - 5, 3);
    assert_eq!((EventId::parse(id.as_str()), id.index()), (Some(id.clone()), 3));
    for bad in ["", "evt_", "evt_1", &id.as_str()[..36], &id.as_str().replace('f', "g")] {
        assert_eq!(EventId::parse(bad), None, "{bad}");
    }
    for kind in EventType::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        assert_eq!(EventType::parse(kind.as_str()), Some(kind));
    }
}

#[test]
fn events_expire_oldest_first() {
    let now = UnixMs(100_000);
    let count = |times: &[u64]| expired(times.iter().map(|t| UnixMs(*t)), now, Duration::from_secs(50));
    assert_eq!(count(&[]), 0);
    assert_eq!(count(&[10_000, 49_999, 50_000, 99_000]), 2);
    assert_eq!(count(&[60_000, 10_000]), 0, "nothing is deleted before an event that stays");
    let many = vec![UnixMs(99_000); MOST_EVENTS + 3];
    assert_eq!(expired(many.into_iter(), now, Duration::from_secs(50)), 3);
}

fn meta() -> Meta {
    Meta {
        pin: Pin::new("abc123").unwrap(),
        max_anchors: 3,
        hls_path: "/x".into(),
        created_at: START,
        deleted_at: None,
        last_epoch: Epoch(0),
        last_started_at: None,
        last_end: None,
        api_key: None,
        profile: Default::default(),
    }
}

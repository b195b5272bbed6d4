//! Tests of the rules for roles: examples, and random histories of moderation.

use proptest::prelude::*;

use super::*;
use crate::ids::{Epoch, Pin};
use crate::model::Meta;
use crate::users::{BanOrder, admit_ban, admit_user};

const NOW: UnixMs = UnixMs(5000);
/// Users in the histories: two hosts and two anchors by the roles in their tokens.
const CAST: [(&str, UserRole); 4] = [
    ("hera", UserRole::Host),
    ("hugo", UserRole::Host),
    ("anna", UserRole::Anchor),
    ("bert", UserRole::Anchor),
];

#[test]
fn rights_follow_the_table() {
    use Action::{AssignRole, Ban, Moderate};
    use RoomRole::{Anchor, CoHost, Host, Listener};
    for (action, allowed) in [
        (Moderate, [true, true, false, false]),
        (Ban(None), [true, true, false, false]),
        (Ban(Some(Listener)), [true, true, false, false]),
        (Ban(Some(Anchor)), [true, true, false, false]),
        (Ban(Some(CoHost)), [true, false, false, false]),
        (Ban(Some(Host)), [true, false, false, false]),
        (AssignRole, [true, false, false, false]),
    ] {
        assert_eq!([Host, CoHost, Anchor, Listener].map(|role| role.may(action)), allowed, "{action:?}");
    }
    for role in [Host, CoHost, Anchor, Listener] {
        assert_eq!(serde_json::json!(role), role.as_str());
    }
}

#[test]
fn host_role_is_transferred_at_once() {
    let room = apply(&room(), &RoleOrder::Transfer { to: standing(2), by: standing(0) }).unwrap();
    assert_eq!(roles(&room), ["co_host", "host", "host", "anchor"]);
    let back = RoleOrder::Transfer { to: standing(2), by: standing(0) };
    assert_eq!(apply(&room, &back).err(), Some(RoleDenied::Forbidden), "she is no host any more");
    let to_host = apply(&room, &RoleOrder::Transfer { to: standing(1), by: standing(2) }).unwrap();
    assert_eq!(roles(&to_host), ["co_host", "host", "co_host", "anchor"]);
}

#[test]
fn new_invitation_replaces_assigned_role() {
    let by_app = |role| RoleOrder::Assign { to: standing(2), role, by: None };
    let room = apply(&invite(&room(), "anna", UserRole::Anchor), &by_app(RoomRole::CoHost)).unwrap();
    assert_eq!(roles(&room)[2], "co_host");
    assert_eq!(apply(&room, &by_app(RoomRole::CoHost)).unwrap(), room, "nothing to do");
    assert_eq!(
        roles(&invite(&room, "anna", UserRole::Anchor))[2],
        "co_host",
        "a fresh token of the same role"
    );
    let host = invite(&room, "anna", UserRole::Host);
    assert_eq!(in_force(&host.users, &id("anna"), UserRole::Host), RoomRole::Host);
    let unknown = apply(&super::super::view::RoomView::default(), &by_app(RoomRole::Host));
    assert_eq!(unknown.err(), Some(RoleDenied::NoSuchRoom));
}

/// Step of a history.
#[derive(Debug, Clone)]
enum Step {
    Assign(usize, usize, RoomRole),
    Transfer(usize, usize),
    Ban(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let user = || 0..CAST.len();
    let roles = vec![RoomRole::Host, RoomRole::CoHost, RoomRole::Anchor, RoomRole::Listener];
    let role = prop::sample::select(roles);
    prop_oneof![
        (user(), user(), role).prop_map(|(by, to, role)| Step::Assign(by, to, role)),
        (user(), user()).prop_map(|(by, to)| Step::Transfer(by, to)),
        (user(), user()).prop_map(|(by, to)| Step::Ban(by, to)),
    ]
}

proptest! {
    /// After any sequence of changes by users, the room has a host. Anchors change nothing.
    /// All that co-hosts can do is ban users who do not moderate.
    #[test]
    fn room_keeps_a_host(steps in prop::collection::vec(step(), 0..40)) {
        let mut room = room();
        for step in steps {
            let (by, to) = match step {
                Step::Assign(by, to, _) | Step::Transfer(by, to) | Step::Ban(by, to) => (by, to),
            };
            let (actor, target) = (role(&room, by), role(&room, to));
            let next = match step {
                Step::Assign(by, to, role) => {
                    apply(&room, &RoleOrder::Assign { to: standing(to), role, by: Some(standing(by)) }).ok()
                }
                Step::Transfer(by, to) => {
                    apply(&room, &RoleOrder::Transfer { to: standing(to), by: standing(by) }).ok()
                }
                Step::Ban(by, to) => {
                    // The callers of `admit_ban` check the same: the actor is not banned, and bans another
                    // user.
                    let may = by != to && !banned(&room, by) && actor.may(Action::Ban(Some(target)));
                    let order = BanOrder { user: id(CAST[to].0), name: None, by: None };
                    may.then(|| admitted(&room, admit_ban(&room, &order, NOW).unwrap()))
                }
            };
            let Some(next) = next else { continue };
            if next != room {
                prop_assert!(!banned(&room, by) && by != to);
                match actor {
                    RoomRole::Host => {}
                    RoomRole::CoHost => {
                        prop_assert!(!target.moderates() && banned(&next, to));
                    }
                    other => prop_assert!(false, "{other:?} changed the room"),
                }
            }
            room = next;
            let is_host = |n: usize| role(&room, n) == RoomRole::Host && !banned(&room, n);
            prop_assert!((0..CAST.len()).any(is_host));
        }
    }
}

fn room() -> RoomView {
    let meta = Meta {
        pin: Pin::new("abc123").unwrap(),
        max_anchors: 3,
        hls_path: "/h".into(),
        created_at: UnixMs(1),
        deleted_at: None,
        last_epoch: Epoch(0),
        last_started_at: None,
        last_end: None,
        api_key: None,
        profile: Default::default(),
    };
    RoomWrite::Put { meta: Some(meta), live: None }.applied_to(&RoomView::default(), 2)
}

fn apply(room: &RoomView, order: &RoleOrder) -> Result<RoomView, RoleDenied> {
    Ok(admitted(room, admit_role(room, order, NOW)?))
}

fn invite(room: &RoomView, user: &str, role: UserRole) -> RoomView {
    admitted(room, admit_user(room, &id(user), role, NOW).unwrap())
}

fn admitted(room: &RoomView, admission: Admission<RoomWrite>) -> RoomView {
    match admission {
        Admission::Accepted(write) => write.applied_to(room, 3),
        Admission::AlreadyDone => room.clone(),
    }
}

fn standing(n: usize) -> ClaimedRole {
    ClaimedRole { user: id(CAST[n].0), claimed: CAST[n].1 }
}

fn role(room: &RoomView, n: usize) -> RoomRole {
    in_force(&room.users, &id(CAST[n].0), CAST[n].1)
}

fn banned(room: &RoomView, n: usize) -> bool {
    room.is_banned(&id(CAST[n].0))
}

fn roles(room: &RoomView) -> [&'static str; 4] {
    [0, 1, 2, 3].map(|n| role(room, n).as_str())
}

fn id(text: &str) -> UserId {
    UserId::new(text).unwrap()
}

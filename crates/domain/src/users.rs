//! Users of a room in the room API: invited with a token, kicked, or banned.
//!
//! ```text
//!             create            ban
//!   (unknown) ──────▶ invited ─────────▶ banned       until the ban is lifted, or the room itself is gone
//!     ▲ │                ▲                │ ▲ │
//!     │ │                └───── unban ────┘ │ │
//!     │ └────────────────────── ban ────────┘ │       also for a user known only from a token
//!     └──────────────────────── unban ────────┘
//! ```
//!
//! A kick is a ban that the leader lifts after [`KICK`]. It disconnects the user everywhere. After the kick,
//! the user's tokens are valid again. A ban replaces a kick. A kick of a banned user changes nothing.
//!
//! A ban applies to anchors and listeners alike, by the subject of their tokens. Invited users are recorded
//! to make the list of users complete. No permission depends on such a record, so the oldest one may be
//! forgotten. Bans, and roles given in the room, are never forgotten while the room exists. Code that checks
//! a token must also call [`RoomView::is_banned`].
//!
//! Owns these rules. Never writes and never creates tokens.

use std::time::Duration;

use super::ids::{UnixMs, UserId};
use super::model::{Meta, User, UserRole};
use super::roles::RoomRole;
use super::room::{Admission, RoomWrite};
use super::signalling::DisplayName;
use super::view::{RoomView, StoredValue};

/// Maximum number of users of whom a room has a record, banned ones included. This bounds the memory for a
/// room on every node.
pub const MAX_USERS: usize = 1000;
/// Time for which a kicked user stays out. It is long enough for all nodes to see the record and to end the
/// user's connections and streams. Clients that reconnect automatically are refused meanwhile.
pub const KICK: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserDenied {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("the room is being removed")]
    RoomRemoving,
    #[error("this user is banned from the room; lift the ban to let the user in again")]
    Banned,
    #[error("the room already has {MAX_USERS} bans and assigned roles, the maximum; lift some bans")]
    TooMany,
}

/// Order to ban or to kick a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanOrder {
    pub user: UserId,
    /// Name shown to those who may lift the ban.
    pub name: Option<DisplayName>,
    /// Host or co-host who gave this order; `None` if the application gave it.
    pub by: Option<UserId>,
}

/// Decides an invitation with this role. For a known user, only the role can change. A role that was assigned
/// in the room ends if `role` differs from the recorded role. The assigned role `listener` always ends, so
/// that the user may speak again. A kicked user stays out until the kick is over.
///
/// # Errors
/// There is no such room, it is being removed, the user is banned, or the room has the maximum number of bans
/// and assigned roles.
pub fn admit_user(
    view: &RoomView,
    id: &UserId,
    role: UserRole,
    now: UnixMs,
) -> Result<Admission<RoomWrite>, UserDenied> {
    lives(view)?;
    let user = match view.users.get(id) {
        Some(known) if known.is_banned() && !known.kicked => return Err(UserDenied::Banned),
        Some(known) if known.assigned == Some(RoomRole::Listener) => {
            User { role, assigned: None, uninvited: false, ..known.value.clone() }
        }
        Some(known) if known.role == role && !known.uninvited => return Ok(Admission::AlreadyDone),
        // A role that was given in the room stays, unless the application requests a different role.
        Some(known) if known.role == role => User { uninvited: false, ..known.value.clone() },
        Some(known) => User { role, assigned: None, uninvited: false, ..known.value.clone() },
        None => User::invited(role, now),
    };
    write(view, id, user, None)
}

/// Decides the ban of a user. The user may be unknown to the room: a listener, or an anchor whose token the
/// application has signed itself.
///
/// # Errors
/// There is no such room, it is being removed, or it has the maximum number of bans and assigned roles.
pub fn admit_ban(view: &RoomView, order: &BanOrder, now: UnixMs) -> Result<Admission<RoomWrite>, UserDenied> {
    exclude(view, order, false, now)
}

/// Decides the kick of a user. Changes nothing if the user is banned or already kicked. The user may be
/// unknown to the room, as for [`admit_ban`].
///
/// # Errors
/// Same as [`admit_ban`].
pub fn admit_kick(
    view: &RoomView,
    order: &BanOrder,
    now: UnixMs,
) -> Result<Admission<RoomWrite>, UserDenied> {
    exclude(view, order, true, now)
}

fn exclude(
    view: &RoomView,
    order: &BanOrder,
    kicked: bool,
    now: UnixMs,
) -> Result<Admission<RoomWrite>, UserDenied> {
    lives(view)?;
    let user = match view.users.get(&order.user) {
        Some(known) if known.is_banned() && (kicked || !known.kicked) => return Ok(Admission::AlreadyDone),
        Some(known) => known.value.clone(),
        None => User { uninvited: true, ..User::invited(UserRole::Anchor, now) },
    };
    let user = User { removed_at: Some(now), kicked, banned_name: order.name.clone(), ..user };
    write(view, &order.user, user, order.by.clone())
}

/// Decides the end of a kick. Changes nothing if the user is not kicked, or was banned meanwhile.
///
/// # Errors
/// There is no such room or it is being removed.
pub fn admit_return(view: &RoomView, id: &UserId) -> Result<Admission<RoomWrite>, UserDenied> {
    if view.is_kicked(id) { admit_unban(view, id, None) } else { Ok(Admission::AlreadyDone) }
}

/// Decides the end of a ban or kick: the user's tokens are then valid again. Changes nothing if the user is
/// not banned or kicked. A record that existed only because of the ban is deleted.
///
/// # Errors
/// There is no such room or it is being removed.
pub fn admit_unban(
    view: &RoomView,
    id: &UserId,
    by: Option<UserId>,
) -> Result<Admission<RoomWrite>, UserDenied> {
    lives(view)?;
    let Some(known) = view.users.get(id).filter(|known| known.is_banned()) else {
        return Ok(Admission::AlreadyDone);
    };
    let lifted = User { removed_at: None, kicked: false, banned_name: None, ..known.value.clone() };
    let user = Some(lifted).filter(|user| !user.uninvited || user.assigned.is_some());
    Ok(Admission::Accepted(RoomWrite::User { id: id.clone(), user, forgotten: None, by }))
}

fn lives(view: &RoomView) -> Result<&StoredValue<Meta>, UserDenied> {
    let meta = view.meta.as_ref().ok_or(UserDenied::NoSuchRoom)?;
    if meta.deleted_at.is_some() { Err(UserDenied::RoomRemoving) } else { Ok(meta) }
}

fn write(
    view: &RoomView,
    id: &UserId,
    user: User,
    by: Option<UserId>,
) -> Result<Admission<RoomWrite>, UserDenied> {
    let full = view.users.len() >= MAX_USERS && !view.users.contains_key(id);
    let forgotten = match full {
        true => Some(oldest_invited(view).ok_or(UserDenied::TooMany)?),
        false => None,
    };
    Ok(Admission::Accepted(RoomWrite::User { id: id.clone(), user: Some(user), forgotten, by }))
}

fn oldest_invited(view: &RoomView) -> Option<UserId> {
    let invited = view.users.iter().filter(|(_, user)| !user.is_banned() && user.assigned.is_none());
    invited.min_by_key(|(_, user)| user.created_at).map(|(id, _)| id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Pin};

    const NOW: UnixMs = UnixMs(5000);

    #[test]
    fn banned_user_stays_banned() {
        let room = invite(&room(), "ann", UserRole::Host);
        assert_eq!(admit_user(&room, &id("ann"), UserRole::Host, NOW), Ok(Admission::AlreadyDone));
        let room = invite(&room, "ann", UserRole::Anchor);
        assert_eq!((room.users[&id("ann")].role, room.is_banned(&id("ann"))), (UserRole::Anchor, false));
        let room = ban(&room, "ann");
        assert!(room.is_banned(&id("ann")) && !room.is_banned(&id("bob")));
        assert_eq!(admit_ban(&room, &order("ann"), NOW), Ok(Admission::AlreadyDone));
        assert_eq!(admit_user(&room, &id("ann"), UserRole::Host, NOW), Err(UserDenied::Banned));
        let idle = RoomWrite::ClearLive.applied_to(&room, 9);
        assert!(idle.is_banned(&id("ann")), "a stop changes nothing");
        assert!(!RoomWrite::ClearAll.applied_to(&room, 9).is_banned(&id("ann")));
    }

    #[test]
    fn user_without_invitation_can_be_banned() {
        assert!(ban(&room(), "self-minted").is_banned(&id("self-minted")));
    }

    #[test]
    fn lifted_ban_restores_the_record() {
        let invited = invite(&room(), "ann", UserRole::Host);
        let lifted = unban(&ban(&invited, "ann"), "ann");
        assert_eq!(lifted.users[&id("ann")].value, invited.users[&id("ann")].value);
        assert!(!unban(&ban(&room(), "gina"), "gina").users.contains_key(&id("gina")));
        for unknown in ["ann", "nobody"] {
            assert_eq!(admit_unban(&lifted, &id(unknown), None), Ok(Admission::AlreadyDone));
        }
        let again = ban(&lifted, "ann");
        assert!(again.is_banned(&id("ann")) && again.users[&id("ann")].banned_name.is_some());
    }

    #[test]
    fn kicked_user_may_come_back() {
        let invited = invite(&room(), "ann", UserRole::Host);
        let kicked = kick(&invited, "ann");
        assert!(kicked.is_banned(&id("ann")) && kicked.is_kicked(&id("ann")));
        assert_eq!(admit_kick(&kicked, &order("ann"), NOW), Ok(Admission::AlreadyDone));
        let again = invite(&kicked, "ann", UserRole::Anchor);
        assert!(again.is_kicked(&id("ann")), "an invitation does not end the kick");
        let back = applied(&kicked, admit_return(&kicked, &id("ann")).unwrap());
        assert_eq!(back.users[&id("ann")].value, invited.users[&id("ann")].value);
        assert_eq!(admit_return(&back, &id("ann")), Ok(Admission::AlreadyDone));
        let kicked = kick(&room(), "gina");
        assert!(!unban(&kicked, "gina").users.contains_key(&id("gina")), "the kick can be ended early");
    }

    #[test]
    fn ban_replaces_a_kick() {
        let banned = ban(&kick(&room(), "ann"), "ann");
        assert!(banned.is_banned(&id("ann")) && !banned.is_kicked(&id("ann")));
        assert_eq!(admit_kick(&banned, &order("ann"), NOW), Ok(Admission::AlreadyDone));
        assert_eq!(admit_return(&banned, &id("ann")), Ok(Admission::AlreadyDone));
        assert_eq!(admit_user(&banned, &id("ann"), UserRole::Host, NOW), Err(UserDenied::Banned));
    }

    #[test]
    fn invitation_ends_role_of_listener() {
        let mut room = invite(&room(), "ann", UserRole::Anchor);
        let users = std::sync::Arc::make_mut(&mut room.users);
        users.get_mut(&id("ann")).unwrap().value.assigned = Some(RoomRole::Listener);
        assert!(room.is_off_stage(&id("ann")) && !room.is_banned(&id("ann")));
        assert_eq!(room.off_stage().count(), 1);
        let back = invite(&room, "ann", UserRole::Anchor);
        assert!(!back.is_off_stage(&id("ann")));
    }

    #[test]
    fn missing_or_removing_room_refuses_users() {
        let none = RoomView::default();
        assert_eq!(admit_user(&none, &id("ann"), UserRole::Host, NOW), Err(UserDenied::NoSuchRoom));
        let mut going = room();
        going.meta.as_mut().unwrap().value.deleted_at = Some(NOW);
        assert_eq!(admit_user(&going, &id("ann"), UserRole::Host, NOW), Err(UserDenied::RoomRemoving));
        assert_eq!(admit_ban(&going, &order("ann"), NOW), Err(UserDenied::RoomRemoving));
    }

    #[test]
    fn full_room_drops_oldest_invitation() {
        let mut full = ban(&room(), "out");
        for n in 1..MAX_USERS {
            let write = admit_user(&full, &id(&format!("u{n}")), UserRole::Anchor, UnixMs(n as u64)).unwrap();
            full = applied(&full, write);
        }
        let more = invite(&full, "one-more", UserRole::Anchor);
        assert_eq!(more.users.len(), MAX_USERS);
        assert!(!more.users.contains_key(&id("u1")) && more.is_banned(&id("out")));
        let banned = (1..MAX_USERS).fold(full, |room, n| ban(&room, &format!("u{n}")));
        assert_eq!(admit_ban(&banned, &order("one-more"), NOW), Err(UserDenied::TooMany));
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

    fn invite(room: &RoomView, user: &str, role: UserRole) -> RoomView {
        applied(room, admit_user(room, &id(user), role, NOW).unwrap())
    }

    fn ban(room: &RoomView, user: &str) -> RoomView {
        applied(room, admit_ban(room, &order(user), NOW).unwrap())
    }

    fn kick(room: &RoomView, user: &str) -> RoomView {
        applied(room, admit_kick(room, &order(user), NOW).unwrap())
    }

    fn unban(room: &RoomView, user: &str) -> RoomView {
        applied(room, admit_unban(room, &id(user), None).unwrap())
    }

    fn applied(room: &RoomView, write: Admission<RoomWrite>) -> RoomView {
        let Admission::Accepted(write) = write else { panic!("already done") };
        write.applied_to(room, 3)
    }

    fn order(user: &str) -> BanOrder {
        BanOrder { user: id(user), name: DisplayName::new(user).ok(), by: None }
    }

    fn id(text: &str) -> UserId {
        UserId::new(text).unwrap()
    }
}

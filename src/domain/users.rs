//! Users of a room in the room API: invited by a token, or removed permanently.
//!
//! ```text
//!             create            remove
//!   (unknown) ──────▶ invited ─────────▶ removed      until the room itself is gone
//!       │                                   ▲
//!       └───────────── remove ──────────────┘         also for a user known only from a token
//! ```
//!
//! Invited users are recorded to make the list of users complete. Nothing else depends on the record, so the
//! oldest one may be forgotten. A removal is never forgotten while the room exists. Code that checks a token
//! must also call [`RoomView::is_removed`].
//!
//! Owns these rules. Never writes and never creates tokens.

use super::ids::{UnixMs, UserId};
use super::model::{Meta, User, UserRole};
use super::room::{Admission, RoomWrite};
use super::view::{RoomView, StoredValue};

/// Maximum number of users that a room remembers, including removed ones. Limits the memory that one room
/// needs on every node.
pub const MAX_USERS: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserDenied {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("the room is being removed")]
    RoomRemoving,
    #[error("this user was removed from the room, and stays so while the room exists")]
    Removed,
    #[error("{MAX_USERS} users were removed from this room, the maximum that a room remembers")]
    TooMany,
}

/// Records the user with this role. For a known user only the role can change.
///
/// # Errors
/// There is no such room or it is being removed, the user was removed, or the room can remember no more
/// users.
pub fn admit_user(
    view: &RoomView,
    id: &UserId,
    role: UserRole,
    now: UnixMs,
) -> Result<Admission<RoomWrite>, UserDenied> {
    lives(view)?;
    let user = match view.users.get(id) {
        Some(known) if known.removed_at.is_some() => return Err(UserDenied::Removed),
        Some(known) if known.role == role => return Ok(Admission::AlreadyDone),
        Some(known) => User { role, ..known.value },
        None => User { role, created_at: now, removed_at: None },
    };
    write(view, id, user)
}

/// Records the removal of a user. The user may be unknown to the room, because an application can sign a
/// token for any user.
///
/// # Errors
/// There is no such room or it is being removed, or the room can remember no more users.
pub fn admit_removal(view: &RoomView, id: &UserId, now: UnixMs) -> Result<Admission<RoomWrite>, UserDenied> {
    lives(view)?;
    let user = match view.users.get(id) {
        Some(known) if known.removed_at.is_some() => return Ok(Admission::AlreadyDone),
        Some(known) => known.value,
        None => User { role: UserRole::Anchor, created_at: now, removed_at: None },
    };
    write(view, id, User { removed_at: Some(now), ..user })
}

fn lives(view: &RoomView) -> Result<&StoredValue<Meta>, UserDenied> {
    let meta = view.meta.as_ref().ok_or(UserDenied::NoSuchRoom)?;
    if meta.deleted_at.is_some() { Err(UserDenied::RoomRemoving) } else { Ok(meta) }
}

fn write(view: &RoomView, id: &UserId, user: User) -> Result<Admission<RoomWrite>, UserDenied> {
    let full = view.users.len() >= MAX_USERS && !view.users.contains_key(id);
    let forgotten = match full {
        true => Some(oldest_invited(view).ok_or(UserDenied::TooMany)?),
        false => None,
    };
    Ok(Admission::Accepted(RoomWrite::User { id: id.clone(), user, forgotten }))
}

fn oldest_invited(view: &RoomView) -> Option<UserId> {
    let invited = view.users.iter().filter(|(_, user)| user.removed_at.is_none());
    invited.min_by_key(|(_, user)| user.created_at).map(|(id, _)| id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{Epoch, Pin};

    const NOW: UnixMs = UnixMs(5000);

    #[test]
    fn removed_user_stays_removed() {
        let room = invite(&room(), "ann", UserRole::Host);
        assert_eq!(admit_user(&room, &id("ann"), UserRole::Host, NOW), Ok(Admission::AlreadyDone));
        let room = invite(&room, "ann", UserRole::Anchor);
        assert_eq!((room.users[&id("ann")].role, room.is_removed(&id("ann"))), (UserRole::Anchor, false));
        let room = remove(&room, "ann");
        assert!(room.is_removed(&id("ann")) && !room.is_removed(&id("bob")));
        assert_eq!(admit_removal(&room, &id("ann"), NOW), Ok(Admission::AlreadyDone));
        assert_eq!(admit_user(&room, &id("ann"), UserRole::Host, NOW), Err(UserDenied::Removed));
        let idle = RoomWrite::ClearLive.applied_to(&room, 9);
        assert!(idle.is_removed(&id("ann")), "a stop changes nothing");
        assert!(!RoomWrite::ClearAll.applied_to(&room, 9).is_removed(&id("ann")));
    }

    #[test]
    fn user_without_invitation_can_be_removed() {
        assert!(remove(&room(), "self-minted").is_removed(&id("self-minted")));
    }

    #[test]
    fn missing_or_removing_room_refuses_users() {
        let none = RoomView::default();
        assert_eq!(admit_user(&none, &id("ann"), UserRole::Host, NOW), Err(UserDenied::NoSuchRoom));
        let mut going = room();
        going.meta.as_mut().unwrap().value.deleted_at = Some(NOW);
        assert_eq!(admit_user(&going, &id("ann"), UserRole::Host, NOW), Err(UserDenied::RoomRemoving));
        assert_eq!(admit_removal(&going, &id("ann"), NOW), Err(UserDenied::RoomRemoving));
    }

    #[test]
    fn full_room_drops_oldest_invitation() {
        let mut full = remove(&room(), "out");
        for n in 1..MAX_USERS {
            let write = admit_user(&full, &id(&format!("u{n}")), UserRole::Anchor, UnixMs(n as u64)).unwrap();
            full = applied(&full, write);
        }
        let more = invite(&full, "one-more", UserRole::Anchor);
        assert_eq!(more.users.len(), MAX_USERS);
        assert!(!more.users.contains_key(&id("u1")) && more.is_removed(&id("out")));
        let crowd = (1..MAX_USERS).fold(full, |room, n| remove(&room, &format!("u{n}")));
        assert_eq!(admit_removal(&crowd, &id("one-more"), NOW), Err(UserDenied::TooMany));
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
            profile: Default::default(),
        };
        RoomWrite::Put { meta: Some(meta), live: None }.applied_to(&RoomView::default(), 2)
    }

    fn invite(room: &RoomView, user: &str, role: UserRole) -> RoomView {
        applied(room, admit_user(room, &id(user), role, NOW).unwrap())
    }

    fn remove(room: &RoomView, user: &str) -> RoomView {
        applied(room, admit_removal(room, &id(user), NOW).unwrap())
    }

    fn applied(room: &RoomView, write: Admission<RoomWrite>) -> RoomView {
        let Admission::Accepted(write) = write else { panic!("already done") };
        write.applied_to(room, 3)
    }

    fn id(text: &str) -> UserId {
        UserId::new(text).unwrap()
    }
}

//! Roles of the users in a room: who may do what, and who may change a role.
//!
//! ```text
//!             assign                 assign
//!   anchor ◀──────────▶ co-host ◀──────────────▶ host    by a host, for others; by the application
//!      │                   ▲                      │
//!      │ assign            └────── transfer ──────┘      by a host who makes another user the host instead
//!      ▼
//!   listener                                             until another assignment, or an invitation
//! ```
//!
//! The token of a user claims the role host or anchor. A role assigned in the room replaces the claimed role,
//! for every token of the user. The assigned role ends when the application invites the user with another
//! role than in the previous invitation; the role listener ends with any invitation. A room can have several
//! hosts, with equal rights. A host gives up the role only to another user, so hosts cannot leave the room
//! without a host.
//!
//! A listener is off the stage: none of the user's tokens is valid for speaking, and all of them remain valid
//! for listening. Code that checks an anchor must call [`RoomView::is_off_stage`].
//!
//! Owns these rules. Never writes.

use serde::{Deserialize, Serialize};

use super::ids::{UnixMs, UserId};
use super::model::{User, UserRole};
use super::room::{Admission, RoomWrite};
use super::users::MAX_USERS;
use super::view::{RoomView, Users};

/// Role of a user in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RoomRole {
    Host,
    /// Anchor who moderates the room, but may not change roles or ban hosts or co-hosts.
    CoHost,
    Anchor,
    /// User who may not speak, although the user's tokens claim the role host or anchor.
    Listener,
}

/// Action in a room that needs a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Mute, lock, put on air, lift bans, and moderate the listener channel.
    Moderate,
    /// Ban or kick a user with this role; `None`: a listener.
    Ban(Option<RoomRole>),
    /// Change the role of another user.
    AssignRole,
}

/// User and the role that the user's token claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedRole {
    pub user: UserId,
    pub claimed: UserRole,
}

/// Wanted change of roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleOrder {
    /// Gives a user this role. `by`: host who requests it; `None`: the application.
    Assign { to: ClaimedRole, role: RoomRole, by: Option<ClaimedRole> },
    /// Makes a user the host in place of `by`, who becomes a co-host.
    Transfer { to: ClaimedRole, by: ClaimedRole },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleDenied {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("the room is being removed")]
    RoomRemoving,
    #[error("only a host may change roles, and only those of others; a host can transfer the host role")]
    Forbidden,
    #[error("this user is banned from the room")]
    Banned,
    #[error("the room already has the maximum number of bans and assigned roles; lift some bans")]
    TooMany,
}

impl RoomRole {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::CoHost => "co_host",
            Self::Anchor => "anchor",
            Self::Listener => "listener",
        }
    }

    /// Returns true if a user with this role may perform this action.
    pub fn may(self, action: Action) -> bool {
        match (self, action) {
            (Self::Host, _) | (Self::CoHost, Action::Moderate) => true,
            (Self::CoHost, Action::Ban(target)) => {
                target.is_none_or(|target| matches!(target, Self::Anchor | Self::Listener))
            }
            (Self::CoHost, Action::AssignRole) | (Self::Anchor | Self::Listener, _) => false,
        }
    }

    /// Returns true for hosts and co-hosts.
    pub fn moderates(self) -> bool {
        self.may(Action::Moderate)
    }
}

impl From<UserRole> for RoomRole {
    fn from(role: UserRole) -> Self {
        match role {
            UserRole::Host => Self::Host,
            UserRole::Anchor => Self::Anchor,
        }
    }
}

/// Returns the role that is in force for a user whose token claims `claimed`.
pub fn in_force(users: &Users, user: &UserId, claimed: UserRole) -> RoomRole {
    users.get(user).and_then(|user| user.assigned).unwrap_or(claimed.into())
}

/// Decides a change of roles.
///
/// # Errors
/// See [`RoleDenied`].
pub fn admit_role(
    view: &RoomView,
    order: &RoleOrder,
    now: UnixMs,
) -> Result<Admission<RoomWrite>, RoleDenied> {
    let meta = view.meta.as_ref().ok_or(RoleDenied::NoSuchRoom)?;
    if meta.deleted_at.is_some() {
        return Err(RoleDenied::RoomRemoving);
    }
    let (to, by) = match order {
        RoleOrder::Assign { to, by, .. } => (to, by.as_ref()),
        RoleOrder::Transfer { to, by } => (to, Some(by)),
    };
    if view.is_banned(&to.user) {
        return Err(RoleDenied::Banned);
    }
    if let Some(by) = by {
        let role = in_force(&view.users, &by.user, by.claimed);
        if view.is_banned(&by.user) || by.user == to.user || !role.may(Action::AssignRole) {
            return Err(RoleDenied::Forbidden);
        }
    }
    let wanted = match order {
        RoleOrder::Assign { role, .. } => vec![(to, *role)],
        RoleOrder::Transfer { by, .. } => vec![(to, RoomRole::Host), (by, RoomRole::CoHost)],
    };
    let changed =
        wanted.into_iter().filter(|(of, role)| in_force(&view.users, &of.user, of.claimed) != *role);
    let users: Vec<_> = changed.map(|(of, role)| (of.user.clone(), assigned(view, of, role, now))).collect();
    let fresh = users.iter().filter(|(id, _)| !view.users.contains_key(id)).count();
    if fresh > 0 && view.users.len() + fresh > MAX_USERS {
        return Err(RoleDenied::TooMany);
    }
    match users.is_empty() {
        true => Ok(Admission::AlreadyDone),
        false => Ok(Admission::Accepted(RoomWrite::Roles { users, by: by.map(|by| by.user.clone()) })),
    }
}

fn assigned(view: &RoomView, of: &ClaimedRole, role: RoomRole, now: UnixMs) -> User {
    let unknown = || User { uninvited: true, ..User::invited(of.claimed, now) };
    let user = view.users.get(&of.user).map_or_else(unknown, |known| known.value.clone());
    User { assigned: Some(role), ..user }
}

#[cfg(test)]
#[path = "roles_tests.rs"]
mod tests;

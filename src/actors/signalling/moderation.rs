//! Methods of hosts and co-hosts. Each change is written to the store; the nodes that it concerns follow.

use serde_json::{Map, Value, json};

use super::client_session::ClientSession;
use super::methods::{AWAY, Answer, away, unavailable};
use crate::auth::Role;
use crate::domain::ids::UserId;
use crate::domain::model::UserRole;
use crate::domain::roles::{self, Action, RoleOrder, RoomRole, Standing};
use crate::domain::signalling::{DisplayName, ErrorCode, RpcError};
use crate::domain::users::{BanOrder, UserDenied};
use crate::domain::view::RoomView;
use crate::rooms::RoomError;
use crate::store::StoreError;

impl ClientSession {
    /// Returns the role in force of this user.
    pub(super) fn role(&self, view: &RoomView) -> RoomRole {
        roles::in_force(&view.users, &self.peer.user, self.claimed())
    }

    fn claimed(&self) -> UserRole {
        if self.peer.role == Role::Host { UserRole::Host } else { UserRole::Anchor }
    }

    /// Returns the room, if this user may do this in it.
    pub(super) fn must(&self, action: Action) -> Result<std::sync::Arc<RoomView>, RpcError> {
        let view = self.room()?;
        if self.role(&view).may(action) { Ok(view) } else { Err(ErrorCode::Forbidden.into()) }
    }

    pub(super) async fn set_role(&self, user: &UserId, role: RoomRole) -> Answer {
        let (to, by) = (self.other(user).await?, Some(self.standing()));
        self.change_role(&RoleOrder::Assign { to, role, by }).await
    }

    pub(super) async fn transfer_host(&self, user: &UserId) -> Answer {
        let to = self.other(user).await?;
        self.change_role(&RoleOrder::Transfer { to, by: self.standing() }).await
    }

    async fn change_role(&self, order: &RoleOrder) -> Answer {
        let changed = self.shared.service.change_role(&self.peer.room, order).await;
        changed.map(|()| json!({})).map_err(|error| self.not_changed(&error))
    }

    fn standing(&self) -> Standing {
        Standing { user: self.peer.user.clone(), claimed: self.claimed() }
    }

    /// Returns another user who is in the room, if this user may change roles.
    async fn other(&self, user: &UserId) -> Result<Standing, RpcError> {
        self.must(Action::AssignRole)?;
        let members =
            self.shared.presence.list(&self.peer.room).await.map_err(|error| unavailable(&error))?;
        let member = members.into_iter().find(|member| member.user_id == *user);
        let member = member.ok_or(ErrorCode::NoSuchMember)?;
        Ok(Standing { user: member.user_id, claimed: member.role.into() })
    }

    /// Bans a user, by a record in the store. Every gateway that sees it closes the user's connection, the
    /// node of the room's Janus removes the user from the mix, and listener nodes end the user's streams.
    pub(super) async fn ban(&self, user: &UserId) -> Answer {
        let (view, room) = (self.must(Action::Ban(None))?, &self.peer.room);
        let members = self.shared.presence.list(room).await.unwrap_or_default();
        let present = members.into_iter().find(|member| member.user_id == *user);
        let claimed = present.as_ref().map(|member| UserRole::from(member.role));
        let claimed = claimed.or_else(|| view.users.get(user).map(|known| known.role));
        let target = claimed.map(|claimed| roles::in_force(&view.users, user, claimed));
        let target = target.ok_or(ErrorCode::NoSuchMember)?;
        if *user == self.peer.user || !self.role(&view).may(Action::Ban(Some(target))) {
            return Err(ErrorCode::Forbidden.into());
        }
        let name = present.and_then(|member| DisplayName::new(&member.display_name?).ok());
        let order = BanOrder { user: user.clone(), name, by: Some(self.peer.user.clone()) };
        let banned = self.shared.service.ban_user(room, &order).await;
        banned.map(|()| json!({})).map_err(|error| self.not_changed(&error))
    }

    /// Lifts a ban; does nothing if there is none.
    pub(super) async fn unban(&self, user: &UserId) -> Answer {
        self.must(Action::Moderate)?;
        let lifted = self.shared.service.unban_user(&self.peer.room, user, Some(&self.peer.user)).await;
        lifted.map(|()| json!({})).map_err(|error| self.not_changed(&error))
    }

    pub(super) async fn mute_all(&self) -> Answer {
        self.must(Action::Moderate)?;
        let muted = self.shared.service.mute_all(&self.peer.room, Some(&self.peer.user)).await;
        muted.map(|()| json!({})).map_err(|error| self.not_changed(&error))
    }

    pub(super) async fn set_locked(&self, locked: bool) -> Answer {
        self.must(Action::Moderate)?;
        let patch = Map::from_iter([("locked".to_owned(), Value::Bool(locked))]);
        let patched = self.shared.service.patch(&self.peer.room, &patch).await;
        patched.map(|_| json!({})).map_err(|error| self.not_changed(&error))
    }

    /// Puts the backstage on air, for all in it at once.
    pub(super) async fn go_live(&self) -> Answer {
        self.must(Action::Moderate)?;
        let started = self.shared.service.go_live(&self.peer.room).await;
        started.map(|()| json!({})).map_err(|error| self.not_changed(&error))
    }

    fn not_changed(&self, error: &RoomError) -> RpcError {
        tracing::warn!(room = %self.peer.room, %error, "change of a room by a host failed");
        not_changed(error)
    }
}

/// Maps a failed change of the room. Only errors that may not recur are retryable.
fn not_changed(error: &RoomError) -> RpcError {
    match error {
        RoomError::NotFound | RoomError::Removing => ErrorCode::RoomOver.into(),
        RoomError::Role(_) => ErrorCode::Forbidden.into(),
        RoomError::User(UserDenied::Banned) => ErrorCode::NoSuchMember.into(),
        RoomError::User(_) => ErrorCode::TooManyUsers.into(),
        RoomError::NotOnAir => RpcError::from(ErrorCode::NotOnAir).retry_after(AWAY),
        RoomError::Busy | RoomError::Store(StoreError::Unavailable(_)) => away(),
        _ => ErrorCode::Internal.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::roles::RoleDenied;

    #[test]
    fn room_errors_map_to_retryable_codes() {
        let away = StoreError::Unavailable("no".into());
        for (error, code) in [
            (RoomError::NotFound, ErrorCode::RoomOver),
            (RoomError::Removing, ErrorCode::RoomOver),
            (RoomError::User(UserDenied::TooMany), ErrorCode::TooManyUsers),
            (RoomError::User(UserDenied::Banned), ErrorCode::NoSuchMember),
            (RoomError::Role(RoleDenied::Forbidden), ErrorCode::Forbidden),
            (RoomError::NotOnAir, ErrorCode::NotOnAir),
            (RoomError::Busy, ErrorCode::Unavailable),
            (RoomError::Store(away), ErrorCode::Unavailable),
        ] {
            assert_eq!(not_changed(&error).code, code, "{error}");
        }
    }
}

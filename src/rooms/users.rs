//! Users of a room: invite, ban, kick, unban, list. The rules are in `domain::users`.
//!
//! Every node learns of a ban through the store's watch. Gateways then end the user's connection, and
//! listener nodes end the user's streams.

use std::sync::Arc;

use rand::distr::{Alphanumeric, SampleString};

use crate::domain::ids::{RoomId, UserId};
use crate::domain::model::{User, UserRole};
use crate::domain::roles::{RoleOrder, admit_role};
use crate::domain::room::Admission;
use crate::domain::users::{BanOrder, admit_ban, admit_kick, admit_return, admit_unban, admit_user};
use crate::domain::view::Users;

use super::txn::{self, RoomRead};
use super::{Room, RoomError, RoomService, now, quotas};

/// User who may get a token.
#[derive(Debug, Clone)]
pub struct InvitedUser {
    pub id: UserId,
    pub user: User,
    pub room: Room,
}

impl RoomService {
    /// Invites a user. Without an id, a random one is chosen. If the user was already invited, only the role
    /// changes.
    ///
    /// # Errors
    /// [`RoomError::User`] if the user is banned, or if the room has too many bans and assigned roles.
    /// [`RoomError::Quota`] if the quota of the key that created the room is used up; or a store error.
    pub async fn create_user(
        &self,
        room: &RoomId,
        role: UserRole,
        user: Option<UserId>,
    ) -> Result<InvitedUser, RoomError> {
        let id = user.unwrap_or_else(random_user_id);
        let owner = self.owner(room).await?;
        let decide = |read: &RoomRead| {
            quotas::check_owner(&read.view, owner.as_ref())?;
            Ok(admit_user(&read.view, &id, role, now())?)
        };
        let view = match self.limited(owner.as_ref(), |quotas| quotas.users_per_room)? {
            None => self.change(room, decide).await?,
            Some((key, quotas)) => {
                let within = |read: &RoomRead, _| {
                    let admission = decide(read)?;
                    quotas.admit_user(&read.view, &id)?;
                    Ok(admission)
                };
                self.change_counted(&key, room, within).await?
            }
        };
        let view = Arc::new(view);
        let user = view.users.get(&id).map(|user| user.value.clone()).ok_or(RoomError::Busy)?;
        let modules = self.directory.modules();
        let room = Room::of(room.clone(), view, &modules).ok_or(RoomError::NotFound)?;
        Ok(InvitedUser { id, user, room })
    }

    /// Bans a user (anchor or listener), invited or not. A banned source is removed from the room. Does not
    /// change an existing ban.
    ///
    /// # Errors
    /// [`RoomError::User`] if the room has too many bans and assigned roles, or a store error.
    pub async fn ban_user(&self, room: &RoomId, order: &BanOrder) -> Result<(), RoomError> {
        let decide = |read: &RoomRead| Ok(admit_ban(&read.view, order, now())?);
        let view = self.change(room, decide).await?;
        self.drop_source(room, &view, &order.user).await
    }

    /// Kicks a user (anchor or listener), invited or not. A kick is a ban that the leader lifts after
    /// [`KICK`](crate::domain::users::KICK). A kicked source is removed from the room. Does not change an
    /// existing kick or ban.
    ///
    /// # Errors
    /// Same as [`ban_user`](Self::ban_user).
    pub async fn kick_user(&self, room: &RoomId, order: &BanOrder) -> Result<(), RoomError> {
        let decide = |read: &RoomRead| Ok(admit_kick(&read.view, order, now())?);
        let view = self.change(room, decide).await?;
        self.drop_source(room, &view, &order.user).await
    }

    /// Ends a kick. Returns false if the user is not kicked any more.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] if there is no such room, or a store error.
    pub async fn end_kick(&self, room: &RoomId, user: &UserId) -> Result<bool, RoomError> {
        let mut ends = false;
        let decide = |read: &RoomRead| {
            let admission = admit_return(&read.view, user)?;
            ends = matches!(admission, Admission::Accepted(_));
            Ok(admission)
        };
        self.change(room, decide).await?;
        Ok(ends)
    }

    /// Lifts a ban; does nothing if the user is not banned. `by`: host or co-host who requests this, if any.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] if there is no such room, or a store error.
    pub async fn unban_user(
        &self,
        room: &RoomId,
        user: &UserId,
        by: Option<&UserId>,
    ) -> Result<(), RoomError> {
        let decide = |read: &RoomRead| Ok(admit_unban(&read.view, user, by.cloned())?);
        self.change(room, decide).await.map(|_| ())
    }

    /// Assigns a role to a user, or transfers the role of the host. Does nothing if the users already have
    /// these roles.
    ///
    /// # Errors
    /// [`RoomError::Role`] if the change is not permitted, or a store error.
    pub async fn change_role(&self, room: &RoomId, order: &RoleOrder) -> Result<(), RoomError> {
        let decide = |read: &RoomRead| Ok(admit_role(&read.view, order, now())?);
        self.change(room, decide).await.map(|_| ())
    }

    /// Returns the invited and the banned users, from this node's directory like [`get`](Self::get).
    ///
    /// # Errors
    /// [`RoomError::NotFound`] if there is no such room, or a store error.
    pub async fn users(&self, room: &RoomId) -> Result<Arc<Users>, RoomError> {
        let view = match self.directory.room(room) {
            Some(view) => view,
            None => Arc::new(txn::read(&*self.store, room).await?.view),
        };
        view.meta.as_ref().map(|_| view.users.clone()).ok_or(RoomError::NotFound)
    }
}

/// Returns a random id for a user who has no id from the application.
pub fn random_user_id() -> UserId {
    let text = Alphanumeric.sample_string(&mut rand::rng(), 16);
    // Cannot fail: sixteen letters or digits are a user id.
    UserId::new(&text).expect("sixteen letters or digits are a user id")
}

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;

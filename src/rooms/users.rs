//! Users of a room: invite, remove, list. The rules are in `domain::users`.
//!
//! Every gateway learns of a removal through the store's watch and ends the user's connection.

use std::sync::Arc;

use rand::distr::{Alphanumeric, SampleString};

use crate::domain::ids::{RoomId, UserId};
use crate::domain::model::{User, UserRole};
use crate::domain::users::{admit_removal, admit_user};
use crate::domain::view::Users;

use super::txn::{self, RoomRead};
use super::{Room, RoomError, RoomService, now};

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
    /// [`RoomError::User`] if the user was removed, or if the room holds too many removals.
    pub async fn create_user(
        &self,
        room: &RoomId,
        role: UserRole,
        user: Option<UserId>,
    ) -> Result<InvitedUser, RoomError> {
        let id = user.unwrap_or_else(random_user_id);
        let decide = |read: &RoomRead| Ok(admit_user(&read.view, &id, role, now())?);
        let view = Arc::new(self.change(room, decide).await?);
        let user = view.users.get(&id).map(|user| user.value).ok_or(RoomError::Busy)?;
        let modules = self.directory.modules();
        let room = Room::of(room.clone(), view, &modules).ok_or(RoomError::NotFound)?;
        Ok(InvitedUser { id, user, room })
    }

    /// Removes a user for the life of the room, invited or not. May be repeated.
    pub async fn remove_user(&self, room: &RoomId, user: &UserId) -> Result<(), RoomError> {
        let decide = |read: &RoomRead| Ok(admit_removal(&read.view, user, now())?);
        self.change(room, decide).await.map(|_| ())
    }

    /// Returns the invited and the removed users, from this node's directory like [`get`](Self::get).
    ///
    /// # Errors
    /// [`RoomError::NotFound`] if there is no such room, or an error of the store.
    pub async fn users(&self, room: &RoomId) -> Result<Arc<Users>, RoomError> {
        let view = match self.directory.room(room) {
            Some(view) => view,
            None => Arc::new(txn::read(&*self.store, room).await?.view),
        };
        view.meta.as_ref().map(|_| view.users.clone()).ok_or(RoomError::NotFound)
    }
}

fn random_user_id() -> UserId {
    let text = Alphanumeric.sample_string(&mut rand::rng(), 16);
    // Cannot fail: 1 to 64 letters or digits are a user id.
    UserId::new(&text).expect("sixteen letters or digits are a user id")
}

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;

//! Users of a room: invite, remove, list. The rules are in `domain::users`.
//!
//! Whoever was removed here is told by the store's watch to every gateway, which ends their connection.

use std::sync::Arc;

use rand::distr::{Alphanumeric, SampleString};

use crate::domain::ids::{RoomId, UserId};
use crate::domain::model::{User, UserRole};
use crate::domain::users::{admit_removal, admit_user};
use crate::domain::view::Users;

use super::txn::{self, Read};
use super::{Room, RoomError, RoomService, now};

/// Somebody who may have a token now.
#[derive(Debug, Clone)]
pub struct Invited {
    pub id: UserId,
    pub user: User,
    pub room: Room,
}

impl RoomService {
    /// Makes a user known; without an id, a random one is chosen. Of one who is known already, the role is
    /// changed if it is another.
    ///
    /// # Errors
    /// [`RoomError::User`] for one who was removed, or when the room remembers too many who were.
    pub async fn create_user(
        &self,
        room: &RoomId,
        role: UserRole,
        user: Option<UserId>,
    ) -> Result<Invited, RoomError> {
        let id = user.unwrap_or_else(random_user_id);
        let decide = |read: &Read| Ok(admit_user(&read.view, &id, role, now())?);
        let view = Arc::new(self.change(room, decide).await?);
        let user = view.users.get(&id).map(|user| user.value).ok_or(RoomError::Busy)?;
        let modules = self.directory.modules();
        let room = Room::of(room.clone(), view, &modules).ok_or(RoomError::NotFound)?;
        Ok(Invited { id, user, room })
    }

    /// Removes a user for the life of the room, whether they are known to it or not; may be repeated.
    pub async fn remove_user(&self, room: &RoomId, user: &UserId) -> Result<(), RoomError> {
        let decide = |read: &Read| Ok(admit_removal(&read.view, user, now())?);
        self.change(room, decide).await.map(|_| ())
    }

    /// Those invited and those removed, from this node's directory like [`get`](Self::get).
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

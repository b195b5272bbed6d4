//! Actions of hosts and co-hosts on a whole room: muting everybody, and locking the room. The rules are in
//! `domain::mute_all` and `domain::room_lock`.

use crate::domain::ids::{RoomId, UserId};
use crate::domain::mute_all::admit_mute_all;
use crate::domain::room_lock::admit_lock;

use super::txn::RoomRead;
use super::{RoomError, RoomService, now};

impl RoomService {
    /// Requests that everybody in the room except `by` is muted once. The room's Janus node applies the
    /// request shortly afterwards.
    ///
    /// # Errors
    /// [`RoomError::NotOnAir`], or a store error.
    pub async fn mute_all(&self, id: &RoomId, by: Option<&UserId>) -> Result<(), RoomError> {
        let decide = |read: &RoomRead| Ok(admit_mute_all(&read.view, by.cloned(), now())?);
        self.change(id, decide).await.map(|_| ())
    }

    /// Locks or unlocks the room on behalf of the host `by`. Does nothing if the room already has this state.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] or [`RoomError::Removing`], or a store error.
    pub async fn set_locked(&self, id: &RoomId, locked: bool, by: Option<&UserId>) -> Result<(), RoomError> {
        let decide = |read: &RoomRead| Ok(admit_lock(&read.view, locked, by.cloned())?);
        self.change(id, decide).await.map(|_| ())
    }
}

//! Deletion of orphaned keys: the last keys of a room that no module will remove.

use crate::domain::housekeeping::OrphanedKeys;
use crate::domain::ids::RoomId;
use crate::domain::view::RoomView;
use crate::store::TxnOutcome;

use super::{READ_YOUR_WRITES, RoomError, RoomService, Scope, writes};

impl RoomService {
    /// Deletes the orphaned keys of a room that is not live. Returns false and deletes nothing if a key has
    /// changed since `view`, or if the room is live again.
    ///
    /// # Errors
    /// The store does not answer; the keys may or may not be deleted.
    pub async fn remove_orphans(
        &self,
        id: &RoomId,
        view: &RoomView,
        left: &OrphanedKeys,
    ) -> Result<bool, RoomError> {
        let txn = writes::orphans_removed(id, view, left);
        let TxnOutcome::Committed(revision) = self.store.txn(txn).await? else { return Ok(false) };
        self.directory.seen(Scope::Rooms, revision, READ_YOUR_WRITES).await;
        Ok(true)
    }
}

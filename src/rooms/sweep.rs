//! The last keys of a room that nobody will remove any more.

use crate::domain::housekeeping::LeftBehind;
use crate::domain::ids::RoomId;
use crate::domain::view::RoomView;
use crate::store::TxnOutcome;

use super::{READ_YOUR_WRITES, RoomError, RoomService, Scope, writes};

impl RoomService {
    /// Deletes these keys of a room that is not live, if they are as `view` shows them and the room is still
    /// not live. `false`: something changed, and nothing was deleted.
    pub async fn sweep(&self, id: &RoomId, view: &RoomView, left: &LeftBehind) -> Result<bool, RoomError> {
        let txn = writes::swept(id, view, left);
        let TxnOutcome::Committed(revision) = self.store.txn(txn).await? else { return Ok(false) };
        self.directory.seen(Scope::Rooms, revision, READ_YOUR_WRITES).await;
        Ok(true)
    }
}

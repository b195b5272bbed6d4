//! The last keys of a room that nobody will remove any more.

use crate::domain::housekeeping::LeftBehind;
use crate::domain::ids::RoomId;
use crate::domain::keys::{self, RoomPart};
use crate::domain::view::{RoomView, Versioned};
use crate::store::{Txn, TxnOutcome};

use super::{READ_YOUR_WRITES, RoomError, RoomService, Scope};

impl RoomService {
    /// Deletes these keys of a room that is not live, if they are as `view` shows them and the room is still
    /// not live. `false`: something changed, and nothing was deleted.
    pub async fn sweep(&self, id: &RoomId, view: &RoomView, left: &LeftBehind) -> Result<bool, RoomError> {
        let key = |part| keys::room(id, part);
        let mut txn = Txn::new()
            .when(key(RoomPart::Meta), revision(view, RoomPart::Meta))
            .when_absent(key(RoomPart::LiveMeta));
        for part in &left.parts {
            txn = txn.when(key(*part), revision(view, *part)).delete(key(*part));
        }
        // None comes while there is no meta: who makes one compares it.
        if left.users && view.meta.is_none() {
            txn = txn.delete_prefix(keys::users(id));
        }
        let TxnOutcome::Committed(revision) = self.store.txn(txn).await? else { return Ok(false) };
        self.directory.seen(Scope::Rooms, revision, READ_YOUR_WRITES).await;
        Ok(true)
    }
}

fn revision(view: &RoomView, part: RoomPart) -> i64 {
    fn of<T>(value: &Option<Versioned<T>>) -> i64 {
        value.as_ref().map_or(0, |v| v.mod_revision)
    }
    match part {
        RoomPart::Meta => of(&view.meta),
        RoomPart::LiveMeta => of(&view.live),
        RoomPart::Janus => of(&view.janus),
        RoomPart::Mixer => of(&view.mixer),
        RoomPart::Sequence => of(&view.sequence),
    }
}

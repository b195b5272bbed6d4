//! A room moved to another Janus or mixer, by whoever keeps house.
//!
//! One transaction that holds only while everything it rests on is true in the store, not merely in this node's
//! copy of it: the room is as it was judged, we still keep house, and who was taken for vanished has not come
//! back.

use crate::domain::ids::Epoch;
use crate::domain::model::LiveMeta;
use crate::domain::reassign::Reassignment;
use crate::store::{Revision, TxnOutcome};
use crate::telemetry::events::{Event, RoomMoved};

use super::{READ_YOUR_WRITES, RoomError, RoomService, Scope, writes};

/// A key that we hold, at the revision we hold it: what is written under it is not written by a successor too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    pub key: String,
    pub revision: Revision,
}

impl RoomService {
    /// Gives the room its next assignment. `None`: what it was decided from is no longer so, and nothing was
    /// written.
    ///
    /// # Errors
    /// The store does not answer: it may have happened or not, and the watch will tell.
    pub async fn reassign(&self, fence: &Fence, order: &Reassignment) -> Result<Option<Epoch>, RoomError> {
        let Some(view) = self.directory.room(&order.room) else { return Ok(None) };
        let Some((txn, live)) = writes::moved(fence, order, &view) else { return Ok(None) };
        let TxnOutcome::Committed(revision) = self.store.txn(txn).await? else { return Ok(None) };
        self.tell_moved(order, &live);
        self.directory.seen(Scope::Rooms, revision, READ_YOUR_WRITES).await;
        Ok(Some(live.epoch))
    }

    fn tell_moved(&self, order: &Reassignment, live: &LiveMeta) {
        let why: Vec<_> = order.leaves.iter().map(ToString::to_string).collect();
        let moved = RoomMoved {
            room: &order.room,
            epoch: live.epoch,
            janus: &live.janus_id,
            mixer: &live.mixer_id,
            causes: order.leaves.iter().map(|d| d.cause.as_str()).collect(),
            reason: &why.join(", "),
        };
        moved.emit(&self.metrics);
    }
}

#[cfg(test)]
#[path = "reassign_tests.rs"]
mod tests;

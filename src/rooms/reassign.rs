//! A room moved to another Janus or mixer, by whoever keeps house.
//!
//! One transaction that holds only while everything it rests on is true in the store, not merely in this node's
//! copy of it: the room is as it was judged, we still keep house, and who was taken for vanished has not come
//! back.

use crate::domain::ids::Epoch;
use crate::domain::keys::{self, ModulePart};
use crate::domain::model::LiveMeta;
use crate::domain::reassign::{Cause, Reassignment};
use crate::domain::room::{RoomWrite, reassignment};
use crate::store::{Revision, TxnOutcome};
use crate::telemetry::events::{Event, RoomMoved};

use super::{READ_YOUR_WRITES, RoomError, RoomService, Scope, txn};

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
        let as_judged = view.live.as_ref().is_some_and(|l| l.mod_revision == order.live_revision);
        let Some(write) =
            reassignment(&view, order.to.clone(), order.is_in_good_order()).filter(|_| as_judged)
        else {
            return Ok(None);
        };
        let mut txn = txn::txn(&order.room, &view, &write).when(&fence.key, fence.revision);
        for gone in order.leaves.iter().filter(|d| d.cause == Cause::Vanished) {
            txn = txn.when_absent(keys::module(gone.kind, &gone.from, ModulePart::Heartbeat));
        }
        let TxnOutcome::Committed(revision) = self.store.txn(txn).await? else { return Ok(None) };
        let RoomWrite::Put { live: Some(live), .. } = &write else { return Ok(None) };
        self.tell_moved(order, live);
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

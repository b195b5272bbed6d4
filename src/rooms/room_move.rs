//! Failover: the leader moves a room to another Janus instance or mixer.
//!
//! The move is one transaction. It commits only if its conditions hold in the store, not only in this node's
//! cluster cache. The conditions are: the room is unchanged since the decision, this node is still the
//! leader, and the heartbeat of a vanished module is still absent.

use crate::domain::failover::RoomMove;
use crate::domain::ids::Epoch;
use crate::domain::model::LiveMeta;
use crate::store::{Revision, TxnOutcome};
use crate::telemetry::events::{Event, RoomMoved};

use super::{READ_YOUR_WRITES, RoomError, RoomService, Scope, writes};

/// Leader key that this node holds, and the key's revision. A write that compares the revision fails once
/// another node holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderGuard {
    pub key: String,
    pub revision: Revision,
}

impl RoomService {
    /// Gives the room its next assignment and returns the new epoch. Returns `None` and writes nothing if a
    /// condition of the decision no longer holds.
    ///
    /// # Errors
    /// The store does not answer. The move may or may not have been applied; the watch will show it.
    pub async fn move_room(&self, guard: &LeaderGuard, order: &RoomMove) -> Result<Option<Epoch>, RoomError> {
        let Some(view) = self.directory.room(&order.room) else { return Ok(None) };
        let Some((txn, live)) = writes::moved(guard, order, &view) else { return Ok(None) };
        let TxnOutcome::Committed(revision) = self.store.txn(txn).await? else { return Ok(None) };
        self.tell_moved(order, &live);
        self.directory.seen(Scope::Rooms, revision, READ_YOUR_WRITES).await;
        Ok(Some(live.epoch))
    }

    fn tell_moved(&self, order: &RoomMove, live: &LiveMeta) {
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
#[path = "room_move_tests.rs"]
mod tests;

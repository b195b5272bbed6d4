//! Transactions of the writers other than the room API: modules for their own rooms, the leader for all
//! rooms.
//!
//! Each transaction compares the keys that its decision is based on, so a superseded writer changes nothing.
//! Owns: the comparisons. Does not send a transaction.

use crate::domain::failover::{Cause, DrainedLabel, RoomMove};
use crate::domain::housekeeping::OrphanedKeys;
use crate::domain::ids::RoomId;
use crate::domain::keys::{self, LEADER, ModulePart, RoomPart};
use crate::domain::mixer_room::StoreEffect;
use crate::domain::model::{JanusState, Leader, LiveMeta, Mark, MarkLabel};
use crate::domain::room::{RoomWrite, next_assignment};
use crate::domain::sources::Sources;
use crate::domain::view::{RoomView, StoredValue};
use crate::store::{LeaseId, Txn};

use super::LeaderGuard;
use super::txn::{json, txn};

/// Returns the transaction with which a Janus node writes the room's `janus` key. The write succeeds only if
/// `livemeta` and this key still have the revisions that the node has read.
pub fn janus_key(room: &RoomId, state: &JanusState, live_revision: i64, key_revision: i64) -> Txn {
    let key = keys::room(room, RoomPart::Janus);
    let unchanged = Txn::new().when(keys::room(room, RoomPart::LiveMeta), live_revision);
    unchanged.when(&key, key_revision).put(key, json(state))
}

/// Returns the transaction with which a Janus node deletes the room's `janus` key. The deletion succeeds only
/// if the key still has the revision that the node has read.
pub fn janus_key_gone(room: &RoomId, key_revision: i64) -> Txn {
    let key = keys::room(room, RoomPart::Janus);
    Txn::new().when(&key, key_revision).delete(key)
}

/// Returns the transaction that deletes a completed request to mute everybody. It has no effect if a newer
/// request has replaced this one.
pub fn mute_done(room: &RoomId, key_revision: i64) -> Txn {
    let key = keys::room(room, RoomPart::Mute);
    Txn::new().when(&key, key_revision).delete(key)
}

/// Returns the transaction with which a Janus node writes the states of a room's sources. The write succeeds
/// only if `livemeta` and the key still have the revisions that the node has read.
pub fn sources(room: &RoomId, sources: &Sources, live_revision: i64, key_revision: i64) -> Txn {
    let key = keys::room(room, RoomPart::Sources);
    let unchanged = Txn::new().when(keys::room(room, RoomPart::LiveMeta), live_revision);
    unchanged.when(&key, key_revision).put(key, json(sources))
}

/// Returns the transaction of a mixer node's store effect: it writes or deletes the mixer's key, or writes
/// sequence numbers, if the revisions that the node acted on are unchanged.
pub fn mixer(room: &RoomId, effect: &StoreEffect) -> Txn {
    let key = |part| keys::room(room, part);
    match effect {
        StoreEffect::Claim { live_revision, key: claim, numbers } => {
            let mut txn = Txn::new().when(key(RoomPart::LiveMeta), *live_revision);
            if let Some(claim) = claim {
                let mixer = key(RoomPart::Mixer);
                txn = txn.when(&mixer, claim.key_revision).put(mixer, json(&claim.state));
            }
            if let Some(numbers) = numbers {
                let sequence = key(RoomPart::Sequence);
                txn = txn.when(&sequence, numbers.key_revision).put(sequence, json(&numbers.ceiling));
            }
            txn
        }
        StoreEffect::DeleteKey { key_revision } => {
            Txn::new().when(key(RoomPart::Mixer), *key_revision).delete(key(RoomPart::Mixer))
        }
        StoreEffect::Release { exact, key_revision } => {
            Txn::new().when(key(RoomPart::Sequence), *key_revision).put(key(RoomPart::Sequence), json(exact))
        }
    }
}

/// Returns the transaction that writes the leader's key under its lease, if the key's revision is `over`.
pub fn leader(leader: &Leader, over: i64) -> Txn {
    Txn::new().when(LEADER, over).put_leased(LEADER, json(leader), LeaseId(leader.lease))
}

/// Returns the transaction that gives the room its next assignment, and that assignment. It commits only if
/// the room is unchanged since the decision, this node is still the leader, and the heartbeat of a vanished
/// module is still absent. Returns `None` if `view` is not the state that the decision was based on.
pub fn moved(guard: &LeaderGuard, order: &RoomMove, view: &RoomView) -> Option<(Txn, LiveMeta)> {
    let judged = view.live.as_ref().filter(|live| live.mod_revision == order.live_revision);
    let write = judged.and_then(|_| next_assignment(view, order.to.clone(), order.is_in_good_order()))?;
    let mut txn = txn(&order.room, view, &write).when(&guard.key, guard.revision);
    for gone in order.leaves.iter().filter(|d| d.cause == Cause::Vanished) {
        txn = txn.when_absent(keys::module(gone.kind, &gone.from, ModulePart::Heartbeat));
    }
    let RoomWrite::Put { live: Some(live), .. } = write else { return None };
    Some((txn, live))
}

/// Returns the transaction that labels a module as drained, if its cordon label is unchanged since the
/// decision and this node is still the leader.
pub fn drained(guard: &LeaderGuard, module: &DrainedLabel) -> Txn {
    let key = keys::module(module.kind, &module.id, ModulePart::Mark);
    let lease = module.mark.lease;
    let value = json(&Mark { label: MarkLabel::Drained, lease });
    let txn = Txn::new().when(&guard.key, guard.revision).when(&key, module.mark.mod_revision);
    match lease {
        Some(lease) => txn.put_leased(key, value, LeaseId(lease)),
        None => txn.put(key, value),
    }
}

/// Returns the transaction that deletes the orphaned keys of a room, if they are unchanged since `view` and
/// the room is still not live.
pub fn orphans_removed(room: &RoomId, view: &RoomView, left: &OrphanedKeys) -> Txn {
    let key = |part| keys::room(room, part);
    let mut txn = Txn::new()
        .when(key(RoomPart::Meta), revision(view, RoomPart::Meta))
        .when_absent(key(RoomPart::LiveMeta));
    for part in &left.parts {
        txn = txn.when(key(*part), revision(view, *part)).delete(key(*part));
    }
    // No user key is added while there is no meta, because a write of a user compares meta.
    if left.users && view.meta.is_none() {
        txn = txn.delete_prefix(keys::users(room));
    }
    txn
}

fn revision(view: &RoomView, part: RoomPart) -> i64 {
    fn of<T>(value: &Option<StoredValue<T>>) -> i64 {
        value.as_ref().map_or(0, |v| v.mod_revision)
    }
    match part {
        RoomPart::Meta => of(&view.meta),
        RoomPart::LiveMeta => of(&view.live),
        RoomPart::Janus => of(&view.janus),
        RoomPart::Mixer => of(&view.mixer),
        RoomPart::Sequence => of(&view.sequence),
        RoomPart::Recording => of(&view.recording),
        RoomPart::Mute => of(&view.mute),
        RoomPart::Anchors => of(&view.anchors),
        RoomPart::Outputs => of(&view.outputs),
        RoomPart::OutputStates => of(&view.output_states),
        RoomPart::Sources => of(&view.sources),
    }
}

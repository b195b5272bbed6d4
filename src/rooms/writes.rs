//! What is written beside the room API, as transactions: by modules of their rooms, by the leader of all.
//!
//! Each compares what it rests on, so whoever is superseded writes nothing. Owns: what is compared. Never does: send.

use crate::domain::housekeeping::LeftBehind;
use crate::domain::ids::RoomId;
use crate::domain::keys::{self, LEADER, ModulePart, RoomPart};
use crate::domain::mixer_room::StoreEffect;
use crate::domain::model::{JanusState, Leader, LiveMeta, Mark, MarkLabel};
use crate::domain::reassign::{Cause, Drained, Reassignment};
use crate::domain::room::{RoomWrite, reassignment};
use crate::domain::view::{RoomView, Versioned};
use crate::store::{LeaseId, Txn};

use super::Fence;
use super::txn::{json, txn};

/// A janus node's key, if livemeta is still as it acted on, and the key as it knows it.
pub fn janus_key(room: &RoomId, state: &JanusState, live_revision: i64, key_revision: i64) -> Txn {
    let key = keys::room(room, RoomPart::Janus);
    let unchanged = Txn::new().when(keys::room(room, RoomPart::LiveMeta), live_revision);
    unchanged.when(&key, key_revision).put(key, json(state))
}

/// Takes a janus node's key away, if it is as it knows it.
pub fn janus_key_gone(room: &RoomId, key_revision: i64) -> Txn {
    let key = keys::room(room, RoomPart::Janus);
    Txn::new().when(&key, key_revision).delete(key)
}

/// A mixer node's key and numbers.
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

/// Puts the leader's key under its lease, if it is at `over`.
pub fn leader(leader: &Leader, over: i64) -> Txn {
    Txn::new().when(LEADER, over).put_leased(LEADER, json(leader), LeaseId(leader.lease))
}

/// Gives the room its next assignment, if the room is as it was judged, we still keep house, and who was taken for
/// vanished has not come back. `None`: `view` is not what it was judged from.
pub fn moved(fence: &Fence, order: &Reassignment, view: &RoomView) -> Option<(Txn, LiveMeta)> {
    let judged = view.live.as_ref().filter(|live| live.mod_revision == order.live_revision);
    let write = judged.and_then(|_| reassignment(view, order.to.clone(), order.is_in_good_order()))?;
    let mut txn = txn(&order.room, view, &write).when(&fence.key, fence.revision);
    for gone in order.leaves.iter().filter(|d| d.cause == Cause::Vanished) {
        txn = txn.when_absent(keys::module(gone.kind, &gone.from, ModulePart::Heartbeat));
    }
    let RoomWrite::Put { live: Some(live), .. } = write else { return None };
    Some((txn, live))
}

/// Says that a module has no room any more, if its mark is as it was judged and we keep house.
pub fn drained(fence: &Fence, module: &Drained) -> Txn {
    let key = keys::module(module.kind, &module.id, ModulePart::Mark);
    let lease = module.mark.lease;
    let value = json(&Mark { label: MarkLabel::Drained, lease });
    let txn = Txn::new().when(&fence.key, fence.revision).when(&key, module.mark.mod_revision);
    match lease {
        Some(lease) => txn.put_leased(key, value, LeaseId(lease)),
        None => txn.put(key, value),
    }
}

/// Deletes what is left of a room, if it is as `view` shows it and still not live.
pub fn swept(room: &RoomId, view: &RoomView, left: &LeftBehind) -> Txn {
    let key = |part| keys::room(room, part);
    let mut txn = Txn::new()
        .when(key(RoomPart::Meta), revision(view, RoomPart::Meta))
        .when_absent(key(RoomPart::LiveMeta));
    for part in &left.parts {
        txn = txn.when(key(*part), revision(view, *part)).delete(key(*part));
    }
    // None comes while there is no meta: who makes one compares it.
    if left.users && view.meta.is_none() {
        txn = txn.delete_prefix(keys::users(room));
    }
    txn
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

//! A `RoomWrite` as a store transaction, and a room as the store has it now.
//!
//! Every transaction compares the revisions of the keys its decision was made from: whatever changed in
//! between makes it a conflict, and the room is read and judged anew.

use bytes::Bytes;
use serde::Serialize;

use crate::domain::ids::{RoomId, UserId};
use crate::domain::keys::{self, RoomPart};
use crate::domain::model::User;
use crate::domain::room::RoomWrite;
use crate::domain::view::{RoomView, Versioned};
use crate::store::{Listing, Revision, Store, Txn};

use super::RoomError;

/// A room as of `revision` of the store.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub view: RoomView,
    pub revision: Revision,
}

/// The keys of one room, linearizable.
pub(super) async fn read(store: &dyn Store, room: &RoomId) -> Result<Read, RoomError> {
    let Listing { revision, entries } = store.list(&prefix(room)).await?;
    let mut view = RoomView::default();
    for entry in entries {
        let Some((_, key)) = keys::parse_room(&entry.key) else { continue };
        // Its text would quote the value, which may hold a pin.
        let malformed = view.apply(key, Some((&entry.value, entry.mod_revision))).is_err();
        if malformed {
            return Err(RoomError::Corrupt { key: entry.key });
        }
    }
    Ok(Read { view, revision })
}

/// Deletes every key of the room, whatever is in it, while its own keys are as they are now.
pub(super) async fn clear_as_is(store: &dyn Store, room: &RoomId) -> Result<Txn, RoomError> {
    let listed = store.list(&prefix(room)).await?;
    let at = |key: &str| listed.entries.iter().find(|e| e.key == key).map_or(0, |e| e.mod_revision);
    let keys = RoomPart::ALL.map(|part| keys::room(room, part));
    let as_is = keys.iter().fold(Txn::new(), |txn, key| txn.when(key, at(key)));
    Ok(as_is.delete_prefix(prefix(room)))
}

/// Holds only while the room is as in `view`.
pub(crate) fn txn(room: &RoomId, view: &RoomView, write: &RoomWrite) -> Txn {
    let key = |part| keys::room(room, part);
    let (meta, live) = (key(RoomPart::Meta), key(RoomPart::LiveMeta));
    let unchanged = Txn::new().when(&meta, revision(&view.meta)).when(&live, revision(&view.live));
    let let_go = |txn: Txn| {
        txn.when(key(RoomPart::Janus), revision(&view.janus))
            .when(key(RoomPart::Mixer), revision(&view.mixer))
    };
    match write {
        RoomWrite::Put { meta: m, live: l } => put(put(unchanged, &meta, m), &live, l),
        RoomWrite::ClearLive => {
            let_go(unchanged).delete(live).delete(key(RoomPart::Janus)).delete(key(RoomPart::Mixer))
        }
        RoomWrite::ClearAll => let_go(unchanged).delete_prefix(prefix(room)),
        RoomWrite::User { id, user, forgotten } => put_user(room, view, (id, user), forgotten.as_ref()),
    }
}

/// Compares `meta`, which a delete changes or removes, so that no user outlives the room; and not
/// `livemeta`: to be invited or removed has nothing to do with being on air.
fn put_user(room: &RoomId, view: &RoomView, (id, user): (&UserId, &User), forgotten: Option<&UserId>) -> Txn {
    let known = |id: &UserId| view.users.get(id).map_or(0, |user| user.mod_revision);
    let key = keys::user(room, id);
    let txn = Txn::new().when(keys::room(room, RoomPart::Meta), revision(&view.meta));
    let txn = txn.when(&key, known(id)).put(&key, json(user));
    match forgotten {
        Some(forgotten) => {
            let key = keys::user(room, forgotten);
            txn.when(&key, known(forgotten)).delete(key)
        }
        None => txn,
    }
}

/// Values of ours as JSON.
pub(super) fn json(value: &impl Serialize) -> Bytes {
    // Plain structs with string keys: serializing them has no way to fail.
    serde_json::to_vec(value).expect("store values serialize").into()
}

fn put<T: Serialize>(txn: Txn, key: &str, value: &Option<T>) -> Txn {
    match value {
        Some(value) => txn.put(key, json(value)),
        None => txn,
    }
}

fn revision<T>(value: &Option<Versioned<T>>) -> Revision {
    value.as_ref().map_or(0, |v| v.mod_revision)
}

fn prefix(room: &RoomId) -> String {
    format!("{}{room}/", keys::ROOMS)
}

//! Converts a `RoomWrite` to a store transaction, and reads the current state of a room from the store.
//!
//! Every transaction compares the revisions of the keys that its decision is based on. If one of them has
//! changed, the transaction is a conflict, and the caller reads the room and decides again.

use bytes::Bytes;
use serde::Serialize;

use crate::domain::events::{self, EventId, EventRecord, EventType, NewEvent};
use crate::domain::ids::{RoomId, UserId};
use crate::domain::keys::{self, RoomPart};
use crate::domain::model::User;
use crate::domain::room::RoomWrite;
use crate::domain::view::{RoomView, StoredValue};
use crate::store::{Listing, Revision, Store, Txn};

use super::{RoomError, now};

/// Room as of `revision` of the store.
#[derive(Debug, Clone)]
pub(super) struct RoomRead {
    pub view: RoomView,
    pub revision: Revision,
}

/// Reads the keys of one room. The read is linearizable.
///
/// # Errors
/// [`RoomError::Corrupt`] if a value cannot be parsed, or a store error.
pub(super) async fn read(store: &dyn Store, room: &RoomId) -> Result<RoomRead, RoomError> {
    let Listing { revision, entries } = store.list(&prefix(room)).await?;
    let mut view = RoomView::default();
    for entry in entries {
        let Some((_, key)) = keys::parse_room(&entry.key) else { continue };
        // The parser's error is dropped: it would quote the value, which may hold a pin.
        let malformed = view.apply(key, Some((&entry.value, entry.mod_revision))).is_err();
        if malformed {
            return Err(RoomError::Corrupt { key: entry.key });
        }
    }
    Ok(RoomRead { view, revision })
}

/// Builds a transaction that deletes every key of the room, readable or not. It commits only if the room's
/// own keys have not changed since they were read here.
pub(super) async fn clear_as_is(store: &dyn Store, room: &RoomId) -> Result<Txn, RoomError> {
    let listed = store.list(&prefix(room)).await?;
    let at = |key: &str| listed.entries.iter().find(|e| e.key == key).map_or(0, |e| e.mod_revision);
    let keys = RoomPart::ALL.map(|part| keys::room(room, part));
    let as_is = keys.iter().fold(Txn::new(), |txn, key| txn.when(key, at(key)));
    let deleted = NewEvent { kind: EventType::RoomDeleted, data: serde_json::json!({}) };
    Ok(with_events(as_is.delete_prefix(prefix(room)), room, vec![deleted]))
}

/// Adds events to the transaction of the change that they report.
pub(super) fn with_events(txn: Txn, room: &RoomId, events: Vec<NewEvent>) -> Txn {
    let (random, now) = (rand::random(), now());
    (0..).zip(events).fold(txn, |txn, (index, event)| {
        let key = keys::event(room, &EventId::new(random, index));
        txn.put(key, json(&EventRecord::new(event, now)))
    })
}

/// Builds the transaction of a write, with its events. It commits only if the keys that the decision is based
/// on are unchanged since `view`.
pub(crate) fn txn(room: &RoomId, view: &RoomView, write: &RoomWrite) -> Txn {
    let key = |part| keys::room(room, part);
    let (meta, live) = (key(RoomPart::Meta), key(RoomPart::LiveMeta));
    let unchanged = Txn::new().when(&meta, revision(&view.meta)).when(&live, revision(&view.live));
    let let_go = |txn: Txn| {
        txn.when(key(RoomPart::Janus), revision(&view.janus))
            .when(key(RoomPart::Mixer), revision(&view.mixer))
    };
    let txn = match write {
        RoomWrite::Put { meta: m, live: l } => put(put(unchanged, &meta, m), &live, l),
        RoomWrite::Lock { meta: locked, .. } => unchanged.put(meta, json(locked)),
        RoomWrite::ClearLive => {
            let_go(unchanged).delete(live).delete(key(RoomPart::Janus)).delete(key(RoomPart::Mixer))
        }
        RoomWrite::ClearAll => let_go(unchanged).delete_prefix(prefix(room)),
        RoomWrite::Recording(request) => {
            let recording = key(RoomPart::Recording);
            unchanged.when(&recording, revision(&view.recording)).put(recording, json(request))
        }
        RoomWrite::Roles { users, .. } => {
            let txn = Txn::new().when(&meta, revision(&view.meta));
            users.iter().fold(txn, |txn, (id, user)| {
                let (key, known) = (keys::user(room, id), view.users.get(id).map_or(0, |u| u.mod_revision));
                txn.when(&key, known).put(&key, json(user))
            })
        }
        RoomWrite::MuteAll(order) => {
            let mute = key(RoomPart::Mute);
            unchanged.when(&mute, revision(&view.mute)).put(mute, json(order))
        }
        RoomWrite::Muted { .. } => unchanged,
        RoomWrite::Outputs(outputs) => {
            // Do not compare `livemeta`: outputs can change whether or not the room is on air.
            let key = key(RoomPart::Outputs);
            let txn = Txn::new().when(&meta, revision(&view.meta));
            txn.when(&key, revision(&view.outputs)).put(key, json(outputs))
        }
        RoomWrite::Anchors { reported, .. } => {
            let key = key(RoomPart::Anchors);
            unchanged.when(&key, revision(&view.anchors)).put(key, json(reported))
        }
        RoomWrite::Sources(sources) => {
            let key = key(RoomPart::Sources);
            unchanged.when(&key, revision(&view.sources)).put(key, json(sources))
        }
        RoomWrite::User { id, user, forgotten, .. } => {
            put_user(room, view, (id, user.as_ref()), forgotten.as_ref())
        }
    };
    with_events(txn, room, events::of_write(view, write, now()))
}

/// Builds the transaction that writes or deletes a user's record. Compares `meta`, which the deletion of the
/// room changes or removes, so that no record outlives the room. Does not compare `livemeta`, because
/// invitations and bans do not depend on being on air.
fn put_user(
    room: &RoomId,
    view: &RoomView,
    (id, user): (&UserId, Option<&User>),
    forgotten: Option<&UserId>,
) -> Txn {
    let known = |id: &UserId| view.users.get(id).map_or(0, |user| user.mod_revision);
    let key = keys::user(room, id);
    let txn = Txn::new().when(keys::room(room, RoomPart::Meta), revision(&view.meta));
    let txn = txn.when(&key, known(id));
    let txn = match user {
        Some(user) => txn.put(&key, json(user)),
        None => txn.delete(&key),
    };
    match forgotten {
        Some(forgotten) => {
            let key = keys::user(room, forgotten);
            txn.when(&key, known(forgotten)).delete(key)
        }
        None => txn,
    }
}

/// Serializes a value of our own types as JSON.
pub(super) fn json(value: &impl Serialize) -> Bytes {
    // Cannot fail: the types are plain structs with string keys.
    serde_json::to_vec(value).expect("store values serialize").into()
}

fn put<T: Serialize>(txn: Txn, key: &str, value: &Option<T>) -> Txn {
    match value {
        Some(value) => txn.put(key, json(value)),
        None => txn,
    }
}

fn revision<T>(value: &Option<StoredValue<T>>) -> Revision {
    value.as_ref().map_or(0, |v| v.mod_revision)
}

fn prefix(room: &RoomId) -> String {
    format!("{}{room}/", keys::ROOMS)
}

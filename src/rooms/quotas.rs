//! Changes of rooms that count against the quotas of an API key.
//!
//! The store has one entry per API key that serializes these changes: every change also writes the entry, and
//! compares the entry's revision. So the changes happen one after another, even on different nodes, and each
//! of them counts all earlier ones. Two nodes cannot both take the last place. The rules are in
//! `domain::quotas`.

use crate::domain::api_key::{ApiKeyId, KeyLookup};
use crate::domain::ids::RoomId;
use crate::domain::keys;
use crate::domain::quotas::{self, Quotas, Usage};
use crate::domain::room::{Admission, RoomWrite};
use crate::domain::view::RoomView;
use crate::store::StoreError;

use super::service::ATTEMPTS;
use super::txn::{self, RoomRead};
use super::{READ_YOUR_WRITES, RoomError, RoomService, Scope};

impl RoomService {
    /// Returns the API key that created a room, from the cluster cache if the cache has the room.
    ///
    /// # Errors
    /// A store error.
    pub(super) async fn owner(&self, room: &RoomId) -> Result<Option<ApiKeyId>, RoomError> {
        match self.directory.room(room) {
            Some(view) => Ok(quotas::owner(&view).cloned()),
            None => Ok(quotas::owner(&txn::read(&*self.store, room).await?.view).cloned()),
        }
    }

    /// Returns the API key with its quotas, if the key has the quota that `limit` selects.
    ///
    /// # Errors
    /// The node has not listed the API keys yet.
    pub(super) fn limited(
        &self,
        key: Option<&ApiKeyId>,
        limit: impl FnOnce(&Quotas) -> Option<u32>,
    ) -> Result<Option<(ApiKeyId, Quotas)>, RoomError> {
        let Some(id) = key else { return Ok(None) };
        match self.api_keys.lookup(id) {
            KeyLookup::Found(key) => Ok(limit(&key.quotas).map(|_| (id.clone(), key.quotas))),
            KeyLookup::Absent => Ok(None),
            KeyLookup::NotListed => {
                let why = "this node has not finished its first list of the API keys";
                Err(StoreError::Unavailable(why.into()).into())
            }
        }
    }

    /// Makes a change that counts against a quota of `key`. `decide` gets the room and the count of the key's
    /// rooms, which includes every counted change that was committed before this one.
    ///
    /// # Errors
    /// The error of `decide`, a store error, or [`RoomError::Busy`] after [`ATTEMPTS`] conflicts.
    pub(super) async fn change_counted(
        &self,
        key: &ApiKeyId,
        id: &RoomId,
        mut decide: impl FnMut(&RoomRead, Usage) -> Result<Admission<RoomWrite>, RoomError>,
    ) -> Result<RoomView, RoomError> {
        let _turn = self.turn.lock().await;
        let order = keys::quota_order(key);
        for _ in 0..ATTEMPTS {
            // Read this revision first: a counted change after this read then makes the transaction fail with
            // a conflict.
            let latest = self.store.get(&order).await?.map_or(0, |entry| entry.mod_revision);
            let read = txn::read(&*self.store, id).await?;
            if !self.directory.seen(Scope::Rooms, latest, READ_YOUR_WRITES).await {
                let why = "this node does not know the latest rooms of the API key";
                return Err(StoreError::Unavailable(why.into()).into());
            }
            let rooms = self.directory.rooms();
            let usage = Usage::of(key, rooms.values().map(|view| &**view));
            drop(rooms);
            let Admission::Accepted(write) = decide(&read, usage)? else { return Ok(read.view) };
            let txn = txn::txn(id, &read.view, &write).when(&order, latest).put(&order, "{}");
            if let Some(changed) = self.send(id, &read.view, &write, txn).await? {
                return Ok(changed);
            }
        }
        Err(RoomError::Busy)
    }
}

/// Checks that the room still counts against the API key whose quotas were looked up.
///
/// # Errors
/// [`RoomError::Busy`] if a new room has taken the id since the lookup.
pub(super) fn check_owner(room: &RoomView, expected: Option<&ApiKeyId>) -> Result<(), RoomError> {
    match room.meta.is_some() && quotas::owner(room) != expected {
        true => Err(RoomError::Busy),
        false => Ok(()),
    }
}

#[cfg(test)]
#[path = "quotas_tests.rs"]
mod tests;

//! Sources of a room: add, remove, list. The rules are in `domain::sources`.

use crate::domain::ids::{RoomId, UserId};
use crate::domain::sources::{Source, SourceDenied, SourcePolicy, Sources, admit_removal, admit_source};
use crate::domain::view::RoomView;

use super::txn::{self, RoomRead};
use super::{RoomError, RoomService};

impl From<SourceDenied> for RoomError {
    fn from(denied: SourceDenied) -> Self {
        match denied {
            SourceDenied::NoSuchRoom => Self::NotFound,
            SourceDenied::RoomRemoving => Self::Removing,
            other => Self::Source(other),
        }
    }
}

impl RoomService {
    /// Adds a source to a room. `anchors`: number of anchors in the room that are not sources; 0 if it is
    /// unknown.
    ///
    /// # Errors
    /// [`RoomError::Source`] if the source is not permitted or the room is full, or a store error.
    pub async fn add_source(
        &self,
        room: &RoomId,
        id: &UserId,
        source: &Source,
        policy: &SourcePolicy,
        anchors: usize,
    ) -> Result<(), RoomError> {
        let decide = |read: &RoomRead| Ok(admit_source(&read.view, id, source, policy, anchors)?);
        self.change(room, decide).await.map(|_| ())
    }

    /// Removes a source from a room.
    ///
    /// # Errors
    /// [`RoomError::Source`] if there is no such source, or a store error.
    pub async fn remove_source(&self, room: &RoomId, id: &UserId) -> Result<(), RoomError> {
        let decide = |read: &RoomRead| Ok(admit_removal(&read.view, id)?);
        self.change(room, decide).await.map(|_| ())
    }

    /// Removes the source with this id, if `view` has it. The node that plays the source does the same, but
    /// only while the room is open.
    pub(super) async fn drop_source(
        &self,
        room: &RoomId,
        view: &RoomView,
        id: &UserId,
    ) -> Result<(), RoomError> {
        if !view.sources.as_ref().is_some_and(|sources| sources.0.contains_key(id)) {
            return Ok(());
        }
        match self.remove_source(room, id).await {
            Err(RoomError::Source(SourceDenied::NoSuchSource)) => Ok(()),
            done => done,
        }
    }

    /// Returns the sources of a room, from this node's directory like [`get`](Self::get).
    ///
    /// # Errors
    /// [`RoomError::NotFound`] if there is no such room, or a store error.
    pub async fn sources(&self, room: &RoomId) -> Result<Sources, RoomError> {
        let view = match self.directory.room(room) {
            Some(view) => view,
            None => std::sync::Arc::new(txn::read(&*self.store, room).await?.view),
        };
        view.meta.as_ref().ok_or(RoomError::NotFound)?;
        Ok(view.sources.as_ref().map(|sources| sources.value.clone()).unwrap_or_default())
    }
}

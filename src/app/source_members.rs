//! Presence backend that includes the sources of a room as members, which count against `maxAnchors`.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::connection::{FencingToken, JoinOutcome, LockKey, UpdateOutcome};
use crate::domain::ids::RoomId;
use crate::presence::{EventStream, MembersChanged, Presence, PresenceEntry, PresenceError};
use crate::rooms::Directory;

/// Wrapper of a presence backend. Sources are stored in the room's keys and not in the backend, so the
/// wrapper adds them to lists and counts them on joins.
pub struct SourceMembers {
    pub inner: Arc<dyn Presence>,
    pub directory: Arc<Directory>,
}

#[async_trait]
impl Presence for SourceMembers {
    async fn join(
        &self,
        room: &RoomId,
        member: &PresenceEntry,
        max_anchors: usize,
    ) -> Result<JoinOutcome, PresenceError> {
        let taken = self.directory.room(room).map_or(0, |view| view.present_sources().count());
        self.inner.join(room, member, max_anchors.saturating_sub(taken)).await
    }

    async fn update(&self, room: &RoomId, member: &PresenceEntry) -> Result<UpdateOutcome, PresenceError> {
        self.inner.update(room, member).await
    }

    async fn leave(&self, key: &LockKey, token: FencingToken) -> Result<UpdateOutcome, PresenceError> {
        self.inner.leave(key, token).await
    }

    async fn forget(&self, key: &LockKey) -> Result<(), PresenceError> {
        self.inner.forget(key).await
    }

    async fn list(&self, room: &RoomId) -> Result<Vec<PresenceEntry>, PresenceError> {
        let mut members = self.inner.list(room).await?;
        if let Some(view) = self.directory.room(room) {
            members.extend(view.source_members());
            members.sort_by(|a, b| a.user_id.cmp(&b.user_id));
        }
        Ok(members)
    }

    async fn remove_room(&self, room: &RoomId) -> Result<(), PresenceError> {
        self.inner.remove_room(room).await
    }

    fn subscribe(&self) -> EventStream<MembersChanged> {
        self.inner.subscribe()
    }
}

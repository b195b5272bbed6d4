//! Queries for the anchors of a room, with a time limit.
//!
//! Owns: the time limit of a query. If presence does not answer within [`PATIENCE`], answers omit the
//! anchors.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use crate::domain::ids::RoomId;
use crate::presence::{Presence, PresenceEntry};
use crate::rooms::Directory;

/// Maximum time that an answer waits for presence, no matter how many rooms it names.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// Maximum number of concurrent queries for one answer.
const AT_ONCE: usize = 16;

/// Members that presence lists, without users who are not allowed to speak. Presence can still list such a
/// user: if a user is removed from the room while disconnected, the entry is deleted only later.
pub struct PresentUsers {
    pub presence: Arc<dyn Presence>,
    pub directory: Arc<Directory>,
}

impl PresentUsers {
    /// Returns the members of the room, across all gateways; `None` if they are not known now.
    async fn members(&self, room: &RoomId) -> Option<Vec<PresenceEntry>> {
        let mut members = self.presence.list(room).await.ok()?;
        if let Some(view) = self.directory.room(room) {
            members.retain(|member| !view.is_off_stage(&member.user_id));
        }
        Some(members)
    }
}

/// Returns the members of a room; `None` on a node without presence, or while presence does not answer.
pub async fn members(anchors: Option<&PresentUsers>, room: &RoomId) -> Option<Vec<PresenceEntry>> {
    tokio::time::timeout(PATIENCE, anchors?.members(room)).await.ok().flatten()
}

/// Returns the number of members of each of `rooms`. Omits rooms whose number is not known.
pub async fn counts(anchors: Option<&PresentUsers>, rooms: &[&RoomId]) -> HashMap<RoomId, usize> {
    let Some(anchors) = anchors else { return HashMap::new() };
    let asked = futures::stream::iter(rooms)
        .map(|room| async move { Some(((*room).clone(), anchors.members(room).await?.len())) });
    let answers = asked.buffer_unordered(AT_ONCE).take_until(tokio::time::sleep(PATIENCE));
    answers.filter_map(std::future::ready).collect().await
}

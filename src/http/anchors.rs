//! Who is in a room as anchor, for those who only ask about it.
//!
//! Owns: how long an answer may take. Never does: hold up a page or a list because presence is away; then it
//! is not known.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;

use crate::domain::ids::RoomId;
use crate::presence::{Member, Presence};
use crate::rooms::Directory;

/// All that an answer waits for presence, however many rooms it names.
const PATIENCE: Duration = Duration::from_millis(500);
/// Rooms asked about at the same time.
const AT_ONCE: usize = 16;

#[async_trait]
pub trait Anchors: Send + Sync + 'static {
    /// Those in the room, on whichever gateway; `None` if that cannot be told now.
    async fn members(&self, room: &RoomId) -> Option<Vec<Member>>;
}

/// As presence has it, without those who were removed: of one who was away then it is forgotten later.
pub struct Present {
    pub presence: Arc<dyn Presence>,
    pub directory: Arc<Directory>,
}

#[async_trait]
impl Anchors for Present {
    async fn members(&self, room: &RoomId) -> Option<Vec<Member>> {
        let mut members = self.presence.list(room).await.ok()?;
        if let Some(view) = self.directory.room(room) {
            members.retain(|member| !view.is_removed(&member.user_id));
        }
        Some(members)
    }
}

/// `None` on a node that has no presence, or while it does not answer.
pub async fn members(anchors: Option<&dyn Anchors>, room: &RoomId) -> Option<Vec<Member>> {
    tokio::time::timeout(PATIENCE, anchors?.members(room)).await.ok().flatten()
}

/// How many there are in each of `rooms`; those of whom it is not known are left out.
pub async fn counts(anchors: Option<&dyn Anchors>, rooms: &[&RoomId]) -> HashMap<RoomId, usize> {
    let Some(anchors) = anchors else { return HashMap::new() };
    let asked = futures::stream::iter(rooms)
        .map(|room| async move { Some(((*room).clone(), anchors.members(room).await?.len())) });
    let answers = asked.buffer_unordered(AT_ONCE).take_until(tokio::time::sleep(PATIENCE));
    answers.filter_map(std::future::ready).collect().await
}

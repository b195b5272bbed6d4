//! Content keys of the rooms on air, whichever node mixes them.
//!
//! Owns: the decision which keys are given out. Never does: check a token's signature, or store a key.

use std::sync::Arc;

use async_trait::async_trait;

use super::knows_rooms;
use crate::auth::Secrets;
use crate::domain::grant::Grant;
use crate::domain::ids::RoomId;
use crate::domain::key_window::KeyWindow;
use crate::http::hls::{KeyRefusal, KeyService, LiveMedia, MediaRefusal};
use crate::packager::ContentKeys;
use crate::rooms::Directory;

pub struct NodeKeys {
    pub directory: Arc<Directory>,
    pub secrets: Arc<Secrets>,
    /// Playlists of all rooms. They show which keys are in use.
    pub media: Arc<dyn LiveMedia>,
    /// Number of segments per key.
    pub rotation: u64,
}

#[async_trait]
impl KeyService for NodeKeys {
    /// Derives the key for every request: a cache could outlive the room.
    async fn key(
        &self,
        room: &RoomId,
        grant: &Grant,
        hint: &str,
        index: u64,
    ) -> Result<[u8; 16], KeyRefusal> {
        if !knows_rooms(&self.directory).await {
            return Err(KeyRefusal::Unavailable);
        }
        let view = self.directory.room(room).ok_or(KeyRefusal::NotOnAir)?;
        let meta = view.meta.as_ref().ok_or(KeyRefusal::NotOnAir)?;
        if !grant.is_for(meta) {
            return Err(KeyRefusal::EarlierRoom);
        }
        let live = view.live.as_ref().filter(|_| view.is_on_air()).ok_or(KeyRefusal::NotOnAir)?;
        let keys = ContentKeys::new(&self.secrets.hls.0, room, &live.nonce);
        if keys.hint().to_string() != hint {
            return Err(KeyRefusal::NoSuchKey);
        }
        let playlist = self.media.playlist(room, None).await.map_err(unknown_window)?;
        let text = str::from_utf8(playlist.plain()).unwrap_or_default();
        let window = KeyWindow::of(text, self.rotation).ok_or(KeyRefusal::NotYet)?;
        match window.contains(index) || self.is_rewindable(room, index).await {
            true => Ok(keys.key(index)),
            false => Err(KeyRefusal::OutOfWindow),
        }
    }
}

impl NodeKeys {
    /// Returns true if the rewind window of the room has segments with this key.
    async fn is_rewindable(&self, room: &RoomId, index: u64) -> bool {
        let keys = self.media.rewind(room).await.ok().and_then(|rewind| rewind.keys());
        keys.is_some_and(|keys| keys.contains(index))
    }
}

fn unknown_window(refusal: MediaRefusal) -> KeyRefusal {
    match refusal {
        MediaRefusal::NoSuchRoom | MediaRefusal::NotOnAir => KeyRefusal::NotOnAir,
        MediaRefusal::NotYet => KeyRefusal::NotYet,
        _ => KeyRefusal::Unavailable,
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;

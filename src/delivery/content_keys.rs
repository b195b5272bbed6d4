//! Content keys of the rooms on air, whichever node mixes them.
//!
//! Owns: the decision about which keys are given out. Does not check a token's signature, or store a key.

use std::sync::Arc;

use super::{LiveMedia, knows_rooms};
use crate::auth::Secrets;
use crate::domain::grant::Grant;
use crate::domain::ids::RoomId;
use crate::domain::key_window::KeyWindow;
use crate::packager::{ContentKeys, MediaError};
use crate::rooms::Directory;

pub struct ContentKeyPolicy {
    pub directory: Arc<Directory>,
    pub secrets: Arc<Secrets>,
    /// Number of segments per key.
    pub rotation: u64,
}

impl ContentKeyPolicy {
    /// Returns a content key, derived for every request because a cached key could outlive the room. `media`
    /// determines which keys are in use.
    pub async fn key(
        &self,
        media: &dyn LiveMedia,
        room: &RoomId,
        grant: &Grant,
        hint: &str,
        index: u64,
    ) -> Result<[u8; 16], MediaError> {
        if !knows_rooms(&self.directory).await {
            return Err(MediaError::KeysUnknown);
        }
        let view = self.directory.room(room).ok_or(MediaError::KeyRefused)?;
        let meta = view.meta.as_ref().ok_or(MediaError::KeyRefused)?;
        if !grant.is_for(meta) {
            return Err(MediaError::EarlierRoom);
        }
        let live = view.live.as_ref().filter(|_| view.is_on_air()).ok_or(MediaError::KeyRefused)?;
        let keys = ContentKeys::new(&self.secrets.hls.0, room, &live.nonce);
        if keys.hint().to_string() != hint {
            return Err(MediaError::NoSuchKey);
        }
        let playlist = media.playlist(room, None).await.map_err(unknown_window)?;
        let text = str::from_utf8(playlist.plain()).unwrap_or_default();
        let window = KeyWindow::of(text, self.rotation).ok_or(MediaError::NotYet)?;
        match window.contains(index) || is_rewindable(media, room, index).await {
            true => Ok(keys.key(index)),
            false => Err(MediaError::KeyOutOfWindow),
        }
    }
}

/// Returns true if the rewind window of the room has segments with this key.
async fn is_rewindable(media: &dyn LiveMedia, room: &RoomId, index: u64) -> bool {
    let keys = media.rewind(room).await.ok().and_then(|rewind| rewind.keys());
    keys.is_some_and(|keys| keys.contains(index))
}

fn unknown_window(error: MediaError) -> MediaError {
    match error {
        MediaError::NoSuchRoom | MediaError::NotOnAir => MediaError::KeyRefused,
        MediaError::NotYet => MediaError::NotYet,
        _ => MediaError::KeysUnknown,
    }
}

#[cfg(test)]
#[path = "content_keys_tests.rs"]
mod tests;

//! Rewind windows of this mixer by room, read by the HTTP server.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::blocking;
use super::mixer_client::{FetchError, MixerClient};
use crate::domain::ids::{Nonce, RoomId};
use crate::domain::recording::RecordingId;
use crate::domain::relay_room::Upstream;
use crate::packager::{MediaError, MediaFile, NonceHint, Rewind};
use crate::spool::{Extent, Spool};

pub struct Rewinds {
    spool: Spool,
    /// Client for the media that are still on the room's earlier mixer.
    pub fetcher: MixerClient,
    rooms: RwLock<HashMap<RoomId, KeptRewind>>,
}

/// Window of one broadcast.
#[derive(Clone)]
pub struct KeptRewind {
    pub nonce: Nonce,
    /// Name of the window's folder in the spool.
    pub id: RecordingId,
    pub rewind: Arc<Rewind>,
    pub takeover: Arc<Takeover>,
}

/// State of the takeover of a window by the next mixer of its room.
#[derive(Default)]
pub struct Takeover {
    earlier: Mutex<Option<EarlierMixer>>,
    /// True once the next mixer needs nothing more of the window.
    taken: AtomicBool,
}

/// Mixer that had the room before. It still has media of the window that are not on this disk.
#[derive(Clone)]
pub struct EarlierMixer {
    pub mixer: Upstream,
    /// The media files before this number are not on this disk.
    pub below: u32,
}

impl Takeover {
    pub fn earlier(&self) -> Option<EarlierMixer> {
        self.lock().clone()
    }

    pub fn set_earlier(&self, earlier: Option<EarlierMixer>) {
        *self.lock() = earlier;
    }

    pub fn is_taken(&self) -> bool {
        self.taken.load(Relaxed)
    }

    pub fn set_taken(&self) {
        self.taken.store(true, Relaxed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<EarlierMixer>> {
        // Each change is one assignment.
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rewinds {
    pub fn new(spool: Spool, fetcher: MixerClient) -> Self {
        Self { spool, fetcher, rooms: RwLock::default() }
    }

    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    pub fn get(&self, room: &RoomId) -> Option<KeptRewind> {
        self.read().get(room).cloned()
    }

    /// Returns the window of this broadcast.
    pub fn of_live(&self, room: &RoomId, nonce: &Nonce) -> Option<Arc<Rewind>> {
        self.get(room).filter(|kept| kept.nonce == *nonce).map(|kept| kept.rewind)
    }

    /// Returns the window of the broadcast with this hint, also while the window is lent to another mixer.
    pub fn of_hint(&self, room: &RoomId, hint: NonceHint) -> Option<KeptRewind> {
        self.get(room).filter(|kept| kept.rewind.hint() == hint)
    }

    pub fn all(&self) -> Vec<(RoomId, KeptRewind)> {
        self.read().iter().map(|(room, kept)| (room.clone(), kept.clone())).collect()
    }

    pub fn open(&self, room: RoomId, kept: KeptRewind) {
        self.write().insert(room, kept);
    }

    pub fn close(&self, room: &RoomId) {
        self.write().remove(room);
    }

    pub fn close_all(&self) {
        self.write().clear();
    }

    /// Returns a segment, from the disk or from the earlier mixer. If the request was already `forwarded` by
    /// another mixer, no further mixer is asked.
    pub async fn segment(
        &self,
        room: &RoomId,
        file: &MediaFile,
        forwarded: bool,
    ) -> Result<Bytes, MediaError> {
        let KeptRewind { id, rewind, takeover, .. } = self.get(room).ok_or(MediaError::Gone)?;
        let entry = rewind.entry(file).ok_or(MediaError::Gone)?;
        if let Some(earlier) = takeover.earlier().filter(|earlier| entry.file < earlier.below) {
            if forwarded {
                return Err(MediaError::NotYet);
            }
            let got = self.fetcher.clone().rewind_segment(earlier.mixer, room.clone(), *file).await;
            return got.map_err(|error| match error {
                FetchError::NotYet => MediaError::NotYet,
                FetchError::Gone => MediaError::Gone,
                FetchError::Failed(_) => MediaError::Unavailable,
            });
        }
        let (spool, extent) = (self.spool.clone(), Extent::from(&entry));
        blocking(move || spool.read(&id, extent)).await.map_err(|error| {
            // The segment may have been erased in the meantime.
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%room, %file, %error, "cannot read a segment of the rewind window");
            }
            MediaError::Gone
        })
    }

    /// Returns a whole media file of a window for the next mixer of the room.
    pub async fn media(&self, room: &RoomId, of: NonceHint, number: u32) -> Result<Bytes, MediaError> {
        let KeptRewind { id, takeover, .. } = self.of_hint(room, of).ok_or(MediaError::Gone)?;
        if takeover.earlier().is_some_and(|earlier| number < earlier.below) {
            return Err(MediaError::NotYet);
        }
        let spool = self.spool.clone();
        blocking(move || spool.media(&id, number)).await.map_err(|error| {
            // The file may have been erased in the meantime.
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%room, number, %error, "cannot read a media file of the rewind window");
            }
            MediaError::Gone
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<RoomId, KeptRewind>> {
        // Each change is one assignment, so a panic leaves the map as it was before or after.
        self.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<RoomId, KeptRewind>> {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner)
    }
}

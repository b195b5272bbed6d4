//! Rewind windows of this mixer by room, read by the HTTP server.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use crate::domain::ids::{Nonce, RoomId};
use crate::domain::recording::RecordingId;
use crate::packager::{MediaFile, Rewind};
use crate::spool::{Extent, Spool};

pub struct Rewinds {
    spool: Spool,
    rooms: RwLock<HashMap<RoomId, KeptRewind>>,
}

/// Window of one broadcast.
#[derive(Clone)]
pub struct KeptRewind {
    pub nonce: Nonce,
    /// Name of the window's folder in the spool.
    pub id: RecordingId,
    pub rewind: Arc<Rewind>,
}

impl Rewinds {
    pub fn new(spool: Spool) -> Self {
        Self { spool, rooms: RwLock::default() }
    }

    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    pub fn get(&self, room: &RoomId) -> Option<KeptRewind> {
        self.read().get(room).cloned()
    }

    /// Returns the window of this broadcast.
    pub fn of_live(&self, room: &RoomId, nonce: &Nonce) -> Option<Arc<Rewind>> {
        self.read().get(room).filter(|kept| kept.nonce == *nonce).map(|kept| kept.rewind.clone())
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

    /// Returns a closure that reads a segment from the disk; `None` if no window has it. The segment may be
    /// erased before it is read.
    pub fn segment(
        &self,
        room: &RoomId,
        file: &MediaFile,
    ) -> Option<impl FnOnce() -> io::Result<Bytes> + Send + 'static> {
        let KeptRewind { id, rewind, .. } = self.get(room)?;
        let extent = Extent::from(&rewind.entry(file)?);
        let spool = self.spool.clone();
        Some(move || spool.read(&id, extent))
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<RoomId, KeptRewind>> {
        // Each change is one assignment, so a panic leaves the map as it was before or after.
        self.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<RoomId, KeptRewind>> {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner)
    }
}

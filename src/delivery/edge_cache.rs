//! Edge cache of this node: the rooms that are mixed on other nodes and have listeners here.
//!
//! Owns: the list of followed rooms, and the time at which each is dropped. Does not fetch a playlist (the
//! room's actor does).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use super::MixerClient;
use super::edge_room::{EdgeRoom, Limits};
use super::listener_counter::ListenerCounter;
use crate::clock::Clock;
use crate::config::HlsConfig;
use crate::domain::ids::{Nonce, RoomId};
use crate::packager::{MediaError, MediaFile, PlaylistBody, Rewind};
use crate::rooms::dirty_set::{DirtySet, DirtySlot};

/// Time without a request after which a room is no longer followed.
pub const IDLE: Duration = Duration::from_secs(15);

/// Edge cache of this node: rooms that are mixed elsewhere.
pub struct EdgeCache {
    rooms: RwLock<HashMap<RoomId, Arc<EdgeRoom>>>,
    /// Wakes the supervisor with the ids of newly requested rooms.
    wanted: DirtySlot,
    pub fetcher: MixerClient,
    /// Listeners of this node.
    pub counter: Arc<ListenerCounter>,
    limits: Limits,
    clock: Clock,
}

impl EdgeCache {
    /// Creates the cache. `hls` must equal the mixers' configuration.
    pub fn new(fetcher: MixerClient, counter: Arc<ListenerCounter>, hls: &HlsConfig, clock: Clock) -> Self {
        Self {
            rooms: RwLock::default(),
            wanted: DirtySlot::default(),
            fetcher,
            counter,
            limits: Limits::new(hls),
            clock,
        }
    }

    /// Returns the same playlist as [`LiveStream::playlist`](crate::packager::LiveStream::playlist) on the
    /// room's mixer. Never returns a playlist of an earlier broadcast.
    pub async fn playlist(
        &self,
        room: &RoomId,
        of: &Nonce,
        at: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistBody, MediaError> {
        self.follow(room).playlist(of, at).await
    }

    /// Returns the same file as [`LiveStream::file`](crate::packager::LiveStream::file) on the room's mixer.
    pub async fn file(&self, room: &RoomId, file: &MediaFile) -> Result<Bytes, MediaError> {
        self.follow(room).file(*file, &self.fetcher, self.clock.now()).await
    }

    /// Returns a playlist of the last broadcast as long as that playlist is cached. Requests do not extend
    /// this time.
    pub async fn last_playlist(&self, room: &RoomId, at: Option<(u64, Option<u32>)>) -> Option<PlaylistBody> {
        self.get(room)?.last_playlist(at).await
    }

    /// Returns the rewind window of this broadcast, at most a second old.
    pub async fn rewind(&self, room: &RoomId, of: &Nonce) -> Result<Arc<Rewind>, MediaError> {
        self.follow(room).rewind(of, &self.fetcher, self.clock.now()).await
    }

    /// Returns the rewind window of the last broadcast while the room is cached.
    pub async fn last_rewind(&self, room: &RoomId) -> Option<Arc<Rewind>> {
        self.get(room)?.last_rewind(&self.fetcher, self.clock.now()).await
    }

    /// Returns true if a playlist of the room is cached.
    pub fn has_playlist(&self, room: &RoomId) -> bool {
        self.get(room).is_some_and(|held| held.newest().is_some())
    }

    /// Returns the room's cache and starts to follow the room if it was not followed.
    fn follow(&self, room: &RoomId) -> Arc<EdgeRoom> {
        let now = self.clock.now();
        // The room is marked as requested while the lock is held, so that `forget_idle` does not remove it.
        let known = {
            let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
            rooms.get(room).inspect(|held| held.asked(now)).cloned()
        };
        known.unwrap_or_else(|| {
            let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
            let held = rooms
                .entry(room.clone())
                .or_insert_with(|| Arc::new(EdgeRoom::new(room.clone(), self.limits)));
            held.asked(now);
            self.wanted.changed([room.clone()]);
            held.clone()
        })
    }

    pub fn get(&self, room: &RoomId) -> Option<Arc<EdgeRoom>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).get(room).cloned()
    }

    pub fn all(&self) -> Vec<RoomId> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub fn attach(&self, dirty: DirtySet) {
        self.wanted.attach(dirty);
    }

    /// Removes the room if there was no request for it within [`IDLE`]. Returns true if the room is not
    /// cached afterwards.
    pub fn forget_idle(&self, room: &RoomId) -> bool {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let idle = rooms.get(room).is_none_or(|held| held.idle_for(now) > IDLE);
        if idle {
            rooms.remove(room);
        }
        idle
    }
}

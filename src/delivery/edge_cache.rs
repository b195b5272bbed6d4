//! Role `hls`: rooms mixed on other nodes, each fetched once and cached for this node's listeners.
//!
//! ```text
//! RelaySupervisor
//! └─ RelayRoomActor*   one per room that has listeners here and is mixed elsewhere
//! ```
//! Requests of listeners never reach an actor: they read the cache, wait for it to change, and share one
//! request per file that is not cached yet.

mod edge_rewind;
mod edge_room;
mod files;
mod mixer_client;
mod room;
pub mod supervisor;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use super::context::Clock;
use super::dirty_rooms::DirtyRooms;
use crate::config::HlsConfig;
use crate::domain::ids::{Nonce, RoomId};
use crate::packager::{MediaFile, NotServed, PlaylistBody, Rewind};
use crate::rooms::listener_counter::ListenerCounter;
use edge_room::{EdgeRoom, Limits};
pub use mixer_client::MixerClient;

/// Time without a request after which a room is no longer followed.
const IDLE: Duration = Duration::from_secs(15);

/// Edge cache of this node: rooms that are mixed elsewhere.
pub struct EdgeCache {
    rooms: RwLock<HashMap<RoomId, Arc<EdgeRoom>>>,
    /// Wakes the supervisor with the ids of newly requested rooms.
    wanted: Mutex<Option<DirtyRooms>>,
    fetcher: MixerClient,
    /// Listeners of this node.
    audience: Arc<ListenerCounter>,
    limits: Limits,
    clock: Clock,
}

impl EdgeCache {
    /// Creates the cache. `hls` must be the mixers' configuration.
    pub fn new(fetcher: MixerClient, audience: Arc<ListenerCounter>, hls: &HlsConfig, clock: Clock) -> Self {
        Self {
            rooms: RwLock::default(),
            wanted: Mutex::new(None),
            fetcher,
            audience,
            limits: Limits::new(hls),
            clock,
        }
    }

    /// Returns a playlist as [`LiveStream::playlist`](crate::packager::LiveStream::playlist) of the room's mixer
    /// does. Never one of an earlier broadcast.
    pub async fn playlist(
        &self,
        room: &RoomId,
        of: &Nonce,
        at: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistBody, NotServed> {
        self.of(room).playlist(of, at).await
    }

    /// Returns a file as [`LiveStream::file`](crate::packager::LiveStream::file) of the room's mixer does.
    pub async fn file(&self, room: &RoomId, file: &MediaFile) -> Result<Bytes, NotServed> {
        self.of(room).file(*file, &self.fetcher, self.clock.now()).await
    }

    /// Returns a playlist of the last broadcast while it is cached. Requests for it do not keep it cached.
    pub async fn last_playlist(&self, room: &RoomId, at: Option<(u64, Option<u32>)>) -> Option<PlaylistBody> {
        self.held(room)?.last_playlist(at).await
    }

    /// Returns the rewind window of this broadcast, at most a second old.
    pub async fn rewind(&self, room: &RoomId, of: &Nonce) -> Result<Arc<Rewind>, NotServed> {
        self.of(room).rewind(of, &self.fetcher, self.clock.now()).await
    }

    /// Returns the rewind window of the last broadcast while the room is cached.
    pub async fn last_rewind(&self, room: &RoomId) -> Option<Arc<Rewind>> {
        self.held(room)?.last_rewind(&self.fetcher, self.clock.now()).await
    }

    /// Returns true if a playlist of the room is cached.
    pub fn has_playlist(&self, room: &RoomId) -> bool {
        self.held(room).is_some_and(|held| held.newest().is_some())
    }

    /// Returns the room's cache and starts to follow the room if it was not followed.
    fn of(&self, room: &RoomId) -> Arc<EdgeRoom> {
        let now = self.clock.now();
        // Marked as requested under the lock: see `forget_idle`.
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
            if let Some(news) = &*self.wanted.lock().unwrap_or_else(PoisonError::into_inner) {
                news.changed([room.clone()]);
            }
            held.clone()
        })
    }

    fn held(&self, room: &RoomId) -> Option<Arc<EdgeRoom>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).get(room).cloned()
    }

    fn all(&self) -> Vec<RoomId> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn attach(&self, news: DirtyRooms) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(news);
    }

    /// Removes the room and returns true if nobody has requested it lately.
    fn forget_idle(&self, room: &RoomId) -> bool {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let idle = rooms.get(room).is_none_or(|held| held.idle_for(now) > IDLE);
        if idle {
            rooms.remove(room);
        }
        idle
    }
}

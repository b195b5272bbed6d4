//! Role `hls`: rooms that are mixed on other nodes, each fetched once and held for this node's listeners.
//!
//! ```text
//! RelaySupervisor
//! └─ RelayRoom*      one per room somebody listens to here and that is mixed elsewhere
//! ```
//! Listeners' requests never reach an actor: they read what is held, wait for it to change, and share one
//! request per file that is not held yet.

mod fetch;
mod files;
mod held;
mod room;
pub mod supervisor;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use super::context::Clock;
use super::news::News;
use crate::config::HlsConfig;
use crate::domain::ids::{Nonce, RoomId};
use crate::media::{MediaFile, NotServed, PlaylistBody};
use crate::rooms::audience::Audience;
pub use fetch::Fetcher;
use held::{Held, Limits};

/// A room nobody has asked for during this is followed no longer.
const IDLE: Duration = Duration::from_secs(15);

/// What this node holds of rooms that are mixed elsewhere.
pub struct Relays {
    rooms: RwLock<HashMap<RoomId, Arc<Held>>>,
    /// Tells the supervisor of rooms that are wanted.
    wanted: Mutex<Option<News>>,
    fetcher: Fetcher,
    /// Of this node.
    audience: Arc<Audience>,
    limits: Limits,
    clock: Clock,
}

impl Relays {
    /// `hls`: as the mixers are configured.
    pub fn new(fetcher: Fetcher, audience: Arc<Audience>, hls: &HlsConfig, clock: Clock) -> Self {
        Self {
            rooms: RwLock::default(),
            wanted: Mutex::new(None),
            fetcher,
            audience,
            limits: Limits::new(hls),
            clock,
        }
    }

    /// As [`LiveStream::playlist`](crate::media::LiveStream::playlist), of the room's mixer. Never of a live before
    /// this one.
    pub async fn playlist(
        &self,
        room: &RoomId,
        of: &Nonce,
        at: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistBody, NotServed> {
        self.of(room).playlist(of, at).await
    }

    /// As [`LiveStream::file`](crate::media::LiveStream::file), of the room's mixer.
    pub async fn file(&self, room: &RoomId, file: &MediaFile) -> Result<Bytes, NotServed> {
        self.of(room).file(*file, &self.fetcher, self.clock.now()).await
    }

    /// The last playlist of a live that has ended, while it is held.
    pub fn ended(&self, room: &RoomId) -> Option<PlaylistBody> {
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.get(room)?.newest().filter(|playlist| playlist.ended)
    }

    /// The room, followed from now on if it was not.
    fn of(&self, room: &RoomId) -> Arc<Held> {
        let now = self.clock.now();
        // Marked as asked for under the lock: see `forget_idle`.
        let known = {
            let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
            rooms.get(room).inspect(|held| held.asked(now)).cloned()
        };
        known.unwrap_or_else(|| {
            let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
            let held =
                rooms.entry(room.clone()).or_insert_with(|| Arc::new(Held::new(room.clone(), self.limits)));
            held.asked(now);
            if let Some(news) = &*self.wanted.lock().unwrap_or_else(PoisonError::into_inner) {
                news.changed([room.clone()]);
            }
            held.clone()
        })
    }

    fn held(&self, room: &RoomId) -> Option<Arc<Held>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).get(room).cloned()
    }

    fn all(&self) -> Vec<RoomId> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn attach(&self, news: News) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(news);
    }

    /// `true` if nobody has asked for the room lately: it is held no longer.
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

//! Live streams of this mixer by room, read by the HTTP server.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::domain::ids::{Nonce, RoomId};
use crate::packager::LiveStream;

/// Time for which an ended stream is still served, so that every listener learns of the end.
pub const RETAIN: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Streams {
    rooms: RwLock<HashMap<RoomId, RetainedStream>>,
    /// Number of openings, so that a reader can wait for the next one.
    opened: watch::Sender<u64>,
}

struct RetainedStream {
    of: Nonce,
    stream: Arc<LiveStream>,
    ended: Option<Instant>,
}

impl Streams {
    /// Returns the newest stream of the room, including one that ended recently.
    pub fn get(&self, room: &RoomId) -> Option<Arc<LiveStream>> {
        self.read().get(room).map(|kept| kept.stream.clone())
    }

    /// Returns the stream of this broadcast, never that of an earlier one.
    pub fn of_live(&self, room: &RoomId, nonce: &Nonce) -> Option<Arc<LiveStream>> {
        self.read().get(room).filter(|kept| kept.of == *nonce).map(|kept| kept.stream.clone())
    }

    pub fn len(&self) -> usize {
        self.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a stream and replaces the room's previous one.
    pub fn open(&self, room: RoomId, nonce: Nonce, stream: Arc<LiveStream>) {
        self.write().insert(room, RetainedStream { of: nonce, stream, ended: None });
        self.opened.send_modify(|n| *n += 1);
    }

    /// Marks the stream as ended on this node.
    pub fn ended(&self, room: &RoomId, stream: &Arc<LiveStream>) {
        if let Some(kept) = self.write().get_mut(room).filter(|kept| Arc::ptr_eq(&kept.stream, stream)) {
            kept.ended = Some(Instant::now());
        }
    }

    /// Removes streams that ended more than `RETAIN` ago.
    pub fn remove_expired(&self, now: Instant) {
        let is_over = |kept: &RetainedStream| kept.ended.is_some_and(|at| at + RETAIN <= now);
        self.write().retain(|_, kept| !is_over(kept));
    }

    /// Returns a future that resolves when, after this call, a stream of any room is opened.
    pub fn next_opening(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut opened = self.opened.subscribe();
        async move {
            // The sender lives as long as the node.
            let _ = opened.changed().await;
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<RoomId, RetainedStream>> {
        // Each change is one assignment, so a panic leaves the map as it was before or after.
        self.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<RoomId, RetainedStream>> {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The live streams of this mixer, by room: what the HTTP side serves from.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::domain::ids::{Nonce, RoomId};
use crate::media::LiveStream;

/// An ended stream is served this long, so that every listener learns that it has ended.
const RETAIN: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Streams {
    rooms: RwLock<HashMap<RoomId, Kept>>,
    /// Counts openings, so that a reader can wait for the next.
    opened: watch::Sender<u64>,
}

struct Kept {
    of: Nonce,
    stream: Arc<LiveStream>,
    ended: Option<Instant>,
}

impl Streams {
    /// The newest stream of the room, ended ones included for a while.
    pub fn get(&self, room: &RoomId) -> Option<Arc<LiveStream>> {
        self.read().get(room).map(|kept| kept.stream.clone())
    }

    /// The stream of this live; not one of an earlier live of the room.
    pub fn of_live(&self, room: &RoomId, nonce: &Nonce) -> Option<Arc<LiveStream>> {
        self.read().get(room).filter(|kept| kept.of == *nonce).map(|kept| kept.stream.clone())
    }

    pub fn len(&self) -> usize {
        self.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces what the room had.
    pub fn open(&self, room: RoomId, nonce: Nonce, stream: Arc<LiveStream>) {
        self.write().insert(room, Kept { of: nonce, stream, ended: None });
        self.opened.send_modify(|n| *n += 1);
    }

    /// Nothing more comes of this stream here.
    pub fn ended(&self, room: &RoomId, stream: &Arc<LiveStream>) {
        if let Some(kept) = self.write().get_mut(room).filter(|kept| Arc::ptr_eq(&kept.stream, stream)) {
            kept.ended = Some(Instant::now());
        }
    }

    /// Forgets the streams that ended a while ago.
    pub fn sweep(&self, now: Instant) {
        let is_over = |kept: &Kept| kept.ended.is_some_and(|at| at + RETAIN <= now);
        self.write().retain(|_, kept| !is_over(kept));
    }

    /// Resolves at the next opening after this call.
    pub fn next_opening(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut opened = self.opened.subscribe();
        async move {
            // The sender lives as long as the node.
            let _ = opened.changed().await;
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<RoomId, Kept>> {
        // Each change is one assignment, so a panic leaves the map as it was before or after.
        self.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<RoomId, Kept>> {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner)
    }
}

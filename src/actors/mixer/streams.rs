//! The live streams of this mixer, by room: what the HTTP side serves from.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::domain::ids::{Nonce, RoomId};
use crate::media::LiveStream;

#[derive(Default)]
pub struct Streams {
    rooms: RwLock<HashMap<RoomId, (Nonce, Arc<LiveStream>)>>,
    /// Counts openings, so that a reader can wait for the next.
    opened: watch::Sender<u64>,
}

impl Streams {
    /// The newest stream of the room, ended ones included for a while.
    pub fn get(&self, room: &RoomId) -> Option<Arc<LiveStream>> {
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.get(room).map(|(_, stream)| stream.clone())
    }

    /// The stream of this live; not one of an earlier live of the room.
    pub fn of_live(&self, room: &RoomId, nonce: &Nonce) -> Option<Arc<LiveStream>> {
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.get(room).filter(|(of, _)| of == nonce).map(|(_, stream)| stream.clone())
    }

    pub fn len(&self) -> usize {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces what the room had.
    pub fn open(&self, room: RoomId, nonce: Nonce, stream: Arc<LiveStream>) {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner).insert(room, (nonce, stream));
        self.opened.send_modify(|n| *n += 1);
    }

    /// Forgets the stream, unless the room has another by now.
    pub fn forget(&self, room: &RoomId, stream: &Arc<LiveStream>) {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        if rooms.get(room).is_some_and(|(_, current)| Arc::ptr_eq(current, stream)) {
            rooms.remove(room);
        }
    }

    /// Resolves at the next opening after this call.
    pub fn next_opening(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut opened = self.opened.subscribe();
        async move {
            // The sender lives as long as the node.
            let _ = opened.changed().await;
        }
    }
}

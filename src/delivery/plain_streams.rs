//! Plain streams of this node by room: opened by listeners, produced by one actor per room.
//!
//! Owns: the streams, and the wake-ups for newly wanted rooms. Does not fetch a part.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{PlainReader, PlainStream};
use crate::domain::ids::{Nonce, RoomId};
use crate::rooms::dirty_rooms::DirtyRooms;

/// Plain streams of this node.
#[derive(Default)]
pub struct PlainStreams {
    rooms: Mutex<HashMap<RoomId, Arc<PlainStream>>>,
    /// Wakes the supervisor for rooms that are wanted.
    wanted: Mutex<Option<DirtyRooms>>,
}

impl PlainStreams {
    /// Returns a reader of the room's stream. Starts the production of the stream if there is none.
    pub fn open(&self, room: &RoomId, live: &Nonce) -> PlainReader {
        let mut rooms = self.rooms();
        if let Some(stream) = rooms.get(room).filter(|stream| stream.is_of(live) && !stream.is_ended()) {
            return stream.reader();
        }
        let stream = Arc::new(PlainStream::new(live.clone()));
        let reader = stream.reader();
        if let Some(earlier) = rooms.insert(room.clone(), stream) {
            // A new broadcast has started, so the previous one is over.
            earlier.end();
        }
        drop(rooms);
        if let Some(dirty) = &*self.wanted.lock().unwrap_or_else(PoisonError::into_inner) {
            dirty.changed([room.clone()]);
        }
        reader
    }

    pub fn get(&self, room: &RoomId) -> Option<Arc<PlainStream>> {
        self.rooms().get(room).cloned()
    }

    pub fn all(&self) -> Vec<RoomId> {
        self.rooms().keys().cloned().collect()
    }

    pub fn attach(&self, dirty: DirtyRooms) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(dirty);
    }

    /// Removes the stream if it has ended or has no readers. Returns true if the stream need not be produced
    /// any more: it was removed, or another stream has replaced it.
    pub fn retire(&self, room: &RoomId, stream: &Arc<PlainStream>) -> bool {
        let mut rooms = self.rooms();
        let is_current = rooms.get(room).is_some_and(|current| Arc::ptr_eq(current, stream));
        let is_over = stream.is_ended() || stream.readers() == 0;
        if is_current && is_over {
            rooms.remove(room);
        }
        !is_current || is_over
    }

    /// Locks the streams. A poisoned lock is usable, because a panic leaves no change incomplete.
    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Arc<PlainStream>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_produced_while_they_have_readers() {
        let (streams, room, live) =
            (PlainStreams::default(), RoomId::new("demo").unwrap(), Nonce("n".into()));
        let reader = streams.open(&room, &live);
        let stream = streams.get(&room).unwrap();
        assert!(!streams.retire(&room, &stream));
        let second = streams.open(&room, &live);
        drop(reader);
        assert!(!streams.retire(&room, &stream), "one is left");
        drop(second);
        assert!(streams.retire(&room, &stream) && streams.all().is_empty());
    }

    #[test]
    fn new_broadcasts_replace_the_stream() {
        let (streams, room) = (PlainStreams::default(), RoomId::new("demo").unwrap());
        let _first = streams.open(&room, &Nonce("1".into()));
        let first = streams.get(&room).unwrap();
        let _second = streams.open(&room, &Nonce("2".into()));
        assert!(first.is_ended() && streams.retire(&room, &first));
        let second = streams.get(&room).unwrap();
        assert!(!streams.retire(&room, &second));
        second.end();
        let _third = streams.open(&room, &Nonce("2".into()));
        assert!(!Arc::ptr_eq(&second, &streams.get(&room).unwrap()), "an ended stream is not reopened");
    }
}

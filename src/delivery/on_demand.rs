//! Streams that are produced while somebody reads them: at most one per room, made by one actor.
//!
//! Owns: the streams, and the wake-ups for rooms whose stream is wanted. Does not produce a stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::ids::{Nonce, RoomId};
use crate::rooms::dirty_set::{DirtySet, DirtySlot};

/// Stream of one broadcast, shared by its readers and the actor that produces it.
pub trait OnDemandStream: Send + Sync + 'static {
    type Reader;

    /// Creates a stream of the broadcast `live`. The stream has no readers yet.
    fn new(live: Nonce) -> Self;
    fn live(&self) -> &Nonce;
    fn is_ended(&self) -> bool;
    fn readers(&self) -> usize;
    fn reader(self: &Arc<Self>) -> Self::Reader;
    /// Ends the stream, because its broadcast is over.
    fn over(&self);
}

/// Streams of one kind on this node.
pub struct OnDemandStreams<S> {
    rooms: Mutex<HashMap<RoomId, Arc<S>>>,
    /// Wakes the supervisor for rooms whose stream is wanted.
    wanted: DirtySlot,
}

impl<S> Default for OnDemandStreams<S> {
    fn default() -> Self {
        Self { rooms: Mutex::default(), wanted: DirtySlot::default() }
    }
}

impl<S: OnDemandStream> OnDemandStreams<S> {
    /// Returns a reader of the room's stream in the broadcast `live`. If the stream had no readers, wakes the
    /// supervisor, which starts the production of the stream.
    pub fn open(&self, room: &RoomId, live: &Nonce) -> S::Reader {
        let mut rooms = self.rooms();
        let current = rooms.get(room).filter(|stream| stream.live() == live && !stream.is_ended()).cloned();
        let is_current = current.is_some();
        let stream = current.unwrap_or_else(|| Arc::new(S::new(live.clone())));
        let was_read = stream.readers() > 0;
        let reader = stream.reader();
        if !is_current && let Some(earlier) = rooms.insert(room.clone(), stream) {
            // A new broadcast has started, or the earlier stream has ended already.
            earlier.over();
        }
        drop(rooms);
        // A stream without readers may have an actor that is about to be stopped. The actor must check again.
        if !was_read {
            self.wanted.changed([room.clone()]);
        }
        reader
    }

    pub fn get(&self, room: &RoomId) -> Option<Arc<S>> {
        self.rooms().get(room).cloned()
    }

    pub fn all(&self) -> Vec<(RoomId, Arc<S>)> {
        self.rooms().iter().map(|(room, stream)| (room.clone(), stream.clone())).collect()
    }

    pub fn count(&self) -> usize {
        self.rooms().len()
    }

    /// Sets the receiver of the wake-ups.
    pub fn attach(&self, dirty: DirtySet) {
        self.wanted.attach(dirty);
    }

    /// Removes the stream if it has ended or has no readers. Returns true if the stream need not be produced
    /// any more: it was removed, or another stream has replaced it.
    pub fn retire(&self, room: &RoomId, stream: &Arc<S>) -> bool {
        let mut rooms = self.rooms();
        let is_current = rooms.get(room).is_some_and(|current| Arc::ptr_eq(current, stream));
        let is_over = stream.is_ended() || stream.readers() == 0;
        if is_current && is_over {
            rooms.remove(room);
        }
        !is_current || is_over
    }

    /// Locks the streams. A poisoned lock is usable, because a panic leaves no change incomplete.
    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Arc<S>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::PlainStream;

    fn streams() -> (OnDemandStreams<PlainStream>, RoomId, Nonce) {
        (OnDemandStreams::default(), RoomId::new("demo").unwrap(), Nonce("1".into()))
    }

    #[test]
    fn rooms_are_produced_while_they_have_readers() {
        let (streams, room, live) = streams();
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
        let (streams, room, live) = streams();
        let _first = streams.open(&room, &live);
        let first = streams.get(&room).unwrap();
        let _second = streams.open(&room, &Nonce("2".into()));
        assert!(first.is_ended() && streams.retire(&room, &first));
        let second = streams.get(&room).unwrap();
        assert!(!streams.retire(&room, &second));
        second.over();
        let _third = streams.open(&room, &Nonce("2".into()));
        assert!(!Arc::ptr_eq(&second, &streams.get(&room).unwrap()), "an ended stream is not reopened");
    }

    #[test]
    fn first_readers_wake_the_actor() {
        let (streams, room, live) = streams();
        let dirty = DirtySet::new(|| {});
        streams.attach(dirty.clone());
        let woken = || dirty.take().rooms.len();
        drop(streams.open(&room, &live));
        assert_eq!(woken(), 1);
        // The actor has reported that nobody reads, and the stream is not retired yet.
        let stream = streams.get(&room).unwrap();
        let _reader = streams.open(&room, &live);
        assert!(!streams.retire(&room, &stream));
        assert_eq!(woken(), 1);
        let _other = streams.open(&room, &live);
        assert_eq!(woken(), 0, "the stream is read already");
    }
}

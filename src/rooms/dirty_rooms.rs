//! Level-triggered wake-up for one supervisor: the set of rooms that changed since its last read.
//!
//! It is a set, not a queue: it holds each room once however often the room changed. Its size is bounded by
//! the number of rooms, its writer never waits and its reader never adds to it. So it cannot deadlock like a
//! queue whose only consumer also fills it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::domain::ids::RoomId;

/// Changed rooms waiting for one reader.
#[derive(Clone)]
pub struct DirtyRooms(Arc<Inner>);

/// Writer's end; it does not keep the reader's end alive.
pub struct WeakDirtyRooms(Weak<Inner>);

struct Inner {
    waiting: Mutex<DirtySet>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// Changes since the last read.
#[derive(Debug, Default)]
pub struct DirtySet {
    /// The store was listed again: every room must be checked.
    pub rebuilt: bool,
    pub rooms: BTreeSet<RoomId>,
}

impl DirtyRooms {
    /// Creates an empty set. `wake` is called after every addition; it must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { waiting: Mutex::default(), wake: Box::new(wake) }))
    }

    pub fn downgrade(&self) -> WeakDirtyRooms {
        WeakDirtyRooms(Arc::downgrade(&self.0))
    }

    pub fn changed(&self, rooms: impl IntoIterator<Item = RoomId>) {
        self.lock().rooms.extend(rooms);
        (self.0.wake)();
    }

    pub fn rebuilt(&self) {
        self.lock().rebuilt = true;
        (self.0.wake)();
    }

    pub fn take(&self) -> DirtySet {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, DirtySet> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WeakDirtyRooms {
    pub fn upgrade(&self) -> Option<DirtyRooms> {
        self.0.upgrade().map(DirtyRooms)
    }
}

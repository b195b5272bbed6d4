//! Level-triggered wake-up of one supervisor: the rooms that changed since its last read, and whether any
//! module changed.
//!
//! It is a set, not a queue: it holds each room once however often the room changed. Its size is bounded by
//! the number of rooms, its writer never waits and its reader never adds to it. So it cannot deadlock like a
//! queue whose only consumer also fills it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::domain::ids::RoomId;

/// Changes that wait for one reader.
#[derive(Clone)]
pub struct DirtySet(Arc<Inner>);

/// Place to which a supervisor attaches its set, so that others can mark rooms for it. Rooms that were marked
/// before are lost: the supervisor checks all of its rooms when it attaches.
#[derive(Default)]
pub struct DirtySlot(Mutex<Option<DirtySet>>);

/// Writer's end; it does not keep the reader's end alive.
pub struct WeakDirtySet(Weak<Inner>);

struct Inner {
    waiting: Mutex<DirtyEntries>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// Contents of a set: the changes since the last read.
#[derive(Debug, Default)]
pub struct DirtyEntries {
    /// The store was listed again: every room must be checked.
    pub relisted: bool,
    pub rooms: BTreeSet<RoomId>,
    /// True if a module changed, or the modules were listed.
    pub modules: bool,
}

impl DirtySet {
    /// Creates an empty set. `wake` is called after every addition; it must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { waiting: Mutex::default(), wake: Box::new(wake) }))
    }

    pub fn downgrade(&self) -> WeakDirtySet {
        WeakDirtySet(Arc::downgrade(&self.0))
    }

    pub fn changed(&self, rooms: impl IntoIterator<Item = RoomId>) {
        self.lock().rooms.extend(rooms);
        (self.0.wake)();
    }

    pub fn relisted(&self) {
        self.lock().relisted = true;
        (self.0.wake)();
    }

    pub fn modules_changed(&self) {
        self.lock().modules = true;
        (self.0.wake)();
    }

    pub fn take(&self) -> DirtyEntries {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, DirtyEntries> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WeakDirtySet {
    pub fn upgrade(&self) -> Option<DirtySet> {
        self.0.upgrade().map(DirtySet)
    }
}

impl DirtySlot {
    pub fn attach(&self, dirty: DirtySet) {
        *self.lock() = Some(dirty);
    }

    pub fn changed(&self, rooms: impl IntoIterator<Item = RoomId>) {
        if let Some(dirty) = &*self.lock() {
            dirty.changed(rooms);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<DirtySet>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

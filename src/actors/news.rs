//! Level-triggered wake-up for one supervisor: the set of rooms that changed since it last looked.
//!
//! It is a set, not a queue: it holds each room once however often the room changed. Its size is bounded by
//! the number of rooms, its writer never waits and its reader never adds to it. A deadlock between a queue
//! and a sole consumer that also fills it is therefore impossible.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::domain::ids::RoomId;

/// Changed rooms waiting for one reader.
#[derive(Clone)]
pub struct News(Arc<Inner>);

/// Writer's end; it does not keep the reader's end alive.
pub struct WeakNews(Weak<Inner>);

struct Inner {
    waiting: Mutex<Waiting>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// Changes since the reader last looked.
#[derive(Debug, Default)]
pub struct Waiting {
    /// The store was listed again: every room must be checked.
    pub rebuilt: bool,
    pub rooms: BTreeSet<RoomId>,
}

impl News {
    /// Creates an empty set. `wake` is called after every addition; it must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { waiting: Mutex::default(), wake: Box::new(wake) }))
    }

    pub fn downgrade(&self) -> WeakNews {
        WeakNews(Arc::downgrade(&self.0))
    }

    pub fn changed(&self, rooms: impl IntoIterator<Item = RoomId>) {
        self.lock().rooms.extend(rooms);
        (self.0.wake)();
    }

    pub fn rebuilt(&self) {
        self.lock().rebuilt = true;
        (self.0.wake)();
    }

    pub fn take(&self) -> Waiting {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WeakNews {
    pub fn upgrade(&self) -> Option<News> {
        self.0.upgrade().map(News)
    }
}

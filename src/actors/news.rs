//! News of the store for one supervisor: which rooms changed since it last looked.
//!
//! A set, not a queue: it holds each room once however often it changed, so it is bounded by the number of
//! rooms, its writer never waits and its reader never fills it (the deadlock of a queue whose only consumer
//! also fills it cannot be built from it).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::domain::ids::RoomId;

/// Changed rooms waiting for one reader.
#[derive(Clone)]
pub struct News(Arc<Inner>);

/// The writer's end: it ends with the reader.
pub struct WeakNews(Weak<Inner>);

struct Inner {
    waiting: Mutex<Waiting>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// What happened since the last look.
#[derive(Debug, Default)]
pub struct Waiting {
    /// The store was listed anew: look at every room.
    pub rebuilt: bool,
    pub rooms: BTreeSet<RoomId>,
}

impl News {
    /// `wake` is called whenever something is waiting; it must not block.
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

//! Feed of snapshots: every viewer receives the same rendered bytes.
//!
//! A viewer that reads slowly misses snapshots. It never delays others, and holds at most one snapshot.

use std::sync::Arc;

use actix_web::web::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Maximum number of viewers of a feed.
const MOST_VIEWERS: usize = 32;

/// Newest snapshot and its viewers. The snapshot is `None` once the feed is closed.
pub(super) struct Feed {
    newest: watch::Sender<Option<Bytes>>,
    places: Arc<Semaphore>,
}

/// Reader of a feed.
pub(super) struct Viewer {
    newest: watch::Receiver<Option<Bytes>>,
    _place: OwnedSemaphorePermit,
}

impl Default for Feed {
    fn default() -> Self {
        let places = Arc::new(Semaphore::new(MOST_VIEWERS));
        Self { newest: watch::Sender::new(Some(Bytes::new())), places }
    }
}

impl Feed {
    pub fn has_viewers(&self) -> bool {
        self.newest.receiver_count() > 0
    }

    pub fn is_closed(&self) -> bool {
        self.newest.borrow().is_none()
    }

    pub fn publish(&self, snapshot: Bytes) {
        self.newest.send_if_modified(|newest| newest.as_mut().map(|newest| *newest = snapshot).is_some());
    }

    pub fn close(&self) {
        self.newest.send_replace(None);
    }

    /// Returns a viewer that begins with the newest snapshot; `None` if there are [`MOST_VIEWERS`] already.
    /// Renders a new snapshot for the first viewer, because without viewers the snapshot is not updated.
    pub fn view(&self, render: impl FnOnce() -> Bytes) -> Option<Viewer> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        if !self.has_viewers() {
            self.publish(render());
        }
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        Some(Viewer { newest, _place: place })
    }
}

impl Viewer {
    /// Returns the next snapshot; `None` once the feed is closed.
    pub async fn next(mut self) -> Option<(Bytes, Self)> {
        self.newest.changed().await.ok()?;
        let snapshot = self.newest.borrow_and_update().clone()?;
        Some((snapshot, self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn viewers_share_one_snapshot() {
        let feed = Feed::default();
        assert!(!feed.has_viewers());
        let first = feed.view(|| "one".into()).unwrap();
        let second = feed.view(|| unreachable!("it was just rendered")).unwrap();
        let (text, first) = first.next().await.unwrap();
        assert_eq!(text, "one");
        feed.publish("two".into());
        feed.publish("three".into());
        for viewer in [first, second] {
            let (text, viewer) = viewer.next().await.unwrap();
            assert_eq!(text, "three", "a slow viewer gets the newest");
            drop(viewer);
        }
        assert!(!feed.has_viewers());
        assert_eq!(feed.view(|| "four".into()).unwrap().next().await.unwrap().0, "four");
    }

    #[tokio::test]
    async fn feeds_limit_viewers_and_close() {
        let feed = Feed::default();
        let viewers: Vec<_> = (0..MOST_VIEWERS).map(|_| feed.view(Bytes::new).unwrap()).collect();
        assert!(feed.view(Bytes::new).is_none());
        feed.close();
        feed.publish("late".into());
        for viewer in viewers {
            assert!(viewer.next().await.is_none());
        }
        assert!(feed.is_closed() && feed.view(Bytes::new).unwrap().next().await.is_none());
    }
}

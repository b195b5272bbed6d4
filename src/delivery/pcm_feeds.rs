//! Decoded audio of rooms for speech recognisers: opened by recognisers, produced by one actor per room.
//!
//! All recognisers of a room share one feed and its buffer. A recogniser that falls behind the buffer is
//! disconnected, and nobody waits for it.
//!
//! Owns: the feeds, and their maximum number. Does not decode.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;

use super::on_demand::{OnDemandStream, OnDemandStreams};
use crate::domain::ids::{Nonce, RoomId, UnixMs};
use crate::domain::relay_room::Position;
use crate::packager::pcm::PcmChunk;

/// Number of chunks that are buffered for recognisers that are late: 10 s.
const KEPT: usize = 100;

/// Maximum number of feeds of a node. Each has a decoder that takes about 50 MB.
const MAX_FEEDS: usize = 64;

/// Item of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedItem {
    Audio(PcmChunk),
    /// Nothing follows.
    End(FeedEnd),
}

/// Reason why a feed has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedEnd {
    /// The broadcast is over.
    Over,
    /// The node stops.
    Stopping,
}

/// Reason why a recogniser gets no feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoFeed {
    Stopping,
    /// The node already has the maximum number of feeds, [`MAX_FEEDS`], all for other rooms.
    Full,
}

/// Error of a reader that was too slow for the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSlow;

/// Decoded audio of one broadcast.
#[derive(Debug)]
pub struct PcmFeed {
    live: Nonce,
    items: broadcast::Sender<FeedItem>,
    ended: AtomicBool,
    readers: watch::Sender<usize>,
    reached: Mutex<FeedProgress>,
}

/// Progress of a feed, which outlives each decoder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FeedProgress {
    /// Oldest part that was not published completely; `None` before the first.
    pub next: Option<Position>,
    /// Position after the last published sample.
    pub until: UnixMs,
}

/// Reader of one feed, from the next chunk on.
#[derive(Debug)]
pub struct PcmReader {
    feed: Arc<PcmFeed>,
    items: broadcast::Receiver<FeedItem>,
}

/// Feeds of this node.
#[derive(Default)]
pub struct PcmFeeds {
    streams: Arc<OnDemandStreams<PcmFeed>>,
    /// True once the node is stopping. Locked while a feed is opened, so that no feed is opened after
    /// [`close`] and none beyond the maximum.
    ///
    /// [`close`]: Self::close
    stopping: Mutex<bool>,
}

impl PcmFeed {
    pub fn reached(&self) -> FeedProgress {
        *self.lock()
    }

    /// Publishes chunks in their order. `next`: oldest part that is not published completely.
    pub fn publish(&self, chunks: Vec<PcmChunk>, next: Option<Position>) {
        {
            let mut reached = self.lock();
            reached.next = next.or(reached.next);
            reached.until = chunks.last().map_or(reached.until, PcmChunk::end);
        }
        for chunk in chunks {
            // An error means that there is no reader.
            let _ = self.items.send(FeedItem::Audio(chunk));
        }
    }

    /// Ends the feed; readers still get the chunks that were published before.
    pub fn end(&self, why: FeedEnd) {
        if !self.ended.swap(true, Relaxed) {
            let _ = self.items.send(FeedItem::End(why));
        }
    }

    /// Waits until the feed has no reader.
    pub async fn unread(&self) {
        // The sender exists as long as `self`, so this returns only when the condition holds.
        let _ = self.readers.subscribe().wait_for(|readers| *readers == 0).await;
    }

    fn lock(&self) -> MutexGuard<'_, FeedProgress> {
        // A poisoned lock is usable: each change is an assignment.
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OnDemandStream for PcmFeed {
    type Reader = PcmReader;

    fn new(live: Nonce) -> Self {
        let (ended, reached) = (AtomicBool::new(false), Mutex::default());
        let (items, readers) = (broadcast::Sender::new(KEPT), watch::Sender::new(0));
        Self { live, items, ended, readers, reached }
    }

    fn live(&self) -> &Nonce {
        &self.live
    }

    fn is_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    fn readers(&self) -> usize {
        *self.readers.borrow()
    }

    fn reader(self: &Arc<Self>) -> PcmReader {
        self.readers.send_modify(|readers| *readers += 1);
        PcmReader { feed: self.clone(), items: self.items.subscribe() }
    }

    fn over(&self) {
        self.end(FeedEnd::Over);
    }
}

impl PcmReader {
    /// Returns the next item. [`FeedItem::End`] is the last one: a further call waits forever.
    ///
    /// # Errors
    /// [`TooSlow`] if items left the buffer before this reader took them.
    pub async fn next(&mut self) -> Result<FeedItem, TooSlow> {
        match self.items.recv().await {
            Ok(item) => Ok(item),
            Err(RecvError::Lagged(_)) => Err(TooSlow),
            Err(RecvError::Closed) => Ok(FeedItem::End(FeedEnd::Over)),
        }
    }
}

impl Drop for PcmReader {
    fn drop(&mut self) {
        self.feed.readers.send_modify(|readers| *readers -= 1);
    }
}

impl PcmFeeds {
    /// Returns a reader of the room's feed in the broadcast `live`. If the feed had no readers, wakes the
    /// supervisor, which starts the production of the feed.
    ///
    /// # Errors
    /// See [`NoFeed`].
    pub fn open(&self, room: &RoomId, live: &Nonce) -> Result<PcmReader, NoFeed> {
        let stopping = self.lock();
        if *stopping {
            return Err(NoFeed::Stopping);
        }
        if self.streams.count() >= MAX_FEEDS && self.streams.get(room).is_none() {
            return Err(NoFeed::Full);
        }
        Ok(self.streams.open(room, live))
    }

    /// Returns the feeds for the actors that produce them.
    pub fn streams(&self) -> &Arc<OnDemandStreams<PcmFeed>> {
        &self.streams
    }

    /// Ends all feeds, because the node stops.
    pub fn close(&self) {
        *self.lock() = true;
        self.streams.all().iter().for_each(|(_, feed)| feed.end(FeedEnd::Stopping));
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // A poisoned lock is usable: the change is an assignment.
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn chunk(at: u64) -> PcmChunk {
        PcmChunk { at: UnixMs(at), samples: vec![0; 3200].into() }
    }

    fn room() -> RoomId {
        RoomId::new("demo").unwrap()
    }

    #[test]
    fn feeds_are_shared_and_retired() {
        let (feeds, live) = (PcmFeeds::default(), Nonce("n".into()));
        let mut one = feeds.open(&room(), &live).unwrap();
        let feed = feeds.streams.get(&room()).unwrap();
        let mut two = feeds.open(&room(), &live).unwrap();
        assert!(Arc::ptr_eq(&feed, &feeds.streams.get(&room()).unwrap()));
        feed.publish(vec![chunk(1000)], Some((3, 1)));
        assert_eq!(feed.reached(), FeedProgress { next: Some((3, 1)), until: UnixMs(1100) });
        for reader in [&mut one, &mut two] {
            assert_eq!(reader.next().now_or_never(), Some(Ok(FeedItem::Audio(chunk(1000)))));
        }
        drop(one);
        assert!(!feeds.streams.retire(&room(), &feed), "one reader is left");
        assert_eq!(feed.unread().now_or_never(), None);
        drop(two);
        assert_eq!(feed.unread().now_or_never(), Some(()));
        assert!(feeds.streams.retire(&room(), &feed) && feeds.streams.all().is_empty());
    }

    #[test]
    fn slow_readers_lose_their_place() {
        let feeds = PcmFeeds::default();
        let mut reader = feeds.open(&room(), &Nonce("n".into())).unwrap();
        let feed = feeds.streams.get(&room()).unwrap();
        (0..200).for_each(|at| feed.publish(vec![chunk(at * 100)], None));
        assert_eq!(reader.next().now_or_never(), Some(Err(TooSlow)));
    }

    #[test]
    fn new_broadcasts_and_stops_end_feeds() {
        let feeds = PcmFeeds::default();
        let mut first = feeds.open(&room(), &Nonce("1".into())).unwrap();
        let mut second = feeds.open(&room(), &Nonce("2".into())).unwrap();
        assert_eq!(first.next().now_or_never(), Some(Ok(FeedItem::End(FeedEnd::Over))));
        feeds.close();
        assert_eq!(second.next().now_or_never(), Some(Ok(FeedItem::End(FeedEnd::Stopping))));
        assert_eq!(feeds.open(&room(), &Nonce("2".into())).err(), Some(NoFeed::Stopping));
    }

    #[test]
    fn nodes_have_few_feeds() {
        let (feeds, live) = (PcmFeeds::default(), Nonce("n".into()));
        let id = |n: usize| RoomId::new(&format!("room-{n}")).unwrap();
        let readers: Vec<_> = (0..MAX_FEEDS).map(|n| feeds.open(&id(n), &live).unwrap()).collect();
        assert_eq!(feeds.open(&id(MAX_FEEDS), &live).err(), Some(NoFeed::Full));
        assert!(feeds.open(&id(0), &live).is_ok() && feeds.open(&id(0), &Nonce("2".into())).is_ok());
        assert_eq!(readers.len(), MAX_FEEDS);
    }
}

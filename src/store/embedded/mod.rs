//! The store of a single node: a map in memory, made durable by one file.
//!
//! Reads never touch the disk. Writes go through one thread, which commits all that is waiting at once.
//! Leases live in memory only: whoever held one before a restart is gone, so the keys under leases are
//! removed at open. Owns: the file and its contents. Never does: share the file with another process.

mod disk;
mod history;
mod keyspace;
mod leases;
mod writer;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;

use self::disk::Disk;
use self::history::{History, Read};
use self::keyspace::{Keyspace, Staging};
use self::leases::Leases;
use self::writer::{Command, Reply, Writer};
use super::admission::{admit, lease_seconds};
use super::{
    KeyValue, LeaseId, Listing, Revision, Store, StoreError, Txn, TxnOutcome, WatchBatch, WatchEvent,
    WatchStream,
};

pub use self::disk::StoreOpenError;

/// A watcher hears something at least this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(4);
/// Callers that may wait for the writer; more wait for their turn before they queue.
const MAX_QUEUED: usize = 4_096;

/// How much of the past is kept for watchers that lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    pub events: usize,
    pub bytes: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { events: 50_000, bytes: 32 << 20 }
    }
}

pub struct EmbeddedStore {
    shared: Arc<Shared>,
    committed: watch::Receiver<Revision>,
    turns: Semaphore,
    /// `None` only while dropping.
    queue: Option<mpsc::Sender<Command>>,
    writer: Option<JoinHandle<()>>,
}

/// What readers see: always a durable state.
struct Shared {
    published: RwLock<Published>,
}

struct Published {
    keys: Keyspace,
    history: History,
}

impl EmbeddedStore {
    /// Opens or creates the file at `path`.
    pub fn open(path: &Path) -> Result<Arc<Self>, StoreOpenError> {
        Self::open_with(path, HistoryLimits::default())
    }

    pub fn open_with(path: &Path, limits: HistoryLimits) -> Result<Arc<Self>, StoreOpenError> {
        let (mut disk, mut keys) = Disk::open(path)?;
        drop_leased_keys(&mut disk, &mut keys, path)?;
        let (committed_tx, committed) = watch::channel(keys.revision);
        let history = History::starting_after(keys.revision, limits.events, limits.bytes);
        let shared = Arc::new(Shared { published: RwLock::new(Published { keys, history }) });
        let (queue, commands) = mpsc::channel();
        let writer = Writer {
            queue: commands,
            shared: shared.clone(),
            disk,
            committed: committed_tx,
            leases: Leases::default(),
        };
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .map_err(|source| StoreOpenError::Io { path: path.to_owned(), source })?;
        let turns = Semaphore::new(MAX_QUEUED);
        Ok(Arc::new(Self { shared, committed, turns, queue: Some(queue), writer: Some(writer) }))
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, StoreError> {
        let gone = || StoreError::Unavailable("the store's writer has ended".into());
        let _turn = self.turns.acquire().await.map_err(|_| gone())?;
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send(command(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Ends when everything queued is written and the file is released.
impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // A panic of the writer was reported when it happened.
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        Ok(self.shared.read().keys.get(key))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        Ok(self.shared.read().keys.list(prefix))
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError> {
        // Before the first revision there is nothing.
        let from = from.max(1);
        if !self.shared.read().history.remembers(from) {
            return Err(StoreError::Compacted { from });
        }
        let watcher = Watcher {
            shared: self.shared.clone(),
            committed: self.committed.clone(),
            prefix: prefix.to_owned(),
            next: from,
            progress_at: Instant::now() + PROGRESS_EVERY,
        };
        // The second `None` ends the stream after its first error.
        Ok(Box::pin(stream::unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next_batch().await {
                Ok(batch) => Some((Ok(batch), Some(watcher))),
                Err(error) => Some((Err(error), None)),
            }
        })))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        admit(&txn)?;
        self.ask(|reply| Command::Txn(txn, reply)).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let ttl = Duration::from_secs(lease_seconds(ttl)?);
        self.ask(|reply| Command::Grant(ttl, reply)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Command::KeepAlive(lease, reply)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Command::Revoke(lease, reply)).await
    }
}

/// A position in the history.
struct Watcher {
    shared: Arc<Shared>,
    committed: watch::Receiver<Revision>,
    prefix: String,
    next: Revision,
    progress_at: Instant,
}

impl Watcher {
    async fn next_batch(&mut self) -> Result<WatchBatch, StoreError> {
        loop {
            // Before reading: what is committed after this wakes us again.
            self.committed.mark_unchanged();
            let events = self.read_on()?;
            if !events.is_empty() || Instant::now() >= self.progress_at {
                self.progress_at = Instant::now() + PROGRESS_EVERY;
                return Ok(WatchBatch { revision: self.next - 1, events });
            }
            if let Ok(Err(_)) = tokio::time::timeout_at(self.progress_at, self.committed.changed()).await {
                return Err(StoreError::Unavailable("the store was closed".into()));
            }
        }
    }

    fn read_on(&mut self) -> Result<Vec<WatchEvent>, StoreError> {
        match self.shared.read().history.read(&self.prefix, self.next) {
            Read::Forgotten => Err(StoreError::Compacted { from: self.next }),
            Read::Events { events, through } => {
                self.next = through + 1;
                Ok(events)
            }
        }
    }
}

/// A panic in the middle of a write would leave the lock poisoned, but every write under it is infallible
/// map work: the data is whole.
impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Published> {
        self.published.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drop_leased_keys(disk: &mut Disk, keys: &mut Keyspace, path: &Path) -> Result<(), StoreOpenError> {
    let mut staging = Staging::new(keys);
    staging.delete_all(keys.leased_keys());
    let batch = staging.finish();
    if batch.commits.is_empty() {
        return Ok(());
    }
    disk.write(keys, &batch).map_err(|error| StoreOpenError::Io {
        path: path.to_owned(),
        source: std::io::Error::other(error),
    })?;
    keys.apply(batch.revision, batch.changes);
    Ok(())
}

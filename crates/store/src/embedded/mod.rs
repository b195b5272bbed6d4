//! The store of a single node: a map in memory, made durable by one file.
//!
//! Reads never touch the disk. Writes go through one thread, which commits all waiting writes at once. Leases
//! are in memory only. Their holders do not survive a restart, so keys under leases are removed when the
//! store is opened. Owns: the file and its contents. Does not share the file with another process.

mod disk;
mod history;
mod keyspace;
mod leases;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout};

use self::disk::Disk;
use self::history::{History, HistoryRead};
use self::keyspace::{Keyspace, StagedBatch};
use self::leases::Leases;
use self::writer::{Command, Reply, Writer};
use super::admission::{admit, lease_seconds};
use super::{
    KeyValue, LeaseId, Listing, Revision, Store, StoreError, Txn, TxnOutcome, WatchBatch, WatchEvent,
    WatchStream,
};

pub use self::disk::StoreOpenError;

/// Longest time between two batches of a watch; an empty batch reports progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(4);
/// Maximum number of requests queued for the writer. Further callers wait until there is room.
const MAX_QUEUED: usize = 4_096;

/// Limits of the history that is kept for watchers that lag.
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

/// Settings of the embedded store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedOptions {
    pub history: HistoryLimits,
    /// Time limit of each write. While a write takes longer, the store counts as unavailable.
    pub request_timeout: Duration,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { history: HistoryLimits::default(), request_timeout: Duration::from_secs(3) }
    }
}

/// Store of a single node. Dropping it waits for queued writes.
pub struct EmbeddedStore {
    shared: Arc<StoreShared>,
    committed: watch::Receiver<Revision>,
    turns: Semaphore,
    request_timeout: Duration,
    /// `None` only during drop.
    queue: Option<mpsc::Sender<Command>>,
    writer: Option<JoinHandle<()>>,
}

/// State that readers and the writer share. Readers always see a durable state.
struct StoreShared {
    published: RwLock<PublishedState>,
    /// Start of the write in progress; `None` if there is none.
    writing_since: Mutex<Option<Instant>>,
}

struct PublishedState {
    keys: Keyspace,
    history: History,
}

impl EmbeddedStore {
    /// Opens or creates the file at `path`, with the default options.
    ///
    /// # Errors
    /// See [`StoreOpenError`].
    pub fn open(path: &Path) -> Result<Arc<Self>, StoreOpenError> {
        Self::open_with(path, EmbeddedOptions::default())
    }

    /// Opens or creates the file at `path`.
    ///
    /// # Errors
    /// See [`StoreOpenError`].
    pub fn open_with(path: &Path, options: EmbeddedOptions) -> Result<Arc<Self>, StoreOpenError> {
        let EmbeddedOptions { history: limits, request_timeout } = options;
        let (mut disk, mut keys) = Disk::open(path)?;
        drop_leased_keys(&mut disk, &mut keys, path)?;
        let (committed_tx, committed) = watch::channel(keys.revision);
        let history = History::starting_after(keys.revision, limits.events, limits.bytes);
        let published = RwLock::new(PublishedState { keys, history });
        let shared = Arc::new(StoreShared { published, writing_since: Mutex::default() });
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
        let (queue, writer) = (Some(queue), Some(writer));
        Ok(Arc::new(Self { shared, committed, turns, request_timeout, queue, writer }))
    }

    /// Sends a command to the writer and waits for the reply.
    ///
    /// # Errors
    /// The error of the command, or [`StoreError::Unavailable`] after `request_timeout` or without a writer.
    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, StoreError> {
        let gone = || StoreError::Unavailable("the store's writer has ended".into());
        let asked = async {
            let _turn = self.turns.acquire().await.map_err(|_| gone())?;
            let (reply, answer) = oneshot::channel();
            let queue = self.queue.as_ref().ok_or_else(gone)?;
            queue.send(command(reply)).map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        // The caller stops waiting, but the command is not cancelled: the writer may still apply it.
        timeout(self.request_timeout, asked).await.unwrap_or_else(|_| Err(slow_disk(self.request_timeout)))
    }
}

/// Blocks until every queued command is written and the file is released.
impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // A panic of the writer was already reported when it happened.
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        self.shared.check(self.request_timeout)?;
        Ok(self.shared.read().keys.get(key))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.shared.check(self.request_timeout)?;
        Ok(self.shared.read().keys.list(prefix))
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError> {
        // The first revision is 1.
        let from = from.max(1);
        self.shared.check(self.request_timeout)?;
        if !self.shared.read().history.remembers(from) {
            return Err(StoreError::Compacted { from });
        }
        let watcher = Watcher {
            shared: self.shared.clone(),
            committed: self.committed.clone(),
            prefix: prefix.to_owned(),
            next: from,
            progress_at: Instant::now() + PROGRESS_EVERY,
            request_timeout: self.request_timeout,
        };
        // The state `None` ends the stream after its first error.
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

/// Reader of the history at one position.
struct Watcher {
    shared: Arc<StoreShared>,
    committed: watch::Receiver<Revision>,
    prefix: String,
    next: Revision,
    progress_at: Instant,
    request_timeout: Duration,
}

impl Watcher {
    /// Waits for events under the prefix. Returns an empty batch after [`PROGRESS_EVERY`] without an event.
    async fn next_batch(&mut self) -> Result<WatchBatch, StoreError> {
        loop {
            // Mark the current revision as seen before reading, so that a later commit wakes this task again.
            self.committed.mark_unchanged();
            self.shared.check(self.request_timeout)?;
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
            HistoryRead::Forgotten => Err(StoreError::Compacted { from: self.next }),
            HistoryRead::Events { events, through } => {
                self.next = through + 1;
                Ok(events)
            }
        }
    }
}

/// A poisoned lock is usable: all writes under it are map operations that cannot fail half-way, so the data
/// is consistent.
impl StoreShared {
    fn read(&self) -> RwLockReadGuard<'_, PublishedState> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, PublishedState> {
        self.published.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that the disk keeps up.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the write in progress has taken longer than `limit`. Reads then fail,
    /// too, although their data is in memory, so that the node treats the store as lost.
    fn check(&self, limit: Duration) -> Result<(), StoreError> {
        let since = *self.writing_since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_some_and(|since| since.elapsed() > limit) { Err(slow_disk(limit)) } else { Ok(()) }
    }

    fn set_writing(&self, since: Option<Instant>) {
        *self.writing_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

fn slow_disk(limit: Duration) -> StoreError {
    StoreError::Unavailable(format!("the disk of the store did not finish a write within {limit:?}"))
}

/// Deletes all keys under leases from the file and from `keys`.
fn drop_leased_keys(disk: &mut Disk, keys: &mut Keyspace, path: &Path) -> Result<(), StoreOpenError> {
    let mut staging = StagedBatch::new(keys);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;

    /// A reader that holds the lock on the published state simulates a disk that hangs: in both cases the
    /// writer cannot finish.
    #[tokio::test]
    async fn hung_writes_end_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let request_timeout = Duration::from_millis(200);
        let options = EmbeddedOptions { request_timeout, ..EmbeddedOptions::default() };
        let store = EmbeddedStore::open_with(&dir.path().join("store.redb"), options).unwrap();
        let mut watch = store.watch("/", 1).await.unwrap();
        let put = || {
            store.txn(Txn {
                compares: Vec::new(),
                ops: vec![Op::Put { key: "/a".into(), value: "1".into(), lease: None }],
            })
        };
        put().await.unwrap();
        assert_eq!(next(&mut watch).await.unwrap().events.len(), 1);
        {
            let shared = store.shared.clone();
            let (release, released) = std::sync::mpsc::channel::<()>();
            let (held, holds) = oneshot::channel();
            let holder = std::thread::spawn(move || {
                let _reader = shared.read();
                held.send(()).unwrap();
                let _ = released.recv();
            });
            holds.await.unwrap();
            assert!(matches!(put().await, Err(StoreError::Unavailable(_))), "the write times out");
            // The writer may have begun after the caller of `put` started to wait.
            let hangs = async {
                while store.shared.check(request_timeout).is_ok() {
                    // Sleep: between two checks of the condition.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(Duration::from_secs(20), hangs).await.unwrap();
            assert!(matches!(store.list("/").await, Err(StoreError::Unavailable(_))));
            assert!(
                matches!(next(&mut watch).await, Err(StoreError::Unavailable(_))),
                "watchers get the error"
            );
            drop(release);
            holder.join().unwrap();
        }
        put().await.unwrap();
        assert_eq!(store.list("/").await.unwrap().entries.len(), 1);
    }

    async fn next(watch: &mut WatchStream) -> Result<WatchBatch, StoreError> {
        use futures::StreamExt;
        timeout(PROGRESS_EVERY * 3, watch.next()).await.unwrap().unwrap()
    }
}

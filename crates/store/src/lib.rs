//! Key-value store with the contract of etcd v3: the trait [`Store`], and a backend in this process
//! ([`embedded`]).
//!
//! The contract in short: the whole store has one revision counter. Watches follow a prefix from a revision;
//! a watch that starts too far back gets a compaction error. Transactions compare modification revisions. The
//! keys of a lease are deleted when it ends. The conformance cases under `tests/embedded/` run on every
//! backend.
//!
//! ```
//! use stentor_store::embedded::EmbeddedStore;
//! use stentor_store::{Store, Txn, TxnOutcome};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let folder = tempfile::tempdir().unwrap();
//! let store = EmbeddedStore::open(&folder.path().join("store.redb")).unwrap();
//! let revision = store.put("/rooms/a/meta", "1".into()).await.unwrap();
//!
//! // Compare and swap: the second transaction was decided on a revision that is no longer the key's.
//! let swap = |value: &'static str| Txn::new().when("/rooms/a/meta", revision).put("/rooms/a/meta", value);
//! assert!(matches!(store.txn(swap("2")).await, Ok(TxnOutcome::Committed(_))));
//! assert!(matches!(store.txn(swap("3")).await, Ok(TxnOutcome::Conflict)));
//! assert_eq!(store.list("/rooms/").await.unwrap().entries[0].value, "2");
//! # });
//! ```
//!
//! Typical speed, measured once (debug build, two shared cores, both backends on the same disk, p50): a
//! 300-byte put takes 1.1 ms on either backend, the time of one fsync. A watcher sees the change no later
//! than the writer. A get takes 0.3 µs embedded, 0.7 ms with etcd. Both backends commit all waiting writes
//! together: 64 concurrent writers therefore reach 4,000-8,600 puts/s embedded, 2,200-2,800 with etcd.
//!
//! Owns: the data. Does not interpret a key or a value.

mod admission;
pub mod embedded;
pub mod reflector;

use std::time::Duration;

pub use admission::{admit, lease_seconds};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

/// Position in the store's history. Rises by one or more with every committed transaction that changes a key.
pub type Revision = i64;

/// Key with its value, revision and lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub key: String,
    pub value: Bytes,
    /// Revision of the last change of this key.
    pub mod_revision: Revision,
    /// Lease to which the key is bound: the key is deleted when the lease ends. `None`: the key stays.
    pub lease: Option<LeaseId>,
}

/// All keys under a prefix as of `revision`. A watch from `revision + 1` misses nothing.
#[derive(Debug, Clone)]
pub struct Listing {
    pub revision: Revision,
    pub entries: Vec<KeyValue>,
}

/// Identifier of a lease; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId(pub i64);

/// Condition that the key's modification revision equals `mod_revision`; 0 means that the key is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    pub key: String,
    pub mod_revision: Revision,
}

/// Write in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Put { key: String, value: Bytes, lease: Option<LeaseId> },
    Delete { key: String },
    DeletePrefix { prefix: String },
}

/// Transaction: applies all of `ops` if all of `compares` hold, otherwise nothing. At most one op per key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub ops: Vec<Op>,
}

/// Result of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnOutcome {
    /// The transaction was committed. Every key that it put has this modification revision.
    Committed(Revision),
    /// A compare did not hold, so nothing was written. The caller reads and decides again.
    Conflict,
}

/// Change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    Put(KeyValue),
    Delete { key: String },
}

/// Events of one or more transactions up to `revision`, in order. An empty batch only reports progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchBatch {
    pub revision: Revision,
    pub events: Vec<WatchEvent>,
}

/// Stream of batches. Ends after the first error; the watcher then lists again.
pub type WatchStream = BoxStream<'static, Result<WatchBatch, StoreError>>;

/// Reason why a request to the store has failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The outcome is unknown: a write may or may not have been applied.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The watch starts before the oldest revision that the store keeps. The caller lists again.
    #[error("the store no longer has the changes since revision {from}")]
    Compacted { from: Revision },
    /// The lease has ended or was revoked.
    #[error("the lease is gone")]
    LeaseNotFound,
    /// The request is invalid or not permitted.
    #[error("the store refused the request: {0}")]
    Rejected(String),
}

/// Store with the contract of etcd v3. Every request can fail with [`StoreError::Unavailable`].
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Returns one key, or `None` if it is absent. The read is linearizable.
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError>;

    /// Lists all keys under `prefix`, sorted by key. The read is linearizable.
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError>;

    /// Streams every change under `prefix` whose revision is `from` or later, past changes first.
    /// Sends an empty batch as progress after at most 5 s without a change. A stream that is silent for much
    /// longer is dead.
    ///
    /// # Errors
    /// [`StoreError::Compacted`], here or as the first item, if the store no longer keeps the changes since
    /// `from`.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError>;

    /// Runs a transaction.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the transaction exceeds a limit, [`StoreError::LeaseNotFound`] if it puts
    /// a key under a lease that has ended.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError>;

    /// Grants a lease. It ends if it is not kept alive for `ttl` (rounded up to whole seconds), and then its
    /// keys are deleted.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if `ttl` is zero.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Renews a lease for its full duration.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`] if the lease has ended.
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Deletes the lease and its keys immediately.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`] if the lease has ended.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Deletes the history before `revision`. No key is lost. A watch that has not yet delivered that history
    /// ends with `Compacted`. A store that bounds its own history does nothing.
    async fn compact(&self, _revision: Revision) -> Result<(), StoreError> {
        Ok(())
    }

    /// Puts one key without a condition and without a lease. Returns the revision of the write.
    async fn put(&self, key: &str, value: Bytes) -> Result<Revision, StoreError> {
        unconditional(self.txn(Txn::new().put(key, value)).await?)
    }

    /// Deletes one key without a condition. Returns the store's revision afterwards.
    async fn delete(&self, key: &str) -> Result<Revision, StoreError> {
        unconditional(self.txn(Txn::new().delete(key)).await?)
    }

    /// Deletes all keys under `prefix` without a condition. Returns the store's revision afterwards.
    async fn delete_prefix(&self, prefix: &str) -> Result<Revision, StoreError> {
        unconditional(self.txn(Txn::new().delete_prefix(prefix)).await?)
    }
}

impl Txn {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the condition that the key's modification revision is `mod_revision`.
    pub fn when(mut self, key: impl Into<String>, mod_revision: Revision) -> Self {
        self.compares.push(Compare { key: key.into(), mod_revision });
        self
    }

    /// Adds the condition that the key is absent.
    pub fn when_absent(self, key: impl Into<String>) -> Self {
        self.when(key, 0)
    }

    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.ops.push(Op::Put { key: key.into(), value: value.into(), lease: None });
        self
    }

    /// Adds a put under a lease.
    pub fn put_leased(mut self, key: impl Into<String>, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        self.ops.push(Op::Put { key: key.into(), value: value.into(), lease: Some(lease) });
        self
    }

    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.ops.push(Op::Delete { key: key.into() });
        self
    }

    pub fn delete_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.ops.push(Op::DeletePrefix { prefix: prefix.into() });
        self
    }
}

fn unconditional(outcome: TxnOutcome) -> Result<Revision, StoreError> {
    match outcome {
        TxnOutcome::Committed(revision) => Ok(revision),
        TxnOutcome::Conflict => {
            Err(StoreError::Rejected("conflict in a transaction without conditions".into()))
        }
    }
}

//! State that every role actor receives: the node's identity, its store and its cluster cache.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::dirty_rooms::DirtyRooms;
use super::registration::RegistrationState;
use super::store_watch::Subscribers;
use crate::config::Config;
use crate::domain::ids::{ModuleId, UnixMs};
use crate::domain::plan::{Failure, WriteOutcome};
use crate::domain::restart::Backoff;
use crate::domain::timeline::Moment;
use crate::rooms::{Directory, Scope};
use crate::store::{Revision, Store, StoreError, Txn, TxnOutcome};
use crate::telemetry::Metrics;

#[derive(Clone)]
pub struct Context {
    pub me: ModuleId,
    /// Random per process start. Part of every heartbeat, and of the values that this node's modules write.
    pub incarnation: Arc<str>,
    pub config: Arc<Config>,
    pub store: Arc<dyn Store>,
    pub directory: Arc<Directory>,
    pub subscribers: Subscribers,
    /// True while the watch of the rooms follows the store.
    pub store_up: Arc<AtomicBool>,
    /// Registration of the node's id; the roles start when it is complete.
    pub standing: Arc<watch::Sender<RegistrationState>>,
    pub clock: Clock,
    pub metrics: Metrics,
}

impl Context {
    pub fn backoff(&self) -> Backoff {
        let retry = &self.config.supervision;
        Backoff { first: retry.retry_first, max: retry.retry_max }
    }

    /// Returns the store revision that the directory's rooms have reached; 0 before the first list.
    pub fn rooms_revision(&self) -> Revision {
        self.directory.revision_seen(Scope::Rooms).unwrap_or_default()
    }

    /// Returns true if the rooms were listed at least once. Before that, a room that is absent here may still
    /// exist.
    pub fn rooms_listed(&self) -> bool {
        self.directory.revision_seen(Scope::Rooms).is_some()
    }

    /// Subscribes to room changes. If the rooms are already listed, the first wake-up covers all of them.
    pub fn subscribe(&self, wake: impl Fn() + Send + Sync + 'static) -> DirtyRooms {
        let news = DirtyRooms::new(wake);
        self.subscribers.add(&news);
        if self.rooms_listed() {
            news.rebuilt();
        }
        news
    }

    /// Runs one conditional write and translates its result for the state machines in `domain`.
    pub async fn write(&self, txn: Txn) -> WriteOutcome {
        match self.store.txn(txn).await {
            Ok(TxnOutcome::Committed(revision)) => WriteOutcome::Written { revision },
            Ok(TxnOutcome::Conflict) => WriteOutcome::Superseded,
            Err(StoreError::Rejected(why)) => WriteOutcome::Failed(Failure::Refused(why)),
            Err(error) => WriteOutcome::Failed(Failure::Unknown(error.to_string())),
        }
    }
}

/// Monotonic clock of the state machines, and wall clock of everything shown to users.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Returns the time since the process began; never goes back.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub fn moment(&self) -> Moment {
        Moment { now: self.now(), wall: self.wall() }
    }

    pub fn wall(&self) -> UnixMs {
        // A clock set before 1970 reads as 0.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Returns a random unit, uniform in `0.0..1.0`, for jitter.
pub fn random_unit() -> f64 {
    rand::random()
}

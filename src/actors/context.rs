//! State that every role actor receives: the node's identity, its store and its cluster cache.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::registration::RegistrationState;
use super::store_watch::Subscribers;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::connection_limits::SignallingLimits;
use crate::domain::ids::ModuleId;
use crate::domain::plan::{Failure, WriteOutcome};
use crate::domain::request_rates::RequestLimits;
use crate::domain::restart::Backoff;
use crate::ffmpeg::FfmpegProgram;
use crate::process::Account;
use crate::rooms::dirty_set::DirtySet;
use crate::rooms::{Directory, Scope};
use crate::store::{Revision, Store, StoreError, Txn, TxnOutcome};
use crate::telemetry::Metrics;

#[derive(Clone)]
pub struct Context {
    pub me: ModuleId,
    /// Random per process start. Part of every heartbeat, and of the values that this node's modules write.
    pub incarnation: Arc<str>,
    /// Configuration at the start of the node. `limits` has the current values of the keys that it contains.
    pub config: Arc<Config>,
    pub limits: LiveLimits,
    pub store: Arc<dyn Store>,
    pub directory: Arc<Directory>,
    pub subscribers: Subscribers,
    /// True while the watch of the rooms follows the store.
    pub store_up: Arc<AtomicBool>,
    /// Counter of the requests to list the store again and to check every room. Each request increments it.
    pub relists: Arc<watch::Sender<u64>>,
    /// Registration of the node's id; the roles start when it is complete.
    pub standing: Arc<watch::Sender<RegistrationState>>,
    /// Account that child processes run as; `None`: that of the node.
    pub account: Option<Account>,
    pub clock: Clock,
    pub metrics: Metrics,
}

/// Limits of clients, which a reload of the configuration replaces.
#[derive(Clone)]
pub struct LiveLimits {
    pub requests: Arc<ArcSwap<RequestLimits>>,
    pub signalling: Arc<ArcSwap<SignallingLimits>>,
}

impl LiveLimits {
    pub fn new(config: &Config) -> Self {
        Self {
            requests: Arc::new(ArcSwap::from_pointee(config.http.limits.clone())),
            signalling: Arc::new(ArcSwap::from_pointee(config.ws.clone())),
        }
    }

    /// Applies the limits of another configuration. Open connections keep `ws.queue_limit`,
    /// `ws.frame_limit`, `ws.call_timeout` and `ws.join_within`.
    pub fn replace(&self, config: &Config) {
        self.requests.store(Arc::new(config.http.limits.clone()));
        self.signalling.store(Arc::new(config.ws.clone()));
    }
}

impl Context {
    pub fn backoff(&self) -> Backoff {
        let retry = &self.config.supervision;
        Backoff { first: retry.retry_first, max: retry.retry_max }
    }

    pub fn ffmpeg(&self) -> FfmpegProgram {
        FfmpegProgram { binary: self.config.mixer.ffmpeg.clone(), account: self.account.clone() }
    }

    /// Returns the store revision that the directory's rooms have reached; 0 before the first list.
    pub fn rooms_revision(&self) -> Revision {
        self.directory.revision_seen(Scope::Rooms).unwrap_or_default()
    }

    /// Returns true if the rooms were listed at least once. Before that, a room that is absent from the
    /// directory may still exist.
    pub fn rooms_listed(&self) -> bool {
        self.directory.revision_seen(Scope::Rooms).is_some()
    }

    /// Subscribes to changes of rooms and modules. If the rooms are already listed, the first wake-up covers
    /// all of them.
    pub fn subscribe(&self, wake: impl Fn() + Send + Sync + 'static) -> DirtySet {
        let dirty = DirtySet::new(wake);
        self.subscribers.add(&dirty);
        if self.rooms_listed() {
            dirty.relisted();
        }
        dirty
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

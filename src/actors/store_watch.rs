//! Watch of one prefix: applies the store's changes to the directory and wakes the supervisors.
//!
//! ```text
//!  Listing ──▶ Following ──▶ Lost ──▶ Listing …      (protocol: `store::reflector`)
//! ```
//! A batch is applied completely before any supervisor is woken. A woken supervisor therefore sees a state at
//! least as new as the revision that the directory reports.

use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use serde_json::json;
use tokio::sync::watch;

use super::context::Context;
use super::kernel::{ActorState, Behaviour, Cx, Message};
use crate::domain::restart::{Backoff, STORE_ASKED_WITHIN};
use crate::rooms::dirty_set::{DirtySet, WeakDirtySet};
use crate::rooms::{Scope, StoreChange, WatchApplier};
use crate::store::StoreError;
use crate::store::reflector::{ReflectorEvent, reflect};
use crate::telemetry::events::{Event, StoreBack, StoreLost};

/// Interval at which the prefix is listed again, in case the watch missed a change.
const RELIST_EVERY: Duration = Duration::from_secs(60);

/// State of a watch that follows the store.
pub const FOLLOWING: &str = "following";

/// Supervisors that are woken when rooms or modules change.
#[derive(Clone, Default)]
pub struct Subscribers(Arc<Mutex<Vec<WeakDirtySet>>>);

impl Subscribers {
    pub fn add(&self, dirty: &DirtySet) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(dirty.downgrade());
    }

    fn each(&self, tell: impl Fn(&DirtySet)) {
        let mut subscribers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|weak| weak.upgrade().inspect(&tell).is_some());
    }
}

pub(super) type Changes = Pin<Box<dyn Stream<Item = ReflectorEvent> + Send>>;

pub struct StoreWatch {
    context: Context,
    scope: Scope,
    fold: WatchApplier,
    /// Changes that are applied but not yet reported.
    changed: Vec<StoreChange>,
    /// Start of the current period in which the cluster cache may be outdated, and the reason; `None` while
    /// the watch follows the store.
    lost: Option<(Duration, Option<String>)>,
    /// Requests to list the store again.
    relists: watch::Receiver<u64>,
}

pub enum Msg {
    /// Events up to and including the next one that makes the cluster cache consistent, and the rest of the
    /// stream.
    Batch(Vec<ReflectorEvent>, Changes),
    Relist,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Batch(..) => "batch",
            Self::Relist => "relist",
        }
    }
}

impl StoreWatch {
    pub fn new(context: Context, scope: Scope) -> Self {
        let networks = context.config.node.networks.clone();
        let fold = WatchApplier::new(context.directory.clone(), scope).within(networks);
        let lost = Some((context.clock.now(), None));
        let relists = context.relists.subscribe();
        Self { context, scope, fold, changed: Vec::new(), lost, relists }
    }

    /// Lists the prefix and follows its changes.
    fn follow(&self, cx: &mut Cx<Self>) {
        let (store, prefix) = (self.context.store.clone(), self.scope.prefix().to_owned());
        let retry = self.context.backoff();
        let backoff = Backoff { max: retry.max.min(STORE_ASKED_WITHIN), ..retry };
        let changes = reflect(store, prefix, backoff, RELIST_EVERY);
        self.read_on(Box::pin(changes), cx);
    }

    fn read_on(&self, changes: Changes, cx: &mut Cx<Self>) {
        let mut relists = self.relists.clone();
        let next = async move {
            tokio::select! {
                (batch, changes) = next_batch(changes) => Msg::Batch(batch, changes),
                // The sender is in the context, so the channel is never closed.
                _ = relists.changed() => Msg::Relist,
            }
        };
        cx.run(next, |msg| msg);
    }

    fn apply(&mut self, event: ReflectorEvent) {
        match event {
            ReflectorEvent::InitStart => self.fold.begin_init(),
            ReflectorEvent::InitApply(kv) | ReflectorEvent::Apply(kv) => {
                self.changed.extend(self.fold.put(&kv.key, &kv.value, kv.mod_revision));
            }
            ReflectorEvent::Delete { key } => self.changed.extend(self.fold.delete(&key)),
            ReflectorEvent::InitDone { revision } => {
                self.changed.extend(self.fold.end_init(revision));
                self.following();
            }
            ReflectorEvent::Progress { revision } => {
                self.fold.progress(revision);
                self.tell();
            }
            ReflectorEvent::Lost(error) => self.lose(&error),
        }
    }

    fn tell(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        let rooms = self.context.directory.affected_by(&changed);
        if !rooms.is_empty() {
            self.context.subscribers.each(|dirty| dirty.changed(rooms.iter().cloned()));
        }
        if changed.iter().any(|change| matches!(change, StoreChange::Module(..))) {
            self.context.subscribers.each(DirtySet::modules_changed);
        }
    }

    fn following(&mut self) {
        self.tell();
        let Some((since, why)) = self.lost.take() else { return };
        if self.scope != Scope::Rooms {
            return self.context.subscribers.each(DirtySet::modules_changed);
        }
        self.context.store_up.store(true, Relaxed);
        self.context.metrics.set_store_up(true);
        if why.is_some() {
            let away = self.context.clock.now().saturating_sub(since);
            StoreBack { away }.emit(&self.context.metrics);
        }
        self.context.subscribers.each(DirtySet::relisted);
    }

    fn lose(&mut self, error: &StoreError) {
        let reason = if matches!(error, StoreError::Compacted { .. }) { "compacted" } else { "lost" };
        self.context.metrics.watch_restarted(reason);
        let why = error.to_string();
        let lost = self.lost.get_or_insert_with(|| (self.context.clock.now(), None));
        let is_news = lost.1.replace(why.clone()).is_none();
        // All watches follow the same store; the watch of the rooms reports its state.
        if self.scope == Scope::Rooms {
            self.context.store_up.store(false, Relaxed);
            if is_news {
                StoreLost { reason: &why }.emit(&self.context.metrics);
            }
        }
    }
}

/// Reads up to and including the next event that makes the cluster cache consistent, or until the watch is
/// lost.
pub(super) async fn next_batch(mut changes: Changes) -> (Vec<ReflectorEvent>, Changes) {
    let mut batch = Vec::new();
    while let Some(event) = changes.next().await {
        let complete = matches!(
            event,
            ReflectorEvent::InitDone { .. } | ReflectorEvent::Progress { .. } | ReflectorEvent::Lost(_)
        );
        batch.push(event);
        if complete {
            break;
        }
    }
    (batch, changes)
}

impl Behaviour for StoreWatch {
    const KIND: &'static str = "store_watch";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.follow(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Batch(batch, changes) => {
                batch.into_iter().for_each(|event| self.apply(event));
                self.read_on(changes, cx);
            }
            Msg::Relist => {
                self.relists.borrow_and_update();
                if self.scope == Scope::Rooms {
                    self.context.subscribers.each(DirtySet::relisted);
                }
                self.follow(cx);
            }
        }
    }

    fn observe(&self) -> ActorState {
        let (state, reason) = match &self.lost {
            None => (FOLLOWING, None),
            Some((_, None)) => ("listing", None),
            Some((_, Some(why))) => ("lost", Some(why.clone())),
        };
        let revision = self.context.directory.revision_seen(self.scope);
        ActorState {
            observed: json!({ "prefix": self.scope.prefix(), "revision": revision }),
            reason,
            ..ActorState::state(state)
        }
    }
}

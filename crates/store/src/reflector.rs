//! Lists a prefix, then watches it indefinitely, so that a consumer can keep an exact copy of it.
//!
//! ```text
//!            listed                  changed: Apply, Delete, Progress
//!  Listing ─────────▶ Watching ──┐
//!   ▲  │ failed: Lost   │   ▲    │
//!   │  ▼                │   └────┘
//!  Pausing ◀────────────┤ closed, silent, failed: Lost; compacted: no Lost, only a new listing
//!   ▲                   │
//!   └── (no pause) ─────┘ `relist_every` has passed
//! ```
//!
//! At `InitDone` a consumer treats every key that the listing does not contain as deleted. Therefore a key
//! that was deleted during a gap disappears from the copy, and a listing without a gap changes nothing. Owns:
//! the order of delivery, and the pauses. Does not drop or reorder a change, or repeat a failing request
//! without a pause.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tokio::time::{Instant, sleep, timeout_at};

use super::{KeyValue, Listing, Revision, Store, StoreError, WatchBatch, WatchEvent, WatchStream};
use stentor_backoff::Backoff;

/// Time without any batch after which a watch counts as dead. A store reports progress at least every 5 s.
const SILENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Clone)]
pub enum ReflectorEvent {
    /// A listing follows. The copy stays valid until `InitDone`.
    InitStart,
    InitApply(KeyValue),
    /// The listing is complete. Every key in the copy that was not listed since `InitStart` is deleted. The
    /// copy is then the store's state at `revision`.
    InitDone {
        revision: Revision,
    },
    Apply(KeyValue),
    Delete {
        key: String,
    },
    /// Every change under the prefix up to `revision` has been delivered.
    Progress {
        revision: Revision,
    },
    /// The copy may be out of date until the next `InitDone`. Sent once for each failed attempt, but not
    /// after a compaction.
    Lost(StoreError),
}

/// Follows `prefix` until dropped; never ends by itself. `relist_every` is shortened at random by up to 10 %,
/// so that nodes started together do not list together.
pub fn reflect(
    store: Arc<dyn Store>,
    prefix: String,
    backoff: Backoff,
    relist_every: Duration,
) -> impl Stream<Item = ReflectorEvent> + Send {
    stream::unfold(Reflector::new(store, prefix, backoff, relist_every), |mut reflector| async move {
        let next = reflector.next().await;
        Some((next, reflector))
    })
}

struct Reflector {
    store: Arc<dyn Store>,
    prefix: String,
    backoff: Backoff,
    relist_every: Duration,
    silence: Duration,
    /// Failures since the last batch of a watch. A listing alone does not reset this number, because the
    /// watch after the listing may fail immediately.
    failures: u32,
    phase: Phase,
    /// Items to deliver before the next request to the store.
    ready: VecDeque<ReflectorEvent>,
}

enum Phase {
    Listing,
    Watching { watch: WatchStream, relist_at: Instant },
    Pausing,
}

impl Reflector {
    fn new(store: Arc<dyn Store>, prefix: String, backoff: Backoff, relist_every: Duration) -> Self {
        let (phase, ready) = (Phase::Listing, VecDeque::new());
        Self { store, prefix, backoff, relist_every, silence: SILENCE, failures: 0, phase, ready }
    }

    async fn next(&mut self) -> ReflectorEvent {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return ready;
            }
            match std::mem::replace(&mut self.phase, Phase::Listing) {
                Phase::Listing => self.list().await,
                Phase::Watching { watch, relist_at } => self.follow(watch, relist_at).await,
                Phase::Pausing => sleep(self.backoff.delay(self.failures, rand::random())).await,
            }
        }
    }

    async fn list(&mut self) {
        let listed = match self.store.list(&self.prefix).await {
            Ok(listing) => self.watch_after(listing).await,
            Err(error) => Err(error),
        };
        match listed {
            Ok(watch) => self.phase = Phase::Watching { watch, relist_at: self.relist_at() },
            Err(error) => self.failed(error),
        }
    }

    /// Delivers the listing, then opens the watch. The listing is delivered even if the watch cannot be
    /// opened, because it is the newest known state.
    async fn watch_after(&mut self, listing: Listing) -> Result<WatchStream, StoreError> {
        let revision = listing.revision;
        self.ready.push_back(ReflectorEvent::InitStart);
        self.ready.extend(listing.entries.into_iter().map(ReflectorEvent::InitApply));
        self.ready.push_back(ReflectorEvent::InitDone { revision });
        self.store.watch(&self.prefix, revision + 1).await
    }

    async fn follow(&mut self, mut watch: WatchStream, relist_at: Instant) {
        let dead_at = Instant::now() + self.silence;
        match timeout_at(relist_at.min(dead_at), watch.next()).await {
            Ok(Some(Ok(batch))) => {
                self.failures = 0;
                self.deliver(batch);
                self.phase = Phase::Watching { watch, relist_at };
            }
            Ok(Some(Err(error))) => self.failed(error),
            Ok(None) => self.failed(StoreError::Unavailable("the watch was closed".into())),
            // No failure: the phase is already `Listing`.
            Err(_) if Instant::now() >= relist_at => {}
            Err(_) => {
                let silence = self.silence;
                self.failed(StoreError::Unavailable(format!("the watch has been silent for {silence:?}")));
            }
        }
    }

    fn deliver(&mut self, batch: WatchBatch) {
        self.ready.extend(batch.events.into_iter().map(|event| match event {
            WatchEvent::Put(kv) => ReflectorEvent::Apply(kv),
            WatchEvent::Delete { key } => ReflectorEvent::Delete { key },
        }));
        self.ready.push_back(ReflectorEvent::Progress { revision: batch.revision });
    }

    fn failed(&mut self, error: StoreError) {
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Pausing;
        if !matches!(error, StoreError::Compacted { .. }) {
            self.ready.push_back(ReflectorEvent::Lost(error));
        }
    }

    fn relist_at(&self) -> Instant {
        Instant::now() + self.relist_every.mul_f64(1.0 - 0.1 * rand::random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LeaseId, Txn, TxnOutcome};
    use async_trait::async_trait;
    use std::sync::Mutex;

    const RELIST_NEVER: Duration = Duration::from_secs(3600);
    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(20), max: Duration::from_millis(80) };

    #[tokio::test]
    async fn reflector_lists_then_watches() {
        let batch = WatchBatch { revision: 7, events: vec![put("/b", 6), delete("/a"), put("/c", 7)] };
        let store = ScriptedStore::new([Ok(listing(5, &["/a"]))], [Watch::Open(vec![Ok(batch)])]);
        let seen = take(reflector(store), 7).await;
        assert_eq!(seen, ["start", "init /a", "done 5", "apply /b", "delete /a", "apply /c", "progress 7"]);
    }

    #[tokio::test]
    async fn reflector_reports_every_failure() {
        let lists = [Err(away()), Err(away()), Ok(listing(5, &[]))];
        let store = ScriptedStore::new(lists, [Watch::Open(vec![])]);
        assert_eq!(take(reflector(store), 4).await, ["lost", "lost", "start", "done 5"]);
    }

    #[tokio::test]
    async fn closed_watch_backs_off() {
        let started = Instant::now();
        let watches = [Watch::Closed, Watch::Refused(away()), Watch::Closed, Watch::Closed];
        let store = ScriptedStore::new([Ok(listing(5, &[]))], watches);
        let seen = take(reflector(store), 12).await;
        assert_eq!(seen, ["start", "done 5", "lost"].repeat(4));
        // Three pauses of at least half of 20, 40 and 80 ms: the listings in between do not count as success.
        assert!(started.elapsed() >= Duration::from_millis(70), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn compacted_watch_relists_without_loss() {
        let forgotten = || StoreError::Compacted { from: 6 };
        let watches = [Watch::Refused(forgotten()), Watch::Open(vec![Err(forgotten())]), Watch::Open(vec![])];
        let lists = [Ok(listing(5, &["/a"])), Ok(listing(6, &[])), Ok(listing(7, &[]))];
        let seen = take(reflector(ScriptedStore::new(lists, watches)), 7).await;
        assert_eq!(seen, ["start", "init /a", "done 5", "start", "done 6", "start", "done 7"]);
    }

    #[tokio::test]
    async fn silent_watch_counts_as_lost() {
        let watches = [Watch::Open(vec![]), Watch::Open(vec![])];
        let store = ScriptedStore::new([Ok(listing(5, &[]))], watches);
        let reflector = Reflector { silence: Duration::from_millis(30), ..reflector(store) };
        assert_eq!(take(reflector, 5).await, ["start", "done 5", "lost", "start", "done 5"]);
    }

    #[tokio::test]
    async fn periodic_relist_reports_no_loss() {
        let store = ScriptedStore::new([Ok(listing(5, &["/a"]))], []);
        let reflector = Reflector { relist_every: Duration::from_millis(10), ..reflector(store) };
        assert_eq!(take(reflector, 9).await, ["start", "init /a", "done 5"].repeat(3));
    }

    fn reflector(store: ScriptedStore) -> Reflector {
        Reflector::new(Arc::new(store), "/".into(), BACKOFF, RELIST_NEVER)
    }

    async fn take(mut reflector: Reflector, count: usize) -> Vec<String> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(10), reflector.next()).await;
            seen.push(match next.expect("nothing comes") {
                ReflectorEvent::InitStart => "start".into(),
                ReflectorEvent::InitApply(kv) => format!("init {}", kv.key),
                ReflectorEvent::InitDone { revision } => format!("done {revision}"),
                ReflectorEvent::Apply(kv) => format!("apply {}", kv.key),
                ReflectorEvent::Delete { key } => format!("delete {key}"),
                ReflectorEvent::Progress { revision } => format!("progress {revision}"),
                ReflectorEvent::Lost(_) => "lost".into(),
            });
        }
        seen
    }

    fn kv(key: &str, mod_revision: Revision) -> KeyValue {
        KeyValue { key: key.into(), value: "v".into(), mod_revision, lease: None }
    }

    fn put(key: &str, mod_revision: Revision) -> WatchEvent {
        WatchEvent::Put(kv(key, mod_revision))
    }

    fn delete(key: &str) -> WatchEvent {
        WatchEvent::Delete { key: key.into() }
    }

    fn listing(revision: Revision, keys: &[&str]) -> Listing {
        Listing { revision, entries: keys.iter().map(|key| kv(key, 1)).collect() }
    }

    fn away() -> StoreError {
        StoreError::Unavailable("it is away".into())
    }

    enum Watch {
        /// Delivers these results, then stays silent.
        Open(Vec<Result<WatchBatch, StoreError>>),
        Closed,
        Refused(StoreError),
    }

    /// Store with scripted answers. Repeats the last listing, and opens a silent watch after the scripted
    /// ones.
    struct ScriptedStore {
        lists: Mutex<VecDeque<Result<Listing, StoreError>>>,
        watches: Mutex<VecDeque<Watch>>,
    }

    impl ScriptedStore {
        fn new(
            lists: impl IntoIterator<Item = Result<Listing, StoreError>>,
            watches: impl IntoIterator<Item = Watch>,
        ) -> Self {
            let lists = Mutex::new(lists.into_iter().collect());
            Self { lists, watches: Mutex::new(watches.into_iter().collect()) }
        }
    }

    #[async_trait]
    impl Store for ScriptedStore {
        async fn list(&self, _prefix: &str) -> Result<Listing, StoreError> {
            let mut lists = self.lists.lock().unwrap();
            if lists.len() > 1 { lists.pop_front().unwrap() } else { lists[0].clone() }
        }

        async fn watch(&self, _prefix: &str, _from: Revision) -> Result<WatchStream, StoreError> {
            match self.watches.lock().unwrap().pop_front() {
                Some(Watch::Open(batches)) => Ok(stream::iter(batches).chain(stream::pending()).boxed()),
                None => Ok(stream::pending().boxed()),
                Some(Watch::Closed) => Ok(stream::empty().boxed()),
                Some(Watch::Refused(error)) => Err(error),
            }
        }

        async fn get(&self, _key: &str) -> Result<Option<KeyValue>, StoreError> {
            unreachable!("a reflector only lists and watches")
        }

        async fn txn(&self, _txn: Txn) -> Result<TxnOutcome, StoreError> {
            unreachable!("a reflector only lists and watches")
        }

        async fn grant(&self, _ttl: Duration) -> Result<LeaseId, StoreError> {
            unreachable!("a reflector only lists and watches")
        }

        async fn keep_alive(&self, _lease: LeaseId) -> Result<(), StoreError> {
            unreachable!("a reflector only lists and watches")
        }

        async fn revoke(&self, _lease: LeaseId) -> Result<(), StoreError> {
            unreachable!("a reflector only lists and watches")
        }
    }
}

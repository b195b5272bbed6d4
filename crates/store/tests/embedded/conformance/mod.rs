//! Conformance cases for every store, which run unchanged on each backend.
//!
//! `store_conformance!(shared, own)` makes one test per case. Call it in a sibling of this module. `shared`
//! builds a [`Subject`] that other tests may use at the same time. `own` builds one for a case that would
//! disturb other tests. Owns: the contract of `stentor_store::Store` in executable form. Does not depend on
//! the backend.

mod leases;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use stentor_store::{
    KeyValue, Revision, Store, StoreError, Txn, TxnOutcome, WatchBatch, WatchEvent, WatchStream,
};
use tokio::time::timeout;

pub use self::leases::*;

/// Time limit far above the needs of any case, so that only a hang reaches it.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A backend under test. Other tests may use the same store. So a case uses only keys below
/// [`prefix`](Subject::prefix), and does not assume that its write gets the store's next revision.
#[async_trait(?Send)]
pub trait Subject {
    fn store(&self) -> Arc<dyn Store>;

    /// Returns the key prefix of the case; it ends in `/`.
    fn prefix(&self) -> String;

    /// Makes the store forget its history before `revision`. Must only be called for a store that the case
    /// does not share.
    async fn forget(&self, revision: Revision);
}

#[macro_export]
macro_rules! store_conformance {
    ($shared:path, $own:path) => {
        $crate::store_conformance! { $own => watch_from_compacted_revision_fails }
        $crate::store_conformance! {
            $shared =>
            values_read_back_with_revision,
            list_is_sorted_and_within_prefix,
            noop_writes_keep_revision,
            transactions_are_atomic,
            recreated_key_has_new_revision,
            compare_and_swap_loses_no_update,
            malformed_transactions_are_refused,
            delete_prefix_spares_other_keys,
            list_then_watch_misses_nothing,
            watch_delivers_past_changes,
            watch_sees_only_its_prefix,
            watch_batch_keeps_transactions_whole,
            unwatched_delete_is_not_listed,
            quiet_watch_reports_progress,
            expired_lease_deletes_its_keys,
            kept_alive_lease_stays,
            revoked_lease_deletes_its_keys,
            unknown_lease_is_an_error,
            rewritten_key_outlives_its_old_lease,
            values_are_bytes,
            large_values_arrive_whole,
            thousand_keys_are_listed_and_watched
        }
    };
    ($subject:path => $($case:ident),+) => {
        $(#[tokio::test]
        async fn $case() {
            super::conformance::$case(&$subject().await).await;
        })+
    };
}

pub async fn values_read_back_with_revision(subject: &impl Subject) {
    let (store, key) = (subject.store(), format!("{}key", subject.prefix()));
    assert_eq!(store.get(&key).await.unwrap(), None);
    let first = store.put(&key, "one".into()).await.unwrap();
    let second = store.put(&key, "two".into()).await.unwrap();
    assert!(second > first);
    let expected = KeyValue { key: key.clone(), value: "two".into(), mod_revision: second, lease: None };
    assert_eq!(store.get(&key).await.unwrap(), Some(expected));
    assert!(store.delete(&key).await.unwrap() > second);
    assert_eq!(store.get(&key).await.unwrap(), None);
}

pub async fn list_is_sorted_and_within_prefix(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    for name in ["b/2", "a/1", "b/1", "b", "b0", "c/1"] {
        store.put(&format!("{p}{name}"), name.to_owned().into()).await.unwrap();
    }
    let listing = store.list(&format!("{p}b/")).await.unwrap();
    let found: Vec<_> = listing.entries.iter().map(|kv| kv.key.strip_prefix(&p).unwrap()).collect();
    assert_eq!(found, ["b/1", "b/2"]);
    assert!(listing.entries.iter().all(|kv| kv.mod_revision <= listing.revision));
    assert!(store.list(&format!("{p}nothing/")).await.unwrap().entries.is_empty());
}

pub async fn noop_writes_keep_revision(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    let key = format!("{p}key");
    let put = store.put(&key, "v".into()).await.unwrap();
    let mut watch = store.watch(&p, put + 1).await.unwrap();
    store.delete(&format!("{p}absent")).await.unwrap();
    store.delete_prefix(&format!("{p}absent/")).await.unwrap();
    assert!(matches!(store.txn(Txn::new()).await.unwrap(), TxnOutcome::Committed(r) if r >= put));
    assert_eq!(store.get(&key).await.unwrap().unwrap().mod_revision, put);
    let last = store.put(&key, "w".into()).await.unwrap();
    let events = events_until(&mut watch, last).await;
    assert_eq!(events.len(), 1, "only the last put is an event: {events:?}");
}

pub async fn transactions_are_atomic(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    let (a, b, c) = (format!("{p}a"), format!("{p}b"), format!("{p}c"));
    let created = committed(&*store, Txn::new().when_absent(&a).put(&a, "1").put(&b, "1")).await;
    let listing = store.list(&p).await.unwrap();
    assert!(listing.entries.iter().all(|kv| kv.mod_revision == created), "one revision: {listing:?}");

    let conflicting = [
        Txn::new().when_absent(&a).put(&c, "x"),
        Txn::new().when(&a, created).when(&b, created - 1).put(&c, "x").delete(&a),
        Txn::new().when(&c, created).delete_prefix(&p),
    ];
    for txn in conflicting {
        assert_eq!(store.txn(txn).await.unwrap(), TxnOutcome::Conflict);
        assert_eq!(store.list(&p).await.unwrap().entries, listing.entries);
    }

    let swap = Txn::new().when(&a, created).when(&b, created).when_absent(&c).delete(&a).put(&c, "2");
    let swapped = committed(&*store, swap).await;
    let left: Vec<_> = store.list(&p).await.unwrap().entries;
    let left: Vec<_> = left.iter().map(|kv| (kv.key.as_str(), kv.mod_revision)).collect();
    assert_eq!(left, [(b.as_str(), created), (c.as_str(), swapped)]);
}

pub async fn recreated_key_has_new_revision(subject: &impl Subject) {
    let (store, key) = (subject.store(), format!("{}key", subject.prefix()));
    let old = store.put(&key, "v".into()).await.unwrap();
    store.delete(&key).await.unwrap();
    assert_eq!(store.txn(Txn::new().when(&key, old).put(&key, "x")).await.unwrap(), TxnOutcome::Conflict);
    store.put(&key, "v".into()).await.unwrap();
    assert_eq!(store.txn(Txn::new().when(&key, old).put(&key, "x")).await.unwrap(), TxnOutcome::Conflict);
}

pub async fn compare_and_swap_loses_no_update(subject: &impl Subject) {
    const WRITERS: usize = 8;
    const EACH: usize = 10;
    let (store, key) = (subject.store(), format!("{}counter", subject.prefix()));
    let increment = async || loop {
        let now = store.get(&key).await.unwrap();
        let count: usize = now.as_ref().map_or(0, |kv| text(&kv.value).parse().unwrap());
        let txn = Txn::new().when(&key, now.map_or(0, |kv| kv.mod_revision));
        let txn = txn.put(&key, (count + 1).to_string());
        if matches!(store.txn(txn).await.unwrap(), TxnOutcome::Committed(_)) {
            break;
        }
    };
    join_all((0..WRITERS).map(|_| async {
        for _ in 0..EACH {
            increment().await;
        }
    }))
    .await;
    let total = store.get(&key).await.unwrap().unwrap();
    assert_eq!(text(&total.value), (WRITERS * EACH).to_string());
}

pub async fn malformed_transactions_are_refused(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    let a = format!("{p}a");
    let oversized = (0..129).fold(Txn::new(), |txn, n| txn.put(format!("{p}{n}"), "v"));
    let bad = [
        ("a key twice", Txn::new().put(&a, "1").put(&a, "2")),
        ("put and delete", Txn::new().put(&a, "1").delete(&a)),
        ("put below a deleted prefix", Txn::new().put(&a, "1").delete_prefix(&p)),
        ("an empty key", Txn::new().put("", "1")),
        ("too many", oversized),
        ("too large", Txn::new().put(&a, vec![0; 2 << 20])),
    ];
    for (what, txn) in bad {
        let outcome = store.txn(txn).await;
        assert!(matches!(outcome, Err(StoreError::Rejected(_))), "{what}: {outcome:?}");
    }
    assert!(store.list(&p).await.unwrap().entries.is_empty());
}

pub async fn delete_prefix_spares_other_keys(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    for name in ["x/1", "x/2", "x/3", "x", "y/1"] {
        store.put(&format!("{p}{name}"), "v".into()).await.unwrap();
    }
    let before = store.list(&p).await.unwrap().revision;
    let mut watch = store.watch(&p, before + 1).await.unwrap();
    let deleted = store.delete_prefix(&format!("{p}x/")).await.unwrap();
    let left = store.list(&p).await.unwrap().entries;
    let left: Vec<_> = left.iter().map(|kv| kv.key.strip_prefix(&p).unwrap()).collect();
    assert_eq!(left, ["x", "y/1"]);
    let gone = ["x/1", "x/2", "x/3"].map(|name| WatchEvent::Delete { key: format!("{p}{name}") });
    assert_eq!(events_until(&mut watch, deleted).await, gone);
}

pub async fn list_then_watch_misses_nothing(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    let write = async |writer: usize| {
        for n in 0..40 {
            let key = format!("{p}{}", (writer * 7 + n) % 13);
            if n % 5 == 4 {
                store.delete(&key).await.unwrap();
            } else {
                store.put(&key, format!("{writer}/{n}").into()).await.unwrap();
            }
        }
    };
    let end = format!("{p}end");
    let writing = async {
        join_all((0..4).map(&write)).await;
        store.put(&end, "".into()).await.unwrap()
    };
    let watching = async {
        // Lists in the middle of the writes.
        until_some(async || store.list(&p).await.unwrap().entries.get(5).cloned()).await;
        let listing = store.list(&p).await.unwrap();
        let mut known: BTreeMap<_, _> = listing.entries.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        let mut watch = store.watch(&p, listing.revision + 1).await.unwrap();
        let following = async {
            while !known.contains_key(&end) {
                for event in next(&mut watch).await.unwrap().events {
                    follow(&mut known, event, listing.revision);
                }
            }
        };
        timeout(DEADLINE, following).await.expect("the last write is not delivered");
        known
    };
    let (_, known) = futures::join!(writing, watching);
    let truth = store.list(&p).await.unwrap().entries;
    assert_eq!(known.into_values().collect::<Vec<_>>(), truth);
}

pub async fn watch_delivers_past_changes(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    let mut revisions = Vec::new();
    for n in 0..10 {
        revisions.push(store.put(&format!("{p}key"), n.to_string().into()).await.unwrap());
    }
    let mut watch = store.watch(&p, revisions[4]).await.unwrap();
    let events = events_until(&mut watch, revisions[9]).await;
    let seen: Vec<_> = events.iter().map(|event| put_of(event).mod_revision).collect();
    assert_eq!(seen, revisions[4..]);
}

pub async fn watch_sees_only_its_prefix(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    let start = store.list(&p).await.unwrap().revision;
    let mut watch = store.watch(&format!("{p}mine/"), start + 1).await.unwrap();
    store.put(&format!("{p}mine"), "no".into()).await.unwrap();
    store.put(&format!("{p}other/1"), "no".into()).await.unwrap();
    let both = Txn::new().put(format!("{p}other/2"), "no").put(format!("{p}mine/1"), "yes");
    committed(&*store, both).await;
    store.delete_prefix(&format!("{p}other/")).await.unwrap();
    let last = store.put(&format!("{p}mine/2"), "yes".into()).await.unwrap();
    let events = events_until(&mut watch, last).await;
    let keys: Vec<_> = events.iter().map(|event| put_of(event).key.strip_prefix(&p).unwrap()).collect();
    assert_eq!(keys, ["mine/1", "mine/2"]);
}

pub async fn watch_batch_keeps_transactions_whole(subject: &impl Subject) {
    const SIZE: usize = 30;
    const TXNS: usize = 40;
    let (store, p) = (subject.store(), subject.prefix());
    let start = store.list(&p).await.unwrap().revision;
    let txn = |n: usize| {
        (0..SIZE).fold(Txn::new(), |txn, k| txn.put(format!("{p}{}/{k}", n % 3), vec![b'x'; 2_000]))
    };
    let mut live = store.watch(&p, start + 1).await.unwrap();
    let outcomes = join_all((0..TXNS).map(|n| committed(&*store, txn(n)))).await;
    let last = outcomes.into_iter().max().unwrap();
    let mut past = store.watch(&p, start + 1).await.unwrap();
    for watch in [&mut live, &mut past] {
        let (mut seen, mut newest) = (0, start);
        let reading = async {
            while newest < last {
                let batch = next(watch).await.unwrap();
                let revisions: Vec<_> = batch.events.iter().map(|event| put_of(event).mod_revision).collect();
                for txn in revisions.chunk_by(|a, b| a == b) {
                    assert_eq!(txn.len(), SIZE, "revision {} is in one batch, together", txn[0]);
                    assert!(txn[0] > newest, "revisions rise");
                    newest = txn[0];
                    seen += 1;
                }
                assert!(batch.revision >= newest);
            }
        };
        timeout(DEADLINE, reading).await.expect("the last transaction is not delivered");
        assert_eq!(seen, TXNS);
    }
}

pub async fn unwatched_delete_is_not_listed(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    store.put(&format!("{p}ghost"), "v".into()).await.unwrap();
    store.put(&format!("{p}stays"), "v".into()).await.unwrap();
    let listing = store.list(&p).await.unwrap();
    let watch = store.watch(&p, listing.revision + 1).await.unwrap();
    drop(watch);
    store.delete(&format!("{p}ghost")).await.unwrap();
    let listing = store.list(&p).await.unwrap();
    assert_eq!(listing.entries.len(), 1);
    assert_eq!(listing.entries[0].key, format!("{p}stays"));
}

pub async fn watch_from_compacted_revision_fails(subject: &impl Subject) {
    let (store, key) = (subject.store(), format!("{}key", subject.prefix()));
    let old = store.put(&key, "1".into()).await.unwrap();
    let mid = store.put(&key, "2".into()).await.unwrap();
    subject.forget(mid).await;
    let error = first_error(&*store, &subject.prefix(), old).await;
    assert!(matches!(error, StoreError::Compacted { from } if from == old), "{error:?}");
    let listing = store.list(&subject.prefix()).await.unwrap();
    assert_eq!(listing.entries.len(), 1, "the key itself is still listed");
    let mut watch = store.watch(&subject.prefix(), listing.revision + 1).await.unwrap();
    let last = store.put(&key, "3".into()).await.unwrap();
    assert_eq!(events_until(&mut watch, last).await.len(), 1);
}

pub async fn quiet_watch_reports_progress(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    let start = store.list(&p).await.unwrap().revision;
    let mut watch = store.watch(&p, start + 1).await.unwrap();
    for _ in 0..2 {
        let batch = timeout(Duration::from_secs(8), watch.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(batch.events, []);
        assert!(batch.revision >= start);
    }
}

pub async fn values_are_bytes(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    let all: Vec<u8> = (0..=255).collect();
    for (name, value) in [("all", all), ("nul", vec![0]), ("empty", vec![])] {
        let key = format!("{p}{name}");
        let revision = store.put(&key, value.clone().into()).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap().unwrap().value, value);
        let mut watch = store.watch(&key, revision).await.unwrap();
        let events = events_until(&mut watch, revision).await;
        assert_eq!(put_of(&events[0]).value, value);
    }
}

pub async fn large_values_arrive_whole(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    let value = |n: usize| Bytes::from(vec![n as u8; 100_000]);
    let start = store.list(&p).await.unwrap().revision;
    let mut last = start;
    for chunk in [0..10, 10..20, 20..30, 30..40, 40..50, 50..60] {
        let txn = chunk.fold(Txn::new(), |txn, n| txn.put(format!("{p}{n:02}"), value(n)));
        last = committed(&*store, txn).await;
    }
    let listing = store.list(&p).await.unwrap();
    assert_eq!(listing.entries.len(), 60, "six megabytes in one listing");
    let mut watch = store.watch(&p, start + 1).await.unwrap();
    let events = events_until(&mut watch, last).await;
    for (n, (event, kv)) in events.iter().zip(&listing.entries).enumerate() {
        assert_eq!(kv.value, value(n));
        assert_eq!(put_of(event), kv);
    }
    assert_eq!(events.len(), 60);
}

pub async fn thousand_keys_are_listed_and_watched(subject: &impl Subject) {
    let (store, p) = (subject.store(), subject.prefix());
    let start = store.list(&p).await.unwrap().revision;
    let mut watch = store.watch(&p, start + 1).await.unwrap();
    let puts = (0..1_000).map(|n| async move { (format!("{n:04}"), n.to_string()) });
    let last = join_all(puts.map(|put| async {
        let (name, value) = put.await;
        store.put(&format!("{p}{name}"), value.into()).await.unwrap()
    }))
    .await
    .into_iter()
    .max()
    .unwrap();
    assert_eq!(events_until(&mut watch, last).await.len(), 1_000);
    assert_eq!(store.list(&p).await.unwrap().entries.len(), 1_000);
}

pub async fn committed(store: &dyn Store, txn: Txn) -> Revision {
    match store.txn(txn).await.unwrap() {
        TxnOutcome::Committed(revision) => revision,
        TxnOutcome::Conflict => panic!("a conflict nobody caused"),
    }
}

/// Returns the next batch or error. Panics if the watch ends without an error or stays silent.
pub async fn next(watch: &mut WatchStream) -> Result<WatchBatch, StoreError> {
    timeout(DEADLINE, watch.next()).await.expect("the watch is silent").expect("the watch just ended")
}

/// Returns all events up to and including those of `revision`. At least one of these must be under the
/// watch's prefix.
///
/// Do not pass the revision of a listing: its last change may be another test's, under another prefix of the
/// same store.
pub async fn events_until(watch: &mut WatchStream, revision: Revision) -> Vec<WatchEvent> {
    let mut events = Vec::new();
    let reading = async {
        loop {
            let batch = next(watch).await.unwrap();
            events.extend(batch.events);
            if batch.revision >= revision {
                return;
            }
        }
    };
    timeout(DEADLINE, reading).await.unwrap_or_else(|_| panic!("no event of revision {revision}"));
    events
}

/// Calls `ask` until it returns a value.
pub async fn until_some<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            // Sleep: the interval between two checks of the store.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, asking).await.expect("the condition never held")
}

async fn first_error(store: &dyn Store, prefix: &str, from: Revision) -> StoreError {
    let mut watch = match store.watch(prefix, from).await {
        Ok(watch) => watch,
        Err(error) => return error,
    };
    let reading = async {
        loop {
            if let Err(error) = next(&mut watch).await {
                return error;
            }
        }
    };
    let error = timeout(DEADLINE, reading).await.expect("the watch has no error");
    assert!(watch.next().await.is_none(), "a watch ends after its first error");
    error
}

/// Applies `event` to the state that a consumer of the watch has.
fn follow(known: &mut BTreeMap<String, KeyValue>, event: WatchEvent, listed_at: Revision) {
    match event {
        WatchEvent::Put(kv) => {
            assert!(kv.mod_revision > listed_at, "the watch repeats what was listed");
            known.insert(kv.key.clone(), kv);
        }
        WatchEvent::Delete { key } => {
            assert!(known.remove(&key).is_some(), "{key} was deleted but never there");
        }
    }
}

fn put_of(event: &WatchEvent) -> &KeyValue {
    match event {
        WatchEvent::Put(kv) => kv,
        WatchEvent::Delete { key } => panic!("{key} was deleted"),
    }
}

fn text(value: &Bytes) -> &str {
    std::str::from_utf8(value).unwrap()
}

//! The keys and values in memory, and the effect of transactions on them. This module is pure: it uses no
//! file, no clock and no thread.
//!
//! Owns: the ordered map with its revision, and the staging of a batch on top of it. Does not decide
//! when a batch is durable. The rules are etcd's: a transaction that changes something gets one revision, and
//! a transaction that changes nothing gets none.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::{KeyValue, LeaseId, Listing, Op, Revision, StoreError, Txn, TxnOutcome, WatchEvent};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub value: Bytes,
    pub mod_revision: Revision,
    pub lease: Option<LeaseId>,
}

/// All keys as of `revision`.
#[derive(Debug, Default)]
pub(super) struct Keyspace {
    pub revision: Revision,
    pub entries: BTreeMap<String, Entry>,
}

/// Transaction that changed something.
#[derive(Debug)]
pub(super) struct Commit {
    pub revision: Revision,
    pub events: Vec<WatchEvent>,
}

/// Transactions that become durable together. `changes` holds the last state of each changed key; `None`
/// means deleted.
#[derive(Debug)]
pub(super) struct Batch {
    pub revision: Revision,
    pub changes: BTreeMap<String, Option<Entry>>,
    pub commits: Vec<Commit>,
}

/// Batch under construction. Later transactions in it see the earlier ones as applied.
pub(super) struct StagedBatch<'a> {
    base: &'a Keyspace,
    batch: Batch,
}

impl Keyspace {
    pub fn get(&self, key: &str) -> Option<KeyValue> {
        self.entries.get(key).map(|entry| key_value(key, entry))
    }

    pub fn list(&self, prefix: &str) -> Listing {
        let entries = under(&self.entries, prefix).map(|(key, entry)| key_value(key, entry)).collect();
        Listing { revision: self.revision, entries }
    }

    /// Returns the keys under a lease. Scans all keys, because leases end rarely and an index would need an
    /// update with every put.
    pub fn keys_of(&self, lease: LeaseId) -> Vec<String> {
        self.keys_where(|entry| entry.lease == Some(lease))
    }

    pub fn leased_keys(&self) -> Vec<String> {
        self.keys_where(|entry| entry.lease.is_some())
    }

    fn keys_where(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<String> {
        self.entries.iter().filter(|(_, e)| wanted(e)).map(|(k, _)| k.clone()).collect()
    }

    pub fn apply(&mut self, revision: Revision, changes: BTreeMap<String, Option<Entry>>) {
        for (key, change) in changes {
            match change {
                Some(entry) => self.entries.insert(key, entry),
                None => self.entries.remove(&key),
            };
        }
        self.revision = revision;
    }
}

impl<'a> StagedBatch<'a> {
    pub fn new(base: &'a Keyspace) -> Self {
        let batch = Batch { revision: base.revision, changes: BTreeMap::new(), commits: Vec::new() };
        Self { base, batch }
    }

    pub fn finish(self) -> Batch {
        self.batch
    }

    /// Stages an admitted `txn`. On a conflict or an error the batch is unchanged.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`] if a lease of the transaction is not `alive`.
    pub fn txn(&mut self, txn: Txn, alive: impl Fn(LeaseId) -> bool) -> Result<TxnOutcome, StoreError> {
        if !txn.compares.iter().all(|c| self.mod_revision(&c.key) == c.mod_revision) {
            return Ok(TxnOutcome::Conflict);
        }
        let mut leases = txn.ops.iter().filter_map(lease_of);
        if !leases.all(alive) {
            return Err(StoreError::LeaseNotFound);
        }
        self.commit(txn.ops);
        Ok(TxnOutcome::Committed(self.batch.revision))
    }

    /// Stages one transaction that deletes all of `keys`, for the end of a lease.
    pub fn delete_all(&mut self, keys: Vec<String>) {
        self.commit(keys.into_iter().map(|key| Op::Delete { key }).collect());
    }

    fn commit(&mut self, ops: Vec<Op>) {
        let revision = self.batch.revision + 1;
        let mut events = Vec::new();
        for op in ops {
            match op {
                Op::Put { key, value, lease } => events.push(self.put(key, value, lease, revision)),
                Op::Delete { key } => events.extend(self.delete(key)),
                Op::DeletePrefix { prefix } => {
                    for key in self.keys_under(&prefix) {
                        events.extend(self.delete(key));
                    }
                }
            }
        }
        if !events.is_empty() {
            self.batch.revision = revision;
            self.batch.commits.push(Commit { revision, events });
        }
    }

    fn put(&mut self, key: String, value: Bytes, lease: Option<LeaseId>, revision: Revision) -> WatchEvent {
        let entry = Entry { value, mod_revision: revision, lease };
        let event = WatchEvent::Put(key_value(&key, &entry));
        self.batch.changes.insert(key, Some(entry));
        event
    }

    fn delete(&mut self, key: String) -> Option<WatchEvent> {
        if self.mod_revision(&key) == 0 {
            return None;
        }
        self.batch.changes.insert(key.clone(), None);
        Some(WatchEvent::Delete { key })
    }

    /// Returns the modification revision, 0 for an absent key.
    fn mod_revision(&self, key: &str) -> Revision {
        let entry = match self.batch.changes.get(key) {
            Some(change) => change.as_ref(),
            None => self.base.entries.get(key),
        };
        entry.map_or(0, |entry| entry.mod_revision)
    }

    fn keys_under(&self, prefix: &str) -> Vec<String> {
        let stored = under(&self.base.entries, prefix).map(|(key, _)| key);
        let staged = under(&self.batch.changes, prefix).map(|(key, _)| key);
        let mut keys: Vec<_> = stored.chain(staged).cloned().collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

fn lease_of(op: &Op) -> Option<LeaseId> {
    match op {
        Op::Put { lease, .. } => *lease,
        _ => None,
    }
}

fn key_value(key: &str, entry: &Entry) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: entry.value.clone(),
        mod_revision: entry.mod_revision,
        lease: entry.lease,
    }
}

fn under<'m, V>(map: &'m BTreeMap<String, V>, prefix: &'m str) -> impl Iterator<Item = (&'m String, &'m V)> {
    map.range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stage(keys: &mut Keyspace, txns: Vec<Txn>) -> Vec<Result<TxnOutcome, StoreError>> {
        let mut staging = StagedBatch::new(keys);
        let outcomes = txns.into_iter().map(|txn| staging.txn(txn, |_| false)).collect();
        let batch = staging.finish();
        keys.apply(batch.revision, batch.changes);
        outcomes
    }

    fn committed(outcome: &Result<TxnOutcome, StoreError>) -> Revision {
        match outcome {
            Ok(TxnOutcome::Committed(revision)) => *revision,
            other => panic!("not committed: {other:?}"),
        }
    }

    #[test]
    fn batched_transactions_see_earlier_ones() {
        let mut keys = Keyspace::default();
        let outcomes = stage(
            &mut keys,
            vec![
                Txn::new().when_absent("/a").put("/a", "1"),
                Txn::new().when_absent("/a").put("/a", "2"),
                Txn::new().when("/a", 1).put("/b", "3"),
                Txn::new().delete_prefix("/"),
                Txn::new().when_absent("/b").put("/c", "4"),
            ],
        );
        assert_eq!(committed(&outcomes[0]), 1);
        assert_eq!(*outcomes[1].as_ref().unwrap(), TxnOutcome::Conflict);
        assert_eq!(committed(&outcomes[2]), 2);
        assert_eq!(committed(&outcomes[3]), 3);
        assert_eq!(committed(&outcomes[4]), 4);
        let left: Vec<_> = keys.list("").entries.into_iter().map(|kv| (kv.key, kv.mod_revision)).collect();
        assert_eq!(left, [("/c".to_owned(), 4)]);
    }

    #[test]
    fn noop_transaction_keeps_revision() {
        let mut keys = Keyspace::default();
        let outcomes = stage(
            &mut keys,
            vec![
                Txn::new().delete("/a"),
                Txn::new().delete_prefix("/x"),
                Txn::new(),
                Txn::new().put("/a", ""),
            ],
        );
        assert_eq!(outcomes.iter().map(committed).collect::<Vec<_>>(), [0, 0, 0, 1]);
    }

    proptest! {
        #[test]
        fn replaying_the_commits_gives_the_state(ops in prop::collection::vec((0..3u8, 0..4u8), 0..60)) {
            let mut keys = Keyspace::default();
            let mut replayed = BTreeMap::new();
            let mut last = 0;
            for chunk in ops.chunks(7) {
                let mut staging = StagedBatch::new(&keys);
                for (kind, key) in chunk {
                    let key = format!("/{}/{key}", key % 2);
                    let txn = match kind {
                        0 => Txn::new().put(key, "v"),
                        1 => Txn::new().delete(key),
                        _ => Txn::new().delete_prefix(&key[..3]),
                    };
                    staging.txn(txn, |_| false).unwrap();
                }
                let batch = staging.finish();
                for commit in &batch.commits {
                    prop_assert_eq!(commit.revision, last + 1);
                    last = commit.revision;
                    for event in &commit.events {
                        match event {
                            WatchEvent::Put(kv) => { replayed.insert(kv.key.clone(), kv.mod_revision); }
                            WatchEvent::Delete { key } => prop_assert!(replayed.remove(key).is_some()),
                        }
                    }
                }
                keys.apply(batch.revision, batch.changes);
            }
            let state: BTreeMap<_, _> =
                keys.list("").entries.into_iter().map(|kv| (kv.key, kv.mod_revision)).collect();
            prop_assert_eq!(state, replayed);
            prop_assert_eq!(keys.revision, last);
        }
    }
}

//! Store of a simulated history: revisions, transactions, leases, and a log from which watches continue.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::ids::RoomId;
use crate::domain::keys;
use crate::domain::view::RoomView;
use crate::store::{KeyValue, LeaseId, Op, Txn};

/// Change of one key; `value` is `None` if the key was deleted.
pub struct Change {
    pub revision: i64,
    pub key: String,
    pub value: Option<Bytes>,
    pub leased: bool,
}

struct Entry {
    value: Bytes,
    mod_revision: i64,
    lease: Option<i64>,
}

pub struct SimStore {
    data: BTreeMap<String, Entry>,
    pub revision: i64,
    pub log: Vec<Change>,
    /// Expiry time of each lease.
    pub leases: BTreeMap<i64, Duration>,
    last_lease: i64,
    ttl: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    At(i64),
    Conflict,
    NoSuchLease,
}

impl SimStore {
    pub fn new(ttl: Duration) -> Self {
        let (data, log, leases) = Default::default();
        Self { data, revision: 1, log, leases, last_lease: 0, ttl }
    }

    pub fn revision_of(&self, key: &str) -> i64 {
        self.data.get(key).map_or(0, |entry| entry.mod_revision)
    }

    pub fn get(&self, key: &str) -> Option<&Bytes> {
        self.data.get(key).map(|entry| &entry.value)
    }

    pub fn holds(&self, txn: &Txn) -> bool {
        txn.compares.iter().all(|c| self.revision_of(&c.key) == c.mod_revision)
    }

    pub fn commit(&mut self, txn: &Txn) -> CommitOutcome {
        if !self.holds(txn) {
            return CommitOutcome::Conflict;
        }
        let leased = txn.ops.iter().filter_map(|op| match op {
            Op::Put { lease: Some(LeaseId(lease)), .. } => Some(*lease),
            _ => None,
        });
        if leased.into_iter().any(|lease| !self.leases.contains_key(&lease)) {
            return CommitOutcome::NoSuchLease;
        }
        self.revision += 1;
        for op in &txn.ops {
            match op {
                Op::Put { key, value, lease } => {
                    let lease = lease.map(|lease| lease.0);
                    self.record(key.clone(), Some(value.clone()), lease.is_some());
                    let entry = Entry { value: value.clone(), mod_revision: self.revision, lease };
                    self.data.insert(key.clone(), entry);
                }
                Op::Delete { key } => self.delete(key),
                Op::DeletePrefix { prefix } => {
                    let under = |key: &&String| key.starts_with(prefix);
                    let gone: Vec<_> = self.data.keys().filter(under).cloned().collect();
                    gone.iter().for_each(|key| self.delete(key));
                }
            }
        }
        CommitOutcome::At(self.revision)
    }

    pub fn grant(&mut self, now: Duration) -> i64 {
        self.last_lease += 1;
        self.leases.insert(self.last_lease, now + self.ttl);
        self.last_lease
    }

    /// Renews a lease. Returns false if the lease is gone.
    pub fn keep_alive(&mut self, lease: i64, now: Duration) -> bool {
        self.leases.get_mut(&lease).map(|until| *until = now + self.ttl).is_some()
    }

    pub fn revoke(&mut self, lease: i64) {
        if self.leases.remove(&lease).is_none() {
            return;
        }
        let under = |(_, entry): &(&String, &Entry)| entry.lease == Some(lease);
        let gone: Vec<_> = self.data.iter().filter(under).map(|(key, _)| key.clone()).collect();
        self.revision += i64::from(!gone.is_empty());
        gone.iter().for_each(|key| self.delete(key));
    }

    pub fn over(&self, now: Duration) -> Vec<i64> {
        self.leases.iter().filter(|(_, until)| **until <= now).map(|(lease, _)| *lease).collect()
    }

    /// Extends all leases by a TTL, as a new etcd leader does, so that every client has time to renew.
    pub fn extend_leases(&mut self, now: Duration) {
        self.leases.values_mut().for_each(|until| *until = now + self.ttl);
    }

    pub fn list(&self, prefix: &str) -> Vec<KeyValue> {
        let under = self.data.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        let entry = |(key, entry): (&String, &Entry)| KeyValue {
            key: key.clone(),
            value: entry.value.clone(),
            mod_revision: entry.mod_revision,
            lease: entry.lease.map(LeaseId),
        };
        under.map(entry).collect()
    }

    pub fn view(&self, room: &RoomId) -> RoomView {
        let mut view = RoomView::default();
        for KeyValue { key, value, mod_revision, .. } in self.list(&format!("{}{room}/", keys::ROOMS)) {
            let (_, key) = keys::parse_room(&key).unwrap();
            view.apply(key, Some((&value, mod_revision))).unwrap();
        }
        view
    }

    fn delete(&mut self, key: &str) {
        if self.data.remove(key).is_some() {
            self.record(key.to_owned(), None, false);
        }
    }

    fn record(&mut self, key: String, value: Option<Bytes>, leased: bool) {
        self.log.push(Change { revision: self.revision, key, value, leased });
    }
}

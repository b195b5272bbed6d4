//! In-memory store for the tests of this module and of the room API: revisions, transactions and leases, with
//! faults on demand. Its commits reach the directory at once, like a watch without delay.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::{Directory, Scope, WatchApplier};
use crate::store::{
    KeyValue, LeaseId, Listing, Op, Revision, Store, StoreError, Txn, TxnOutcome, WatchStream,
};

/// Fault to inject into the next transaction.
pub enum Fault {
    /// Runs a concurrent writer before the transaction.
    Before(Box<dyn FnOnce(&FakeStore) + Send>),
    Conflict,
    Unavailable,
    /// Commits the transaction and loses the response.
    AnswerLost,
}

pub struct FakeStore {
    inner: Mutex<Inner>,
    directory: Arc<Directory>,
}

struct Inner {
    data: BTreeMap<String, (KeyValue, Option<LeaseId>)>,
    revision: Revision,
    leases: i64,
    folds: [WatchApplier; 3],
    watching: bool,
    down: bool,
    faults: VecDeque<Fault>,
    requests: usize,
}

impl FakeStore {
    pub fn new() -> Arc<Self> {
        let directory = Arc::new(Directory::default());
        let folds = Scope::ALL.map(|scope| WatchApplier::new(directory.clone(), scope));
        let inner = Inner {
            data: BTreeMap::new(),
            revision: 1,
            leases: 0,
            folds,
            watching: true,
            down: false,
            faults: VecDeque::new(),
            requests: 0,
        };
        let store = Arc::new(Self { inner: Mutex::new(inner), directory });
        store.relist();
        store
    }

    pub fn directory(&self) -> Arc<Directory> {
        self.directory.clone()
    }

    pub fn fail_next(&self, fault: Fault) {
        self.inner.lock().unwrap().faults.push_back(fault);
    }

    /// Returns the number of requests so far.
    pub fn requests(&self) -> usize {
        self.inner.lock().unwrap().requests
    }

    /// Makes every request fail while `down`.
    pub fn set_down(&self, down: bool) {
        self.inner.lock().unwrap().down = down;
    }

    /// Stops updating the directory until [`relist`](Self::relist).
    pub fn cut_watch(&self) {
        self.inner.lock().unwrap().watching = false;
    }

    pub fn relist(&self) {
        let inner = &mut *self.inner.lock().unwrap();
        inner.watching = true;
        for (fold, scope) in inner.folds.iter_mut().zip(Scope::ALL) {
            fold.begin_init();
            for (entry, _) in inner.data.values().filter(|(e, _)| e.key.starts_with(scope.prefix())) {
                fold.put(&entry.key, &entry.value, entry.mod_revision);
            }
            fold.end_init(inner.revision);
        }
    }

    /// Writes a key without conditions, like a module or an operator's tool.
    pub fn put_now(&self, key: &str, json: &str) {
        self.commit(Txn::new().put(key, json.to_owned()));
    }

    /// Adds a healthy Janus instance and a healthy mixer with this name.
    pub fn add_module(&self, name: &str, capacity: u32) {
        let heartbeat = format!(
            r#"{{
                "status":"healthy","host":"h","url":"u","capacity":{capacity},"startedAt":1,"incarnation":"i",
                "version":"0"
            }}"#
        );
        self.put_now(&format!("/januses/{name}/heartbeat"), &heartbeat);
        self.put_now(&format!("/mixers/{name}/heartbeat"), &heartbeat);
    }

    pub fn delete_now(&self, key: &str) {
        self.commit(Txn::new().delete(key));
    }

    /// Ends every lease.
    pub fn let_leases_expire(&self) {
        self.end_leases(|_| true);
    }

    fn end_leases(&self, ends: impl Fn(LeaseId) -> bool) {
        let keys: Vec<String> = {
            let inner = self.inner.lock().unwrap();
            let leased = inner.data.values().filter(|(_, lease)| lease.is_some_and(&ends));
            leased.map(|(entry, _)| entry.key.clone()).collect()
        };
        keys.iter().for_each(|key| self.delete_now(key));
    }

    pub fn keys(&self) -> Vec<String> {
        self.inner.lock().unwrap().data.keys().cloned().collect()
    }

    pub fn revision(&self) -> Revision {
        self.inner.lock().unwrap().revision
    }

    fn commit(&self, txn: Txn) -> TxnOutcome {
        let inner = &mut *self.inner.lock().unwrap();
        let holds =
            |(key, at): (&String, Revision)| inner.data.get(key).map_or(0, |e| e.0.mod_revision) == at;
        if !txn.compares.iter().all(|c| holds((&c.key, c.mod_revision))) {
            return TxnOutcome::Conflict;
        }
        inner.revision += 1;
        txn.ops.into_iter().for_each(|op| inner.run(op));
        let revision = inner.revision;
        if inner.watching {
            inner.folds.iter_mut().for_each(|fold| fold.progress(revision));
        }
        TxnOutcome::Committed(revision)
    }

    /// Yields to other tasks, like a store on the network. Fails while the store is down.
    async fn answer(&self) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        let mut inner = self.inner.lock().unwrap();
        inner.requests += 1;
        match inner.down {
            true => Err(unavailable()),
            false => Ok(()),
        }
    }
}

impl Inner {
    fn run(&mut self, op: Op) {
        match op {
            Op::Put { key, value, lease } => {
                let entry = KeyValue { key: key.clone(), value, mod_revision: self.revision, lease };
                self.each_fold(&key, |fold| fold.put(&key, &entry.value, entry.mod_revision));
                self.data.insert(key, (entry, lease));
            }
            Op::Delete { key } => {
                self.data.remove(&key);
                self.each_fold(&key, |fold| fold.delete(&key));
            }
            Op::DeletePrefix { prefix } => {
                let keys: Vec<_> = self.data.keys().filter(|k| k.starts_with(&prefix)).cloned().collect();
                keys.into_iter().for_each(|key| self.run(Op::Delete { key }));
            }
        }
    }

    fn each_fold<T>(&mut self, key: &str, apply: impl Fn(&mut WatchApplier) -> T) {
        let scope = Scope::ALL.into_iter().position(|scope| key.starts_with(scope.prefix()));
        if let Some(n) = scope.filter(|_| self.watching) {
            apply(&mut self.folds[n]);
        }
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        self.answer().await?;
        Ok(self.inner.lock().unwrap().data.get(key).map(|(entry, _)| entry.clone()))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.answer().await?;
        let inner = self.inner.lock().unwrap();
        let entries = inner.data.values().map(|(entry, _)| entry.clone());
        Ok(Listing {
            revision: inner.revision,
            entries: entries.filter(|e| e.key.starts_with(prefix)).collect(),
        })
    }

    async fn watch(&self, _: &str, _: Revision) -> Result<WatchStream, StoreError> {
        Err(StoreError::Rejected("the directory is fed directly".into()))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.answer().await?;
        let fault = self.inner.lock().unwrap().faults.pop_front();
        match fault {
            None => Ok(self.commit(txn)),
            Some(Fault::Before(competitor)) => {
                competitor(self);
                Ok(self.commit(txn))
            }
            Some(Fault::Conflict) => Ok(TxnOutcome::Conflict),
            Some(Fault::Unavailable) => Err(unavailable()),
            Some(Fault::AnswerLost) => {
                self.commit(txn);
                Err(unavailable())
            }
        }
    }

    async fn grant(&self, _: Duration) -> Result<LeaseId, StoreError> {
        self.answer().await?;
        let mut inner = self.inner.lock().unwrap();
        inner.leases += 1;
        Ok(LeaseId(inner.leases))
    }

    async fn keep_alive(&self, _: LeaseId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.end_leases(|known| known == lease);
        Ok(())
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("switched off by the test".into())
}

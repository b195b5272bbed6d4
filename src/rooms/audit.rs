//! Audit log in the store. Its size is bounded: when entries are added, the oldest ones are deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::Value;

use crate::domain::audit::{AuditEntry, AuditOutcome, superfluous};
use crate::domain::keys;
use crate::store::{Store, StoreError, Txn, TxnOutcome};

use super::txn;

/// Maximum number of entries that one write deletes; a transaction has at most 128 operations.
const DELETED_AT_ONCE: usize = 100;
/// Number of entries of this node between two removals of the oldest entries. Listing the log for each entry
/// would cost more than the change that the entry records.
const TIDIED_EVERY: u64 = 50;

/// Audit log of the installation.
pub struct AuditLog {
    store: Arc<dyn Store>,
    /// Number of entries that this node has written.
    written: AtomicU64,
}

/// Entry of an action that has begun.
pub struct OpenEntry {
    key: String,
    entry: AuditEntry,
}

impl AuditLog {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, written: AtomicU64::new(0) }
    }

    /// Writes the entry of an action that is about to begin.
    ///
    /// # Errors
    /// The store does not answer. The action must then not begin.
    pub async fn begin(&self, entry: AuditEntry) -> Result<OpenEntry, StoreError> {
        let mut known = Vec::new();
        if self.written.fetch_add(1, Relaxed).is_multiple_of(TIDIED_EVERY) {
            let listed = self.store.list(keys::AUDIT).await?;
            known.extend(listed.entries.into_iter().map(|entry| entry.key));
        }
        let key = keys::audit(entry.at, rand::random());
        let txn = Txn::new().when_absent(&key).put(&key, txn::json(&entry));
        let deleted = superfluous(&known).iter().take(DELETED_AT_ONCE);
        match self.store.txn(deleted.fold(txn, |txn, key| txn.delete(key))).await? {
            TxnOutcome::Committed(_) => Ok(OpenEntry { key, entry }),
            // Practically never happens, because each key has a random part.
            TxnOutcome::Conflict => Err(StoreError::Rejected("the audit entry exists".into())),
        }
    }

    /// Completes the entry of an action.
    ///
    /// # Errors
    /// The store does not answer. The outcome in the entry is then still `begun`.
    pub async fn finish(&self, open: OpenEntry, outcome: AuditOutcome) -> Result<(), StoreError> {
        let entry = AuditEntry { outcome, ..open.entry };
        self.store.put(&open.key, txn::json(&entry)).await.map(|_| ())
    }

    /// Returns the entries as JSON, the oldest first. Entries of a newer version may have other fields.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn list(&self) -> Result<Vec<Value>, StoreError> {
        let listed = self.store.list(keys::AUDIT).await?;
        Ok(listed.entries.iter().filter_map(|entry| serde_json::from_slice(&entry.value).ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::{MOST_ENTRIES, Operator, OperatorAction};
    use crate::domain::ids::{ModuleId, UnixMs};
    use crate::rooms::FakeStore;

    #[actix::test]
    async fn entries_are_completed_and_bounded() {
        let store = FakeStore::new();
        let log = AuditLog::new(store.clone());
        let entry = |at| AuditEntry {
            at: UnixMs(at),
            node: ModuleId::new("n1").unwrap(),
            operator: Operator { key: None, name: "Ann".into() },
            address: Some([192, 0, 2, 7].into()),
            action: OperatorAction::Reconcile {}.into(),
            outcome: AuditOutcome::Begun,
        };
        let first = log.begin(entry(7)).await.unwrap();
        assert_eq!(log.list().await.unwrap()[0]["outcome"]["result"], "begun");
        log.finish(first, AuditOutcome::Failed { error: "no".into() }).await.unwrap();
        let listed = log.list().await.unwrap();
        assert_eq!((listed.len(), &listed[0]["outcome"]["error"]), (1, &"no".into()));
        for at in 0..MOST_ENTRIES as u64 + 2 * TIDIED_EVERY {
            log.begin(entry(100 + at)).await.unwrap();
        }
        let listed = log.list().await.unwrap();
        assert!((MOST_ENTRIES..MOST_ENTRIES + TIDIED_EVERY as usize).contains(&listed.len()));
        assert_eq!(listed.last().unwrap()["at"], 100 + MOST_ENTRIES as u64 + 2 * TIDIED_EVERY - 1);
        assert_eq!(listed[0]["address"], "192.0.2.7");
        store.set_down(true);
        assert!(log.begin(entry(5000)).await.is_err());
    }
}

//! ACME values in the store: the lock of an order, the answers to challenges, and the sealed certificate.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::auth::CertificateSeal;
use crate::domain::acme::{ORDER_LOCK_TTL, OrderRecord};
use crate::domain::ids::UnixMs;
use crate::domain::keys;
use crate::store::{LeaseId, Revision, Store, StoreError, Txn, TxnOutcome};

#[derive(Clone)]
pub(super) struct SharedOrder {
    pub store: Arc<dyn Store>,
    /// Id of the certificate's names and authority.
    pub names: String,
    /// Id of this node.
    pub me: String,
    pub seal: CertificateSeal,
}

/// Lock for an order of this node. It ends with its lease.
pub(super) struct Lock {
    lease: LeaseId,
    revision: Revision,
    record: OrderRecord,
}

impl SharedOrder {
    /// Returns the private key and chain that a node has published. `None`: nothing is published, or this
    /// node's secrets cannot open it; in both cases a new certificate is ordered.
    pub async fn certificate(&self) -> Result<Option<String>, StoreError> {
        let found = self.store.get(&keys::acme_certificate(&self.names)).await?;
        let text = found.and_then(|found| String::from_utf8(found.value.to_vec()).ok());
        Ok(text.and_then(|sealed| self.seal.open(&self.names, &sealed, now()).ok()))
    }

    pub async fn publish(&self, pem: &str) -> Result<(), StoreError> {
        let sealed = self.seal.seal(&self.names, pem, now());
        self.store.put(&keys::acme_certificate(&self.names), sealed.into()).await.map(|_| ())
    }

    /// Takes the lock of the order, or returns the record that [blocks](OrderRecord::blocks) the order. If
    /// another node took the lock first, the record's `node` is "another node", not that node's id.
    pub async fn lock(&self, failures: u32, at_once: bool) -> Result<Result<Lock, OrderRecord>, StoreError> {
        let key = keys::acme_order(&self.names);
        let found = self.store.get(&key).await?;
        let held = found.as_ref().and_then(|found| serde_json::from_slice::<OrderRecord>(&found.value).ok());
        if let Some(record) = held.filter(|record| record.blocks(&self.me, at_once, now())) {
            return Ok(Err(record));
        }
        let record = OrderRecord { node: self.me.clone(), failures, error: None, retry_at: UnixMs(0) };
        let lease = self.store.grant(ORDER_LOCK_TTL).await?;
        let revision = found.map_or(0, |found| found.mod_revision);
        let txn = Txn::new().when(key.clone(), revision).put_leased(key, json(&record)?, lease);
        match self.store.txn(txn).await? {
            TxnOutcome::Committed(revision) => Ok(Ok(Lock { lease, revision, record })),
            // Another node was faster. The next attempt reads its record.
            TxnOutcome::Conflict => {
                self.store.revoke(lease).await?;
                Ok(Err(OrderRecord { node: "another node".into(), ..record }))
            }
        }
    }

    /// Publishes the answer to a challenge for as long as the lock lasts.
    pub async fn answer(&self, lock: &Lock, token: &str, authorization: String) -> Result<(), StoreError> {
        let txn = Txn::new().put_leased(keys::acme_challenge(token), authorization, lock.lease);
        self.store.txn(txn).await.map(|_| ())
    }

    /// Deletes the lock and the answers. If that fails, they end with their lease.
    pub async fn unlock(&self, lock: Lock) {
        if let Err(error) = self.store.revoke(lock.lease).await {
            tracing::warn!(%error, "the lock of the ACME order was not released; it ends by itself");
        }
    }

    /// Replaces the lock with the record of the failed order, and deletes the answers. The record blocks
    /// orders of other nodes for `retry_in`, and of this node a little longer. Writes no record if this node
    /// no longer has the lock.
    pub async fn failed(&self, lock: Lock, failures: u32, error: String, retry_in: Duration) {
        let retry_at = UnixMs(now().0.saturating_add(retry_in.as_millis() as u64));
        let record = OrderRecord { failures, error: Some(error), retry_at, ..lock.record };
        let key = keys::acme_order(&self.names);
        let recorded = async {
            self.store.txn(Txn::new().when(key.clone(), lock.revision).put(key, json(&record)?)).await?;
            self.store.revoke(lock.lease).await
        };
        if let Err(error) = recorded.await {
            tracing::warn!(%error, "the failure of the ACME order was not recorded; the lock ends by itself");
        }
    }
}

fn json(record: &OrderRecord) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|error| StoreError::Rejected(error.to_string()))
}

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

//! ACME values in the store: the lock of an order, the answers to challenges, and the sealed certificate.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::auth::CertificateSeal;
use crate::domain::acme::{ORDER_LOCK_TTL, OrderRecord};
use crate::domain::ids::UnixMs;
use crate::domain::keys;
use crate::store::{LeaseId, Store, StoreError, Txn, TxnOutcome};

#[derive(Clone)]
pub(super) struct Shared {
    pub store: Arc<dyn Store>,
    /// Id of the certificate's names.
    pub names: String,
    /// Id of this node.
    pub me: String,
    pub seal: CertificateSeal,
}

/// Lock for an order of this node. It ends with its lease.
pub(super) struct Lock {
    lease: LeaseId,
    record: OrderRecord,
}

impl Lock {
    pub fn record(&self) -> OrderRecord {
        self.record.clone()
    }
}

impl Shared {
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

    /// Takes the lock of the order, or returns the record of the node that has it. Replaces a lock or record
    /// of this node itself: either its process was restarted, or its failed order is due again.
    pub async fn lock(&self, failures: u32) -> Result<Result<Lock, OrderRecord>, StoreError> {
        let key = keys::acme_order(&self.names);
        let found = self.store.get(&key).await?;
        let held = found.as_ref().and_then(|found| serde_json::from_slice::<OrderRecord>(&found.value).ok());
        if let Some(record) = held.filter(|record| record.node != self.me) {
            return Ok(Err(record));
        }
        let record = OrderRecord { node: self.me.clone(), failures, error: None };
        let lease = self.store.grant(ORDER_LOCK_TTL).await?;
        let revision = found.map_or(0, |found| found.mod_revision);
        let txn = Txn::new().when(key.clone(), revision).put_leased(key, json(&record)?, lease);
        match self.store.txn(txn).await? {
            TxnOutcome::Committed(_) => Ok(Ok(Lock { lease, record })),
            // Another node was faster. The next attempt reads its record.
            TxnOutcome::Conflict => {
                self.store.revoke(lease).await?;
                Ok(Err(OrderRecord { node: "another node".into(), failures, error: None }))
            }
        }
    }

    /// Publishes the answer to a challenge for as long as the lock lasts.
    pub async fn answer(&self, lock: &Lock, token: &str, authorization: String) -> Result<(), StoreError> {
        let txn = Txn::new().put_leased(keys::acme_challenge(token), authorization, lock.lease);
        self.store.txn(txn).await.map(|_| ())
    }

    /// Deletes the lock and the answers.
    pub async fn unlock(&self, lock: Lock) -> Result<(), StoreError> {
        self.store.revoke(lock.lease).await
    }

    /// Replaces the lock with the record of the failed order, and deletes the answers. The record stays for
    /// `retry_in`.
    pub async fn failed(
        &self,
        lock: Lock,
        record: &OrderRecord,
        retry_in: Duration,
    ) -> Result<(), StoreError> {
        let lease = self.store.grant(retry_in).await?;
        let txn = Txn::new().put_leased(keys::acme_order(&self.names), json(record)?, lease);
        self.store.txn(txn).await?;
        self.store.revoke(lock.lease).await
    }
}

fn json(record: &OrderRecord) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|error| StoreError::Rejected(error.to_string()))
}

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

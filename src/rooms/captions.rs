//! Locks of recognisers: one recogniser per room and language, on all nodes.
//!
//! A lock is a key under a lease, so it ends with its node.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{RoomError, txn};
use crate::domain::ids::{ModuleId, RoomId};
use crate::domain::keys;
use crate::domain::profile::Language;
use crate::store::{LeaseId, Store, StoreError, Txn, TxnOutcome};

/// Creates the locks of this node's recognisers.
pub struct RecogniserClaims {
    pub store: Arc<dyn Store>,
    pub me: ModuleId,
    /// Time after which a lock ends that is not kept.
    pub ttl: Duration,
}

/// Lock of one recogniser.
pub struct RecogniserClaim {
    store: Arc<dyn Store>,
    lease: LeaseId,
    ttl: Duration,
}

impl RecogniserClaims {
    /// Takes the lock of a room and language; `None` if another recogniser has it.
    ///
    /// # Errors
    /// An error of the store.
    pub async fn claim(
        &self,
        room: &RoomId,
        language: &Language,
    ) -> Result<Option<RecogniserClaim>, RoomError> {
        let key = keys::recogniser(room, language);
        let lease = self.store.grant(self.ttl).await?;
        let claim = RecogniserClaim { store: self.store.clone(), lease, ttl: self.ttl };
        let value = txn::json(&json!({ "node": self.me }));
        let taken = self.store.txn(Txn::new().when_absent(&key).put_leased(&key, value, lease)).await;
        if let Ok(TxnOutcome::Committed(_)) = taken {
            return Ok(Some(claim));
        }
        claim.release().await;
        taken.map(|_| None).map_err(RoomError::from)
    }
}

impl RecogniserClaim {
    /// Keeps the lock. Returns only when the lock is lost.
    pub async fn lost(&self) {
        loop {
            // Sleep: a lease is kept alive at intervals.
            tokio::time::sleep(self.ttl / 3).await;
            // While the store is unavailable, its leases do not end.
            if let Err(StoreError::LeaseNotFound) = self.store.keep_alive(self.lease).await {
                return;
            }
        }
    }

    pub async fn release(&self) {
        // If this fails, the lease ends by itself.
        let _ = self.store.revoke(self.lease).await;
    }
}

//! The store backend of this node, with metered requests, and
//! the webhook endpoints.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::actors::context::Context;
use crate::config::{Config, StoreConfig, StoreKind};
use crate::etcd::{EtcdOptions, EtcdStore};
use crate::store::embedded::{EmbeddedOptions, EmbeddedStore};
use crate::store::{KeyValue, LeaseId, Listing, Revision, Store, StoreError, Txn, TxnOutcome, WatchStream};
use crate::telemetry::Metrics;
use crate::telemetry::metered::{MeteredBackend, RequestError, ok};
use crate::webhooks::Webhooks;

/// Name of the embedded store's file in the data directory.
const FILE: &str = "store.redb";

pub async fn store(config: &Config, metrics: &Metrics) -> anyhow::Result<Arc<dyn Store>> {
    let inner: Arc<dyn Store> = match config.store.kind {
        StoreKind::Embedded => {
            let options = EmbeddedOptions {
                request_timeout: config.store.request_timeout,
                ..EmbeddedOptions::default()
            };
            EmbeddedStore::open_with(&config.node.data_dir.join(FILE), options)?
        }
        StoreKind::Etcd => EtcdStore::open(etcd(&config.store)?).await?,
    };
    Ok(Arc::new(MeteredBackend { inner, metrics: metrics.clone() }))
}

fn etcd(config: &StoreConfig) -> anyhow::Result<EtcdOptions> {
    let login = match (&config.etcd_user, &config.etcd_password) {
        (Some(user), Some(password)) => Some((user.clone(), String::from_utf8(password.0.to_vec())?)),
        _ => None,
    };
    Ok(EtcdOptions {
        endpoints: config.etcd_endpoints.clone(),
        login,
        ca: config.etcd_ca.clone(),
        request_timeout: config.request_timeout,
    })
}

impl RequestError for StoreError {
    const RECORD: fn(&Metrics, &'static str, &'static str, Duration) = Metrics::store_request;

    fn outcome(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Compacted { .. } => "compacted",
            Self::LeaseNotFound => "lease_not_found",
            Self::Rejected(_) => "rejected",
        }
    }
}

#[async_trait]
impl Store for MeteredBackend<Arc<dyn Store>> {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        self.timed("get", self.inner.get(key), ok).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.timed("list", self.inner.list(prefix), ok).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError> {
        self.timed("watch", self.inner.watch(prefix, from), ok).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let outcome = |outcome: &TxnOutcome| match outcome {
            TxnOutcome::Committed(_) => "ok",
            TxnOutcome::Conflict => "conflict",
        };
        self.timed("txn", self.inner.txn(txn), outcome).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.timed("grant", self.inner.grant(ttl), ok).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.timed("keep_alive", self.inner.keep_alive(lease), ok).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.timed("compact", self.inner.compact(revision), ok).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.timed("revoke", self.inner.revoke(lease), ok).await
    }
}

/// Returns the webhook endpoints.
///
/// # Errors
/// The certificate authorities cannot be read.
pub fn webhooks(context: &Context) -> anyhow::Result<Arc<Webhooks>> {
    let webhooks = Webhooks::new(context.store.clone(), &context.config.webhooks, context.metrics.clone());
    Ok(Arc::new(webhooks.map_err(anyhow::Error::msg)?))
}

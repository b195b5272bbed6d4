//! The store of a cluster: etcd v3, through `etcd-client`.
//!
//! Owns: the translation between our contract and etcd's, and the bound on every wait. Does not cache
//! anything, and does not hide that etcd is unavailable: a request then fails within `request_timeout`. When
//! etcd is available again, later requests succeed without any action.

mod connection;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{CompactionOptions, Compare, CompareOp, DeleteOptions, GetOptions};
use etcd_client::{PutOptions, TxnOp, WatchOptions};

use self::connection::{Connection, Repeat};
use crate::store::{
    KeyValue, LeaseId, Listing, Op, Revision, Store, StoreError, Txn, TxnOutcome, WatchStream,
};
use crate::store::{admit, lease_seconds};

/// Maximum size of a response, in bytes. A listing of a whole cluster is one message, and so is a watch's
/// backlog.
const MAX_MESSAGE: usize = 256 << 20;

/// Connection settings of etcd.
#[derive(Clone)]
pub struct EtcdOptions {
    /// `http://` or `https://` URLs of the members; all with the same scheme.
    pub endpoints: Vec<String>,
    /// User and password.
    pub login: Option<(String, String)>,
    /// CA certificates in PEM for https; `None`: the system's certificates.
    pub ca: Option<Vec<u8>>,
    pub request_timeout: Duration,
}

/// Store in etcd, shared by the nodes of a cluster.
pub struct EtcdStore {
    connection: Arc<Connection>,
}

impl EtcdStore {
    /// Opens a connection to etcd without login, and with the system's CA certificates if the endpoints are
    /// https.
    ///
    /// # Errors
    /// The same as [`open`](Self::open).
    pub async fn connect(endpoints: &[String], request_timeout: Duration) -> Result<Arc<Self>, StoreError> {
        Self::open(EtcdOptions { endpoints: endpoints.to_vec(), login: None, ca: None, request_timeout })
            .await
    }

    /// Creates the client. etcd itself may be unavailable, which only the first request shows.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if an endpoint or a certificate is malformed.
    pub async fn open(options: EtcdOptions) -> Result<Arc<Self>, StoreError> {
        let connection = Connection::new(options).await?;
        Ok(Arc::new(Self { connection: Arc::new(connection) }))
    }

    async fn range(&self, key: &str, options: GetOptions) -> Result<Listing, StoreError> {
        let response = self
            .connection
            .call(Repeat::Safe, |client| {
                let (mut kv, options) =
                    (client.kv_client().max_decoding_message_size(MAX_MESSAGE), options.clone());
                async move { kv.get(key, Some(options)).await }
            })
            .await?;
        let entries = response.kvs().iter().filter_map(key_value).collect();
        Ok(Listing { revision: response.header().map_or(0, |header| header.revision()), entries })
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        Ok(self.range(key, GetOptions::new()).await?.entries.pop())
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.range(prefix, GetOptions::new().with_prefix()).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError> {
        // etcd reads 0 as "from now on".
        let from = from.max(1);
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let stream = self
            .connection
            .call(Repeat::Safe, |client| {
                let mut watch = client.watch_client().max_decoding_message_size(MAX_MESSAGE);
                let options = options.clone();
                async move { watch.watch(prefix, Some(options)).await }
            })
            .await?;
        Ok(watch::batches(self.connection.clone(), stream, from))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        admit(&txn)?;
        let txn = translate(txn);
        let response = self
            .connection
            .call(Repeat::UnlessSent, |client| {
                let (mut kv, txn) = (client.kv_client(), txn.clone());
                async move { kv.txn(txn).await }
            })
            .await?;
        Ok(match response.succeeded() {
            true => TxnOutcome::Committed(response.header().map_or(0, |header| header.revision())),
            false => TxnOutcome::Conflict,
        })
    }

    /// Grants a lease. etcd lengthens a lease that is shorter than its election timeout allows (2 s by
    /// default).
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let seconds = lease_seconds(ttl)?;
        let seconds = i64::try_from(seconds)
            .map_err(|_| StoreError::Rejected("the lease duration is too long".into()))?;
        // A repeat after a lost response leaves a second lease, which holds no key and expires.
        let lease = self
            .connection
            .call(Repeat::Safe, |client| {
                let mut lease = client.lease_client();
                async move { lease.grant(seconds, None).await }
            })
            .await?;
        Ok(LeaseId(lease.id()))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let keeper = self.connection.call(Repeat::Safe, |client| {
            let mut client = client.lease_client();
            async move { client.keep_alive(lease.0).await }
        });
        keeper.await.map(drop)
    }

    /// Compacts the history of all keys in etcd up to `revision`. Returns when the space is free for
    /// reuse; the file itself does not shrink.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let options = CompactionOptions::new().with_physical();
        let compacted = self.connection.call(Repeat::Safe, |client| {
            let (mut kv, options) = (client.kv_client(), options.clone());
            async move { kv.compact(revision, Some(options)).await }
        });
        match compacted.await {
            // Another node has already compacted at least this far.
            Err(StoreError::Rejected(why)) if why.contains("has been compacted") => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let revoked = self.connection.call(Repeat::UnlessSent, |client| {
            let mut client = client.lease_client();
            async move { client.revoke(lease.0).await }
        });
        revoked.await.map(drop)
    }
}

fn translate(txn: Txn) -> etcd_client::Txn {
    let compare = |c: crate::store::Compare| Compare::mod_revision(c.key, CompareOp::Equal, c.mod_revision);
    let op = |op| match op {
        Op::Put { key, value, lease } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
            TxnOp::put(key, value, options)
        }
        Op::Delete { key } => TxnOp::delete(key, None),
        Op::DeletePrefix { prefix } => TxnOp::delete(prefix, Some(DeleteOptions::new().with_prefix())),
    };
    etcd_client::Txn::new()
        .when(txn.compares.into_iter().map(compare).collect::<Vec<_>>())
        .and_then(txn.ops.into_iter().map(op).collect::<Vec<_>>())
}

/// Returns `None` for a key that is not UTF-8. We write no such key, and no caller of this API could name
/// one.
fn key_value(kv: &etcd_client::KeyValue) -> Option<KeyValue> {
    let key = kv.key_str().ok()?.to_owned();
    let lease = (kv.lease() != 0).then(|| LeaseId(kv.lease()));
    Some(KeyValue { key, value: kv.value().to_vec().into(), mod_revision: kv.mod_revision(), lease })
}

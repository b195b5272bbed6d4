//! Certificates through ACME (RFC 8555): the order of a certificate, its file, and the answers to challenges.
//!
//! ```text
//! valid file ─────────────────────────────────────────▶ nothing to do until the renewal
//! no file, or a third of its lifetime left:
//!   certificate of another node in the store ─────────▶ file
//!   lock of another node's order in the store ────────▶ look again later
//!   own lock ─▶ account ─▶ order ─▶ answer challenges ─▶ certificate ─▶ store, file
//! ```
//! The store holds the lock, the answers to challenges, and the sealed certificate. So the nodes of a cluster
//! that share names place a single order, and each of them can answer the authority.
//!
//! Owns: the steps of one attempt. Does not decide when the next attempt starts, or load the file into the
//! listening sockets.

mod authority;
mod challenges;
mod files;
mod shared;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::auth::{CertificateSeal, Secrets};
use crate::config::{AcmeConfig, Config};
use crate::domain::acme::{self, ORDER_WITHIN, OrderRecord, Validity};
use crate::domain::ids::ModuleId;
use crate::store::{Store, StoreError};
use crate::tls::Chain;

pub use authority::reach;
pub use challenges::Challenges;
use files::Files;
use shared::{Lock, Shared};

/// Dependencies of the attempts.
#[derive(Clone)]
pub struct Acme {
    config: AcmeConfig,
    files: Files,
    shared: Shared,
}

/// Result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The file has a certificate that need not be renewed yet. `obtained`: this attempt wrote the file.
    Valid { validity: Validity, obtained: bool },
    /// Another node is ordering, or its order has failed and the next one is not due yet.
    Waits(OrderRecord),
    /// The order of this node has failed. The next one is due after `retry_in`.
    Failed { error: String, retry_in: Duration },
}

impl Acme {
    /// Returns `None` if ACME is not configured. Reads and sends nothing.
    pub fn new(config: &Config, me: &ModuleId, store: Arc<dyn Store>, secrets: &Secrets) -> Option<Self> {
        let acme = config.tls.acme.clone();
        if !acme.is_on() {
            return None;
        }
        let files = Files { certificate: config.acme_certificate(), folder: config.acme_dir() };
        let seal = CertificateSeal::new(secrets);
        let shared = Shared { store, names: acme.names_id(), me: me.to_string(), seal };
        Some(Self { config: acme, files, shared })
    }

    /// Returns the names of the certificate.
    pub fn names(&self) -> &[String] {
        &self.config.domains
    }

    /// Obtains or renews the certificate if that is due. `failures` is the number of failed orders in a row,
    /// `random` is uniform in `0.0..1.0`.
    ///
    /// # Errors
    /// The store or the file cannot be used. A failed order is not an error, but [`Attempt::Failed`].
    pub async fn attempt(&self, failures: u32, random: f64) -> Result<Attempt, String> {
        let now = SystemTime::now();
        if let Ok(validity) = self.usable(self.files.read(now).await, now) {
            return Ok(Attempt::Valid { validity, obtained: false });
        }
        let store = |error: StoreError| format!("the store cannot be used: {error}");
        if let Some(pem) = self.shared.certificate().await.map_err(store)?
            && let Ok(validity) = self.usable(self.files.check(&pem, now).await, now)
        {
            self.files.write(&pem).await?;
            return Ok(Attempt::Valid { validity, obtained: true });
        }
        let lock = match self.shared.lock(failures).await.map_err(store)? {
            Ok(lock) => lock,
            Err(record) => return Ok(Attempt::Waits(record)),
        };
        match self.order(&lock).await {
            Ok(validity) => {
                self.shared.unlock(lock).await.map_err(store)?;
                Ok(Attempt::Valid { validity, obtained: true })
            }
            Err(error) => {
                let failures = failures.saturating_add(1);
                let retry_in = acme::delay_after(failures, random);
                let record = OrderRecord { failures, error: Some(error.clone()), ..lock.record() };
                self.shared.failed(lock, &record, retry_in).await.map_err(store)?;
                Ok(Attempt::Failed { error, retry_in })
            }
        }
    }

    async fn order(&self, lock: &Lock) -> Result<Validity, String> {
        let late = || format!("the order took longer than {} s", ORDER_WITHIN.as_secs());
        let ordered = authority::order(&self.config, &self.files, &self.shared, lock);
        let pem = tokio::time::timeout(ORDER_WITHIN, ordered).await.map_err(|_| late())??;
        let now = SystemTime::now();
        let chain = self.files.check(&pem, now).await?;
        let validity = self.usable(Ok(chain), now).map_err(|why| format!("the new certificate {why}"))?;
        self.files.write(&pem).await?;
        let published = self.shared.publish(&pem).await;
        published.map_err(|error| format!("the certificate was not shared with the other nodes: {error}"))?;
        Ok(validity)
    }

    /// Returns the validity of a certificate that has all names and need not be renewed yet.
    fn usable(&self, chain: Result<Chain, String>, now: SystemTime) -> Result<Validity, String> {
        let chain = chain?;
        if let Some(name) = self.config.domains.iter().find(|name| !chain.names(name)) {
            return Err(format!("does not have the name {name}"));
        }
        let validity = chain.validity();
        validity.examined_in(now).map(|_| validity).ok_or_else(|| "must be renewed already".to_owned())
    }
}

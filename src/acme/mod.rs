//! Certificates through ACME (RFC 8555): the order of a certificate, its file, and the answers to challenges.
//!
//! ```text
//! usable file ────────────────────────────────────────▶ store, if that has no usable certificate
//! no usable file, or its renewal is due (in the authority's window, or with a third of its lifetime left):
//!   certificate of another node in the store ─────────▶ file
//!   lock of another node's order in the store ────────▶ look again later
//!   own lock, and still no certificate in the store:
//!     folder is writable ─▶ account ─▶ order ─▶ answer challenges ─▶ certificate ─▶ store, file
//! ```
//! The store holds the lock, the answers to challenges, and the sealed certificate. So the nodes of a cluster
//! that share names place a single order, and each of them can answer the authority.
//!
//! Owns: the steps of one attempt. Does not decide when the next attempt starts, or load the file into the
//! listening sockets.

mod authority;
mod challenges;
mod files;
mod renewal;
mod shared;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use crate::auth::{CertificateSeal, Secrets};
use crate::config::{AcmeConfig, Config};
use crate::domain::acme::{self, ORDER_WITHIN, OrderRecord, Validity};
use crate::domain::ids::ModuleId;
use crate::store::{Store, StoreError};
use crate::tls::{Chain, Identity, Key};

pub use authority::reach;
pub use challenges::Challenges;
use files::Files;
use renewal::Renewals;
use shared::{Lock, SharedOrder};

/// Dependencies of the attempts.
#[derive(Clone)]
pub struct Acme {
    config: AcmeConfig,
    files: Files,
    shared: SharedOrder,
    renewals: Renewals,
    started: Arc<AtomicBool>,
}

/// Result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The file has a certificate that need not be renewed before `renewal`. `obtained`: this attempt wrote
    /// the file.
    Valid { validity: Validity, renewal: SystemTime, obtained: bool },
    /// A node is ordering, or its order has failed and the next order is not due yet.
    Waits(OrderRecord),
    /// Neither the file nor the store has a usable certificate, and the caller permitted no order.
    NotDue,
    /// The order of this node has failed. This node may order again after `retry_in`.
    Failed { error: String, retry_in: Duration },
}

/// Right of an attempt to order a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    No,
    Yes,
    /// The actor was restarted, for example by an operator: an earlier failed order of this node does not
    /// delay the next one.
    AtOnce,
}

/// Reason why an order has failed.
enum Failure {
    /// The order was not placed. Other nodes may order at once.
    NotPlaced(String),
    /// The authority may count the order against its rate limits.
    Placed(String),
    /// The store could not be read, or its certificate could not be written to the file.
    NotKept(String),
}

impl Attempt {
    /// The next attempt asks the authority for the window of the renewal.
    fn obtained(validity: Validity) -> Self {
        Self::Valid { validity, renewal: validity.renewed_from(), obtained: true }
    }
}

impl Acme {
    /// Creates the client, and deletes its temporary files; sends nothing. Returns `None` if ACME is not
    /// configured.
    pub fn new(config: &Config, me: &ModuleId, store: Arc<dyn Store>, secrets: &Secrets) -> Option<Self> {
        let acme = config.tls.acme.clone();
        if !acme.is_on() {
            return None;
        }
        let files = Files { certificate: config.acme_certificate(), folder: config.acme_dir() };
        files.delete_temporary();
        let seal = CertificateSeal::new(secrets);
        let shared = SharedOrder { store, names: acme.names_id(), me: me.to_string(), seal };
        Some(Self { config: acme, files, shared, renewals: Renewals::default(), started: Arc::default() })
    }

    /// Records that an actor has started. Returns true for the first call in this process; later calls come
    /// from actors that were restarted.
    pub fn is_first_start(&self) -> bool {
        !self.started.swap(true, Relaxed)
    }

    /// Returns the names of the certificate.
    pub fn names(&self) -> &[String] {
        &self.config.domains
    }

    /// Obtains or renews the certificate if that is due. `failures` is the number of failed orders in a row,
    /// `random` is uniform in `0.0..1.0`. Without permission to order, only looks for the certificate that
    /// another node has obtained.
    ///
    /// # Errors
    /// The store or the file cannot be used. A failed order is not an error, but [`Attempt::Failed`].
    pub async fn attempt(
        &self,
        failures: u32,
        random: f64,
        permission: Permission,
    ) -> Result<Attempt, String> {
        let file = self.files.read().await.ok();
        if let Some(pem) = &file
            && let Ok(chain) = self.fitting(pem)
        {
            let (validity, directory) = (chain.validity(), &self.config.directory);
            let renewal = self.renewals.renewal(directory, &chain, random).await;
            if validity.examined_in(renewal, SystemTime::now()).is_some() {
                self.share(pem).await;
                return Ok(Attempt::Valid { validity, renewal, obtained: false });
            }
        }
        if let Some(validity) = self.take_shared(file.as_deref()).await? {
            return Ok(Attempt::obtained(validity));
        }
        if permission == Permission::No {
            return Ok(Attempt::NotDue);
        }
        let at_once = permission == Permission::AtOnce;
        let lock = match self.shared.lock(failures, at_once).await.map_err(unusable_store)? {
            Ok(lock) => lock,
            Err(record) => return Ok(Attempt::Waits(record)),
        };
        let obtained = match self.take_shared(file.as_deref()).await {
            Ok(Some(validity)) => Ok(validity),
            // No other node has finished its order between the two reads.
            Ok(None) => self.order(&lock).await,
            Err(error) => Err(Failure::NotKept(error)),
        };
        let failure = match obtained {
            Ok(validity) => {
                self.shared.unlock(lock).await;
                return Ok(Attempt::obtained(validity));
            }
            Err(failure) => failure,
        };
        let failures = failures.saturating_add(1);
        let retry_in = acme::delay_after(failures, random);
        match failure {
            Failure::NotPlaced(error) => {
                self.shared.unlock(lock).await;
                Ok(Attempt::Failed { error, retry_in })
            }
            Failure::Placed(error) => {
                self.shared.failed(lock, failures, error.clone(), retry_in).await;
                Ok(Attempt::Failed { error, retry_in: acme::own_delay(retry_in) })
            }
            Failure::NotKept(error) => {
                self.shared.unlock(lock).await;
                Err(error)
            }
        }
    }

    /// Writes the certificate of the store to the file. Returns `None` if the store has none that is usable,
    /// or only that of the file (`present`).
    async fn take_shared(&self, present: Option<&str>) -> Result<Option<Validity>, String> {
        let shared = self.shared.certificate().await.map_err(unusable_store)?;
        let Some(pem) = shared.filter(|pem| present != Some(pem.as_str())) else { return Ok(None) };
        let Ok(validity) = self.usable(&pem) else { return Ok(None) };
        self.files.write(&pem).await?;
        Ok(Some(validity))
    }

    /// Publishes the certificate of the file if the store has none that is usable.
    async fn share(&self, pem: &str) {
        let shared = match self.shared.certificate().await {
            Ok(Some(shared)) if self.usable(&shared).is_ok() => Ok(()),
            Ok(_) => self.shared.publish(pem).await,
            Err(error) => Err(error),
        };
        if let Err(error) = shared {
            tracing::warn!(%error, "the certificate was not shared with the other nodes; will retry");
        }
    }

    /// Orders a certificate, and writes it to the store and to the file. The authority limits the number of
    /// certificates, so everything that can fail on this machine is checked before the order.
    async fn order(&self, lock: &Lock) -> Result<Validity, Failure> {
        self.files.check().await.map_err(Failure::NotPlaced)?;
        let until = tokio::time::Instant::now() + ORDER_WITHIN;
        let late = |_| format!("the order took longer than {} s", ORDER_WITHIN.as_secs());
        let account = tokio::time::timeout_at(until, authority::account(&self.config, &self.files)).await;
        let account = account.map_err(late).flatten().map_err(Failure::NotPlaced)?;
        let ordered = authority::order(&self.config, &self.files, &account, &self.shared, lock);
        let ordered = tokio::time::timeout_at(until, ordered).await;
        let pem = ordered.map_err(late).flatten().map_err(Failure::Placed)?;
        let validity = self.usable(&pem);
        let validity = validity.map_err(|why| Failure::Placed(format!("the new certificate {why}")))?;
        let published = self.shared.publish(&pem).await;
        match (self.files.write(&pem).await, published) {
            // If the certificate was not published, the next attempt publishes it.
            (Ok(()), _) => Ok(validity),
            // The next attempt takes the certificate from the store.
            (Err(error), Ok(())) => Err(Failure::NotKept(error)),
            (Err(error), Err(other)) => Err(Failure::Placed(format!("{error}; {}", unusable_store(other)))),
        }
    }

    /// Returns the chain of a certificate that matches its key and has all names.
    fn fitting(&self, pem: &str) -> Result<Chain, String> {
        let (path, pem) = (&self.files.certificate, pem.as_bytes());
        let chain = Chain::parse(path, pem)?;
        Identity::new(&chain, &Key::parse(path, pem)?)?;
        match self.config.domains.iter().find(|name| !chain.names(name)) {
            Some(name) => Err(format!("does not have the name {name}")),
            None => Ok(chain),
        }
    }

    /// Returns the validity of a [fitting](Self::fitting) certificate with more than a third of its lifetime
    /// left. If this machine's clock is slow, the validity can begin in the future; the sockets then use the
    /// certificate later.
    fn usable(&self, pem: &str) -> Result<Validity, String> {
        let validity = self.fitting(pem)?.validity();
        let examined = validity.examined_in(validity.renewed_from(), SystemTime::now());
        examined.map(|_| validity).ok_or_else(|| "must be renewed already".to_owned())
    }
}

fn unusable_store(error: StoreError) -> String {
    format!("the store cannot be used: {error}")
}

//! Webhooks: signed delivery of events to the endpoints of an application, and the application's decisions
//! about who may join.
//!
//! The leader delivers, by the rules of [`domain::webhooks`](crate::domain::webhooks). The room API of every
//! node reads the progress from the store, and changes it by compare and swap. The leader then continues from
//! the changed progress.
//!
//! Owns: the endpoints with their secrets, the requests, and the keys of webhooks in the store. Does not
//! decide when to send.

pub mod admission;
mod client;
mod signature;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::config::{Secret, WebhookEndpoint, WebhooksConfig};
use crate::domain::events::{Cursor, EventId};
use crate::domain::keys;
use crate::domain::webhooks::{
    AheadOfCursor, DeadLetter, EndpointState, Outcome, WebhookFilter, replayed, slot,
};
use crate::rooms::LeaderGuard;
use crate::store::{KeyValue, Revision, Store, StoreError, Txn, TxnOutcome};
use crate::telemetry::Metrics;

use client::Client;

/// Maximum number of attempts of a replay. The leader writes a few times a second at most while it delivers.
const ATTEMPTS: usize = 8;

/// Receiver of events.
pub struct Endpoint {
    pub name: String,
    pub url: String,
    pub filter: WebhookFilter,
    secrets: Vec<Secret>,
    client: Client,
}

/// The endpoints of this installation, which a reload of the configuration replaces.
pub struct Webhooks {
    store: Arc<dyn Store>,
    endpoints: watch::Sender<Vec<Arc<Endpoint>>>,
    metrics: Metrics,
}

/// Reason why a request about webhooks has failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WebhookError {
    #[error("there is no dead letter for this event; GET /api/webhooks/{{name}}/dead lists them")]
    NoDeadLetter,
    #[error(transparent)]
    Ahead(#[from] AheadOfCursor),
    /// The leader has not written the state yet.
    #[error("no leader has begun to deliver to this endpoint yet")]
    NotBegun,
    #[error("the event was not delivered: {0}")]
    NotDelivered(String),
    #[error("the leader kept changing the state at the same time")]
    Busy,
    #[error("cannot parse the value of {key}: restore or delete the key; without it, delivery starts over")]
    Corrupt { key: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Webhooks {
    /// Creates the webhooks of the configuration.
    ///
    /// # Errors
    /// The certificate authorities cannot be read; the text names the remedy.
    pub fn new(store: Arc<dyn Store>, config: &WebhooksConfig, metrics: Metrics) -> Result<Self, String> {
        Ok(Self { store, endpoints: watch::Sender::new(configured(config, &[])?), metrics })
    }

    /// Replaces the endpoints. An endpoint whose configuration is unchanged stays the same `Arc`.
    ///
    /// # Errors
    /// The certificate authorities cannot be read; the text names the remedy. The endpoints are then
    /// unchanged.
    pub fn reload(&self, config: &WebhooksConfig) -> Result<(), String> {
        let endpoints = configured(config, &self.endpoints())?;
        self.endpoints.send_replace(endpoints);
        Ok(())
    }

    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.endpoints.borrow().clone()
    }

    /// Returns a receiver that shows the endpoints after each reload.
    pub fn changes(&self) -> watch::Receiver<Vec<Arc<Endpoint>>> {
        self.endpoints.subscribe()
    }

    pub fn endpoint(&self, name: &str) -> Option<Arc<Endpoint>> {
        self.endpoints.borrow().iter().find(|endpoint| endpoint.name == name).cloned()
    }

    /// Sends an event once and counts the outcome.
    pub async fn send(&self, endpoint: &Endpoint, id: &str, body: Bytes) -> Outcome {
        let outcome = endpoint.client.send(endpoint, id, body).await;
        let counted = match &outcome {
            Outcome::Delivered => "delivered",
            Outcome::Refused(_) => "refused",
            Outcome::Unavailable { .. } | Outcome::Gone => "unavailable",
        };
        self.metrics.webhooks().attempted(&endpoint.name, counted);
        outcome
    }

    /// Returns the progress; `None` before the leader has written it.
    ///
    /// # Errors
    /// The store does not answer, or the value cannot be parsed.
    pub async fn state(&self, endpoint: &Endpoint) -> Result<Option<EndpointState>, WebhookError> {
        Ok(self.stored(endpoint).await?.map(|(state, _)| state))
    }

    async fn stored(&self, endpoint: &Endpoint) -> Result<Option<(EndpointState, Revision)>, WebhookError> {
        let kept = self.store.get(&keys::webhook_state(&endpoint.name)).await?;
        kept.map(|kept| Ok((parsed(&kept)?, kept.mod_revision))).transpose()
    }

    /// Sets the progress back, so that the leader delivers every event after `after` again.
    ///
    /// # Errors
    /// [`WebhookError::Ahead`] if `after` is ahead of the progress, [`WebhookError::NotBegun`],
    /// [`WebhookError::Busy`], or a store error.
    pub async fn replay(&self, endpoint: &Endpoint, after: Cursor) -> Result<EndpointState, WebhookError> {
        let key = keys::webhook_state(&endpoint.name);
        for _ in 0..ATTEMPTS {
            let (state, revision) = self.stored(endpoint).await?.ok_or(WebhookError::NotBegun)?;
            let again = replayed(&state, after)?;
            let txn = Txn::new().when(&key, revision).put(&key, json(&again));
            if let TxnOutcome::Committed(_) = self.store.txn(txn).await? {
                return Ok(again);
            }
        }
        Err(WebhookError::Busy)
    }

    /// Returns the dead letters, the oldest first.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn dead_letters(&self, endpoint: &Endpoint) -> Result<Vec<DeadLetter>, WebhookError> {
        let mut letters: Vec<_> =
            self.letters(endpoint).await?.into_iter().map(|(letter, _)| letter).collect();
        letters.sort_by_key(|letter| letter.number);
        Ok(letters)
    }

    async fn letters(&self, endpoint: &Endpoint) -> Result<Vec<(DeadLetter, KeyValue)>, WebhookError> {
        let listed = self.store.list(&keys::webhook_dead_letters(&endpoint.name)).await?;
        let parsed = |entry: KeyValue| Some((serde_json::from_slice(&entry.value).ok()?, entry));
        Ok(listed.entries.into_iter().filter_map(parsed).collect())
    }

    /// Sends the event of a dead letter once, from this node. Deletes the dead letter if the endpoint accepts
    /// the event.
    ///
    /// # Errors
    /// [`WebhookError::NoDeadLetter`] if there is no dead letter for this event.
    /// [`WebhookError::NotDelivered`] if the endpoint does not accept the event; the dead letter is then not
    /// deleted.
    pub async fn redeliver(&self, endpoint: &Endpoint, id: &EventId) -> Result<(), WebhookError> {
        let letters = self.letters(endpoint).await?;
        let found = letters.into_iter().find(|(letter, _)| letter.event["id"] == id.as_str());
        let (letter, entry) = found.ok_or(WebhookError::NoDeadLetter)?;
        match self.send(endpoint, id.as_str(), json(&letter.event)).await {
            Outcome::Delivered => {
                // A conflict means that a newer dead letter has replaced this one.
                self.store.txn(Txn::new().when(&entry.key, entry.mod_revision).delete(&entry.key)).await?;
                Ok(())
            }
            Outcome::Refused(error) | Outcome::Unavailable { error, .. } => {
                Err(WebhookError::NotDelivered(error))
            }
            Outcome::Gone => Err(WebhookError::NoDeadLetter),
        }
    }
}

/// Returns the endpoints of a configuration. If an endpoint of `known` has the same configuration, returns
/// the known one instead of a new one.
fn configured(config: &WebhooksConfig, known: &[Arc<Endpoint>]) -> Result<Vec<Arc<Endpoint>>, String> {
    let client = Client::new(config.endpoints.iter().map(|endpoint| endpoint.url.as_str()))?;
    let endpoint = |endpoint: &WebhookEndpoint| {
        let WebhookEndpoint { name, url, filter } = endpoint.clone();
        let secrets = config.secrets_of(&name).cloned().collect();
        let fresh = Endpoint { name, url, filter, secrets, client: client.clone() };
        let same = known.iter().find(|known| known.is_like(&fresh));
        same.cloned().unwrap_or_else(|| Arc::new(fresh))
    };
    Ok(config.endpoints.iter().map(endpoint).collect())
}

impl Endpoint {
    /// Returns true if the configuration is the same.
    fn is_like(&self, other: &Self) -> bool {
        let same_target = self.name == other.name && self.url == other.url;
        same_target && self.filter == other.filter && self.secrets == other.secrets
    }
}

/// Returns the transaction that writes the progress and new dead letters, if the state key of the
/// endpoint still has the revision `over` and the writer is still the leader.
pub fn progress(
    guard: &LeaderGuard,
    endpoint: &str,
    over: Revision,
    state: &EndpointState,
    letters: &[DeadLetter],
) -> Txn {
    let key = keys::webhook_state(endpoint);
    let txn = Txn::new().when(&guard.key, guard.revision).when(&key, over).put(key, json(state));
    letters.iter().fold(txn, |txn, letter| {
        txn.put(keys::webhook_dead_letter(endpoint, slot(letter.number)), json(letter))
    })
}

/// Parses the stored state of an endpoint.
///
/// # Errors
/// [`WebhookError::Corrupt`].
pub fn parsed(entry: &KeyValue) -> Result<EndpointState, WebhookError> {
    let corrupt = |_| WebhookError::Corrupt { key: entry.key.clone() };
    serde_json::from_slice(&entry.value).map_err(corrupt)
}

fn json(value: &impl serde::Serialize) -> Bytes {
    // Cannot fail: the types are plain structs with string keys.
    serde_json::to_vec(value).expect("store values serialize").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WebhookSecret;
    use crate::rooms::FakeStore;

    #[test]
    fn reload_keeps_unchanged_endpoints() {
        let metrics = Metrics::new(std::time::SystemTime::now());
        let config =
            config(&[("a", "http://a/", b"one"), ("b", "http://b/", b"one"), ("c", "http://c/", b"one")]);
        let webhooks = Webhooks::new(FakeStore::new(), &config, metrics).unwrap();
        let (before, changes) = (webhooks.endpoints(), webhooks.changes());
        let changed = self::config(&[
            ("d", "http://d/", b"one"),
            ("a", "http://a/", b"one"),
            ("b", "http://b/", b"two"),
        ]);
        webhooks.reload(&changed).unwrap();
        let after = webhooks.endpoints();
        assert!(changes.has_changed().unwrap() && after.len() == 3);
        assert!(Arc::ptr_eq(&after[1], &before[0]), "the endpoint has not changed");
        assert!(!Arc::ptr_eq(&after[2], &before[1]), "it has another secret");
        assert!(webhooks.endpoint("c").is_none() && webhooks.endpoint("d").is_some());
    }

    fn config(endpoints: &[(&str, &str, &[u8])]) -> WebhooksConfig {
        let endpoint = |(name, url, _): &(&str, &str, &[u8])| WebhookEndpoint {
            name: (*name).to_owned(),
            url: (*url).to_owned(),
            filter: WebhookFilter::default(),
        };
        let secret = |(name, _, key): &(&str, &str, &[u8])| WebhookSecret {
            endpoint: (*name).to_owned(),
            key: Secret(key.to_vec()),
        };
        WebhooksConfig {
            endpoints: endpoints.iter().map(endpoint).collect(),
            secrets: endpoints.iter().map(secret).collect(),
        }
    }
}

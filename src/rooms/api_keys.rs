//! API keys of the installation: this node's copy of them, and their changes.
//!
//! A `CopyWatch` actor keeps the copy up to date; this node's own changes are applied at once. While the
//! store is unavailable the copy stays, so known keys continue to work, but no key can be created or revoked.
//! Owns: the copy and the counts of tokens. Does not compare a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::domain::api_key::{
    ApiKey, ApiKeyId, KeyDigest, KeyLookup, KeyName, KeyScope, TooManyKeys, admit_key,
};
use crate::domain::ids::UnixMs;
use crate::domain::keys;
use crate::domain::quotas::{InvalidQuota, QuotaExceeded, Quotas, TokenWindows};
use crate::store::{KeyValue, Revision, Store, StoreError, Txn, TxnOutcome};

use super::{StoreCopy, now, txn};

/// Maximum number of attempts per change. Conflicts are rare, because people make the changes.
const ATTEMPTS: usize = 8;

/// API key to create.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    pub id: ApiKeyId,
    pub digest: KeyDigest,
    pub name: KeyName,
    pub scopes: BTreeSet<KeyScope>,
    pub expires_at: Option<UnixMs>,
    pub quotas: Quotas,
}

/// An API key with its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownApiKey {
    pub id: ApiKeyId,
    pub key: Arc<ApiKey>,
}

/// Reason why a change of the API keys has failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiKeyError {
    #[error("there is no such API key")]
    NotFound,
    #[error(transparent)]
    TooMany(#[from] TooManyKeys),
    #[error(transparent)]
    InvalidQuota(#[from] InvalidQuota),
    #[error("cannot parse the value of {key}: delete the key and create another one")]
    Corrupt { key: String },
    #[error("the API key kept changing during the request; try again")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copy of all API keys.
pub struct ApiKeyRegistry {
    store: Arc<dyn Store>,
    known: RwLock<KeyCopies>,
    /// Tokens that this node has issued to each key.
    tokens: Mutex<TokenWindows>,
    started: Instant,
}

#[derive(Default)]
struct KeyCopies {
    keys: Keys,
    /// List in progress.
    listing: Option<Keys>,
    /// True after the first complete list.
    is_listed: bool,
}

/// Keys, each with the revision at which it was written.
type Keys = BTreeMap<ApiKeyId, (Revision, Arc<ApiKey>)>;

impl ApiKeyRegistry {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, known: RwLock::default(), tokens: Mutex::default(), started: Instant::now() }
    }

    /// Returns a key from the copy, valid or not.
    pub fn lookup(&self, id: &ApiKeyId) -> KeyLookup {
        let known = self.read();
        match known.keys.get(id) {
            Some((_, key)) => KeyLookup::Found(key.clone()),
            None if known.is_listed => KeyLookup::Absent,
            None => KeyLookup::NotListed,
        }
    }

    /// Returns all keys, including revoked and expired ones, the oldest first.
    pub fn all(&self) -> Vec<KnownApiKey> {
        let known = self.read();
        let keys = known.keys.iter().map(|(id, (_, key))| KnownApiKey { id: id.clone(), key: key.clone() });
        let mut all: Vec<_> = keys.collect();
        all.sort_by(|a, b| (a.key.created_at, &a.id).cmp(&(b.key.created_at, &b.id)));
        all
    }

    /// Counts a token that this node issues to a key.
    ///
    /// # Errors
    /// [`QuotaExceeded`], with the time until the window ends.
    pub fn take_token(&self, id: &ApiKeyId, quotas: &Quotas) -> Result<(), (QuotaExceeded, Duration)> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.take(id, quotas, self.started.elapsed())
    }

    /// Stores a new key.
    ///
    /// # Errors
    /// [`ApiKeyError::TooMany`], [`ApiKeyError::Busy`], or a store error.
    pub async fn create(&self, new: NewApiKey) -> Result<KnownApiKey, ApiKeyError> {
        let NewApiKey { id, digest, name, scopes, expires_at, quotas } = new;
        let key = ApiKey { name, digest, scopes, created_at: now(), expires_at, revoked_at: None, quotas };
        let known: BTreeMap<_, _> =
            self.store.list(keys::API_KEYS).await?.entries.iter().filter_map(parse).collect();
        let name = keys::api_key(&id);
        let txn = Txn::new().when_absent(&name).put(&name, txn::json(&key));
        let txn = match admit_key(&known)? {
            Some(forgotten) => txn.delete(keys::api_key(&forgotten)),
            None => txn,
        };
        let key = Arc::new(key);
        match self.store.txn(txn).await? {
            TxnOutcome::Committed(revision) => self.apply(id.clone(), key.clone(), revision),
            // Ids are random, so this never happens.
            TxnOutcome::Conflict => return Err(ApiKeyError::Busy),
        }
        tracing::info!(key = %id, name = key.name.as_str(), "API key created");
        Ok(KnownApiKey { id, key })
    }

    /// Changes the name and, by a JSON merge patch (RFC 7396), the quotas of a key.
    ///
    /// # Errors
    /// [`ApiKeyError::NotFound`], [`ApiKeyError::InvalidQuota`], or a store error.
    pub async fn update(
        &self,
        id: &ApiKeyId,
        name: Option<&KeyName>,
        quotas: &Map<String, Value>,
    ) -> Result<KnownApiKey, ApiKeyError> {
        self.change(id, |key| {
            let name = name.unwrap_or(&key.name).clone();
            Ok(ApiKey { name, quotas: key.quotas.merged(quotas)?, ..key.clone() })
        })
        .await
    }

    /// Revokes a key. A key that is already revoked keeps its time of revocation.
    ///
    /// # Errors
    /// [`ApiKeyError::NotFound`], or a store error.
    pub async fn revoke(&self, id: &ApiKeyId) -> Result<KnownApiKey, ApiKeyError> {
        let revoked = |key: &ApiKey| Ok(ApiKey { revoked_at: key.revoked_at.or(Some(now())), ..key.clone() });
        let known = self.change(id, revoked).await?;
        tracing::info!(key = %id, name = known.key.name.as_str(), "API key revoked");
        Ok(known)
    }

    async fn change(
        &self,
        id: &ApiKeyId,
        decide: impl Fn(&ApiKey) -> Result<ApiKey, ApiKeyError>,
    ) -> Result<KnownApiKey, ApiKeyError> {
        let name = keys::api_key(id);
        for _ in 0..ATTEMPTS {
            let read = self.store.get(&name).await?.ok_or(ApiKeyError::NotFound)?;
            let (_, known) = parse(&read).ok_or_else(|| ApiKeyError::Corrupt { key: name.clone() })?;
            let key = Arc::new(decide(&known)?);
            if *key != known {
                let txn = Txn::new().when(&name, read.mod_revision).put(&name, txn::json(&*key));
                let TxnOutcome::Committed(revision) = self.store.txn(txn).await? else { continue };
                self.apply(id.clone(), key.clone(), revision);
            }
            return Ok(KnownApiKey { id: id.clone(), key });
        }
        Err(ApiKeyError::Busy)
    }

    /// Applies a value to the copy, unless the copy has a newer one.
    fn apply(&self, id: ApiKeyId, key: Arc<ApiKey>, revision: Revision) {
        let mut known = self.write();
        if known.keys.get(&id).is_none_or(|(at, _)| *at < revision) {
            known.keys.insert(id, (revision, key));
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, KeyCopies> {
        // Each change is complete in itself, so a poisoned lock protects a complete map.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, KeyCopies> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreCopy for ApiKeyRegistry {
    const WATCH: &'static str = "api_key_watch";
    const PREFIX: &'static str = keys::API_KEYS;
    const RELIST_EVERY: Duration = Duration::from_secs(60);

    fn begin_list(&self) {
        self.write().listing = Some(BTreeMap::new());
    }

    /// Applies a put. A key that cannot be read is removed from the copy, so it is not accepted.
    fn put(&self, entry: &KeyValue) -> bool {
        let Some((id, key)) = parse(entry) else {
            if let Some(id) = keys::parse_api_key(&entry.key) {
                self.write().keys.remove(&id);
            }
            return false;
        };
        let (key, revision) = (Arc::new(key), entry.mod_revision);
        let mut known = self.write();
        match &mut known.listing {
            Some(listing) => drop(listing.insert(id, (revision, key))),
            None => {
                drop(known);
                self.apply(id, key, revision);
            }
        }
        true
    }

    fn delete(&self, key: &str) {
        if let Some(id) = keys::parse_api_key(key) {
            self.write().keys.remove(&id);
        }
    }

    fn end_list(&self, _revision: Revision) {
        let mut known = self.write();
        if let Some(listing) = known.listing.take() {
            (known.keys, known.is_listed) = (listing, true);
        }
    }

    fn observed(&self) -> Map<String, Value> {
        Map::from_iter([("keys".to_owned(), self.read().keys.len().into())])
    }
}

fn parse(entry: &KeyValue) -> Option<(ApiKeyId, ApiKey)> {
    Some((keys::parse_api_key(&entry.key)?, serde_json::from_slice(&entry.value).ok()?))
}

#[cfg(test)]
#[path = "api_keys_tests.rs"]
mod tests;

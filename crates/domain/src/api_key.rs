//! API keys that the store holds: id, name, digest of the secret, scopes, validity and quotas. This module is
//! pure.
//!
//! The text of a key is `stentor_{id}_{secret}`: an id of 12 characters, by which the key is found, and a
//! secret of 256 random bits in hex. The store holds only the SHA-256 of the text. A slow hash, as used for
//! passwords, is not needed, because an attacker cannot try 2^256 secrets.
//!
//! Owns: the rules for keys. Never compares secrets, and never generates random values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{InvalidName, UnixMs};
use super::quotas::Quotas;
use super::text::{self, bounded, text_values};

/// Maximum number of keys in the store, revoked ones included. This bounds the memory for them on every node.
pub const MAX_KEYS: usize = 1000;
const PREFIX: &str = "stentor_";

/// Id of an API key: `^[a-z0-9]{12}$`. It is not secret, and it is safe in a URL path, a store key and a log
/// line.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApiKeyId(Arc<str>);

/// Human-readable name of an API key: 1 to 64 visible characters.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(Arc<str>);

/// SHA-256 of the text of a key; stored in hex.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyDigest(pub [u8; 32]);

/// Part of the API that a key may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum KeyScope {
    /// Create, change, start, stop, mute, record, caption and delete rooms; add and remove sources and
    /// outputs; delete recordings.
    Rooms,
    /// Issue tokens, also those in the URLs of feeds; invite, kick, ban and remove users; change roles.
    Users,
    /// Change cordon labels; deliver events to webhooks again; list, create, change and revoke API keys; use
    /// the operations endpoints.
    Operations,
    /// Read everything but API keys.
    Read,
}

/// Value of the store key `/apikeys/{id}`: one API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    pub name: KeyName,
    pub digest: KeyDigest,
    pub scopes: BTreeSet<KeyScope>,
    pub created_at: UnixMs,
    /// Time from which the key is refused; `None`: it does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<UnixMs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<UnixMs>,
    #[serde(default, skip_serializing_if = "Quotas::is_unlimited")]
    pub quotas: Quotas,
}

/// Validity of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    Active,
    Expired,
    Revoked,
}

/// Result of the search for a key by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyLookup {
    Found(Arc<ApiKey>),
    Absent,
    /// The node has not listed the keys yet.
    NotListed,
}

/// Sender of a request, after authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Sender with a key from the configuration, or any sender if `auth.mode` is `open`. Has all scopes and
    /// no quotas.
    Administrator,
    Key(ApiKeyId, Arc<ApiKey>),
}

/// Refusal of a caller whose key has too few scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the API key lacks the scope {}: use a key that has it", .0.as_str())]
pub struct ScopeMissing(pub KeyScope);

/// Error: the store holds [`MAX_KEYS`] keys, and none of them can be deleted, because none is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are already {MAX_KEYS} API keys, which is the maximum: revoke some")]
pub struct TooManyKeys;

impl ApiKeyId {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        match text.len() == 12 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            true => Ok(Self(text.into())),
            false => Err(InvalidName { what: "API key id", rule: "must be 12 characters of a-z 0-9" }),
        }
    }

    /// Creates an id from random values.
    pub fn random(values: [u8; 12]) -> Self {
        const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let text: String = values.iter().map(|value| char::from(ALPHABET[*value as usize % 36])).collect();
        Self(text.into())
    }

    /// Returns the id in the text of a key; `None` if the text does not have the format of the keys in the
    /// store.
    pub fn of_text(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.strip_prefix(PREFIX)?;
        Self::new(text.split_once('_')?.0).ok()
    }

    /// Returns the text of the key with this id and this secret.
    pub fn text(&self, secret: [u8; 32]) -> String {
        format!("{PREFIX}{self}_{}", hex::encode(secret))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl KeyName {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let rule = "must be 1 to 64 visible characters, without control or direction-changing characters";
        bounded(text.trim(), 64, text::nickname).map(Self).ok_or(InvalidName { what: "name", rule })
    }
}
text_values!(KeyName);

impl KeyScope {
    pub const ALL: [Self; 4] = [Self::Rooms, Self::Users, Self::Operations, Self::Read];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rooms => "rooms",
            Self::Users => "users",
            Self::Operations => "operations",
            Self::Read => "read",
        }
    }
}

impl ApiKey {
    pub fn state(&self, now: UnixMs) -> KeyState {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => KeyState::Revoked,
            (None, Some(expires_at)) if expires_at <= now => KeyState::Expired,
            (None, _) => KeyState::Active,
        }
    }
}

impl Caller {
    /// Returns the id of the caller's key; `None` if the key is not in the store.
    pub fn key(&self) -> Option<&ApiKeyId> {
        match self {
            Self::Administrator => None,
            Self::Key(id, _) => Some(id),
        }
    }

    /// Checks that the caller has the scope.
    ///
    /// # Errors
    /// The caller's key lacks the scope.
    pub fn require(&self, scope: KeyScope) -> Result<(), ScopeMissing> {
        match self {
            Self::Key(_, key) if !key.scopes.contains(&scope) => Err(ScopeMissing(scope)),
            Self::Key(..) | Self::Administrator => Ok(()),
        }
    }

    /// Checks that the caller may create a key with these scopes: a caller can give only scopes that it has
    /// itself.
    ///
    /// # Errors
    /// The first scope that the caller's key lacks.
    pub fn may_grant(&self, scopes: &BTreeSet<KeyScope>) -> Result<(), ScopeMissing> {
        scopes.iter().try_for_each(|scope| self.require(*scope))
    }
}

/// Checks that another key may be created. If the store is full, returns the id of the key that must be
/// deleted first: the key that was revoked earliest.
///
/// # Errors
/// The store is full and no key is revoked.
pub fn admit_key(known: &BTreeMap<ApiKeyId, ApiKey>) -> Result<Option<ApiKeyId>, TooManyKeys> {
    if known.len() < MAX_KEYS {
        return Ok(None);
    }
    let revoked = known.iter().filter_map(|(id, key)| Some((key.revoked_at?, id)));
    revoked.min().map(|(_, id)| Some(id.clone())).ok_or(TooManyKeys)
}

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(******)")
    }
}

impl TryFrom<String> for ApiKeyId {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl From<ApiKeyId> for String {
    fn from(id: ApiKeyId) -> String {
        id.0.to_string()
    }
}

impl TryFrom<String> for KeyDigest {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        let rule = "must be 64 hexadecimal digits";
        let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(InvalidName { what: "digest", rule })
    }
}

impl From<KeyDigest> for String {
    fn from(KeyDigest(bytes): KeyDigest) -> String {
        hex::encode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_texts_contain_their_id() {
        let id = ApiKeyId::random([0, 1, 25, 26, 35, 36, 71, 72, 251, 252, 255, 9]);
        assert_eq!(id.as_str(), "abz09a9a9adj");
        let text = id.text([0xab; 32]);
        assert_eq!(text, format!("stentor_abz09a9a9adj_{}", "ab".repeat(32)));
        assert_eq!(ApiKeyId::of_text(text.as_bytes()), Some(id));
        for other in [
            "",
            "stentor_",
            "stentor_abz09a9a9adj",
            "stentor_ABZ09A9A9ADJ_x",
            "abz09a9a9adj_00",
            "stentor__x",
        ] {
            assert_eq!(ApiKeyId::of_text(other.as_bytes()), None, "{other}");
        }
        assert_eq!(ApiKeyId::of_text(b"stentor_\xff"), None);
    }

    #[test]
    fn keys_end_by_revocation_and_expiry() {
        let key = key(&[KeyScope::Read]);
        assert_eq!(key.state(UnixMs(u64::MAX)), KeyState::Active);
        let expiring = ApiKey { expires_at: Some(UnixMs(50)), ..key };
        assert_eq!(expiring.state(UnixMs(49)), KeyState::Active);
        assert_eq!(expiring.state(UnixMs(50)), KeyState::Expired);
        assert_eq!(ApiKey { revoked_at: Some(UnixMs(9)), ..expiring }.state(UnixMs(0)), KeyState::Revoked);
    }

    #[test]
    fn callers_have_their_scopes_only() {
        for granted in KeyScope::ALL {
            let caller = Caller::Key(ApiKeyId::random([7; 12]), Arc::new(key(&[granted])));
            for scope in KeyScope::ALL {
                let wanted = if scope == granted { Ok(()) } else { Err(ScopeMissing(scope)) };
                assert_eq!(caller.require(scope), wanted);
                assert_eq!(caller.may_grant(&[granted, scope].into()), wanted);
                assert_eq!(Caller::Administrator.require(scope), Ok(()));
            }
        }
    }

    #[test]
    fn full_store_forgets_revoked_keys() {
        let mut known: BTreeMap<_, _> = (0..MAX_KEYS)
            .map(|n| {
                let n = n as u16;
                let mut values = [0; 12];
                (values[0], values[1]) = ((n / 36) as u8 % 36, (n % 36) as u8);
                (ApiKeyId::random(values), key(&[]))
            })
            .collect();
        assert_eq!(known.len(), MAX_KEYS);
        assert_eq!(admit_key(&known), Err(TooManyKeys));
        let ids: Vec<_> = known.keys().take(2).cloned().collect();
        for (id, at) in ids.iter().zip([20, 10]) {
            known.get_mut(id).unwrap().revoked_at = Some(UnixMs(at));
        }
        assert_eq!(admit_key(&known), Ok(Some(ids[1].clone())));
        known.remove(&ids[0]);
        assert_eq!(admit_key(&known), Ok(None));
    }

    #[test]
    fn stored_keys_read_back() {
        let key = key(&[KeyScope::Rooms, KeyScope::Users]);
        let json = serde_json::to_string(&key).unwrap();
        let digest = "05".repeat(32);
        let wanted =
            format!(r#"{{"name":"app","digest":"{digest}","scopes":["rooms","users"],"createdAt":1}}"#);
        assert_eq!(json, wanted);
        assert_eq!(serde_json::from_str::<ApiKey>(&json).unwrap(), key);
        for bad in [json.replace("05", "0x"), json.replace("rooms", "admin"), json.replace("0505", "05")] {
            assert!(serde_json::from_str::<ApiKey>(&bad).is_err(), "{bad}");
        }
        assert!(!format!("{key:?}").contains("05"), "{key:?}");
    }

    fn key(scopes: &[KeyScope]) -> ApiKey {
        ApiKey {
            name: KeyName::new("app").unwrap(),
            digest: KeyDigest([5; 32]),
            scopes: scopes.iter().copied().collect(),
            created_at: UnixMs(1),
            expires_at: None,
            revoked_at: None,
            quotas: Quotas::default(),
        }
    }
}

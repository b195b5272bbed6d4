//! Authentication with API keys, which are sent as `Authorization: Bearer <key>` (RFC 6750, 2.1).
//!
//! A key is in the configuration, or the store holds it (`domain::api_key`). Owns: the comparison, whose
//! duration is independent of the keys, and the creation of keys. Stores only digests of keys, never the
//! keys.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::config::{AuthConfig, AuthMode};
use crate::domain::api_key::{ApiKeyId, Caller, KeyDigest, KeyLookup, KeyState};
use crate::domain::ids::UnixMs;

/// Prefix of a configured key that is given as its SHA-256 digest.
const DIGEST_PREFIX: &[u8] = b"sha256:";

/// API keys of the configuration.
#[derive(Clone)]
pub enum ApiKeys {
    /// No key is required. The configuration allows this on loopback only.
    Open,
    /// SHA-256 of each key in the configuration. All digests have the same length, so that even the length of
    /// a key stays secret.
    Keys(Vec<[u8; 32]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    #[error("an API key is required, as `Authorization: Bearer <key>`")]
    Missing,
    #[error("the Authorization header must be `Bearer <key>`")]
    NotBearer,
    #[error("the API key is not valid")]
    Unknown,
    #[error("the API key was revoked")]
    Revoked,
    #[error("the API key has expired")]
    Expired,
    /// The key may be valid: this node cannot check it yet.
    #[error("this node has not read the API keys from the store yet; try again")]
    NotListed,
}

/// A newly created key. The text is shown to its user once, and must not reach a log.
pub struct NewKey {
    pub id: ApiKeyId,
    pub text: String,
    pub digest: KeyDigest,
}

impl NewKey {
    /// Creates a key with 256 random bits.
    pub fn random() -> Self {
        let id = ApiKeyId::random(rand::random());
        let text = id.text(rand::random());
        let digest = KeyDigest(digest(text.as_bytes()));
        Self { id, text, digest }
    }
}

impl ApiKeys {
    pub fn new(config: &AuthConfig) -> Self {
        match config.mode {
            AuthMode::Open => Self::Open,
            AuthMode::Keys => Self::Keys(config.api_keys.iter().map(|k| configured(&k.0)).collect()),
        }
    }

    /// Identifies the caller by the value of the `Authorization` header; `authorization` is `None` if the
    /// request has no such header. `lookup` finds the keys that the store holds.
    ///
    /// # Errors
    /// The header is missing or not `Bearer <key>`, or the key is unknown, revoked, expired or cannot be
    /// checked yet. Open mode accepts every request.
    pub fn check(
        &self,
        authorization: Option<&[u8]>,
        lookup: impl FnOnce(&ApiKeyId) -> KeyLookup,
        now: UnixMs,
    ) -> Result<Caller, ApiKeyError> {
        let Self::Keys(configured) = self else { return Ok(Caller::Administrator) };
        let offered = bearer(authorization.ok_or(ApiKeyError::Missing)?)?;
        let fingerprint = digest(offered);
        // All keys are compared, even after a match.
        let fits = configured.iter().fold(Choice::from(0), |fits, key| fits | key.ct_eq(&fingerprint));
        if fits.into() {
            return Ok(Caller::Administrator);
        }
        let id = ApiKeyId::of_text(offered).ok_or(ApiKeyError::Unknown)?;
        let key = match lookup(&id) {
            KeyLookup::Found(key) => key,
            KeyLookup::Absent => return Err(ApiKeyError::Unknown),
            KeyLookup::NotListed => return Err(ApiKeyError::NotListed),
        };
        if !bool::from(key.digest.0.ct_eq(&fingerprint)) {
            return Err(ApiKeyError::Unknown);
        }
        match key.state(now) {
            KeyState::Active => Ok(Caller::Key(id, key)),
            KeyState::Revoked => Err(ApiKeyError::Revoked),
            KeyState::Expired => Err(ApiKeyError::Expired),
        }
    }
}

/// Returns the digest of a configured key, which is either `sha256:` and 64 hexadecimal digits, or the key
/// itself.
fn configured(key: &[u8]) -> [u8; 32] {
    let hashed = key.strip_prefix(DIGEST_PREFIX).and_then(|hex| hex::decode(hex).ok()?.try_into().ok());
    hashed.unwrap_or_else(|| digest(key))
}

/// Returns the value of a `Bearer` header for credentials of HTTP Basic authentication (RFC 7617) whose
/// password is an API key; `None` for any other header. Browsers ask for such credentials by themselves.
pub fn bearer_of_basic(header: &[u8]) -> Option<Vec<u8>> {
    let (scheme, credentials) = header.split_at_checked(6)?;
    let credentials = STANDARD.decode(credentials.trim_ascii()).ok()?;
    let colon = credentials.iter().position(|b| *b == b':')?;
    scheme.eq_ignore_ascii_case(b"basic ").then(|| [b"Bearer ", &credentials[colon + 1..]].concat())
}

/// Returns the key of a `Bearer` header. The scheme's name is case-insensitive (RFC 9110, 11.1).
fn bearer(header: &[u8]) -> Result<&[u8], ApiKeyError> {
    let space = header.iter().position(|b| *b == b' ').ok_or(ApiKeyError::NotBearer)?;
    let (scheme, key) = (&header[..space], header[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") && !key.is_empty() {
        Ok(key)
    } else {
        Err(ApiKeyError::NotBearer)
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::Keys(keys) => write!(f, "Keys({})", keys.len()),
        }
    }
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{self, Secret};
    use crate::domain::api_key::{ApiKey, KeyName};
    use crate::domain::quotas::Quotas;

    #[test]
    fn only_complete_api_key_is_accepted() {
        let keys = with_keys(&["first-key-0123456789", "second-key-0123456789"]);
        let check = |header: &[u8]| keys.check(Some(header), |_| KeyLookup::Absent, UnixMs(1));
        assert_eq!(check(b"Bearer first-key-0123456789"), Ok(Caller::Administrator));
        assert_eq!(check(b"bearer  second-key-0123456789 "), Ok(Caller::Administrator));
        for wrong in ["Bearer first-key", "Bearer first-key-01234567890", "Bearer FIRST-KEY-0123456789"] {
            assert_eq!(check(wrong.as_bytes()), Err(ApiKeyError::Unknown), "{wrong}");
        }
        for shape in ["", "Bearer", "Bearer ", "Basic Zmlyc3Q=", "first-key-0123456789"] {
            assert_eq!(check(shape.as_bytes()), Err(ApiKeyError::NotBearer), "{shape:?}");
        }
        assert_eq!(keys.check(None, |_| KeyLookup::Absent, UnixMs(1)), Err(ApiKeyError::Missing));
        assert_eq!(check(b"Bearer \xff\xfe"), Err(ApiKeyError::Unknown));
    }

    #[test]
    fn open_mode_needs_no_api_key() {
        let open = ApiKeys::new(&config::defaults().auth);
        assert_eq!(open.check(None, |_| KeyLookup::Absent, UnixMs(1)), Ok(Caller::Administrator));
        let refused = with_keys(&[]).check(Some(b"Bearer x"), |_| KeyLookup::Absent, UnixMs(1));
        assert_eq!(refused, Err(ApiKeyError::Unknown));
    }

    #[test]
    fn configured_keys_may_be_digests() {
        let hashed = format!("sha256:{}", hex::encode(digest(b"a-key-of-the-application")));
        let keys = with_keys(&[&hashed]);
        let check = |key: &str| {
            keys.check(Some(format!("Bearer {key}").as_bytes()), |_| KeyLookup::Absent, UnixMs(1))
        };
        assert_eq!(check("a-key-of-the-application"), Ok(Caller::Administrator));
        assert_eq!(check(&hashed), Err(ApiKeyError::Unknown), "the digest is not a key");
        assert_eq!(check(&hashed.replace("sha256:", "")), Err(ApiKeyError::Unknown));
    }

    #[test]
    fn stored_keys_must_fit_and_be_active() {
        let made = NewKey::random();
        let keys = with_keys(&["first-key-0123456789"]);
        let stored = stored(made.digest);
        let check = |text: &str, key: &ApiKey, now| {
            let lookup = |id: &ApiKeyId| match *id == made.id {
                true => KeyLookup::Found(Arc::new(key.clone())),
                false => KeyLookup::Absent,
            };
            keys.check(Some(format!("Bearer {text}").as_bytes()), lookup, UnixMs(now))
        };
        let caller = Caller::Key(made.id.clone(), Arc::new(stored.clone()));
        assert_eq!(check(&made.text, &stored, 99), Ok(caller));
        assert_eq!(check(&made.text, &stored, 100), Err(ApiKeyError::Expired));
        let revoked = ApiKey { revoked_at: Some(UnixMs(1)), ..stored.clone() };
        assert_eq!(check(&made.text, &revoked, 2), Err(ApiKeyError::Revoked));
        let mut forged = made.text.clone();
        let last = if forged.pop() == Some('0') { '1' } else { '0' };
        forged.push(last);
        for wrong in [&forged, &NewKey::random().text, &format!("{}0", made.text)] {
            assert_eq!(check(wrong, &stored, 1), Err(ApiKeyError::Unknown), "{wrong}");
            assert_eq!(check(wrong, &revoked, 1), Err(ApiKeyError::Unknown), "the state is not revealed");
        }
        let early =
            keys.check(Some(format!("Bearer {}", made.text).as_bytes()), |_| KeyLookup::NotListed, UnixMs(1));
        assert_eq!(early, Err(ApiKeyError::NotListed));
    }

    #[test]
    fn new_keys_are_random_and_hidden() {
        let (one, other) = (NewKey::random(), NewKey::random());
        assert!(one.text != other.text && one.id != other.id);
        assert_eq!(one.text.len(), "stentor__".len() + 12 + 64);
        assert!(!format!("{one:?}").contains(&one.text[21..]));
    }

    #[test]
    fn basic_credentials_carry_a_key() {
        let basic = |text: &str| format!("basic {}", STANDARD.encode(text)).into_bytes();
        assert_eq!(bearer_of_basic(&basic("me:key:1")), Some(b"Bearer key:1".to_vec()));
        for wrong in
            [b"Basic ".to_vec(), b"Basic !".to_vec(), b"Bearer a2V5OjE=".to_vec(), basic("key"), vec![]]
        {
            assert_eq!(bearer_of_basic(&wrong), None, "{wrong:?}");
        }
    }

    fn stored(digest: KeyDigest) -> ApiKey {
        ApiKey {
            name: KeyName::new("app").unwrap(),
            digest,
            scopes: Default::default(),
            created_at: UnixMs(1),
            expires_at: Some(UnixMs(100)),
            revoked_at: None,
            quotas: Quotas::default(),
        }
    }

    fn with_keys(keys: &[&str]) -> ApiKeys {
        let mut config = config::defaults().auth;
        config.mode = AuthMode::Keys;
        config.api_keys = keys.iter().map(|k| Secret(k.as_bytes().to_vec())).collect();
        ApiKeys::new(&config)
    }
}

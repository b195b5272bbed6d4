//! API keys of the REST API, sent as `Authorization: Bearer <key>` (RFC 6750, 2.1).
//!
//! Owns: the comparison, whose duration is independent of the keys. Never does: keep a key itself; it keeps
//! digests.

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::config::{AuthConfig, AuthMode};

/// API keys that the REST API accepts.
#[derive(Clone)]
pub enum ApiKeys {
    /// No key is required. The configuration allows this on loopback only.
    Open,
    /// SHA-256 of each key. All digests have one length, so that even the length of a key stays secret.
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
}

impl ApiKeys {
    pub fn new(config: &AuthConfig) -> Self {
        match config.mode {
            AuthMode::Open => Self::Open,
            AuthMode::Keys => Self::Keys(config.api_keys.iter().map(|k| digest(&k.0)).collect()),
        }
    }

    /// Checks the value of an `Authorization` header; `None` if the request has none.
    ///
    /// # Errors
    /// A missing header, a header that is not `Bearer <key>`, or an unknown key. Open mode accepts every
    /// request.
    pub fn check(&self, authorization: Option<&[u8]>) -> Result<(), ApiKeyError> {
        let Self::Keys(keys) = self else { return Ok(()) };
        let offered = digest(bearer(authorization.ok_or(ApiKeyError::Missing)?)?);
        // All keys are compared, even after a match.
        let fits = keys.iter().fold(Choice::from(0), |fits, key| fits | key.ct_eq(&offered));
        if fits.into() { Ok(()) } else { Err(ApiKeyError::Unknown) }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Secret};

    #[test]
    fn only_complete_api_key_is_accepted() {
        let keys = with_keys(&["first-key-0123456789", "second-key-0123456789"]);
        let check = |header: &str| keys.check(Some(header.as_bytes()));
        assert_eq!(check("Bearer first-key-0123456789"), Ok(()));
        assert_eq!(check("bearer  second-key-0123456789 "), Ok(()));
        for wrong in ["Bearer first-key", "Bearer first-key-01234567890", "Bearer FIRST-KEY-0123456789"] {
            assert_eq!(check(wrong), Err(ApiKeyError::Unknown), "{wrong}");
        }
        for shape in ["", "Bearer", "Bearer ", "Basic Zmlyc3Q=", "first-key-0123456789"] {
            assert_eq!(check(shape), Err(ApiKeyError::NotBearer), "{shape:?}");
        }
        assert_eq!(keys.check(None), Err(ApiKeyError::Missing));
        assert_eq!(keys.check(Some(b"Bearer \xff\xfe")), Err(ApiKeyError::Unknown));
    }

    #[test]
    fn open_mode_needs_no_api_key() {
        assert_eq!(ApiKeys::new(&config::defaults().auth).check(None), Ok(()));
        assert_eq!(with_keys(&[]).check(Some(b"Bearer x")), Err(ApiKeyError::Unknown));
    }

    fn with_keys(keys: &[&str]) -> ApiKeys {
        let mut config = config::defaults().auth;
        config.mode = AuthMode::Keys;
        config.api_keys = keys.iter().map(|k| Secret(k.as_bytes().to_vec())).collect();
        ApiKeys::new(&config)
    }
}

//! Sealed texts, such as resume tokens: only this installation can read them, and only until they expire.
//!
//! Owns: the format, and the check that a text has not expired. Does not read a clock, or interpret the
//! content.
//!
//! ```text
//! base64url( nonce (12) ‖ AES-256-GCM( {content, issued, expires} ) ‖ tag (16) )
//! AAD: the binding
//! ```

use std::time::Duration;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::secrets::{Secrets, derive};
use crate::domain::ids::UnixMs;

/// Default of the maximum length of a text, in bytes; a longer text is refused before it is decoded.
const MAX_LEN: usize = 2048;
const NONCE_LEN: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Altered, forged, or sealed under another binding: the cipher cannot distinguish these cases.
    #[error("the token is not valid here")]
    Refused,
    #[error("the token has expired")]
    Expired,
}

/// Sealer and opener of texts for one purpose. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sealer {
    cipher: Aes256Gcm,
    max_len: usize,
}

#[derive(Serialize, Deserialize)]
struct SealedContent<T> {
    content: T,
    issued: UnixMs,
    expires: UnixMs,
}

impl Sealer {
    /// Creates the sealer for one purpose. The key is derived from `label`, so it differs for each purpose.
    pub fn new(secrets: &Secrets, label: &[u8]) -> Self {
        Self { cipher: Aes256Gcm::new(&derive(&secrets.hls, label).into()), max_len: MAX_LEN }
    }

    /// Sets the maximum length of a text, in bytes.
    pub fn up_to(self, max_len: usize) -> Self {
        Self { max_len, ..self }
    }

    /// Seals `content` in a text that can be opened with the same binding (`bound`) until `now + ttl`. Two
    /// texts with the same content differ.
    pub fn seal<T: Serialize>(&self, content: T, bound: &[u8], now: UnixMs, ttl: Duration) -> String {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let sealed = SealedContent { content, issued: now, expires: UnixMs(now.0.saturating_add(ttl)) };
        // Cannot fail: contents are plain values whose keys are strings.
        let plain = serde_json::to_vec(&sealed).expect("a plain value is JSON");
        // 96 random bits: up to 2^32 tokens under one secret, the probability of a repeated nonce stays below
        // 2^-32 (NIST SP 800-38D, 8.3).
        let nonce: [u8; NONCE_LEN] = rand::random();
        let payload = Payload { msg: &plain, aad: bound };
        // Cannot fail: the text is far below GCM's limit of 64 GiB.
        let sealed = self.cipher.encrypt(&Nonce::from(nonce), payload).expect("GCM takes a short text");
        URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
    }

    /// Opens a text and returns its content.
    ///
    /// # Errors
    /// The text is altered, forged, sealed under another binding, or expired.
    pub fn open<T: DeserializeOwned>(&self, text: &str, bound: &[u8], now: UnixMs) -> Result<T, SealError> {
        let plain = self.decrypt(text, bound).ok_or(SealError::Refused)?;
        let sealed: SealedContent<T> = serde_json::from_slice(&plain).map_err(|_| SealError::Refused)?;
        if now >= sealed.expires {
            return Err(SealError::Expired);
        }
        Ok(sealed.content)
    }

    fn decrypt(&self, text: &str, bound: &[u8]) -> Option<Vec<u8>> {
        if text.len() > self.max_len {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let payload = Payload { msg: sealed, aad: bound };
        self.cipher.decrypt(&Nonce::from(*nonce), payload).ok()
    }
}

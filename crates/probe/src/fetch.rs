//! File access of a listener: HTTP, keys and decryption.
//!
//! Owns: the HTTP client and the key in use. Does not read a playlist.

use std::time::Duration;

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use awc::error::{ConnectError, SendRequestError};
use awc::{Client, ClientRequest, Connector};
use bytes::Bytes;
use url::Url;

use super::listener::ProbeError;
use super::local_tls;
use super::m3u8::Key;

/// Time limit of a request, longer than any blocking reload.
const TIMEOUT: Duration = Duration::from_secs(20);
const MAX_BODY: usize = 8 << 20;

/// Response with status 200.
pub struct File {
    pub content_type: String,
    pub body: Bytes,
}

pub struct Fetch {
    client: Client,
    playlist: Url,
    token: String,
    key: Option<(String, [u8; 16])>,
}

impl Fetch {
    pub fn new(playlist: Url, token: String) -> Self {
        let connector = match local_tls::config(&playlist) {
            Some(tls) => Connector::new().rustls_0_23(tls),
            None => Connector::new(),
        };
        let client = Client::builder().connector(connector).timeout(TIMEOUT).disable_redirects().finish();
        Self { client, playlist, token, key: None }
    }

    /// Fetches the playlist. `edge`: media sequence number and part index; the server answers when the
    /// playlist contains this part.
    pub async fn playlist(&self, edge: Option<(u64, u32)>) -> Result<File, ProbeError> {
        let mut url = self.playlist.clone();
        if let Some((msn, part)) = edge {
            url.set_query(Some(&format!("_HLS_msn={msn}&_HLS_part={part}")));
        }
        self.get(&url, true).await
    }

    /// Fetches a part or segment, without a token: media are encrypted and may come from any cache.
    pub async fn media(&self, uri: &str) -> Result<Bytes, ProbeError> {
        Ok(self.get(&self.resolve(uri)?, false).await?.body)
    }

    /// Decrypts `media`. The key is requested only if its URI differs from the previous one.
    pub async fn open(
        &mut self,
        media: Bytes,
        key: Option<&Key>,
        sequence: u64,
    ) -> Result<Bytes, ProbeError> {
        let Some(key) = key else { return Ok(media) };
        let secret = self.key(key).await?;
        let iv = key.iv.unwrap_or(u128::from(sequence).to_be_bytes());
        Ok(decrypt(&media, &secret, &iv)?.into())
    }

    async fn key(&mut self, key: &Key) -> Result<[u8; 16], ProbeError> {
        if let Some((uri, secret)) = &self.key
            && *uri == key.uri
        {
            return Ok(*secret);
        }
        let file = self.get(&self.resolve(&key.uri)?, true).await?;
        let secret = <[u8; 16]>::try_from(&file.body[..])
            .map_err(|_| ProbeError::Decrypt(format!("a key of {} bytes instead of 16", file.body.len())))?;
        self.key = Some((key.uri.clone(), secret));
        Ok(secret)
    }

    fn resolve(&self, uri: &str) -> Result<Url, ProbeError> {
        self.playlist.join(uri).map_err(|e| ProbeError::Unreachable(format!("the URI of a listed file: {e}")))
    }

    fn request(&self, url: &Url, with_token: bool) -> ClientRequest {
        let request = self.client.get(url.as_str());
        if with_token {
            request.insert_header(("Authorization", format!("Bearer {}", self.token)))
        } else {
            request
        }
    }

    async fn get(&self, url: &Url, with_token: bool) -> Result<File, ProbeError> {
        // The error shows only the path, because the query may contain a token.
        let unreachable = |e: &dyn std::fmt::Display| ProbeError::Unreachable(format!("{}: {e}", url.path()));
        let mut answer = match self.request(url, with_token).send().await {
            // The server closed an idle connection just when the client reused it; such a request may be
            // repeated (RFC 9112 section 9.3.1).
            Err(SendRequestError::Connect(ConnectError::Disconnected)) => {
                self.request(url, with_token).send().await
            }
            answer => answer,
        }
        .map_err(|e| unreachable(&e))?;
        let body = answer.body().limit(MAX_BODY).await.map_err(|e| unreachable(&e))?;
        let status = answer.status().as_u16();
        if status != 200 {
            let code = serde_json::from_slice::<serde_json::Value>(&body)
                .ok()
                .and_then(|json| Some(json.get("code")?.as_str()?.to_owned()));
            return Err(ProbeError::Refused { path: url.path().to_owned(), status, code });
        }
        let content_type = answer.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("");
        Ok(File { content_type: content_type.to_owned(), body })
    }
}

/// Decrypts AES-128 in CBC mode with PKCS#7 padding (RFC 8216 section 4.3.2.4).
fn decrypt(sealed: &[u8], key: &[u8; 16], iv: &[u8; 16]) -> Result<Vec<u8>, ProbeError> {
    cbc::Decryptor::<aes::Aes128>::new(key.into(), iv.into())
        .decrypt_padded_vec::<Pkcs7>(sealed)
        .map_err(|_| ProbeError::Decrypt(format!("{} bytes do not decrypt with this key", sealed.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decryption_follows_the_published_vector() {
        // NIST SP 800-38A F.2.1, first block; the second block is the padding as OpenSSL encrypts it.
        let key: [u8; 16] = hex::decode("2b7e151628aed2a6abf7158809cf4f3c").unwrap().try_into().unwrap();
        let iv: [u8; 16] = hex::decode("000102030405060708090a0b0c0d0e0f").unwrap().try_into().unwrap();
        let sealed = hex::decode("7649abac8119b246cee98e9b12e9197d8964e0b149c10b7b682e6e39aaeb731c").unwrap();
        let clear = decrypt(&sealed, &key, &iv).unwrap();
        assert_eq!(hex::encode(clear), "6bc1bee22e409f96e93d7e117393172a");
        assert!(decrypt(&sealed[..17], &key, &iv).is_err());
        assert!(decrypt(&sealed, &[0; 16], &iv).is_err());
    }
}

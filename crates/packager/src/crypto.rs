//! Content keys of a broadcast, and AES-128-CBC of segments and parts (RFC 8216 section 4.3.2.4).
//!
//! Owns: derivation of keys from the server secret. Does not store a key, print one, or give one to
//! FFmpeg.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::names::NonceHint;
use stentor_domain::ids::{Nonce, RoomId};

/// AES-128 key as players receive it.
pub type ContentKey = [u8; 16];

/// Content keys of one broadcast. A different broadcast has a different nonce and therefore different keys.
#[derive(Clone)]
pub struct ContentKeys {
    /// MAC that already contains room and nonce. A key is the MAC of room, nonce and key index.
    mac: Hmac<Sha256>,
    hint: NonceHint,
}

/// Error for a ciphertext that this key and sequence number did not produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not decryptable with this key and media sequence number")]
pub struct DecryptError;

impl ContentKeys {
    /// Creates the keys. `secret` is the server secret. Without it, no key can be computed from public
    /// values.
    pub fn new(secret: &[u8], room: &RoomId, nonce: &Nonce) -> Self {
        let mut mac: Hmac<Sha256> = match Hmac::new_from_slice(secret) {
            Ok(mac) => mac,
            // RFC 2104 hashes a long key and pads a short one, so no length is invalid.
            Err(_) => unreachable!("HMAC takes a key of any length"),
        };
        // Neither a room id nor one of our nonces contains NUL, so different pairs never give the same input.
        for part in [room.as_str(), &nonce.0] {
            mac.update(part.as_bytes());
            mac.update(&[0]);
        }
        let digest = Sha256::new().chain_update(b"stentor nonce hint\0").chain_update(&nonce.0).finalize();
        let mut hint = [0; NonceHint::BYTES];
        hint.copy_from_slice(&digest[..NonceHint::BYTES]);
        Self { mac, hint: NonceHint(hint) }
    }

    /// Returns the key of all segments with this key index.
    pub fn key(&self, index: u64) -> ContentKey {
        let digest = self.mac.clone().chain_update(index.to_be_bytes()).finalize().into_bytes();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        key
    }

    /// Returns the public name of the nonce. It distinguishes the keys and files of two broadcasts, and does
    /// not reveal the nonce.
    pub fn hint(&self) -> NonceHint {
        self.hint
    }
}

impl std::fmt::Debug for ContentKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ContentKeys({})", self.hint)
    }
}

/// AES block size in bytes. If the plaintext fills its last block, the padding is one more block.
const BLOCK: usize = 16;

/// Returns the IV of a segment and its parts: the media sequence number, because the playlist names no IV.
fn iv(msn: u64) -> [u8; 16] {
    u128::from(msn).to_be_bytes()
}

/// Encrypts one CBC stream with PKCS#7 padding.
pub fn encrypt(key: &ContentKey, msn: u64, plain: &[u8]) -> Vec<u8> {
    cbc::Encryptor::<aes::Aes128>::new(key.into(), &iv(msn).into()).encrypt_padded_vec::<Pkcs7>(plain)
}

/// Converts the ciphertexts of a segment's parts to the ciphertext of the whole segment, in one buffer of
/// exactly the size of the result.
pub(super) fn rejoin<'a>(
    key: &ContentKey,
    msn: u64,
    parts: impl Iterator<Item = &'a [u8]> + Clone,
) -> Result<Vec<u8>, DecryptError> {
    let mut buffer = Vec::with_capacity(parts.clone().map(<[u8]>::len).sum());
    for part in parts {
        let begin = buffer.len();
        buffer.extend_from_slice(part);
        let cipher = cbc::Decryptor::<aes::Aes128>::new(key.into(), &iv(msn).into());
        let plain = cipher.decrypt_padded::<Pkcs7>(&mut buffer[begin..]).map_err(|_| DecryptError)?.len();
        buffer.truncate(begin + plain);
    }
    let plain = buffer.len();
    buffer.resize((plain / BLOCK + 1) * BLOCK, 0);
    buffer.shrink_to_fit();
    let cipher = cbc::Encryptor::<aes::Aes128>::new(key.into(), &iv(msn).into());
    match cipher.encrypt_padded::<Pkcs7>(&mut buffer, plain) {
        Ok(_) => Ok(buffer),
        Err(_) => unreachable!("there is room for the padding"),
    }
}

/// Reverses [`encrypt`].
pub fn decrypt(key: &ContentKey, msn: u64, cipher: &[u8]) -> Result<Vec<u8>, DecryptError> {
    cbc::Decryptor::<aes::Aes128>::new(key.into(), &iv(msn).into())
        .decrypt_padded_vec::<Pkcs7>(cipher)
        .map_err(|_| DecryptError)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secret: &str, room: &str, nonce: &str) -> ContentKeys {
        ContentKeys::new(secret.as_bytes(), &RoomId::new(room).unwrap(), &Nonce(nonce.into()))
    }

    #[test]
    fn content_key_depends_on_every_input() {
        let base = keys("s1", "room", "n1");
        let all = [
            base.key(0),
            base.key(1),
            keys("s2", "room", "n1").key(0),
            keys("s1", "rooms", "n1").key(0),
            keys("s1", "room", "n2").key(0),
            keys("s1", "roomn", "1").key(0),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| a != b), "{i}");
        }
        assert_eq!(base.key(7), keys("s1", "room", "n1").key(7), "the same on every node");
        assert_ne!(base.hint(), keys("s1", "room", "n2").hint());
    }

    #[test]
    fn nothing_secret_is_printed() {
        let text = format!("{:?}", keys("the-secret", "room", "the-nonce"));
        assert!(!text.contains("the-secret") && !text.contains("the-nonce"), "{text}");
    }

    /// Checks the first block of the example in NIST SP 800-38A, F.2.1 (CBC-AES128.Encrypt).
    #[test]
    fn cbc_agrees_with_the_published_vector() {
        let key = 0x2b7e151628aed2a6abf7158809cf4f3cu128.to_be_bytes();
        // CBC encrypts `plain xor iv`. The IV of the example is combined with the plaintext here, so the
        // sequence number is 0.
        let iv = 0x000102030405060708090a0b0c0d0e0fu128;
        let plain = (0x6bc1bee22e409f96e93d7e117393172au128 ^ iv).to_be_bytes();
        let expected = 0x7649abac8119b246cee98e9b12e9197du128.to_be_bytes();
        assert_eq!(encrypt(&key, 0, &plain)[..16], expected);
    }

    #[test]
    fn rejoined_parts_equal_encrypted_segment() {
        let key = keys("s", "room", "n").key(0);
        let plain: [&[u8]; 4] = [b"one block of it..", b"", b"sixteen bytes...", b"!"];
        let parts = plain.map(|part| encrypt(&key, 5, part));
        let whole = rejoin(&key, 5, parts.iter().map(Vec::as_slice)).unwrap();
        assert_eq!(whole, encrypt(&key, 5, &plain.concat()));
        assert_eq!(whole.capacity(), whole.len());
        assert_eq!(rejoin(&key, 6, [&parts[0][..5]].into_iter()), Err(DecryptError));
    }

    #[test]
    fn the_sequence_number_is_the_iv() {
        let key = keys("s", "room", "n").key(0);
        let cipher = encrypt(&key, 5, b"thirty-two bytes, exactly, here.");
        assert_eq!(cipher.len(), 48, "a full block of padding");
        assert_eq!(decrypt(&key, 5, &cipher).unwrap(), b"thirty-two bytes, exactly, here.");
        assert_ne!(decrypt(&key, 6, &cipher).unwrap(), b"thirty-two bytes, exactly, here.");
        assert_eq!(decrypt(&key, 5, &cipher[..31]), Err(DecryptError));
    }
}

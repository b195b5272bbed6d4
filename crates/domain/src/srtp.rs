//! Master key of the SRTP stream from a Janus forwarder to one FFmpeg.
//!
//! Without this key, anybody who reaches FFmpeg's ports could inject audio, or end FFmpeg with a 12-byte RTCP
//! BYE.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// SRTP suite, as the value of Janus's parameter `srtp_suite`: number of bits of the authentication tag.
pub const SUITE_BITS: u32 = 80;
/// Name of the SRTP suite in RFC 4568 section 6.2.
pub const SUITE_NAME: &str = "AES_CM_128_HMAC_SHA1_80";

/// Base64 of the 16 bytes of master key and 14 bytes of master salt (RFC 4568 section 6.1). Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpKey(String);

impl SrtpKey {
    /// Length of key and salt, in bytes.
    pub const LENGTH: usize = 30;

    pub fn new(key_and_salt: [u8; Self::LENGTH]) -> Self {
        Self(STANDARD.encode(key_and_salt))
    }

    /// Returns the key itself, for Janus and FFmpeg only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SrtpKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SrtpKey(******)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srtp_key_is_base64_and_not_printed() {
        let key = SrtpKey::new([0xfb; SrtpKey::LENGTH]);
        assert_eq!(key.reveal().len(), 40);
        assert_eq!(format!("{key:?}"), "SrtpKey(******)");
    }
}

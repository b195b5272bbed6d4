//! Signature of a request, according to the Standard Webhooks specification 1.0.0 (standardwebhooks.com).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::Secret;

/// Returns the value of `webhook-signature`: one signature per secret, with spaces between them, so that a
/// receiver needs only one of the secrets. `timestamp`: Unix time in seconds.
pub fn signature<'a>(
    secrets: impl IntoIterator<Item = &'a Secret>,
    id: &str,
    timestamp: u64,
    body: &[u8],
) -> String {
    let signed = secrets.into_iter().map(|Secret(key)| {
        // Cannot fail: HMAC takes a key of any length (RFC 2104 section 3).
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    });
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Example from the specification and its reference libraries.
    #[test]
    fn signature_matches_reference_example() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = signature([&Secret(key.clone())], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both = signature([&Secret(key), &Secret(vec![7; 24])], "msg", 1, body);
        assert_eq!(both.split(' ').count(), 2);
    }
}

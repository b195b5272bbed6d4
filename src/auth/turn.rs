//! Time-limited TURN credentials from a secret shared with the TURN servers, as in coturn's `use-auth-secret`
//! (draft-uberti-behave-turn-rest-00, 2.2). The user name consists of the expiry time and the user. The
//! password is the HMAC-SHA1 of the user name.
//!
//! Owns: this scheme. Does not authenticate the user.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::config::IceConfig;
use crate::domain::ids::{UnixMs, UserId};

/// Server in the form of the browser's `RTCIceServer`. Its credential must not reach a log.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct IceServer {
    pub urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Maximum length of the user part of a TURN user name, in bytes; the whole name may have 508 (RFC 8489
/// section 14.3).
const MAX_USER: usize = 256;

/// Returns the configured servers for one user: STUN servers unchanged, TURN servers with credentials.
pub fn ice_servers(config: &IceConfig, user: &UserId, now: UnixMs) -> Vec<IceServer> {
    let (turn, stun): (Vec<_>, Vec<_>) =
        config.servers.iter().cloned().partition(|url| url.starts_with("turn"));
    let mut servers = Vec::new();
    if !stun.is_empty() {
        servers.push(IceServer { urls: stun, username: None, credential: None });
    }
    if let (false, Some(secret)) = (turn.is_empty(), &config.turn_secret) {
        let (username, credential) = credentials(&secret.0, user, now, config.turn_ttl);
        servers.push(IceServer { urls: turn, username: Some(username), credential: Some(credential) });
    }
    servers
}

fn credentials(secret: &[u8], user: &UserId, now: UnixMs, ttl: Duration) -> (String, String) {
    let username = format!("{}:{}", now.0 / 1000 + ttl.as_secs(), user_part(user));
    // Cannot fail: HMAC accepts a key of any length.
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("a key of any length");
    mac.update(username.as_bytes());
    let credential = STANDARD.encode(mac.finalize().into_bytes());
    (username, credential)
}

/// Returns the user part of the user name. It is ASCII without a colon, because a colon separates it from the
/// expiry time. An id that is too long is replaced by its digest.
fn user_part(user: &UserId) -> String {
    let encoded = user.encoded().to_string();
    if encoded.len() <= MAX_USER { encoded } else { hex::encode(Sha256::digest(user.as_str())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn only_turn_servers_get_credentials() {
        let config = IceConfig {
            servers: vec!["stun:a.example:3478".into(), "turn:b.example?transport=udp".into()],
            turn_secret: Some(Secret(b"north".to_vec())),
            turn_ttl: Duration::from_secs(3600),
        };
        let servers =
            serde_json::to_value(ice_servers(&config, &user("ann"), UnixMs(1_700_000_000_500))).unwrap();
        // Computed with `printf 1700003600:ann | openssl dgst -sha1 -hmac north -binary | base64`.
        let expected = serde_json::json!([
            { "urls": ["stun:a.example:3478"] },
            {
                "urls": ["turn:b.example?transport=udp"],
                "username": "1700003600:ann",
                "credential": "TwqKCcbzejRFa1sgGqGS7SEzCGg=",
            },
        ]);
        assert_eq!(servers, expected);
    }

    #[test]
    fn user_names_are_ascii_and_bounded() {
        let name = |id: &str| credentials(b"s", &user(id), UnixMs(0), Duration::from_secs(60)).0;
        assert_eq!(name("did:a:1"), "60:did%3Aa%3A1");
        assert_eq!(name("auth0|ü"), "60:auth0%7C%C3%BC");
        assert_eq!(name(&"x".repeat(255)).len(), 3 + 255);
        assert_eq!(name(&"ü".repeat(127)).len(), 3 + 64);
    }

    fn user(id: &str) -> UserId {
        UserId::new(id).unwrap()
    }
}

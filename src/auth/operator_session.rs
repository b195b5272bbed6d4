//! Session of an operator in a browser: the API key, sealed in a cookie for one node.
//!
//! The node stores no session. It checks the key again on each request, so revoking a key ends its sessions.
//! Owns: the binding and the lifetime. Does not check a key.

use std::time::Duration;

use super::sealed::{SealError, Sealer};
use super::secrets::{Secrets, derive};
use crate::domain::ids::{ModuleId, UnixMs};

/// Lifetime of a session. Requests do not extend it.
pub const SESSION_TTL: Duration = Duration::from_secs(3600);
const LABEL: &[u8] = b"stentor operator session";

/// Sealer and opener of the sessions of one node.
#[derive(Clone)]
pub struct OperatorSessions {
    sealer: Sealer,
    node: ModuleId,
    cookie: String,
}

impl OperatorSessions {
    pub fn new(secrets: &Secrets, node: ModuleId) -> Self {
        let label = [b"stentor operator cookie", node.as_str().as_bytes()].join(&b' ');
        let own = hex::encode(&derive(&secrets.hls, &label)[..4]);
        Self { sealer: Sealer::new(secrets, LABEL), node, cookie: format!("stentor_operator_{own}") }
    }

    /// Returns the name of the session cookie. Browsers send a cookie to all ports of a host, so nodes on one
    /// host need different names. If `secure`, the name has the prefix `__Host-`: only a page of this host
    /// can then set the cookie, and only over https (RFC 6265bis section 4.1.3.2).
    pub fn cookie(&self, secure: bool) -> String {
        format!("{}{}", if secure { "__Host-" } else { "" }, self.cookie)
    }

    /// Returns the value of the session cookie for this API key.
    pub fn seal(&self, key: &str, now: UnixMs) -> String {
        self.sealer.seal(key, self.node.as_str().as_bytes(), now, SESSION_TTL)
    }

    /// Returns the API key that the value of a session cookie contains.
    ///
    /// # Errors
    /// This node did not issue the value, or the session has expired.
    pub fn open(&self, cookie: &str, now: UnixMs) -> Result<String, SealError> {
        self.sealer.open(cookie, self.node.as_str().as_bytes(), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn sessions_are_bound_to_node_and_time() {
        let secrets = |byte| Secrets { jwt: vec![], hls: Secret(vec![byte; 32]), janus_room: Secret(vec![]) };
        let of = |byte, node| OperatorSessions::new(&secrets(byte), ModuleId::new(node).unwrap());
        let (sessions, now) = (of(7, "n1"), UnixMs(1000));
        let cookie = sessions.seal("stentor_key", now);
        assert!(!cookie.contains("stentor_key"));
        assert_eq!(sessions.open(&cookie, now), Ok("stentor_key".to_owned()));
        let end = UnixMs(now.0 + SESSION_TTL.as_millis() as u64);
        assert_eq!(sessions.open(&cookie, end), Err(SealError::Expired));
        assert_eq!(of(7, "n2").open(&cookie, now), Err(SealError::Refused));
        assert_eq!(of(8, "n1").open(&cookie, now), Err(SealError::Refused));
        assert_eq!(sessions.open("", now), Err(SealError::Refused));
    }

    #[test]
    fn nodes_have_different_cookies() {
        let of = |byte, node| {
            let secrets = Secrets { jwt: vec![], hls: Secret(vec![byte; 32]), janus_room: Secret(vec![]) };
            OperatorSessions::new(&secrets, ModuleId::new(node).unwrap()).cookie(false)
        };
        assert_eq!(of(7, "n1"), of(7, "n1"));
        assert_ne!(of(7, "n1"), of(7, "n2"));
        assert_ne!(of(7, "n1"), of(8, "n1"), "another installation");
    }
}

//! Session of an operator in a browser: the API key, sealed in a cookie for one node.
//!
//! The node stores no session. It checks the key again on each request, so revoking a key ends its sessions.
//! Owns: the binding and the lifetime. Does not check a key.

use std::time::Duration;

use super::sealed::{SealError, Sealer};
use super::secrets::Secrets;
use crate::domain::ids::{ModuleId, UnixMs};

/// Lifetime of a session. Requests do not extend it.
pub const SESSION_TTL: Duration = Duration::from_secs(3600);
const LABEL: &[u8] = b"stentor operator session";

/// Sealer and opener of the sessions of one node.
#[derive(Clone)]
pub struct OperatorSessions {
    sealer: Sealer,
    node: ModuleId,
}

impl OperatorSessions {
    pub fn new(secrets: &Secrets, node: ModuleId) -> Self {
        Self { sealer: Sealer::new(secrets, LABEL), node }
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
}

//! Identifiers and other basic values. They are validated once on input and trusted afterwards.

use std::fmt;
use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::text;

/// Characters of a user id that are percent-encoded, because other formats give them a special meaning.
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-');

/// Error for a value that is not a valid name. The text states the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {rule}")]
pub struct InvalidName {
    pub what: &'static str,
    pub rule: &'static str,
}

/// Room id: `^[A-Za-z0-9_-]{3,32}$`. It is safe in a URL path, a store key and a log line.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomId(std::sync::Arc<str>);

/// Name of a node, and also of its Janus and its mixer: `^[A-Za-z0-9_.-]{1,64}$`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModuleId(std::sync::Arc<str>);

/// Identity of a user within a room, the `sub` of their token: a StringOrURI (RFC 7519 section 2) of 1 to 255
/// bytes without control or invisible characters. Ids are compared byte by byte. Use [`UserId::encoded`] in
/// store keys and in protocols that reserve characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(std::sync::Arc<str>);

/// Name of one client program across its reconnects, chosen by the client: 1 to 64 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(std::sync::Arc<str>);

/// Pin of a room: six ASCII letters or digits. An application may require it from anchors; the server itself
/// checks only a pin that is sent. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pin(String);

/// Random value of one broadcast. A backstage already has the nonce of the broadcast that follows it. The
/// content keys are derived from the nonce. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(pub String);

/// Counter of the assignments of a room to a Janus instance and a mixer. State with a lower epoch is
/// superseded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Wall-clock time in milliseconds since the Unix epoch. It is meant for humans and other processes, and
/// never used for timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

/// Address at which a mixer receives RTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MediaAddr {
    pub ip: IpAddr,
    pub port: u16,
}

impl RoomId {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let ok = (3..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if ok {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName { what: "roomId", rule: "must be 3 to 32 characters of A-Z a-z 0-9 _ -" })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ModuleId {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let ok = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if ok {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName { what: "module id", rule: "must be 1 to 64 characters of A-Z a-z 0-9 _ - ." })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl UserId {
    /// Longest id, in bytes of UTF-8: the limit of `sub` in OpenID Connect Core 1.0 section 2.
    pub const MAX_LEN: usize = 255;

    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let ok = (1..=Self::MAX_LEN).contains(&text.len())
            && text::is_plain_id(text)
            && text::is_string_or_uri(text);
        let rule = "must be 1 to 255 bytes without control or invisible characters and without spaces at its \
            ends; one with a colon must be a URI";
        if ok { Ok(Self(text.into())) } else { Err(InvalidName { what: "userId", rule }) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id with all characters except `A-Z a-z 0-9 _ . -` percent-encoded.
    pub fn encoded(&self) -> impl fmt::Display + '_ {
        utf8_percent_encode(&self.0, &RESERVED)
    }

    /// Parses the output of [`UserId::encoded`]; `None` for any other spelling.
    pub fn from_encoded(encoded: &str) -> Option<Self> {
        let id = Self::new(&percent_decode_str(encoded).decode_utf8().ok()?).ok()?;
        let written = id.encoded().to_string();
        (written == encoded).then_some(id)
    }
}

impl ClientId {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        if (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName { what: "clientId", rule: "must be 1 to 64 visible ASCII characters" })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Pin {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        if text.len() == 6 && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName { what: "pin", rule: "must be 6 characters of A-Z a-z 0-9" })
        }
    }

    /// Returns the pin itself, for Janus and API responses; it must not be logged.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Epoch {
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for MediaAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Formats the id in quotes: it may contain spaces, and must not look like another field of a log line.
impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(******)")
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(******)")
    }
}

macro_rules! text_id {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
macro_rules! debug_unquoted {
    ($($id:ident),*) => {$(
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
macro_rules! via_string {
    ($($id:ident),*) => {$(
        impl TryFrom<String> for $id {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(&text)
            }
        }
        impl From<$id> for String {
            fn from(id: $id) -> String {
                id.0.to_string()
            }
        }
        impl std::str::FromStr for $id {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
    )*};
}
text_id!(RoomId, ModuleId, UserId, ClientId);
debug_unquoted!(RoomId, ModuleId, ClientId);
via_string!(RoomId, ModuleId, UserId, ClientId, Pin);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_ids_are_safe_everywhere() {
        for good in ["abc", "demo", "A_b-9", &"x".repeat(32)] {
            assert!(RoomId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "ab", "a/b", "a\nb", "a\0b", "ümlaut", "a b c", "..", &"x".repeat(33)] {
            assert!(RoomId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn user_ids_are_string_or_uri() {
        let longest = "x".repeat(UserId::MAX_LEN);
        for good in
            ["ann", "auth0|123", "ann@example.org", "did:example:1", "Ann Lee", "a/b", "ünal", &longest]
        {
            let id = UserId::new(good).unwrap();
            let encoded = id.encoded().to_string();
            assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-%".contains(&b)), "{encoded}");
            assert_eq!(UserId::from_encoded(&encoded), Some(id));
        }
        assert_eq!(UserId::new("ann.b-1_C").unwrap().encoded().to_string(), "ann.b-1_C");
        assert_eq!(UserId::new("auth0|1").unwrap().encoded().to_string(), "auth0%7C1");
        for bad in
            ["", " ann", "a\nb", "a\u{0}b", "a\u{202E}b", "1:2", "a b:c", &"x".repeat(256), &"ü".repeat(128)]
        {
            assert!(UserId::new(bad).is_err(), "{bad:?}");
        }
        for other in ["auth0|1", "auth0%7c1", "%61nn", "a/b", "%FF", "%00", "%"] {
            assert_eq!(UserId::from_encoded(other), None, "{other}");
        }
    }

    #[test]
    fn a_pin_does_not_reach_a_log() {
        let pin = Pin::new("abc123").unwrap();
        assert!(!format!("{pin:?}").contains("abc123"));
        assert!(Pin::new("12345").is_err() && Pin::new("12345!").is_err());
    }
}

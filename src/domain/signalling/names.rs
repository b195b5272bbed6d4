//! Who takes part: names that come from a token or a client.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::ids::InvalidName;

/// Who speaks in a room: `^[A-Za-z0-9_.@-]{1,64}$`, the token's `sub`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(Arc<str>);

/// One page or program of a user, which keeps it over its reconnects: `^[A-Za-z0-9_-]{1,64}$`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(Arc<str>);

/// What the others in the room see: 1 to 64 characters that can be shown.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DisplayName(Arc<str>);

const MAX: usize = 64;

impl UserId {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let ok = (1..=MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.@-".contains(&b));
        let rule = "must be 1 to 64 characters of A-Z a-z 0-9 _ . @ -";
        if ok { Ok(Self(text.into())) } else { Err(InvalidName { what: "userId", rule }) }
    }
}

impl ClientId {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let ok = (1..=MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        let rule = "must be 1 to 64 characters of A-Z a-z 0-9 _ -";
        if ok { Ok(Self(text.into())) } else { Err(InvalidName { what: "clientId", rule }) }
    }
}

impl DisplayName {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let text = text.trim();
        let ok = (1..=MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        let rule = "must be 1 to 64 characters, none of them a control character";
        if ok { Ok(Self(text.into())) } else { Err(InvalidName { what: "displayName", rule }) }
    }
}

macro_rules! name {
    ($($name:ident),*) => {$(
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(&text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.to_string()
            }
        }
    )*};
}
name!(UserId, ClientId, DisplayName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_harmless() {
        assert!(UserId::new("ann@example.org").is_ok() && ClientId::new("tab-1_x").is_ok());
        for bad in ["", "a b", "a/b", "a\n", "ü", &"x".repeat(65)] {
            assert!(UserId::new(bad).is_err() && ClientId::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(DisplayName::new(" Änne 🎙 ").unwrap().as_str(), "Änne 🎙");
        for bad in ["", "   ", "a\u{7}b", "a\nb", &"ü".repeat(65)] {
            assert!(DisplayName::new(bad).is_err(), "{bad:?}");
        }
    }
}

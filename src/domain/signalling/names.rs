//! What a person is called.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::ids::InvalidName;

/// What the others in the room see: 1 to 64 characters that can be shown.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DisplayName(Arc<str>);

const MAX: usize = 64;

impl DisplayName {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let text = text.trim();
        let ok = (1..=MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        let rule = "must be 1 to 64 characters, none of them a control character";
        if ok { Ok(Self(text.into())) } else { Err(InvalidName { what: "displayName", rule }) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<String> for DisplayName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl From<DisplayName> for String {
    fn from(name: DisplayName) -> String {
        name.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_name_is_short_and_can_be_shown() {
        assert_eq!(DisplayName::new(" Änne 🎙 ").unwrap().as_str(), "Änne 🎙");
        for bad in ["", "   ", "a\u{7}b", "a\nb", &"ü".repeat(65)] {
            assert!(DisplayName::new(bad).is_err(), "{bad:?}");
        }
    }
}

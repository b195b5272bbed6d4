//! Display names.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::ids::InvalidName;
use crate::domain::text;

/// Name shown to others in the room: 1 to 64 characters, in the normal form of [`text::nickname`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DisplayName(Arc<str>);

const MAX: usize = 64;
/// Longest input that is normalised, in bytes; longer input is refused.
const MAX_INPUT: usize = 1024;

impl DisplayName {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let rule =
            "must be 1 to 64 characters that can be seen: no control, invisible or direction-changing ones";
        let name = Some(text.trim()).filter(|text| text.len() <= MAX_INPUT).and_then(text::nickname);
        let name = name.filter(|name| name.chars().count() <= MAX);
        name.map(|name| Self(name.into())).ok_or(InvalidName { what: "displayName", rule })
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
    fn display_names_are_short_and_visible() {
        assert_eq!(DisplayName::new(" Änne 🎙 ").unwrap().as_str(), "Änne 🎙");
        assert_eq!(DisplayName::new("A\u{308}nne").unwrap(), DisplayName::new("Änne").unwrap());
        for bad in
            ["", "   ", "a\u{7}b", "a\nb", "\u{200B}", "a\u{202E}b", &"ü".repeat(65), &"\u{FDFA}".repeat(64)]
        {
            assert!(DisplayName::new(bad).is_err(), "{bad:?}");
        }
    }
}

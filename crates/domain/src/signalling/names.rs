//! Display names.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::InvalidName;
use crate::text::{self, bounded, text_values};

/// Name shown to others in the room: 1 to 64 characters, in the normal form of [`text::nickname`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DisplayName(Arc<str>);

impl DisplayName {
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        Self::of_field("displayName", text)
    }

    /// Reads a name from a field with another name than `displayName`. Errors name that field.
    pub fn of_field(what: &'static str, text: &str) -> Result<Self, InvalidName> {
        let rule = "must be 1 to 64 visible characters, without control or direction-changing characters";
        let name = bounded(text.trim(), 64, text::nickname);
        name.map(Self).ok_or(InvalidName { what, rule })
    }
}
text_values!(DisplayName);

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

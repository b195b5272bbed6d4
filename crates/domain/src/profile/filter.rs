//! Filter for lists of rooms.

use super::{Owner, RoomProfile, Tag};
use crate::ids::RoomId;
use crate::room::RoomStatus;

/// Conditions that a room must meet to be listed; every room meets an absent condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomFilter {
    pub status: Option<RoomStatus>,
    pub tag: Option<Tag>,
    pub owner: Option<Owner>,
    /// Text that occurs in the id, title, description or a tag; in lower case.
    pub text: Option<String>,
}

impl RoomFilter {
    /// Returns true if the room meets all conditions except `status`, which depends on the modules.
    pub fn fits(&self, id: &RoomId, profile: &RoomProfile) -> bool {
        let tags = || profile.tags.iter().flat_map(|tags| tags.as_slice());
        let has_tag = |tag: &Tag| tags().any(|known| known == tag);
        self.tag.as_ref().is_none_or(has_tag)
            && self.owner.as_ref().is_none_or(|owner| profile.owner.as_ref() == Some(owner))
            && self.text.as_ref().is_none_or(|text| {
                let title = profile.title.as_ref().map(|title| title.as_str());
                let description = profile.description.as_ref().map(|description| description.as_str());
                let texts = [Some(id.as_str()), title, description].into_iter().flatten();
                texts.chain(tags().map(Tag::as_str)).any(|known| known.to_lowercase().contains(text))
            })
    }
}

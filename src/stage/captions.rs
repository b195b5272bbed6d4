//! Recent final captions of rooms on this node, for the subtitle rendition of HLS.
//!
//! The captions come with the messages of the listener channel, so every listener node has them. A node that
//! has just started lacks the captions from before its start.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::captions::Caption;
use crate::domain::ids::RoomId;
use crate::domain::profile::Language;

/// Time, in milliseconds, for which captions are kept. A live window of more than two minutes lacks the
/// captions of its oldest segments.
const KEPT_MS: u64 = 120_000;
/// Maximum number of captions that are kept per room.
const MOST: usize = 500;

#[derive(Default)]
pub struct LiveCaptions(Mutex<HashMap<RoomId, VecDeque<Caption>>>);

impl LiveCaptions {
    /// Keeps a caption if it is final, in place of an earlier one with the same start and language.
    pub fn heard(&self, room: &RoomId, caption: &Caption) {
        if !caption.is_final {
            return;
        }
        let mut rooms = self.rooms();
        let is_recent = |known: &Caption| known.to.0 + KEPT_MS > caption.to.0;
        rooms.retain(|_, captions| captions.back().is_some_and(is_recent));
        let captions = rooms.entry(room.clone()).or_default();
        captions.retain(|known| {
            is_recent(known) && (known.from != caption.from || known.language != caption.language)
        });
        captions.push_back(caption.clone());
        if captions.len() > MOST {
            captions.pop_front();
        }
    }

    /// Returns the languages of a room's kept captions.
    pub fn languages(&self, room: &RoomId) -> Vec<Language> {
        let mut languages: Vec<Language> = Vec::new();
        for caption in self.rooms().get(room).into_iter().flatten() {
            if !languages.contains(&caption.language) {
                languages.push(caption.language.clone());
            }
        }
        languages.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        languages
    }

    /// Returns the kept captions of a room in one language, in the order of their starts.
    pub fn of(&self, room: &RoomId, language: &Language) -> Vec<Caption> {
        let rooms = self.rooms();
        let captions = rooms.get(room).into_iter().flatten();
        let mut captions: Vec<_> =
            captions.filter(|caption| caption.language == *language).cloned().collect();
        captions.sort_by_key(|caption| caption.from);
        captions
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, VecDeque<Caption>>> {
        // A poisoned lock is usable: at worst a caption is missing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::captions::CaptionText;
    use crate::domain::ids::UnixMs;

    #[test]
    fn recent_final_captions_are_kept() {
        let (captions, room) = (LiveCaptions::default(), RoomId::new("demo").unwrap());
        let hear = |from: u64, text: &str, language: &str, is_final| {
            let (text, language) = (CaptionText::new(text).unwrap(), Language::new(language).unwrap());
            let caption = Caption { from: UnixMs(from), to: UnixMs(from + 1000), text, is_final, language };
            captions.heard(&room, &caption);
        };
        let of = |language: &str| -> Vec<String> {
            let found = captions.of(&room, &Language::new(language).unwrap());
            found.iter().map(|caption| caption.text.as_str().to_owned()).collect()
        };
        hear(1_000, "one", "en", true);
        hear(3_000, "three", "en", true);
        hear(2_000, "two", "en", true);
        hear(3_000, "Three.", "en", true);
        hear(4_000, "preliminary", "en", false);
        hear(3_000, "drei", "de", true);
        assert_eq!(
            (of("en"), of("de")),
            (vec!["one".into(), "two".into(), "Three.".into()], vec!["drei".into()])
        );
        assert_eq!(captions.languages(&room).len(), 2);
        hear(122_000, "later", "en", true);
        assert_eq!(of("en"), ["Three.", "later"]);
        assert!(captions.of(&RoomId::new("other").unwrap(), &Language::new("en").unwrap()).is_empty());
    }
}

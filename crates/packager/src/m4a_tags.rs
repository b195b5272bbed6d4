//! Description inside an M4A file: the title and date in the list that iTunes defined, and the chapters in
//! the `chpl` box that Nero defined. FFmpeg, VLC and mpv read both.
//!
//! Owns: the box `udta`. Does not choose titles.

use std::time::Duration;

use stentor_domain::civil_time::Rfc3339;
use stentor_domain::ids::UnixMs;

/// Longest title of a chapter, in bytes: its length is stored in one byte.
const LONGEST_TITLE: usize = 255;
/// Largest number of chapters: their number is stored in one byte.
const MOST_CHAPTERS: usize = 255;

/// Description of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct M4aTags {
    pub title: Option<String>,
    /// Chapters in order: the position in the file, and the title.
    pub chapters: Vec<(Duration, String)>,
}

impl M4aTags {
    /// Returns the box with this description. `started`: time at which the first frame was recorded.
    pub(super) fn udta(&self, started: UnixMs) -> Vec<u8> {
        let mut items = Vec::new();
        if let Some(title) = &self.title {
            items.extend(item(b"\xa9nam", title));
        }
        items.extend(item(b"\xa9day", &Rfc3339(started).to_string()));
        // A handler of type `mdir` marks the list as one of iTunes.
        let handler = [&[0; 8][..], b"mdirappl", &[0; 9]].concat();
        let meta = [&[0; 4][..], &atom(b"hdlr", &handler), &atom(b"ilst", &items)].concat();
        let mut content = atom(b"meta", &meta);
        if !self.chapters.is_empty() {
            content.extend(atom(b"chpl", &self.chapter_list()));
        }
        atom(b"udta", &content)
    }

    fn chapter_list(&self) -> Vec<u8> {
        let chapters = &self.chapters[..self.chapters.len().min(MOST_CHAPTERS)];
        // Version 1, flags, four reserved bytes, and the number of chapters.
        let mut list = vec![1, 0, 0, 0, 0, 0, 0, 0, chapters.len() as u8];
        for (at, title) in chapters {
            let mut ends = (0..=LONGEST_TITLE.min(title.len())).rev();
            let title = &title[..ends.find(|end| title.is_char_boundary(*end)).unwrap_or(0)];
            // The unit is 100 ns.
            list.extend(((at.as_nanos() / 100) as u64).to_be_bytes());
            list.push(title.len() as u8);
            list.extend(title.as_bytes());
        }
        list
    }
}

/// Returns an entry of the list of iTunes with a text in UTF-8.
fn item(kind: &[u8; 4], text: &str) -> Vec<u8> {
    // Type 1 is UTF-8; the four bytes after it are the locale.
    let data = [&[0, 0, 0, 1, 0, 0, 0, 0], text.as_bytes()].concat();
    atom(kind, &atom(b"data", &data))
}

fn atom(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let size = (content.len() + 8) as u32;
    [&size.to_be_bytes()[..], kind, content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_titles_end_at_characters() {
        let chapters = vec![(Duration::from_millis(1_500), "ü".repeat(200))];
        let list = M4aTags { title: None, chapters }.chapter_list();
        assert_eq!(list[..9], [1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(list[9..17], 15_000_000u64.to_be_bytes());
        assert_eq!((list[17], list.len()), (254, 18 + 254));
    }

    #[test]
    fn chapters_are_bounded() {
        let chapters = vec![(Duration::ZERO, "a".to_owned()); 300];
        let list = M4aTags { title: None, chapters }.chapter_list();
        assert_eq!((list[8], list.len()), (255, 9 + 255 * 10));
    }
}

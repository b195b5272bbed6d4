//! Rewind of a broadcast for its listeners: the window of recorded segments, and its playlist.
//!
//! The playlist is a plain live playlist with delta updates (RFC 8216bis section 6.2.5.1), without parts. Its
//! segments have the names, numbers and keys of the live playlist, so the IV of a segment is its number.
//!
//! Owns: the text, rendered on request, once per change. Does not touch a disk, or fetch.

use std::fmt::{self, Write};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use bytes::Bytes;

use super::names::{MediaFile, NonceHint};
use super::playlist::{KEY_TAG, seconds};
use super::playlist_text::PlaylistText;
use stentor_domain::civil_time::Rfc3339;
use stentor_domain::key_window::KeyWindow;
use stentor_domain::recording_journal::JournalEntry;
use stentor_domain::rewind::{BrokenUpdate, RewindUpdate, RewindWindow};

/// Skip boundary in target durations, the least that RFC 8216bis section 4.4.3.8 allows.
const SKIP_BOUNDARY: u32 = 6;

/// Rewind window of one broadcast, shared by its writer and all readers.
#[derive(Debug)]
pub struct Rewind {
    hint: NonceHint,
    shown: RwLock<PublishedWindow>,
}

#[derive(Debug, Default)]
struct PublishedWindow {
    window: RewindWindow,
    /// EXT-X-TARGETDURATION.
    target: Duration,
    ended: bool,
    full: OnceLock<PlaylistText>,
    delta: OnceLock<PlaylistText>,
}

impl Rewind {
    pub fn new(hint: NonceHint, target: Duration) -> Self {
        Self { hint, shown: RwLock::new(PublishedWindow { target, ..PublishedWindow::default() }) }
    }

    pub fn hint(&self) -> NonceHint {
        self.hint
    }

    /// Changes the window. The next request renders a new playlist.
    pub fn change<T>(&self, change: impl FnOnce(&mut RewindWindow) -> T) -> T {
        self.replace(|shown| change(&mut shown.window))
    }

    /// Ends the playlist: the broadcast is over.
    pub fn end(&self) {
        self.replace(|shown| shown.ended = true);
    }

    /// Returns the changes for a node whose newest segment is `last`.
    pub fn update(&self, last: Option<u64>) -> RewindUpdate {
        let shown = self.shown();
        shown.window.update(last, shown.target.as_secs(), shown.ended)
    }

    /// Applies the changes that a mixer reported.
    ///
    /// # Errors
    /// The changes do not describe a window.
    pub fn apply(&self, update: RewindUpdate) -> Result<(), BrokenUpdate> {
        self.replace(|shown| {
            let (target, ended) = (Duration::from_secs(update.target), update.ended);
            shown.window.apply(update)?;
            (shown.target, shown.ended) = (target, ended);
            Ok(())
        })
    }

    /// Returns the playlist, or its delta update. `None`: there is no segment yet.
    pub fn playlist(&self, delta: bool) -> Option<PlaylistText> {
        let shown = self.shown();
        let text = if delta { &shown.delta } else { &shown.full };
        let is_empty = shown.window.last().is_none();
        (!is_empty).then(|| text.get_or_init(|| shown.render(self.hint, delta).into()).clone())
    }

    /// Returns the range of the keys of the available segments; `None` if there are none.
    pub fn keys(&self) -> Option<KeyWindow> {
        self.shown().window.keys()
    }

    /// Returns the number of the newest segment; `None` if there is none.
    pub fn last(&self) -> Option<u64> {
        self.shown().window.last()
    }

    /// Returns the number of the oldest media file of the window; 0 if there is none.
    pub fn oldest_file(&self) -> u32 {
        self.shown().window.oldest_file().unwrap_or(0)
    }

    /// Returns the number of the newest media file of the window; 0 if there is none.
    pub fn newest_file(&self) -> u32 {
        self.shown().window.newest_file().unwrap_or(0)
    }

    /// Returns the newest media file before number `below`, and its size.
    pub fn file_before(&self, below: u32) -> Option<(u32, u64)> {
        self.shown().window.file_before(below)
    }

    /// Returns the duration of the playlist.
    pub fn span(&self) -> Duration {
        self.shown().window.span()
    }

    /// Returns the entry of a segment that the window has.
    pub fn entry(&self, file: &MediaFile) -> Option<JournalEntry> {
        match *file {
            MediaFile::Segment { hint, msn } if hint == self.hint => self.shown().window.get(msn).cloned(),
            _ => None,
        }
    }

    fn replace<T>(&self, change: impl FnOnce(&mut PublishedWindow) -> T) -> T {
        // After a panic inside a change, the window is at worst too short.
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        (shown.full, shown.delta) = Default::default();
        change(&mut shown)
    }

    fn shown(&self) -> RwLockReadGuard<'_, PublishedWindow> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PublishedWindow {
    fn render(&self, hint: NonceHint, delta: bool) -> Bytes {
        let skipped = if delta { self.skippable() } else { 0 };
        let mut out = String::with_capacity(64 * (self.window.listed().len() - skipped) + 512);
        match self.write(&mut out, hint, skipped) {
            Ok(()) => out.into(),
            Err(fmt::Error) => unreachable!("writing to a String does not fail"),
        }
    }

    /// Returns the number of listed segments before the skip boundary.
    fn skippable(&self) -> usize {
        let mut recent = Duration::ZERO;
        let boundary = SKIP_BOUNDARY * self.target;
        let kept = self.window.listed().rev().take_while(|entry| {
            let is_kept = recent < boundary;
            recent += entry.duration();
            is_kept
        });
        self.window.listed().len() - kept.count()
    }

    fn write(&self, out: &mut String, hint: NonceHint, skipped: usize) -> fmt::Result {
        let first = self.window.listed().next().map_or(0, |entry| entry.sequence);
        let boundary = seconds(SKIP_BOUNDARY * self.target);
        writeln!(out, "#EXTM3U")?;
        writeln!(out, "#EXT-X-VERSION:9")?;
        writeln!(out, "#EXT-X-INDEPENDENT-SEGMENTS")?;
        writeln!(out, "#EXT-X-TARGETDURATION:{}", self.target.as_secs())?;
        writeln!(out, "#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL={boundary}")?;
        writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{first}")?;
        writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.window.discontinuity_sequence())?;
        if skipped > 0 {
            writeln!(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")?;
        }
        // A delta update states the key and the time of its first segment again, so a player needs none of
        // the skipped tags.
        let mut key = None;
        for entry in self.window.listed().skip(skipped) {
            if entry.discontinuity {
                writeln!(out, "#EXT-X-DISCONTINUITY")?;
            }
            let new_key = key.replace(entry.key_index) != Some(entry.key_index);
            if new_key {
                writeln!(out, "{KEY_TAG}enc.key?n={hint}&k={}\"", entry.key_index)?;
            }
            if new_key || entry.discontinuity {
                writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", Rfc3339(entry.started_at))?;
            }
            writeln!(out, "#EXTINF:{},", seconds(entry.duration()))?;
            writeln!(out, "{}", MediaFile::Segment { hint, msn: entry.sequence })?;
        }
        if self.ended { writeln!(out, "#EXT-X-ENDLIST") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use stentor_domain::ids::UnixMs;

    const TARGET: Duration = Duration::from_secs(2);

    fn hint() -> NonceHint {
        NonceHint([0, 0x11, 0xaa, 0xbb, 0xcc, 0xdd])
    }

    fn entry(sequence: u64, discontinuity: bool) -> JournalEntry {
        JournalEntry {
            sequence,
            duration_us: 1_920_000,
            started_at: UnixMs(1_700_000_000_000 + 1920 * sequence),
            discontinuity,
            key_index: sequence / 3,
            bytes: 9,
            file: 1,
            offset: 0,
            lag_us: None,
            tick_us: None,
        }
    }

    fn rewind(entries: impl IntoIterator<Item = JournalEntry>) -> Rewind {
        let rewind = Rewind::new(hint(), TARGET);
        rewind.change(|window| entries.into_iter().for_each(|entry| window.push(entry, 4)));
        rewind
    }

    fn text(rewind: &Rewind, delta: bool) -> String {
        String::from_utf8(rewind.playlist(delta).unwrap().plain().to_vec()).unwrap()
    }

    #[test]
    fn rewind_playlist_lists_whole_segments() {
        let rewind = rewind([entry(5, false), entry(6, false), entry(7, true)]);
        let expected = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-TARGETDURATION:2\n#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=12.00000\n\
            #EXT-X-MEDIA-SEQUENCE:5\n#EXT-X-DISCONTINUITY-SEQUENCE:4\n\
            #EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=0011aabbccdd&k=1\"\n\
            #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:29.600Z\n#EXTINF:1.92000,\n0011aabbccdd-5.ts\n\
            #EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=0011aabbccdd&k=2\"\n\
            #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:31.520Z\n#EXTINF:1.92000,\n0011aabbccdd-6.ts\n\
            #EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:33.440Z\n\
            #EXTINF:1.92000,\n0011aabbccdd-7.ts\n";
        assert_eq!(text(&rewind, false), expected);
        assert_eq!(text(&rewind, true), expected, "nothing is before the skip boundary");
        rewind.end();
        assert_eq!(text(&rewind, false), format!("{expected}#EXT-X-ENDLIST\n"));
    }

    #[test]
    fn empty_rewind_has_no_playlist() {
        assert!(rewind([]).playlist(false).is_none() && rewind([]).playlist(true).is_none());
    }

    #[test]
    fn only_own_segments_are_found() {
        let rewind = rewind((5..9).map(|n| entry(n, false)));
        let other = NonceHint([0; 6]);
        assert_eq!(rewind.entry(&MediaFile::Segment { hint: hint(), msn: 6 }), Some(entry(6, false)));
        for file in [
            MediaFile::Segment { hint: hint(), msn: 9 },
            MediaFile::Segment { hint: other, msn: 6 },
            MediaFile::Part { hint: hint(), msn: 6, index: 0 },
        ] {
            assert_eq!(rewind.entry(&file), None, "{file}");
        }
    }

    /// Returns the segments of a playlist: URI, `EXT-X-KEY` tag that applies, and true if a discontinuity
    /// precedes.
    fn segments(text: &str, mut key: String) -> Vec<(String, String, bool)> {
        let (mut list, mut broken) = (Vec::new(), false);
        for line in text.lines() {
            match line.strip_prefix("#") {
                None => list.push((line.to_owned(), key.clone(), std::mem::take(&mut broken))),
                Some(tag) if tag.starts_with("EXT-X-KEY") => key = tag.to_owned(),
                Some(tag) => broken |= tag == "EXT-X-DISCONTINUITY",
            }
        }
        list
    }

    fn number(text: &str, tag: &str) -> Option<usize> {
        text.lines().find_map(|line| line.strip_prefix(tag)?.strip_prefix(':')?.parse().ok())
    }

    proptest! {
        /// RFC 8216bis section 6.2.5.1: the skipped segments, taken from the earlier playlist, and the delta
        /// update together give the current playlist.
        #[test]
        fn delta_update_completes_earlier_playlist(
            before in 1u64..40,
            more in 0u64..6,
            breaks in proptest::collection::vec(any::<bool>(), 46),
        ) {
            let made = |count: u64| (5..5 + count).map(|n| entry(n, breaks[(n - 5) as usize]));
            let span = Duration::from_secs(60);
            let rewind = rewind(made(before));
            rewind.change(|window| window.trim(span));
            let old = text(&rewind, false);
            rewind.change(|window| {
                made(before + more).skip(before as usize).for_each(|entry| window.push(entry, 0));
                window.trim(span);
            });
            let (full, delta) = (text(&rewind, false), text(&rewind, true));
            let skipped = delta.lines().find_map(|line| line.strip_prefix("#EXT-X-SKIP:SKIPPED-SEGMENTS="));
            let skipped: usize = skipped.map_or(0, |count| count.parse().unwrap());
            let first = |text: &str| number(text, "#EXT-X-MEDIA-SEQUENCE").unwrap();
            let known = segments(&old, String::new());
            let kept = known.iter().skip(first(&full) - first(&old)).take(skipped).cloned();
            let merged: Vec<_> = kept.chain(segments(&delta, String::new())).collect();
            prop_assert_eq!(merged, segments(&full, String::new()));
            prop_assert_eq!(first(&full), first(&delta));
            let rest = segments(&full, String::new()).len() - skipped;
            // Seven segments of 1.92 s are the fewest that cover six target durations (12 s).
            prop_assert!(skipped == 0 || rest == 7, "{rest}");
        }
    }
}

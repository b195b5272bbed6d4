//! All segments of a recording as one object: the encrypted segments in order, then their journal.
//!
//! The journal contains the position of each segment in the object, so the recording can be played from the
//! object alone.
//!
//! Owns: the layout. Does not read segments.

use std::ops::Range;

use bytes::Bytes;

use crate::domain::ids::RoomId;
use crate::domain::recording_journal::JournalEntry;
use crate::domain::upload::StoredSegments;
use crate::packager::{Piece, Source};

/// Layout of the object.
#[derive(Debug)]
pub struct SegmentArchive {
    pub room: RoomId,
    /// False if a mixer with a part of the recording did not answer.
    pub complete: bool,
    /// Journal entries with the positions of the segments in the object.
    entries: Vec<JournalEntry>,
    journal: Bytes,
    media: u64,
}

impl SegmentArchive {
    /// Lays out these segments, in order.
    pub fn new<'a>(
        room: RoomId,
        complete: bool,
        segments: impl IntoIterator<Item = &'a JournalEntry>,
    ) -> Self {
        let mut media = 0;
        let mut at = |entry: &JournalEntry| {
            let placed = JournalEntry { file: 1, offset: media, ..entry.clone() };
            media += entry.bytes;
            placed
        };
        let entries: Vec<_> = segments.into_iter().map(&mut at).collect();
        let journal: String = entries.iter().map(JournalEntry::line).collect();
        Self { room, complete, entries, journal: journal.into(), media }
    }

    /// Returns the size of the object in bytes.
    pub fn length(&self) -> u64 {
        self.media + self.journal.len() as u64
    }

    /// Returns the sizes of the two parts of the object: the segments and the journal.
    pub fn parts(&self) -> (u64, u64) {
        (self.media, self.journal.len() as u64)
    }

    /// Returns the pieces of a range of bytes, in order. Segments are encrypted, as they are on the disk.
    pub fn pieces(&self, range: Range<u64>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut push = |source: Source, at: u64, bytes: u64| {
            let (from, to) = (range.start.max(at), range.end.min(at + bytes));
            if from < to {
                pieces.push(Piece { source, range: (from - at) as usize..(to - at) as usize });
            }
        };
        let first = self.entries.partition_point(|entry| entry.offset + entry.bytes <= range.start);
        for entry in self.entries[first..].iter().take_while(|entry| entry.offset < range.end) {
            push(Source::Segment(entry.sequence), entry.offset, entry.bytes);
        }
        push(Source::Known(self.journal.clone()), self.media, self.journal.len() as u64);
        pieces
    }
}

/// Returns the bytes of the journal in the object.
pub fn journal_of(stored: StoredSegments) -> Range<u64> {
    stored.media..stored.media + stored.journal
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::UnixMs;
    use crate::domain::recording_journal::parse;

    fn entry(sequence: u64) -> JournalEntry {
        JournalEntry {
            sequence,
            duration_us: 1_920_000,
            started_at: UnixMs(1_920 * sequence),
            discontinuity: false,
            key_index: sequence / 2,
            bytes: 10 + sequence,
            file: 7,
            offset: 99,
            lag_us: None,
            tick_us: None,
        }
    }

    fn read(archive: &SegmentArchive, range: Range<u64>) -> Vec<u8> {
        let of = |Piece { source, range }: Piece| match source {
            Source::Known(bytes) => bytes[range].to_vec(),
            Source::Segment(sequence) => vec![sequence as u8; 10 + sequence as usize][range].to_vec(),
        };
        archive.pieces(range).into_iter().flat_map(of).collect()
    }

    proptest! {
        #[test]
        fn archive_contains_its_own_journal(count in 1u64..30, from in 0u64..6_000, length in 0u64..6_000) {
            let room = RoomId::new("demo").unwrap();
            let entries: Vec<_> = (0..count).map(|n| entry(3 * n)).collect();
            let archive = SegmentArchive::new(room, true, &entries);
            let whole = read(&archive, 0..archive.length());
            prop_assert_eq!(whole.len() as u64, archive.length());
            let (media, journal) = archive.parts();
            let stored = StoredSegments { at: UnixMs(1), media, journal };
            let at = journal_of(stored);
            let listed = parse(&whole[at.start as usize..at.end as usize]);
            prop_assert_eq!(listed.len(), entries.len());
            for (listed, entry) in listed.iter().zip(&entries) {
                let bytes = &whole[listed.offset as usize..(listed.offset + listed.bytes) as usize];
                prop_assert!(bytes.iter().all(|byte| *byte == entry.sequence as u8));
                prop_assert_eq!(listed.started_at, entry.started_at);
            }
            let (from, to) = (from.min(archive.length()), (from + length).min(archive.length()));
            prop_assert_eq!(&read(&archive, from..to)[..], &whole[from as usize..to as usize]);
        }
    }
}

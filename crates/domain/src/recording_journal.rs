//! Journal of a recording: one line of JSON per segment, in the order in which they were written. This module
//! is pure.
//!
//! A line is written after its segment. A line that a crash left incomplete or unreadable is skipped, and the
//! lines after it are still read. Unknown fields are ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::UnixMs;

/// One recorded segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalEntry {
    /// Media sequence number.
    pub sequence: u64,
    pub duration_us: u64,
    /// Program date time of the first sample of the segment.
    pub started_at: UnixMs,
    /// True if the timestamps of the segment do not continue those of the previous segment.
    pub discontinuity: bool,
    pub key_index: u64,
    /// Size of the encrypted segment.
    pub bytes: u64,
    /// Number of the media file that holds it.
    pub file: u32,
    /// Position in that file, in bytes.
    pub offset: u64,
    /// Smallest delay of the segment's parts, in microseconds. The delay is the time from the end of a part's
    /// audio, according to `started_at`, to the arrival of the part from FFmpeg. May be negative. `None`: the
    /// segment is silence, or was made elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_us: Option<i64>,
    /// Average phase of the times at which the frames arrived from FFmpeg: the Unix time modulo 20 ms, in
    /// microseconds. `None`: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick_us: Option<u32>,
}

impl JournalEntry {
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.duration_us)
    }

    /// Returns the line, with its line break.
    pub fn line(&self) -> String {
        match serde_json::to_string(self) {
            Ok(json) => json + "\n",
            Err(error) => unreachable!("a journal entry is always valid JSON: {error}"),
        }
    }
}

/// Returns the readable entries of a journal.
pub fn parse(text: &[u8]) -> Vec<JournalEntry> {
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// Joins the named takes of a recording into one list of segments, ordered by sequence number. After a
/// handover, two mixers may have the same segment: the segment of the take that comes first in `takes` is
/// used.
///
/// A mixer that has lost the store continues to record, but only silence. Its successor records the same
/// period with higher sequence numbers. So a segment is left out if the next segment belongs to another take
/// and starts before the middle of this segment.
pub fn join<T: Clone + PartialEq>(
    takes: impl IntoIterator<Item = (T, Vec<JournalEntry>)>,
) -> Vec<(T, JournalEntry)> {
    let mut numbered: BTreeMap<u64, (T, JournalEntry)> = BTreeMap::new();
    for (name, entries) in takes {
        for entry in entries {
            numbered.entry(entry.sequence).or_insert_with(|| (name.clone(), entry));
        }
    }
    let mut joined: Vec<(T, JournalEntry)> = Vec::with_capacity(numbered.len());
    for (name, entry) in numbered.into_values().rev() {
        let middle = Duration::from_millis(entry.started_at.0) + entry.duration() / 2;
        let starts = |later: &JournalEntry| Duration::from_millis(later.started_at.0);
        // The last of `joined` has the next higher number.
        let is_repeated = joined.last().is_some_and(|(next, later)| *next != name && starts(later) <= middle);
        if !is_repeated {
            joined.push((name, entry));
        }
    }
    joined.reverse();
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(sequence: u64) -> JournalEntry {
        JournalEntry {
            sequence,
            duration_us: 1_920_000,
            started_at: UnixMs(1_700_000_000_000 + sequence * 1_920),
            discontinuity: sequence == 7,
            key_index: sequence / 30,
            bytes: 17_008,
            file: 1,
            offset: sequence * 17_008,
            lag_us: None,
            tick_us: None,
        }
    }

    proptest! {
        #[test]
        fn torn_journals_keep_whole_lines(count in 0u64..6, cut in 0usize..200) {
            let text: String = (0..count).map(|n| entry(n).line()).collect();
            let cut = cut.min(text.len());
            let torn = &text.as_bytes()[..text.len() - cut];
            let whole = torn.iter().filter(|byte| **byte == b'\n').count() as u64;
            let read = parse(torn);
            // A last line that lacks only its line break is complete.
            prop_assert!(read.len() as u64 == whole || read.len() as u64 == whole + 1);
            prop_assert!(read.iter().enumerate().all(|(n, got)| *got == entry(n as u64)));
        }
    }

    #[test]
    fn lines_after_torn_one_count() {
        let text = format!("{}{{\"sequence\":1,\"dur\n{}\0\0\n", entry(0).line(), entry(2).line());
        assert_eq!(parse(text.as_bytes()), [entry(0), entry(2)]);
    }

    #[test]
    fn takes_join_by_sequence() {
        let (old, new) = ((0..5).map(entry).collect(), (3..8).map(entry).collect());
        let joined = join([("old", old), ("new", new)]);
        let names: Vec<_> = joined.iter().map(|(name, entry)| (*name, entry.sequence)).collect();
        assert_eq!(names.len(), 8);
        assert_eq!((names[4], names[5]), (("old", 4), ("new", 5)));
    }

    #[test]
    fn time_recorded_twice_is_taken_once() {
        // The successor starts at segment 5. Three segments later, the old mixer notices that it has lost the
        // store.
        let successor = |n| JournalEntry { sequence: n + 1_000, discontinuity: n == 5, ..entry(n) };
        let (cut_off, new): (Vec<_>, Vec<_>) = ((0..8).map(entry).collect(), (5..9).map(successor).collect());
        let numbers = |takes: [(&str, Vec<JournalEntry>); 2]| -> Vec<_> {
            join(takes).iter().map(|(_, entry)| entry.sequence).collect()
        };
        let wanted = [0, 1, 2, 3, 4, 1_005, 1_006, 1_007, 1_008];
        assert_eq!(numbers([("old", cut_off.clone()), ("new", new.clone())]), wanted);
        assert_eq!(numbers([("new", new), ("old", cut_off.clone())]), wanted);
        // The clock of one mixer may step back: none of its own segments is left out.
        let mut stepped = cut_off;
        stepped[7].started_at = stepped[2].started_at;
        assert_eq!(join([("old", stepped)]).len(), 8);
    }
}

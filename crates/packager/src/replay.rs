//! Playlist of a recording (RFC 8216): all segments and `EXT-X-ENDLIST`.
//!
//! Owns: the text. Does not read a journal, or decide whether a recording may be played.

use std::fmt::{self, Write};

use bytes::Bytes;

use super::names::{MediaFile, NonceHint};
use super::playlist::{KEY_TAG, seconds};
use stentor_domain::civil_time::Rfc3339;
use stentor_domain::recording_journal::JournalEntry;

/// Renders the playlist of these segments, which must be ordered by number.
pub fn recorded_playlist(hint: NonceHint, segments: &[&JournalEntry]) -> Bytes {
    let mut out = String::with_capacity(160 * segments.len() + 256);
    match write(&mut out, hint, segments) {
        Ok(()) => out.into(),
        Err(fmt::Error) => unreachable!("writing to a String does not fail"),
    }
}

fn write(out: &mut String, hint: NonceHint, segments: &[&JournalEntry]) -> fmt::Result {
    let longest = segments.iter().map(|entry| entry.duration()).max().unwrap_or_default();
    let first = segments.first().map_or(0, |entry| entry.sequence);
    writeln!(out, "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS")?;
    // EXT-X-TARGETDURATION is an upper bound of the durations rounded to the nearest second.
    writeln!(out, "#EXT-X-TARGETDURATION:{}", longest.as_millis().div_ceil(1000).max(1))?;
    writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{first}")?;
    let mut before: Option<&JournalEntry> = None;
    for (number, entry) in (first..).zip(segments.iter().copied()) {
        let gap = before.is_some_and(|before| before.sequence + 1 != entry.sequence);
        if gap || entry.discontinuity && before.is_some() {
            writeln!(out, "#EXT-X-DISCONTINUITY")?;
        }
        // The IV of a segment is its number in the live playlist. As long as this playlist gives it the same
        // number, a player derives the IV. After a gap, each segment states its IV.
        let shifted = number != entry.sequence;
        if shifted || before.is_none_or(|before| before.key_index != entry.key_index) {
            write!(out, "{KEY_TAG}enc.key?n={hint}&k={}\"", entry.key_index)?;
            match shifted {
                true => writeln!(out, ",IV=0x{:032x}", entry.sequence)?,
                false => out.write_char('\n')?,
            }
        }
        if gap || before.is_none() || entry.discontinuity {
            write!(out, "#EXT-X-PROGRAM-DATE-TIME:")?;
            write!(out, "{}", Rfc3339(entry.started_at))?;
            out.write_char('\n')?;
        }
        writeln!(out, "#EXTINF:{},", seconds(entry.duration()))?;
        writeln!(out, "{}", MediaFile::Segment { hint, msn: entry.sequence })?;
        before = Some(entry);
    }
    writeln!(out, "#EXT-X-ENDLIST")
}

#[cfg(test)]
mod tests {
    use super::*;
    use stentor_domain::ids::UnixMs;

    fn entry(sequence: u64, discontinuity: bool) -> JournalEntry {
        let started_at = UnixMs(1_700_000_000_000 + 2000 * sequence);
        let (file, offset) = (1, 0);
        let key_index = sequence / 3;
        JournalEntry {
            sequence,
            duration_us: 1_920_000,
            started_at,
            discontinuity,
            key_index,
            bytes: 9,
            file,
            offset,
            lag_us: None,
            tick_us: None,
        }
    }

    fn rendered(entries: &[JournalEntry]) -> String {
        let hint = "0011aabbccdd".parse().unwrap();
        let segments: Vec<_> = entries.iter().collect();
        String::from_utf8(recorded_playlist(hint, &segments).to_vec()).unwrap()
    }

    #[test]
    fn recorded_playlist_lists_everything() {
        let text = rendered(&[entry(5, true), entry(6, false), entry(7, true)]);
        let expected = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:5\n\
            #EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=0011aabbccdd&k=1\"\n\
            #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:30.000Z\n#EXTINF:1.92000,\n0011aabbccdd-5.ts\n\
            #EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=0011aabbccdd&k=2\"\n#EXTINF:1.92000,\n\
            0011aabbccdd-6.ts\n#EXT-X-DISCONTINUITY\n\
            #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:34.000Z\n#EXTINF:1.92000,\n0011aabbccdd-7.ts\n\
            #EXT-X-ENDLIST\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn segments_behind_gap_state_their_iv() {
        let text = rendered(&[entry(5, false), entry(512, false), entry(513, false)]);
        assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1);
        assert!(text.contains("k=170\",IV=0x00000000000000000000000000000200\n"), "{text}");
        assert!(text.contains("k=171\",IV=0x00000000000000000000000000000201\n"), "{text}");
    }

    #[test]
    fn empty_recording_is_a_playlist() {
        assert!(rendered(&[]).ends_with("#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-ENDLIST\n"));
    }
}

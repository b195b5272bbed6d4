//! Selection of the frames that make up a clip of a recording. This module is pure.

use std::ops::Range;
use std::time::Duration;

use stentor_domain::clip::{Clip, positions};
use stentor_domain::recording_journal::JournalEntry;

use super::m4a::{FRAME, RATE};

/// Longest silence that fills a gap; the rest of a longer gap is left out.
const LONGEST_GAP: Duration = Duration::from_secs(3_600);

/// Part of a clip: silence that fills a gap, then frames of one segment. One of the two may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipPart {
    /// Index of the segment in the recording.
    pub segment: usize,
    /// Number of silent frames.
    pub silence: u64,
    /// Frames of the segment, counted from its start. The end is `u64::MAX` if the clip includes the end of
    /// the segment.
    pub frames: Range<u64>,
}

/// Returns the parts of a clip, in order; empty if the clip begins after the end of the recording. Both ends
/// are rounded to whole 21.3 ms frames, and a clip has at least one frame.
pub fn cut(segments: &[&JournalEntry], clip: Clip) -> Vec<ClipPart> {
    let from = frames(clip.from);
    let to = frames(clip.to).max(from + 1);
    let within = |range: Range<u64>| range.start.clamp(from, to)..range.end.clamp(from, to);
    let (starts, _) = positions(segments.iter().copied());
    let mut parts = Vec::new();
    let mut ended = 0;
    for (segment, (entry, start)) in segments.iter().zip(&starts).enumerate() {
        let (start, end) = (frames(*start), frames(*start + entry.duration()));
        let (gap, heard) = (within(ended..start), within(start..end));
        ended = end;
        let silence = (gap.end - gap.start).min(frames(LONGEST_GAP));
        let frames = match heard.is_empty() {
            true => 0..0,
            false => heard.start - start..if to >= end { u64::MAX } else { heard.end - start },
        };
        if silence > 0 || !frames.is_empty() {
            parts.push(ClipPart { segment, silence, frames });
        }
    }
    parts
}

/// Returns the number of frames in this time, rounded to the nearest whole number.
fn frames(time: Duration) -> u64 {
    let samples = time.as_micros() * u128::from(RATE) / 1_000_000;
    let frame = u128::from(FRAME);
    u64::try_from((samples + frame / 2) / frame).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stentor_domain::ids::UnixMs;

    use super::*;

    /// Returns segments of 90 frames, with a gap of 1 s before the last one.
    fn segments() -> Vec<JournalEntry> {
        let entry = |sequence: u64, started: u64| JournalEntry {
            sequence,
            duration_us: 1_920_000,
            started_at: UnixMs(1_000_000 + started),
            discontinuity: false,
            key_index: 0,
            bytes: 9,
            file: 1,
            offset: 0,
            lag_us: None,
            tick_us: None,
        };
        vec![entry(1, 0), entry(2, 1_920), entry(5, 4_840)]
    }

    fn parts(from: f64, to: f64) -> Vec<(usize, u64, Range<u64>)> {
        let all = segments();
        let all: Vec<_> = all.iter().collect();
        let parts = cut(&all, Clip::new(from, to).unwrap());
        parts.into_iter().map(|part| (part.segment, part.silence, part.frames)).collect()
    }

    #[test]
    fn clip_is_exact_to_a_frame() {
        const END: u64 = u64::MAX;
        assert_eq!(parts(0.0, 1.92), [(0, 0, 0..END)]);
        assert_eq!(parts(1.0, 2.0), [(0, 0, 47..END), (1, 0, 0..4)]);
        assert_eq!(parts(1.0, 1.01), [(0, 0, 47..48)], "at least one frame");
        assert_eq!(parts(3.0, 5.0), [(1, 0, 51..END), (2, 47, 0..7)]);
        assert_eq!(parts(4.0, 4.5), [(2, 23, 0..0)], "only silence");
        assert_eq!(parts(6.0, 99.0), [(2, 0, 54..END)]);
        assert_eq!(parts(7.0, 8.0), []);
    }

    #[test]
    fn whole_recording_has_all_frames() {
        let all = segments();
        let all: Vec<_> = all.iter().collect();
        let whole: Vec<_> =
            cut(&all, Clip::WHOLE).into_iter().map(|part| (part.silence, part.frames)).collect();
        assert_eq!(whole, [(0, 0..u64::MAX), (0, 0..u64::MAX), (47, 0..u64::MAX)]);
        assert_eq!(cut(&[], Clip::WHOLE), []);
    }

    #[test]
    fn longest_gaps_are_cut() {
        let mut all = segments();
        all[2].started_at.0 += 100_000_000;
        let all: Vec<_> = all.iter().collect();
        let silence: Vec<_> = cut(&all, Clip::WHOLE).iter().map(|part| part.silence).collect();
        assert_eq!(silence, [0, 0, 168_750]);
    }

    proptest! {
        #[test]
        fn adjacent_clips_have_all_frames(at in 1u64..6_750) {
            let all = segments();
            let all: Vec<_> = all.iter().collect();
            let count = |from: f64, to: f64| -> u64 {
                let of = |part: ClipPart| part.silence + part.frames.end.min(90) - part.frames.start;
                cut(&all, Clip::new(from, to).unwrap()).into_iter().map(of).sum()
            };
            let at = at as f64 / 1000.0;
            // A clip shorter than half a frame is extended to one frame.
            let extended = u64::from(frames(Duration::from_secs_f64(at)) == 0);
            prop_assert_eq!(count(0.0, at) + count(at, 6.76) - extended, count(0.0, 6.76));
        }
    }
}

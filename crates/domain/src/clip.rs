//! Clips: parts of a recording. This module is pure.
//!
//! A position in a recording is the time since the start of the recording, including gaps.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::recording_journal::JournalEntry;

/// Largest position that is accepted, in seconds.
const MOST_SECONDS: f64 = 1e7;

/// Part of a recording, from a position to a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Seconds", into = "Seconds")]
pub struct Clip {
    pub from: Duration,
    pub to: Duration,
}

/// Form of a clip in JSON, in seconds.
#[derive(Serialize, Deserialize)]
struct Seconds {
    from: f64,
    to: f64,
}

/// Error for positions that do not delimit a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("from and to are positions in seconds, such as 90 or 92.5, and from is before to")]
pub struct InvalidClip;

/// Error for a clip outside its recording.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("the recording lasts {0} seconds: from and to must not be later")]
pub struct PastEnd(f64);

impl Clip {
    pub const WHOLE: Self = Self { from: Duration::ZERO, to: Duration::MAX };

    /// Creates a clip from positions in seconds, which are rounded to milliseconds.
    pub fn new(from: f64, to: f64) -> Result<Self, InvalidClip> {
        let position = |seconds: f64| {
            let in_range = (0.0..=MOST_SECONDS).contains(&seconds);
            in_range.then(|| Duration::from_millis((seconds * 1000.0).round() as u64)).ok_or(InvalidClip)
        };
        let (from, to) = (position(from)?, position(to)?);
        if from < to { Ok(Self { from, to }) } else { Err(InvalidClip) }
    }

    /// Parses the parameters of a request. An absent `from` is the start of the recording, an absent `to` its
    /// end. Returns `None` if both are absent.
    pub fn parse(from: Option<&str>, to: Option<&str>) -> Result<Option<Self>, InvalidClip> {
        let seconds = |text: &str| {
            // `parse` alone would also accept a sign, an exponent and words such as `inf`.
            let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            text.parse::<f64>().ok().filter(|_| plain).ok_or(InvalidClip)
        };
        Ok(match (from, to) {
            (None, None) => None,
            (Some(from), None) => {
                Some(Self { to: Duration::MAX, ..Self::new(seconds(from)?, MOST_SECONDS)? })
            }
            (from, Some(to)) => Some(Self::new(from.map_or(Ok(0.0), seconds)?, seconds(to)?)?),
        })
    }

    /// Checks that the clip lies in a recording with this end. `to` may be in the last second that has begun,
    /// because clients may round the end up.
    ///
    /// # Errors
    /// The clip begins at or after the end, or ends later.
    pub fn check_end(&self, end: Duration) -> Result<(), PastEnd> {
        let most = Duration::from_secs(end.as_secs() + u64::from(end.subsec_nanos() > 0));
        if self.from < end && self.to <= most { Ok(()) } else { Err(PastEnd(end.as_secs_f64())) }
    }

    /// Returns true if `other` lies within this clip.
    pub fn contains(&self, other: &Self) -> bool {
        self.from <= other.from && other.to <= self.to
    }
}

impl TryFrom<Seconds> for Clip {
    type Error = InvalidClip;

    fn try_from(Seconds { from, to }: Seconds) -> Result<Self, InvalidClip> {
        Self::new(from, to)
    }
}

impl From<Clip> for Seconds {
    fn from(clip: Clip) -> Self {
        Self { from: clip.from.as_secs_f64(), to: clip.to.as_secs_f64() }
    }
}

/// Returns the duration of the gap between two segments; zero if they follow each other.
pub fn gap(before: &JournalEntry, next: &JournalEntry) -> Duration {
    if before.sequence + 1 == next.sequence && !next.discontinuity {
        return Duration::ZERO;
    }
    let ended = Duration::from_millis(before.started_at.0) + before.duration();
    Duration::from_millis(next.started_at.0).saturating_sub(ended)
}

/// Returns the position of the start of each segment, and the position of the end of the recording.
pub fn positions<'a>(segments: impl IntoIterator<Item = &'a JournalEntry>) -> (Vec<Duration>, Duration) {
    let (mut starts, mut end) = (Vec::new(), Duration::ZERO);
    let mut before: Option<&JournalEntry> = None;
    for entry in segments {
        let start = end + before.map_or(Duration::ZERO, |before| gap(before, entry));
        starts.push(start);
        end = start + entry.duration();
        before = Some(entry);
    }
    (starts, end)
}

/// Returns the position of a wall-clock time in the recording. `moment_ms`: milliseconds since the Unix
/// epoch. A time before the recording has the position of the start, and a time after the recording has the
/// position of the end.
pub fn position_of(segments: &[&JournalEntry], moment_ms: u64) -> Duration {
    Positions::new(segments).of(moment_ms)
}

/// Positions of many wall-clock times in one recording.
pub struct Positions<'a> {
    segments: &'a [&'a JournalEntry],
    starts: Vec<Duration>,
    end: Duration,
}

impl<'a> Positions<'a> {
    pub fn new(segments: &'a [&'a JournalEntry]) -> Self {
        let (starts, end) = positions(segments.iter().copied());
        Self { segments, starts, end }
    }

    /// Returns the position of one time, like [`position_of`].
    pub fn of(&self, moment_ms: u64) -> Duration {
        let later = self.segments.partition_point(|entry| entry.started_at.0 <= moment_ms);
        let Some(index) = later.checked_sub(1) else { return Duration::ZERO };
        let since = Duration::from_millis(moment_ms - self.segments[index].started_at.0);
        (self.starts[index] + since).min(self.starts.get(later).copied().unwrap_or(self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UnixMs;

    fn entry(sequence: u64, started_ms: u64) -> JournalEntry {
        JournalEntry {
            sequence,
            duration_us: 1_920_000,
            started_at: UnixMs(started_ms),
            discontinuity: false,
            key_index: 0,
            bytes: 9,
            file: 1,
            offset: 0,
            lag_us: None,
            tick_us: None,
        }
    }

    fn seconds(from: f64, to: f64) -> Clip {
        Clip::new(from, to).unwrap()
    }

    #[test]
    fn parameters_delimit_a_clip() {
        let parsed = |from, to| Clip::parse(from, to).unwrap();
        assert_eq!(parsed(None, None), None);
        assert_eq!(parsed(Some("1.5"), Some("2")), Some(seconds(1.5, 2.0)));
        assert_eq!(parsed(None, Some("2")), Some(seconds(0.0, 2.0)));
        assert_eq!(parsed(Some("0"), None), Some(Clip::WHOLE));
        for (from, to) in [
            ("2", "2"),
            ("3", "2"),
            ("-1", "2"),
            ("+1", "2"),
            ("1e0", "2"),
            ("inf", "2"),
            ("NaN", "2"),
            ("", "2"),
            ("1.2.3", "2"),
            ("1", "99999999999999999999"),
            ("0.0001", "0.0004"),
        ] {
            assert_eq!(Clip::parse(Some(from), Some(to)), Err(InvalidClip), "{from} to {to}");
        }
    }

    #[test]
    fn json_form_is_in_seconds() {
        let clip: Clip = serde_json::from_str(r#"{"from":90,"to":92.5}"#).unwrap();
        assert_eq!(clip, seconds(90.0, 92.5));
        assert_eq!(serde_json::to_string(&clip).unwrap(), r#"{"from":90.0,"to":92.5}"#);
        assert!(serde_json::from_str::<Clip>(r#"{"from":2,"to":1}"#).is_err());
    }

    #[test]
    fn clip_contains_its_parts_only() {
        let clip = seconds(10.0, 20.0);
        assert!(clip.contains(&clip) && clip.contains(&seconds(12.0, 13.0)) && Clip::WHOLE.contains(&clip));
        assert!(!clip.contains(&seconds(9.0, 13.0)) && !clip.contains(&seconds(12.0, 21.0)));
        assert!(!clip.contains(&Clip::WHOLE));
    }

    #[test]
    fn clips_end_with_the_recording() {
        let end = Duration::from_millis(20_480);
        for (from, to, is_inside) in [
            (0.0, 20.48, true),
            (20.0, 21.0, true),
            (0.0, 21.001, false),
            (20.48, 21.0, false),
            (1e6, 2e6, false),
        ] {
            assert_eq!(seconds(from, to).check_end(end).is_ok(), is_inside, "{from} to {to}");
        }
        let refused = seconds(30.0, 40.0).check_end(end).unwrap_err();
        assert_eq!(refused.to_string(), "the recording lasts 20.48 seconds: from and to must not be later");
        assert!(seconds(0.0, 20.001).check_end(Duration::from_secs(20)).is_err());
    }

    #[test]
    fn positions_count_gaps() {
        let segments = [entry(1, 1_000), entry(2, 2_920), entry(5, 10_000)];
        let (starts, end) = positions(&segments);
        let expected = [0, 1_920, 9_000].map(Duration::from_millis);
        assert_eq!((starts, end), (expected.to_vec(), Duration::from_millis(10_920)));
    }

    #[test]
    fn moments_have_positions() {
        let segments = [entry(1, 1_000), entry(2, 2_920), entry(5, 10_000)];
        let segments: Vec<_> = segments.iter().collect();
        let position = |moment| position_of(&segments, moment).as_millis();
        assert_eq!(
            [0, 1_000, 3_000, 6_000, 10_500, 99_000].map(position),
            [0, 0, 2_000, 5_000, 9_500, 10_920]
        );
        assert_eq!(position_of(&[], 7), Duration::ZERO);
    }
}

//! Timeline of a room's MPEG-TS stream: its timestamps and continuity counters, and how a new mixer continues
//! them.
//!
//! A room has one timeline while its media can be continued: restarts of FFmpeg, handovers and orderly
//! restarts of a node neither reset nor skip a timestamp. This module contains only arithmetic.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::UnixMs;

/// Audio samples per second.
pub const SAMPLE_RATE: u64 = 48_000;
/// Samples per AAC-LC frame (ISO/IEC 14496-3).
pub const FRAME_SAMPLES: u64 = 1024;
/// Length of an AAC frame in 90 kHz ticks. It is exact, so timestamps never need rounding.
pub const FRAME_TICKS: u64 = FRAME_SAMPLES * 90_000 / SAMPLE_RATE;
/// Number of different timestamps, which have 33 bits (ISO/IEC 13818-1 section 2.4.3.7).
const TICKS: u64 = 1 << 33;
/// Continuity counters have 4 bits (ISO/IEC 13818-1 section 2.4.3.3).
const COUNTS: u64 = 16;
/// First timestamp of a new timeline: 1.4 s, as in FFmpeg. This leaves time for a clock reference before it.
const FIRST_PTS: u64 = 126_000;

/// Position on a timeline: the values with which the next part begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// Presentation timestamp of the next frame, in 90 kHz ticks, below 2^33.
    pub pts: u64,
    /// Continuity counter of the next PAT and of the next PMT packet, below 16.
    pub tables: u8,
    /// Continuity counter of the next audio packet, below 16.
    pub audio: u8,
}

/// End of the media that a mixer has published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MediaEnd {
    #[serde(flatten)]
    pub timeline: Timeline,
    /// Wall-clock time at which the last sample was mixed.
    pub at: UnixMs,
}

/// Relation of a mixer's first media to the media published before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Junction {
    /// Nothing of this broadcast has been published yet.
    First(Timeline),
    /// Media on this timeline ended `ago` before now.
    After { timeline: Timeline, ago: Duration },
    /// Media may have been published on an unknown timeline: a discontinuity is needed.
    Unknown,
}

/// One moment, read from both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// Monotonic: time since the process started.
    pub now: Duration,
    pub wall: UnixMs,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { pts: FIRST_PTS, tables: 0, audio: 0 }
    }
}

impl Timeline {
    /// Returns the position after a part of this many frames and audio packets.
    pub fn after(self, frames: u64, audio_packets: u64) -> Self {
        Self {
            pts: (self.pts % TICKS + frames * FRAME_TICKS) % TICKS,
            tables: ((u64::from(self.tables) + 1) % COUNTS) as u8,
            audio: ((u64::from(self.audio) + audio_packets) % COUNTS) as u8,
        }
    }

    /// Returns the program clock reference of the next part. It is 100 ms before the first frame of the part,
    /// because a decoder buffers a frame for this time.
    pub fn clock_reference(self) -> u64 {
        (self.pts + TICKS - 9_000) % TICKS
    }
}

/// Returns the duration of this many AAC frames, rounded down to a nanosecond.
pub fn frames_last(frames: u64) -> Duration {
    // 1024 samples at 48 kHz are 64/3 ms.
    Duration::from_nanos(frames * 64_000_000 / 3)
}

/// Returns the number of whole AAC frames in a duration.
pub fn whole_frames(duration: Duration) -> u64 {
    (duration.as_nanos() * 3 / 64_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::model::SequenceState;

    #[test]
    fn timestamps_and_counters_wrap() {
        let last = Timeline { pts: TICKS - 1, tables: 15, audio: 15 };
        assert_eq!(last.after(1, 20), Timeline { pts: FRAME_TICKS - 1, tables: 0, audio: 3 });
        assert_eq!(Timeline { pts: 0, ..last }.clock_reference(), TICKS - 9_000);
        assert_eq!(FRAME_TICKS, 1920);
    }

    #[test]
    fn junction_follows_stored_sequence() {
        let (started, wall) = (UnixMs(5_000), UnixMs(9_500));
        let timeline = Timeline { pts: 7, tables: 1, audio: 2 };
        let left = |at| SequenceState::at(1030, 3, Some(MediaEnd { timeline, at: UnixMs(at) }));
        let after = Junction::After { timeline, ago: Duration::from_millis(500) };
        assert_eq!(left(9_000).junction(started, wall), after, "an orderly restart");
        assert_eq!(left(9_600).junction(started, wall), Junction::After { timeline, ago: Duration::ZERO });
        assert_eq!(left(4_000).junction(started, wall), Junction::First(timeline), "an earlier broadcast");
        let never = SequenceState::default();
        assert_eq!(never.junction(started, wall), Junction::First(Timeline::default()));
        let crashed = SequenceState { epoch: Epoch(4), ..SequenceState::at(1024, 64, None) };
        assert_eq!(crashed.junction(started, wall), Junction::Unknown);
        assert_eq!(SequenceState::at(1030, 3, None).junction(started, wall), Junction::Unknown);
        let json = serde_json::to_value(left(9_000)).unwrap();
        assert_eq!(json["mediaEnd"], serde_json::json!({ "pts": 7, "tables": 1, "audio": 2, "at": 9000 }));
        assert_eq!(serde_json::from_value::<SequenceState>(json).unwrap(), left(9_000));
    }

    #[test]
    fn frames_and_durations_agree() {
        assert_eq!(frames_last(9), Duration::from_millis(192));
        for frames in [0, 1, 2, 47, 1_000_000] {
            let exact = frames_last(frames) + Duration::from_nanos(1);
            assert_eq!(whole_frames(exact), frames);
        }
    }
}

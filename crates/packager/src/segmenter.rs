//! Assembly of AAC frames into parts, parts into segments, and segments into a window.
//!
//! Owns: frames not published yet, the numbers, the timestamps. Does not compare media with a clock.

use std::time::Duration;

use super::clock::MediaClock;
use super::crypto::{self, ContentKeys};
use super::packager::{Progress, SequenceStart};
use super::stream::Snapshot;
use super::ticks::TickPhase;
use super::transport;
use super::window::{Head, Limits, OpenSegment, Part, Segment, Window};
use stentor_domain::ids::UnixMs;
use stentor_domain::timeline::{Timeline, frames_last};

#[derive(Debug)]
pub(super) struct Segmenter {
    keys: ContentKeys,
    key_rotation: u64,
    limits: Limits,
    pub window: Window,
    pub open: Option<OpenSegment>,
    /// Numbers of the open segment, or of the next one.
    pub next: SequenceStart,
    /// Position of the next part.
    pub timeline: Timeline,
    pending: PendingPart,
    /// True if the next segment follows a discontinuity.
    discontinuity: bool,
    pub clock: MediaClock,
    pub last_part_at: Option<UnixMs>,
}

/// Frames of the next part.
#[derive(Debug, Default)]
struct PendingPart {
    bytes: Vec<u8>,
    frames: u64,
    /// True unless all frames are silence.
    heard: bool,
    /// Times at which the frames arrived.
    ticks: TickPhase,
}

impl Segmenter {
    /// Creates a segmenter that continues this snapshot.
    pub fn behind(last: &Snapshot, keys: ContentKeys, key_rotation: u64, limits: Limits) -> Self {
        Self {
            keys,
            key_rotation: key_rotation.max(1),
            limits,
            window: last.window.clone(),
            open: last.open.clone(),
            next: last.next(),
            timeline: last.timeline,
            pending: PendingPart::default(),
            discontinuity: false,
            clock: MediaClock::behind(last.end()),
            last_part_at: last.last_part_at,
        }
    }

    /// Returns the number of frames taken and not published.
    pub fn pending(&self) -> u64 {
        self.pending.frames
    }

    /// Returns the number of frames missing from the next part.
    pub fn lacking(&self) -> u64 {
        self.limits.frames - self.pending.frames
    }

    /// Marks a discontinuity before the next frames. Call it only between segments.
    pub fn discontinue(&mut self) {
        self.discontinuity = true;
        self.next.discontinuity += 1;
    }

    /// Takes one ADTS frame. `heard`: true for a frame of FFmpeg, false for a frame of silence.
    pub fn append(&mut self, frame: &[u8], heard: bool, wall: UnixMs, progress: &mut Progress) {
        self.pending.bytes.extend_from_slice(frame);
        self.pending.frames += 1;
        self.pending.heard |= heard;
        if heard {
            self.pending.ticks.add(wall.0.saturating_mul(1000));
        } else {
            // The frames after the interruption may come from another source.
            self.pending.ticks = TickPhase::default();
            self.open.iter_mut().for_each(|open| open.head.ticks = TickPhase::default());
        }
        if self.lacking() == 0 {
            self.flush(wall, progress);
            // The very first segment closes at its first part, so that a listener need not wait for a whole
            // segment.
            let full = |open: &OpenSegment| self.window.is_empty() || self.limits.ends_segment(open.duration);
            if self.open.as_ref().is_some_and(full) {
                self.close(wall, progress);
            }
        }
    }

    /// Adds the pending frames to the open segment and closes it. Returns true if a segment was open.
    pub fn close(&mut self, wall: UnixMs, progress: &mut Progress) -> bool {
        self.flush(wall, progress);
        let Some(open) = self.open.take() else { return false };
        self.next.media_sequence = open.head.msn + 1;
        self.window.push(Segment::new(open), &self.limits, &self.keys);
        progress.segments_closed += 1;
        true
    }

    /// Makes a part of the pending frames.
    fn flush(&mut self, wall: UnixMs, progress: &mut Progress) {
        let PendingPart { bytes, frames, heard, ticks } = std::mem::take(&mut self.pending);
        if frames == 0 {
            return;
        }
        let (plain, next) = transport::part(self.timeline, &bytes, frames);
        self.timeline = next;
        let duration = frames_last(frames);
        self.add_part(&plain, duration);
        let lag = self.clock.advance(wall, duration);
        if heard {
            self.last_part_at = Some(wall);
            let least = self.open.as_mut().map(|open| &mut open.head.lag);
            least.into_iter().for_each(|least| *least = Some(least.map_or(lag, |least| least.min(lag))));
        }
        self.open.iter_mut().for_each(|open| open.head.ticks.join(ticks));
        progress.parts += 1;
    }

    fn add_part(&mut self, plain: &[u8], duration: Duration) {
        let segment = self.open.get_or_insert_with(|| {
            let msn = self.next.media_sequence;
            let head = Head {
                msn,
                discontinuity: std::mem::take(&mut self.discontinuity),
                key_index: msn / self.key_rotation,
                started: self.clock.begin_segment(),
                lag: None,
                ticks: TickPhase::default(),
            };
            OpenSegment { head, parts: Vec::new(), duration: Duration::ZERO }
        });
        let head = &segment.head;
        let bytes = crypto::encrypt(&self.keys.key(head.key_index), head.msn, plain);
        segment.parts.push(Part { bytes: bytes.into(), duration });
        segment.duration += duration;
    }
}

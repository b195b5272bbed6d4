//! Sliding window of segments. Each is listed in the playlist, then only held in memory, then dropped.
//!
//! The ciphertext of a whole segment and the ciphertexts of its parts contain the same media. Therefore,
//! while the parts are held, the ciphertext of the whole segment is made only on request.
//!
//! Owns: the media of a room in memory, bounded by count and by duration. Does not add a part to a
//! segment, or render.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::crypto::{self, ContentKeys, DecryptError};
use super::ticks::TickPhase;
use stentor_domain::hls;
use stentor_domain::ids::UnixMs;
use stentor_domain::timeline::{FRAME_SAMPLES, SAMPLE_RATE};

/// Maximum number of segments listed beyond the configured window if restarts have made segments short.
/// Without this limit, a process that dies after every part would make the window grow until it lasts three
/// target durations.
const SHORT_SEGMENT_ALLOWANCE: usize = 64;

/// Times that are derived from the configuration. They are constant for the life of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Duration that a segment must not exceed: it closes if another part of full length would exceed it.
    pub segment: Duration,
    /// EXT-X-TARGETDURATION.
    pub target: Duration,
    /// AAC frames per part: the configured duration, rounded up.
    pub frames: u64,
    /// PART-TARGET: duration of these frames.
    pub part_target: Duration,
    /// Number of segments in the playlist. Together they last at least three target durations.
    pub window: usize,
    /// Number of parts that a request may be ahead of the newest part.
    pub advance: u32,
}

impl Limits {
    pub fn new(part: Duration, segment: Duration, window: usize) -> Self {
        let (frames, part_target) = part_target(part);
        let segment = segment.max(part_target);
        let window = window.max(hls::least_window(segment));
        let target = hls::target_duration(segment);
        Self { segment, target, frames, part_target, window, advance: advance_part_limit(part) }
    }

    pub fn ends_segment(&self, segment: Duration) -> bool {
        segment + self.part_target > self.segment
    }

    /// Returns the longest gap that is filled with silence: the window. No listener has media from before the
    /// window.
    pub fn longest_silence(&self) -> Duration {
        self.segment * self.window as u32
    }
}

/// Returns the number of AAC frames of a part with this configured duration, and their duration.
fn part_target(part: Duration) -> (u64, Duration) {
    let second = 1_000_000_000;
    let (rate, samples) = (u128::from(SAMPLE_RATE), u128::from(FRAME_SAMPLES));
    let frames = (part.as_nanos() * rate).div_ceil(samples * second).max(1);
    let nanos = (frames * samples * second).div_ceil(rate);
    // Rounded up to the five decimals of the playlist, so that the written PART-HOLD-BACK is exactly three
    // times the written PART-TARGET.
    (frames as u64, Duration::from_nanos(nanos.next_multiple_of(10_000) as u64))
}

/// Returns the advance part limit (RFC 8216bis section 6.2.5.2) for this configured duration of a part: the
/// number of parts in three seconds, at least three.
pub fn advance_part_limit(part: Duration) -> u32 {
    (3.0 / part_target(part).1.as_secs_f64()).ceil().max(3.0) as u32
}

/// Properties of a segment that are known when its first part arrives, except `lag` and `ticks`.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub msn: u64,
    /// True if its timestamps do not continue the previous ones. In that case a DISCONTINUITY tag precedes
    /// it.
    pub discontinuity: bool,
    pub key_index: u64,
    pub started: UnixMs,
    /// Smallest delay of the segment's parts by the media clock, in microseconds.
    pub lag: Option<i64>,
    /// Times at which the frames arrived since the source was last interrupted.
    pub ticks: TickPhase,
}

#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Ciphertext of the part alone.
    pub bytes: Bytes,
    pub duration: Duration,
}

/// Segment that parts are added to.
#[derive(Debug, Clone)]
pub(super) struct OpenSegment {
    pub head: Head,
    pub parts: Vec<Part>,
    pub duration: Duration,
}

#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub head: Head,
    pub duration: Duration,
    /// Number of parts that the segment was made from. This number stays the same when the parts are dropped.
    pub part_count: u32,
    pub parts: Vec<Part>,
    whole: OnceLock<Bytes>,
}

impl Segment {
    pub fn new(open: OpenSegment) -> Self {
        let OpenSegment { head, parts, duration } = open;
        Self { head, duration, part_count: parts.len() as u32, parts, whole: OnceLock::new() }
    }

    /// Creates a segment from the data that another mixer left.
    pub fn left(
        head: Head,
        duration: Duration,
        part_count: u32,
        parts: Vec<Part>,
        whole: Option<Bytes>,
    ) -> Self {
        let whole = whole.map(OnceLock::from).unwrap_or_default();
        Self { head, duration, part_count, parts, whole }
    }

    pub fn whole_if_made(&self) -> Option<Bytes> {
        self.whole.get().cloned()
    }

    /// Returns the ciphertext of the whole segment, made from its parts on the first request.
    pub fn whole(&self, keys: &ContentKeys) -> Result<Bytes, DecryptError> {
        if let Some(bytes) = self.whole.get() {
            return Ok(bytes.clone());
        }
        let parts = self.parts.iter().map(|part| &part.bytes[..]);
        let bytes = crypto::rejoin(&keys.key(self.head.key_index), self.head.msn, parts)?;
        Ok(self.whole.get_or_init(|| bytes.into()).clone())
    }

    /// Returns the number of bytes in memory: those of the parts and of the whole segment.
    pub fn weight(&self) -> usize {
        self.whole.get().map_or(0, Bytes::len) + self.parts.iter().map(|p| p.bytes.len()).sum::<usize>()
    }
}

/// Closed segments, oldest first. Cheap to clone: the contents are shared.
#[derive(Debug, Clone)]
pub(super) struct Window {
    held: VecDeque<Arc<Segment>>,
    listed: usize,
    /// EXT-X-DISCONTINUITY-SEQUENCE: discontinuities before the first listed segment.
    discontinuity_sequence: u64,
}

impl Window {
    pub fn new(discontinuity_sequence: u64) -> Self {
        Self { held: VecDeque::new(), listed: 0, discontinuity_sequence }
    }

    /// Creates the window left by another mixer. `listed` is the number of listed segments, counted from the
    /// newest.
    pub fn left(held: VecDeque<Arc<Segment>>, listed: usize, discontinuity_sequence: u64) -> Self {
        Self { held, listed, discontinuity_sequence }
    }

    pub fn push(&mut self, segment: Segment, limits: &Limits, keys: &ContentKeys) {
        self.held.push_back(Arc::new(segment));
        self.listed += 1;
        while self.has_one_too_many(limits) {
            self.discontinuity_sequence += u64::from(self.held[self.first_listed()].head.discontinuity);
            self.listed -= 1;
        }
        // RFC 8216 section 6.2.2 requires that a removed segment stays available for its own duration plus
        // that of the playlist. A limit on the number of segments satisfies this while all segments have the
        // same duration, and bounds the memory if they do not.
        while self.first_listed() > self.listed + 1 {
            self.held.pop_front();
        }
        self.drop_old_parts(limits, keys);
    }

    fn has_one_too_many(&self, limits: &Limits) -> bool {
        let rest: Duration = self.listed().skip(1).map(|s| s.duration).sum();
        self.listed > limits.window && rest >= 3 * limits.target
            || self.listed > limits.window + SHORT_SEGMENT_ALLOWANCE
    }

    /// Drops parts one target duration after they leave the playlist, so that a client that just saw them can
    /// fetch them.
    fn drop_old_parts(&mut self, limits: &Limits, keys: &ContentKeys) {
        let mut after = Duration::ZERO;
        for segment in self.held.iter_mut().rev() {
            // Decryption with these keys cannot fail. If it did, the parts would be the only copy and must
            // stay.
            if after > 4 * limits.target && !segment.parts.is_empty() && segment.whole(keys).is_ok() {
                Arc::make_mut(segment).parts = Vec::new();
            }
            after += segment.duration;
        }
    }

    fn first_listed(&self) -> usize {
        self.held.len() - self.listed
    }

    pub fn listed(&self) -> impl DoubleEndedIterator<Item = &Arc<Segment>> {
        self.held.iter().skip(self.first_listed())
    }

    pub fn held(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.held.iter()
    }

    pub fn get(&self, msn: u64) -> Option<&Arc<Segment>> {
        let first = self.held.front()?.head.msn;
        self.held.get(usize::try_from(msn.checked_sub(first)?).ok()?)
    }

    pub fn discontinuity_sequence(&self) -> u64 {
        self.discontinuity_sequence
    }

    /// Returns the discontinuity sequence of the newest listed segment. A next segment without a
    /// discontinuity has the same number.
    pub fn next_discontinuity(&self) -> u64 {
        self.discontinuity_sequence
            + self.listed().filter(|segment| segment.head.discontinuity).count() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.listed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stentor_domain::ids::{Nonce, RoomId};

    fn segment(msn: u64, millis: u64, discontinuity: bool) -> Segment {
        let head = Head {
            msn,
            discontinuity,
            key_index: 0,
            started: UnixMs(0),
            lag: None,
            ticks: TickPhase::default(),
        };
        let duration = Duration::from_millis(millis);
        let bytes = crypto::encrypt(&keys().key(0), msn, b"media").into();
        Segment::new(OpenSegment { head, parts: vec![Part { bytes, duration }], duration })
    }

    fn keys() -> ContentKeys {
        ContentKeys::new(b"s", &RoomId::new("demo").unwrap(), &Nonce("n".into()))
    }

    fn limits() -> Limits {
        Limits::new(Duration::from_millis(192), Duration::from_secs(2), 6)
    }

    #[test]
    fn part_target_is_whole_frames() {
        let l = limits();
        assert_eq!(l.part_target, Duration::from_millis(192));
        assert_eq!(l.advance, 16);
        assert_eq!(l.target, Duration::from_secs(2));
        let l = Limits::new(Duration::from_millis(200), Duration::from_millis(2500), 1);
        assert_eq!(l.part_target.as_micros(), 213_340, "ten frames");
        assert_eq!(l.target, Duration::from_secs(3));
        assert_eq!(l.window, 4, "three target durations");
    }

    #[test]
    fn delisted_segments_stay_available() {
        let mut window = Window::new(7);
        for msn in 100..140 {
            window.push(segment(msn, 1920, msn == 100 || msn == 130), &limits(), &keys());
        }
        assert_eq!(window.listed().count(), 6);
        assert_eq!(window.held().count(), 13);
        assert_eq!(window.discontinuity_sequence(), 9, "both discontinuities have left");
        assert_eq!(window.get(127).unwrap().head.msn, 127);
        assert!(window.get(126).is_none() && window.get(140).is_none());
    }

    #[test]
    fn short_segments_extend_list_boundedly() {
        let mut window = Window::new(0);
        for msn in 0..500 {
            window.push(segment(msn, 192, true), &limits(), &keys());
        }
        let listed: Duration = window.listed().map(|s| s.duration).sum();
        assert!(listed >= Duration::from_secs(6) && listed < Duration::from_secs(7), "{listed:?}");
        for msn in 500..1000 {
            window.push(segment(msn, 1, true), &limits(), &keys());
        }
        assert_eq!(window.listed().count(), 6 + SHORT_SEGMENT_ALLOWANCE);
    }

    #[test]
    fn only_the_newest_segments_keep_their_parts() {
        let mut window = Window::new(0);
        for msn in 0..10 {
            window.push(segment(msn, 2000, false), &limits(), &keys());
        }
        let with_parts = window.held().filter(|s| !s.parts.is_empty()).count();
        assert_eq!(
            with_parts, 5,
            "parts stay for four target durations, and for the segment in which these end"
        );
        assert!(
            window.held().all(|s| s.part_count == 1 && s.weight() == 16),
            "a segment has its parts or its whole form, never both"
        );
        let newest = window.held().last().unwrap();
        assert_eq!(
            newest.whole(&keys()).unwrap(),
            newest.parts[0].bytes,
            "a segment of one part equals this part"
        );
        assert_eq!(newest.weight(), 32, "the first request makes the whole segment, which is kept");
    }
}

//! FFmpeg's bytes in, listeners' snapshots out.
//!
//! ```text
//! Idle -begin_incarnation-> Fresh -init, first fragment-> Running -begin_incarnation-> Fresh
//! any of them -bad bytes-> Failed (until begin_incarnation);  -finish-> Finished
//! ```
//! Owns: the order of everything (sequence numbers, keys, discontinuities). Never does: wait, read a clock.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::boxes::{BoxError, Fragment, Piece, Splitter};
use super::clock::MediaClock;
use super::crypto::{self, ContentKeys};
use super::heritage;
use super::stream::{LiveStream, Phase, Snapshot};
use super::window::{Head, InitFile, Limits, Open, Part, Segment, Window};
use crate::domain::ids::UnixMs;

/// How a room is cut. Impossible combinations are mended, not refused: a segment holds at least one part, a
/// window at least three target durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackagerConfig {
    /// What FFmpeg is told as `-frag_duration`; a part is that, rounded up to whole AAC frames.
    pub part: Duration,
    pub segment: Duration,
    /// Segments in the playlist.
    pub window: usize,
    /// Segments per content key.
    pub key_rotation: u64,
}

/// The next numbers that were never published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceStart {
    /// Of the next segment.
    pub media_sequence: u64,
    /// Of the newest segment so far; the next process begins one above it.
    pub discontinuity: u64,
}

/// What one push brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    pub fragments: u32,
    pub parts: u32,
    pub segments_closed: u32,
}

/// What FFmpeg wrote cannot be listed. Nothing more is taken from this process: start another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    #[error("no process has begun")]
    NotBegun,
    #[error("the stream has been finished")]
    Finished,
    #[error(transparent)]
    Boxes(#[from] BoxError),
    /// FFmpeg stretched a sample over a gap in its input.
    #[error("a fragment of {actual:?}, parts are at most {allowed:?}")]
    FragmentTooLong { actual: Duration, allowed: Duration },
    #[error("a fragment at {actual} ticks after {expected}")]
    TimeWentBack { expected: u64, actual: u64 },
}

/// Packages one room from one start (or hand-over) on.
#[derive(Debug)]
pub struct Packager {
    keys: ContentKeys,
    key_rotation: u64,
    limits: Limits,
    window: Window,
    open: Option<Open>,
    /// Of the open segment, or of the next one.
    next: SequenceStart,
    process: Process,
    clock: MediaClock,
    last_part_at: Option<UnixMs>,
    stream: Arc<LiveStream>,
}

/// Where the bytes come from.
#[derive(Debug)]
enum Process {
    Idle,
    /// No fragment yet; the init section once it has come.
    Fresh {
        splitter: Splitter,
        init: Option<Bytes>,
    },
    Running {
        splitter: Splitter,
        init: Arc<InitFile>,
        expected: u64,
    },
    Failed(PackageError),
    Finished,
}

impl Packager {
    /// `start` must be free: [`next`](Self::next) of who ended in order, or the reserved ceiling after a crash.
    pub fn new(config: PackagerConfig, keys: ContentKeys, start: SequenceStart) -> (Self, Arc<LiveStream>) {
        Self::with(config, keys, start, Window::new(start.discontinuity))
    }

    /// The same behind what another mixer has left of this live ([`LiveStream::heritage`]). `None` if that does not end
    /// where these numbers begin.
    pub fn behind(
        config: PackagerConfig,
        keys: ContentKeys,
        start: SequenceStart,
        heritage: Bytes,
    ) -> Option<(Self, Arc<LiveStream>)> {
        let window = heritage::from_bytes(heritage, keys.hint())?;
        let goes_on = window.held().last().is_some_and(|last| last.head.msn + 1 == start.media_sequence)
            && window.next_discontinuity() == start.discontinuity;
        goes_on.then(|| Self::with(config, keys, start, window))
    }

    fn with(
        config: PackagerConfig,
        keys: ContentKeys,
        start: SequenceStart,
        window: Window,
    ) -> (Self, Arc<LiveStream>) {
        let limits = Limits::new(config.part, config.segment, config.window);
        let hinted = (start.media_sequence, 0);
        let first = Snapshot {
            phase: Phase::Live,
            window: window.clone(),
            open: None,
            hinted,
            last_part_at: None,
            text: OnceLock::new(),
        };
        let clock = MediaClock::behind(first.end());
        let stream = Arc::new(LiveStream::new(keys.clone(), limits, first));
        let packager = Self {
            keys,
            key_rotation: config.key_rotation.max(1),
            limits,
            window,
            open: None,
            next: start,
            process: Process::Idle,
            clock,
            last_part_at: None,
            stream: stream.clone(),
        };
        (packager, stream)
    }

    /// Goes on with a stream whose packager is gone: what its readers were told last is the truth. `None` if it
    /// has ended, or was made with other keys.
    pub fn resume(config: PackagerConfig, keys: ContentKeys, stream: &Arc<LiveStream>) -> Option<Self> {
        let last = stream.snapshot();
        if last.phase == Phase::Ended || stream.hint() != keys.hint() {
            return None;
        }
        let packager = Self {
            keys,
            key_rotation: config.key_rotation.max(1),
            limits: stream.limits(),
            window: last.window.clone(),
            open: last.open.clone(),
            next: last.next(),
            process: Process::Idle,
            clock: MediaClock::behind(last.end()),
            last_part_at: last.last_part_at,
            stream: stream.clone(),
        };
        packager.publish(Phase::Live);
        Some(packager)
    }

    /// A new FFmpeg process: what it writes stands behind a discontinuity, with its own init section. Closes
    /// a segment that was left open, so that what was heard of the old process is complete.
    pub fn begin_incarnation(&mut self) {
        if matches!(self.process, Process::Finished) {
            return;
        }
        self.process = Process::Fresh { splitter: Splitter::default(), init: None };
        if self.close_segment() {
            self.publish(Phase::Live);
        }
    }

    /// Takes bytes as they were read at `wall`. Complete fragments are published before this returns, also
    /// those before an error.
    pub fn push(&mut self, bytes: &[u8], wall: UnixMs) -> Result<Progress, PackageError> {
        self.splitter()?.feed(bytes);
        let mut progress = Progress::default();
        let outcome = self.take_pieces(wall, &mut progress);
        if progress.parts > 0 {
            self.publish(Phase::Live);
        }
        if let Err(error) = &outcome {
            self.process = Process::Failed(error.clone());
        }
        outcome.map(|()| progress)
    }

    /// The live is over: closes the last segment, ends the playlist, releases whoever waits.
    pub fn finish(&mut self) {
        self.process = Process::Finished;
        self.close_segment();
        self.publish(Phase::Ended);
    }

    /// The numbers to reserve, or to hand over. The number of a segment that has parts is no longer free.
    pub fn next(&self) -> SequenceStart {
        let open = u64::from(self.open.is_some());
        SequenceStart { media_sequence: self.next.media_sequence + open, ..self.next }
    }

    fn splitter(&mut self) -> Result<&mut Splitter, PackageError> {
        match &mut self.process {
            Process::Fresh { splitter, .. } | Process::Running { splitter, .. } => Ok(splitter),
            Process::Idle => Err(PackageError::NotBegun),
            Process::Failed(error) => Err(error.clone()),
            Process::Finished => Err(PackageError::Finished),
        }
    }

    fn take_pieces(&mut self, wall: UnixMs, progress: &mut Progress) -> Result<(), PackageError> {
        while let Some(piece) = self.splitter()?.next_piece()? {
            match piece {
                Piece::Init(new) => {
                    if let Process::Fresh { init, .. } = &mut self.process {
                        *init = Some(new.bytes);
                    }
                }
                Piece::Fragment(fragment) => {
                    progress.fragments += 1;
                    self.take_fragment(&fragment, wall)?;
                    progress.parts += 1;
                    progress.segments_closed += u32::from(self.close_full_segment());
                }
            }
        }
        Ok(())
    }

    fn take_fragment(&mut self, fragment: &Fragment, wall: UnixMs) -> Result<(), PackageError> {
        let timing = fragment.timing;
        if timing.duration > self.limits.part_target {
            let allowed = self.limits.part_target;
            return Err(PackageError::FragmentTooLong { actual: timing.duration, allowed });
        }
        let (init, discontinuity) = self.place(timing.base, timing.base + timing.ticks)?;
        if discontinuity {
            self.clock.anchor(wall, timing.duration);
            self.next.discontinuity += 1;
        }
        self.add_part(fragment, init, discontinuity);
        self.clock.advance(wall, timing.duration);
        self.last_part_at = Some(wall);
        Ok(())
    }

    /// The init section a fragment needs, and whether it is the first after it.
    fn place(&mut self, base: u64, end: u64) -> Result<(Arc<InitFile>, bool), PackageError> {
        match &mut self.process {
            Process::Running { init, expected, .. } => {
                if base < *expected {
                    return Err(PackageError::TimeWentBack { expected: *expected, actual: base });
                }
                *expected = end;
                Ok((init.clone(), false))
            }
            Process::Fresh { splitter, init } => {
                // The splitter gives no fragment before an init section.
                let bytes = init.take().unwrap_or_default();
                let init = Arc::new(InitFile { msn: self.next.media_sequence, bytes });
                let splitter = std::mem::take(splitter);
                self.process = Process::Running { splitter, init: init.clone(), expected: end };
                Ok((init, true))
            }
            Process::Idle | Process::Failed(_) | Process::Finished => Err(PackageError::NotBegun),
        }
    }

    fn add_part(&mut self, fragment: &Fragment, init: Arc<InitFile>, discontinuity: bool) {
        let segment = self.open.get_or_insert_with(|| {
            let msn = self.next.media_sequence;
            let key_index = msn / self.key_rotation;
            let started = self.clock.begin_segment();
            let head = Head { msn, init, discontinuity, key_index, started };
            Open { head, parts: Vec::new(), duration: Duration::ZERO }
        });
        let head = &segment.head;
        let bytes = crypto::encrypt(&self.keys.key(head.key_index), head.msn, &fragment.bytes);
        let duration = fragment.timing.duration;
        segment.parts.push(Part { bytes: bytes.into(), duration });
        segment.duration += duration;
    }

    /// The very first segment closes at its first part: a listener must not wait for a whole one.
    fn close_full_segment(&mut self) -> bool {
        let full = self.open.as_ref().is_some_and(|segment| {
            let last = segment.parts.last().map_or(Duration::ZERO, |p| p.duration);
            self.window.is_empty() || self.limits.ends_segment(last, segment.duration)
        });
        full && self.close_segment()
    }

    /// Whether there was one to close.
    fn close_segment(&mut self) -> bool {
        let Some(open) = self.open.take() else { return false };
        self.next.media_sequence = open.head.msn + 1;
        self.window.push(Segment::new(open), &self.limits, &self.keys);
        true
    }

    fn publish(&self, phase: Phase) {
        let open = self.open.clone();
        let parts = open.as_ref().map_or(0, |o| o.parts.len() as u32);
        let hinted = (self.next.media_sequence, parts);
        let (window, last_part_at) = (self.window.clone(), self.last_part_at);
        self.stream.publish(Snapshot { phase, window, open, hinted, last_part_at, text: OnceLock::new() });
    }
}

impl Drop for Packager {
    /// Readers that wait for what this one would have made are told to ask again. Renders nothing: it may be a
    /// panic of ours that ends it.
    fn drop(&mut self) {
        if !matches!(self.process, Process::Finished) {
            self.stream.supersede();
        }
    }
}

//! Packages FFmpeg's AAC into encrypted parts and segments on one timeline, and publishes them.
//!
//! ```text
//! Idle -begin_incarnation-> Fresh -a part's worth of frames-> Running -begin_incarnation-> Fresh
//! any of them -bad bytes-> Failed (until begin_incarnation);  -finish-> Finished
//! ```
//! The timeline continues across processes. Time without FFmpeg output is filled with silence, at the latest
//! when the next part is due ([`Packager::fill_at`]). Only a gap longer than the window, or one whose
//! preceding timestamps are unknown, stays open and is followed by a discontinuity.
//!
//! Owns: the content and the timing of the published media. Does not wait, or read a clock.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::adts::{AdtsError, AdtsReader, SILENCE};
use super::crypto::ContentKeys;
use super::pace::{AHEAD, Pace};
use super::segmenter::Segmenter;
use super::stream::{LiveStream, Phase, Snapshot};
use super::window::{Limits, Window};
use super::window_snapshot;
use stentor_domain::ids::UnixMs;
use stentor_domain::timeline::{Junction, MediaEnd, Moment, Timeline, frames_last, whole_frames};

/// Time without a call after which the node itself is assumed to have been paused. FFmpeg's output is then
/// read before silence is written.
const OWN_PAUSE: Duration = Duration::from_secs(1);
/// A read begins this long before the earliest expected arrival of a part's last frame. A later read would
/// delay parts, and the pace would then adapt to that delay.
const READ_EARLY: Duration = Duration::from_millis(6);

/// Division of a room's media into parts and segments. Impossible combinations are corrected, not refused: a
/// segment holds at least one part, a window at least three target durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackagerConfig {
    /// Duration of a part; rounded up to whole AAC frames.
    pub part: Duration,
    pub segment: Duration,
    /// Number of segments in the playlist.
    pub window: usize,
    /// Number of segments per content key.
    pub key_rotation: u64,
}

/// Next numbers to publish; they were never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceStart {
    /// Media sequence number of the next segment.
    pub media_sequence: u64,
    /// Discontinuity sequence of the newest segment so far. The next discontinuity is one above it.
    pub discontinuity: u64,
}

/// Frames, parts and segments that one call took or published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Frames from FFmpeg. Silence does not count.
    pub frames: u32,
    /// Frames of silence written in place of missing frames.
    pub silent_frames: u32,
    /// Parts published, of audio or of silence.
    pub parts: u32,
    pub segments_closed: u32,
}

/// Error for FFmpeg output that cannot be published. It is final for the process; start another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    #[error("no process was started")]
    NotBegun,
    #[error("the stream has ended")]
    Finished,
    #[error(transparent)]
    Adts(#[from] AdtsError),
    #[error("the media are more than {AHEAD:?} ahead of the clock: RTP arrives faster than real time")]
    AheadOfTime,
}

/// Packager of one room, created at a start or a handover.
#[derive(Debug)]
pub struct Packager {
    limits: Limits,
    segments: Segmenter,
    place: Place,
    process: Process,
    /// Time of the last call.
    called: Moment,
    stream: Arc<LiveStream>,
}

/// State of the FFmpeg process that writes the bytes.
#[derive(Debug)]
enum Process {
    Idle,
    /// The process has written fewer frames than a part has. These frames are held back until the duration of
    /// the preceding gap is known.
    Fresh {
        reader: AdtsReader,
        held: Vec<Bytes>,
    },
    Running(AdtsReader),
    Failed(PackageError),
    Finished,
}

/// Position of the next media relative to earlier media.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// No earlier media.
    First,
    /// Directly after earlier media.
    After(Pace),
    /// After a gap that is not filled.
    Broken,
}

impl Packager {
    /// Creates a packager and its stream. The numbers of `start` must be unused: [`next`](Self::next) of an
    /// orderly predecessor, or the reserved ceiling after a crash.
    pub fn new(
        config: PackagerConfig,
        keys: ContentKeys,
        start: SequenceStart,
        junction: Junction,
        at: Moment,
    ) -> (Self, Arc<LiveStream>) {
        Self::with(config, keys, start, junction, at, Window::new(start.discontinuity))
    }

    /// Creates a packager and its stream, which continue the window of another mixer
    /// ([`LiveStream::window_snapshot`]). Returns `None` if the snapshot is unusable, or its window does not
    /// end directly before `start`.
    pub fn behind(
        config: PackagerConfig,
        keys: ContentKeys,
        start: SequenceStart,
        snapshot: Bytes,
        at: Moment,
    ) -> Option<(Self, Arc<LiveStream>)> {
        let (window, junction) = window_snapshot::from_bytes(snapshot, keys.hint())?;
        let goes_on = window
            .held()
            .last()
            .is_some_and(|last| last.head.msn.checked_add(1) == Some(start.media_sequence))
            && window.next_discontinuity() == start.discontinuity;
        goes_on.then(|| Self::with(config, keys, start, junction, at, window))
    }

    fn with(
        config: PackagerConfig,
        keys: ContentKeys,
        start: SequenceStart,
        junction: Junction,
        at: Moment,
        window: Window,
    ) -> (Self, Arc<LiveStream>) {
        let limits = Limits::new(config.part, config.segment, config.window);
        let (timeline, place) = match junction {
            Junction::First(timeline) => (timeline, Place::First),
            Junction::After { timeline, ago } if ago <= limits.longest_silence() => {
                (timeline, Place::After(Pace::behind(at.now, ago)))
            }
            Junction::After { timeline, .. } => (timeline, Place::Broken),
            Junction::Unknown => (Timeline::default(), Place::Broken),
        };
        let first = Snapshot {
            phase: Phase::Live,
            window,
            open: None,
            hinted: (start.media_sequence, 0),
            timeline,
            place,
            last_part_at: None,
            text: OnceLock::new(),
        };
        let stream = Arc::new(LiveStream::new(keys.clone(), limits, first));
        let mut packager = Self::on(config, keys, &stream, at);
        packager.segments.next = start;
        if let Junction::After { ago, .. } = junction {
            // Without a window, the end time of the media comes only from the store.
            packager.segments.clock.at_least(UnixMs(at.wall.0.saturating_sub(ago.as_millis() as u64)));
        }
        (packager, stream)
    }

    /// Continues a stream whose packager is gone, from its last published snapshot. Returns `None` if the
    /// stream has ended or uses other keys.
    pub fn resume(
        config: PackagerConfig,
        keys: ContentKeys,
        stream: &Arc<LiveStream>,
        at: Moment,
    ) -> Option<Self> {
        if stream.snapshot().phase == Phase::Ended || stream.hint() != keys.hint() {
            return None;
        }
        let packager = Self::on(config, keys, stream, at);
        packager.publish(Phase::Live);
        Some(packager)
    }

    /// Continues the stream from its newest snapshot.
    fn on(config: PackagerConfig, keys: ContentKeys, stream: &Arc<LiveStream>, at: Moment) -> Self {
        let (last, limits) = (stream.snapshot(), stream.limits());
        Self {
            limits,
            segments: Segmenter::behind(&last, keys, config.key_rotation, limits),
            place: last.place.clone(),
            process: Process::Idle,
            called: at,
            stream: stream.clone(),
        }
    }

    /// Prepares for a new FFmpeg process, whose media follow those of the previous one.
    pub fn begin_incarnation(&mut self, at: Moment) {
        if matches!(self.process, Process::Finished) {
            return;
        }
        self.called = at;
        self.process = Process::Fresh { reader: AdtsReader::default(), held: Vec::new() };
        if let Place::After(pace) = &mut self.place {
            pace.new_source(at.now);
        }
    }

    /// Takes bytes that were read at `at`, and publishes the parts that they complete. Parts before an
    /// invalid frame are published too.
    pub fn push(&mut self, bytes: &[u8], at: Moment) -> Result<Progress, PackageError> {
        self.called = at;
        let mut progress = Progress::default();
        let outcome = self.take(bytes, &mut progress);
        self.publish_progress(&progress);
        if let Err(error) = &outcome {
            self.process = Process::Failed(error.clone());
        }
        outcome.map(|()| progress)
    }

    /// Returns the number of whole frames missing between the published media and now. A process that is
    /// already running can add at most this many frames of its earlier output.
    pub fn missing(&self, now: Duration) -> usize {
        match &self.place {
            Place::After(pace) => pace.missing(now) as usize,
            Place::First | Place::Broken => 0,
        }
    }

    /// Returns the time at which silence is due if FFmpeg writes nothing until then. A part is then late by
    /// at most one and a half times its duration, which a player with a hold-back of three parts tolerates.
    /// `None`: no media have arrived yet, or the last media arrived too long ago.
    pub fn fill_at(&self) -> Option<Duration> {
        match (&self.place, &self.process) {
            (_, Process::Finished) | (Place::First | Place::Broken, _) => None,
            (Place::After(pace), _) => {
                let rest = frames_last(self.segments.lacking());
                Some(pace.lags_by(rest + self.limits.part_target * 3 / 2))
            }
        }
    }

    /// Returns the time at which FFmpeg's next frames should be read: shortly before the last frame of the
    /// next part is expected. `None`: immediately.
    pub fn read_at(&self) -> Option<Duration> {
        match (&self.process, &self.place) {
            (Process::Running(_), Place::After(pace)) => {
                Some(pace.lags_by(frames_last(self.segments.lacking())).saturating_sub(READ_EARLY))
            }
            _ => None,
        }
    }

    /// Writes the silence that is due.
    pub fn fill(&mut self, at: Moment) -> Progress {
        let mut progress = Progress::default();
        let paused = at.now.saturating_sub(self.called.now) > OWN_PAUSE;
        self.called = at;
        while !paused && self.fill_at().is_some_and(|due| due <= at.now) {
            let frames = self.segments.lacking();
            if self.silent() + frames > whole_frames(self.limits.longest_silence()) {
                self.break_off(&mut progress);
                // If this process writes again after all, its media start a new timeline.
                if let Process::Running(reader) = &mut self.process {
                    self.process = Process::Fresh { reader: std::mem::take(reader), held: Vec::new() };
                }
                break;
            }
            self.write_silence(frames, &mut progress);
        }
        self.publish_progress(&progress);
        progress
    }

    /// Ends the broadcast: closes the last segment, ends the playlist, and releases all waiting requests.
    pub fn finish(&mut self) {
        self.process = Process::Finished;
        self.segments.close(self.called.wall, &mut Progress::default());
        self.publish(Phase::Ended);
    }

    /// Publishes everything taken so far, because the room continues on another node.
    pub fn leave(&mut self) {
        self.process = Process::Idle;
        if self.segments.close(self.called.wall, &mut Progress::default()) {
            self.publish(Phase::Live);
        }
    }

    /// Returns the numbers to reserve or to hand over. A segment that has parts has used its number.
    pub fn next(&self) -> SequenceStart {
        let Segmenter { open, next, .. } = &self.segments;
        SequenceStart { media_sequence: next.media_sequence + u64::from(open.is_some()), ..*next }
    }

    /// Returns the end of the published media. `None` after a gap, because a stream can continue after it
    /// only with a discontinuity.
    pub fn media_end(&self) -> Option<MediaEnd> {
        let Segmenter { timeline, clock, .. } = &self.segments;
        match self.place {
            Place::First => Some(MediaEnd { timeline: *timeline, at: UnixMs(0) }),
            Place::After(_) => Some(MediaEnd { timeline: *timeline, at: clock.now() }),
            Place::Broken => None,
        }
    }

    fn reader(&mut self) -> Result<&mut AdtsReader, PackageError> {
        match &mut self.process {
            Process::Fresh { reader, .. } | Process::Running(reader) => Ok(reader),
            Process::Idle => Err(PackageError::NotBegun),
            Process::Failed(error) => Err(error.clone()),
            Process::Finished => Err(PackageError::Finished),
        }
    }

    fn take(&mut self, bytes: &[u8], progress: &mut Progress) -> Result<(), PackageError> {
        let reader = self.reader()?;
        reader.feed(bytes);
        let mut frames = Vec::new();
        let outcome = loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        progress.frames = frames.len() as u32;
        let now = self.called.now;
        for frame in self.settled_in(frames, progress)? {
            self.take_frame(&frame, progress)?;
        }
        if let (Place::After(pace), Process::Running(_), 1..) =
            (&mut self.place, &self.process, progress.frames)
        {
            pace.arrived(now);
        }
        outcome
    }

    /// Returns the frames to take now. A fresh process yields none before it has written the frames of one
    /// part. Then the time since the last media, minus the duration of these frames, is filled with silence.
    fn settled_in(
        &mut self,
        frames: Vec<Bytes>,
        progress: &mut Progress,
    ) -> Result<Vec<Bytes>, PackageError> {
        let missing = self.missing(self.called.now);
        let Process::Fresh { reader, held } = &mut self.process else { return Ok(frames) };
        held.extend(frames);
        if held.len() as u64 > missing as u64 + whole_frames(AHEAD) {
            return Err(PackageError::AheadOfTime);
        }
        if (held.len() as u64) < self.limits.frames {
            return Ok(Vec::new());
        }
        let mut held = std::mem::take(held);
        self.process = Process::Running(std::mem::take(reader));
        match &self.place {
            Place::After(..) if missing as u64 <= whole_frames(self.limits.longest_silence()) => {
                // If there are more frames than the missing time holds, silence has already replaced the
                // first of them.
                held.drain(..held.len().saturating_sub(missing));
                self.write_silence((missing - held.len()) as u64, progress);
            }
            Place::After(..) => {
                self.break_off(progress);
                self.begin(held.len());
            }
            Place::First | Place::Broken => self.begin(held.len()),
        }
        Ok(held)
    }

    /// Starts the media clocks, for the first time or after a gap. `frames` frames have already arrived, so
    /// the media start this many frames before now.
    fn begin(&mut self, frames: usize) {
        let Moment { now, wall } = self.called;
        if !matches!(self.place, Place::First) {
            self.segments.discontinue();
        }
        self.segments.clock.anchor(wall, frames_last(frames as u64));
        self.place = Place::After(Pace::begin(now, frames as u64));
    }

    fn take_frame(&mut self, frame: &[u8], progress: &mut Progress) -> Result<(), PackageError> {
        let now = self.called.now;
        let Place::After(pace) = &mut self.place else { return Ok(()) };
        if pace.runs_ahead(now) {
            return Err(PackageError::AheadOfTime);
        }
        if !pace.is_late(now) {
            pace.media();
            self.append(frame, true, progress);
        }
        Ok(())
    }

    fn write_silence(&mut self, frames: u64, progress: &mut Progress) {
        for _ in 0..frames {
            if let Place::After(pace) = &mut self.place {
                pace.silence();
            }
            progress.silent_frames += 1;
            self.append(&SILENCE, false, progress);
        }
    }

    /// Returns the number of silent frames since FFmpeg's last frame.
    fn silent(&self) -> u64 {
        match &self.place {
            Place::After(pace) => pace.silent(),
            Place::First | Place::Broken => 0,
        }
    }

    fn append(&mut self, frame: &[u8], heard: bool, progress: &mut Progress) {
        let closed = progress.segments_closed;
        self.segments.append(frame, heard, self.called.wall, progress);
        if progress.segments_closed > closed
            && let Place::After(pace) = &mut self.place
        {
            pace.settle();
        }
    }

    /// Ends the timeline, so that the next media follow a discontinuity.
    fn break_off(&mut self, progress: &mut Progress) {
        self.segments.close(self.called.wall, progress);
        self.place = Place::Broken;
    }

    fn publish_progress(&self, progress: &Progress) {
        if progress.parts > 0 || progress.segments_closed > 0 {
            self.publish(Phase::Live);
        }
    }

    fn publish(&self, phase: Phase) {
        let Segmenter { window, open, next, timeline, last_part_at, .. } = &self.segments;
        let parts = open.as_ref().map_or(0, |o| o.parts.len() as u32);
        // Pending frames are lost with this packager.
        let place = match &self.place {
            Place::After(pace) => Place::After(pace.clone().less(self.segments.pending())),
            place => place.clone(),
        };
        self.stream.publish(Snapshot {
            phase,
            window: window.clone(),
            open: open.clone(),
            hinted: (next.media_sequence, parts),
            timeline: *timeline,
            place,
            last_part_at: *last_part_at,
            text: OnceLock::new(),
        });
    }
}

impl Drop for Packager {
    /// Makes waiting readers send their requests again. Renders nothing, because a panic in this code may
    /// have caused the drop.
    fn drop(&mut self) {
        if !matches!(self.process, Process::Finished) {
            self.stream.supersede();
        }
    }
}

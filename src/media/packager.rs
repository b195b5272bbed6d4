//! Packages FFmpeg's AAC into encrypted parts and segments on one timeline, and publishes them to listeners.
//!
//! ```text
//! Idle -begin_incarnation-> Fresh -a part's worth of frames-> Running -begin_incarnation-> Fresh
//! any of them -bad bytes-> Failed (until begin_incarnation);  -finish-> Finished
//! ```
//! The timeline goes on over processes: time for which FFmpeg delivers nothing is filled with silence, at the latest
//! when the next part is due ([`Packager::fill_at`]). Only a hole longer than the window, or one before which nobody
//! knows the timestamps, is left open, with a discontinuity behind it.
//!
//! Owns: what is published when. Never does: wait, read a clock.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::adts::{AdtsError, AdtsReader, SILENCE};
use super::crypto::ContentKeys;
use super::heritage;
use super::pace::{AHEAD, Pace};
use super::segmenter::Segmenter;
use super::stream::{LiveStream, Phase, Snapshot};
use super::window::{Limits, Window};
use crate::domain::ids::UnixMs;
use crate::domain::timeline::{Junction, MediaEnd, Moment, Timeline, frames_last, whole_frames};

/// After this long without a call the node itself did not run: FFmpeg's output is read before silence is written.
const OWN_PAUSE: Duration = Duration::from_secs(1);

/// How a room is cut. Impossible combinations are mended, not refused: a segment holds at least one part, a
/// window at least three target durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackagerConfig {
    /// A part is that, rounded up to whole AAC frames.
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
    /// Of the newest segment so far; the next discontinuity is one above it.
    pub discontinuity: u64,
}

/// What one call brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Frames that FFmpeg delivered. Silence never counts as progress of FFmpeg.
    pub frames: u32,
    /// Frames of silence written in place of missing ones.
    pub silent_frames: u32,
    /// Parts published, of media or silence.
    pub parts: u32,
    pub segments_closed: u32,
}

/// FFmpeg's output cannot be published. Nothing more is taken from this process: start another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    #[error("no process has begun")]
    NotBegun,
    #[error("the stream has been finished")]
    Finished,
    #[error(transparent)]
    Adts(#[from] AdtsError),
    #[error("more than {AHEAD:?} ahead of the clock: its RTP comes faster than real time")]
    AheadOfTime,
}

/// Packages one room from one start (or handover) on.
#[derive(Debug)]
pub struct Packager {
    limits: Limits,
    segments: Segmenter,
    place: Place,
    process: Process,
    /// The last call.
    called: Moment,
    stream: Arc<LiveStream>,
}

/// Source of the bytes.
#[derive(Debug)]
enum Process {
    Idle,
    /// Fewer frames than a part so far. They are held back until it is clear how much time they leave to fill.
    Fresh {
        reader: AdtsReader,
        held: Vec<Bytes>,
    },
    Running(AdtsReader),
    Failed(PackageError),
    Finished,
}

/// How the next media join those before.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// There are none.
    First,
    /// Without a gap.
    After(Pace),
    /// Behind a hole that is not filled.
    Broken,
}

impl Packager {
    /// `start` must be free: [`next`](Self::next) of who ended in order, or the reserved ceiling after a crash.
    pub fn new(
        config: PackagerConfig,
        keys: ContentKeys,
        start: SequenceStart,
        junction: Junction,
        at: Moment,
    ) -> (Self, Arc<LiveStream>) {
        Self::with(config, keys, start, junction, at, Window::new(start.discontinuity))
    }

    /// The same behind the window of another mixer ([`LiveStream::heritage`]). `None` if that does not end where these
    /// numbers begin.
    pub fn behind(
        config: PackagerConfig,
        keys: ContentKeys,
        start: SequenceStart,
        heritage: Bytes,
        at: Moment,
    ) -> Option<(Self, Arc<LiveStream>)> {
        let (window, junction) = heritage::from_bytes(heritage, keys.hint())?;
        let goes_on = window.held().last().is_some_and(|last| last.head.msn + 1 == start.media_sequence)
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
            // Without a window, only the store knows when the media ended.
            packager.segments.clock.at_least(UnixMs(at.wall.0.saturating_sub(ago.as_millis() as u64)));
        }
        (packager, stream)
    }

    /// Goes on with a stream whose packager is gone: what its readers were told last is the truth. `None` if it
    /// has ended, or was made with other keys.
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

    /// Takes up the stream where its newest snapshot left it.
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

    /// A new FFmpeg process: its media go on where those before ended.
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

    /// Takes bytes as they were read at this moment. Parts are published before this returns, also those before an
    /// error.
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

    /// Whole frames that are missing up to now: what a process that already runs may contribute of its past.
    pub fn missing(&self, now: Duration) -> usize {
        match &self.place {
            Place::After(pace) => pace.missing(now) as usize,
            Place::First | Place::Broken => 0,
        }
    }

    /// When silence is due if FFmpeg delivers nothing until then: a part is at most one and a half parts late, which
    /// a player that keeps the hold-back of three parts bears. `None`: no media have come yet, or none for too long.
    pub fn fill_at(&self) -> Option<Duration> {
        match (&self.place, &self.process) {
            (_, Process::Finished) | (Place::First | Place::Broken, _) => None,
            (Place::After(pace), _) => {
                let rest = frames_last(self.segments.lacking());
                Some(pace.lags_by(rest + self.limits.part_target * 3 / 2))
            }
        }
    }

    /// When FFmpeg's next frames are worth reading: the last one of the next part is about to come. `None`: at once.
    pub fn read_at(&self) -> Option<Duration> {
        match (&self.process, &self.place) {
            (Process::Running(_), Place::After(pace)) => {
                Some(pace.lags_by(frames_last(self.segments.lacking() - 1)))
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
                // Should this process deliver after all, its media begin anew.
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

    /// The live is over: closes the last segment, ends the playlist, releases whoever waits.
    pub fn finish(&mut self) {
        self.process = Process::Finished;
        self.segments.close(self.called.wall, &mut Progress::default());
        self.publish(Phase::Ended);
    }

    /// The room goes on elsewhere: publishes what is left, so that all that was taken can be heard.
    pub fn leave(&mut self) {
        self.process = Process::Idle;
        if self.segments.close(self.called.wall, &mut Progress::default()) {
            self.publish(Phase::Live);
        }
    }

    /// The numbers to reserve, or to hand over. The number of a segment that has parts is no longer free.
    pub fn next(&self) -> SequenceStart {
        let Segmenter { open, next, .. } = &self.segments;
        SequenceStart { media_sequence: next.media_sequence + u64::from(open.is_some()), ..*next }
    }

    /// Where the published media end. `None` behind a hole: nobody is to go on without a discontinuity.
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

    /// The frames that may be taken now: of a fresh process none before a part's worth is here. Then the time since
    /// the last media is filled with silence, less what these frames are.
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
                // More frames than time: silence was written for the first of them.
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

    /// Media begin, or begin again, with so many frames in hand.
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

    /// Silent frames since FFmpeg's last.
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

    /// Gives the timeline up: the next media stand behind a discontinuity.
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
        // Frames that are pending are lost with this packager.
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
    /// Readers that wait for what this one would have made are told to ask again. Renders nothing: it may be a
    /// panic of ours that ends it.
    fn drop(&mut self) {
        if !matches!(self.process, Process::Finished) {
            self.stream.supersede();
        }
    }
}

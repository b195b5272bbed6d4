//! Media of a room for its listeners: playlist, segments and parts, each as reference-counted bytes.
//!
//! The packager publishes a snapshot per change. A reader takes the newest one, or waits for one that answers
//! its request. Owns: waiting (blocking reload, hinted parts), with a limit. Does not render separately for
//! one reader, or touch a disk.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::blocking_reload::{Answer, BlockingReload, is_too_far};
use super::crypto::ContentKeys;
use super::media_error::MediaError;
use super::names::{MediaFile, NonceHint};
use super::packager::{Place, SequenceStart};
use super::playlist::Playlist;
use super::playlist_text::PlaylistText;
use super::window::{Limits, OpenSegment, Window};
use super::window_snapshot;
use stentor_domain::ids::UnixMs;
use stentor_domain::timeline::Timeline;

/// State of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Live,
    /// The broadcast is over, and the playlist has its end tag.
    Ended,
    /// The packager is gone, but the broadcast continues with another one, here or on another node.
    Superseded,
}

/// One state of the stream, immutable once published. Cheap to clone: the contents are shared.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub phase: Phase,
    pub window: Window,
    pub open: Option<OpenSegment>,
    /// Media sequence number and index of the next part.
    pub hinted: (u64, u32),
    /// Position after the last published part.
    pub timeline: Timeline,
    pub place: Place,
    /// Time at which audio from FFmpeg was last published; silence does not count.
    pub last_part_at: Option<UnixMs>,
    /// Playlist, once it has been requested.
    pub text: OnceLock<PlaylistText>,
}

/// Rendering of the playlist, shared by all requests between two changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaylistBody {
    pub text: PlaylistText,
    /// True for the final rendering.
    pub ended: bool,
    /// Media sequence number and index of the next part. Identifies the rendering.
    pub next: (u64, u32),
}

/// Statistics of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStats {
    /// Media sequence number of the newest complete segment.
    pub last_sequence: Option<u64>,
    pub last_part_at: Option<UnixMs>,
    /// Segments in memory, listed or not.
    pub segments: usize,
    /// Bytes of these segments and of all parts.
    pub bytes: usize,
}

/// Stream shared by the packager and all readers.
#[derive(Debug)]
pub struct LiveStream {
    pub(super) keys: ContentKeys,
    limits: Limits,
    pub(super) state: BlockingReload<Snapshot>,
}

impl LiveStream {
    pub(super) fn new(keys: ContentKeys, limits: Limits, first: Snapshot) -> Self {
        Self { keys, limits, state: BlockingReload::new(first, 3 * limits.target) }
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        self.state.publish(snapshot);
    }

    /// Ends publishing by this packager without ending the broadcast.
    pub(super) fn supersede(&self) {
        let last = self.snapshot();
        self.publish(Snapshot { phase: Phase::Superseded, ..(*last).clone() });
    }

    /// Returns the window snapshot for a successor: the closed segments, in the format of `window_snapshot`.
    pub fn window_snapshot(&self, wall: UnixMs) -> Bytes {
        window_snapshot::to_bytes(&self.snapshot(), self.hint(), wall)
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.state.newest()
    }

    /// Returns the newest playlist. With `at` (`_HLS_msn`, `_HLS_part`), waits for the first one that
    /// contains that segment or part (RFC 8216bis section 6.2.5.2), at most three target durations.
    pub async fn playlist(&self, at: Option<(u64, Option<u32>)>) -> Result<PlaylistBody, MediaError> {
        match self.state.wait(|s| s.playlist_at(at, self)).await {
            Err(MediaError::Timeout) if !self.snapshot().has_playlist() => Err(MediaError::NotYet),
            answer => answer,
        }
    }

    /// Returns an encrypted part. Waits for the hinted one, at most three target durations.
    pub async fn part(&self, msn: u64, index: u32) -> Result<Bytes, MediaError> {
        self.state.wait(|s| s.part(msn, index)).await
    }

    /// Returns an encrypted whole segment.
    pub fn segment(&self, msn: u64) -> Result<Bytes, MediaError> {
        self.snapshot().segment(msn, &self.keys)
    }

    /// Returns the named file, or `Gone` if the name belongs to another broadcast.
    pub async fn file(&self, file: &MediaFile) -> Result<Bytes, MediaError> {
        if file.hint() != self.hint() {
            return Err(MediaError::Gone);
        }
        match *file {
            MediaFile::Segment { msn, .. } => self.segment(msn),
            MediaFile::Part { msn, index, .. } => self.part(msn, index).await,
        }
    }

    /// Returns the hint that distinguishes keys and files of this broadcast from those of another.
    pub fn hint(&self) -> NonceHint {
        self.keys.hint()
    }

    /// Returns EXT-X-TARGETDURATION.
    pub fn target_duration(&self) -> Duration {
        self.limits.target
    }

    pub fn stats(&self) -> StreamStats {
        self.snapshot().stats()
    }
}

impl Snapshot {
    /// Returns the next segment number and discontinuity number.
    pub fn next(&self) -> SequenceStart {
        let open = self.open.iter().filter(|open| open.head.discontinuity).count() as u64;
        let discontinuity = self.window.next_discontinuity() + open;
        SequenceStart { media_sequence: self.hinted.0, discontinuity }
    }

    /// Returns the end time of the media so far.
    pub fn end(&self) -> UnixMs {
        let closed = self.window.held().last().map(|segment| (segment.head.started, segment.duration));
        let open = self.open.as_ref().map(|open| (open.head.started, open.duration));
        let (started, duration) = open.or(closed).unwrap_or((UnixMs(0), Duration::ZERO));
        UnixMs(started.0 + duration.as_millis() as u64)
    }

    /// Returns true once a segment is complete. hls.js treats a playlist that has only parts as empty.
    pub fn has_playlist(&self) -> bool {
        !self.window.is_empty()
    }

    fn playlist_at(&self, at: Option<(u64, Option<u32>)>, stream: &LiveStream) -> Answer<PlaylistBody> {
        if !self.has_playlist() {
            return self.never_more();
        }
        let ended = self.phase == Phase::Ended;
        match at {
            Some((msn, part)) if !ended && !self.contains(msn, part) => {
                if is_too_far(self.hinted, msn, part, stream.limits.advance) {
                    return Some(Err(MediaError::TooFarAhead));
                }
                self.never_more()
            }
            _ => Some(Ok(PlaylistBody { text: self.text(stream), ended, next: self.hinted })),
        }
    }

    /// Returns the playlist. The first request renders it for all requests. Without a request, nothing is
    /// rendered.
    fn text(&self, stream: &LiveStream) -> PlaylistText {
        let playlist = Playlist {
            hint: stream.hint(),
            limits: &stream.limits,
            window: &self.window,
            open: self.open.as_ref(),
            hinted: (self.phase != Phase::Ended).then_some(self.hinted),
        };
        self.text.get_or_init(|| playlist.render().into()).clone()
    }

    /// Returns the answer to a request for media that do not exist: `None`, so that the request waits, or an
    /// error if no more media will come.
    fn never_more<T>(&self) -> Answer<T> {
        match self.phase {
            Phase::Live => None,
            Phase::Ended => Some(Err(MediaError::Gone)),
            Phase::Superseded => Some(Err(MediaError::Unavailable)),
        }
    }

    /// Returns true if the playlist contains the position. A part index past the end of its segment means the
    /// first part of the next segment.
    fn contains(&self, msn: u64, part: Option<u32>) -> bool {
        let (open, parts) = self.hinted;
        match part {
            None => msn < open,
            Some(part) if msn == open => part < parts,
            Some(part) if msn.checked_add(1) == Some(open) => {
                parts > 0 || self.window.get(msn).is_none_or(|s| part < s.part_count)
            }
            Some(_) => msn < open,
        }
    }

    fn part(&self, msn: u64, index: u32) -> Answer<Bytes> {
        if (msn, index) == self.hinted {
            return self.never_more();
        }
        let parts = match &self.open {
            Some(open) if open.head.msn == msn => &open.parts,
            _ if msn >= self.hinted.0 => return Some(Err(MediaError::NotYet)),
            _ => match self.window.get(msn) {
                Some(segment) => &segment.parts,
                None => return Some(Err(MediaError::Gone)),
            },
        };
        let missing = if msn == self.hinted.0 { MediaError::NotYet } else { MediaError::Gone };
        Some(parts.get(index as usize).map(|p| p.bytes.clone()).ok_or(missing))
    }

    fn segment(&self, msn: u64, keys: &ContentKeys) -> Result<Bytes, MediaError> {
        let missing = if msn >= self.hinted.0 { MediaError::NotYet } else { MediaError::Gone };
        self.window.get(msn).and_then(|s| s.whole(keys).ok()).ok_or(missing)
    }

    fn stats(&self) -> StreamStats {
        let open = self.open.iter().flat_map(|o| &o.parts).map(|p| p.bytes.len()).sum::<usize>();
        let bytes = open + self.window.held().map(|segment| segment.weight()).sum::<usize>();
        StreamStats {
            last_sequence: self.window.held().last().map(|s| s.head.msn),
            last_part_at: self.last_part_at,
            segments: self.window.held().count(),
            bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::poll;

    use super::*;
    use crate::{ContentKeys, Packager, PackagerConfig, SequenceStart, synth};
    use stentor_domain::ids::{Nonce, RoomId};
    use stentor_domain::timeline::{Junction, Moment, Timeline};

    /// Stream with segments of three parts, numbered from 10; the first segment has one part.
    struct Room {
        packager: Packager,
        stream: Arc<LiveStream>,
        parts: u64,
    }

    impl Room {
        fn new() -> Self {
            let keys = ContentKeys::new(b"s", &RoomId::new("demo").unwrap(), &Nonce("n".into()));
            let config = PackagerConfig {
                part: Duration::from_millis(192),
                segment: Duration::from_millis(600),
                window: 6,
                key_rotation: 10,
            };
            let start = SequenceStart { media_sequence: 10, discontinuity: 0 };
            let junction = Junction::First(Timeline::default());
            let (mut packager, stream) = Packager::new(config, keys, start, junction, moment(0));
            packager.begin_incarnation(moment(0));
            Self { packager, stream, parts: 0 }
        }

        fn with_parts(parts: u64) -> Self {
            let mut room = Self::new();
            (0..parts).for_each(|_| room.part());
            room
        }

        fn part(&mut self) {
            self.packager.push(&synth::frames(9, 0), moment(self.parts * 192)).unwrap();
            self.parts += 1;
        }
    }

    fn moment(ms: u64) -> Moment {
        Moment { now: Duration::from_millis(ms), wall: UnixMs(ms) }
    }

    #[tokio::test]
    async fn no_playlist_before_a_complete_segment() {
        let mut room = Room::new();
        let stream = room.stream.clone();
        let mut waiting = std::pin::pin!(stream.playlist(None));
        assert!(poll!(&mut waiting).is_pending());
        room.part();
        let Poll::Ready(Ok(body)) = poll!(&mut waiting) else { panic!("one part is the first segment") };
        assert_eq!((body.next, body.ended), ((11, 0), false));
    }

    #[tokio::test]
    async fn reload_waits_for_segment_or_part() {
        let mut room = Room::with_parts(1);
        let stream = room.stream.clone();
        let mut part = std::pin::pin!(stream.playlist(Some((11, Some(0)))));
        let mut segment = std::pin::pin!(stream.playlist(Some((11, None))));
        assert!(poll!(&mut part).is_pending() && poll!(&mut segment).is_pending());
        room.part();
        assert!(poll!(&mut part).is_ready() && poll!(&mut segment).is_pending());
        room.part();
        room.part();
        let Poll::Ready(Ok(body)) = poll!(&mut segment) else { panic!("complete with its third part") };
        assert_eq!(body.next, (12, 0));
        assert!(
            stream.playlist(Some((10, Some(0)))).await.is_ok(),
            "a reload for an earlier part is answered at once"
        );
    }

    #[tokio::test]
    async fn part_past_segment_end_means_next() {
        let mut room = Room::with_parts(4);
        let stream = room.stream.clone();
        let mut waiting = std::pin::pin!(stream.playlist(Some((11, Some(3)))));
        assert!(poll!(&mut waiting).is_pending());
        room.part();
        assert!(poll!(&mut waiting).is_ready());
    }

    #[tokio::test]
    async fn reload_too_far_ahead_is_refused() {
        let room = Room::with_parts(1);
        for at in [(13, None), (13, Some(0)), (u64::MAX, Some(u32::MAX)), (11, Some(17))] {
            assert_eq!(room.stream.playlist(Some(at)).await, Err(MediaError::TooFarAhead), "{at:?}");
        }
        assert!(poll!(std::pin::pin!(room.stream.playlist(Some((12, Some(0)))))).is_pending());
    }

    #[tokio::test]
    async fn only_hinted_part_is_awaited() {
        let mut room = Room::with_parts(2);
        let stream = room.stream.clone();
        assert_eq!(stream.part(11, 2).await, Err(MediaError::NotYet));
        assert_eq!(stream.part(12, 0).await, Err(MediaError::NotYet));
        assert_eq!(stream.part(9, 0).await, Err(MediaError::Gone));
        assert_eq!(stream.segment(11), Err(MediaError::NotYet));
        let mut waiting = std::pin::pin!(stream.part(11, 1));
        assert!(poll!(&mut waiting).is_pending());
        room.part();
        assert!(matches!(poll!(&mut waiting), Poll::Ready(Ok(_))));
    }

    #[tokio::test]
    async fn hinted_part_is_silence_if_ffmpeg_dies() {
        let mut room = Room::with_parts(2);
        let stream = room.stream.clone();
        let mut waiting = std::pin::pin!(stream.part(11, 1));
        room.packager.begin_incarnation(moment(200));
        assert!(poll!(&mut waiting).is_pending(), "the segment continues");
        let due = room.packager.fill_at().unwrap();
        assert_eq!(due, Duration::from_millis(192 + 192 + 288), "one and a half parts late");
        assert_eq!(room.packager.fill(moment(671)).parts, 0);
        assert_eq!(room.packager.fill(moment(672)).parts, 1);
        assert!(waiting.await.is_ok());
        assert_eq!(stream.stats().last_part_at, Some(UnixMs(192)), "silence does not count");
    }

    #[tokio::test]
    async fn hinted_part_is_gone_with_a_handover() {
        let mut room = Room::with_parts(2);
        let stream = room.stream.clone();
        let mut waiting = std::pin::pin!(stream.part(11, 1));
        assert!(poll!(&mut waiting).is_pending());
        room.packager.leave();
        assert_eq!(waiting.await, Err(MediaError::Gone));
        assert!(stream.segment(11).is_ok(), "the published parts make a complete segment");
    }

    #[tokio::test]
    async fn stream_end_releases_waiting_requests() {
        let mut room = Room::with_parts(1);
        let stream = room.stream.clone();
        let mut list = std::pin::pin!(stream.playlist(Some((11, Some(0)))));
        let mut part = std::pin::pin!(stream.part(11, 0));
        assert!(poll!(&mut list).is_pending() && poll!(&mut part).is_pending());
        room.packager.finish();
        assert!(list.await.unwrap().ended);
        assert_eq!(part.await, Err(MediaError::Gone));
        drop(room);
        assert!(stream.playlist(None).await.unwrap().ended, "the end remains");

        let mut silent = Room::new();
        silent.packager.finish();
        assert_eq!(silent.stream.playlist(None).await, Err(MediaError::Gone));
    }

    #[tokio::test]
    async fn dropped_packager_supersedes_readers() {
        let Room { packager, stream, .. } = Room::with_parts(1);
        let mut list = std::pin::pin!(stream.playlist(Some((11, None))));
        assert!(poll!(&mut list).is_pending());
        drop(packager);
        assert_eq!(list.await, Err(MediaError::Unavailable));
        assert_eq!(stream.part(11, 0).await, Err(MediaError::Unavailable));
        assert!(!stream.playlist(None).await.unwrap().ended, "the existing media can be played");
    }

    #[tokio::test]
    async fn blocking_reload_times_out() {
        let room = Room::with_parts(1);
        let limits = Limits { target: Duration::from_millis(1), ..room.stream.limits };
        let now = room.stream.snapshot();
        let empty = Snapshot { window: Window::new(0), ..(*now).clone() };
        let silent = LiveStream::new(room.stream.keys.clone(), limits, empty);
        assert_eq!(silent.playlist(None).await, Err(MediaError::NotYet));
        let stalled = LiveStream::new(room.stream.keys.clone(), limits, (*now).clone());
        assert_eq!(stalled.playlist(Some((11, None))).await, Err(MediaError::Timeout));
        assert_eq!(stalled.part(11, 0).await, Err(MediaError::Timeout));
    }

    #[tokio::test]
    async fn stream_stats_count_held_media() {
        let room = Room::with_parts(3);
        let before = room.stream.stats();
        let segment = room.stream.segment(10).unwrap().len();
        let mut parts = 0;
        for (msn, index) in [(10, 0), (11, 0), (11, 1)] {
            parts += room.stream.part(msn, index).await.unwrap().len();
        }
        assert_eq!(before.bytes, parts, "a whole segment is made only on request");
        let stats = room.stream.stats();
        assert_eq!((stats.last_sequence, stats.segments), (Some(10), 1));
        assert_eq!(stats.last_part_at, Some(UnixMs(2 * 192)));
        assert_eq!(stats.bytes, segment + parts);
    }
}

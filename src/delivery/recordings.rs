//! Recordings of all mixers, joined for playing: from this node's disk, from the mixers that have them, or
//! from the copy in object storage.
//!
//! The copy is used if a mixer does not answer or has removed its data. Without a copy, a mixer that does
//! not answer contributes nothing; the recording can be played without its part.
//!
//! Owns: the choice of disk, mixer or copy, and the joining of the journals. Does not check tokens or write
//! recordings.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use sha2::{Digest, Sha256};

use super::joined_lists::JoinedLists;
use super::layouts::Layouts;
use super::opus_files::{OpusFile, OpusFiles};
use super::replay_info::{ReplayInfo, tags_of};
use super::replay_media::ReplayMedia;
use super::segment_archive::{SegmentArchive, journal_of};
use super::stored_copies::{self, StoredCopies};
use super::{MixerClient, blocking};
use crate::auth::Secrets;
use crate::domain::captions::{TranscriptLine, captions_of};
use crate::domain::clip::{Clip, positions};
use crate::domain::feed::{self, Feed, FeedItem};
use crate::domain::ids::{ModuleId, RoomId, UnixMs};
use crate::domain::keys::ModuleKind;
use crate::domain::profile::Language;
use crate::domain::recording::{Recording, RecordingId, RecordingState};
use crate::domain::recording_journal::{JournalEntry, join, parse};
use crate::domain::recording_metadata::metadata;
use crate::domain::relay_protocol::JOURNAL;
use crate::domain::upload::{CopyKind, StoredSegments, object_name};
use crate::domain::view::StoredValue;
use crate::domain::vouched::url_refusal;
use crate::packager::plain::PlainPart;
use crate::packager::{
    ContentKeys, M4aBuilder, MediaError, MediaFile, NonceHint, RecordedM4a, cut, recorded_playlist,
    without_headers,
};
use crate::rooms::Directory;
use crate::rooms::recordings::{KnownRecording, Recordings};
use crate::spool::tracks::TrackSpool;
use crate::spool::{Extent, Spool};

/// Duration of an AAC frame, in thirds of a millisecond.
const FRAME_THIRDS: u64 = 64;
/// Maximum number of segments that are read at the same time for a layout.
const READS: usize = 8;

pub struct RecordingMedia {
    pub me: ModuleId,
    pub directory: Arc<Directory>,
    pub recordings: Arc<Recordings>,
    pub spool: Spool,
    pub tracks: TrackSpool,
    pub fetcher: MixerClient,
    pub secrets: Arc<Secrets>,
    /// `None`: no object storage is configured.
    pub copies: Option<StoredCopies>,
    pub lists: JoinedLists,
    pub layouts: Layouts,
    pub opus: Arc<OpusFiles>,
}

/// Location of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Mixer(ModuleId),
    /// Copy in object storage.
    Storage,
}

/// Segments of a recording with their places, as of one revision of its key.
#[derive(PartialEq, Eq)]
pub struct JoinedRecording {
    pub(super) id: RecordingId,
    pub(super) revision: i64,
    /// False if a mixer did not answer.
    pub(super) complete: bool,
    /// True if all segments are read from the copy in object storage.
    pub(super) stored: bool,
    segments: Vec<(Place, JournalEntry)>,
}

impl JoinedRecording {
    fn segment(&self, sequence: u64) -> Option<&(Place, JournalEntry)> {
        let found = self.segments.binary_search_by_key(&sequence, |(_, entry)| entry.sequence);
        found.ok().map(|at| &self.segments[at])
    }

    fn entries(&self) -> Vec<&JournalEntry> {
        self.segments.iter().map(|(_, entry)| entry).collect()
    }

    /// Returns the position of the end; `None` if a mixer did not answer.
    pub(super) fn end(&self) -> Option<Duration> {
        self.complete.then(|| positions(self.entries()).1)
    }

    /// Returns a digest of the content. It does not depend on the places, so a download can continue after
    /// the mixers have removed their data.
    fn digest(&self) -> u64 {
        let mut hash = Sha256::new();
        for entry in self.entries() {
            let JournalEntry { sequence, duration_us, started_at, key_index, bytes, .. } = entry;
            let numbers = [*sequence, *duration_us, started_at.0, *key_index, *bytes];
            numbers.iter().for_each(|number| hash.update(number.to_be_bytes()));
        }
        hash.finalize().iter().take(8).fold(0, |digest, byte| digest << 8 | u64::from(*byte))
    }

    /// Returns the segments that overlap the clip.
    pub(super) fn of_clip(&self, clip: Clip) -> Result<Vec<&JournalEntry>, MediaError> {
        let entries = self.entries();
        if clip == Clip::WHOLE {
            return Ok(entries);
        }
        let parts = cut(&entries, clip).into_iter().filter(|part| !part.frames.is_empty());
        let parts: Vec<_> = parts.map(|part| entries[part.segment]).collect();
        if parts.is_empty() { Err(MediaError::NoSuchClip) } else { Ok(parts) }
    }
}

fn unreadable(recording: &RecordingId, error: &dyn std::fmt::Display) -> MediaError {
    tracing::warn!(%recording, %error, "cannot read a recorded segment");
    MediaError::RecordingUnavailable
}

/// Returns the first and the last moment of segments.
fn time_of(segments: &[&JournalEntry]) -> RangeInclusive<UnixMs> {
    let begins = segments.first().map_or(UnixMs(0), |first| first.started_at);
    let end = |last: &&JournalEntry| UnixMs(last.started_at.0 + last.duration_us / 1000);
    begins..=segments.last().map_or(begins, end)
}

/// Returns the object with the segments of a recording.
fn copy_of(id: &RecordingId, known: &Recording, stored: StoredSegments) -> stored_copies::Copy {
    stored_copies::Copy {
        object: object_name(&known.room, id, CopyKind::Segments),
        version: stored.at.0,
        length: stored.media + stored.journal,
    }
}

pub(super) type RecordingValue = Arc<StoredValue<Recording>>;

impl RecordingMedia {
    /// Returns a recording that can be played.
    pub(super) fn ready(&self, id: &RecordingId) -> Result<RecordingValue, MediaError> {
        let known = self.known(id)?;
        match self.recordings.state(id, &known) {
            RecordingState::Ready => Ok(known),
            RecordingState::Recording | RecordingState::Pending => Err(MediaError::RecordingNotReady),
        }
    }

    /// Returns the position of the end of a recording. `None`: it is not ready, or a mixer does not answer.
    pub async fn end(&self, id: &RecordingId) -> Option<Duration> {
        let known = self.ready(id).ok()?;
        self.joined(id, &known).await.ok()?.end()
    }

    fn known(&self, id: &RecordingId) -> Result<RecordingValue, MediaError> {
        if !self.recordings.is_complete() {
            return Err(MediaError::RecordingUnavailable);
        }
        let known = self.recordings.get(id).filter(|recording| recording.deleted_at.is_none());
        known.ok_or(MediaError::NoSuchRecording)
    }

    pub(super) async fn joined(
        &self,
        id: &RecordingId,
        known: &RecordingValue,
    ) -> Result<Arc<JoinedRecording>, MediaError> {
        let revision = known.mod_revision;
        if let Some(found) = self.lists.find(id, revision, false, Instant::now()) {
            return Ok(found);
        }
        let copy = self.copies.as_ref().and(known.stored).and_then(|stored| stored.segments);
        if let Some(copy) = copy.filter(|_| known.takes.values().any(|take| take.dropped)) {
            return self.joined_copy(id, known, copy).await;
        }
        let takes = known
            .takes
            .keys()
            .map(|mixer| async move { (mixer.clone(), self.journal(mixer, id, &known.room).await) });
        let takes = join_all(takes).await;
        let complete = takes.iter().all(|(_, entries)| entries.is_some());
        if let Some(copy) = copy.filter(|_| !complete)
            && let Ok(joined) = self.joined_copy(id, known, copy).await
        {
            return Ok(joined);
        }
        let read: Vec<_> =
            takes.into_iter().filter_map(|(mixer, entries)| Some((Place::Mixer(mixer), entries?))).collect();
        if read.is_empty() {
            return Err(MediaError::RecordingUnavailable);
        }
        let (id, segments) = (id.clone(), join(read));
        let joined = Arc::new(JoinedRecording { id, revision, complete, stored: false, segments });
        self.lists.keep(&joined, Instant::now());
        Ok(joined)
    }

    /// Returns the segments of the copy in object storage.
    async fn joined_copy(
        &self,
        id: &RecordingId,
        known: &RecordingValue,
        stored: StoredSegments,
    ) -> Result<Arc<JoinedRecording>, MediaError> {
        let revision = known.mod_revision;
        if let Some(found) = self.lists.find(id, revision, true, Instant::now()) {
            return Ok(found);
        }
        let copies = self.copies.as_ref().ok_or(MediaError::RecordingUnavailable)?;
        let journal = copies.read(&copy_of(id, known, stored), journal_of(stored)).await;
        let entries = parse(&journal.ok_or(MediaError::RecordingUnavailable)?);
        let segments = join([(Place::Storage, entries)]);
        let joined =
            Arc::new(JoinedRecording { id: id.clone(), revision, complete: true, stored: true, segments });
        self.lists.keep(&joined, Instant::now());
        Ok(joined)
    }

    async fn journal(&self, mixer: &ModuleId, id: &RecordingId, room: &RoomId) -> Option<Vec<JournalEntry>> {
        if *mixer == self.me {
            let (spool, id) = (self.spool.clone(), id.clone());
            return blocking(move || spool.entries(&id)).await.ok();
        }
        let url = self.url(mixer)?;
        self.fetcher.recorded(&url, room, id, JOURNAL).await.map(|text| parse(&text))
    }

    async fn media(&self, place: &Place, id: &RecordingId, known: &Recording, at: Extent) -> Option<Bytes> {
        match place {
            Place::Mixer(mixer) if *mixer == self.me => {
                let (spool, id) = (self.spool.clone(), id.clone());
                blocking(move || spool.read(&id, at)).await.ok()
            }
            Place::Mixer(mixer) => {
                let url = self.url(mixer)?;
                self.fetcher.recorded(&url, &known.room, id, &at.to_string()).await
            }
            Place::Storage => {
                let stored = known.stored?.segments?;
                let copies = self.copies.as_ref()?;
                copies.read(&copy_of(id, known, stored), at.offset..at.offset + at.bytes).await
            }
        }
    }

    /// Reads a segment from its place. If that fails, reads it from the copy in object storage.
    async fn segment_of(
        &self,
        id: &RecordingId,
        known: &RecordingValue,
        joined: &JoinedRecording,
        sequence: u64,
    ) -> Result<Bytes, MediaError> {
        let (place, entry) = joined.segment(sequence).ok_or(MediaError::NoSuchFile)?;
        if let Some(media) = self.media(place, id, known, entry.into()).await {
            return Ok(media);
        }
        let stored = known.stored.and_then(|stored| stored.segments).filter(|_| !joined.stored);
        let copied = self.joined_copy(id, known, stored.ok_or(MediaError::RecordingUnavailable)?).await?;
        let (place, entry) = copied.segment(sequence).ok_or(MediaError::RecordingUnavailable)?;
        let media = self.media(place, id, known, entry.into()).await;
        media.ok_or(MediaError::RecordingUnavailable)
    }

    /// Reads the segments of a clip and makes the layout of its M4A file.
    async fn lay_out(
        &self,
        id: &RecordingId,
        known: &RecordingValue,
        joined: &JoinedRecording,
        clip: Clip,
    ) -> Result<Arc<RecordedM4a>, MediaError> {
        let keys = self.keys(known);
        let entries = joined.entries();
        let parts = cut(&entries, clip);
        let Some(first) = parts.first() else { return Err(MediaError::NoSuchClip) };
        let begins = entries[first.segment].started_at.0 + first.frames.start * FRAME_THIRDS / 3;
        let started = UnixMs(begins.saturating_sub(first.silence * FRAME_THIRDS / 3));
        let mut file = M4aBuilder::default();
        for parts in parts.chunks(READS) {
            let read = parts.iter().map(|part| {
                let sequence = entries[part.segment].sequence;
                async move {
                    match part.frames.is_empty() {
                        true => Ok(Bytes::new()),
                        false => self.segment_of(id, known, joined, sequence).await,
                    }
                }
            });
            for (part, media) in parts.iter().zip(join_all(read).await) {
                file.silence(part.silence);
                let media = media?;
                if part.frames.is_empty() {
                    continue;
                }
                let entry = entries[part.segment];
                let added = PlainPart::open(&keys, entry.key_index, entry.sequence, &media)
                    .and_then(|audio| Ok(file.segment(entry.sequence, &audio.bytes, part.frames.clone())?));
                added.map_err(|error| unreadable(id, &error))?;
            }
        }
        let tags = tags_of(known, &entries, clip);
        let mut described = DefaultHasher::new();
        tags.hash(&mut described);
        let file = file.finish(started, &tags).map_err(|error| unreadable(id, &error))?;
        let range = match clip == Clip::WHOLE {
            true => String::new(),
            false => format!("-{}-{}", clip.from.as_millis(), clip.to.as_millis()),
        };
        let etag = format!("{id}-{:x}-{:x}-{:x}{range}", joined.digest(), described.finish(), file.length());
        Ok(Arc::new(RecordedM4a { room: known.room.clone(), started, etag, complete: joined.complete, file }))
    }

    /// Returns the URL that a mixer's heartbeat announces; `None` if it must not be used.
    pub(super) fn url(&self, mixer: &ModuleId) -> Option<String> {
        let modules = self.directory.modules();
        let module = modules.get(&(ModuleKind::Mixer, mixer.clone()))?;
        let url = module.heartbeat.as_ref().map(|heartbeat| heartbeat.url.clone())?;
        url_refusal(mixer, &url, &modules).is_none().then_some(url)
    }

    pub(super) fn keys(&self, known: &Recording) -> ContentKeys {
        ContentKeys::new(&self.secrets.hls.0, &known.room, &known.nonce)
    }
}

#[async_trait]
impl ReplayMedia for RecordingMedia {
    fn room(&self, recording: &RecordingId) -> Result<RoomId, MediaError> {
        self.known(recording).map(|known| known.room.clone())
    }

    fn feed(&self, feed: &Feed) -> Result<Vec<FeedItem>, MediaError> {
        if !self.recordings.is_complete() {
            return Err(MediaError::RecordingUnavailable);
        }
        let mut ready = self.recordings.of_room(None);
        let is_ready = |known: &KnownRecording| {
            self.recordings.state(&known.id, &known.recording) == RecordingState::Ready
        };
        ready.retain(|known| feed.has(&known.recording) && is_ready(known));
        let item =
            |known: KnownRecording| FeedItem { id: known.id, recording: known.recording.value.clone() };
        Ok(feed::items(feed, ready.into_iter().map(item)))
    }

    fn is_in_feed(&self, recording: &RecordingId, feed: &Feed) -> bool {
        self.known(recording).is_ok_and(|known| feed.has(&known))
    }

    async fn info(&self, recording: &RecordingId, clip: Clip) -> Result<ReplayInfo, MediaError> {
        let known = self.ready(recording)?;
        let joined = self.joined(recording, &known).await?;
        Ok(ReplayInfo::of(recording, &known, &joined.entries(), clip))
    }

    async fn captions(
        &self,
        recording: &RecordingId,
        clip: Clip,
        language: Option<&Language>,
    ) -> Result<String, MediaError> {
        let known = self.ready(recording)?;
        let joined = self.joined(recording, &known).await?;
        let entries = joined.entries();
        let span = time_of(&joined.of_clip(clip)?);
        let lines = self.recordings.captions_within(recording, language, span).await.map_err(|error| {
            tracing::warn!(%recording, %error, "the captions of a recording were not read");
            MediaError::RecordingUnavailable
        })?;
        Ok(captions_of(&lines, &entries, clip, language))
    }

    async fn playlist(&self, recording: &RecordingId, clip: Clip) -> Result<Bytes, MediaError> {
        let known = self.ready(recording)?;
        let joined = self.joined(recording, &known).await?;
        Ok(recorded_playlist(self.keys(&known).hint(), &joined.of_clip(clip)?))
    }

    async fn segment(&self, recording: &RecordingId, file: &MediaFile) -> Result<Bytes, MediaError> {
        let known = self.ready(recording)?;
        let MediaFile::Segment { hint, msn } = *file else { return Err(MediaError::NoSuchFile) };
        if hint != self.keys(&known).hint() {
            return Err(MediaError::NoSuchFile);
        }
        let joined = self.joined(recording, &known).await?;
        self.segment_of(recording, &known, &joined, msn).await
    }

    async fn m4a(&self, recording: &RecordingId, clip: Clip) -> Result<Arc<RecordedM4a>, MediaError> {
        let known = self.ready(recording)?;
        let joined = self.joined(recording, &known).await?;
        let layout = self.layouts.of(&joined, clip);
        layout.get_or_try_init(|| self.lay_out(recording, &known, &joined, clip)).await.cloned()
    }

    async fn opus(&self, recording: &RecordingId, clip: Clip) -> Result<Arc<OpusFile>, MediaError> {
        let source = self.m4a(recording, clip).await?;
        let (opus, spool, id) = (self.opus.clone(), self.spool.clone(), recording.clone());
        let file = blocking(move || opus.of(&id, &source, || spool.scratch(source.file.length()))).await;
        let file = file.map_err(|error| {
            tracing::warn!(%recording, %error, "cannot create an Opus file");
            MediaError::RecordingUnavailable
        })?;
        file.ok_or(MediaError::RecordingUnavailable)
    }

    async fn frames(&self, recording: &RecordingId, sequence: u64) -> Result<Bytes, MediaError> {
        let known = self.ready(recording)?;
        let joined = self.joined(recording, &known).await?;
        let (_, entry) = joined.segment(sequence).ok_or(MediaError::NoSuchFile)?;
        let media = self.segment_of(recording, &known, &joined, sequence).await?;
        let audio = PlainPart::open(&self.keys(&known), entry.key_index, sequence, &media);
        let frames = audio.and_then(|audio| Ok(without_headers(&audio.bytes)?));
        frames.map_err(|error| unreadable(recording, &error))
    }

    async fn archive(&self, recording: &RecordingId) -> Result<Arc<SegmentArchive>, MediaError> {
        let known = self.ready(recording)?;
        let joined = self.joined(recording, &known).await?;
        Ok(Arc::new(SegmentArchive::new(known.room.clone(), joined.complete, joined.entries())))
    }

    async fn encrypted(&self, recording: &RecordingId, sequence: u64) -> Result<Bytes, MediaError> {
        let known = self.ready(recording)?;
        let joined = self.joined(recording, &known).await?;
        self.segment_of(recording, &known, &joined, sequence).await
    }

    fn metadata(&self, recording: &RecordingId) -> Result<String, MediaError> {
        self.ready(recording).map(|known| metadata(recording, &known))
    }

    async fn transcript(&self, recording: &RecordingId) -> Result<Bytes, MediaError> {
        self.ready(recording)?;
        let lines = self.recordings.transcript(recording).await.map_err(|error| {
            tracing::warn!(%recording, %error, "the captions of a recording were not read");
            MediaError::RecordingUnavailable
        })?;
        Ok(lines.iter().map(TranscriptLine::json).collect::<String>().into())
    }

    fn track_size(&self, recording: &RecordingId, number: u32) -> Result<u64, MediaError> {
        self.track(recording, number).map(|(_, track)| track.bytes)
    }

    async fn track_bytes(
        &self,
        recording: &RecordingId,
        number: u32,
        offset: u64,
    ) -> Result<Bytes, MediaError> {
        let (known, track) = self.track(recording, number)?;
        let known: &Recording = &known;
        self.track_part((recording, known), &track, offset).await.ok_or(MediaError::RecordingUnavailable)
    }

    /// Derives the key for every request, as for live rooms. Gives out keys of recorded segments only.
    async fn key(
        &self,
        recording: &RecordingId,
        clip: Clip,
        hint: NonceHint,
        index: u64,
    ) -> Result<[u8; 16], MediaError> {
        let known = self.ready(recording)?;
        let keys = self.keys(&known);
        if hint != keys.hint() {
            return Err(MediaError::NoSuchKey);
        }
        let joined = self.joined(recording, &known).await?;
        let is_used = joined.of_clip(clip)?.iter().any(|entry| entry.key_index == index);
        if is_used { Ok(keys.key(index)) } else { Err(MediaError::NoSuchKey) }
    }
}

#[cfg(test)]
#[path = "recordings_tests.rs"]
pub(super) mod tests;

//! Recordings of all mixers, joined for playback. Their data come from this node's disk or from the mixers
//! that have them.
//!
//! A mixer that does not answer contributes nothing; the recording can be played without the part of this
//! mixer.
//!
//! Owns: the choice of the disk or mixer, and the joined journals of recordings in use. Does not check a
//! token, or write.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::OnceCell;

use super::replay_info::ReplayInfo;
use super::{MixerClient, blocking};
use crate::auth::Secrets;
use crate::domain::clip::Clip;
use crate::domain::ids::{ModuleId, RoomId, UnixMs};
use crate::domain::keys::ModuleKind;
use crate::domain::recording::{Recording, RecordingId, RecordingState};
use crate::domain::recording_journal::{JournalEntry, join, parse};
use crate::domain::relay_protocol::JOURNAL;
use crate::domain::view::StoredValue;
use crate::packager::plain::PlainPart;
use crate::packager::{
    ContentKeys, M4aBuilder, MediaError, MediaFile, NonceHint, RecordedM4a, cut, recorded_playlist,
    without_headers,
};
use crate::rooms::Directory;
use crate::rooms::recordings::Recordings;
use crate::spool::{Extent, Spool};

/// Number of recordings whose joined journals are cached. An hour has 1,800 entries of 100 bytes each.
const KEPT: usize = 32;
/// Number of recordings and clips whose M4A layout is cached. The layout of an hour takes 700 kB.
const LAYOUTS: usize = 8;
/// Duration of an AAC frame, in thirds of a millisecond.
const FRAME_THIRDS: u64 = 64;
/// Maximum number of segments that are read at the same time for a layout.
const READS: usize = 8;

/// Recordings that can be played, wherever they are.
#[async_trait]
pub trait ReplayMedia: Send + Sync {
    /// Returns the recorded room.
    fn room(&self, recording: &RecordingId) -> Result<RoomId, MediaError>;

    /// Describes a recording for a listener of this clip.
    async fn info(&self, recording: &RecordingId, clip: Clip) -> Result<ReplayInfo, MediaError>;

    /// Returns the playlist of the segments that overlap the clip.
    async fn playlist(&self, recording: &RecordingId, clip: Clip) -> Result<Bytes, MediaError>;

    /// Returns an encrypted segment.
    async fn segment(&self, recording: &RecordingId, file: &MediaFile) -> Result<Bytes, MediaError>;

    /// Returns a clip as one file, exact to a frame.
    async fn m4a(&self, recording: &RecordingId, clip: Clip) -> Result<Arc<RecordedM4a>, MediaError>;

    /// Returns the frames of one segment as the M4A file contains them, without ADTS headers.
    async fn frames(&self, recording: &RecordingId, sequence: u64) -> Result<Bytes, MediaError>;

    /// Returns a key of recorded segments that overlap the clip. `hint` and `index` are `n` and `k` of the
    /// key URI.
    async fn key(
        &self,
        recording: &RecordingId,
        clip: Clip,
        hint: NonceHint,
        index: u64,
    ) -> Result<[u8; 16], MediaError>;
}

pub struct RecordingMedia {
    pub me: ModuleId,
    pub directory: Arc<Directory>,
    pub recordings: Arc<Recordings>,
    pub spool: Spool,
    pub fetcher: MixerClient,
    pub secrets: Arc<Secrets>,
    /// Joined journals, the newest last.
    pub joined: Mutex<VecDeque<Arc<Joined>>>,
    /// M4A layouts, the newest last.
    pub layouts: Mutex<VecDeque<Layout>>,
}

/// M4A layout of a recording or clip. Made once, regardless of the number of requests for it.
pub struct Layout {
    of: Arc<Joined>,
    clip: Clip,
    made: Arc<OnceCell<Arc<RecordedM4a>>>,
}

/// Segments of a recording with the mixers that have them, as of one revision of its key.
pub struct Joined {
    id: RecordingId,
    revision: i64,
    /// False if a mixer did not answer.
    complete: bool,
    segments: Vec<(ModuleId, JournalEntry)>,
}

impl Joined {
    fn segment(&self, sequence: u64) -> Option<&(ModuleId, JournalEntry)> {
        let found = self.segments.binary_search_by_key(&sequence, |(_, entry)| entry.sequence);
        found.ok().map(|at| &self.segments[at])
    }

    fn entries(&self) -> Vec<&JournalEntry> {
        self.segments.iter().map(|(_, entry)| entry).collect()
    }

    /// Returns the segments that overlap the clip.
    fn of_clip(&self, clip: Clip) -> Result<Vec<&JournalEntry>, MediaError> {
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
    tracing::warn!(%recording, %error, "a recorded segment cannot be read");
    MediaError::RecordingUnavailable
}

type Known = Arc<StoredValue<Recording>>;

impl RecordingMedia {
    /// Returns a recording that can be played.
    fn ready(&self, id: &RecordingId) -> Result<Known, MediaError> {
        let known = self.known(id)?;
        match self.recordings.state(id, &known) {
            RecordingState::Ready => Ok(known),
            RecordingState::Recording | RecordingState::Pending => Err(MediaError::RecordingNotReady),
        }
    }

    fn known(&self, id: &RecordingId) -> Result<Known, MediaError> {
        if !self.recordings.is_complete() {
            return Err(MediaError::RecordingUnavailable);
        }
        let known = self.recordings.get(id).filter(|recording| recording.deleted_at.is_none());
        known.ok_or(MediaError::NoSuchRecording)
    }

    async fn joined(&self, id: &RecordingId, known: &Known) -> Result<Arc<Joined>, MediaError> {
        let revision = known.mod_revision;
        if let Some(found) = self.kept().iter().find(|kept| kept.id == *id && kept.revision == revision) {
            return Ok(found.clone());
        }
        let takes = known
            .takes
            .keys()
            .map(|mixer| async move { (mixer.clone(), self.journal(mixer, id, &known.room).await) });
        let takes = join_all(takes).await;
        let complete = takes.iter().all(|(_, entries)| entries.is_some());
        let read: Vec<_> = takes.into_iter().filter_map(|(mixer, entries)| Some((mixer, entries?))).collect();
        if read.is_empty() {
            return Err(MediaError::RecordingUnavailable);
        }
        let joined = Arc::new(Joined { id: id.clone(), revision, complete, segments: join(read) });
        // Cache complete lists only. After an incomplete list, the next request tries again to reach the
        // mixer that did not answer.
        if complete {
            let mut kept = self.kept();
            kept.retain(|kept| kept.id != *id);
            kept.push_back(joined.clone());
            if kept.len() > KEPT {
                kept.pop_front();
            }
        }
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

    async fn media(&self, mixer: &ModuleId, id: &RecordingId, room: &RoomId, at: Extent) -> Option<Bytes> {
        if *mixer == self.me {
            let (spool, id) = (self.spool.clone(), id.clone());
            return blocking(move || spool.read(&id, at)).await.ok();
        }
        let url = self.url(mixer)?;
        self.fetcher.recorded(&url, room, id, &at.to_string()).await
    }

    /// Returns the cell for the layout of this clip; adds an empty cell if there is none.
    fn layout_of(&self, joined: &Arc<Joined>, clip: Clip) -> Arc<OnceCell<Arc<RecordedM4a>>> {
        // A poisoned lock is usable: each change leaves a complete list.
        let mut layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |layout: &&Layout| Arc::ptr_eq(&layout.of, joined) && layout.clip == clip;
        if let Some(known) = layouts.iter().find(is_it) {
            return known.made.clone();
        }
        let made = Arc::new(OnceCell::new());
        layouts.push_back(Layout { of: joined.clone(), clip, made: made.clone() });
        if layouts.len() > LAYOUTS {
            layouts.pop_front();
        }
        made
    }

    /// Reads the segments of a clip and makes the layout of its M4A file.
    async fn lay_out(
        &self,
        id: &RecordingId,
        known: &Recording,
        joined: &Joined,
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
                let (mixer, entry) = &joined.segments[part.segment];
                async move {
                    match part.frames.is_empty() {
                        true => Some(Bytes::new()),
                        false => self.media(mixer, id, &known.room, entry.into()).await,
                    }
                }
            });
            for (part, media) in parts.iter().zip(join_all(read).await) {
                file.silence(part.silence);
                let media = media.ok_or(MediaError::RecordingUnavailable)?;
                if part.frames.is_empty() {
                    continue;
                }
                let entry = entries[part.segment];
                let added = PlainPart::open(&keys, entry.key_index, entry.sequence, &media)
                    .and_then(|audio| Ok(file.segment(entry.sequence, &audio.bytes, part.frames.clone())?));
                added.map_err(|error| unreadable(id, &error))?;
            }
        }
        let file = file.finish(started).map_err(|error| unreadable(id, &error))?;
        let range = match clip == Clip::WHOLE {
            true => String::new(),
            false => format!("-{}-{}", clip.from.as_millis(), clip.to.as_millis()),
        };
        let etag = format!("{id}-{:x}-{:x}{range}", joined.revision, file.length());
        Ok(Arc::new(RecordedM4a { room: known.room.clone(), started, etag, complete: joined.complete, file }))
    }

    /// Returns the URL that a mixer's heartbeat announces.
    fn url(&self, mixer: &ModuleId) -> Option<String> {
        let module = self.directory.module(ModuleKind::Mixer, mixer)?;
        module.heartbeat.as_ref().map(|heartbeat| heartbeat.url.clone())
    }

    fn keys(&self, known: &Recording) -> ContentKeys {
        ContentKeys::new(&self.secrets.hls.0, &known.room, &known.nonce)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Joined>>> {
        // A poisoned lock is usable: every change leaves the list consistent.
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ReplayMedia for RecordingMedia {
    fn room(&self, recording: &RecordingId) -> Result<RoomId, MediaError> {
        self.known(recording).map(|known| known.room.clone())
    }

    async fn info(&self, recording: &RecordingId, clip: Clip) -> Result<ReplayInfo, MediaError> {
        let known = self.ready(recording)?;
        let joined = self.joined(recording, &known).await?;
        Ok(ReplayInfo::of(recording, &known, &joined.entries(), clip))
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
        let (mixer, entry) = joined.segment(msn).ok_or(MediaError::NoSuchFile)?;
        let media = self.media(mixer, recording, &known.room, entry.into()).await;
        media.ok_or(MediaError::RecordingUnavailable)
    }

    async fn m4a(&self, recording: &RecordingId, clip: Clip) -> Result<Arc<RecordedM4a>, MediaError> {
        let known = self.ready(recording)?;
        let joined = self.joined(recording, &known).await?;
        let layout = self.layout_of(&joined, clip);
        layout.get_or_try_init(|| self.lay_out(recording, &known, &joined, clip)).await.cloned()
    }

    async fn frames(&self, recording: &RecordingId, sequence: u64) -> Result<Bytes, MediaError> {
        let known = self.ready(recording)?;
        let joined = self.joined(recording, &known).await?;
        let (mixer, entry) = joined.segment(sequence).ok_or(MediaError::NoSuchFile)?;
        let media = self.media(mixer, recording, &known.room, entry.into()).await;
        let media = media.ok_or(MediaError::RecordingUnavailable)?;
        let audio = PlainPart::open(&self.keys(&known), entry.key_index, sequence, &media);
        let frames = audio.and_then(|audio| Ok(without_headers(&audio.bytes)?));
        frames.map_err(|error| unreadable(recording, &error))
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
mod tests {
    use super::*;

    #[test]
    fn clip_has_segments_of_its_range() {
        let entry = |sequence: u64| JournalEntry {
            sequence,
            duration_us: 1_920_000,
            started_at: UnixMs(1_920 * sequence),
            discontinuity: false,
            key_index: sequence / 2,
            bytes: 9,
            file: 1,
            offset: 0,
        };
        let mixer = ModuleId::new("m1").unwrap();
        let segments = (10..20).map(|sequence| (mixer.clone(), entry(sequence))).collect();
        let joined = Joined { id: RecordingId::random(1), revision: 7, complete: true, segments };
        let listed = |from: f64, to: f64| {
            let clip = Clip::new(from, to).unwrap();
            joined.of_clip(clip).unwrap().iter().map(|entry| entry.sequence).collect::<Vec<_>>()
        };
        assert_eq!(listed(2.0, 3.0), [11]);
        assert_eq!(listed(1.92, 3.84), [11], "a clip ends before the next segment");
        assert_eq!(listed(1.0, 4.0), [10, 11, 12]);
        assert_eq!(joined.of_clip(Clip::WHOLE).unwrap().len(), 10);
        let behind = joined.of_clip(Clip::new(19.3, 30.0).unwrap());
        assert_eq!(behind.unwrap_err(), MediaError::NoSuchClip);
    }
}

//! Recordings of all mixers, joined for playing: from this node's disk or from the mixers that have them.
//!
//! A mixer that does not answer contributes nothing; the recording can be played without its part.
//!
//! Owns: the choice of the disk or mixer, and the joined journals of recordings in use. Never does: check a
//! token, or write.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;

use super::blocking;
use crate::actors::relay::MixerClient;
use crate::auth::Secrets;
use crate::domain::ids::{ModuleId, RoomId};
use crate::domain::keys::ModuleKind;
use crate::domain::recording::{Recording, RecordingId, RecordingState};
use crate::domain::recording_journal::{JournalEntry, join, parse};
use crate::domain::relay_protocol::JOURNAL;
use crate::domain::view::StoredValue;
use crate::http::replay::{ReplayMedia, ReplayRefusal};
use crate::media::{ContentKeys, MediaFile, NonceHint, recorded_playlist};
use crate::rooms::Directory;
use crate::rooms::recordings::Recordings;
use crate::spool::{Extent, Spool};

/// Number of recordings whose joined journals are kept. An hour has 1,800 entries of 100 bytes each.
const KEPT: usize = 32;

pub struct RecordingMedia {
    pub me: ModuleId,
    pub directory: Arc<Directory>,
    pub recordings: Arc<Recordings>,
    pub spool: Spool,
    pub fetcher: MixerClient,
    pub secrets: Arc<Secrets>,
    /// Joined journals, the newest last.
    pub joined: Mutex<VecDeque<Arc<Joined>>>,
}

/// Segments of a recording with the mixers that have them, as of one revision of its key.
pub struct Joined {
    id: RecordingId,
    revision: i64,
    segments: Vec<(ModuleId, JournalEntry)>,
}

type Known = Arc<StoredValue<Recording>>;

impl RecordingMedia {
    /// Returns a recording that can be played.
    fn ready(&self, id: &RecordingId) -> Result<Known, ReplayRefusal> {
        let known = self.known(id)?;
        match self.recordings.state(id, &known) {
            RecordingState::Ready => Ok(known),
            RecordingState::Recording | RecordingState::Pending => Err(ReplayRefusal::NotReady),
        }
    }

    fn known(&self, id: &RecordingId) -> Result<Known, ReplayRefusal> {
        if !self.recordings.is_complete() {
            return Err(ReplayRefusal::Unavailable);
        }
        let known = self.recordings.get(id).filter(|recording| recording.deleted_at.is_none());
        known.ok_or(ReplayRefusal::NoSuchRecording)
    }

    async fn joined(&self, id: &RecordingId, known: &Known) -> Result<Arc<Joined>, ReplayRefusal> {
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
            return Err(ReplayRefusal::Unavailable);
        }
        let joined = Arc::new(Joined { id: id.clone(), revision, segments: join(read) });
        // Keep complete lists only: the next request then asks a mixer that did not answer again.
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
    fn room(&self, recording: &RecordingId) -> Result<RoomId, ReplayRefusal> {
        self.known(recording).map(|known| known.room.clone())
    }

    async fn playlist(&self, recording: &RecordingId) -> Result<Bytes, ReplayRefusal> {
        let known = self.ready(recording)?;
        let joined = self.joined(recording, &known).await?;
        let segments: Vec<_> = joined.segments.iter().map(|(_, entry)| entry).collect();
        Ok(recorded_playlist(self.keys(&known).hint(), &segments))
    }

    async fn segment(&self, recording: &RecordingId, file: &MediaFile) -> Result<Bytes, ReplayRefusal> {
        let known = self.ready(recording)?;
        let MediaFile::Segment { hint, msn } = *file else { return Err(ReplayRefusal::NoSuchFile) };
        if hint != self.keys(&known).hint() {
            return Err(ReplayRefusal::NoSuchFile);
        }
        let joined = self.joined(recording, &known).await?;
        let found = joined.segments.binary_search_by_key(&msn, |(_, entry)| entry.sequence);
        let (mixer, entry) = &joined.segments[found.map_err(|_| ReplayRefusal::NoSuchFile)?];
        let media = self.media(mixer, recording, &known.room, entry.into()).await;
        media.ok_or(ReplayRefusal::Unavailable)
    }

    /// Derives the key for every request, as for live rooms. Gives out keys of recorded segments only.
    async fn key(
        &self,
        recording: &RecordingId,
        hint: NonceHint,
        index: u64,
    ) -> Result<[u8; 16], ReplayRefusal> {
        let known = self.ready(recording)?;
        let keys = self.keys(&known);
        if hint != keys.hint() {
            return Err(ReplayRefusal::NoSuchKey);
        }
        let joined = self.joined(recording, &known).await?;
        let is_used = joined.segments.iter().any(|(_, entry)| entry.key_index == index);
        if is_used { Ok(keys.key(index)) } else { Err(ReplayRefusal::NoSuchKey) }
    }
}

//! Media of the rooms that this node mixes, for the listener nodes of the installation.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use super::listener_counter::ListenerCounter;
use super::{OriginMedia, RecordingMedia, blocking, named};
use crate::auth::Secrets;
use crate::clock::Clock;
use crate::domain::ids::{ModuleId, RoomId};
use crate::domain::recording::RecordingId;
use crate::domain::recording_journal::JournalEntry;
use crate::domain::relay_protocol::{JOURNAL, TRACK};
use crate::domain::rewind::RewindUpdate;
use crate::packager::{MediaError, MediaFile, NonceHint, PlaylistBody};

/// Rooms mixed by this node, for other nodes of the installation.
#[async_trait]
pub trait RelaySource: Send + Sync {
    fn admits(&self, token: &[u8], room: &RoomId) -> bool;

    /// Returns the playlist only if it belongs to broadcast `of`: the room may have been stopped and
    /// restarted since the caller learned of that broadcast.
    async fn playlist(
        &self,
        room: &RoomId,
        of: NonceHint,
        at: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistBody, MediaError>;

    /// Returns the changes of the rewind window of this broadcast after segment `last`.
    fn rewind(&self, room: &RoomId, of: NonceHint, last: Option<u64>) -> Result<RewindUpdate, MediaError>;

    /// Returns a media file of the rewind window of this broadcast, for the next mixer of the room.
    async fn rewind_file(&self, room: &RoomId, of: NonceHint, number: u32) -> Result<Bytes, MediaError>;

    /// Records that the next mixer of the room needs nothing more of the rewind window of this broadcast.
    fn rewind_taken(&self, room: &RoomId, of: NonceHint);

    /// Records the number of the room's listeners on a listener node.
    fn listened(&self, room: &RoomId, by: &ModuleId, count: usize);

    /// Returns a file with its content type. `forwarded`: another mixer forwards the request of a listener.
    async fn file(
        &self,
        room: &RoomId,
        name: &str,
        forwarded: bool,
    ) -> Result<(Bytes, &'static str), MediaError>;

    /// Returns the journal, a segment, or a part of a track of a recording of the room.
    async fn recorded(&self, recording: RecordingId, name: String) -> Option<Bytes>;

    /// Returns the window snapshot with which the next mixer of the room continues.
    fn window_snapshot(&self, room: &RoomId) -> Option<Bytes>;
}

pub struct RelayMedia {
    pub here: Arc<OriginMedia>,
    pub secrets: Arc<Secrets>,
    pub counter: Arc<ListenerCounter>,
    pub recordings: Arc<RecordingMedia>,
}

#[async_trait]
impl RelaySource for RelayMedia {
    fn admits(&self, token: &[u8], room: &RoomId) -> bool {
        self.secrets.is_relay_token(token, room)
    }

    async fn playlist(
        &self,
        room: &RoomId,
        of: NonceHint,
        at: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistBody, MediaError> {
        match self.here.in_time(self.here.playlist(room, Some(of), at)).await {
            // The room has just moved: a listener node that still follows it here gets the last playlist made
            // here.
            Err(MediaError::Unavailable) => {
                self.here.last_playlist(room, of, at).await.ok_or(MediaError::Unavailable)
            }
            answer => answer,
        }
    }

    fn rewind(&self, room: &RoomId, of: NonceHint, last: Option<u64>) -> Result<RewindUpdate, MediaError> {
        let kept = self.here.rewinds.of_hint(room, of);
        match kept.filter(|kept| kept.rewind.last().is_some()) {
            Some(kept) => Ok(kept.rewind.update(last)),
            None => self.here.rewind(room).and(Err(MediaError::NotYet)),
        }
    }

    async fn rewind_file(&self, room: &RoomId, of: NonceHint, number: u32) -> Result<Bytes, MediaError> {
        self.here.rewinds.media(room, of, number).await
    }

    fn rewind_taken(&self, room: &RoomId, of: NonceHint) {
        let view = self.here.directory.room(room).unwrap_or_default();
        // If the room has come back, this node has a new window, which nobody has taken.
        let is_here = view.live.as_ref().is_some_and(|live| live.mixer_id == self.here.me);
        if let Some(kept) = self.here.rewinds.of_hint(room, of).filter(|_| !is_here) {
            kept.takeover.set_taken();
        }
    }

    fn listened(&self, room: &RoomId, by: &ModuleId, count: usize) {
        self.counter.told(room, by, count, Instant::now());
    }

    async fn file(
        &self,
        room: &RoomId,
        name: &str,
        forwarded: bool,
    ) -> Result<(Bytes, &'static str), MediaError> {
        let file = named(name)?;
        Ok((self.here.in_time(self.here.file(room, &file, forwarded)).await?, MediaFile::CONTENT_TYPE))
    }

    async fn recorded(&self, recording: RecordingId, name: String) -> Option<Bytes> {
        if name.starts_with(TRACK) {
            return self.recordings.sealed(&recording, &name).await;
        }
        let spool = self.recordings.spool.clone();
        let read = move || match name.as_str() {
            JOURNAL => {
                let lines = spool.entries(&recording)?.iter().map(JournalEntry::line).collect::<String>();
                Ok(Bytes::from(lines))
            }
            extent => {
                let extent = extent.parse().map_err(|_| std::io::ErrorKind::NotFound)?;
                spool.read(&recording, extent)
            }
        };
        blocking(read).await.ok()
    }

    fn window_snapshot(&self, room: &RoomId) -> Option<Bytes> {
        self.here.streams.get(room).map(|stream| stream.window_snapshot(Clock::start().wall()))
    }
}

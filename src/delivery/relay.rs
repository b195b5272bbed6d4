//! Media of the rooms that this node mixes, for the listener nodes of the installation.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use super::{OriginMedia, blocking, named};
use crate::actors::context::Clock;
use crate::auth::Secrets;
use crate::domain::ids::{ModuleId, RoomId};
use crate::domain::recording::RecordingId;
use crate::domain::recording_journal::JournalEntry;
use crate::domain::relay_protocol::JOURNAL;
use crate::domain::rewind::RewindUpdate;
use crate::http::hls::MediaRefusal;
use crate::http::relay::RelaySource;
use crate::packager::{MediaFile, NonceHint, PlaylistBody};
use crate::rooms::listener_counter::ListenerCounter;
use crate::spool::Spool;

pub struct RelayMedia {
    pub here: Arc<OriginMedia>,
    pub secrets: Arc<Secrets>,
    pub audience: Arc<ListenerCounter>,
    pub spool: Spool,
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
    ) -> Result<PlaylistBody, MediaRefusal> {
        match self.here.in_time(self.here.playlist(room, Some(of), at)).await {
            // The room has just moved: a listener node that still follows it here gets the last playlist made
            // here.
            Err(MediaRefusal::Unavailable) => {
                self.here.last_playlist(room, of, at).await.ok_or(MediaRefusal::Unavailable)
            }
            answer => answer,
        }
    }

    fn rewind(&self, room: &RoomId, of: NonceHint, last: Option<u64>) -> Result<RewindUpdate, MediaRefusal> {
        let rewind = self.here.rewind(room)?;
        if rewind.hint() != of {
            return Err(MediaRefusal::Unavailable);
        }
        Ok(rewind.update(last))
    }

    fn listened(&self, room: &RoomId, by: &ModuleId, count: usize) {
        self.audience.told(room, by, count, Instant::now());
    }

    async fn file(&self, room: &RoomId, name: &str) -> Result<(Bytes, &'static str), MediaRefusal> {
        let file = named(name)?;
        Ok((self.here.in_time(self.here.file(room, &file)).await?, MediaFile::CONTENT_TYPE))
    }

    async fn recorded(&self, recording: RecordingId, name: String) -> Option<Bytes> {
        let spool = self.spool.clone();
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

//! This node's rooms, for the listener nodes of the installation.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use super::{OriginMedia, named};
use crate::actors::context::Clock;
use crate::auth::Secrets;
use crate::domain::ids::{ModuleId, RoomId};
use crate::http::hls::MediaRefusal;
use crate::http::relay::RelaySource;
use crate::media::{MediaFile, NonceHint, PlaylistBody};
use crate::rooms::listener_counter::ListenerCounter;

pub struct RelayMedia {
    pub here: Arc<OriginMedia>,
    pub secrets: Arc<Secrets>,
    pub audience: Arc<ListenerCounter>,
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

    fn listened(&self, room: &RoomId, by: &ModuleId, count: usize) {
        self.audience.told(room, by, count, Instant::now());
    }

    async fn file(&self, room: &RoomId, name: &str) -> Result<(Bytes, &'static str), MediaRefusal> {
        let file = named(name)?;
        Ok((self.here.in_time(self.here.file(room, &file)).await?, MediaFile::CONTENT_TYPE))
    }

    fn heritage(&self, room: &RoomId) -> Option<Bytes> {
        self.here.streams.get(room).map(|stream| stream.heritage(Clock::start().wall()))
    }
}

//! Media of every room on air, for listeners: from this node's mixer or from another node's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{OriginMedia, knows_rooms, named, refusal};
use crate::actors::relay::EdgeCache;
use crate::domain::ids::RoomId;
use crate::domain::rewind::offered;
use crate::http::hls::{LiveMedia, MediaRefusal};
use crate::packager::{MediaFile, PlaylistText, Rewind};

pub struct MediaRouter {
    pub here: Arc<OriginMedia>,
    pub elsewhere: Arc<EdgeCache>,
    /// `hls.rewind`.
    pub default_rewind: Duration,
}

#[async_trait]
impl LiveMedia for MediaRouter {
    async fn playlist(
        &self,
        room: &RoomId,
        at: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistText, MediaRefusal> {
        if !knows_rooms(&self.here.directory).await {
            return Err(MediaRefusal::Unavailable);
        }
        self.here.in_time(self.playlist_from_its_mixer(room, at)).await
    }

    async fn rewind(&self, room: &RoomId) -> Result<Arc<Rewind>, MediaRefusal> {
        if !knows_rooms(&self.here.directory).await {
            return Err(MediaRefusal::Unavailable);
        }
        let view = self.here.directory.room(room).ok_or(MediaRefusal::NoSuchRoom)?;
        let live = view.live.as_ref().filter(|_| view.is_on_air());
        if live.is_some() && offered(&view, self.default_rewind).is_none() {
            return Err(MediaRefusal::NoRewind);
        }
        match live {
            _ if self.here.has(room) => self.here.rewind(room),
            Some(live) => self.elsewhere.rewind(room, &live.nonce).await.map_err(refusal),
            None => self.elsewhere.last_rewind(room).await.ok_or(MediaRefusal::NotOnAir),
        }
    }

    async fn file(&self, room: &RoomId, name: &str) -> Result<(Bytes, &'static str), MediaRefusal> {
        if !knows_rooms(&self.here.directory).await {
            return Err(MediaRefusal::Unavailable);
        }
        let file = named(name)?;
        let bytes = match self.here.has(room) {
            true => self.here.in_time(self.here.file(room, &file)).await?,
            false => self.file_from_elsewhere(room, &file).await?,
        };
        Ok((bytes, MediaFile::CONTENT_TYPE))
    }
}

impl MediaRouter {
    async fn playlist_from_its_mixer(
        &self,
        room: &RoomId,
        at: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistText, MediaRefusal> {
        if self.here.has(room) {
            match self.here.playlist(room, None, at).await {
                // The room has moved to another node meanwhile.
                Err(MediaRefusal::Unavailable) if !self.here.has(room) => {}
                playlist => return playlist.map(|p| p.text),
            }
        }
        let view = self.here.directory.room(room).ok_or(MediaRefusal::NoSuchRoom)?;
        let Some(live) = view.live.as_ref().filter(|_| view.is_on_air()) else {
            let last = self.elsewhere.last_playlist(room, at).await;
            return last.map(|p| p.text).ok_or(MediaRefusal::NotOnAir);
        };
        match self.elsewhere.playlist(room, &live.nonce, at).await {
            Ok(playlist) => Ok(playlist.text),
            // The broadcast ended during the request.
            Err(_) if !self.is_on_air(room) => Err(MediaRefusal::NotOnAir),
            Err(refused) => Err(refusal(refused)),
        }
    }

    async fn file_from_elsewhere(&self, room: &RoomId, file: &MediaFile) -> Result<Bytes, MediaRefusal> {
        let view = self.here.directory.room(room).ok_or(MediaRefusal::NoSuchRoom)?;
        if !view.is_on_air() && !self.elsewhere.has_playlist(room) {
            return Err(MediaRefusal::Gone);
        }
        self.elsewhere.file(room, file).await.map_err(refusal)
    }

    fn is_on_air(&self, room: &RoomId) -> bool {
        self.here.directory.room(room).is_some_and(|view| view.is_on_air())
    }
}

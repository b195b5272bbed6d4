//! Media of every room on air, for listeners: from this node's mixer or from another node's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{ContentKeyPolicy, EdgeCache, OriginMedia, knows_rooms, named};
use crate::domain::grant::Grant;
use crate::domain::ids::RoomId;
use crate::domain::rewind::offered;
use crate::packager::{MediaError, MediaFile, PlaylistText, Rewind};

/// Playlists, media and keys of the rooms on air.
#[async_trait]
pub trait LiveMedia: Send + Sync {
    /// Returns the playlist. `at` names a segment and a part; with it, waits until the playlist contains that
    /// part. If `at` has no part, waits until the playlist contains the whole segment
    /// (draft-pantos-hls-rfc8216bis section 6.2.5.2).
    async fn playlist(
        &self,
        room: &RoomId,
        at: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistText, MediaError>;

    /// Returns the rewind window of the broadcast. The default implementation has no rewind windows.
    async fn rewind(&self, _room: &RoomId) -> Result<Arc<Rewind>, MediaError> {
        Err(MediaError::NoRewind)
    }

    /// Returns a part or segment with its content type. Waits for a hinted part.
    async fn file(&self, room: &RoomId, name: &str) -> Result<(Bytes, &'static str), MediaError>;

    /// Returns a content key. `grant` is the grant of the listener's token; `hint` and `index` are `n` and
    /// `k` of the key URI.
    async fn key(&self, room: &RoomId, grant: &Grant, hint: &str, index: u64)
    -> Result<[u8; 16], MediaError>;
}

/// Single source of live media for listeners. Decides which resources of a room listeners may fetch.
pub struct MediaRouter {
    pub here: Arc<OriginMedia>,
    pub elsewhere: Arc<EdgeCache>,
    pub keys: ContentKeyPolicy,
    /// Value of `hls.rewind`.
    pub default_rewind: Duration,
}

#[async_trait]
impl LiveMedia for MediaRouter {
    async fn playlist(
        &self,
        room: &RoomId,
        at: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistText, MediaError> {
        if !knows_rooms(&self.here.directory).await {
            return Err(MediaError::Unavailable);
        }
        self.here.in_time(self.playlist_from_its_mixer(room, at)).await
    }

    async fn rewind(&self, room: &RoomId) -> Result<Arc<Rewind>, MediaError> {
        if !knows_rooms(&self.here.directory).await {
            return Err(MediaError::Unavailable);
        }
        let view = self.here.directory.room(room).ok_or(MediaError::NoSuchRoom)?;
        let live = view.live.as_ref().filter(|_| view.is_on_air());
        if live.is_some() && offered(&view, self.default_rewind).is_none() {
            return Err(MediaError::NoRewind);
        }
        match live {
            _ if self.here.has(room) => self.here.rewind(room),
            Some(live) => self.elsewhere.rewind(room, &live.nonce).await,
            None => self.elsewhere.last_rewind(room).await.ok_or(MediaError::NotOnAir),
        }
    }

    async fn file(&self, room: &RoomId, name: &str) -> Result<(Bytes, &'static str), MediaError> {
        if !knows_rooms(&self.here.directory).await {
            return Err(MediaError::Unavailable);
        }
        let file = named(name)?;
        let bytes = match self.here.has(room) {
            true => self.here.in_time(self.here.file(room, &file, false)).await?,
            false => self.file_from_elsewhere(room, &file).await?,
        };
        Ok((bytes, MediaFile::CONTENT_TYPE))
    }

    async fn key(
        &self,
        room: &RoomId,
        grant: &Grant,
        hint: &str,
        index: u64,
    ) -> Result<[u8; 16], MediaError> {
        self.keys.key(self, room, grant, hint, index).await
    }
}

impl MediaRouter {
    async fn playlist_from_its_mixer(
        &self,
        room: &RoomId,
        at: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistText, MediaError> {
        if self.here.has(room) {
            match self.here.playlist(room, None, at).await {
                // The room has moved to another node in the meantime.
                Err(MediaError::Unavailable) if !self.here.has(room) => {}
                playlist => return playlist.map(|p| p.text),
            }
        }
        let view = self.here.directory.room(room).ok_or(MediaError::NoSuchRoom)?;
        let Some(live) = view.live.as_ref().filter(|_| view.is_on_air()) else {
            let last = self.elsewhere.last_playlist(room, at).await;
            return last.map(|p| p.text).ok_or(MediaError::NotOnAir);
        };
        match self.elsewhere.playlist(room, &live.nonce, at).await {
            Ok(playlist) => Ok(playlist.text),
            // The broadcast ended during the request.
            Err(_) if !self.is_on_air(room) => Err(MediaError::NotOnAir),
            Err(refused) => Err(refused),
        }
    }

    async fn file_from_elsewhere(&self, room: &RoomId, file: &MediaFile) -> Result<Bytes, MediaError> {
        let view = self.here.directory.room(room).ok_or(MediaError::NoSuchRoom)?;
        if !view.is_on_air() && !self.elsewhere.has_playlist(room) {
            return Err(MediaError::Gone);
        }
        self.elsewhere.file(room, file).await
    }

    fn is_on_air(&self, room: &RoomId) -> bool {
        self.here.directory.room(room).is_some_and(|view| view.is_on_air())
    }
}

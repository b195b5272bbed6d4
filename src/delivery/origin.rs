//! Media of the rooms that this node mixes.
//!
//! Owns: waiting for a stream that is about to open or continue here. Sends no requests to other nodes,
//! except for media of a rewind window that are still on the room's earlier mixer ([`Rewinds`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Rewinds, Streams};
use crate::domain::handover::serving_mixer;
use crate::domain::ids::{ModuleId, RoomId};
use crate::packager::{LiveStream, MediaError, MediaFile, NonceHint, PlaylistBody, Rewind};
use crate::rooms::Directory;

pub struct OriginMedia {
    pub me: ModuleId,
    pub directory: Arc<Directory>,
    pub streams: Arc<Streams>,
    pub rewinds: Arc<Rewinds>,
    /// Maximum time that a request waits.
    pub patience: Duration,
}

impl OriginMedia {
    /// Returns true if this node serves the room, or if the room is off air and this node still has the end
    /// of its broadcast.
    pub(super) fn has(&self, room: &RoomId) -> bool {
        let view = self.directory.room(room).unwrap_or_default();
        match serving_mixer(&view) {
            Some(mixer) => *mixer == self.me,
            None => self.streams.get(room).is_some(),
        }
    }

    /// Limits the wait; after the limit the answer is `NotYet`.
    pub(super) async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, MediaError>>,
    ) -> Result<T, MediaError> {
        tokio::time::timeout(self.patience, answer).await.unwrap_or(Err(MediaError::NotYet))
    }

    /// Returns the playlist of broadcast `of`, or of the current one. If another packager of this node
    /// continues the stream, waits for that packager.
    pub(super) async fn playlist(
        &self,
        room: &RoomId,
        of: Option<NonceHint>,
        at: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistBody, MediaError> {
        loop {
            let opening = self.streams.next_opening();
            let stream = self.stream(room).await?;
            if of.is_some_and(|live| live != stream.hint()) {
                return Err(MediaError::Unavailable);
            }
            match stream.playlist(at).await {
                Ok(playlist) => return Ok(playlist),
                // The stream has moved to another node.
                Err(MediaError::Unavailable) if !self.has(room) => return Err(MediaError::Unavailable),
                Err(MediaError::Unavailable) => opening.await,
                Err(refused) => return Err(refused),
            }
        }
    }

    /// Returns the last playlist of a stream that another node continues.
    pub(super) async fn last_playlist(
        &self,
        room: &RoomId,
        of: NonceHint,
        at: Option<(u64, Option<u32>)>,
    ) -> Option<PlaylistBody> {
        let stream = self.streams.get(room).filter(|stream| stream.hint() == of)?;
        match stream.playlist(at).await {
            Err(MediaError::Unavailable) => stream.playlist(None).await.ok(),
            answer => answer.ok(),
        }
    }

    /// Returns the room's stream. If the room is on air and has no stream yet, waits for it. If the room is
    /// off air, returns the ended stream while [`Streams`](super::Streams) still has it, so that its
    /// listeners learn of the end.
    async fn stream(&self, room: &RoomId) -> Result<Arc<LiveStream>, MediaError> {
        loop {
            let opening = self.streams.next_opening();
            let view = self.directory.room(room).unwrap_or_default();
            let live = view.live.as_ref().filter(|_| view.is_on_air());
            let stream = match live {
                Some(_) if serving_mixer(&view) != Some(&self.me) => return Err(MediaError::Unavailable),
                Some(live) => self.streams.of_live(room, &live.nonce),
                None => self.streams.get(room),
            };
            match (stream, live) {
                (Some(stream), _) => return Ok(stream),
                (None, Some(_)) => opening.await,
                (None, None) if view.is_empty() => return Err(MediaError::NoSuchRoom),
                (None, None) => return Err(MediaError::NotOnAir),
            }
        }
    }

    /// Returns a file. Waits if the stream is about to continue here. `forwarded`: see [`Rewinds::segment`].
    pub(super) async fn file(
        &self,
        room: &RoomId,
        file: &MediaFile,
        forwarded: bool,
    ) -> Result<Bytes, MediaError> {
        loop {
            let opening = self.streams.next_opening();
            let comes_here = self.is_handed_over_to_us(room);
            match self.streams.get(room) {
                Some(stream) => match stream.file(file).await {
                    Err(MediaError::Unavailable) if comes_here => opening.await,
                    Err(MediaError::Gone) => return self.rewinds.segment(room, file, forwarded).await,
                    answer => return answer,
                },
                None if comes_here => opening.await,
                None if self.directory.room(room).is_some() => {
                    return self.rewinds.segment(room, file, forwarded).await;
                }
                None => return Err(MediaError::NoSuchRoom),
            }
        }
    }

    /// Returns the rewind window of the current broadcast, or of one that has just ended here.
    pub(super) fn rewind(&self, room: &RoomId) -> Result<Arc<Rewind>, MediaError> {
        let view = self.directory.room(room).unwrap_or_default();
        match view.live.as_ref().filter(|_| view.is_on_air()) {
            Some(_) if serving_mixer(&view) != Some(&self.me) => Err(MediaError::Unavailable),
            Some(live) => self.rewinds.of_live(room, &live.nonce).ok_or(MediaError::NotYet),
            None => self.rewinds.get(room).map(|kept| kept.rewind).ok_or(MediaError::NotOnAir),
        }
    }

    fn is_handed_over_to_us(&self, room: &RoomId) -> bool {
        self.directory.room(room).is_some_and(|view| {
            let live = view.live.as_ref().filter(|live| live.mixer_id == self.me && live.handover.is_some());
            live.is_some() && serving_mixer(&view) == Some(&self.me)
        })
    }
}

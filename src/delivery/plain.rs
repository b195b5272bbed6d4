//! Plain streams of all rooms on air, made of the playlists and parts that HLS listeners get.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::{LiveMedia, PlainStreams, knows_rooms};
use crate::auth::Secrets;
use crate::domain::grant::Grant;
use crate::domain::ids::{Nonce, RoomId};
use crate::domain::plain_room::Fetch;
use crate::domain::relay_room::Position;
use crate::packager::plain::{ListedPart, PartList, PlainPart};
use crate::packager::{ContentKeys, MediaError};
use crate::rooms::Directory;

/// Parts of one room, as [`RoomParts::parts`] returns them.
pub struct NewParts {
    /// Oldest first.
    pub parts: Vec<PlainPart>,
    /// Position of the part that comes next.
    pub next: Position,
    pub ended: bool,
}

/// Reason why there are no parts.
#[derive(Debug)]
pub enum NoParts {
    /// The broadcast is over.
    Over,
    Failed(String),
}

/// Source of the parts of all rooms, whichever node mixes them.
pub struct RoomParts {
    pub media: Arc<dyn LiveMedia>,
    pub secrets: Arc<Secrets>,
}

impl RoomParts {
    /// Returns the newest parts of this broadcast, with a total duration of at most `limit`.
    pub async fn parts(
        &self,
        room: &RoomId,
        live: &Nonce,
        fetch: &Fetch,
        limit: Duration,
    ) -> Result<NewParts, NoParts> {
        let keys = ContentKeys::new(&self.secrets.hls.0, room, live);
        let at = fetch.from.filter(|_| fetch.wait).map(|(msn, part)| (msn, Some(part)));
        let playlist = self.media.playlist(room, at).await.map_err(no_parts)?;
        let list = PartList::read(playlist.plain());
        let list = list.ok_or_else(|| NoParts::Failed("the playlist has no parts".into()))?;
        if list.hint != keys.hint() {
            return Err(NoParts::Over);
        }
        let mut parts = Vec::new();
        for part in list.newest(fetch.from, limit) {
            match self.part(room, &list, part, &keys).await {
                Ok(part) => parts.push(part),
                // Skip this part: if it was lost with its mixer, the next part may still be available.
                Err(why) => {
                    tracing::debug!(%room, msn = part.msn, index = part.index, why, "a part is missing")
                }
            }
        }
        Ok(NewParts { parts, next: list.next, ended: list.ended })
    }

    async fn part(
        &self,
        room: &RoomId,
        list: &PartList,
        part: &ListedPart,
        keys: &ContentKeys,
    ) -> Result<PlainPart, String> {
        let name = part.file(list.hint).to_string();
        let (bytes, _) = self.media.file(room, &name).await.map_err(|refusal| format!("{refusal:?}"))?;
        part.open(keys, &bytes).map_err(|error| error.to_string())
    }
}

fn no_parts(refusal: MediaError) -> NoParts {
    match refusal {
        MediaError::NoSuchRoom | MediaError::NotOnAir => NoParts::Over,
        other => NoParts::Failed(format!("{other:?}")),
    }
}

/// Maximum number of Opus streams of a node. Each has an encoder that takes about 50 MB.
const MOST_OPUS: usize = 64;

/// Form of a plain stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainForm {
    Aac,
    Opus,
}

/// Plain streams of the rooms on air, for listeners.
pub struct PlainListening {
    pub media: Arc<dyn LiveMedia>,
    pub directory: Arc<Directory>,
    pub streams: Arc<PlainStreams>,
    /// The same streams in Opus.
    pub opus: Arc<PlainStreams>,
}

impl PlainListening {
    /// Checks that the room has a stream for a token with this grant. Waits while the room is starting.
    pub async fn admit(&self, room: &RoomId, grant: &Grant) -> Result<(), MediaError> {
        if !knows_rooms(&self.directory).await {
            return Err(MediaError::Unavailable);
        }
        let view = self.directory.room(room).ok_or(MediaError::NoSuchRoom)?;
        if view.meta.as_ref().is_some_and(|meta| !grant.is_for(meta)) {
            return Err(MediaError::EarlierRoom);
        }
        if !view.is_on_air() {
            return Err(MediaError::NotOnAir);
        }
        // This call waits while the room is starting, at most as long as a player waits for its first
        // playlist.
        self.media.playlist(room, None).await.map(|_| ())
    }

    /// Returns the room's title; without one, its id.
    pub fn title(directory: &Directory, room: &RoomId) -> String {
        let view = directory.room(room).unwrap_or_default();
        let title = view.meta.as_ref().and_then(|meta| meta.profile.title.as_ref());
        title.map_or_else(|| room.to_string(), |title| title.as_str().to_owned())
    }

    /// Returns the parts of the room's stream from near its live edge to its end: whole ADTS frames, or Opus
    /// packets as in [`opus_part`](crate::packager::ogg_stream::opus_part).
    ///
    /// # Errors
    /// As those of [`admit`](Self::admit). `Unavailable`: the node has the maximum number of Opus streams.
    pub async fn open(
        &self,
        room: &RoomId,
        grant: &Grant,
        form: PlainForm,
    ) -> Result<BoxStream<'static, Bytes>, MediaError> {
        self.admit(room, grant).await?;
        let view = self.directory.room(room).ok_or(MediaError::NoSuchRoom)?;
        let live = view.live.as_ref().filter(|_| view.is_on_air()).ok_or(MediaError::NotOnAir)?;
        let streams = match form {
            PlainForm::Aac => &self.streams,
            PlainForm::Opus if self.opus.get(room).is_none() && self.opus.count() >= MOST_OPUS => {
                return Err(MediaError::Unavailable);
            }
            PlainForm::Opus => &self.opus,
        };
        let reader = streams.open(room, &live.nonce);
        let parts = stream::unfold(reader, |mut reader| async move { Some((reader.next().await?, reader)) });
        Ok(parts.boxed())
    }
}

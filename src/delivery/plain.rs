//! Plain streams of all rooms on air, made of the playlists and parts that HLS listeners get.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};

use super::knows_rooms;
use crate::actors::plain::{NewParts, NoParts, PartSource, PlainStreams};
use crate::auth::Secrets;
use crate::domain::grant::Grant;
use crate::domain::ids::{Nonce, RoomId};
use crate::domain::plain_room::{BURST, Fetch};
use crate::http::hls::{LiveMedia, MediaRefusal};
use crate::http::live::PlainMedia;
use crate::packager::ContentKeys;
use crate::packager::plain::{ListedPart, PartList, PlainPart};
use crate::rooms::Directory;
use bytes::Bytes;

/// Parts of rooms, wherever they are mixed.
pub struct RoomParts {
    pub media: Arc<dyn LiveMedia>,
    pub secrets: Arc<Secrets>,
}

#[async_trait]
impl PartSource for RoomParts {
    async fn parts(&self, room: &RoomId, live: &Nonce, fetch: &Fetch) -> Result<NewParts, NoParts> {
        let keys = ContentKeys::new(&self.secrets.hls.0, room, live);
        let at = fetch.from.filter(|_| fetch.wait).map(|(msn, part)| (msn, Some(part)));
        let playlist = self.media.playlist(room, at).await.map_err(no_parts)?;
        let list = PartList::read(playlist.plain());
        let list = list.ok_or_else(|| NoParts::Failed("the playlist has no parts".into()))?;
        if list.hint != keys.hint() {
            return Err(NoParts::Over);
        }
        let mut parts = Vec::new();
        for part in list.newest(fetch.from, BURST) {
            match self.part(room, &list, part, &keys).await {
                Ok(part) => parts.push(part),
                // Skip this part: if its mixer died with it, the next part may still be available.
                Err(why) => {
                    tracing::debug!(%room, msn = part.msn, index = part.index, why, "a part is missing")
                }
            }
        }
        Ok(NewParts { parts, next: list.next, ended: list.ended })
    }
}

impl RoomParts {
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

fn no_parts(refusal: MediaRefusal) -> NoParts {
    match refusal {
        MediaRefusal::NoSuchRoom | MediaRefusal::NotOnAir => NoParts::Over,
        other => NoParts::Failed(format!("{other:?}")),
    }
}

/// Plain streams for listeners.
pub struct PlainListening {
    pub media: Arc<dyn LiveMedia>,
    pub directory: Arc<Directory>,
    pub streams: Arc<PlainStreams>,
}

#[async_trait]
impl PlainMedia for PlainListening {
    async fn admit(&self, room: &RoomId, grant: &Grant) -> Result<(), MediaRefusal> {
        if !knows_rooms(&self.directory).await {
            return Err(MediaRefusal::Unavailable);
        }
        let view = self.directory.room(room).ok_or(MediaRefusal::NoSuchRoom)?;
        if view.meta.as_ref().is_some_and(|meta| !grant.is_for(meta)) {
            return Err(MediaRefusal::EarlierRoom);
        }
        if !view.is_on_air() {
            return Err(MediaRefusal::NotOnAir);
        }
        // Waits while the room is starting, as long as a player waits for its first playlist.
        self.media.playlist(room, None).await.map(|_| ())
    }

    async fn open(&self, room: &RoomId, grant: &Grant) -> Result<BoxStream<'static, Bytes>, MediaRefusal> {
        self.admit(room, grant).await?;
        let view = self.directory.room(room).ok_or(MediaRefusal::NoSuchRoom)?;
        let live = view.live.as_ref().filter(|_| view.is_on_air()).ok_or(MediaRefusal::NotOnAir)?;
        let reader = self.streams.open(room, &live.nonce);
        let parts = stream::unfold(reader, |mut reader| async move { Some((reader.next().await?, reader)) });
        Ok(parts.boxed())
    }
}

//! The listener side on this node: media from this node's mixer or another's, keys from the server's secret,
//! tokens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use crate::actors::context::Clock;
use crate::actors::mixer::streams::Streams;
use crate::actors::relay::Relays;
use crate::auth::{self, Secrets, TokenError, Tokens};
use crate::domain::handover::heard_from;
use crate::domain::ids::{ModuleId, RoomId, UnixMs, UserId};
use crate::domain::model::{LiveMeta, UserRole};
use crate::http::hls::{KeyRefusal, KeyService, ListenerAuth, LiveMedia, MediaRefusal};
use crate::http::relay::RelaySource;
use crate::http::tokens::{Issued, TokenIssuer};
use crate::media::{ContentKeys, LiveStream, MediaFile, NonceHint, NotServed, PlaylistBody};
use crate::rooms::audience::Audience;
use crate::rooms::{Directory, Scope};

/// A node that has just started has listed the rooms well within this.
const LISTED_WITHIN: Duration = Duration::from_secs(10);

/// The rooms that this node mixes.
pub struct NodeMedia {
    pub me: ModuleId,
    pub directory: Arc<Directory>,
    pub streams: Arc<Streams>,
    /// With any request.
    pub patience: Duration,
}

impl NodeMedia {
    /// Whether the room is to be had here; of one that is not on air, whether its end is.
    fn has(&self, room: &RoomId) -> bool {
        let view = self.directory.room(room).unwrap_or_default();
        match heard_from(&view) {
            Some(mixer) => *mixer == self.me,
            None => self.streams.get(room).is_some(),
        }
    }

    /// The room's stream; waited for while the room is on air and has none yet. Of a room that is not, the
    /// ended stream, while it is kept: its listeners are to learn that it has ended.
    async fn stream(&self, room: &RoomId) -> Result<Arc<LiveStream>, MediaRefusal> {
        loop {
            let opening = self.streams.next_opening();
            let view = self.directory.room(room).unwrap_or_default();
            let live = view.live.as_ref().filter(|_| view.is_on_air());
            let stream = match live {
                Some(_) if heard_from(&view) != Some(&self.me) => return Err(MediaRefusal::Unavailable),
                Some(live) => self.streams.of_live(room, &live.nonce),
                None => self.streams.get(room),
            };
            match (stream, live) {
                (Some(stream), _) => return Ok(stream),
                (None, Some(_)) => opening.await,
                (None, None) if view.is_empty() => return Err(MediaRefusal::NoSuchRoom),
                (None, None) => return Err(MediaRefusal::NotOnAir),
            }
        }
    }

    /// Of this live, or of whichever is on air. Goes on with the successor when the stream is continued by another packager of this node.
    async fn current(
        &self,
        room: &RoomId,
        of: Option<NonceHint>,
        at: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistBody, MediaRefusal> {
        loop {
            let opening = self.streams.next_opening();
            let stream = self.stream(room).await?;
            if of.is_some_and(|live| live != stream.hint()) {
                return Err(MediaRefusal::Unavailable);
            }
            match stream.playlist(at).await {
                Ok(playlist) => return Ok(playlist),
                // It may be continued by another node.
                Err(NotServed::Superseded) if !self.has(room) => return Err(MediaRefusal::Unavailable),
                Err(NotServed::Superseded) => opening.await,
                Err(refused) => return Err(refusal(refused)),
            }
        }
    }
}

#[async_trait]
impl RelaySource for RelayDoor {
    fn admits(&self, token: &[u8], room: &RoomId) -> bool {
        self.secrets.is_relay_token(token, room)
    }

    async fn playlist(
        &self,
        room: &RoomId,
        of: NonceHint,
        at: Option<(u64, Option<u32>)>,
    ) -> Result<PlaylistBody, MediaRefusal> {
        let wait = tokio::time::timeout(self.media.patience, self.media.current(room, Some(of), at));
        match wait.await.unwrap_or(Err(MediaRefusal::NotYet)) {
            // The room has just moved on: who still follows it here gets the last that was made here.
            Err(MediaRefusal::Unavailable) => {
                self.media.last(room, of, at).await.ok_or(MediaRefusal::Unavailable)
            }
            answer => answer,
        }
    }

    fn listened(&self, room: &RoomId, by: &ModuleId, count: usize) {
        self.audience.told(room, by, count, Instant::now());
    }

    async fn file(&self, room: &RoomId, name: &str) -> Result<(Bytes, &'static str), MediaRefusal> {
        self.media.file(room, name).await
    }

    fn heritage(&self, room: &RoomId) -> Option<Bytes> {
        self.media.streams.get(room).map(|stream| stream.heritage())
    }
}

impl NodeMedia {
    /// Of a stream that is continued elsewhere, to its end.
    async fn last(
        &self,
        room: &RoomId,
        of: NonceHint,
        at: Option<(u64, Option<u32>)>,
    ) -> Option<PlaylistBody> {
        let stream = self.streams.get(room).filter(|stream| stream.hint() == of)?;
        match stream.playlist(at).await {
            Err(NotServed::Superseded) => stream.playlist(None).await.ok(),
            answer => answer.ok(),
        }
    }

    async fn file(&self, room: &RoomId, name: &str) -> Result<(Bytes, &'static str), MediaRefusal> {
        let file: MediaFile = name.parse().map_err(|_| MediaRefusal::BadName)?;
        let wait = tokio::time::timeout(self.patience, self.bytes(room, &file));
        Ok((wait.await.unwrap_or(Err(MediaRefusal::NotYet))?, file.content_type()))
    }

    /// A file of a stream that is about to go on here is waited for.
    async fn bytes(&self, room: &RoomId, file: &MediaFile) -> Result<Bytes, MediaRefusal> {
        loop {
            let opening = self.streams.next_opening();
            let handed_over = self.directory.room(room).is_some_and(|view| {
                let ours = |live: &LiveMeta| live.mixer_id == self.me && live.handover.is_some();
                heard_from(&view) == Some(&self.me) && view.live.as_ref().is_some_and(|live| ours(live))
            });
            match self.streams.get(room) {
                Some(stream) => match stream.file(file).await {
                    Err(NotServed::Superseded) if handed_over => opening.await,
                    answer => return answer.map_err(refusal),
                },
                None if handed_over => opening.await,
                None if self.directory.room(room).is_some() => return Err(MediaRefusal::Gone),
                None => return Err(MediaRefusal::NoSuchRoom),
            }
        }
    }
}

/// This node's rooms, for the listener nodes of the installation.
pub struct RelayDoor {
    pub media: Arc<NodeMedia>,
    pub secrets: Arc<Secrets>,
    pub audience: Arc<Audience>,
}

/// Every room on air, wherever it is mixed.
pub struct AllMedia {
    pub here: Arc<NodeMedia>,
    pub elsewhere: Arc<Relays>,
}

impl AllMedia {
    async fn current(&self, room: &RoomId, at: Option<(u64, Option<u32>)>) -> Result<Bytes, MediaRefusal> {
        if self.here.has(room) {
            match self.here.current(room, None, at).await {
                // It has moved while we waited.
                Err(MediaRefusal::Unavailable) if !self.here.has(room) => {}
                playlist => return playlist.map(|p| p.bytes),
            }
        }
        let view = self.here.directory.room(room).ok_or(MediaRefusal::NoSuchRoom)?;
        let Some(live) = view.live.as_ref().filter(|_| view.is_on_air()) else {
            return self.elsewhere.ended(room).map(|p| p.bytes).ok_or(MediaRefusal::NotOnAir);
        };
        match self.elsewhere.playlist(room, &live.nonce, at).await {
            Ok(playlist) => Ok(playlist.bytes),
            // It was the last chance to tell: the room is not on air any more.
            Err(_) if !self.is_on_air(room) => Err(MediaRefusal::NotOnAir),
            Err(refused) => Err(refusal(refused)),
        }
    }

    fn is_on_air(&self, room: &RoomId) -> bool {
        self.here.directory.room(room).is_some_and(|view| view.is_on_air())
    }
}

#[async_trait]
impl LiveMedia for AllMedia {
    async fn playlist(&self, room: &RoomId, at: Option<(u64, Option<u32>)>) -> Result<Bytes, MediaRefusal> {
        if !knows_rooms(&self.here.directory).await {
            return Err(MediaRefusal::Unavailable);
        }
        let wait = tokio::time::timeout(self.here.patience, self.current(room, at));
        wait.await.unwrap_or(Err(MediaRefusal::NotYet))
    }

    async fn file(&self, room: &RoomId, name: &str) -> Result<(Bytes, &'static str), MediaRefusal> {
        if !knows_rooms(&self.here.directory).await {
            return Err(MediaRefusal::Unavailable);
        }
        if self.here.has(room) {
            return self.here.file(room, name).await;
        }
        let file: MediaFile = name.parse().map_err(|_| MediaRefusal::BadName)?;
        let view = self.here.directory.room(room).ok_or(MediaRefusal::NoSuchRoom)?;
        if !view.is_on_air() && self.elsewhere.ended(room).is_none() {
            return Err(MediaRefusal::Gone);
        }
        let bytes = self.elsewhere.file(room, &file).await.map_err(refusal)?;
        Ok((bytes, file.content_type()))
    }
}

/// Right after its start a node knows of no room: who asks then waits, rather than be told that there is none.
async fn knows_rooms(directory: &Directory) -> bool {
    directory.seen(Scope::Rooms, 0, LISTED_WITHIN).await
}

fn refusal(refused: NotServed) -> MediaRefusal {
    match refused {
        NotServed::Gone | NotServed::Ended => MediaRefusal::Gone,
        NotServed::NotYet => MediaRefusal::NotYet,
        NotServed::Superseded => MediaRefusal::Unavailable,
        NotServed::Timeout => MediaRefusal::Timeout,
        NotServed::TooFarAhead => MediaRefusal::TooFarAhead,
    }
}

pub struct NodeKeys {
    pub directory: Arc<Directory>,
    pub secrets: Arc<Secrets>,
}

#[async_trait]
impl KeyService for NodeKeys {
    /// Made anew each time: there is no cache that could outlive the room.
    async fn key(&self, room: &RoomId, hint: &str, index: u64) -> Result<[u8; 16], KeyRefusal> {
        if !knows_rooms(&self.directory).await {
            return Err(KeyRefusal::Unavailable);
        }
        let view = self.directory.room(room).ok_or(KeyRefusal::NotOnAir)?;
        let live = view.live.as_ref().filter(|_| view.is_on_air()).ok_or(KeyRefusal::NotOnAir)?;
        let keys = ContentKeys::new(&self.secrets.hls.0, room, &live.nonce);
        if keys.hint().to_string() == hint { Ok(keys.key(index)) } else { Err(KeyRefusal::NoSuchKey) }
    }
}

/// Tokens, as the API and the pages give them out and as the key endpoint checks them.
pub struct NodeTokens {
    pub tokens: Tokens,
    pub anchor_ttl: Duration,
    pub clock: Clock,
}

impl ListenerAuth for NodeTokens {
    fn verify(&self, token: &str, room: &RoomId) -> Result<(), TokenError> {
        self.tokens.verify_listener(token, room, self.clock.wall()).map(|_| ())
    }
}

impl TokenIssuer for NodeTokens {
    fn listener(&self, room: &RoomId, now: UnixMs) -> Issued {
        let auth::Issued { token, expires_at } = self.tokens.issue_listener(room, now);
        Issued { token, expires_at }
    }

    fn speaker(&self, role: UserRole, user: &UserId, room: &RoomId, now: UnixMs) -> Issued {
        let auth::Issued { token, expires_at } =
            self.tokens.issue(role.into(), user.as_str(), room, self.anchor_ttl, now);
        Issued { token, expires_at }
    }
}

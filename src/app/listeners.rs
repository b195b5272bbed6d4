//! The listener side on this node: media from the mixer's memory, keys from the server's secret, tokens.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::actors::context::Clock;
use crate::actors::mixer::streams::Streams;
use crate::auth::{self, Secrets, TokenError, Tokens};
use crate::domain::ids::{RoomId, UnixMs, UserId};
use crate::domain::model::UserRole;
use crate::http::hls::{KeyRefusal, KeyService, ListenerAuth, LiveMedia, MediaRefusal};
use crate::http::tokens::{Issued, TokenIssuer};
use crate::media::{ContentKeys, LiveStream, MediaFile, NotServed};
use crate::rooms::Directory;

/// A room that was just started has its first segment well within this, and a blocking reload ends by itself.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct NodeMedia {
    pub directory: Arc<Directory>,
    pub streams: Arc<Streams>,
}

impl NodeMedia {
    /// The room's stream; waited for while the room is on air and has none yet. Of a room that is not, the
    /// ended stream, while it is kept: its listeners are to learn that it has ended.
    async fn stream(&self, room: &RoomId) -> Result<Arc<LiveStream>, MediaRefusal> {
        loop {
            let opening = self.streams.next_opening();
            let view = self.directory.room(room).unwrap_or_default();
            let live = view.live.as_ref().filter(|_| view.is_on_air());
            let stream = match live {
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

    /// Goes on with the successor when the stream is continued by another packager of this node.
    async fn current(&self, room: &RoomId, at: Option<(u64, Option<u32>)>) -> Result<Bytes, MediaRefusal> {
        loop {
            let opening = self.streams.next_opening();
            match self.stream(room).await?.playlist(at).await {
                Ok(playlist) => return Ok(playlist.bytes),
                Err(NotServed::Superseded) => opening.await,
                Err(refused) => return Err(refusal(refused)),
            }
        }
    }
}

#[async_trait]
impl LiveMedia for NodeMedia {
    async fn playlist(&self, room: &RoomId, at: Option<(u64, Option<u32>)>) -> Result<Bytes, MediaRefusal> {
        let wait = tokio::time::timeout(PATIENCE, self.current(room, at));
        wait.await.unwrap_or(Err(MediaRefusal::NotYet))
    }

    async fn file(&self, room: &RoomId, name: &str) -> Result<(Bytes, &'static str), MediaRefusal> {
        let file: MediaFile = name.parse().map_err(|_| MediaRefusal::BadName)?;
        let Some(stream) = self.streams.get(room) else {
            let known = self.directory.room(room).is_some();
            return Err(if known { MediaRefusal::Gone } else { MediaRefusal::NoSuchRoom });
        };
        let bytes = stream.file(&file).await.map_err(refusal)?;
        Ok((bytes, file.content_type()))
    }
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

//! Tokens, as the API and the pages issue them and as the key endpoint verifies them.

use std::sync::Arc;
use std::time::Duration;

use crate::actors::context::Clock;
use crate::auth::{self, TokenError, Tokens};
use crate::domain::grant::Grant;
use crate::domain::ids::{RoomId, UnixMs, UserId};
use crate::domain::model::UserRole;
use crate::http::hls::ListenerAuth;
use crate::http::tokens::{Issued, TokenIssuer};
use crate::rooms::Directory;

pub struct NodeTokens {
    pub tokens: Tokens,
    pub anchor_ttl: Duration,
    pub clock: Clock,
    pub directory: Arc<Directory>,
}

impl ListenerAuth for NodeTokens {
    fn verify(&self, token: &str, room: &RoomId) -> Result<Grant, TokenError> {
        let grant = self.tokens.verify_listener(token, room, self.clock.wall())?.grant;
        let view = self.directory.room(room);
        match view.as_ref().and_then(|view| view.meta.as_ref()) {
            Some(meta) if !grant.is_for(meta) => Err(TokenError::EarlierRoom),
            _ => Ok(grant),
        }
    }
}

impl TokenIssuer for NodeTokens {
    fn listener(&self, room: &RoomId, created_at: UnixMs, now: UnixMs) -> Issued {
        let auth::Issued { token, expires_at } = self.tokens.issue_listener(room, Some(created_at), now);
        Issued { token, expires_at }
    }

    fn speaker(
        &self,
        role: UserRole,
        user: &UserId,
        room: &RoomId,
        created_at: UnixMs,
        now: UnixMs,
    ) -> Issued {
        let (role, created_at) = (role.into(), Some(created_at));
        let auth::Issued { token, expires_at } =
            self.tokens.issue(role, user.as_str(), room, created_at, self.anchor_ttl, now);
        Issued { token, expires_at }
    }
}

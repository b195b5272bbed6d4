//! Tokens, as the API and the pages give them out and as the key endpoint checks them.

use std::time::Duration;

use crate::actors::context::Clock;
use crate::auth::{self, TokenError, Tokens};
use crate::domain::ids::{RoomId, UnixMs, UserId};
use crate::domain::model::UserRole;
use crate::http::hls::ListenerAuth;
use crate::http::tokens::{Issued, TokenIssuer};

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

//! Issue and verification of tokens, for the HTTP endpoints.

use std::sync::Arc;
use std::time::Duration;

use crate::actors::context::Clock;
use crate::auth::{self, Claims, Role, Secrets, TokenError, Tokens};
use crate::domain::grant::Grant;
use crate::domain::ids::{RoomId, UnixMs, UserId};
use crate::domain::model::UserRole;
use crate::domain::recording::RecordingId;
use crate::domain::roles;
use crate::domain::stage::{Person, StageRole};
use crate::http::channel::{ChannelAuth, Identity};
use crate::http::hls::ListenerAuth;
use crate::http::replay::ReplayAuth;
use crate::http::tokens::{IssuedToken, ListenerClaims, TokenIssuer};
use crate::rooms::Directory;

pub struct NodeTokens {
    pub tokens: Tokens,
    pub secrets: Arc<Secrets>,
    pub anchor_ttl: Duration,
    pub clock: Clock,
    pub directory: Arc<Directory>,
}

impl ListenerAuth for NodeTokens {
    fn verify(&self, token: &str, room: &RoomId) -> Result<Grant, TokenError> {
        let claims = self.tokens.verify_listener(token, room, self.clock.wall())?;
        self.check_room(&claims, room)?;
        Ok(claims.grant)
    }

    /// Verifies the token only if anybody is banned: this is asked at each playlist.
    fn is_banned(&self, token: &str, room: &RoomId) -> bool {
        self.directory.room(room).is_some_and(|view| view.has_bans())
            && ListenerAuth::verify(self, token, room) == Err(TokenError::Banned)
    }
}

impl NodeTokens {
    /// Returns the role in force of a token subject.
    fn stage_role(&self, claimed: Role, room: &RoomId, user: Option<&UserId>) -> StageRole {
        let claimed = match claimed {
            Role::Host => UserRole::Host,
            Role::Anchor => UserRole::Anchor,
            Role::Listener | Role::Replay => return StageRole::Listener,
        };
        match (self.directory.room(room), user) {
            (Some(view), Some(user)) => roles::in_force(&view.users, user, claimed).into(),
            _ => roles::RoomRole::from(claimed).into(),
        }
    }

    /// Checks that the token is for the room that exists now, and that its subject is not banned. A subject
    /// that is no user id cannot be banned.
    fn check_room(&self, claims: &Claims, room: &RoomId) -> Result<(), TokenError> {
        let Some(view) = self.directory.room(room) else { return Ok(()) };
        if view.meta.as_ref().is_some_and(|meta| !claims.grant.is_for(meta)) {
            return Err(TokenError::EarlierRoom);
        }
        let is_banned = UserId::new(&claims.sub).is_ok_and(|user| view.is_banned(&user));
        if is_banned { Err(TokenError::Banned) } else { Ok(()) }
    }
}

impl ChannelAuth for NodeTokens {
    fn identify(&self, token: &str, room: &RoomId) -> Result<Identity, TokenError> {
        let now = self.clock.wall();
        let claims = match self.tokens.verify_listener(token, room, now) {
            Err(TokenError::WrongAudience) => self.tokens.verify_speaker(token, now)?,
            verified => verified?,
        };
        if claims.room_id != *room {
            return Err(TokenError::WrongRoom);
        }
        self.check_room(&claims, room)?;
        let Claims { sub, role, name, grant, .. } = claims;
        let (verified, subject) = (name.is_some(), UserId::new(&sub).ok());
        let role = self.stage_role(role, room, subject.as_ref());
        let id = self.secrets.person_id(room, &sub);
        let person = Person { id, name, role, verified, subject };
        Ok(Identity { subject: sub, person, expires_at: grant.expires_at })
    }
}

impl ReplayAuth for NodeTokens {
    fn verify(&self, token: &str, recording: &RecordingId, room: &RoomId) -> Result<(), TokenError> {
        self.tokens.verify_replay(token, recording, room, self.clock.wall())
    }

    fn recording_of(&self, token: &str, room: &RoomId) -> Option<RecordingId> {
        self.tokens.recording_of(token, room, self.clock.wall()).ok()
    }
}

impl TokenIssuer for NodeTokens {
    fn listener(&self, who: &ListenerClaims, room: &RoomId, created_at: UnixMs, now: UnixMs) -> IssuedToken {
        let (id, name) = (who.user.as_ref().map(UserId::as_str), who.name.as_ref());
        let auth::IssuedToken { token, expires_at } =
            self.tokens.issue_named_listener(id, name, room, Some(created_at), now);
        IssuedToken { token, expires_at }
    }

    fn replay(&self, recording: &RecordingId, room: &RoomId, now: UnixMs) -> IssuedToken {
        let auth::IssuedToken { token, expires_at } = self.tokens.issue_replay(recording, room, now);
        IssuedToken { token, expires_at }
    }

    fn speaker(
        &self,
        role: UserRole,
        user: &UserId,
        room: &RoomId,
        created_at: UnixMs,
        now: UnixMs,
    ) -> IssuedToken {
        let (role, created_at) = (role.into(), Some(created_at));
        let auth::IssuedToken { token, expires_at } =
            self.tokens.issue(role, user.as_str(), room, created_at, self.anchor_ttl, now);
        IssuedToken { token, expires_at }
    }
}

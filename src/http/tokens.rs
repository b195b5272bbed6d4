//! Tokens of this installation, issued for and verified against the rooms that exist now.
//!
//! Owns: the checks that need the state of the room: whether a token is for an earlier room with the same id,
//! bans, and roles. Does not check a signature ([`Tokens`] does).

use std::sync::Arc;
use std::time::Duration;

use super::channel::Identity;
use crate::auth::{Claims, IssuedToken, ReplayGrant, Role, Secrets, TokenError, Tokens};
use crate::clock::Clock;
use crate::domain::clip::Clip;
use crate::domain::grant::Grant;
use crate::domain::ids::{RoomId, UnixMs, UserId};
use crate::domain::model::UserRole;
use crate::domain::recording::RecordingId;
use crate::domain::roles;
use crate::domain::signalling::DisplayName;
use crate::domain::stage::{Person, PersonId, StageRole};
use crate::rooms::Directory;

pub struct NodeTokens {
    pub tokens: Tokens,
    pub secrets: Arc<Secrets>,
    pub anchor_ttl: Duration,
    pub clock: Clock,
    pub directory: Arc<Directory>,
}

/// Claims about a listener. Without an id, a random one is chosen; without a name, the listener is anonymous.
#[derive(Debug, Clone, Default)]
pub struct ListenerClaims {
    pub user: Option<UserId>,
    pub name: Option<DisplayName>,
}

impl NodeTokens {
    /// Verifies the token of a listener of this room.
    ///
    /// # Errors
    /// The token is not valid now, or not for this room, or its subject is banned.
    pub fn verify_listener(&self, token: &str, room: &RoomId) -> Result<Grant, TokenError> {
        let claims = self.tokens.verify_listener(token, room, self.clock.wall())?;
        self.check_room(&claims, room)?;
        Ok(claims.grant)
    }

    /// Returns true if the token would be valid, but its subject is banned from the room. Verifies the token
    /// only if the room has bans, because this function is called for each playlist request.
    pub fn is_banned(&self, token: &str, room: &RoomId) -> bool {
        self.directory.room(room).is_some_and(|view| view.has_bans())
            && self.verify_listener(token, room) == Err(TokenError::Banned)
    }

    /// Verifies the token of a listener of this recording.
    ///
    /// # Errors
    /// The token is not valid now, or not for this recording.
    pub fn verify_replay(
        &self,
        token: &str,
        recording: &RecordingId,
        room: &RoomId,
    ) -> Result<ReplayGrant, TokenError> {
        self.tokens.verify_replay(token, recording, room, self.clock.wall())
    }

    /// Returns true for a valid replay token of this recording, whose room need not be known.
    pub fn names(&self, token: &str, recording: &RecordingId) -> bool {
        let claims = self.tokens.verify_role(Role::Replay, token, self.clock.wall());
        claims.is_ok_and(|claims| claims.recording.as_deref() == Some(recording.as_str()))
    }

    /// Returns the recording of this room to which a valid replay token gives access.
    pub fn recording_of(&self, token: &str, room: &RoomId) -> Option<RecordingId> {
        self.tokens.replay_grant(token, room, self.clock.wall()).ok().map(|grant| grant.recording)
    }

    /// Issues a token for playlists, media and keys of one room, which was created at `created_at`.
    pub fn listener(
        &self,
        who: &ListenerClaims,
        room: &RoomId,
        created_at: UnixMs,
        now: UnixMs,
    ) -> IssuedToken {
        let (id, name) = (who.user.as_ref().map(UserId::as_str), who.name.as_ref());
        self.tokens.issue_named_listener(id, name, room, Some(created_at), now)
    }

    /// Issues a token for playlist, media and keys of one recording, or only of a clip of it.
    pub fn replay(
        &self,
        recording: &RecordingId,
        room: &RoomId,
        clip: Option<Clip>,
        now: UnixMs,
    ) -> IssuedToken {
        self.tokens.issue_replay(recording, room, clip, now)
    }

    /// Issues a token with which `user` may speak in one room, which was created at `created_at`.
    pub fn speaker(
        &self,
        role: UserRole,
        user: &UserId,
        room: &RoomId,
        created_at: UnixMs,
        now: UnixMs,
    ) -> IssuedToken {
        self.tokens.issue(role.into(), user.as_str(), room, Some(created_at), self.anchor_ttl, now)
    }

    /// Returns the public id of a user in the listener channel of a room.
    pub fn person_id(&self, room: &RoomId, user: &UserId) -> PersonId {
        self.secrets.person_id(room, user.as_str())
    }

    /// Identifies the sender of a request to a room's channel: a listener, an anchor or a host.
    ///
    /// # Errors
    /// The token is not valid now, or not for this room, or its subject is banned.
    pub fn identify(&self, token: &str, room: &RoomId) -> Result<Identity, TokenError> {
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

    /// Returns the role that is in force for a token subject.
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
    /// that is not a valid user id cannot be banned.
    fn check_room(&self, claims: &Claims, room: &RoomId) -> Result<(), TokenError> {
        let Some(view) = self.directory.room(room) else { return Ok(()) };
        if view.meta.as_ref().is_some_and(|meta| !claims.grant.is_for(meta)) {
            return Err(TokenError::EarlierRoom);
        }
        let is_banned = UserId::new(&claims.sub).is_ok_and(|user| view.is_banned(&user));
        if is_banned { Err(TokenError::Banned) } else { Ok(()) }
    }
}

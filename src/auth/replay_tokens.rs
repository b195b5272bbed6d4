//! Replay tokens: each gives access to one recording, or to a clip of it.
//!
//! Owns: the claims that name the recording and the clip. Does not check which recordings exist.

use super::tokens::{IssuedToken, Role, Subject, TokenError, Tokens};
use crate::domain::clip::Clip;
use crate::domain::ids::{RoomId, UnixMs};
use crate::domain::recording::RecordingId;

/// Rights that a replay token grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayGrant {
    pub recording: RecordingId,
    /// Part of the recording to which the token gives access.
    pub clip: Clip,
    pub expires_at: UnixMs,
}

impl Tokens {
    /// Issues a token that lets one listener play this recording of `room`, or only `clip` of it. The token
    /// gives access to nothing else.
    pub fn issue_replay(
        &self,
        recording: &RecordingId,
        room: &RoomId,
        clip: Option<Clip>,
        now: UnixMs,
    ) -> IssuedToken {
        let random = uuid::Uuid::new_v4().to_string();
        let subject = Subject { id: &random, name: None };
        self.issue_named(Role::Replay, subject, room, None, Some((recording, clip)), self.listener_ttl, now)
    }

    /// Verifies a token for this recording of `room`, and returns its rights.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify), or [`TokenError::WrongRecording`].
    pub fn verify_replay(
        &self,
        token: &str,
        recording: &RecordingId,
        room: &RoomId,
        now: UnixMs,
    ) -> Result<ReplayGrant, TokenError> {
        let grant = self.replay_grant(token, room, now)?;
        if grant.recording == *recording { Ok(grant) } else { Err(TokenError::WrongRecording) }
    }

    /// Verifies a replay token of this room, for any recording, and returns its rights.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify), or [`TokenError::WrongRecording`].
    pub fn replay_grant(&self, token: &str, room: &RoomId, now: UnixMs) -> Result<ReplayGrant, TokenError> {
        let claims = self.verify(Role::Replay, token, room, now)?;
        let recording = claims.recording.and_then(|id| RecordingId::new(&id).ok());
        let recording = recording.ok_or(TokenError::WrongRecording)?;
        // A token whose clip cannot be read must not give access to the whole recording.
        let clip = claims.clip.map_or(Ok(Clip::WHOLE), serde_json::from_value);
        let clip = clip.map_err(|_| TokenError::Malformed)?;
        Ok(ReplayGrant { recording, clip, expires_at: claims.grant.expires_at })
    }
}

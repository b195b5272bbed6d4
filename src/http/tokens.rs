//! Interface to the token signer, for the API and the pages.

use crate::domain::ids::{RoomId, UnixMs, UserId};
use crate::domain::model::UserRole;
use crate::domain::recording::RecordingId;
use crate::domain::signalling::DisplayName;

/// Issuer of the tokens of one installation.
pub trait TokenIssuer: Send + Sync + 'static {
    /// Issues a token for playlists, media and keys of one room, which was created at `created_at`.
    fn listener(&self, who: &ListenerClaims, room: &RoomId, created_at: UnixMs, now: UnixMs) -> IssuedToken;

    /// Issues a token for playlist, media and keys of one recording.
    fn replay(&self, recording: &RecordingId, room: &RoomId, now: UnixMs) -> IssuedToken;

    /// Issues a token with which `user` may speak in one room, which was created at `created_at`.
    fn speaker(
        &self,
        role: UserRole,
        user: &UserId,
        room: &RoomId,
        created_at: UnixMs,
        now: UnixMs,
    ) -> IssuedToken;
}

/// Claims about a listener. Without an id, a random one is chosen; without a name, the listener is anonymous.
#[derive(Debug, Clone, Default)]
pub struct ListenerClaims {
    pub user: Option<UserId>,
    pub name: Option<DisplayName>,
}

/// Newly issued token. It must not be logged.
#[derive(Clone)]
pub struct IssuedToken {
    pub token: String,
    pub expires_at: UnixMs,
}

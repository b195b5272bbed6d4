//! What the API and the pages ask of whoever signs tokens.

use crate::domain::ids::{RoomId, UnixMs, UserId};
use crate::domain::model::UserRole;

/// Makes the tokens of one installation.
pub trait TokenIssuer: Send + Sync + 'static {
    /// For playlists, media and keys of one room, which was created at `created_at`.
    fn listener(&self, room: &RoomId, created_at: UnixMs, now: UnixMs) -> Issued;

    /// For `user` to speak in one room, which was created at `created_at`.
    fn speaker(
        &self,
        role: UserRole,
        user: &UserId,
        room: &RoomId,
        created_at: UnixMs,
        now: UnixMs,
    ) -> Issued;
}

/// A fresh token. It must not reach a log.
#[derive(Clone)]
pub struct Issued {
    pub token: String,
    pub expires_at: UnixMs,
}

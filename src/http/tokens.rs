//! What the API and the pages ask of whoever signs tokens.

use crate::domain::ids::{RoomId, UnixMs, UserId};
use crate::domain::model::UserRole;

/// Makes the tokens of one installation.
pub trait TokenIssuer: Send + Sync + 'static {
    /// For playlists, media and keys of one room.
    fn listener(&self, room: &RoomId, now: UnixMs) -> Issued;

    /// With which `user` speaks in one room.
    fn speaker(&self, role: UserRole, user: &UserId, room: &RoomId, now: UnixMs) -> Issued;
}

/// A fresh token. It must not reach a log.
#[derive(Clone)]
pub struct Issued {
    pub token: String,
    pub expires_at: UnixMs,
}

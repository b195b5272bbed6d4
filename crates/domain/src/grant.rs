//! Validity of a verified token beyond its signature: its expiry and the room that it is for. This module is
//! pure.
//!
//! A room id can be used again after a delete. A token is bound to the room that existed when it was issued.
//! Every token that Stentor issues contains the claim `roomCreatedAt`. If an application's token lacks it,
//! `iat` may be at most `CLOCK_DIFFERENCE_MS` earlier than the creation of the room.

use super::ids::{UnixMs, UserId};
use super::model::Meta;
use super::signalling::CloseCode;
use super::view::RoomView;

/// Largest difference between our clock and that of a signer that sends no `roomCreatedAt`, in milliseconds.
/// A token signed up to this long before a room is created is valid for that room.
const CLOCK_DIFFERENCE_MS: u64 = 5_000;

/// Time claims of a token whose signature, audience and room id were checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub issued_at: UnixMs,
    pub expires_at: UnixMs,
    /// Creation time of the token's room; `None` if an application signed the token without the claim.
    pub room_created_at: Option<UnixMs>,
}

impl Grant {
    pub fn is_expired(&self, now: UnixMs) -> bool {
        now >= self.expires_at
    }

    /// Returns true if the token is for this room, and not for an earlier one with the same id.
    pub fn is_for(&self, room: &Meta) -> bool {
        match self.room_created_at {
            Some(created_at) => created_at == room.created_at,
            None => self.issued_at.0.saturating_add(CLOCK_DIFFERENCE_MS) >= room.created_at.0,
        }
    }

    /// Returns true if the token is for the room of this view, and false if the view has no room.
    pub fn is_for_room(&self, room: &RoomView) -> bool {
        room.meta.as_ref().is_some_and(|meta| self.is_for(meta))
    }

    /// Checks that this token's user may speak and act in the room. `room`: the room as the store has it now;
    /// empty if there is no such room.
    ///
    /// # Errors
    /// - [`CloseCode::TokenInvalid`]: the token has expired.
    /// - [`CloseCode::RoomGone`]: the room does not exist, is being deleted, or is not the token's room.
    /// - [`CloseCode::Removed`]: the user is banned, kicked or a listener, and so may not speak.
    pub fn admit(&self, user: &UserId, room: &RoomView, wall: UnixMs) -> Result<(), CloseCode> {
        if self.is_expired(wall) {
            return Err(CloseCode::TokenInvalid);
        }
        if !room.meta.as_ref().is_some_and(|meta| meta.deleted_at.is_none() && self.is_for(meta)) {
            return Err(CloseCode::RoomGone);
        }
        if room.is_off_stage(user) { Err(CloseCode::Removed) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Pin};
    use crate::keys::parse_room;

    #[test]
    fn tokens_are_bound_to_one_room() {
        let (first, second) = (room(1_000_000), room(1_000_500));
        let ours = grant(1_000_000, Some(1_000_000));
        assert!(ours.is_for(&first) && !ours.is_for(&second));
        for (issued_at, fits) in
            [(2_000_000, true), (1_000_500, true), (995_500, true), (995_499, false), (0, false)]
        {
            assert_eq!(grant(issued_at, None).is_for(&second), fits, "{issued_at}");
        }
    }

    #[test]
    fn grants_end_at_their_expiry() {
        let grant = grant(1_000_000, None);
        assert!(!grant.is_expired(UnixMs(1_059_999)) && grant.is_expired(UnixMs(1_060_000)));
    }

    #[test]
    fn admission_follows_token_and_room() {
        const META: &str = r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":1000000}"#;
        const DELETED: &str =
            r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":1000000,"deletedAt":1010000}"#;
        const LATER: &str = r#"{"pin":"abc123","maxAnchors":3,"hlsPath":"/","createdAt":1020000}"#;
        const LISTENS: &str = r#"{"role":"anchor","createdAt":1000000,"assigned":"listener"}"#;
        const REMOVED: &str = r#"{"role":"anchor","createdAt":1000000,"removedAt":1000001}"#;
        let (meta, ann) = ("/rooms/talk/meta", "/rooms/talk/users/ann");
        for (keys, wall, wanted) in [
            (vec![(meta, META)], 1_059_999, Ok(())),
            (vec![(meta, META)], 1_060_000, Err(CloseCode::TokenInvalid)),
            (vec![], 1_000_000, Err(CloseCode::RoomGone)),
            (vec![(meta, DELETED)], 1_020_000, Err(CloseCode::RoomGone)),
            (vec![(meta, LATER)], 1_020_000, Err(CloseCode::RoomGone)),
            (vec![(meta, META), (ann, REMOVED)], 1_020_000, Err(CloseCode::Removed)),
            (vec![(meta, META), (ann, LISTENS)], 1_020_000, Err(CloseCode::Removed)),
            (vec![(meta, META), ("/rooms/talk/users/bob", REMOVED)], 1_020_000, Ok(())),
        ] {
            let mut view = RoomView::default();
            for (key, json) in &keys {
                view.apply(parse_room(key).unwrap().1, Some((json.as_bytes(), 1))).unwrap();
            }
            let token = grant(1_000_000, Some(1_000_000));
            assert_eq!(
                token.admit(&UserId::new("ann").unwrap(), &view, UnixMs(wall)),
                wanted,
                "{keys:?} {wall}"
            );
        }
    }

    fn grant(issued_at: u64, room_created_at: Option<u64>) -> Grant {
        let expires_at = UnixMs(1_060_000);
        Grant { issued_at: UnixMs(issued_at), expires_at, room_created_at: room_created_at.map(UnixMs) }
    }

    fn room(created_at: u64) -> Meta {
        Meta {
            pin: Pin::new("abc123").unwrap(),
            max_anchors: 3,
            hls_path: "/h".into(),
            created_at: UnixMs(created_at),
            deleted_at: None,
            last_epoch: Epoch(0),
            last_started_at: None,
            last_end: None,
            api_key: None,
            profile: Default::default(),
        }
    }
}

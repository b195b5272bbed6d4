//! Muting of all anchors of a room at once.
//!
//! The order is a key of the room. The node that has the room's Janus carries it out and deletes the key. The
//! order therefore reaches the anchors of every gateway, even of one that has died. It reaches only those who
//! are in the room at that time: an anchor may unmute afterwards, and an anchor who joins later is not muted.
//!
//! Owns these rules. Never writes, and never calls Janus.

use serde::{Deserialize, Serialize};

use super::ids::{Nonce, UnixMs, UserId};
use super::room::{Admission, RoomWrite};
use super::view::{RoomView, StoredValue};

/// Value of the key `/rooms/{id}/mute`: order to mute everybody. It has no effect on a later broadcast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MuteOrder {
    /// Nonce of the broadcast.
    pub nonce: Nonce,
    pub at: UnixMs,
    /// Host or co-host who gave the order and stays audible; `None`: the application gave it, and everybody
    /// is muted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
}

/// Reason why an order to mute everybody is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MuteDenied {
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("the room is not on air")]
    NotOnAir,
}

/// Decides whether an order to mute everybody but `by` is accepted.
///
/// # Errors
/// There is no such room, or it is neither on air nor backstage.
pub fn admit_mute_all(
    view: &RoomView,
    by: Option<UserId>,
    now: UnixMs,
) -> Result<Admission<RoomWrite>, MuteDenied> {
    view.meta.as_ref().filter(|meta| meta.deleted_at.is_none()).ok_or(MuteDenied::NoSuchRoom)?;
    let live = view.live.as_ref().filter(|_| view.is_open()).ok_or(MuteDenied::NotOnAir)?;
    let order = MuteOrder { nonce: live.nonce.clone(), at: now, by };
    Ok(Admission::Accepted(RoomWrite::MuteAll(order)))
}

/// Returns the order that waits to be carried out in the current broadcast; `None` if there is none.
pub fn pending(view: &RoomView) -> Option<&StoredValue<MuteOrder>> {
    let live = view.live.as_ref().filter(|_| view.is_open())?;
    view.mute.as_ref().filter(|order| order.nonce == live.nonce)
}

//! Muting of an anchor on behalf of a host or co-host, through the Janus instance of the room.
//!
//! Owns: the requests and their errors. Does not check rights.

use std::sync::Arc;

use super::AnchorParts;
use crate::domain::ids::RoomId;
use crate::domain::media_session::{JanusAssignment, JoinUnavailable};
use crate::janus::{AudioBridge, JanusError, PluginError, Secret};

/// Reason why an anchor could not be muted or unmuted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModerationError {
    #[error(transparent)]
    RoomUnavailable(#[from] JoinUnavailable),
    #[error("no participant has this user id")]
    NoSuchAnchor,
    #[error("the room's Janus cannot be used now: {0}")]
    Unavailable(String),
}

/// Mutes or unmutes every participant whose display name is the id of `user`. Returns true if this changes
/// anything.
pub async fn moderate(
    parts: AnchorParts,
    room: RoomId,
    user: Arc<str>,
    muted: bool,
) -> Result<bool, ModerationError> {
    let place = JanusAssignment::of(parts.context.directory.room(&room).as_deref())?;
    let failed = |e: JanusError| ModerationError::Unavailable(e.to_string());
    let client = parts.januses.client(&place.janus).await;
    let client = client.map_err(|e| ModerationError::Unavailable(e.to_string()))?;
    let secret = Secret(parts.secrets.of_janus_room(&room));
    let participants = client.participants(place.janus_room_id).await.map_err(failed)?;
    let (mut found, mut changed) = (false, false);
    // If two participants have the same name, they are an old session and its successor. Both must be muted
    // or unmuted. The old session may leave at any moment.
    for participant in participants.iter().filter(|p| *p.display == *user) {
        match client.set_muted(place.janus_room_id, &secret, participant.id, muted).await {
            Ok(()) => (found, changed) = (true, changed || participant.muted != muted),
            Err(JanusError::Plugin(PluginError::NoSuchParticipant)) => {}
            Err(other) => return Err(failed(other)),
        }
    }
    if found { Ok(changed) } else { Err(ModerationError::NoSuchAnchor) }
}

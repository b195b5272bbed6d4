//! Janus operations that open or reclaim a session. Each operation is one effect with typed errors.

use super::{AnchorParts, ConnectError, JoinError};
use crate::domain::media_session::{ClaimFailure, JanusAssignment, SessionIds};
use crate::domain::mix::MixShare;
use crate::janus::{AnchorEvents, AnchorJoin, CoreError, JanusClient, JanusError, JoinedRoom, PluginError};

/// Session that has joined its room.
pub struct OpenSession {
    pub room: JoinedRoom,
    pub events: AnchorEvents,
    /// True if the session was claimed and its media is set up.
    pub up: bool,
}

/// Claims the session of a resume token if it still exists with its media; otherwise joins the room.
///
/// # Errors
/// [`JoinError::Unavailable`] if Janus cannot be used or the mix is full. [`JoinError::RoomUnavailable`] if
/// Janus does not have the room yet.
pub async fn open(
    parts: AnchorParts,
    place: JanusAssignment,
    claim: Option<SessionIds>,
    join: AnchorJoin,
) -> Result<OpenSession, JoinError> {
    let client = parts.januses.client(&place.janus).await.map_err(unavailable)?;
    if let Some(ids) = claim
        && let Some(opened) = claimed(&client, ids, place.janus_room_id, join.share).await
    {
        return Ok(opened);
    }
    let (room, events) = client.join(&join).await.map_err(|e| match e {
        // The store lists the room, but Janus does not have it. This lasts only for a moment, so the client
        // may try again.
        JanusError::Plugin(PluginError::NoSuchRoom) => {
            crate::domain::media_session::JoinUnavailable::Preparing.into()
        }
        other => unavailable(other.into()),
    })?;
    // The new participant cannot be heard yet: it has no media before its offer is answered.
    let (present, most) = (room.others.len() + 1, join.share.participants());
    if present > most {
        let _ = room.session.destroy().await;
        let why = format!("its mix has {present} participants, the limit is {most}; others must leave first");
        return Err(JoinError::Unavailable(why));
    }
    Ok(OpenSession { room, events, up: false })
}

/// Claims a session. Returns `None` if a new session has to be opened; a session without media is destroyed.
async fn claimed(
    client: &JanusClient,
    ids: SessionIds,
    janus_room_id: u32,
    share: MixShare,
) -> Option<OpenSession> {
    let (room, events) = client.claim(ids, janus_room_id, share).await.ok()?;
    if !room.mine.setup {
        let _ = room.session.destroy().await;
        return None;
    }
    Some(OpenSession { room, events, up: true })
}

/// Claims the session again, after its connection to Janus was lost.
///
/// # Errors
/// [`ClaimFailure::SessionGone`] if Janus no longer has the session, its handle, its room or its participant;
/// [`ClaimFailure::Unavailable`] for everything else.
pub async fn reclaim(
    parts: AnchorParts,
    place: JanusAssignment,
    ids: SessionIds,
    share: MixShare,
) -> Result<OpenSession, ClaimFailure> {
    let unavailable = |e: String| ClaimFailure::Unavailable(e);
    let client = parts.januses.client(&place.janus).await.map_err(|e| unavailable(e.to_string()))?;
    match client.claim(ids, place.janus_room_id, share).await {
        Ok((room, events)) => Ok(OpenSession { up: room.mine.setup, room, events }),
        Err(JanusError::Core(CoreError::NoSuchSession | CoreError::NoSuchHandle)) => {
            Err(ClaimFailure::SessionGone)
        }
        Err(JanusError::Plugin(PluginError::NoSuchRoom | PluginError::NotInRoom)) => {
            Err(ClaimFailure::SessionGone)
        }
        Err(error) => Err(unavailable(error.to_string())),
    }
}

fn unavailable(error: ConnectError) -> JoinError {
    JoinError::Unavailable(error.to_string())
}

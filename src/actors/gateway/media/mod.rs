//! The media sessions of the anchors on this gateway: one Janus session each, which outlives the client's
//! connection.
//!
//! ```text
//! MediaSupervisor
//! └─ MediaSessionActor*   one per anchor; a shell around domain::media_session
//! ```
//! The code that serves a client calls [`MediaSessions::join`], sends requests through the returned
//! [`MediaSessionHandle`], and reads the [`SessionEvent`]s. Dropping the handle reports the client as away.
//! The session then waits for the client during the grace time and keeps its media. A later `join` with the
//! resume token resumes the session, on this node or on another, whether or not this node still runs.
//!
//! Owns: the sessions, and the connections to the Janus instances of the rooms. Does not authenticate users
//! or acquire the connection lock; the caller of `join` must have done both before.

mod connections;
mod moderation;
mod open;
mod session;
pub mod supervisor;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::actors::context::Context;
use crate::actors::kernel::ActorRef;
use crate::auth::{Seal, SealBinding, Secrets};
use crate::domain::client_session::JoinedMedia;
use crate::domain::ids::{Pin, RoomId, UserId};
use crate::domain::media_session::{End, JanusAssignment, JoinUnavailable, Timing};
use crate::domain::signalling::methods::ResumeToken;
use crate::janus::{Candidate, Quality};
use crate::presence::stage::StageStore;
pub use connections::{ConnectError, Januses, LocalJanus};
pub use moderation::ModerationError;
pub use session::MediaSessionHandle;

/// Maximum number of events that are buffered for a client. If a client leaves more events unread, its event
/// channel is closed, and the client is asked to join again.
const EVENT_QUEUE: usize = 64;

/// State shared by all sessions of a gateway.
#[derive(Clone)]
pub struct AnchorParts {
    pub context: Context,
    pub januses: Januses,
    pub secrets: Arc<Secrets>,
    /// Store that passes the talking state of users on to the listeners.
    pub stages: Arc<dyn StageStore>,
    pub seal: Seal,
    pub timing: Timing,
    /// Quality of the audio that Janus sends to the anchors.
    pub quality: Quality,
}

/// A user's request to join a room.
#[derive(Debug, Clone)]
pub struct Join {
    pub room: RoomId,
    /// Id of the user, unique in the room. The participant in Janus has this name, so that every node can
    /// find the user there.
    pub user: UserId,
    /// PIN that the user sent. If present, it must equal the room's PIN.
    pub pin: Option<Pin>,
    pub muted: bool,
    pub resume_token: Option<ResumeToken>,
}

/// Result of a successful join.
#[derive(Debug)]
pub struct JoinedSession {
    pub resume_token: ResumeToken,
    /// True if the previous session and its media were resumed, so no new offer is needed.
    pub resume: bool,
    pub muted: bool,
    pub line: MediaSessionHandle,
    /// Events of the session. The stream ends after [`SessionEvent::Ended`]. If the session failed, or
    /// another connection took it over, the stream ends without this event.
    pub events: mpsc::Receiver<SessionEvent>,
}

/// Reason why a join failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    RoomUnavailable(#[from] JoinUnavailable),
    #[error("the pin is wrong")]
    WrongPin,
    /// Retryable: the same request may succeed later.
    #[error("the room's Janus cannot be used now: {0}")]
    Unavailable(String),
    /// The gateway is stopping, or the session failed while it was being opened.
    #[error("this gateway cannot serve the session")]
    Gone,
}

/// Event that a session sends to its client.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionEvent {
    /// ICE and DTLS are complete: media flows.
    Up,
    /// A user in the room, possibly the client itself, began or stopped talking, as detected by Janus.
    Talking { user: Arc<str>, talking: bool },
    /// The client was muted or unmuted, by itself or by somebody else.
    Muted { muted: bool },
    /// Janus receives packets from the client (true), or has received none for a second (false).
    Receiving(bool),
    /// Packets are lost on the way to Janus (`uplink`) or from it.
    SlowLink { uplink: bool, lost: u64 },
    /// ICE candidate of Janus, if Janus trickles its candidates; `None` marks the end of candidates.
    Candidate(Option<Candidate>),
    /// Last event. If `reconnect_after` is set, the client should join again, no earlier than after this
    /// time.
    Ended { end: End, reconnect_after: Option<Duration> },
}

/// Reason why a call on a session failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Media is being set up again, or another connection of the same client has taken over.
    #[error("the session is not in the room")]
    NotJoined,
    #[error("Janus refused the request")]
    Refused,
    /// Retryable: the same request may succeed later.
    #[error("Janus does not answer")]
    Unavailable,
}

/// State of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionStatus {
    pub state: &'static str,
    pub muted: bool,
    pub talking: bool,
    /// True while Janus receives packets from the anchor.
    pub receiving: bool,
}

/// Access to the sessions. Empty while their supervisor is not running. Cheap to clone.
#[derive(Clone, Default)]
pub struct MediaSessions(Arc<Mutex<Option<ActorRef<supervisor::Msg>>>>);

impl MediaSessions {
    /// Joins a user to a room, or resumes the session of the user. If the future is dropped, a new session is
    /// ended, and a resumed session waits for its client as before.
    ///
    /// # Errors
    /// The room cannot be joined, the PIN is wrong, Janus cannot be used, or this gateway is stopping.
    pub async fn join(&self, join: Join) -> Result<JoinedSession, JoinError> {
        let (events, stream) = mpsc::channel(EVENT_QUEUE);
        let (reply, answer) = oneshot::channel();
        self.tell(supervisor::Msg::Join(Box::new(supervisor::JoinRequest { join, events, reply })))
            .ok_or(JoinError::Gone)?;
        let (joined, line) = answer.await.map_err(|_| JoinError::Gone)??;
        let JoinedMedia { resume_token, resume, muted } = joined;
        Ok(JoinedSession { resume_token, resume, muted, line, events: stream })
    }

    /// Mutes or unmutes an anchor on behalf of a host or co-host. The anchor may be connected to another
    /// node. Returns true if this changes anything.
    ///
    /// # Errors
    /// `ModerationError::NoSuchAnchor` if the user is not in the room; other variants if the room has no
    /// usable Janus or this gateway is stopping.
    pub async fn set_muted(&self, room: &RoomId, user: &str, muted: bool) -> Result<bool, ModerationError> {
        let (reply, done) = oneshot::channel();
        let gone = || ModerationError::Unavailable("this gateway is stopping".into());
        self.tell(supervisor::Msg::Moderate { room: room.clone(), user: user.into(), muted, reply })
            .ok_or_else(gone)?;
        done.await.map_err(|_| gone())?
    }

    fn set(&self, supervisor: Option<ActorRef<supervisor::Msg>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = supervisor;
    }

    fn tell(&self, msg: supervisor::Msg) -> Option<()> {
        let supervisor = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        supervisor.tell(msg).ok()
    }
}

/// Returns the values that a resume token is bound to. The token is valid for this user as long as the media
/// of the room stay in the same Janus room.
fn bound(user: &str, room: &RoomId, place: &JanusAssignment) -> SealBinding {
    let (janus, janus_room_id) = (place.janus.clone(), place.janus_room_id);
    SealBinding { user: user.to_owned(), room: room.clone(), janus, janus_room_id }
}

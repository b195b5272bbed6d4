//! The Janus side of the anchors on this gateway: one session each, which outlives the client's connection.
//!
//! ```text
//! AnchorSupervisor
//! └─ JanusSession*        one per anchor; a shell around domain::anchor
//! ```
//! Whoever serves a client calls [`Anchors::join`], speaks through the [`Line`] it gets, and reads the
//! [`SessionEvent`]s. Dropping the line says that the client is away: the session then waits for it for the
//! grace time, with its media untouched, and a later `join` with the resume token takes it up again, here or,
//! after this node's end, on another.
//!
//! Owns: sessions, and connections to the Januses of the rooms. Never does: check who somebody is, or hold the
//! connection lock; whoever joins has both behind it.

mod calls;
mod januses;
mod open;
mod session;
pub mod supervisor;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::actors::context::Context;
use crate::actors::kernel::ActorRef;
use crate::auth::{Bound, Seal, Secrets};
use crate::domain::anchor::{End, Nowhere, Place, Timing};
use crate::domain::ids::{Pin, RoomId, UserId};
use crate::janus::{Candidate, Quality};
pub use januses::{Januses, Local, NoJanus};

/// Events that may wait for a client; one that leaves more unread loses its events, and so its session.
const EVENT_QUEUE: usize = 64;

/// What all sessions of a gateway share.
#[derive(Clone)]
pub struct AnchorParts {
    pub context: Context,
    pub januses: Januses,
    pub secrets: Arc<Secrets>,
    pub seal: Seal,
    pub timing: Timing,
    /// Of what Janus sends the anchors.
    pub quality: Quality,
}

/// Who wants to speak where.
#[derive(Debug, Clone)]
pub struct Join {
    pub room: RoomId,
    /// Unique in the room; its name as a participant, by which hosts on other gateways find it.
    pub user: UserId,
    /// Must be the room's if it is there.
    pub pin: Option<Pin>,
    pub muted: bool,
    pub resume_token: Option<ResumeToken>,
}

/// The session's ids, sealed. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken(pub String);

/// In the room.
#[derive(Debug)]
pub struct Joined {
    pub resume_token: ResumeToken,
    /// The session and its media are those of before: no new offer.
    pub resume: bool,
    pub muted: bool,
    pub line: Line,
    /// Ends after [`SessionEvent::Ended`]; without one if the session failed, or another connection took it.
    pub events: mpsc::Receiver<SessionEvent>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    Nowhere(#[from] Nowhere),
    #[error("the pin is wrong")]
    WrongPin,
    /// Worth another try.
    #[error("the room's Janus cannot be used now: {0}")]
    Unavailable(String),
    /// The gateway stops, or the session failed while it was opened.
    #[error("this gateway cannot serve the session")]
    Gone,
}

/// What is told of one's own session.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionEvent {
    /// ICE and DTLS are done: media flows.
    Up,
    /// Somebody in the room, oneself included, as Janus hears it.
    Talking { user: Arc<str>, talking: bool },
    /// By oneself or by a host.
    Muted { muted: bool },
    /// Packets are lost on the way to Janus (`uplink`) or from it.
    SlowLink { uplink: bool, lost: u64 },
    /// Of a Janus that trickles its own; `None`: there are no more.
    Candidate(Option<Candidate>),
    /// The last one. `reconnect_after`: join anew, no earlier than this.
    Ended { end: End, reconnect_after: Option<Duration> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Media is being set up anew, or another connection of the same client has taken over.
    #[error("the session is not in the room")]
    NotJoined,
    #[error("Janus refused this")]
    Refused,
    /// Worth another try.
    #[error("Janus does not answer")]
    Unavailable,
}

/// How a session is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionStatus {
    pub state: &'static str,
    pub muted: bool,
    pub talking: bool,
    /// Janus receives packets of the anchor.
    pub receiving: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModerationError {
    #[error(transparent)]
    Nowhere(#[from] Nowhere),
    #[error("nobody of that name is in the room")]
    NoSuchAnchor,
    #[error("the room's Janus cannot be used now: {0}")]
    Unavailable(String),
}

/// The way to the sessions; empty while their supervisor is not there. Cheap to clone.
#[derive(Clone, Default)]
pub struct Anchors(Arc<Mutex<Option<ActorRef<supervisor::Msg>>>>);

impl Anchors {
    /// Brings a user into a room, or back to its session. Dropped half-way, nothing is left of it.
    pub async fn join(&self, join: Join) -> Result<Joined, JoinError> {
        let (events, stream) = mpsc::channel(EVENT_QUEUE);
        let (reply, answer) = oneshot::channel();
        self.tell(supervisor::Msg::Join(Box::new(supervisor::Asked { join, events, reply })))
            .ok_or(JoinError::Gone)?;
        let (joined, line) = answer.await.map_err(|_| JoinError::Gone)??;
        let session::Attached { resume_token, resume, muted } = joined;
        Ok(Joined { resume_token, resume, muted, line, events: stream })
    }

    /// What a host may do to an anchor, on whichever gateway that is. `ModerationError::NoSuchAnchor` if the user is
    /// not in the room.
    pub async fn set_muted(&self, room: &RoomId, user: &str, muted: bool) -> Result<(), ModerationError> {
        let (reply, done) = oneshot::channel();
        let gone = || ModerationError::Unavailable("this gateway stops".into());
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

/// A client's hold on its session. Dropping it says that the client is away.
#[derive(Debug)]
pub struct Line {
    actor: ActorRef<session::Msg>,
    /// Counts the connections that held the session; only the newest is served.
    number: u64,
}

impl Line {
    /// The answer to an SDP offer. A second one restarts ICE of the same peer connection; another peer
    /// connection needs another `join`, without the resume token.
    pub async fn offer(&self, sdp: String) -> Result<String, CallError> {
        self.call(|reply| calls::Call::Offer { sdp, reply }).await
    }

    /// A candidate of the client's; `None`: there are no more.
    pub async fn candidate(&self, candidate: Option<Candidate>) -> Result<(), CallError> {
        self.call(|reply| calls::Call::Candidate { candidate, reply }).await
    }

    pub async fn set_muted(&self, muted: bool) -> Result<(), CallError> {
        self.call(|reply| calls::Call::Mute { muted, reply }).await
    }

    pub async fn status(&self) -> Result<SessionStatus, CallError> {
        self.call(|reply| calls::Call::Status { reply }).await
    }

    /// Out of the room at once; Janus is told without waiting for it.
    pub fn leave(&self) {
        let _ = self.actor.tell(session::Msg::Leave { line: self.number });
    }

    async fn call<T>(
        &self,
        call: impl FnOnce(oneshot::Sender<Result<T, CallError>>) -> calls::Call,
    ) -> Result<T, CallError> {
        let (reply, answer) = oneshot::channel();
        let call = session::Msg::Call { line: self.number, call: call(reply) };
        self.actor.tell(call).map_err(|_| CallError::NotJoined)?;
        answer.await.unwrap_or(Err(CallError::NotJoined))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let away = || session::Msg::Away { line: self.number };
        if self.actor.tell(away()).is_err() {
            // However full the mailbox is, an offer arrives.
            let _ = self.actor.offer("away", away());
        }
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeToken(******)")
    }
}

/// What a resume token holds for: this user, as long as the room's media are where they are.
fn bound(user: &str, room: &RoomId, place: &Place) -> Bound {
    let (janus, janus_room_id) = (place.janus.clone(), place.janus_room_id);
    Bound { user: user.to_owned(), room: room.clone(), janus, janus_room_id }
}

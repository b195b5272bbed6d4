//! A participant that uses WebRTC: a Janus session of its own on the shared connection.
//!
//! It has its own session for two reasons. Another node can `claim` the session when this node dies, and
//! Janus ends a session that is not kept alive. Owns: the requests of one anchor. Does not keep the session
//! alive, and does not end it when dropped: the session's actor does so.
//!
//! Janus runs in half-trickle mode, its default: its answer contains all of its candidates. This delays the
//! answer by only a few milliseconds, because a server has host candidates only. The anchor's candidates
//! arrive one by one. An external Janus with `full_trickle` also works: its candidates arrive as events.

use std::sync::Arc;

use serde_json::json;

use super::Secret;
use super::anchor_event::{AnchorEvents, Candidate};
use super::audiobridge::ParticipantInfo;
use super::client::{JanusClient, Session, create_session};
use super::error::{CoreError, JanusError, PluginError};
use super::link::Link;
use super::wire::{
    BridgeRequest, DoneReply, JoinReply, Jsep, Participants, Quality, Request, answer_in, core_reply,
};
use crate::domain::ids::Pin;
use crate::domain::media_session::SessionIds;
use crate::domain::mix::MixShare;
use crate::domain::signalling::answer::with_frame_duration;

/// Parameters of an anchor's join.
#[derive(Debug, Clone)]
pub struct AnchorJoin {
    pub janus_room_id: u32,
    pub pin: Pin,
    /// Name in the room's participant list.
    pub display: String,
    pub muted: bool,
    pub share: MixShare,
    pub quality: Quality,
    /// Name of the files in which Janus records the anchor while the room is recorded.
    pub file: Option<String>,
}

/// Result of an anchor's join: the session and the participants of the room.
#[derive(Debug, Clone)]
pub struct JoinedRoom {
    pub session: Arc<ParticipantSession>,
    pub mine: ParticipantInfo,
    pub others: Vec<ParticipantInfo>,
}

/// Session, handle and participant of one anchor.
#[derive(Debug)]
pub struct ParticipantSession {
    session: Session,
    handle: u64,
    participant: u64,
}

impl JanusClient {
    /// Opens a session and joins the room. If that fails, or the future is dropped, the session is destroyed.
    ///
    /// # Errors
    /// A Janus error, such as a wrong pin, or a connection error.
    pub async fn join(&self, join: &AnchorJoin) -> Result<(JoinedRoom, AnchorEvents), JanusError> {
        let opening = PendingSession::begin(self.link()).await?;
        let handle = opening.session.attach().await?;
        let events = opening.session.subscribe(handle).await?;
        let request = BridgeRequest::Join {
            room: join.janus_room_id,
            pin: join.pin.reveal(),
            display: &join.display,
            muted: Some(join.muted),
            volume: join.share.volume(),
            quality: join.quality,
            filename: join.file.as_deref(),
            rtp: None,
        };
        let JoinReply { id, participants, .. } = opening.session.message(handle, request).await?;
        let session = Arc::new(ParticipantSession { session: opening.done(), handle, participant: id });
        let display = join.display.clone();
        let mine = ParticipantInfo { id, display, setup: false, muted: join.muted, talking: false };
        let others = participants.into_iter().map(ParticipantInfo::from).collect();
        Ok((JoinedRoom { session, mine, others }, AnchorEvents::new(events)))
    }

    /// Takes over a session that this or another node opened; the session's events then arrive here. Sets the
    /// volume again, because older versions of Stentor join participants at full volume.
    ///
    /// # Errors
    /// `NoSuchSession` if the session is over; `NotInRoom` if the session exists but is no longer in the
    /// room.
    pub async fn claim(
        &self,
        ids: SessionIds,
        janus_room_id: u32,
        share: MixShare,
    ) -> Result<(JoinedRoom, AnchorEvents), JanusError> {
        let session = Session { link: self.link().clone(), id: ids.session };
        let anchor = ParticipantSession { session, handle: ids.handle, participant: ids.participant };
        // Subscribe first, so that no event between the two requests is lost.
        let events = anchor.session.subscribe(ids.handle).await?;
        let claim = Request { session_id: Some(ids.session), ..Request::new("claim") };
        core_reply::<DoneReply>("claim", &self.link().request(claim).await?)?;
        let list = BridgeRequest::ListParticipants { room: janus_room_id };
        let room: Participants = anchor.session.message(ids.handle, list).await?;
        let participants = room.participants.into_iter().map(ParticipantInfo::from);
        let (mut mine, others): (Vec<_>, Vec<_>) = participants.partition(|p| p.id == ids.participant);
        let Some(mine) = mine.pop() else {
            // The session is useless without a participant.
            self.link().tell(anchor.request("destroy", None));
            return Err(PluginError::NotInRoom.into());
        };
        let volume = BridgeRequest::Configure { muted: None, volume: Some(share.volume()) };
        anchor.session.message::<DoneReply>(ids.handle, volume).await?;
        Ok((JoinedRoom { session: Arc::new(anchor), mine, others }, AnchorEvents::new(events)))
    }
}

/// Requests that need the room's secret.
impl JanusClient {
    /// Mutes or unmutes a participant.
    ///
    /// # Errors
    /// `NoSuchParticipant` if the participant is not in the room.
    pub async fn set_muted(
        &self,
        room: u32,
        secret: &Secret,
        id: u64,
        muted: bool,
    ) -> Result<(), JanusError> {
        let mute = BridgeRequest::Mute { room, secret, id };
        let request = if muted { mute } else { BridgeRequest::Unmute { room, secret, id } };
        self.bridge::<DoneReply>(request).await.map(|_| ())
    }
}

impl ParticipantSession {
    /// Returns the ids with which another node can claim the session.
    pub fn ids(&self) -> SessionIds {
        SessionIds { session: self.session.id, handle: self.handle, participant: self.participant }
    }

    /// Sends an SDP offer and returns the answer, which asks for 20 ms frames. A later offer for the same
    /// peer connection restarts ICE.
    pub async fn offer(&self, sdp: String) -> Result<String, JanusError> {
        let configure = BridgeRequest::Configure { muted: None, volume: None };
        let name = configure.name();
        let mut request = self.session.message_request(self.handle, configure)?;
        request.jsep = Some(Jsep { kind: "offer".to_owned(), sdp });
        let answer = answer_in(name, &self.session.link.request(request).await?)?;
        Ok(with_frame_duration(answer.sdp))
    }

    /// Sends a candidate of the anchor; `None`: there are no more. Janus also accepts candidates before the
    /// offer, and does not report whether it can use them.
    pub async fn trickle(&self, candidate: Option<&Candidate>) -> Result<(), JanusError> {
        let candidate = candidate.map_or_else(|| json!({ "completed": true }), |c| json!(c));
        let request = Request { candidate: Some(candidate), ..self.request("trickle", Some(self.handle)) };
        core_reply::<DoneReply>("trickle", &self.session.link.request(request).await?).map(|_| ())
    }

    /// Mutes or unmutes the anchor itself.
    pub async fn set_muted(&self, muted: bool) -> Result<(), JanusError> {
        let configure = BridgeRequest::Configure { muted: Some(muted), volume: None };
        self.session.message::<DoneReply>(self.handle, configure).await.map(|_| ())
    }

    /// Keeps the session alive. Janus ends a session that sends no request for `session_timeout`.
    pub async fn keep_alive(&self) -> Result<(), JanusError> {
        self.session.keep_alive().await
    }

    /// Ends the session, and with it the media and the participant. Succeeds if the session no longer exists.
    pub async fn destroy(&self) -> Result<(), JanusError> {
        let raw = self.session.link.request(self.request("destroy", None)).await?;
        match core_reply::<DoneReply>("destroy", &raw) {
            Ok(_) | Err(JanusError::Core(CoreError::NoSuchSession)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn request(&self, janus: &'static str, handle_id: Option<u64>) -> Request {
        Request { session_id: Some(self.session.id), handle_id, ..Request::new(janus) }
    }
}

/// Session that is destroyed on drop until [`done`](Self::done) is called. Without this guard, the session of
/// an abandoned join would stay until its timeout.
struct PendingSession {
    session: Session,
    done: bool,
}

impl PendingSession {
    async fn begin(link: &Link) -> Result<Self, JanusError> {
        let session = Session { link: link.clone(), id: create_session(link).await? };
        Ok(Self { session, done: false })
    }

    fn done(mut self) -> Session {
        self.done = true;
        Session { link: self.session.link.clone(), id: self.session.id }
    }
}

impl Drop for PendingSession {
    fn drop(&mut self) {
        if !self.done {
            let destroy = Request { session_id: Some(self.session.id), ..Request::new("destroy") };
            self.session.link.tell(destroy);
        }
    }
}

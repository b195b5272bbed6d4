//! Actor of one anchor's media session: a shell around
//! [`domain::media_session`](crate::domain::media_session).
//!
//! The steps of the state machine run one at a time. The client's calls run concurrently with them and with
//! each other, so a Janus that hangs blocks neither. Never restarted: Janus ends sessions that nobody keeps
//! alive.

mod events;

use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;

use super::calls::{Call, after, answered};
use super::open::{self, OpenSession};
use super::supervisor::JoinReply;
use super::{
    AnchorParts, CallError, JoinError, MediaSessionHandle, ResumeToken, SessionEvent, SessionStatus, bound,
};
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, StopAnswer, Timer};
use crate::clock::random_unit;
use crate::domain::ids::{Pin, RoomId, UserId};
use crate::domain::media_session::{
    ClaimFailure, Effect, End, JanusAssignment, JanusEvent, MediaSession, SessionIds, State,
};
use crate::domain::mix::MixShare;
use crate::domain::participants::Participants;
use crate::domain::plan::Plan;
use crate::janus::{AnchorEvent, AnchorEvents, AnchorJoin, CoreError, JanusError, ParticipantSession};
use events::listen;

/// Media session of one anchor.
pub struct MediaSessionActor {
    parts: AnchorParts,
    room: RoomId,
    user: UserId,
    pin: Pin,
    share: MixShare,
    /// Ids of a session that another gateway held.
    claim: Option<SessionIds>,
    machine: MediaSession,
    session: Option<Arc<ParticipantSession>>,
    /// Event channel of the newest client. Events are dropped while the client is away.
    client: Option<mpsc::Sender<SessionEvent>>,
    line: u64,
    /// Reply to the newest client, which waits for its session.
    joining: Option<JoinReply>,
    voice: AudioState,
    people: Participants,
    /// Number of the current event stream; events of earlier streams are ignored.
    streams: u64,
    busy: bool,
    reason: String,
    timer: Option<Timer>,
}

/// State of the audio, as last reported by Janus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct AudioState {
    muted: bool,
    talking: bool,
    receiving: bool,
}

/// Reply to a client that has its session.
pub struct AttachReply {
    pub resume_token: ResumeToken,
    pub resume: bool,
    pub muted: bool,
}

pub enum Msg {
    /// A client joins. With `ids`, it returns to the session with these ids and accepts no other.
    Attach {
        ids: Option<SessionIds>,
        muted: bool,
        events: mpsc::Sender<SessionEvent>,
        reply: JoinReply,
    },
    Away {
        line: u64,
    },
    Leave {
        line: u64,
    },
    Call {
        line: u64,
        call: Call,
    },
    Called,
    /// The answer to an offer is on its way to the client.
    Answered,
    /// A call failed because Janus no longer knows the session, the room or the participant.
    Lost(JanusEvent),
    Muted {
        muted: bool,
    },
    Opened(Result<OpenSession, JoinError>),
    Reclaimed(Result<OpenSession, ClaimFailure>),
    KeptAlive(Result<(), JanusError>),
    Destroyed,
    Event {
        stream: u64,
        events: AnchorEvents,
        event: Option<AnchorEvent>,
    },
    StateChanged,
    End(End),
    Due,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Attach { .. } => "attach",
            Self::Away { .. } => "away",
            Self::Leave { .. } => "leave",
            Self::Call { .. } => "call",
            Self::Called => "called",
            Self::Answered => "answered",
            Self::Lost(_) => "lost",
            Self::Muted { .. } => "muted",
            Self::Opened(_) => "opened",
            Self::Reclaimed(_) => "reclaimed",
            Self::KeptAlive(_) => "kept_alive",
            Self::Destroyed => "destroyed",
            Self::Event { .. } => "event",
            Self::StateChanged => "state_changed",
            Self::End(_) => "end",
            Self::Due => "due",
        }
    }
}

impl MediaSessionActor {
    pub fn new(
        parts: AnchorParts,
        room: RoomId,
        user: UserId,
        place: JanusAssignment,
        pin: Pin,
        share: MixShare,
        claim: Option<SessionIds>,
    ) -> Self {
        let machine = MediaSession::new(place, parts.timing);
        Self {
            parts,
            room,
            user,
            pin,
            share,
            claim,
            machine,
            session: None,
            client: None,
            line: 0,
            joining: None,
            voice: AudioState::default(),
            people: Participants::default(),
            streams: 0,
            busy: false,
            reason: String::new(),
            timer: None,
        }
    }

    /// Executes the next step of the machine. Sends the final event if the session has ended.
    fn step(&mut self, cx: &mut Cx<Self>) {
        let now = self.parts.context.clock.now();
        self.machine.look(now);
        if let State::Ended(end) = self.machine.state() {
            self.farewell(end);
        }
        if self.busy {
            // Grace times continue while an answer of Janus is pending.
            self.timer = self.machine.deadline().map(|due| cx.after(due.saturating_sub(now), Msg::Due));
            return;
        }
        self.timer = None;
        match self.machine.plan(now) {
            Plan::Do { effect, reason } => {
                self.reason = reason.into_owned();
                self.busy = true;
                self.act(effect, cx);
            }
            Plan::Wait { reason, until } => {
                self.reason = reason.into_owned();
                self.timer = until.map(|due| cx.after(due.saturating_sub(now), Msg::Due));
            }
            Plan::Finished => {
                if let State::Ended(end) = self.machine.state() {
                    self.parts.context.metrics.anchor_session_ended(end.as_str());
                }
                cx.stop();
            }
        }
    }

    fn act(&self, effect: Effect, cx: &mut Cx<Self>) {
        let (parts, place) = (self.parts.clone(), self.machine.place().clone());
        match (effect, self.session.clone()) {
            (Effect::Open, _) => cx.run(open::open(parts, place, self.claim, self.entry()), Msg::Opened),
            (Effect::Reclaim, Some(s)) => {
                cx.run(open::reclaim(parts, place, s.ids(), self.share), Msg::Reclaimed)
            }
            (Effect::KeepAlive, Some(s)) => cx.run(async move { s.keep_alive().await }, Msg::KeptAlive),
            (Effect::Destroy, Some(s)) => {
                cx.run(async move { drop(s.destroy().await) }, |()| Msg::Destroyed);
            }
            // The machine plans these effects only after a session was opened.
            (_, None) => cx.fail("there is no session to act on"),
        }
    }

    fn entry(&self) -> AnchorJoin {
        AnchorJoin {
            janus_room_id: self.machine.place().janus_room_id,
            pin: self.pin.clone(),
            display: self.user.to_string(),
            muted: self.voice.muted,
            share: self.share,
            quality: self.parts.quality,
        }
    }

    fn attach(
        &mut self,
        ids: Option<SessionIds>,
        muted: bool,
        events: mpsc::Sender<SessionEvent>,
        reply: JoinReply,
        cx: &mut Cx<Self>,
    ) {
        match ids {
            // The first client: the session is being opened for it.
            None => {
                (self.client, self.joining, self.voice.muted) = (Some(events), Some(reply), muted);
            }
            // The reply is sent once the session is claimed again.
            Some(ids) if self.is_mine(ids) && self.machine.is_resumable() => {
                if let Some(overtaken) = self.joining.take() {
                    self.welcome(overtaken, true, cx);
                }
                (self.client, self.joining) = (Some(events), Some(reply));
                self.machine.client_back(self.parts.context.clock.now());
            }
            Some(_) => {
                let _ = reply.send(Err(JoinError::Gone));
            }
        }
    }

    fn is_mine(&self, ids: SessionIds) -> bool {
        self.session.as_ref().is_some_and(|session| session.ids() == ids)
    }

    fn welcome(&mut self, reply: JoinReply, resume: bool, cx: &mut Cx<Self>) {
        let Some(resume_token) = self.resume_token() else { return };
        self.line += 1;
        let attached = AttachReply { resume_token, resume, muted: self.voice.muted };
        let line = MediaSessionHandle { actor: cx.me(), number: self.line };
        let talking: Vec<_> = self.people.talking().collect();
        talking.into_iter().for_each(|talk| self.tell_talk(talk));
        if let Err(Ok((_, line))) = reply.send(Ok((attached, line))) {
            // The client left before it got the reply. A returning client may try again; a new client has no
            // resume token.
            if resume {
                drop(line);
            } else {
                self.machine.end(End::Left);
            }
        }
    }

    /// Returns a resume token that is valid for the longest time a room may exist (`rooms.max_age`).
    fn resume_token(&self) -> Option<ResumeToken> {
        let place = self.machine.place();
        let ids = self.session.as_ref()?.ids();
        let bound = bound(self.user.as_str(), &self.room, place);
        let context = &self.parts.context;
        let sealed = self.parts.seal.seal(ids, &bound, context.clock.wall(), context.config.rooms.max_age);
        Some(ResumeToken(sealed))
    }

    fn opened(&mut self, outcome: Result<OpenSession, JoinError>, cx: &mut Cx<Self>) {
        match outcome {
            Ok(opened) => {
                self.voice.muted = opened.room.mine.muted;
                self.machine.opened(opened.up, self.parts.context.clock.now());
                let resume = opened.up;
                self.adopt(opened, cx);
                if let Some(reply) = self.joining.take() {
                    self.welcome(reply, resume, cx);
                }
                // The store may have changed while the session was being opened.
                self.look();
            }
            Err(error) => {
                self.machine.end(End::Refused);
                if let Some(reply) = self.joining.take() {
                    let _ = reply.send(Err(error));
                }
            }
        }
    }

    fn reclaimed(&mut self, outcome: Result<OpenSession, ClaimFailure>, cx: &mut Cx<Self>) {
        let now = self.parts.context.clock.now();
        match outcome {
            Ok(opened) => {
                self.machine.reclaimed(now);
                // Apply the changes that happened while no events arrived.
                match opened.up {
                    true if !self.machine.is_resumable() => self.up(),
                    false if self.machine.is_resumable() => self.machine.heard(JanusEvent::Down, now),
                    _ => {}
                }
                self.set_muted(opened.room.mine.muted);
                self.adopt(opened, cx);
            }
            Err(failure) => self.machine.reclaim_failed(failure, now, random_unit()),
        }
        // Reply even if Janus does not respond: the client then waits for Janus together with the session.
        // Clients of a session that has ended are declined.
        if self.machine.is_resumable()
            && let Some(reply) = self.joining.take()
        {
            self.welcome(reply, true, cx);
        }
    }

    fn look(&mut self) {
        let view = self.parts.context.directory.room(&self.room);
        self.machine.observe(view.as_deref(), &self.user);
    }

    fn call(&mut self, line: u64, call: Call, cx: &mut Cx<Self>) {
        let session = self.session.clone().filter(|_| line == self.line && self.machine.takes_calls());
        match (call, session) {
            (Call::Status { reply }, Some(_)) => {
                let AudioState { muted, talking, receiving } = self.voice;
                let state = self.machine.name();
                let _ = reply.send(Ok(SessionStatus { state, muted, talking, receiving }));
            }
            (Call::Offer { sdp, reply }, Some(s)) => {
                cx.run(answered(async move { s.offer(sdp).await }, reply), after(|_| Msg::Answered));
            }
            (Call::Candidate { candidate, reply }, Some(s)) => {
                let trickle = async move { s.trickle(candidate.as_ref()).await };
                cx.run(answered(trickle, reply), after(|()| Msg::Called));
            }
            (Call::Mute { muted, reply }, Some(s)) => {
                let mute = async move { s.set_muted(muted).await };
                cx.run(answered(mute, reply), after(move |()| Msg::Muted { muted }));
            }
            (call, None) => call.refuse(if line == self.line && self.session.is_some() {
                CallError::Unavailable
            } else {
                CallError::NotJoined
            }),
        }
    }

    /// Sends an event. A client that does not read loses its event channel, and notices that.
    fn tell(&mut self, event: SessionEvent) {
        if self.client.as_ref().is_some_and(|client| client.try_send(event).is_err()) {
            self.client = None;
        }
    }

    fn farewell(&mut self, end: End) {
        let jitter = 1.0 + random_unit();
        let reconnect_after = end.reconnect_after().map(|after| after.mul_f64(jitter));
        self.tell(SessionEvent::Ended { end, reconnect_after });
        self.client = None;
        if let Some(reply) = self.joining.take() {
            let _ = reply.send(Err(JoinError::Gone));
        }
    }
}

impl Behaviour for MediaSessionActor {
    const KIND: &'static str = "media_session";
    type Msg = Msg;

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        let now = self.parts.context.clock.now();
        match msg {
            Msg::Attach { ids, muted, events, reply } => self.attach(ids, muted, events, reply, cx),
            Msg::Away { line } if line == self.line => {
                self.client = None;
                self.machine.client_left(now);
            }
            Msg::Leave { line } if line == self.line => self.machine.end(End::Left),
            Msg::Call { line, call } => self.call(line, call, cx),
            Msg::Answered => self.machine.answered(),
            Msg::Lost(what) => {
                self.machine.heard(what, now);
                self.look();
            }
            Msg::Muted { muted } => self.set_muted(muted),
            Msg::Opened(outcome) => {
                self.busy = false;
                self.opened(outcome, cx);
            }
            Msg::Reclaimed(outcome) => {
                self.busy = false;
                self.reclaimed(outcome, cx);
            }
            Msg::KeptAlive(outcome) => {
                // Repeated for listener nodes that have started since the user began to talk.
                if self.voice.talking {
                    self.show_talking(cx);
                }
                self.busy = false;
                match outcome {
                    Err(JanusError::Core(CoreError::NoSuchSession)) => {
                        self.machine.heard(JanusEvent::SessionOver, now);
                    }
                    // Other errors need no action: the end of the events reports a silent or lost connection
                    // to Janus.
                    _ => self.machine.kept_alive(now),
                }
            }
            Msg::Destroyed => {
                self.busy = false;
                self.machine.destroyed();
            }
            Msg::Event { stream, .. } if stream != self.streams => {}
            Msg::Event { stream, events, event: Some(event) } => {
                self.heard(event, cx);
                listen(stream, events, cx);
            }
            Msg::Event { event: None, .. } => self.machine.link_lost(now),
            Msg::StateChanged => self.look(),
            Msg::End(end) => self.machine.end(end),
            Msg::Away { .. } | Msg::Leave { .. } | Msg::Called | Msg::Due => {}
        }
        self.step(cx);
    }

    /// Ends the session on this node only: it stays in Janus, so that the client can claim it through another
    /// gateway.
    fn stopping(&mut self, _: &mut Cx<Self>) -> StopAnswer {
        self.machine.end(End::Draining);
        self.farewell(End::Draining);
        StopAnswer::Now
    }

    fn observe(&self) -> ActorState {
        let place = self.machine.place();
        ActorState {
            state: self.machine.name().into(),
            desired: json!({ "room": self.room, "user": self.user, "janus": place.janus }),
            observed: json!({ "muted": self.voice.muted, "talking": self.voice.talking }),
            reason: Some(self.reason.clone()),
            attempt: self.machine.attempt(),
            ..ActorState::default()
        }
    }
}

//! Actor of one anchor's media session: a shell around
//! [`domain::media_session`](crate::domain::media_session).
//!
//! The steps of the state machine run one at a time. The client's calls run concurrently with these steps
//! and with each other. So a call that Janus does not answer blocks neither steps nor other calls. The actor
//! is never restarted: if it fails, Janus ends the session because no keep-alive requests arrive.
//!
//! | file | owns |
//! |---|---|
//! | `session` | the actor, the client's handle on it, the calls |
//! | `joining` | replies to clients that join, come back or wait for a reclaimed session |
//! | `events` | translation of the events and errors of Janus |

mod events;
mod joining;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::open::{self, OpenSession};
use super::supervisor::JoinReply;
use super::{AnchorParts, CallError, JoinError, SessionEvent, SessionStatus};
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, Cx, Message, StopAnswer, Timer};
use crate::clock::random_unit;
use crate::domain::ids::{Pin, RoomId, UserId};
use crate::domain::media_session::{
    ClaimFailure, Effect, End, JanusAssignment, JanusEvent, MediaSession, SessionIds, State,
};
use crate::domain::mix::MixShare;
use crate::domain::participants::Participants;
use crate::domain::plan::Plan;
use crate::domain::recorded_speech::RecordedSpeech;
use crate::domain::stage::TalkTimer;
use crate::janus::{AnchorEvent, AnchorEvents, Candidate, CoreError, JanusError, ParticipantSession};
use events::{RECORDED_EVERY, REPORT_EVERY, call_error, listen, lost};

/// Media session of one anchor.
pub struct MediaSessionActor {
    parts: AnchorParts,
    room: RoomId,
    user: UserId,
    pin: Pin,
    share: MixShare,
    /// Ids of the session to be claimed. Another gateway opened it.
    claim: Option<SessionIds>,
    machine: MediaSession,
    session: Option<Arc<ParticipantSession>>,
    /// Event channel of the newest client. Events are dropped while the client is away.
    client: Option<mpsc::Sender<SessionEvent>>,
    line: u64,
    /// Reply to the newest client, which waits for its session.
    joining: Option<JoinReply>,
    voice: AudioState,
    spoken: TalkTimer,
    recorded: RecordedSpeech,
    participants: Participants,
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

/// Call of a client. The closure receives the session, or the reason why the session cannot serve calls now.
/// The closure answers the client and returns the next message for the actor.
pub type Call = Box<dyn FnOnce(Result<ServingSession, CallError>) -> LocalBoxFuture<'static, Msg> + Send>;

/// Session that serves calls, and its state.
pub struct ServingSession {
    session: Arc<ParticipantSession>,
    status: SessionStatus,
}

/// Client's handle on its session. Dropping it reports the client as away.
#[derive(Debug)]
pub struct MediaSessionHandle {
    actor: ActorRef<Msg>,
    /// Number of this handle among all handles on the session; only calls of the newest handle are served.
    number: u64,
}

pub enum Msg {
    /// A client joins. With `ids`, it returns to the session that has these ids, and cannot use another
    /// session.
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
    /// The answer to an offer was sent to the client.
    Answered,
    /// A call failed because Janus no longer has the session, the room or the participant.
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
            spoken: TalkTimer::default(),
            recorded: RecordedSpeech::default(),
            participants: Participants::default(),
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
            self.talks(false);
            self.report_speech(Duration::ZERO);
            self.farewell(end);
        }
        if self.busy {
            // Grace times keep running while an answer from Janus is pending.
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

    fn look(&mut self) {
        let view = self.parts.context.directory.room(&self.room);
        self.machine.observe(view.as_deref(), &self.user);
        self.report_recorded(RECORDED_EVERY);
    }

    /// Returns the session if the handle with this number may use it now.
    fn serve(&self, line: u64) -> Result<ServingSession, CallError> {
        let session = self.session.as_ref().filter(|_| line == self.line).ok_or(CallError::NotJoined)?;
        if !self.machine.takes_calls() {
            return Err(CallError::Unavailable);
        }
        let AudioState { muted, talking, receiving } = self.voice;
        let status = SessionStatus { state: self.machine.name(), muted, talking, receiving };
        Ok(ServingSession { session: session.clone(), status })
    }

    /// Sends an event. If the client does not read its events, closes its event channel, which the client
    /// notices.
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
            Msg::Call { line, call } => cx.run(call(self.serve(line)), |done| done),
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
                // Send the state again, for listener nodes that have started since the user began to talk.
                if self.voice.talking {
                    self.show_talking(cx);
                }
                self.report_speech(REPORT_EVERY);
                self.busy = false;
                match outcome {
                    Err(JanusError::Core(CoreError::NoSuchSession)) => {
                        self.machine.heard(JanusEvent::SessionOver, now);
                    }
                    // Other errors need no action: a silent or lost connection to Janus ends the event
                    // stream, which reports it.
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
        self.report_speech(Duration::ZERO);
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

impl MediaSessionHandle {
    /// Returns the answer to an SDP offer. A second offer restarts ICE on the same peer connection. A new
    /// peer connection needs another `join`, without the resume token.
    pub async fn offer(&self, sdp: String) -> Result<String, CallError> {
        self.call(|serving| async move { serving.session.offer(sdp).await }, |_| Msg::Answered).await
    }

    /// Sends an ICE candidate of the client to Janus; `None` marks the end of candidates.
    pub async fn candidate(&self, candidate: Option<Candidate>) -> Result<(), CallError> {
        self.call(
            |serving| async move { serving.session.trickle(candidate.as_ref()).await },
            |()| Msg::Called,
        )
        .await
    }

    /// Mutes or unmutes the client in Janus.
    pub async fn set_muted(&self, muted: bool) -> Result<(), CallError> {
        let done = move |()| Msg::Muted { muted };
        self.call(move |serving| async move { serving.session.set_muted(muted).await }, done).await
    }

    /// Returns the state of the session.
    pub async fn status(&self) -> Result<SessionStatus, CallError> {
        self.call(|serving| ready(Ok(serving.status)), |_| Msg::Called).await
    }

    /// Leaves the room at once. Does not wait for Janus.
    pub fn leave(&self) {
        self.report("leave", || Msg::Leave { line: self.number });
    }

    /// Delivers a message that must not be lost. If the mailbox is full, stores the message in the slot
    /// `slot` of the mailbox, which always accepts the latest message.
    fn report(&self, slot: &'static str, message: impl Fn() -> Msg) {
        if self.actor.tell(message()).is_err() {
            let _ = self.actor.tell_latest(slot, message());
        }
    }

    /// Makes a request to Janus. The result is passed to the client and, through `done`, to the actor.
    async fn call<T, F>(
        &self,
        request: impl FnOnce(ServingSession) -> F + Send + 'static,
        done: impl FnOnce(T) -> Msg + Send + 'static,
    ) -> Result<T, CallError>
    where
        T: Clone + Send + 'static,
        F: Future<Output = Result<T, JanusError>> + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = move |serving: Result<ServingSession, CallError>| {
            let called = async move {
                let outcome = match serving {
                    Ok(serving) => request(serving).await,
                    Err(refused) => {
                        let _ = reply.send(Err(refused));
                        return Msg::Called;
                    }
                };
                let _ = reply.send(outcome.clone().map_err(|error| call_error(&error)));
                outcome.map_or_else(|error| lost(&error).map_or(Msg::Called, Msg::Lost), done)
            };
            called.boxed_local()
        };
        let call = Msg::Call { line: self.number, call: Box::new(call) };
        self.actor.tell(call).map_err(|_| CallError::NotJoined)?;
        answer.await.unwrap_or(Err(CallError::NotJoined))
    }
}

impl Drop for MediaSessionHandle {
    fn drop(&mut self) {
        self.report("away", || Msg::Away { line: self.number });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::actors::kernel::TellError;

    #[test]
    fn full_mailbox_loses_no_leave() {
        for kind in ["leave", "away"] {
            let delivered = Arc::new(Mutex::new(Vec::new()));
            let (refused, received) = (Mutex::new(false), delivered.clone());
            let actor = ActorRef::from_fn(move |message: Msg| {
                if message.kind() == kind && !std::mem::replace(&mut *refused.lock().unwrap(), true) {
                    return Err(TellError::Full);
                }
                received.lock().unwrap().push(message.kind());
                Ok(())
            });
            let line = MediaSessionHandle { actor, number: 1 };
            line.leave();
            drop(line);
            assert_eq!(*delivered.lock().unwrap(), ["leave", "away"], "refused: {kind}");
        }
    }
}

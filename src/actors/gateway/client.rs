//! Actor of one connected client: the shell of its
//! [`ClientSession`](crate::domain::client_session::ClientSession).
//!
//! ```text
//! Connecting ── lock acquired ──▶ Open ── any reason ──▶ Closing ── answered or 1 s ──▶ ended
//!      └────────────── refused, left, dead, stopped ──────▲
//! ```
//! Each frame becomes calls of the session. A WHIP client sends no frames: HTTP requests call its session
//! directly. The effects of the session run as futures. Their results arrive as messages, so a slow call
//! delays neither pings nor the close. Everything sent to the client goes through its [`OutboundQueue`].
//!
//! The actor is never restarted. When it ends for any reason, it closes the session. After the connection is
//! closed, the actor waits for the results that the session still needs, and then ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::direct::{CallFailure, DirectCall, DirectCalls};
use super::effects::{SessionEffects, StartedEffect};
use super::outbound::OutboundQueue;
use super::{ConnectionInfo, GatewayParts};
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, StopAnswer, Timer};
use crate::domain::client_session::{Answer, CallId, ClientSession, Effect, Input};
use crate::domain::connection_limits::{Admission, ConnectionLimiter, LivenessAction};
use crate::domain::presence_entry::Source;
use crate::domain::rpc::{self, AnsweredText, Call, Entry, Id, Packet, PendingTexts, Response};
use crate::domain::signalling::{CloseCode, ErrorCode, Method, RpcError};
use crate::domain::trace_context::TraceContext;
use crate::frames::{Inbound, OutboundFrame};
use crate::telemetry::trace::{self, Span};

/// Time limit for the client's answer to our close frame.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// One connected client.
pub struct WsClient {
    parts: Arc<GatewayParts>,
    peer: Arc<ConnectionInfo>,
    queue: Arc<OutboundQueue>,
    guard: ConnectionLimiter,
    session: ClientSession,
    effects: Box<dyn SessionEffects>,
    texts: PendingTexts<RunningCall>,
    direct: DirectCalls,
    /// Code with which the connection is closed.
    closed: Option<CloseCode>,
    /// True once the closing handshake is over.
    ended: bool,
    /// Time and timer of the next ping, liveness check or tick of the session. While the connection is
    /// closing: time and timer of its forced end.
    alarm: Option<(Duration, Timer)>,
}

/// Record of an unanswered call.
#[derive(Debug, Default)]
struct RunningCall {
    method: &'static str,
    since: Duration,
    span: Span,
}

/// Method of a call, and the trace that the call continues.
type TracedMethod = (Method, Option<TraceContext>);

/// Events of a media session, as inputs of the client session.
pub struct Events(BoxStream<'static, Input>);

pub enum Msg {
    /// The transport continues to read when the permit is dropped.
    Received(Inbound, OwnedSemaphorePermit),
    /// Call made by an HTTP request.
    Called(Box<DirectCall>),
    /// Result of an effect.
    Session(Box<Input>),
    Event(Events, Option<Box<Input>>),
    /// Another connection has acquired the lock that this connection held.
    LockReplaced,
    /// Presence may have lost the lock.
    RenewNow,
    /// The room may have changed in the store.
    RoomChanged,
    Alarm,
    /// The outbound queue requests the close of the connection, and holds the close code.
    CloseAsked,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Received(..) => "received",
            Self::Called(_) => "called",
            Self::Session(input) => input.kind(),
            Self::Event(..) => "event",
            Self::LockReplaced => "lock_replaced",
            Self::RenewNow => "renew_now",
            Self::RoomChanged => "room_changed",
            Self::Alarm => "alarm",
            Self::CloseAsked => "close_asked",
        }
    }
}

impl WsClient {
    pub fn new(parts: Arc<GatewayParts>, peer: Arc<ConnectionInfo>, queue: Arc<OutboundQueue>) -> Self {
        let now = parts.clock.now();
        Self {
            guard: ConnectionLimiter::new(&parts.limits.load(), now),
            session: ClientSession::new(peer.identity(), parts.rules(), now),
            effects: parts.signalling.effects(peer.clone()),
            texts: PendingTexts::default(),
            direct: DirectCalls::default(),
            closed: None,
            ended: false,
            alarm: None,
            parts,
            peer,
            queue,
        }
    }

    fn received(&mut self, inbound: Inbound, cx: &mut Cx<Self>) {
        self.guard.heard(self.parts.clock.now());
        match inbound {
            Inbound::Gone => self.close(CloseCode::Gone, cx),
            // The last frame of the connection, no matter which side closed first.
            Inbound::Close => {
                self.close(CloseCode::Normal, cx);
                self.end(cx);
            }
            _ if self.closed.is_some() => {}
            Inbound::Bad(code) => self.close(code, cx),
            Inbound::Pong | Inbound::Fragments => {
                self.admit(cx);
            }
            Inbound::Ping(payload) => self.ping(payload, cx),
            Inbound::Text(text) => self.text(&text, cx),
        }
    }

    fn ping(&mut self, payload: Bytes, cx: &mut Cx<Self>) {
        if self.admit(cx) {
            self.queue.send(OutboundFrame::Pong(payload));
        }
    }

    /// Counts a ping, a pong or fragments against the rate limit. Such input never gets an error response.
    /// Returns true if the input is within the limit. Closes the connection of a client that exceeds the
    /// limit for too long.
    fn admit(&mut self, cx: &mut Cx<Self>) -> bool {
        let admission = self.guard.admit(&self.parts.limits.load(), self.parts.clock.now());
        if admission == Admission::Abuse {
            self.close(CloseCode::Flooding, cx);
        }
        admission == Admission::Taken
    }

    fn text(&mut self, text: &str, cx: &mut Cx<Self>) {
        let (entries, batch) = match rpc::read(text) {
            Packet::Single(entry) => (vec![entry], false),
            Packet::Batch(entries) => (entries, true),
        };
        let mut calls = Vec::with_capacity(entries.len());
        for entry in entries {
            match self.begin(entry) {
                Some(begun) => calls.push(begun),
                None => return self.close(CloseCode::Flooding, cx),
            }
        }
        let now = self.parts.clock.now();
        let (calls, answered) = self.texts.begin(calls, batch, |(method, trace)| {
            let (method, mut span) = (method.name(), Span::of_request(*trace));
            span.set(|span| {
                span.name(method).attribute("rpc.system", "jsonrpc").attribute("rpc.method", method);
            });
            RunningCall { method, since: now, span }
        });
        answered.into_iter().for_each(|text| self.answered(text));
        for (number, (method, _)) in calls {
            self.feed(Input::Call(CallId(number), method), cx);
        }
    }

    /// Prepares one call. Returns `None` if the client has exceeded its rate for too long.
    fn begin(&mut self, entry: Entry) -> Option<(Option<Id>, Result<TracedMethod, RpcError>)> {
        let limits = self.parts.limits.load();
        let admission = self.guard.admit(&limits, self.parts.clock.now());
        let (id, call) = match entry {
            Ok(Call { id, method, params, trace }) => (id, Ok((method, params, trace))),
            Err(Response { id, outcome }) => (Some(id), Err(outcome)),
        };
        let method = match (admission, call) {
            (Admission::Abuse, _) => return None,
            (Admission::Refused { retry_after }, _) => {
                Err(RpcError::from(ErrorCode::RateLimited).retry_after(retry_after))
            }
            (Admission::Taken, Ok((name, params, trace))) => Method::parse(&name, params)
                .and_then(|method| self.guard.begin(&limits, &method).map(|()| (method, trace))),
            // An entry that is not a call is answered with its own error.
            (Admission::Taken, Err(outcome)) => {
                Err(outcome.err().unwrap_or(ErrorCode::InvalidRequest.into()))
            }
        };
        if let Err(error) = &method {
            self.parts.metrics.ws_call("none", error.code.as_str(), None);
        }
        Some((id, method))
    }

    /// Starts the call that an HTTP request makes.
    fn called(&mut self, call: DirectCall, cx: &mut Cx<Self>) {
        let refused = match self.closed {
            Some(code) => Err(CallFailure::Closed(code)),
            None => self.guard.begin(&self.parts.limits.load(), &call.method).map_err(CallFailure::Refused),
        };
        if let Err(failure) = refused {
            // Fails only if the HTTP client has disconnected.
            let _ = call.reply.send(Err(failure));
            return;
        }
        let id = CallId(self.texts.reserve());
        let method = self.direct.begin(id, call);
        self.feed(Input::Call(id, method), cx);
    }

    fn reply(&mut self, id: CallId, outcome: Result<Answer, RpcError>) {
        let label = outcome.as_ref().map_or_else(|error| error.code.as_str(), |_| "ok");
        if let Some(mut call) = self.direct.end(id) {
            self.guard.answered(1);
            call.span.set(|span| {
                if label != "ok" {
                    span.error(label);
                }
            });
            self.parts.metrics.ws_call(call.method, label, Some(call.since.elapsed()));
            return call.answer(outcome.map_err(CallFailure::Refused));
        }
        let outcome = outcome.map(|answer| self.effects.render(answer));
        let Some((call, text)) = self.texts.answer(id.0, outcome) else { return };
        let RunningCall { method, since, mut span } = call;
        if label != "ok" {
            span.set(|span| {
                span.error(label);
            });
        }
        drop(span);
        let took = self.parts.clock.now().saturating_sub(since);
        self.parts.metrics.ws_call(method, label, Some(took));
        text.into_iter().for_each(|text| self.answered(text));
    }

    fn answered(&mut self, AnsweredText { run, response }: AnsweredText) {
        self.guard.answered(run);
        if let Some(text) = response {
            self.queue.send(OutboundFrame::Text(text.into()));
        }
    }

    /// Gives the session an input and starts its effects.
    fn feed(&mut self, input: Input, cx: &mut Cx<Self>) {
        let was_closed = self.closed.is_some();
        let running = self.drive(input);
        self.started_effects(running, was_closed, cx);
    }

    /// Gives the session an input. Then gives it the results of those effects that complete immediately.
    /// Returns the effects that are still in progress.
    fn drive(&mut self, input: Input) -> Vec<StartedEffect> {
        let mut inputs = VecDeque::from([input]);
        let mut running = Vec::new();
        while let Some(input) = inputs.pop_front() {
            for effect in self.session.handle(input, &self.effects.surroundings()) {
                match effect {
                    Effect::Reply(id, outcome) => self.reply(id, outcome),
                    Effect::Notify(notification) => self.peer.out.notify(&notification),
                    Effect::Close(code) => running.extend(self.shut(code)),
                    effect => {
                        let trace = self.trace_of(&effect);
                        match (self.effects.run(effect), trace) {
                            (StartedEffect::Done, _) => {}
                            (StartedEffect::Now(input), _) => inputs.push_back(input),
                            (StartedEffect::Later(future), Some(trace)) => {
                                running.push(StartedEffect::Later(Box::pin(trace::scope(trace, future))));
                            }
                            (later, _) => running.push(later),
                        }
                    }
                }
            }
        }
        running
    }

    /// Returns the recorded span of the call that has this effect.
    fn trace_of(&self, effect: &Effect) -> Option<TraceContext> {
        let (Effect::CallMedia(id, _) | Effect::ChangeRoom(id, _) | Effect::MuteUser { call: id, .. }) =
            effect
        else {
            return None;
        };
        self.texts.record(id.0).map_or_else(|| self.direct.span(*id), |call| call.span.context())
    }

    fn started_effects(&mut self, running: Vec<StartedEffect>, was_closed: bool, cx: &mut Cx<Self>) {
        for effect in running {
            match effect {
                StartedEffect::Later(future) => cx.run(future, |input| Msg::Session(Box::new(input))),
                StartedEffect::Stream(events) => next(Events(events), cx),
                StartedEffect::Done | StartedEffect::Now(_) => {}
            }
        }
        match self.closed {
            Some(code) if !was_closed => self.closing(code, cx),
            Some(_) if self.ended => self.end(cx),
            Some(_) => {}
            None => self.arm(cx),
        }
    }

    /// Sets the alarm to the time at which the session must act, if that time is earlier.
    fn arm(&mut self, cx: &mut Cx<Self>) {
        let due = self.session.due(&self.effects.surroundings());
        if let (Some(due), Some((at, _))) = (due, &self.alarm)
            && due < *at
        {
            self.set_alarm(due, cx);
        }
    }

    fn set_alarm(&mut self, at: Duration, cx: &mut Cx<Self>) {
        let wait = at.saturating_sub(self.parts.clock.now()).max(Duration::from_millis(1));
        self.alarm = Some((at, cx.after(wait, Msg::Alarm)));
    }

    fn alarm(&mut self, cx: &mut Cx<Self>) {
        if self.closed.is_some() {
            return self.end(cx);
        }
        self.check_liveness(cx);
        self.feed(Input::Tick, cx);
    }

    /// Pings the client if a ping is due, and sets the alarm. Closes the connection if the client is dead.
    /// For a WHIP client, the session itself detects a dead client.
    fn check_liveness(&mut self, cx: &mut Cx<Self>) {
        loop {
            let now = self.parts.clock.now();
            if self.peer.source == Source::Whip {
                return self.set_alarm(now + self.parts.limits.load().ping, cx);
            }
            match self.guard.due(&self.parts.limits.load(), now) {
                LivenessAction::Ping => self.queue.send(OutboundFrame::Ping),
                LivenessAction::Dead => return self.close(CloseCode::PeerDead, cx),
                LivenessAction::NothingFor(wait) => return self.set_alarm(now + wait, cx),
            }
        }
    }

    /// Starts closing the connection, and notifies the session immediately.
    fn close(&mut self, code: CloseCode, cx: &mut Cx<Self>) {
        let was_closed = self.closed.is_some();
        let running = self.shut(code);
        self.started_effects(running, was_closed, cx);
    }

    /// Notifies the session that the connection closes, and queues the close frame. Does nothing if the
    /// connection is closing already. Returns the effects in progress.
    fn shut(&mut self, code: CloseCode) -> Vec<StartedEffect> {
        if self.closed.is_some() {
            return Vec::new();
        }
        self.closed = Some(code);
        // Notify the session first, so that its notifications are sent before the close frame.
        let running = self.drive(Input::Closed { code, left: self.guard.left() });
        self.direct.close(code);
        self.queue.close(code);
        self.parts.metrics.ws_closed(code.reason());
        running
    }

    fn closing(&mut self, code: CloseCode, cx: &mut Cx<Self>) {
        cx.cause(code.reason());
        let is_lost = matches!(code, CloseCode::Gone | CloseCode::PeerDead | CloseCode::TooSlow);
        // A WHIP client has no WebSocket, so it cannot answer the close frame.
        if is_lost || self.peer.source == Source::Whip {
            self.end(cx);
        } else {
            self.set_alarm(self.parts.clock.now() + CLOSE_GRACE, cx);
        }
    }

    /// Ends the connection. Ends this actor, too, once the session is over.
    fn end(&mut self, cx: &mut Cx<Self>) {
        self.queue.end();
        self.ended = true;
        self.alarm = None;
        if self.session.is_over() {
            cx.stop();
        }
    }
}

/// Waits for the next event of a media session.
fn next(mut events: Events, cx: &mut Cx<WsClient>) {
    let next = async move {
        let event = events.0.next().await.map(Box::new);
        (events, event)
    };
    cx.run(next, |(events, event)| Msg::Event(events, event));
}

impl Behaviour for WsClient {
    const KIND: &'static str = "ws_client";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.effects.opened(cx.me());
        self.check_liveness(cx);
        self.feed(Input::Opened, cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Received(inbound, _permit) => self.received(inbound, cx),
            Msg::Called(call) => self.called(*call, cx),
            Msg::Session(input) => self.feed(*input, cx),
            Msg::Event(events, Some(input)) => {
                self.feed(*input, cx);
                next(events, cx);
            }
            Msg::Event(_, None) => {}
            Msg::LockReplaced => self.feed(Input::LockReplaced, cx),
            Msg::RenewNow => self.feed(Input::RenewNow, cx),
            Msg::RoomChanged => self.feed(Input::RoomChanged, cx),
            Msg::Alarm => self.alarm(cx),
            Msg::CloseAsked => {
                let code = self.queue.asked().unwrap_or(CloseCode::Internal);
                self.close(code, cx);
            }
        }
    }

    /// Closes with `Draining`: the gateway role or the whole node stops, and clients should reconnect
    /// elsewhere.
    fn stopping(&mut self, cx: &mut Cx<Self>) -> StopAnswer {
        self.close(CloseCode::Draining, cx);
        StopAnswer::Wait
    }

    fn observe(&self) -> ActorState {
        // A short text instead of an object: a node may have thousands of clients.
        let who = format!("{} in {}, {} calls", self.peer.user, self.peer.room, self.guard.waiting());
        ActorState { observed: Value::String(who), ..ActorState::state(self.session.name()) }
    }
}

/// Closes the connection after a panic, or when the arbiter has stopped. In both cases, results of effects no
/// longer arrive.
impl Drop for WsClient {
    fn drop(&mut self) {
        drop(self.shut(CloseCode::Internal));
        for effect in self.session.abandon() {
            // The returned future can be dropped: a task that outlives this actor reports departures to
            // presence.
            drop(self.effects.run(effect));
        }
        self.queue.end();
    }
}

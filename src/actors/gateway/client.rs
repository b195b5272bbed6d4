//! Actor of one connected client: its frames become calls, and everything sent to it goes through its
//! [`OutboundQueue`].
//!
//! ```text
//! Connecting ── admitted ──▶ Open ── any reason ──▶ Closing ── answered or 1 s ──▶ ended
//!      └────────────── refused, left, dead, stopped ──▲
//! ```
//! Calls that arrive while the client is connecting wait. Every call runs concurrently with the others and
//! with reading, so a slow call delays neither pings nor the close. Never restarted: its end, whatever the
//! cause, closes the session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::outbound::{OutboundFrame, OutboundQueue};
use super::{ConnectionInfo, GatewayParts, Session};
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, StopAnswer, Timer};
use crate::domain::connection_limits::{Admission, ConnectionLimiter, LivenessAction};
use crate::domain::rpc::{self, Call, Entry, Id, Packet, Response};
use crate::domain::signalling::{CloseCode, ErrorCode, Method, RpcError};

/// Time limit for the client's answer to our close frame.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// One connected client.
pub struct WsClient {
    parts: Arc<GatewayParts>,
    peer: ConnectionInfo,
    line: Arc<OutboundQueue>,
    guard: ConnectionLimiter,
    phase: Phase,
    /// Timer of the next ping or liveness check; while closing, timer of the forced end.
    alarm: Option<Timer>,
}

enum Phase {
    /// Holds the calls that arrived before the session was ready.
    Connecting(Vec<PendingCalls>),
    Open(SessionGuard),
    Closing,
}

/// Input from a client, as read by the transport.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound {
    Text(String),
    Ping(Bytes),
    Pong,
    /// Several fragments of an incomplete text.
    Fragments,
    /// Close frame: the client's own, or its answer to ours.
    Close,
    /// Unreadable input; nothing follows.
    Bad(CloseCode),
    /// The connection was lost; nothing follows.
    Gone,
}

pub enum Msg {
    /// The transport reads on when the permit is dropped.
    Received(Inbound, OwnedSemaphorePermit),
    Connected(Result<SessionGuard, CloseCode>),
    /// `calls` calls have finished. `text`: their response; `None` if none of them expects one.
    Answered {
        calls: usize,
        text: Option<String>,
    },
    Alarm,
    /// The outbound queue holds the reason.
    CloseAsked,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Received(..) => "received",
            Self::Connected(_) => "connected",
            Self::Answered { .. } => "answered",
            Self::Alarm => "alarm",
            Self::CloseAsked => "close_asked",
        }
    }
}

/// Session whose [`closed`](Session::closed) is called exactly once, on every path.
pub struct SessionGuard {
    session: Arc<dyn Session>,
    code: CloseCode,
    left: bool,
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.session.closed(self.code, self.left);
    }
}

/// Calls of one text, until they are answered.
struct PendingCalls {
    batch: bool,
    calls: Vec<PendingCall>,
    /// Number of these calls that the limiter counts as unfinished.
    waiting: usize,
}

/// Call, or the refusal that answers it. Without an id it is a notification.
struct PendingCall {
    id: Option<Id>,
    method: Result<Method, RpcError>,
}

impl WsClient {
    pub fn new(parts: Arc<GatewayParts>, peer: ConnectionInfo, line: Arc<OutboundQueue>) -> Self {
        let guard = ConnectionLimiter::new(&parts.limits, parts.clock.now());
        Self { parts, peer, line, guard, phase: Phase::Connecting(Vec::new()), alarm: None }
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
            _ if matches!(self.phase, Phase::Closing) => {}
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
            self.line.send(OutboundFrame::Pong(payload));
        }
    }

    /// Counts input against the rate limit, for input that gets no error response. Returns true if it is
    /// within the limit.
    fn admit(&mut self, cx: &mut Cx<Self>) -> bool {
        let admission = self.guard.admit(&self.parts.limits, self.parts.clock.now());
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
        let mut work = PendingCalls { batch, calls: Vec::with_capacity(entries.len()), waiting: 0 };
        for entry in entries {
            match self.begin(entry) {
                Some(begun) => work.calls.push(begun),
                None => return self.close(CloseCode::Flooding, cx),
            }
        }
        work.waiting = work.calls.iter().filter(|call| call.method.is_ok()).count();
        match &mut self.phase {
            Phase::Connecting(early) if work.waiting > 0 => early.push(work),
            Phase::Open(attached) if work.waiting > 0 => {
                let session = attached.session.clone();
                self.run(session, work, cx);
            }
            _ => self.refuse(work),
        }
    }

    /// Prepares one call. Returns `None` if the client has exceeded its rate for too long.
    fn begin(&mut self, entry: Entry) -> Option<PendingCall> {
        let limits = &self.parts.limits;
        let admission = self.guard.admit(limits, self.parts.clock.now());
        let (id, call) = match entry {
            Ok(Call { id, method, params }) => (id, Ok((method, params))),
            Err(Response { id, outcome }) => (Some(id), Err(outcome)),
        };
        let method = match (admission, call) {
            (Admission::Abuse, _) => return None,
            (Admission::Refused { retry_after }, _) => {
                Err(RpcError::from(ErrorCode::RateLimited).retry_after(retry_after))
            }
            (Admission::Taken, Ok((name, params))) => Method::parse(&name, params)
                .and_then(|method| self.guard.begin(limits, &method).map(|()| method)),
            // An entry that is not a call is answered with its own error.
            (Admission::Taken, Err(outcome)) => {
                Err(outcome.err().unwrap_or(ErrorCode::InvalidRequest.into()))
            }
        };
        if let Err(error) = &method {
            self.parts.metrics.ws_call("none", error.code.as_str(), None);
        }
        Some(PendingCall { id, method })
    }

    /// Answers a text that contains no call to run.
    fn refuse(&self, work: PendingCalls) {
        let refused = |call: PendingCall| Some(Response { id: call.id?, outcome: Err(call.method.err()?) });
        let responses: Vec<_> = work.calls.into_iter().filter_map(refused).collect();
        self.answer(rpc::write(&responses, work.batch));
    }

    fn run(&self, session: Arc<dyn Session>, work: PendingCalls, cx: &mut Cx<Self>) {
        let (parts, waiting) = (self.parts.clone(), work.waiting);
        cx.run(answered(session, parts, work), move |text| Msg::Answered { calls: waiting, text });
    }

    fn answer(&self, text: Option<String>) {
        if let Some(text) = text {
            self.line.send(OutboundFrame::Text(text.into()));
        }
    }

    fn connect(&self, cx: &mut Cx<Self>) {
        let (parts, peer, me) = (self.parts.clone(), self.peer.clone(), cx.me());
        // Not an effect of this actor: an effect that is dropped halfway could leave a connection lock that
        // nobody releases. If the actor is gone, the message is dropped, and with it the guard that closes
        // the session.
        actix::spawn(async move {
            let connected = parts.signalling.connected(peer).await;
            let attached =
                connected.map(|session| SessionGuard { session, code: CloseCode::Gone, left: false });
            // The mailbox cannot be full: there is one such message besides the few that the transport may
            // have in flight.
            let _ = me.tell(Msg::Connected(attached));
        });
    }

    fn connected(&mut self, outcome: Result<SessionGuard, CloseCode>, cx: &mut Cx<Self>) {
        let Phase::Connecting(early) = &mut self.phase else { return };
        let early = std::mem::take(early);
        match outcome {
            Err(code) => self.close(code, cx),
            Ok(attached) => {
                let session = attached.session.clone();
                self.phase = Phase::Open(attached);
                early.into_iter().for_each(|work| self.run(session.clone(), work, cx));
            }
        }
    }

    fn alarm(&mut self, cx: &mut Cx<Self>) {
        if matches!(self.phase, Phase::Closing) {
            return self.end(cx);
        }
        loop {
            match self.guard.due(&self.parts.limits, self.parts.clock.now()) {
                LivenessAction::Ping => self.line.send(OutboundFrame::Ping),
                LivenessAction::Dead => return self.close(CloseCode::PeerDead, cx),
                LivenessAction::NothingFor(wait) => {
                    self.alarm = Some(cx.after(wait, Msg::Alarm));
                    return;
                }
            }
        }
    }

    /// Starts closing the connection, and tells the session at once.
    fn close(&mut self, code: CloseCode, cx: &mut Cx<Self>) {
        if !self.shut(code) {
            return;
        }
        cx.cause(code.reason());
        if matches!(code, CloseCode::Gone | CloseCode::PeerDead | CloseCode::TooSlow) {
            self.end(cx);
        } else {
            self.alarm = Some(cx.after(CLOSE_GRACE, Msg::Alarm));
        }
    }

    /// Tells the session and queues the close frame. Returns false if the connection is already closing.
    fn shut(&mut self, code: CloseCode) -> bool {
        match std::mem::replace(&mut self.phase, Phase::Closing) {
            Phase::Closing => return false,
            Phase::Connecting(_) => {}
            // The session is told first: its notifications precede the close frame.
            Phase::Open(mut attached) => (attached.code, attached.left) = (code, self.guard.left()),
        }
        self.line.close(code);
        self.parts.metrics.ws_closed(code.reason());
        true
    }

    fn end(&mut self, cx: &mut Cx<Self>) {
        self.line.end();
        cx.stop();
    }
}

/// Runs the calls of one text concurrently. Returns their answers as one text.
async fn answered(session: Arc<dyn Session>, parts: Arc<GatewayParts>, work: PendingCalls) -> Option<String> {
    let answers = work.calls.into_iter().map(|call| one(&*session, &parts, call));
    let responses: Vec<_> = join_all(answers).await.into_iter().flatten().collect();
    rpc::write(&responses, work.batch)
}

async fn one(session: &dyn Session, parts: &GatewayParts, call: PendingCall) -> Option<Response> {
    let outcome = match call.method {
        Err(refused) => Err(refused),
        Ok(method) => timed(session, parts, method).await,
    };
    Some(Response { id: call.id?, outcome })
}

async fn timed(session: &dyn Session, parts: &GatewayParts, method: Method) -> Result<Value, RpcError> {
    let (name, start) = (method.name(), Instant::now());
    let late = || Err(ErrorCode::Timeout.into());
    let outcome =
        tokio::time::timeout(parts.call_timeout, session.call(method)).await.unwrap_or_else(|_| late());
    let label = outcome.as_ref().map_or_else(|error| error.code.as_str(), |_| "ok");
    parts.metrics.ws_call(name, label, Some(start.elapsed()));
    outcome
}

impl Behaviour for WsClient {
    const KIND: &'static str = "ws_client";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.connect(cx);
        self.alarm(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Received(inbound, _permit) => self.received(inbound, cx),
            Msg::Connected(outcome) => self.connected(outcome, cx),
            Msg::Answered { calls, text } => {
                self.guard.answered(calls);
                self.answer(text);
            }
            Msg::Alarm => self.alarm(cx),
            Msg::CloseAsked => {
                let code = self.line.asked().unwrap_or(CloseCode::Internal);
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
        let state = match self.phase {
            Phase::Connecting(_) => "connecting",
            Phase::Open(_) => "open",
            Phase::Closing => "closing",
        };
        // A short text instead of an object: a node may have thousands of clients.
        let who = format!("{} in {}, {} calls", self.peer.user, self.peer.room, self.guard.waiting());
        ActorState { observed: Value::String(who), ..ActorState::state(state) }
    }
}

/// Closes the connection after a panic, or when the arbiter stopped.
impl Drop for WsClient {
    fn drop(&mut self) {
        self.shut(CloseCode::Internal);
        self.line.end();
    }
}

//! One WebSocket to one Janus instance: many requests in flight, matched by transaction id.
//!
//! ```text
//! dial ──▶ Up ──(socket ends | pings unanswered | session lost)──▶ Down{reason}
//!           └──(last handle dropped)──▶ closed without an event
//! ```
//!
//! Owns: the socket, the table of pending requests, the routing of events, the detection of a dead link. Does
//! not reconnect, repeat a request, or log a body. The task runs on the arbiter that called `dial`, because
//! awc is not `Send`; a [`Link`] can be used on any thread.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use awc::ws::{Frame, Message};
use bytes::Bytes;
use futures::{Sink, SinkExt, Stream, StreamExt};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::Secret;
use super::error::JanusError;
use super::frames::{IncomingFrame, MAX_MESSAGE, Reassembler, SizedCodec};
use super::wire::{Head, Request, event_data, transaction_in};

/// Maximum number of commands queued for the task. If the queue is full, callers wait, at most for their
/// timeout.
const COMMAND_QUEUE: usize = 256;
/// Ping interval. The link is dead after [`UNANSWERED_PINGS`] pings without any message from Janus, so a
/// stopped Janus is detected after 3 to 4 s. The limit is a number of pings instead of a time, so that a
/// stall of our own arbiter does not count against Janus.
const PING_EVERY: Duration = Duration::from_secs(1);
const UNANSWERED_PINGS: u32 = 3;

/// Connection settings of one Janus instance.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// `ws://host:port`. Without TLS, because Janus must be on loopback or a private network.
    pub url: String,
    pub api_secret: Option<Secret>,
    /// Key that `create` and, with `lock_rtp_forward`, forwarders require. With this key, Janus also lists
    /// private rooms.
    pub admin_key: Option<Secret>,
    /// Timeout of the handshake and of each request.
    pub request_timeout: Duration,
    /// Interval between keep-alives for the room-management session. Must be less than half of Janus's
    /// `session_timeout`.
    pub keep_alive: Duration,
}

/// Event of the connection to Janus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The connection is over, and with it its sessions and handles. Sent once, as the last event.
    Down { reason: DownReason },
}

/// Reason why the connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    #[error("Janus closed the connection")]
    Closed,
    #[error("Janus did not respond to {UNANSWERED_PINGS} pings")]
    Silent,
    #[error("the connection failed: {0}")]
    Failed(String),
    #[error("Janus ended our session")]
    SessionLost,
}

/// Unsolicited event of a handle.
#[derive(Debug, Clone, PartialEq)]
pub struct HandleEvent {
    /// Kind of the event: `event` for events of the plugin. The core sends `webrtcup`, `hangup`, `media`,
    /// `slowlink`, `trickle`, `detached` and, as the last event of a session that is over, `timeout`.
    pub kind: String,
    /// Data of the plugin, or the whole event if the core sent it.
    pub data: Value,
}

pub(super) enum Command {
    Request {
        request: Request,
        reply: oneshot::Sender<Result<Bytes, JanusError>>,
    },
    Subscribe {
        session: u64,
        handle: u64,
        events: mpsc::Sender<HandleEvent>,
    },
    /// Ends the link when this session ends.
    DependOn {
        session: u64,
    },
    End(DownReason),
}

/// Handle of the connection's task.
#[derive(Clone)]
pub(super) struct Link {
    commands: mpsc::Sender<Command>,
    timeout: Duration,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// Reason why the task ends.
enum End {
    Released,
    Down(DownReason),
}

impl Link {
    /// Connects and starts the task on this arbiter. Panics outside an arbiter (a tokio `LocalSet`).
    ///
    /// # Errors
    /// [`JanusError::Unreachable`].
    pub(super) async fn dial(
        options: &ConnectOptions,
        events: mpsc::UnboundedSender<LinkEvent>,
    ) -> Result<Self, JanusError> {
        let client = awc::Client::builder().timeout(options.request_timeout).finish();
        let request = client.ws(&options.url).protocols(["janus-protocol"]).max_frame_size(MAX_MESSAGE);
        let (_, socket) = request
            .connect()
            .await
            .map_err(|e| JanusError::Unreachable { url: options.url.clone(), reason: e.to_string() })?;
        let socket = socket.into_map_codec(SizedCodec);
        let (commands, inbox) = mpsc::channel(COMMAND_QUEUE);
        let switchboard = Switchboard::new(options.api_secret.clone());
        actix::spawn(async move {
            if let End::Down(reason) = switchboard.serve(socket, inbox).await {
                tracing::warn!(%reason, "connection to Janus closed");
                // A failed send means that there is no receiver any more.
                let _ = events.send(LinkEvent::Down { reason });
            }
        });
        Ok(Self { commands, timeout: options.request_timeout })
    }

    /// Sends `request` and returns the raw reply. If the future is dropped, Janus may still execute the
    /// request.
    ///
    /// # Errors
    /// [`JanusError::Disconnected`], [`JanusError::Timeout`] or [`JanusError::TooLarge`], or
    /// [`JanusError::BadReply`] if the request cannot be serialized.
    pub(super) async fn request(&self, request: Request) -> Result<Bytes, JanusError> {
        let name = request.name;
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            self.send(Command::Request { request, reply }).await?;
            answer.await.map_err(|_| JanusError::Disconnected)?
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(JanusError::Timeout { request: name, after: self.timeout }),
        }
    }

    /// Sends a request without waiting for its reply. The request is lost if the link is down or its queue is
    /// full.
    pub(super) fn tell(&self, request: Request) {
        let (reply, _) = oneshot::channel();
        let _ = self.commands.try_send(Command::Request { request, reply });
    }

    pub(super) async fn send(&self, command: Command) -> Result<(), JanusError> {
        self.commands.send(command).await.map_err(|_| JanusError::Disconnected)
    }
}

/// Request that waits for its reply.
struct PendingRequest {
    name: &'static str,
    ends_with_ack: bool,
    reply: oneshot::Sender<Result<Bytes, JanusError>>,
}

struct Switchboard {
    api_secret: Option<Secret>,
    next_transaction: u64,
    pending: HashMap<u64, PendingRequest>,
    subscribers: HashMap<u64, Subscriber>,
    depends_on: Option<u64>,
    unanswered_pings: u32,
}

/// Receiver of one handle's events.
struct Subscriber {
    session: u64,
    events: mpsc::Sender<HandleEvent>,
}

impl Switchboard {
    fn new(api_secret: Option<Secret>) -> Self {
        let (pending, subscribers, depends_on) = Default::default();
        Self { api_secret, next_transaction: 1, pending, subscribers, depends_on, unanswered_pings: 0 }
    }

    /// Runs the connection until it ends. Pending requests are then dropped, which their callers see as
    /// `Disconnected`.
    async fn serve<S, E>(mut self, socket: S, inbox: mpsc::Receiver<Command>) -> End
    where
        S: Stream<Item = Result<Frame, E>> + Sink<Message, Error = E>,
        E: fmt::Display,
    {
        let (sink, stream) = socket.split();
        // Writing and reading are concurrent, so that a Janus that accepts no more bytes is still detected as
        // silent. The queue is unbounded, but only callers that wait for replies fill it, and only until the
        // silence is detected.
        let (out, outbox) = mpsc::unbounded_channel();
        tokio::select! {
            end = self.converse(stream, inbox, out) => end,
            failure = write_all(sink, outbox) => End::Down(DownReason::Failed(failure)),
        }
    }

    async fn converse<E: fmt::Display>(
        &mut self,
        mut stream: impl Stream<Item = Result<Frame, E>> + Unpin,
        mut inbox: mpsc::Receiver<Command>,
        out: mpsc::UnboundedSender<Message>,
    ) -> End {
        let mut frames = Reassembler::default();
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                biased;
                frame = stream.next() => match frame {
                    Some(Ok(frame)) => self.hear(frames.push(frame), &out),
                    Some(Err(e)) => Some(End::Down(DownReason::Failed(e.to_string()))),
                    None => Some(End::Down(DownReason::Closed)),
                },
                _ = ping.tick() => self.ping(&out),
                command = inbox.recv() => match command {
                    Some(command) => self.carry_out(command, &out),
                    None => Some(End::Released),
                },
            };
            if let Some(end) = step {
                return end;
            }
        }
    }

    fn ping(&mut self, out: &mpsc::UnboundedSender<Message>) -> Option<End> {
        if self.unanswered_pings >= UNANSWERED_PINGS {
            return Some(End::Down(DownReason::Silent));
        }
        self.unanswered_pings += 1;
        // Remove callers that no longer wait, and subscribers that are gone.
        self.pending.retain(|_, pending| !pending.reply.is_closed());
        self.subscribers.retain(|_, subscriber| !subscriber.events.is_closed());
        say(out, Message::Ping(Bytes::new()))
    }

    fn carry_out(&mut self, command: Command, out: &mpsc::UnboundedSender<Message>) -> Option<End> {
        match command {
            Command::Request { request, reply } => self.request(request, reply, out),
            Command::Subscribe { session, handle, events } => {
                self.subscribers.insert(handle, Subscriber { session, events });
                None
            }
            Command::DependOn { session } => {
                self.depends_on = Some(session);
                None
            }
            Command::End(reason) => Some(End::Down(reason)),
        }
    }

    fn request(
        &mut self,
        request: Request,
        reply: oneshot::Sender<Result<Bytes, JanusError>>,
        out: &mpsc::UnboundedSender<Message>,
    ) -> Option<End> {
        let transaction = self.next_transaction;
        self.next_transaction += 1;
        match request.to_json(&transaction.to_string(), self.api_secret.as_ref()) {
            Ok(json) => {
                let pending =
                    PendingRequest { name: request.name, ends_with_ack: request.ends_with_ack(), reply };
                self.pending.insert(transaction, pending);
                say(out, Message::Text(json.into()))
            }
            Err(e) => {
                let error = JanusError::BadReply { request: request.name, detail: e.to_string() };
                let _ = reply.send(Err(error));
                None
            }
        }
    }

    fn hear(&mut self, incoming: IncomingFrame, out: &mpsc::UnboundedSender<Message>) -> Option<End> {
        self.unanswered_pings = 0;
        match incoming {
            IncomingFrame::Message(raw) => self.route(raw),
            IncomingFrame::TooLarge(beginning) => {
                if let Some(pending) = transaction_in(&beginning).and_then(|id| self.pending.remove(&id)) {
                    let error = JanusError::TooLarge { request: pending.name, limit: MAX_MESSAGE };
                    let _ = pending.reply.send(Err(error));
                }
                None
            }
            IncomingFrame::Ping(payload) => say(out, Message::Pong(payload)),
            IncomingFrame::Close => Some(End::Down(DownReason::Closed)),
            IncomingFrame::Nothing => None,
        }
    }

    fn route(&mut self, raw: Bytes) -> Option<End> {
        let Ok(head) = serde_json::from_slice::<Head>(&raw) else {
            return Some(End::Down(DownReason::Failed("Janus sent no JSON object".to_owned())));
        };
        if head.janus == "timeout" {
            return self.session_over(head.session_id?, &raw);
        }
        let transaction = head.transaction.as_deref().and_then(|id| id.parse().ok());
        if let Some(id) = transaction.filter(|id| self.pending.contains_key(id)) {
            self.answer(id, head.janus == "ack", raw);
        } else if let Some(handle) = head.sender {
            let kind = head.janus.into_owned();
            self.publish(handle, HandleEvent { kind, data: event_data(&raw) });
        }
        None
    }

    /// Handles the timeout of a session. Ends the link if it depends on the session; otherwise only the
    /// session's subscribers are notified.
    fn session_over(&mut self, session: u64, raw: &[u8]) -> Option<End> {
        if self.depends_on == Some(session) {
            return Some(End::Down(DownReason::SessionLost));
        }
        let event = HandleEvent { kind: "timeout".to_owned(), data: event_data(raw) };
        for (_, subscriber) in self.subscribers.extract_if(|_, s| s.session == session) {
            let _ = subscriber.events.try_send(event.clone());
        }
        None
    }

    /// Delivers a reply. Usually, an `ack` is not the reply: the reply follows as an event with the same
    /// transaction id.
    fn answer(&mut self, id: u64, is_ack: bool, raw: Bytes) {
        if is_ack && self.pending.get(&id).is_some_and(|pending| !pending.ends_with_ack) {
            return;
        }
        if let Some(pending) = self.pending.remove(&id) {
            let _ = pending.reply.send(Ok(raw));
        }
    }

    /// Delivers an event. If a subscriber does not keep up, its stream is closed, which shows the subscriber
    /// that events were lost.
    fn publish(&mut self, handle: u64, event: HandleEvent) {
        let Some(subscriber) = self.subscribers.get(&handle) else { return };
        if let Err(mpsc::error::TrySendError::Full(event)) = subscriber.events.try_send(event) {
            tracing::warn!(kind = event.kind, "event stream of a Janus handle overflowed and ended");
            self.subscribers.remove(&handle);
        }
    }
}

/// Queues a message. A failed send is ignored: the outbox is dropped only when `serve` itself ends.
fn say(out: &mpsc::UnboundedSender<Message>, message: Message) -> Option<End> {
    let _ = out.send(message);
    None
}

/// Writes messages until a write fails, and returns the reason. Flushes once for all queued messages.
async fn write_all<E: fmt::Display>(
    mut sink: impl Sink<Message, Error = E> + Unpin,
    mut outbox: mpsc::UnboundedReceiver<Message>,
) -> String {
    while let Some(message) = outbox.recv().await {
        let written = async {
            sink.feed(message).await?;
            while let Ok(message) = outbox.try_recv() {
                sink.feed(message).await?;
            }
            sink.flush().await
        };
        if let Err(e) = written.await {
            return e.to_string();
        }
    }
    // Unreachable in practice: the sender lives as long as the select that polls this.
    "nothing is left to write".to_owned()
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;

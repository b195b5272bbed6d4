//! The listener channel as a WebSocket (RFC 6455): events downstream, commands upstream.
//!
//! ```text
//! client ─ frames ─▶ read ─▶ Commands ─ answer ─┐
//! client ◀─ Frames (response body) ◀────────────┴─ Subscription
//! ```
//! Commands are carried out one after the other, in the order of their messages. While an answer waits for
//! the client, no further command is carried out.
//!
//! Owns: the connection, its limits and close codes. Does not decide on a command.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_web::http::header::HeaderValue;
use actix_web::web::{Bytes, Data};
use actix_web::{Error, HttpRequest, HttpResponse};
use futures::Stream;
use tokio::sync::mpsc;

use super::commands::{Caller, Commands, LazyCommands};
use super::{ChannelSide, handlers, token_missing};
use crate::domain::connection_limits::TokenBucket;
use crate::domain::signalling::CloseCode;
use crate::frames::{FrameDecoder, Inbound, OutboundFrame};
use crate::http::error::{ApiError, Code};
use crate::http::hls::{Query, bearer};
use crate::http::server::ClientBytes;
use crate::http::upgrade::{self, handshake, offered_token, offers_protocol};
use crate::stage::{Subscription, SubscriptionEnd, Transport};

/// Messages per second that are read from one client. Commands have lower limits of their own; this limit
/// also applies to pings and to messages that are not commands.
const RATE: u32 = 20;
/// Messages that are read at once after a pause.
const BURST: u32 = 40;

/// Opens the channel as a WebSocket.
pub(super) async fn open(request: &HttpRequest, side: &Data<ChannelSide>) -> Result<HttpResponse, ApiError> {
    let response = handshake(request)?;
    let (caller, events) = match admit(request, side).await {
        Ok(admitted) => admitted,
        Err(refused) => match close_code(refused.code).filter(|_| offers_protocol(request)) {
            None => return Err(refused),
            Some(code) => return upgrade::refuse(request, response, code),
        },
    };
    let commands = request.app_data::<LazyCommands>().cloned();
    let commands = commands.ok_or_else(|| ApiError::internal("the channel is not configured"))?;
    let commands = commands.get(side).await?;
    let (answers, taken) = mpsc::channel(1);
    let client = Client { caller, commands, limit: side.body_limit.bytes(), answers };
    let frames = Frames { events, answers: taken, closed: false };
    upgrade::open(request, response, frames, |bytes| client.read(bytes))
}

async fn admit(request: &HttpRequest, side: &ChannelSide) -> Result<(Caller, Subscription), ApiError> {
    let in_query = Query(request.query_string()).token()?;
    let token = bearer(request).or(in_query.as_deref()).or_else(|| offered_token(request));
    let token = token.ok_or_else(token_missing)?;
    let events = side.follow(request, token, Transport::WebSocket).await?;
    let authorization = HeaderValue::from_str(&format!("Bearer {token}"));
    // Cannot fail: a verified token has only characters that a header may contain.
    let authorization = authorization.map_err(ApiError::internal)?;
    let caller = Caller { room: handlers::room(request)?, authorization, address: request.peer_addr() };
    Ok((caller, events))
}

/// Returns the close code that reports a refusal to a page; `None` for defects of the request itself.
fn close_code(code: Code) -> Option<CloseCode> {
    match code {
        Code::TokenMissing
        | Code::TokenInvalid
        | Code::TokenExpired
        | Code::TokenWrongRoom
        | Code::TokenWrongAudience => Some(CloseCode::TokenInvalid),
        Code::UserRemoved => Some(CloseCode::Removed),
        Code::RoomNotFound => Some(CloseCode::RoomGone),
        Code::ChannelUnavailable | Code::Busy => Some(CloseCode::Unavailable),
        _ => None,
    }
}

impl From<SubscriptionEnd> for CloseCode {
    fn from(ended: SubscriptionEnd) -> Self {
        match ended {
            SubscriptionEnd::TooSlow => Self::TooSlow,
            SubscriptionEnd::TokenExpired => Self::TokenInvalid,
            SubscriptionEnd::Removed => Self::Removed,
            SubscriptionEnd::RoleChanged => Self::RoleChanged,
            SubscriptionEnd::RoomGone => Self::RoomGone,
            SubscriptionEnd::Closed => Self::Draining,
        }
    }
}

/// Response body: the events, and between them the answers to commands.
struct Frames {
    events: Subscription,
    answers: mpsc::Receiver<OutboundFrame>,
    /// True after the close frame.
    closed: bool,
}

impl Stream for Frames {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.closed {
            return Poll::Ready(None);
        }
        if let Poll::Ready(answer) = this.answers.poll_recv(task) {
            // A close frame is the last one. `None` means that the client is gone.
            this.closed = !matches!(answer, Some(OutboundFrame::Text(_) | OutboundFrame::Pong(_)));
            return Poll::Ready(answer.map(|frame| Ok(frame.encoded())));
        }
        let Some(bytes) = ready!(Pin::new(&mut this.events).poll_next(task)) else {
            this.closed = true;
            let code = this.events.ended().map_or(CloseCode::Internal, CloseCode::from);
            return Poll::Ready(Some(Ok(OutboundFrame::Close(code).encoded())));
        };
        Poll::Ready(Some(Ok(bytes.unwrap_or_else(|never| match never {}))))
    }
}

/// Reader of one client.
struct Client {
    caller: Caller,
    commands: Rc<Commands>,
    /// Maximum size of one message, in bytes.
    limit: usize,
    answers: mpsc::Sender<OutboundFrame>,
}

impl Client {
    /// Carries out the client's commands until the client closes, breaks the protocol, or is gone, or until
    /// the response has ended.
    async fn read(self, mut received: ClientBytes) {
        let mut frames = FrameDecoder::new(self.limit);
        let began = Instant::now();
        let mut bucket = TokenBucket::full(BURST, Duration::ZERO);
        loop {
            let Some(inbound) = frames.next_message() else {
                let bytes = tokio::select! {
                    () = self.answers.closed() => None,
                    bytes = received.next() => bytes,
                };
                let Some(bytes) = bytes else { return };
                frames.feed(bytes);
                continue;
            };
            while let Err(wait) = bucket.take(RATE, BURST, began.elapsed()) {
                // Sleep: the client may send its next message only after this time.
                tokio::select! {
                    () = self.answers.closed() => return,
                    () = tokio::time::sleep(wait) => {}
                }
            }
            let Ok(answers) = self.answers.reserve().await else { return };
            let answer = match inbound {
                Inbound::Text(text) => {
                    OutboundFrame::Text(self.commands.answer(&self.caller, &text).await.into())
                }
                Inbound::Ping(payload) => OutboundFrame::Pong(payload),
                Inbound::Pong | Inbound::Fragments => continue,
                Inbound::Close => OutboundFrame::Close(CloseCode::Normal),
                Inbound::Bad(code) => OutboundFrame::Close(code),
                Inbound::Gone => return,
            };
            let is_last = matches!(answer, OutboundFrame::Close(_));
            answers.send(answer);
            if is_last {
                // The close frame is sent after everything that waits for the client. Bytes that still arrive
                // are discarded.
                drop(received);
                return self.answers.closed().await;
            }
        }
    }
}

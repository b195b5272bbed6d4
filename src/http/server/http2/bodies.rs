//! Bodies of HTTP/2 requests and responses, with the flow control of their streams (RFC 9113 section 5.2).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use actix_http::error::PayloadError;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use futures::Stream;
use h2::{Reason, RecvStream, SendStream};

use super::RequestEnd;
use crate::http::server::connection::{Alarm, Connection};

/// Body of a request. The client may send further bytes only after the handler has read earlier ones.
pub(super) struct RequestBody {
    stream: RecvStream,
    connection: Connection,
}

impl RequestBody {
    pub fn new(stream: RecvStream, connection: Connection) -> Self {
        Self { stream, connection }
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let failed = |error| PayloadError::Io(io::Error::other(error));
        let Some(read) = ready!(self.stream.poll_data(task)) else { return Poll::Ready(None) };
        Poll::Ready(Some(read.map_err(failed).and_then(|bytes| {
            self.connection.moved(bytes.len());
            self.stream.flow_control().release_capacity(bytes.len()).map_err(failed)?;
            Ok(bytes)
        })))
    }
}

/// Sends a body that is not empty, as fast as the client reads it. A client that reads too slowly loses the
/// response; its other requests continue.
pub(super) async fn send(
    mut stream: SendStream<Bytes>,
    mut body: BoxBody,
    size: BodySize,
    connection: &Connection,
) -> RequestEnd {
    let mut left = match size {
        BodySize::Sized(length) => Some(length),
        _ => None,
    };
    let (mut alarm, _sending) = (None, connection.sending());
    loop {
        let next = poll_fn(|task| {
            if stream.poll_reset(task).is_ready() {
                return Poll::Ready(Err(RequestEnd::Canceled));
            }
            let next = Pin::new(&mut body).poll_next(task);
            if next.is_pending() {
                // The client has read everything so far.
                connection.lifecycle().flushed();
            }
            next.map(Ok)
        });
        let mut piece = match next.await {
            Ok(Some(Ok(piece))) => piece,
            Ok(None) if left.is_none_or(|left| left == 0) => {
                // An error means that the client has canceled the request.
                let _ = stream.send_data(Bytes::new(), true);
                return RequestEnd::Here;
            }
            // The body is incomplete.
            Ok(None | Some(Err(_))) => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return RequestEnd::Here;
            }
            Err(ended) => return ended,
        };
        while !piece.is_empty() {
            stream.reserve_capacity(piece.len());
            let capacity = match poll_fn(|task| capacity(&mut stream, connection, &mut alarm, task)).await {
                Ok(Some(capacity)) => capacity,
                Ok(None) => return RequestEnd::Canceled,
                Err(_too_slow) => {
                    stream.send_reset(Reason::CANCEL);
                    return RequestEnd::Here;
                }
            };
            let sent = piece.split_to(capacity.min(piece.len()));
            connection.lifecycle().wrote(sent.len(), Instant::now());
            connection.moved(sent.len());
            left = left.map(|left| left.saturating_sub(sent.len() as u64));
            let is_last = left == Some(0);
            if stream.send_data(sent, is_last).is_err() {
                return RequestEnd::Canceled;
            }
            if is_last {
                return RequestEnd::Here;
            }
        }
    }
}

/// Waits until the client permits more bytes. `None`: the client has canceled the request.
///
/// # Errors
/// The client reads too slowly.
fn capacity(
    stream: &mut SendStream<Bytes>,
    connection: &Connection,
    alarm: &mut Alarm,
    task: &mut Context<'_>,
) -> Poll<io::Result<Option<usize>>> {
    match stream.capacity() {
        0 => {}
        capacity => return Poll::Ready(Ok(Some(capacity))),
    }
    match stream.poll_capacity(task) {
        Poll::Ready(Some(Ok(capacity))) => Poll::Ready(Ok(Some(capacity))),
        Poll::Ready(Some(Err(_)) | None) => Poll::Ready(Ok(None)),
        Poll::Pending => {
            connection.lifecycle().blocked(Instant::now());
            connection.watch(alarm, task)?;
            Poll::Pending
        }
    }
}

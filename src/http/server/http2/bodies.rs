//! Bodies of HTTP/2 requests and responses, with the flow control of their streams (RFC 9113 section 5.2).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use actix_http::error::PayloadError;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use futures::Stream;
use h2::{Reason, RecvStream, SendStream};

use super::RequestEnd;
use crate::http::server::SLICE;
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

/// Sends a body that is not empty, as fast as the client reads it. The body is asked for no more than the
/// client permits, so nothing is held for a client that does not read. A client that reads too slowly loses
/// its response, and its other requests continue.
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
        let wanted = left.map_or(SLICE, |left| usize::try_from(left).unwrap_or(SLICE).min(SLICE));
        let next = poll_fn(|task| {
            // The library wakes the task that waits for the stream when it assigns bytes. If this task waited
            // now, it would wake itself with each poll.
            if stream.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready() {
                return Poll::Ready(Err(RequestEnd::Canceled));
            }
            stream.reserve_capacity(wanted);
            connection.permit(ready!(capacity(&mut stream, connection, &mut alarm, task))?);
            let next = Pin::new(&mut body).poll_next(task);
            if next.is_pending() {
                // Other responses of the connection can use what this one does not need yet.
                stream.reserve_capacity(0);
                // The client has read everything so far.
                connection.lifecycle().flushed();
                if stream.poll_reset(task).is_ready() {
                    return Poll::Ready(Err(RequestEnd::Canceled));
                }
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
        // A body that does not pass through the middleware may give larger pieces.
        while !piece.is_empty() {
            stream.reserve_capacity(piece.len());
            let capacity = match poll_fn(|task| capacity(&mut stream, connection, &mut alarm, task)).await {
                Ok(capacity) => capacity,
                Err(ended) => return ended,
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

/// Waits until the client permits more bytes, and returns their number. If the client reads too slowly, ends
/// the response.
///
/// # Errors
/// The response has ended, or the client has canceled the request.
fn capacity(
    stream: &mut SendStream<Bytes>,
    connection: &Connection,
    alarm: &mut Alarm,
    task: &mut Context<'_>,
) -> Poll<Result<usize, RequestEnd>> {
    let capacity = match stream.capacity() {
        0 => stream.poll_capacity(task),
        capacity => return Poll::Ready(Ok(capacity)),
    };
    match capacity {
        Poll::Ready(Some(Ok(capacity))) => Poll::Ready(Ok(capacity)),
        Poll::Ready(Some(Err(_)) | None) => Poll::Ready(Err(RequestEnd::Canceled)),
        Poll::Pending => {
            connection.lifecycle().blocked(Instant::now());
            if connection.watch(alarm, task).is_err() {
                stream.send_reset(Reason::CANCEL);
                return Poll::Ready(Err(RequestEnd::Here));
            }
            Poll::Pending
        }
    }
}

//! Response body: the frames of the outbound queue. Polled by the HTTP worker only while the client reads.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::Stream;

use crate::actors::gateway::outbound::OutboundQueue;
use crate::domain::signalling::CloseCode;

/// Number of bytes after which a poll returns, so that a long queue does not become one long buffer.
const CHUNK: usize = 8 * 1024;

/// Response body that drains an outbound queue.
pub struct Writer(Arc<OutboundQueue>);

impl Writer {
    pub fn new(queue: Arc<OutboundQueue>) -> Self {
        Self(queue)
    }
}

impl Stream for Writer {
    type Item = Result<Bytes, actix_web::Error>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut bytes = BytesMut::new();
        while bytes.len() < CHUNK {
            match self.0.poll_next(task) {
                Poll::Ready(Some(frame)) => frame.write(&mut bytes),
                Poll::Ready(None) if bytes.is_empty() => return Poll::Ready(None),
                Poll::Pending if bytes.is_empty() => return Poll::Pending,
                // The worker polls again immediately; that poll returns the end, or waits.
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(Some(Ok(bytes.freeze())))
    }
}

/// Asks the actor to close the connection, because the worker has finished with it.
impl Drop for Writer {
    fn drop(&mut self) {
        self.0.ask_to_close(CloseCode::Gone);
    }
}

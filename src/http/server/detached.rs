//! Endless responses, sent without the HTTP dispatcher.
//!
//! The dispatcher holds two buffers of 8 KiB and its own state for as long as a response takes. An endless
//! response needs none of them: once its head is sent, a small task of its own sends the body, and then
//! closes the connection.
//!
//! Owns: the task, and the count of such responses. Does not know what they contain.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::SLICE;
use super::stream::{GuardedSocket, RequestInProgress};

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Number of endless responses in progress at one listening socket.
#[derive(Clone, Default)]
pub struct EndlessResponses(watch::Sender<usize>);

/// Counts one response until it is dropped.
pub(super) struct CountedResponse(EndlessResponses);

impl EndlessResponses {
    pub(super) fn enter(&self) -> CountedResponse {
        self.0.send_modify(|count| *count += 1);
        CountedResponse(self.clone())
    }

    /// Waits until all responses have ended, but not longer than `limit`. A stopping server does not wait for
    /// them itself.
    pub async fn ended(&self, limit: Duration) {
        let mut count = self.0.subscribe();
        // Neither the expired limit nor the sender, which `self` holds, is an error here.
        let _ = tokio::time::timeout(limit, count.wait_for(|count| *count == 0)).await;
    }
}

impl Drop for CountedResponse {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

/// Body of a response whose head the dispatcher sends.
pub(super) struct DetachedBody {
    pub body: BoxBody,
    /// True if the head announces chunks (RFC 9112 section 7.1). Otherwise the end of the connection is the
    /// end of the body.
    pub chunked: bool,
    /// Held until the response ends.
    pub _in_progress: RequestInProgress,
    pub _counted: CountedResponse,
}

/// Response in progress, without its head. Ends when the body or the connection ends.
pub(super) struct DetachedResponse {
    socket: GuardedSocket,
    rest: DetachedBody,
    /// Bytes of the body that are not encoded yet.
    piece: Bytes,
    /// Encoded bytes that the socket has not accepted yet.
    encoded: Bytes,
    /// True if the socket accepted bytes that are not flushed yet.
    unflushed: bool,
    /// True after the last byte of the body.
    ending: bool,
    /// True if the client has closed its direction of the connection. It may continue to read.
    half_closed: bool,
}

impl DetachedResponse {
    pub fn new(socket: GuardedSocket, rest: DetachedBody) -> Self {
        Self {
            socket,
            rest,
            piece: Bytes::new(),
            encoded: Bytes::new(),
            unflushed: false,
            ending: false,
            half_closed: false,
        }
    }

    /// Reads and discards what the client sends, to notice a closed connection.
    ///
    /// # Errors
    /// The connection is broken, or a deadline has expired.
    fn discard(&mut self, task: &mut Context<'_>) -> io::Result<()> {
        let mut bytes = [MaybeUninit::uninit(); 256];
        while !self.half_closed {
            let mut buffer = ReadBuf::uninit(&mut bytes);
            match Pin::new(&mut self.socket).poll_read(task, &mut buffer)? {
                Poll::Ready(()) => self.half_closed = buffer.filled().is_empty(),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Sends the body for as long as the socket accepts it. `Ok`: the body has ended, and the connection is
    /// shut down. `Err`: the connection is broken, or the client is too slow.
    fn poll_send(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.encoded.is_empty() {
                let sent = ready!(Pin::new(&mut self.socket).poll_write(task, &self.encoded))?;
                self.encoded.advance(sent);
                self.unflushed = true;
                continue;
            }
            if !self.piece.is_empty() {
                let slice = self.piece.split_to(self.piece.len().min(SLICE));
                self.encoded = if self.rest.chunked { chunk(&slice) } else { slice };
                continue;
            }
            if self.unflushed {
                ready!(Pin::new(&mut self.socket).poll_flush(task))?;
                self.unflushed = false;
            }
            if self.ending {
                return Pin::new(&mut self.socket).poll_shutdown(task);
            }
            match Pin::new(&mut self.rest.body).poll_next(task) {
                Poll::Ready(Some(Ok(piece))) => self.piece = piece,
                // Without the last chunk, the client notices that the body is incomplete.
                Poll::Ready(Some(Err(_))) => self.ending = true,
                Poll::Ready(None) => {
                    self.ending = true;
                    if self.rest.chunked {
                        self.encoded = Bytes::from_static(LAST_CHUNK);
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Encodes a piece that is not empty as one chunk. The copy costs less than two more writes.
fn chunk(piece: &[u8]) -> Bytes {
    let mut chunk = Vec::with_capacity(piece.len() + 16);
    chunk.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
    chunk.extend_from_slice(piece);
    chunk.extend_from_slice(b"\r\n");
    chunk.into()
}

impl Future for DetachedResponse {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // A failure to read or to write means that the client is gone; the gate counts those that were too
        // slow.
        if this.discard(task).is_err() {
            return Poll::Ready(());
        }
        this.poll_send(task).map(|_| ())
    }
}

//! A client's stream, which fails when the client is too slow.
//!
//! The HTTP dispatcher polls the stream with every wake-up. An expired deadline reaches the dispatcher as an
//! I/O error; the dispatcher then closes the connection.
//!
//! Owns: the stream and its one timer. Does not decide on a deadline; [`Lifecycle`] does.
//!
//! [`Lifecycle`]: crate::domain::http_connection::Lifecycle

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures::ready;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Alarm, Connection};
use super::detached::DetachedConnection;
use super::wire::Stream;
use crate::domain::http_connection::HeadEnds;

/// Stream with deadlines.
///
/// The dispatcher decodes all requests that it has read before it serves the first, and uses about 6 kB of
/// memory for each. The dispatcher therefore gets at most one request head at a time; further heads wait
/// here.
pub(super) struct GuardedSocket {
    stream: Stream,
    connection: Connection,
    alarm: Alarm,
    /// False once the connection is detached: its bytes then belong to no request.
    has_requests: bool,
    /// Bytes that were read but not passed on yet. Empty unless the client pipelines requests, or sends its
    /// first frames before it has the response to its upgrade.
    held: Bytes,
    /// State of the search for the end of a request head, as of the last byte that was passed to the
    /// dispatcher.
    heads: HeadEnds,
    /// True if the bytes last passed to the dispatcher end with a request head.
    head_given: bool,
}

impl GuardedSocket {
    pub fn new(stream: Stream, connection: Connection) -> Self {
        let heads = HeadEnds::default();
        let (alarm, held) = (None, Bytes::new());
        Self { stream, connection, alarm, has_requests: true, held, heads, head_given: false }
    }

    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    fn watch(&mut self, task: &mut Context<'_>) -> io::Result<()> {
        self.connection.watch(&mut self.alarm, task)
    }

    /// Reports that nothing has arrived. [`State::resume_reading`] wakes the dispatcher.
    fn pause(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.pause_reading();
        self.watch(task)?;
        Poll::Pending
    }

    /// Reads the held bytes, or from the socket if there are none. Does not separate requests.
    fn poll_read_any(&mut self, task: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            buffer.put_slice(&self.held.split_to(self.held.len().min(buffer.remaining())));
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.stream).poll_read(task, buffer);
        if read.is_pending() {
            self.watch(task)?;
        }
        read
    }
}

impl Drop for GuardedSocket {
    fn drop(&mut self) {
        // A detached body that was never sent may hold this connection.
        drop(self.connection.take_detached());
    }
}

impl AsyncRead for GuardedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.has_requests {
            return self.poll_read_any(task, buffer);
        }
        let connection = self.connection.clone();
        if connection.is_detached() {
            // The dispatcher reads nothing more: after the response head, it shuts the stream down.
            return Poll::Ready(Ok(()));
        }
        if connection.is_http2() {
            let before = buffer.filled().len();
            ready!(self.poll_read_any(task, buffer))?;
            return Poll::Ready(connection.count_frames(buffer.filled().len() - before));
        }
        if std::mem::take(&mut self.head_given) {
            // If the dispatcher continued to read, it would read all further requests before it serves this
            // one.
            if !self.held.is_empty() || self.stream.poll_read_ready(task)?.is_ready() {
                task.waker().wake_by_ref();
            }
            self.watch(task)?;
            return Poll::Pending;
        }
        // While a client does not keep up with its response, nothing more is read from it.
        if connection.lifecycle().is_blocked() || (!self.held.is_empty() && connection.is_occupied()) {
            return self.pause(task);
        }
        let before = buffer.filled().len();
        ready!(self.poll_read_any(task, buffer))?;
        let mut heads = self.heads;
        let piece = &buffer.filled()[before..];
        let head = heads.find(piece);
        // The socket is read even during a request, because this reveals a closed connection.
        let is_held = connection.is_occupied() && (head.is_some() || connection.expects_upgrade());
        let given = if is_held { 0 } else { head.unwrap_or(piece.len()) };
        if given < piece.len() {
            // If `held` is not empty, `piece` came from it and filled the buffer.
            self.held = [&piece[given..], &self.held[..]].concat().into();
            buffer.set_filled(before + given);
            if given == 0 {
                return self.pause(task);
            }
        }
        if given > 0 {
            connection.lifecycle().received(Instant::now());
        }
        (self.heads, self.head_given) = (heads, head.is_some());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GuardedSocket {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let amended = if self.connection.is_http2() { None } else { amended(bytes) };
        let write = Pin::new(&mut self.stream).poll_write(task, amended.as_deref().unwrap_or(bytes));
        match (write, amended) {
            (Poll::Ready(Ok(written)), Some(amended)) => {
                // The dispatcher closes the connection after such a response, so the bytes that were not sent
                // are dropped.
                let whole = written == amended.len();
                Poll::Ready(if whole { Ok(bytes.len()) } else { Err(io::ErrorKind::WriteZero.into()) })
            }
            (Poll::Pending, _) => {
                self.watch(task)?;
                Poll::Pending
            }
            (ready, _) => ready,
        }
    }

    /// Writes the head of an HTTP/2 frame and its content at once, so that TLS makes one record of them.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(task, pieces);
        if write.is_pending() {
            self.watch(task)?;
        }
        write
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_http2()
    }

    /// Flushes the stream. Called once the stream has accepted all bytes; TLS may still hold some of them.
    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = Pin::new(&mut self.stream).poll_flush(task);
        if flush.is_ready() && self.connection.lifecycle().flushed() {
            self.connection.resume_reading();
        }
        self.watch(task)?;
        flush
    }

    /// Closes the stream, or detaches it. The dispatcher calls this once the response head is sent.
    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(rest) = self.connection.take_detached() else {
            let shutdown = Pin::new(&mut self.stream).poll_shutdown(task);
            if shutdown.is_pending() {
                self.watch(task)?;
            }
            return shutdown;
        };
        let stream = std::mem::replace(&mut self.stream, Stream::Detached);
        let mut socket = Self::new(stream, self.connection.clone());
        socket.has_requests = false;
        socket.held = std::mem::take(&mut self.held);
        actix_web::rt::spawn(DetachedConnection::new(socket, rest));
        Poll::Ready(Ok(()))
    }
}

/// Returns one of the dispatcher's own error responses (400, 408, 431), which no middleware sees, with
/// `nosniff` added. Returns `None` for other bytes.
fn amended(bytes: &[u8]) -> Option<Vec<u8>> {
    const EMPTY: &[u8] = b"\r\ncontent-length: 0\r\n";
    const HEADER: &[u8] = b"\r\nx-content-type-options: nosniff";
    if !bytes.starts_with(b"HTTP/1.1 4") {
        return None;
    }
    let found = |wanted: &[u8]| bytes.windows(wanted.len()).position(|window| window == wanted);
    let line = found(b"\r\n")?;
    match found(EMPTY).is_some() && found(HEADER).is_none() {
        true => Some([&bytes[..line], HEADER, &bytes[line..]].concat()),
        false => None,
    }
}

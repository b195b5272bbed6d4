//! Connections that are served without the HTTP dispatcher: endless responses and WebSockets.
//!
//! The dispatcher holds two buffers of 8 KiB and its own state for as long as a response takes. An endless
//! response needs none of them: once its head is sent, a small task of its own sends the body, and then
//! closes the connection. If the request upgrades the connection, the same task runs the reader of what the
//! client sends:
//!
//! ```text
//! client ─ bytes ─▶ ClientBytes ─▶ reader ─┐
//! client ◀───────── response body ◀────────┘ queues
//! ```
//! The task reads no more than the reader takes. After it has dropped its [`ClientBytes`], what the client
//! still sends is read and discarded: if bytes were left unread, the close would become a reset, and the last
//! frames could be lost (RFC 9293 section 3.6.1).
//!
//! Owns: the task, and the count of such connections. Does not interpret their content.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use bytes::{Buf, Bytes};
use futures::future::LocalBoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Sleep;

use super::SLICE;
use super::connection::RequestInProgress;
use super::stream::GuardedSocket;

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Maximum number of bytes that the reader gets at once.
const PIECE: usize = 4 * 1024;
/// Time that a client has to read the last frames and to close, before it is disconnected.
const LINGER: Duration = Duration::from_secs(1);

/// Number of detached connections of one listening socket.
#[derive(Clone, Default)]
pub struct DetachedConnections(watch::Sender<usize>);

/// Counts one connection until it is dropped.
pub(super) struct CountedConnection(DetachedConnections);

impl DetachedConnections {
    pub(super) fn enter(&self) -> CountedConnection {
        self.0.send_modify(|count| *count += 1);
        CountedConnection(self.clone())
    }

    /// Waits until all connections have ended, but not longer than `limit`. A stopping server does not wait
    /// for them itself.
    pub async fn ended(&self, limit: Duration) {
        let mut count = self.0.subscribe();
        // Ignore the result: an expired limit is not an error, and the sender exists as long as `self`.
        let _ = tokio::time::timeout(limit, count.wait_for(|count| *count == 0)).await;
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

/// Bytes that a client sends after the upgrade of its connection. Can be read only within the future that
/// [`Connection::upgrade`](super::Connection::upgrade) got.
pub struct ClientBytes(Rc<SharedSocket>);

/// Socket that the task and the reader share.
#[derive(Default)]
struct SharedSocket(RefCell<SocketState>);

#[derive(Default)]
struct SocketState {
    /// `None`: before the connection is detached, and after its end.
    socket: Option<GuardedSocket>,
    /// True if the client has closed its direction of the connection. It may continue to read.
    half_closed: bool,
}

/// Future that reads what the client sends.
pub(super) struct Reader {
    shared: Rc<SharedSocket>,
    future: LocalBoxFuture<'static, ()>,
}

impl Reader {
    pub fn new<F: Future<Output = ()> + 'static>(read: impl FnOnce(ClientBytes) -> F) -> Self {
        let shared = Rc::<SharedSocket>::default();
        Self { future: Box::pin(read(ClientBytes(shared.clone()))), shared }
    }
}

impl ClientBytes {
    /// Returns the next bytes; `None` once the client has closed its direction of the connection, or the
    /// connection has failed.
    pub async fn next(&mut self) -> Option<Bytes> {
        poll_fn(|task| {
            let mut bytes = [MaybeUninit::uninit(); PIECE];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            let read = ready!(self.0.poll_read(task, &mut buffer));
            let some = read.is_ok() && !buffer.filled().is_empty();
            Poll::Ready(some.then(|| Bytes::copy_from_slice(buffer.filled())))
        })
        .await
    }
}

impl SharedSocket {
    /// Reads into the empty `buffer`. Reads nothing once the client has closed its direction.
    ///
    /// # Errors
    /// The connection is broken, or a deadline has expired. It is closed then.
    fn poll_read(&self, task: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        if state.half_closed {
            return Poll::Ready(Ok(()));
        }
        let Some(socket) = &mut state.socket else { return Poll::Ready(Err(gone())) };
        let read = ready!(Pin::new(socket).poll_read(task, buffer));
        match &read {
            Ok(()) => state.half_closed = buffer.filled().is_empty(),
            Err(_) => state.socket = None,
        }
        Poll::Ready(read)
    }

    /// Reads and discards what the client sends, to notice a closed connection.
    ///
    /// # Errors
    /// The connection is broken, or a deadline has expired.
    fn discard(&self, task: &mut Context<'_>) -> io::Result<()> {
        let mut bytes = [MaybeUninit::uninit(); 256];
        while !self.0.borrow().half_closed {
            if self.poll_read(task, &mut ReadBuf::uninit(&mut bytes))?.is_pending() {
                break;
            }
        }
        Ok(())
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// Body of a response whose head the dispatcher sends.
pub(super) struct DetachedBody {
    pub body: BoxBody,
    /// True if the head announces chunks (RFC 9112 section 7.1). Otherwise the end of the connection is the
    /// end of the body.
    pub chunked: bool,
    /// Reader of the client's bytes. `None`: the bytes are discarded.
    pub reader: Option<Reader>,
    pub guards: Guards,
}

/// Guards that are held until the connection ends.
pub(super) type Guards = (RequestInProgress, CountedConnection);

/// Task of a detached connection. Ends after both the connection and its reader have ended.
pub(super) struct DetachedConnection {
    shared: Rc<SharedSocket>,
    reader: Option<LocalBoxFuture<'static, ()>>,
    /// `None`: the connection has ended.
    response: Option<DetachedResponse>,
    /// True if the connection had a reader from the start.
    is_upgraded: bool,
    /// Time at which the connection is closed, once its reader or its body has ended.
    linger: Option<Pin<Box<Sleep>>>,
}

/// Response in progress, without its head.
struct DetachedResponse {
    /// `None` after the last byte of the body.
    body: Option<BoxBody>,
    chunked: bool,
    /// Bytes of the body that are not encoded yet.
    piece: Bytes,
    /// Encoded bytes that the socket has not accepted yet.
    encoded: Bytes,
    /// True if the socket accepted bytes that are not flushed yet.
    unflushed: bool,
    /// True once the server's direction of the connection is closed.
    is_shut: bool,
    _guards: Guards,
}

impl DetachedConnection {
    pub fn new(socket: GuardedSocket, rest: DetachedBody) -> Self {
        let (shared, reader) =
            rest.reader.map_or_else(Default::default, |reader| (reader.shared, Some(reader.future)));
        shared.0.borrow_mut().socket = Some(socket);
        let response = DetachedResponse {
            body: Some(rest.body),
            chunked: rest.chunked,
            piece: Bytes::new(),
            encoded: Bytes::new(),
            unflushed: false,
            is_shut: false,
            _guards: rest.guards,
        };
        let is_upgraded = reader.is_some();
        Self { shared, reader, response: Some(response), is_upgraded, linger: None }
    }

    /// Sends the body, and discards what nobody reads. `Ok`: everything is sent, and an upgraded client has
    /// closed its direction too. `Err`: the connection is broken, or the client is too slow.
    fn poll_connection(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(response) = &mut self.response else { return Poll::Ready(Ok(())) };
        if Rc::strong_count(&self.shared) == 1 {
            self.shared.discard(task)?;
        }
        let mut state = self.shared.0.borrow_mut();
        let Some(socket) = &mut state.socket else { return Poll::Ready(Err(gone())) };
        let sent = response.poll_send(socket, task)?.is_ready();
        if sent && (state.half_closed || !self.is_upgraded) {
            return Poll::Ready(Ok(()));
        }
        if self.is_upgraded && (self.reader.is_none() || response.body.is_none()) {
            let linger = self.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
            ready!(linger.as_mut().poll(task));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl Future for DetachedConnection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            if let Some(reader) = &mut this.reader
                && reader.as_mut().poll(task).is_ready()
            {
                this.reader = None;
            }
            if this.response.is_some() {
                // A failure means that the client is gone; the gate counts those that were too slow.
                let _ = ready!(this.poll_connection(task));
                this.response = None;
                this.shared.0.borrow_mut().socket = None;
                // The reader notices the end.
                continue;
            }
            return if this.reader.is_none() { Poll::Ready(()) } else { Poll::Pending };
        }
    }
}

impl DetachedResponse {
    /// Sends the body for as long as the socket accepts it. `Ok`: the body has ended, and the connection is
    /// shut down. `Err`: the connection is broken, or the client is too slow.
    fn poll_send(&mut self, socket: &mut GuardedSocket, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = Pin::new(socket);
        loop {
            if !self.encoded.is_empty() {
                let sent = ready!(socket.as_mut().poll_write(task, &self.encoded))?;
                self.encoded.advance(sent);
                self.unflushed = true;
                continue;
            }
            if !self.piece.is_empty() {
                let slice = self.piece.split_to(self.piece.len().min(SLICE));
                self.encoded = if self.chunked { chunk(&slice) } else { slice };
                continue;
            }
            if self.unflushed {
                ready!(socket.as_mut().poll_flush(task))?;
                self.unflushed = false;
            }
            let Some(body) = &mut self.body else {
                if !self.is_shut {
                    ready!(socket.as_mut().poll_shutdown(task))?;
                    self.is_shut = true;
                }
                return Poll::Ready(Ok(()));
            };
            match ready!(Pin::new(body).poll_next(task)) {
                Some(Ok(piece)) => self.piece = piece,
                // Without the last chunk, the client notices that the body is incomplete.
                Some(Err(_)) => self.body = None,
                None => {
                    self.body = None;
                    if self.chunked {
                        self.encoded = Bytes::from_static(LAST_CHUNK);
                    }
                }
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

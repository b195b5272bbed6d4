//! A client's stream, which fails when the client is too slow.
//!
//! The HTTP dispatcher polls the stream with every wake-up. An expired deadline reaches the dispatcher as an
//! I/O error; the dispatcher then closes the connection.
//!
//! Owns: the stream and its one timer. Does not decide on a deadline; [`Lifecycle`] does.

use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use actix_web::body::BoxBody;
use bytes::Bytes;
use futures::ready;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::detached::{ClientBytes, DetachedBody, DetachedConnection, Reader};
use super::gate::ConnectionSlot;
use super::large::{Turn, Turns};
use super::wire::Stream;
use crate::domain::http_connection::{CloseCause, DeadlineAction, HeadEnds, Lifecycle, RequestTimeouts};

/// Stream with deadlines.
///
/// The dispatcher decodes all requests that it has read before it serves the first, and uses about 6 kB of
/// memory for each. The dispatcher therefore gets at most one request head at a time; further heads wait
/// here.
pub(super) struct GuardedSocket {
    stream: Stream,
    connection: Connection,
    /// Timer that wakes the task at the next deadline or earlier.
    alarm: Option<Pin<Box<Sleep>>>,
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

/// Connection as its requests see it (`HttpRequest::conn_data`). Bound to the worker thread.
#[derive(Clone)]
pub struct Connection(Rc<State>);

struct State {
    lifecycle: RefCell<Lifecycle>,
    patience: RequestTimeouts,
    place: ConnectionSlot,
    /// True if the client uses TLS.
    secure: bool,
    /// True while a request is in progress that asks for an upgrade. The bytes after its head may belong to
    /// no request.
    upgrading: Cell<bool>,
    /// True while the handler waits for more of the request body.
    wants_body: Cell<bool>,
    /// True while the dispatcher is told that nothing has arrived, so that it does not read.
    reading_paused: Cell<bool>,
    /// Right to send the response in progress, if it is large.
    turn: Cell<Option<Turn>>,
    /// Reader of the bytes that follow the request in progress, if this request upgrades the connection.
    reader: Cell<Option<Reader>>,
    /// Body that follows the response head without the dispatcher.
    detached: RefCell<Option<DetachedBody>>,
    dispatcher: RefCell<Option<Waker>>,
}

/// Request in progress. After it is dropped, the connection waits for the next one.
pub(super) struct RequestInProgress(Connection);

impl GuardedSocket {
    pub fn new(stream: Stream, connection: Connection) -> Self {
        let heads = HeadEnds::default();
        let (alarm, held) = (None, Bytes::new());
        Self { stream, connection, alarm, has_requests: true, held, heads, head_given: false }
    }

    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// Fails if a deadline has expired. Otherwise arranges to wake the task for the next deadline.
    fn watch(&mut self, task: &mut Context<'_>) -> io::Result<()> {
        let state = &self.connection.0;
        loop {
            let now = Instant::now();
            let at = match state.lifecycle.borrow().due(&state.patience, state.place.pressed(), now) {
                DeadlineAction::Never => break,
                DeadlineAction::At(at) => tokio::time::Instant::from_std(at),
                DeadlineAction::Now(cut) => {
                    state.place.cut(cut);
                    return Err(io::ErrorKind::TimedOut.into());
                }
            };
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            // A timer that is due earlier stays: resetting it for every request would cost more than a few
            // unneeded wake-ups.
            if alarm.is_elapsed() || alarm.deadline() > at {
                alarm.as_mut().reset(at);
            }
            if alarm.as_mut().poll(task).is_pending() {
                break;
            }
        }
        let mut dispatcher = state.dispatcher.borrow_mut();
        match dispatcher.as_mut() {
            Some(known) => known.clone_from(task.waker()),
            None => *dispatcher = Some(task.waker().clone()),
        }
        Ok(())
    }

    /// Reports that nothing has arrived. [`State::resume_reading`] wakes the dispatcher.
    fn pause(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.0.reading_paused.set(true);
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
        self.connection.0.detached.take();
    }
}

impl State {
    /// Returns true if a request is in progress and its handler does not wait for more of the body.
    fn is_occupied(&self) -> bool {
        self.lifecycle.borrow().is_serving() && !self.wants_body.get()
    }

    fn resume_reading(&self) {
        if self.reading_paused.replace(false)
            && let Some(dispatcher) = &*self.dispatcher.borrow()
        {
            dispatcher.wake_by_ref();
        }
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
        let state = self.connection.0.clone();
        if state.detached.borrow().is_some() {
            // The dispatcher reads nothing more: after the response head, it shuts the stream down.
            return Poll::Ready(Ok(()));
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
        if state.lifecycle.borrow().is_blocked() || (!self.held.is_empty() && state.is_occupied()) {
            return self.pause(task);
        }
        let before = buffer.filled().len();
        ready!(self.poll_read_any(task, buffer))?;
        let mut heads = self.heads;
        let piece = &buffer.filled()[before..];
        let head = heads.find(piece);
        // The socket is read even during a request, because this reveals a closed connection.
        let is_held = state.is_occupied() && (head.is_some() || state.upgrading.get());
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
            state.lifecycle.borrow_mut().received(Instant::now());
        }
        (self.heads, self.head_given) = (heads, head.is_some());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GuardedSocket {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let amended = amended(bytes);
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

    /// Flushes the stream. Called once the stream has accepted all bytes; TLS may still hold some of them.
    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = Pin::new(&mut self.stream).poll_flush(task);
        if flush.is_ready() && self.connection.lifecycle().flushed() {
            self.connection.0.resume_reading();
        }
        self.watch(task)?;
        flush
    }

    /// Closes the stream, or detaches it. The dispatcher calls this once the response head is sent.
    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(rest) = self.connection.0.detached.take() else {
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

impl Connection {
    pub(super) fn new(place: ConnectionSlot, patience: RequestTimeouts, secure: bool) -> Self {
        Self(Rc::new(State {
            lifecycle: RefCell::new(Lifecycle::new(Instant::now())),
            patience,
            place,
            secure,
            upgrading: Cell::new(false),
            wants_body: Cell::new(false),
            reading_paused: Cell::new(false),
            turn: Cell::new(None),
            reader: Cell::new(None),
            detached: RefCell::new(None),
            dispatcher: RefCell::new(None),
        }))
    }

    /// Restarts the deadline for the first request.
    pub(super) fn restart(&self, now: Instant) {
        *self.lifecycle() = Lifecycle::new(now);
    }

    pub(super) fn lifecycle(&self) -> RefMut<'_, Lifecycle> {
        self.0.lifecycle.borrow_mut()
    }

    /// Returns true if the client uses TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.0.secure
    }

    /// Hands the connection over after the head of the response in progress, whose body must be a stream: the
    /// body is sent without the dispatcher, and what the client sends goes to `read`. The connection ends
    /// soon after `read` or the body has ended. If the client never gets the head, `read` is dropped without
    /// having run.
    pub fn upgrade<F: Future<Output = ()> + 'static>(&self, read: impl FnOnce(ClientBytes) -> F) {
        self.0.reader.set(Some(Reader::new(read)));
        self.endless();
    }

    /// Holds back the bytes after the head of the request in progress, which asks for an upgrade.
    pub(super) fn expect_upgrade(&self) {
        self.0.upgrading.set(true);
    }

    /// Records whether the handler waits for more of the request body.
    pub(super) fn want_body(&self, wants: bool) {
        self.0.wants_body.set(wants);
        if wants {
            self.0.resume_reading();
        }
    }

    /// Marks the response in progress as endless. Its source sets its rate, so only a client that reads
    /// nothing is too slow. It is the last response of its connection.
    pub fn endless(&self) {
        self.0.lifecycle.borrow_mut().endless();
    }

    pub(super) fn is_endless(&self) -> bool {
        self.lifecycle().is_endless()
    }

    /// Sends `body` after the response head, without the dispatcher. The response must have an empty body and
    /// must close or upgrade the connection. `chunked`: its head announces chunks.
    pub(super) fn detach(&self, body: BoxBody, chunked: bool, in_progress: RequestInProgress) {
        let (reader, guards) = (self.0.reader.take(), (in_progress, self.0.place.count_detached()));
        let rest = DetachedBody { body, chunked, reader, guards };
        self.0.detached.replace(Some(rest));
    }

    pub(super) fn begin(&self) -> RequestInProgress {
        self.lifecycle().began();
        RequestInProgress(self.clone())
    }

    pub(super) fn turns(&self) -> &Turns {
        self.0.place.turns()
    }

    /// Keeps the turn until the response in progress has been passed to the kernel or dropped.
    pub(super) fn keep_until_sent(&self, turn: Option<Turn>) {
        self.0.turn.set(turn);
    }

    pub(super) fn cut(&self, cut: CloseCause) {
        self.0.place.cut(cut);
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        let state = &self.0.0;
        state.wants_body.set(false);
        state.upgrading.set(false);
        state.turn.set(None);
        state.reader.set(None);
        state.lifecycle.borrow_mut().ended(Instant::now());
        state.resume_reading();
    }
}

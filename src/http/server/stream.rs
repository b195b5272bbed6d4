//! A client's socket, which fails when the client is too slow.
//!
//! The HTTP dispatcher polls it with every wake-up. An expired deadline reaches the dispatcher as an I/O
//! error, and it closes the connection.
//!
//! Owns: the socket and its one timer. Never does: decide on a deadline; that is [`Lifecycle`].

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::gate::Place;
use crate::domain::http_connection::{Cut, Due, Lifecycle, Patience};

/// Socket with deadlines.
pub(super) struct Guarded {
    socket: TcpStream,
    connection: Connection,
    /// Timer that wakes the dispatcher at the next deadline or earlier.
    alarm: Option<Pin<Box<Sleep>>>,
    /// True if the dispatcher was told that nothing has arrived, because the client does not read the
    /// response.
    reading_paused: bool,
}

/// Connection as its requests see it (`HttpRequest::conn_data`). Bound to the worker thread.
#[derive(Clone)]
pub struct Connection(Rc<State>);

struct State {
    lifecycle: RefCell<Lifecycle>,
    patience: Patience,
    place: Place,
    upgraded: Cell<bool>,
    hung_up: Cell<bool>,
    dispatcher: RefCell<Option<Waker>>,
}

/// Request in progress. After it is dropped, the connection waits for the next one.
pub(super) struct InProgress(Connection);

impl Guarded {
    pub fn new(socket: TcpStream, place: Place, patience: Patience, now: Instant) -> Self {
        let state = State {
            lifecycle: RefCell::new(Lifecycle::new(now)),
            patience,
            place,
            upgraded: Cell::new(false),
            hung_up: Cell::new(false),
            dispatcher: RefCell::new(None),
        };
        Self { socket, connection: Connection(Rc::new(state)), alarm: None, reading_paused: false }
    }

    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// Fails if a deadline has expired or the connection was hung up. Otherwise arranges to wake the task for
    /// the next deadline.
    fn watch(&mut self, task: &mut Context<'_>) -> io::Result<()> {
        let state = &self.connection.0;
        if state.hung_up.get() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        loop {
            let now = Instant::now();
            let at = match state.lifecycle.borrow().due(&state.patience, state.place.pressed(), now) {
                Due::Never => break,
                Due::At(at) => tokio::time::Instant::from_std(at),
                Due::Now(cut) => {
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

    fn lifecycle(&self) -> std::cell::RefMut<'_, Lifecycle> {
        self.connection.0.lifecycle.borrow_mut()
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A client that does not read the response is not read from either, because requests would pile up
        // here. A WebSocket client is read from: its actor must see its frames, and has limits of its own.
        self.reading_paused = self.lifecycle().is_blocked() && !self.connection.is_upgraded();
        if self.reading_paused {
            self.watch(task)?;
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.socket).poll_read(task, buffer) {
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() > before {
                    self.lifecycle().received(Instant::now());
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => {
                self.watch(task)?;
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let amended = amended(bytes);
        match Pin::new(&mut self.socket).poll_write(task, amended.as_deref().unwrap_or(bytes)) {
            Poll::Ready(Ok(written)) if amended.is_some() => {
                // The dispatcher closes the connection after such a response, so no rest is kept for later.
                let whole = amended.is_some_and(|amended| written == amended.len());
                Poll::Ready(if whole { Ok(bytes.len()) } else { Err(io::ErrorKind::WriteZero.into()) })
            }
            Poll::Ready(Ok(written)) => {
                self.lifecycle().wrote(written);
                Poll::Ready(Ok(written))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => {
                self.lifecycle().blocked(Instant::now());
                self.watch(task)?;
                Poll::Pending
            }
        }
    }

    /// Flushes the socket. Called when the kernel has taken everything.
    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lifecycle().flushed();
        if std::mem::take(&mut self.reading_paused) {
            task.waker().wake_by_ref();
        }
        self.watch(task)?;
        Pin::new(&mut self.socket).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(task)
    }
}

/// Returns one of the dispatcher's own error responses (400, 408, 431) with `nosniff` added, which no
/// middleware can do. Returns `None` for other bytes.
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
    /// Closes the connection, even if data waits for its client.
    pub fn hang_up(&self) {
        self.0.hung_up.set(true);
        if let Some(dispatcher) = self.0.dispatcher.borrow_mut().take() {
            dispatcher.wake();
        }
    }

    /// Marks the connection as upgraded: its request body is not one any more, so it has no deadline.
    pub fn upgraded(&self) {
        self.0.upgraded.set(true);
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.0.upgraded.get()
    }

    pub(super) fn begin(&self) -> InProgress {
        self.0.lifecycle.borrow_mut().began();
        InProgress(self.clone())
    }

    pub(super) fn cut(&self, cut: Cut) {
        self.0.place.cut(cut);
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.0.lifecycle.borrow_mut().ended(Instant::now());
    }
}

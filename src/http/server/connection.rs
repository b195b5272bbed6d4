//! Connection as its requests see it: its deadlines, its slot, and what its response in progress holds.
//!
//! Owns: the state that a stream shares with the requests of its connection. Does not read or write.

use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Instant;

use actix_web::body::BoxBody;
use actix_web::{HttpMessage, HttpRequest};
use tokio::time::Sleep;

use super::detached::{ClientBytes, CountedConnection, DetachedBody, Reader};
use super::gate::ConnectionSlot;
use super::large::{Turn, Turns};
use crate::domain::http_connection::{CloseCause, DeadlineAction, Lifecycle, RequestTimeouts};
use crate::domain::http2_limits::FrameBudget;
use crate::http::error::ApiError;

/// Largest number by which the minimum rate is divided between the responses of one HTTP/2 connection. A
/// larger divisor would let a client hold the memory of many responses at the cost of one.
const MOST_SHARING: u32 = 4;

/// Connection as its requests see it. Bound to the worker thread.
///
/// Each request of an HTTP/2 connection has a `Connection` of its own, with the deadlines of this request. It
/// shares the slot of its carrier, which is the connection of the socket.
#[derive(Clone)]
pub struct Connection(Rc<State>);

struct State {
    lifecycle: RefCell<Lifecycle>,
    patience: RequestTimeouts,
    place: Rc<ConnectionSlot>,
    /// True if the client uses TLS.
    secure: bool,
    /// HTTP/2 connection that carries this request.
    carrier: Option<Connection>,
    /// Limit on the frames of an HTTP/2 connection.
    frames: Cell<Option<FrameBudget>>,
    /// Number of responses that are being sent on an HTTP/2 connection.
    sending: Cell<u32>,
    /// Number of bytes of the response that the client permits, if HTTP/2 carries it.
    permitted: Cell<usize>,
    /// True while a request is in progress that asks for an upgrade. The bytes after its head may belong to
    /// no request.
    upgrading: Cell<bool>,
    /// True while the handler waits for more of the request body.
    wants_body: Cell<bool>,
    /// True while the dispatcher is told that nothing has arrived, so that it does not read.
    reading_paused: Cell<bool>,
    /// Right to send the response in progress, if it is large.
    turn: RefCell<Option<Turn>>,
    /// Slot and count of the endless response in progress, if HTTP/2 carries it.
    endless_slot: Cell<Option<Box<(ConnectionSlot, CountedConnection)>>>,
    /// Reader of the bytes that follow the request in progress, if this request upgrades the connection.
    reader: Cell<Option<Reader>>,
    /// Body that follows the response head without the dispatcher.
    detached: RefCell<Option<DetachedBody>>,
    dispatcher: RefCell<Option<Waker>>,
}

/// Timer that wakes the task of a connection at the next deadline or earlier.
pub(super) type Alarm = Option<Pin<Box<Sleep>>>;

/// HTTP/2 response that is being sent.
pub(super) struct ResponseInProgress(Connection);

/// Request in progress. After it is dropped, the connection waits for the next one.
pub(super) struct RequestInProgress(Connection);

impl State {
    fn new(place: Rc<ConnectionSlot>, patience: RequestTimeouts, secure: bool) -> Self {
        Self {
            lifecycle: RefCell::new(Lifecycle::new(Instant::now())),
            patience,
            place,
            secure,
            carrier: None,
            frames: Cell::new(None),
            sending: Cell::new(0),
            permitted: Cell::new(usize::MAX),
            upgrading: Cell::new(false),
            wants_body: Cell::new(false),
            reading_paused: Cell::new(false),
            turn: RefCell::new(None),
            endless_slot: Cell::new(None),
            reader: Cell::new(None),
            detached: RefCell::new(None),
            dispatcher: RefCell::new(None),
        }
    }
}

impl Connection {
    pub(super) fn new(place: ConnectionSlot, patience: RequestTimeouts, secure: bool) -> Self {
        Self(Rc::new(State::new(Rc::new(place), patience, secure)))
    }

    /// Returns the connection of a request; `None` in a test without a socket.
    pub fn of(request: &HttpRequest) -> Option<Self> {
        request.conn_data::<Self>().cloned().or_else(|| request.extensions().get::<Self>().cloned())
    }

    /// Marks the connection as one of HTTP/2.
    pub(super) fn speaks_http2(&self) {
        self.0.frames.set(Some(FrameBudget::new(Instant::now())));
    }

    pub(super) fn is_http2(&self) -> bool {
        self.0.frames.get().is_some()
    }

    /// Creates the connection of one request that this HTTP/2 connection carries.
    pub(super) fn carry(&self) -> Self {
        let carried = State::new(self.0.place.clone(), self.0.patience, self.0.secure);
        Self(Rc::new(State { carrier: Some(self.clone()), ..carried }))
    }

    /// Records the number of requests in progress on this HTTP/2 connection.
    pub(super) fn serves(&self, requests: usize) {
        match requests {
            0 => self.lifecycle().ended(Instant::now()),
            _ => self.lifecycle().began(),
        }
    }

    /// Counts the response of this HTTP/2 request as one that is being sent, until the guard is dropped.
    pub(super) fn sending(&self) -> ResponseInProgress {
        let connection = self.0.carrier.as_ref().unwrap_or(self).clone();
        connection.0.sending.update(|count| count + 1);
        ResponseInProgress(connection)
    }

    /// Records the number of bytes of the response that the client permits. The body gives no larger pieces.
    pub(super) fn permit(&self, bytes: usize) {
        self.0.permitted.set(bytes);
    }

    /// Records that bytes of a request head or of a body were transferred over HTTP/2.
    pub(super) fn moved(&self, bytes: usize) {
        let connection = self.0.carrier.as_ref().unwrap_or(self);
        if let Some(mut frames) = connection.0.frames.get() {
            frames.moved(bytes);
            connection.0.frames.set(Some(frames));
        }
    }

    /// Records that bytes of frames arrived.
    ///
    /// # Errors
    /// The client has sent too many such bytes without transferring a request or a body.
    pub(super) fn count_frames(&self, bytes: usize) -> io::Result<()> {
        let Some(mut frames) = self.0.frames.get() else { return Ok(()) };
        let is_within = frames.received(bytes, Instant::now());
        self.0.frames.set(Some(frames));
        if is_within {
            return Ok(());
        }
        self.cut(CloseCause::Flood);
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Records that bytes arrived at the socket. The deadline of a request head does not apply to HTTP/2:
    /// other frames arrive too.
    pub(super) fn received(&self, now: Instant) {
        if !self.is_http2() {
            self.lifecycle().received(now);
        }
    }

    /// Fails if a deadline has expired. Otherwise arranges to wake the task for the next deadline.
    pub(super) fn watch(&self, alarm: &mut Alarm, task: &mut Context<'_>) -> io::Result<()> {
        let state = &self.0;
        if let Some(carrier) = &state.carrier {
            // Other clients wait for the turn of a large response, so the minimum rate of this response is
            // not divided.
            let has_turn = state.turn.borrow().is_some();
            let sharing = if has_turn { 1 } else { carrier.0.sending.get().clamp(1, MOST_SHARING) };
            self.lifecycle().share(sharing);
        }
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
            let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
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

    pub(super) fn expects_upgrade(&self) -> bool {
        self.0.upgrading.get()
    }

    /// Records whether the handler waits for more of the request body.
    pub(super) fn want_body(&self, wants: bool) {
        self.0.wants_body.set(wants);
        if wants {
            self.resume_reading();
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

    /// Returns true if the response in progress is endless, and the server need not read requests meanwhile.
    pub(super) fn can_detach(&self) -> bool {
        self.is_endless() && self.0.carrier.is_none()
    }

    /// Takes a connection slot for the endless response in progress, if HTTP/2 carries it. With HTTP/1.1, the
    /// response occupies its connection.
    ///
    /// # Errors
    /// No slot is free, or the client's address has too many.
    pub(super) fn occupy(&self) -> Result<(), ApiError> {
        if self.0.carrier.is_some() && self.is_endless() {
            let slot = self.0.place.another()?;
            self.0.endless_slot.set(Some(Box::new((slot, self.0.place.count_detached()))));
        }
        Ok(())
    }

    /// Sends `body` after the response head, without the dispatcher. The response must have an empty body and
    /// must close or upgrade the connection. `chunked`: its head announces chunks.
    pub(super) fn detach(&self, body: BoxBody, chunked: bool, in_progress: RequestInProgress) {
        let (reader, guards) = (self.0.reader.take(), (in_progress, self.0.place.count_detached()));
        let rest = DetachedBody { body, chunked, reader, guards };
        self.0.detached.replace(Some(rest));
    }

    pub(super) fn is_detached(&self) -> bool {
        self.0.detached.borrow().is_some()
    }

    /// Returns the body that follows the response head, if any.
    pub(super) fn take_detached(&self) -> Option<DetachedBody> {
        self.0.detached.take()
    }

    /// Returns true if a request is in progress and its handler does not wait for more of the body.
    pub(super) fn is_occupied(&self) -> bool {
        self.lifecycle().is_serving() && !self.0.wants_body.get()
    }

    /// Lets the dispatcher read again.
    pub(super) fn resume_reading(&self) {
        if self.0.reading_paused.replace(false)
            && let Some(dispatcher) = &*self.0.dispatcher.borrow()
        {
            dispatcher.wake_by_ref();
        }
    }

    /// Records that the dispatcher is told that nothing has arrived.
    pub(super) fn pause_reading(&self) {
        self.0.reading_paused.set(true);
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
        self.0.turn.replace(turn);
    }

    pub(super) fn cut(&self, cut: CloseCause) {
        self.0.place.cut(cut);
    }
}

impl Drop for ResponseInProgress {
    fn drop(&mut self) {
        self.0.0.sending.update(|count| count - 1);
    }
}

impl RequestInProgress {
    /// Returns the number of bytes of the response that the client permits.
    pub(super) fn permitted(&self) -> usize {
        self.0.0.permitted.get()
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        let state = &self.0.0;
        state.wants_body.set(false);
        state.upgrading.set(false);
        state.turn.replace(None);
        state.reader.set(None);
        state.endless_slot.set(None);
        state.lifecycle.borrow_mut().ended(Instant::now());
        self.0.resume_reading();
    }
}

//! Outbound queue of one client: bounded, filled by actors on any thread, drained by the transport.
//!
//! The queue is separate from the response body, so a client that does not read does not block others. If
//! more bytes wait than the limit allows, the queue is discarded and the connection is closed.
//!
//! ```text
//! Open ── Close queued ──▶ Closing ── answered, dead, or timed out ──▶ Ended
//! ```
//! Owns: the queued frames. Never blocks and never encodes frames.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::client;
use crate::actors::kernel::ActorRef;
use crate::domain::signalling::{CloseCode, Notification};
use crate::frames::OutboundFrame;

/// Outbound queue and the state of the closing handshake.
pub struct OutboundQueue {
    /// Maximum bytes of queued texts and pongs.
    limit: usize,
    state: Mutex<State>,
}

struct State {
    queue: VecDeque<OutboundFrame>,
    bytes: usize,
    phase: Phase,
    /// Close code. Set when the close is requested or, without a request, when the actor closes the
    /// connection.
    asked: Option<CloseCode>,
    actor: Option<ActorRef<client::Msg>>,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The close frame is queued; nothing follows it.
    Closing,
    /// Queued frames are still written; then the connection ends.
    Ended,
}

impl OutboundQueue {
    pub fn new(limit: usize) -> Arc<Self> {
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            phase: Phase::Open,
            asked: None,
            actor: None,
            writer: None,
            reader: None,
        };
        Arc::new(Self { limit, state: Mutex::new(state) })
    }

    /// Sets the actor that closes the connection on request.
    pub fn attach(&self, actor: ActorRef<client::Msg>) {
        let mut state = self.lock();
        if state.asked.is_some() {
            // If the actor has ended, it has closed the connection itself.
            let _ = actor.tell_latest("close", client::Msg::CloseAsked);
        }
        state.actor = Some(actor);
    }

    /// Queues a frame. Drops the frame if the connection is closing, or if the frame is a ping and a ping is
    /// queued already. If the queue exceeds its limit, discards the queue and requests the close of the
    /// connection.
    pub fn send(&self, frame: OutboundFrame) {
        let mut state = self.lock();
        if state.phase != Phase::Open
            || (frame == OutboundFrame::Ping && state.queue.contains(&OutboundFrame::Ping))
        {
            return;
        }
        state.bytes += frame.size();
        if state.bytes > self.limit {
            state.discard();
            drop(state);
            return self.ask_to_close(CloseCode::TooSlow);
        }
        state.queue.push_back(frame);
        wake(state.writer.take(), state);
    }

    /// Asks the actor to close the connection. If called again, the first reason remains.
    pub fn ask_to_close(&self, code: CloseCode) {
        let mut state = self.lock();
        if state.phase == Phase::Open && state.asked.is_none() {
            state.asked = Some(code);
            let actor = state.actor.clone();
            drop(state);
            // If the actor has ended, it has closed the connection itself.
            let _ = actor.map(|actor| actor.tell_latest("close", client::Msg::CloseAsked));
        }
    }

    /// Returns the close code, once the close has been requested or performed.
    pub fn asked(&self) -> Option<CloseCode> {
        self.lock().asked
    }

    /// Queues the close frame, which is the last one. Frames queued before are still written, unless the
    /// client does not read or is dead.
    pub fn close(&self, code: CloseCode) {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return;
        }
        if matches!(code, CloseCode::TooSlow | CloseCode::PeerDead) {
            state.discard();
        }
        state.phase = Phase::Closing;
        state.asked.get_or_insert(code);
        if code != CloseCode::Gone {
            state.queue.push_back(OutboundFrame::Close(code));
        }
        wake(state.writer.take(), state);
    }

    /// Ends the queue: the actor has finished with the connection.
    pub fn end(&self) {
        let mut state = self.lock();
        state.phase = Phase::Ended;
        state.actor = None;
        let wakers = [state.writer.take(), state.reader.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Returns the next frame; `None` once the queue has ended and is empty. Must be polled only by the
    /// writer of the connection.
    pub fn poll_next(&self, task: &mut Context<'_>) -> Poll<Option<OutboundFrame>> {
        let mut state = self.lock();
        if let Some(frame) = state.queue.pop_front() {
            state.bytes = state.bytes.saturating_sub(frame.size());
            if state.queue.is_empty() {
                // An idle client holds no buffer.
                state.queue = VecDeque::new();
            }
            return Poll::Ready(Some(frame));
        }
        if state.phase == Phase::Ended {
            return Poll::Ready(None);
        }
        state.writer = Some(task.waker().clone());
        Poll::Pending
    }

    /// Completes once the actor has finished with the connection. Must be polled only by the reader of the
    /// connection.
    pub fn poll_ended(&self, task: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.phase == Phase::Ended {
            return Poll::Ready(());
        }
        state.reader = Some(task.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard that ends the queue when it is dropped, unless the client's actor has closed the connection. The
/// factory of the actor owns this guard: an actor that is stopped before it starts is never created, so it
/// could not close the connection.
pub struct QueueGuard(pub Arc<OutboundQueue>);

impl Drop for QueueGuard {
    fn drop(&mut self) {
        self.0.close(CloseCode::Draining);
        self.0.end();
    }
}

fn wake(waker: Option<Waker>, state: MutexGuard<'_, State>) {
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    fn discard(&mut self) {
        self.queue = VecDeque::new();
        self.bytes = 0;
    }
}

/// Notification that is encoded once and sent to many connections.
#[derive(Debug, Clone)]
pub struct EncodedNotification(Bytes);

impl From<&Notification> for EncodedNotification {
    fn from(notification: &Notification) -> Self {
        Self(notification.to_json().to_string().into())
    }
}

/// Handle through which a session writes to its client's outbound queue. The methods have no effect after the
/// connection has ended.
#[derive(Clone)]
pub struct Outbound(Arc<OutboundQueue>);

impl Outbound {
    pub fn new(line: Arc<OutboundQueue>) -> Self {
        Self(line)
    }

    /// Encodes and sends a notification.
    pub fn notify(&self, notification: &Notification) {
        self.send(&notification.into());
    }

    /// Sends an encoded notification. Cheaper than [`notify`](Self::notify) for a whole room.
    pub fn send(&self, notification: &EncodedNotification) {
        self.0.send(OutboundFrame::Text(notification.0.clone()));
    }

    /// Closes the connection after all earlier frames were sent.
    pub fn close(&self, code: CloseCode) {
        self.0.ask_to_close(code);
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbound")
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn text(len: usize) -> OutboundFrame {
        OutboundFrame::Text(vec![b'x'; len].into())
    }

    fn next(line: &OutboundQueue) -> Poll<Option<OutboundFrame>> {
        line.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn overfull_outbound_queue_closes_too_slow() {
        let line = OutboundQueue::new(100);
        let (actor, told) = ActorRef::probe();
        line.attach(actor);
        (0..10).for_each(|_| line.send(text(10)));
        assert_eq!(told.drain().len(), 0, "exactly the limit may wait");
        line.send(text(1));
        line.send(text(1));
        assert_eq!((told.drain().len(), line.asked()), (1, Some(CloseCode::TooSlow)));
        assert!(line.lock().bytes <= 1);
        line.close(CloseCode::TooSlow);
        assert_eq!(next(&line), Poll::Ready(Some(OutboundFrame::Close(CloseCode::TooSlow))));
        line.send(text(1));
        assert_eq!(next(&line), Poll::Pending, "nothing follows the close frame");
        line.end();
        assert_eq!(next(&line), Poll::Ready(None));
    }

    #[test]
    fn reading_client_never_fills_outbound_queue() {
        let line = OutboundQueue::new(100);
        for _ in 0..1000 {
            line.send(text(90));
            assert_eq!(next(&line), Poll::Ready(Some(text(90))));
        }
        assert_eq!(line.asked(), None);
    }

    #[test]
    fn queued_frames_precede_close_frame() {
        let line = OutboundQueue::new(100);
        line.send(text(5));
        line.send(OutboundFrame::Ping);
        line.send(OutboundFrame::Ping);
        line.close(CloseCode::Removed);
        line.end();
        let all: Vec<_> = std::iter::from_fn(|| match next(&line) {
            Poll::Ready(frame) => frame,
            Poll::Pending => None,
        })
        .collect();
        assert_eq!(all, [text(5), OutboundFrame::Ping, OutboundFrame::Close(CloseCode::Removed)]);
    }

    #[test]
    fn close_before_attach_is_kept() {
        let line = OutboundQueue::new(100);
        Outbound::new(line.clone()).close(CloseCode::Replaced);
        let (actor, told) = ActorRef::probe();
        line.attach(actor);
        assert_eq!((told.drain().len(), line.asked()), (1, Some(CloseCode::Replaced)));
    }
}

//! One connected client: a position in the buffer of its room.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use futures::Stream;

use super::channel::{Channel, Next};
use super::encode::Entry;
use crate::domain::ids::UserId;
use crate::domain::roles::RoomRole;
use crate::telemetry::Metrics;

/// Form of the events that a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer {
    Listener,
    Host,
}

impl Viewer {
    pub fn of(self, entry: &Entry) -> &Bytes {
        match self {
            Self::Listener => &entry.public,
            Self::Host => &entry.host,
        }
    }
}

/// Body of a response. Ends when the client is too slow, banned or given another role, its token expires, or
/// the room is gone.
pub struct Subscription {
    channel: Arc<Channel>,
    /// First bytes, until they are sent.
    initial: Option<Bytes>,
    position: u64,
    viewer: Viewer,
    user: Option<UserId>,
    /// Role that the user had in the room when the client connected, if one was assigned. If the assigned
    /// role changes, the stream ends.
    assigned: Option<RoomRole>,
    until: Instant,
    registered: Option<(u64, Waker)>,
    metrics: Metrics,
}

impl Subscription {
    pub(super) fn new(
        channel: Arc<Channel>,
        (initial, position): (Bytes, u64),
        (viewer, user): (Viewer, Option<UserId>),
        until: Instant,
        metrics: Metrics,
    ) -> Self {
        metrics.channel_opened();
        let assigned = channel.lock().assigned(user.as_ref());
        let initial = Some(initial);
        Self { channel, initial, position, viewer, user, assigned, until, registered: None, metrics }
    }
}

impl Stream for Subscription {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(initial) = this.initial.take() {
            return Poll::Ready(Some(Ok(initial)));
        }
        // Each heartbeat causes a poll, so an expired token is noticed in time.
        if Instant::now() >= this.until {
            return Poll::Ready(None);
        }
        let channel = this.channel.clone();
        let mut inner = channel.lock();
        let user = this.user.as_ref();
        if inner.is_banned(user) || inner.assigned(user) != this.assigned {
            return Poll::Ready(None);
        }
        match inner.next(&mut this.position, this.viewer) {
            Next::Bytes(bytes) => Poll::Ready(Some(Ok(bytes))),
            Next::End { behind } => {
                if behind {
                    this.metrics.channel_dropped();
                }
                Poll::Ready(None)
            }
            Next::Nothing => {
                let generation = inner.generation;
                let known = this.registered.as_ref();
                if !known.is_some_and(|(at, waker)| *at == generation && waker.will_wake(task.waker())) {
                    this.registered = Some((generation, task.waker().clone()));
                    inner.register(task.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut inner = self.channel.lock();
        inner.subscribers = inner.subscribers.saturating_sub(1);
        drop(inner);
        self.metrics.channel_closed();
    }
}

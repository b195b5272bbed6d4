//! One connected client: a position in the buffer of its room.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use futures::Stream;

use super::channel::{Channel, ReadOutcome};
use super::encode::{Entry, Transport};
use crate::domain::ids::UserId;
use crate::domain::roles::RoomRole;
use crate::telemetry::Metrics;

/// Form of the events that a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewer {
    /// True for hosts and co-hosts.
    pub moderates: bool,
    pub transport: Transport,
}

impl Viewer {
    pub fn of(self, entry: &Entry) -> &Bytes {
        let encoded = if self.moderates { &entry.host } else { &entry.public };
        encoded.of(self.transport)
    }
}

/// Reason why a subscription ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionEnd {
    /// The buffer no longer contains the client's next event.
    TooSlow,
    TokenExpired,
    /// The user is banned, or was kicked or removed.
    Removed,
    /// The user has another role in the room than before.
    RoleChanged,
    RoomGone,
    /// This node stops, or has dropped the channel.
    Closed,
}

/// Events of one client, encoded. Ends for one of the reasons in [`SubscriptionEnd`].
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
    ended: Option<SubscriptionEnd>,
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
        let (ended, registered) = (None, None);
        Self { channel, initial, position, viewer, user, assigned, until, ended, registered, metrics }
    }

    /// Returns the reason why the stream has ended; `None` before its end.
    pub fn ended(&self) -> Option<SubscriptionEnd> {
        self.ended
    }

    fn end<T>(&mut self, reason: SubscriptionEnd) -> Poll<Option<T>> {
        self.ended = Some(reason);
        Poll::Ready(None)
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
            return this.end(SubscriptionEnd::TokenExpired);
        }
        let channel = this.channel.clone();
        let mut inner = channel.lock();
        let user = this.user.as_ref();
        if inner.is_banned(user) {
            return this.end(SubscriptionEnd::Removed);
        }
        if inner.assigned(user) != this.assigned {
            return this.end(SubscriptionEnd::RoleChanged);
        }
        match inner.next(&mut this.position, this.viewer) {
            ReadOutcome::Bytes(bytes) => Poll::Ready(Some(Ok(bytes))),
            ReadOutcome::End(reason) => {
                if reason == SubscriptionEnd::TooSlow {
                    this.metrics.channel_dropped();
                }
                this.end(reason)
            }
            ReadOutcome::Nothing => {
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

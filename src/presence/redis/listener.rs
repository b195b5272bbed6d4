//! Subscriptions to Redis channels that survive outages of Redis.
//!
//! Messages that are published while there is no subscription are lost, so each new subscription begins with
//! [`PresenceEvent::LookAgain`]. Owns: one connection per listener, while it has a receiver.

use std::time::Duration;

use futures::StreamExt;
use redis::aio::PubSub;
use redis::{Client, RedisError};
use tokio::sync::broadcast;
use tokio::time::{interval, sleep, timeout};

use crate::domain::restart::Backoff;
use crate::presence::{EVENTS_KEPT, EventStream, PresenceEvent, events};

/// Interval between pings, which distinguish an idle connection from a dead one.
const PING_EVERY: Duration = Duration::from_secs(2);
const RECONNECT: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) };

pub(super) struct Listener<T> {
    client: Client,
    channel: String,
    timeout: Duration,
    read: fn(&str) -> Option<T>,
    heard: broadcast::Sender<PresenceEvent<T>>,
}

/// Starts to listen on `channel`. Messages for which `read` returns `None` are not ours and are ignored.
pub(super) fn listen<T: Clone + Send + 'static>(
    client: Client,
    channel: String,
    timeout: Duration,
    read: fn(&str) -> Option<T>,
) -> EventStream<T> {
    let (heard, listening) = broadcast::channel(EVENTS_KEPT);
    tokio::spawn(Listener { client, channel, timeout, read, heard }.run());
    events(listening)
}

impl<T: Clone + Send + 'static> Listener<T> {
    async fn run(self) {
        tokio::select! {
            () = self.heard.closed() => {}
            () = self.keep_subscribed() => {}
        }
    }

    async fn keep_subscribed(&self) {
        let mut failures = 0;
        loop {
            if let Ok(Ok(subscription)) = timeout(self.timeout, self.subscribe()).await {
                failures = 0;
                self.tell(PresenceEvent::LookAgain);
                self.follow(subscription).await;
            }
            failures += 1;
            sleep(RECONNECT.delay(failures, rand::random())).await;
        }
    }

    async fn subscribe(&self) -> Result<PubSub, RedisError> {
        let mut subscription = self.client.get_async_pubsub().await?;
        subscription.subscribe(&self.channel).await?;
        Ok(subscription)
    }

    /// Forwards messages until the connection is closed or dead.
    async fn follow(&self, subscription: PubSub) {
        let (mut sink, mut messages) = subscription.split();
        let mut ping = interval(PING_EVERY);
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => self.hear(&message),
                    None => return,
                },
                _ = ping.tick() => match timeout(self.timeout, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    _ => return,
                },
            }
        }
    }

    fn hear(&self, message: &redis::Msg) {
        if let Some(told) = message.get_payload::<String>().ok().as_deref().and_then(self.read) {
            self.tell(PresenceEvent::Told(told));
        }
    }

    fn tell(&self, event: PresenceEvent<T>) {
        // An error means that the last receiver is gone; `run` then ends.
        let _ = self.heard.send(event);
    }
}

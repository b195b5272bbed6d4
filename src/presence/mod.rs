//! Connection locks and presence entries, across gateways: two traits, two backends (`embedded`, `redis`).
//!
//! A gateway acquires the connection lock of a user and room before it admits a connection, and renews it
//! well within [`Lifetimes::lock`]. When the connection ends, the gateway first leaves the room and then
//! releases the lock, which invalidates the fencing token. The decisions are in `domain::connection`;
//! `tests/it/presence/` runs the same cases on both backends.
//!
//! Owns: locks, presence entries, and the notifications to gateways about changes. Does not close a
//! connection, or treat an error as success.

pub mod embedded;
pub mod embedded_stages;
pub mod redis;
pub mod stage;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use crate::domain::connection::{
    ConnectionId, Duplicate, FencingToken, GatewayIncarnation, Holder, JoinOutcome, LockKey, ReleaseOutcome,
    UpdateOutcome,
};
use crate::domain::ids::RoomId;
use stage::StageStore;

pub use crate::domain::connection::{Lifetimes, RenewOutcome};
pub use crate::domain::presence_entry::{PresenceEntry, Source};

/// Maximum number of notifications that are buffered for a slow subscriber. A subscriber that lags further
/// gets [`PresenceEvent::LookAgain`].
const EVENTS_KEPT: usize = 1024;

/// Reason why a request has failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresenceError {
    /// The outcome is unknown: the request may or may not have been applied. A retry may succeed.
    #[error("presence does not answer: {0}")]
    Unavailable(String),
    /// A retry will not succeed; an operator must fix the cause.
    #[error("presence refused the request: {0}")]
    Rejected(String),
}

impl PresenceError {
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Result of an acquisition of a connection lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquisition {
    Acquired {
        token: FencingToken,
        /// Connection that lost the lock; its gateway is notified.
        replaced: Option<Holder>,
    },
    Held {
        by: Holder,
    },
}

/// Result of a gateway's heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatOutcome {
    Known,
    /// First heartbeat ever, the first one after a silence, or the first one since the backend lost its data:
    /// renew all locks.
    Reregistered,
}

/// Notification that a connection has lost its lock to another one and must be closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockReplaced {
    #[serde(rename = "seat")]
    pub key: LockKey,
    /// Connection that lost the lock.
    pub connection: ConnectionId,
}

/// Notification that the presence entries of a room have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersChanged {
    pub room: RoomId,
}

/// Item of a notification stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceEvent<T> {
    /// Notifications before this item may be lost: read everything you follow again. It is the first item of
    /// every stream, and is sent again after each interruption.
    LookAgain,
    Told(T),
}

/// Stream of notifications. Ends only with the backend.
pub type EventStream<T> = BoxStream<'static, PresenceEvent<T>>;

/// Connection locks: one connection per user and room.
#[async_trait]
pub trait ConnectionLock: Send + Sync + 'static {
    /// Acquires the lock. Also counts as a heartbeat of the holder's gateway. After an error, retry with the
    /// same holder.
    async fn acquire(
        &self,
        key: &LockKey,
        holder: &Holder,
        policy: Duplicate,
    ) -> Result<Acquisition, PresenceError>;

    /// Renews the lock. Also restores a lock that the backend lost and no other connection has taken since,
    /// and counts as a heartbeat of the gateway.
    async fn renew(
        &self,
        key: &LockKey,
        holder: &Holder,
        token: FencingToken,
    ) -> Result<RenewOutcome, PresenceError>;

    /// Releases the lock and ends the fencing token: later writes and renewals with it are refused. A
    /// repeated call returns [`ReleaseOutcome::NotOurs`].
    async fn release(&self, key: &LockKey, token: FencingToken) -> Result<ReleaseOutcome, PresenceError>;

    /// Records a heartbeat of the gateway. Must be called three times per [`Lifetimes::gateway`]: after this
    /// time without a heartbeat, other gateways may take over the gateway's locks.
    async fn gateway_alive(&self, gateway: &GatewayIncarnation) -> Result<HeartbeatOutcome, PresenceError>;

    /// Returns notifications about connections of this gateway that lost their locks. On
    /// [`PresenceEvent::LookAgain`], the caller must renew all locks. Must be called within a tokio runtime.
    fn replacements(&self, gateway: &GatewayIncarnation) -> EventStream<LockReplaced>;
}

/// Presence entries and stages of rooms, in one backend.
#[derive(Clone)]
pub struct PresenceParts {
    pub presence: Arc<dyn Presence>,
    pub stages: Arc<dyn StageStore>,
}

/// Presence entries of each room. All users with an entry may speak, so all count against `max_anchors`.
#[async_trait]
pub trait Presence: Send + Sync + 'static {
    /// Adds a presence entry. Replaces the user's own older entry, if there is one.
    async fn join(
        &self,
        room: &RoomId,
        member: &PresenceEntry,
        max_anchors: usize,
    ) -> Result<JoinOutcome, PresenceError>;

    /// Writes the presence entry and renews it. An entry expires [`Lifetimes::member`] after the last write.
    /// Gateways are notified only if the entry differs from the previous one.
    async fn update(&self, room: &RoomId, member: &PresenceEntry) -> Result<UpdateOutcome, PresenceError>;

    /// Removes the presence entry. Must be called before the lock is released; afterwards, returns
    /// [`UpdateOutcome::Fenced`].
    async fn leave(&self, key: &LockKey, token: FencingToken) -> Result<UpdateOutcome, PresenceError>;

    /// Removes the presence entry without comparing fencing tokens, for a user who was removed from the room.
    /// Does nothing if the user has no entry.
    async fn forget(&self, key: &LockKey) -> Result<(), PresenceError>;

    /// Lists the presence entries of a room, sorted by user id.
    async fn list(&self, room: &RoomId) -> Result<Vec<PresenceEntry>, PresenceError>;

    /// Removes all presence entries of a room.
    async fn remove_room(&self, room: &RoomId) -> Result<(), PresenceError>;

    /// Returns notifications about rooms whose presence entries changed, on any gateway. The expiry of an
    /// entry is noticed at the next call for its room at the latest. Must be called within a tokio runtime.
    fn subscribe(&self) -> EventStream<MembersChanged>;
}

/// Converts a receiver to a stream. Notifications that a slow subscriber missed become one
/// [`PresenceEvent::LookAgain`].
fn events<T: Clone + Send + 'static>(heard: broadcast::Receiver<PresenceEvent<T>>) -> EventStream<T> {
    BroadcastStream::new(heard).map(|heard| heard.unwrap_or(PresenceEvent::LookAgain)).boxed()
}

/// Returns the stream of [`events`] with one [`PresenceEvent::LookAgain`] in front: a source that is never
/// interrupted does not send the first one itself.
fn events_from_now<T: Clone + Send + 'static>(
    heard: broadcast::Receiver<PresenceEvent<T>>,
) -> EventStream<T> {
    stream::iter([PresenceEvent::LookAgain]).chain(events(heard)).boxed()
}

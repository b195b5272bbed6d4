//! Who is connected and who is in a room, across gateways: two traits, two backends (`embedded`, `redis`).
//!
//! A gateway acquires the lock of a seat before it lets a connection in, renews it well within
//! [`Lifetimes::lock`], and on the way out leaves the room first and then releases the lock, whose release
//! ends the fence. What is decided is `domain::connection`; `tests/it/presence/` runs the same cases on both
//! backends.
//!
//! Owns: locks, members, and telling gateways of changes. Never does: close a connection, or take an error
//! for a yes.

pub mod embedded;
pub mod redis;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use crate::domain::connection::{
    ConnectionId, Duplicate, Fence, Gateway, Holder, Joined, Released, Seat, Written,
};
use crate::domain::ids::{RoomId, UserId};

pub use crate::domain::connection::Lifetimes;

/// News that a listener may lag behind before it is told to look for itself.
const NEWS_KEPT: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresenceError {
    /// Nothing is known of what was asked: it may or may not have happened. Worth trying again.
    #[error("presence does not answer: {0}")]
    Unavailable(String),
    /// Trying again will not help; an operator must.
    #[error("presence refused the request: {0}")]
    Rejected(String),
}

impl PresenceError {
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquisition {
    Acquired {
        fence: Fence,
        /// Another connection that lost the seat by this; its gateway is told.
        replaced: Option<Holder>,
    },
    Held {
        by: Holder,
    },
}

/// Whether the backend knew of a gateway that shows that it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignOfLife {
    Known,
    /// The first one, the first after a silence, or the backend has forgotten everything: renew all locks.
    Anew,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    StillOurs,
    /// Somebody else has, or had, the seat since.
    Lost,
}

/// Somebody took the seat of a connection, which must be closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    pub seat: Seat,
    /// Whose the seat was.
    pub connection: ConnectionId,
}

/// The members of a room are no longer what they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub room: RoomId,
}

/// Something that happened, or that anything may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News<T> {
    /// Whatever happened before was perhaps not told: look at everything you follow. The first item of every
    /// stream, from when on nothing is missed; and again after each interruption.
    LookAgain,
    Told(T),
}

/// Ends only with the backend.
pub type NewsStream<T> = BoxStream<'static, News<T>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    Host,
    Anchor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberStatus {
    OnAir,
    Idle,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    pub user_id: UserId,
    pub role: MemberRole,
    pub display_name: Option<String>,
    pub status: MemberStatus,
    pub muted: bool,
    /// Of the connection lock under which this was written.
    pub fence: Fence,
}

/// One connection per user and room.
#[async_trait]
pub trait ConnectionLock: Send + Sync + 'static {
    /// Also a sign of life of the asker's gateway. After an error, ask again with the same holder.
    async fn acquire(
        &self,
        seat: &Seat,
        holder: &Holder,
        policy: Duplicate,
    ) -> Result<Acquisition, PresenceError>;

    /// Also restores a lock that nobody took since the store lost it, and is a sign of life of the gateway.
    async fn renew(&self, seat: &Seat, holder: &Holder, fence: Fence) -> Result<Renewed, PresenceError>;

    /// Ends the fence: later writes and renewals under it are refused. [`Released::NotOurs`] when repeated.
    async fn release(&self, seat: &Seat, fence: Fence) -> Result<Released, PresenceError>;

    /// Call it three times within [`Lifetimes::gateway`], else others take this gateway's seats.
    async fn gateway_alive(&self, gateway: &Gateway) -> Result<SignOfLife, PresenceError>;

    /// Connections of this gateway that lost their seats. On [`News::LookAgain`] renew all locks. Within a
    /// tokio runtime.
    fn replacements(&self, gateway: &Gateway) -> NewsStream<Replaced>;
}

/// The members of each room. All of them may speak, so all count against `max_anchors`.
#[async_trait]
pub trait Presence: Send + Sync + 'static {
    /// Replaces the user's own older entry, if there is one.
    async fn join(&self, room: &RoomId, member: &Member, max_anchors: usize)
    -> Result<Joined, PresenceError>;

    /// Says what the member is now and that it is still there; a member is gone [`Lifetimes::member`] after
    /// the last time. Others are told only of a difference.
    async fn update(&self, room: &RoomId, member: &Member) -> Result<Written, PresenceError>;

    /// Before the release of the lock, whose end makes this [`Written::Fenced`].
    async fn leave(&self, seat: &Seat, fence: Fence) -> Result<Written, PresenceError>;

    /// Out, whoever wrote the entry: for a user who was removed from the room. Nothing if there is none.
    async fn forget(&self, seat: &Seat) -> Result<(), PresenceError>;

    /// Sorted by user id.
    async fn list(&self, room: &RoomId) -> Result<Vec<Member>, PresenceError>;

    async fn remove_room(&self, room: &RoomId) -> Result<(), PresenceError>;

    /// Rooms whose members changed, by whichever gateway. A time-out is found by the next call for its room.
    /// Within a tokio runtime.
    fn subscribe(&self) -> NewsStream<Changed>;
}

/// What a listener that lagged missed becomes one [`News::LookAgain`].
fn news<T: Clone + Send + 'static>(heard: broadcast::Receiver<News<T>>) -> NewsStream<T> {
    BroadcastStream::new(heard).map(|heard| heard.unwrap_or(News::LookAgain)).boxed()
}

/// The same, for a source that is never interrupted.
fn news_from_now<T: Clone + Send + 'static>(heard: broadcast::Receiver<News<T>>) -> NewsStream<T> {
    stream::iter([News::LookAgain]).chain(news(heard)).boxed()
}

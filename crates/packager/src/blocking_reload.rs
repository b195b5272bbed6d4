//! Requests that wait for media that do not exist yet: blocking reloads of the playlist (RFC 8216bis section
//! 6.2.5.2), and requests for a hinted part.
//!
//! The node that mixes a room and the nodes that cache its media wait in the same way, each with its own type
//! of state. Owns: the wait, and its limits: how long it may take, and how far ahead a request may be. Does
//! not decide the answer to a request in a given state.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::media_error::MediaError;

/// Answer of a state to a request; `None`: wait for the next state.
pub type Answer<T> = Option<Result<T, MediaError>>;

/// Newest state of a stream, and the requests that wait for a later state.
#[derive(Debug)]
pub struct BlockingReload<S> {
    state: watch::Sender<Arc<S>>,
    limit: Duration,
}

impl<S> BlockingReload<S> {
    /// Creates the stream of states, beginning with `first`. `limit`: longest wait of a request.
    pub fn new(first: S, limit: Duration) -> Self {
        Self { state: watch::Sender::new(Arc::new(first)), limit }
    }

    pub fn newest(&self) -> Arc<S> {
        self.state.borrow().clone()
    }

    pub fn publish(&self, state: S) {
        self.state.send_replace(Arc::new(state));
    }

    /// Changes the state. If `change` returns true, the waiting requests see the new state.
    pub fn change(&self, change: impl FnOnce(&mut Arc<S>) -> bool) {
        self.state.send_if_modified(change);
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<S>> {
        self.state.subscribe()
    }

    /// Returns the answer of the newest state. If it has none, waits for the first later state that has one.
    ///
    /// # Errors
    /// The error in the answer, or `Timeout` after the limit.
    pub async fn wait<T>(&self, answer: impl Fn(&S) -> Answer<T>) -> Result<T, MediaError> {
        let mut changes = self.state.subscribe();
        let search = async {
            loop {
                let state = changes.borrow_and_update().clone();
                if let Some(answer) = answer(&state) {
                    return answer;
                }
                // The sender is in `self`, so it outlives this wait.
                if changes.changed().await.is_err() {
                    return Err(MediaError::Unavailable);
                }
            }
        };
        tokio::time::timeout(self.limit, search).await.unwrap_or(Err(MediaError::Timeout))
    }
}

/// Returns true if a requested position is further ahead than RFC 8216bis section 6.2.5.2 allows: two
/// segments beyond the last one, or `advance` parts beyond the last part. `next` is the media sequence number
/// and index of the part that comes next.
pub fn is_too_far(next: (u64, u32), msn: u64, part: Option<u32>, advance: u32) -> bool {
    let (open, parts) = next;
    let from = if msn == open { parts } else { 0 };
    msn > open.saturating_add(1) || part.is_some_and(|p| msn >= open && p > from.saturating_add(advance))
}

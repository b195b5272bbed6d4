//! Undelivered events of one room, and the outage of an endpoint, in memory and in the store.
//!
//! Times are monotonic in memory, and wall-clock times in the store. Owns: the form in memory, the form in
//! the store, and the delays.

use std::collections::VecDeque;
use std::time::Duration;

use super::{RETRY_DELAYS, Unavailable, WaitingRoom, shortened};
use crate::events::Cursor;
use crate::ids::UnixMs;
use crate::restart::Backoff;

/// Delays between attempts while the endpoint does not answer.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(5), max: Duration::from_secs(300) };
/// Longest wait that an endpoint's `Retry-After` can cause.
const MOST_RETRY_AFTER: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Queue {
    pub events: VecDeque<(Cursor, UnixMs)>,
    /// Oldest undelivered event. May be before the first of `events` until the ledger is read again.
    pub from: Cursor,
    pub attempts: u32,
    since: Option<UnixMs>,
    pub due: Duration,
    pub error: Option<String>,
    /// If the latest attempt got no answer: number of answers that the endpoint had given when this attempt
    /// failed.
    pub unanswered_at: Option<u64>,
    /// Time of the latest failure.
    pub tried: Duration,
}

#[derive(Debug)]
pub(super) struct Outage {
    since: UnixMs,
    attempts: u32,
    pub next: Duration,
    pub error: String,
}

impl Queue {
    pub fn new(from: Cursor, now: Duration) -> Self {
        Self {
            events: VecDeque::new(),
            from,
            attempts: 0,
            since: None,
            due: now,
            error: None,
            unanswered_at: None,
            tried: Duration::ZERO,
        }
    }

    /// Removes the first event. The attempts for the next event of the room count from zero.
    pub fn advance(&mut self, now: Duration) {
        let after =
            |(cursor, _): (Cursor, UnixMs)| Cursor { index: cursor.index.saturating_add(1), ..cursor };
        let from = self.events.pop_front().map_or(self.from, after);
        let from = self.events.front().map_or(from, |(cursor, _)| *cursor);
        let events = std::mem::take(&mut self.events);
        *self = Self { events, tried: self.tried, ..Self::new(from, now) };
    }

    pub fn failed(&mut self, error: &str, wall: UnixMs, now: Duration) {
        self.since = self.since.or(Some(wall));
        self.error = Some(shortened(error));
        self.tried = now;
    }

    /// Counts a failed attempt and sets the time of the next one. Jitter lengthens the delay by up to 10 %.
    pub fn counted(&mut self, now: Duration, random: f64) {
        let delay = RETRY_DELAYS.get(self.attempts as usize).copied().unwrap_or_default();
        self.attempts += 1;
        self.due = now + delay.mul_f64(1.0 + 0.1 * random.clamp(0.0, 1.0));
    }

    /// Returns true if all attempts for the first event have failed.
    pub fn is_exhausted(&self) -> bool {
        self.attempts as usize > RETRY_DELAYS.len()
    }

    pub fn restored(room: WaitingRoom, now: Duration, wall: UnixMs) -> Self {
        let last = (room.attempts as usize).saturating_sub(1).min(RETRY_DELAYS.len() - 1);
        Self {
            attempts: room.attempts,
            since: room.since,
            due: until(room.next, RETRY_DELAYS[last].mul_f64(1.1), now, wall),
            error: room.error,
            ..Self::new(room.from, now)
        }
    }

    pub fn stored(&self, now: Duration, wall: UnixMs) -> WaitingRoom {
        let Self { from, attempts, since, .. } = *self;
        WaitingRoom { from, attempts, since, next: at(self.due, now, wall), error: self.error.clone() }
    }
}

impl Outage {
    pub fn new(now: Duration, wall: UnixMs) -> Self {
        Self { since: wall, attempts: 0, next: now, error: String::new() }
    }

    /// Records a failure. Requests that were sent together count once.
    pub fn failed(&mut self, error: &str, retry_after: Option<Duration>, now: Duration, random: f64) {
        self.error = shortened(error);
        if self.next <= now {
            self.attempts = self.attempts.saturating_add(1);
            let asked = retry_after.unwrap_or_default().min(MOST_RETRY_AFTER);
            self.next = now + BACKOFF.delay(self.attempts, random).max(asked);
        }
    }

    pub fn restored(stored: Unavailable, now: Duration, wall: UnixMs) -> Self {
        let Unavailable { since, attempts, next, error } = stored;
        Self { since, attempts, next: until(next, MOST_RETRY_AFTER, now, wall), error }
    }

    pub fn stored(&self, now: Duration, wall: UnixMs) -> Unavailable {
        let Self { since, attempts, .. } = *self;
        Unavailable { since, attempts, next: at(self.next, now, wall), error: self.error.clone() }
    }
}

fn at(due: Duration, now: Duration, wall: UnixMs) -> UnixMs {
    UnixMs(wall.0 + due.saturating_sub(now).as_millis() as u64)
}

/// Converts a stored time (`next`) to monotonic time. `most`: longest possible wait, so that a wrong clock
/// delays the attempt by this time at most.
fn until(next: UnixMs, most: Duration, now: Duration, wall: UnixMs) -> Duration {
    now + Duration::from_millis(next.0.saturating_sub(wall.0)).min(most)
}

//! Delivery to one endpoint.
//!
//! ```text
//! ledger ──feed──▶ queues, one per room ──Send──▶ endpoint ──done──▶ next event of the room
//!                                                                      └─▶ Write: the state, in the store
//! ```
//!
//! A room has one event in flight, so its events arrive in order. An event that the endpoint refuses is
//! retried after each of the [`RETRY_DELAYS`](super::RETRY_DELAYS). The events of its room wait behind it,
//! while other rooms continue. While the endpoint does not answer, one event at a time is tried, each time
//! from another room if there is one. An event that gets no answer, while other events are answered, is
//! treated as refused.
//!
//! An event is given up after the last attempt, or when it is about to leave the ledger. It then becomes a
//! dead letter, in the same write that lets its room continue.
//!
//! At most [`MOST_UNWRITTEN`] accepted events are missing from the stored state. They are delivered again if
//! the leader dies.

use std::collections::BTreeMap;
use std::time::Duration;

use super::queue::{Outage, Queue};
use super::{AbandonedEvent, EndpointState, MOST_WAITING_ROOMS, WebhookFilter};
use crate::events::Cursor;
use crate::ids::{RoomId, UnixMs};
use crate::plan::{Plan, Retry, WriteOutcome};
use crate::restart::{Backoff, STORE_ASKED_WITHIN};

/// Maximum number of requests in flight to an endpoint.
const MOST_SENDING: usize = 4;
/// Maximum number of events that are in flight, or accepted but missing from the stored state.
const MOST_UNWRITTEN: usize = 8;
/// Maximum number of events given up by one write. A transaction has at most 128 operations.
const GIVEN_UP_AT_ONCE: usize = 50;
const WRITE_BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: STORE_ASKED_WITHIN };
/// Time after which the state is written if events were only skipped.
const SKIPPED_WRITTEN_AFTER: Duration = Duration::from_secs(10);
/// Time before the end of the ledger's retention at which an event is given up. It covers several rounds of
/// housekeeping, which deletes old events.
const LEAVES_EARLY: Duration = Duration::from_secs(3600);

/// Fields of a ledger event that delivery needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    pub cursor: Cursor,
    pub room: RoomId,
    pub kind: String,
    pub time: UnixMs,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Send {
        room: RoomId,
        cursor: Cursor,
    },
    /// Writes the state and the dead letters, if the key of the state has the revision `over` (0: absent).
    Write {
        over: i64,
        state: Box<EndpointState>,
        given_up: Vec<AbandonedEvent>,
    },
}

/// State of an endpoint in the store, as the watch shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredState {
    /// `None`: the endpoint has no state yet, so its delivery begins after the newest event.
    pub state: Option<EndpointState>,
    /// Revision of the key; 0: absent.
    pub revision: i64,
    /// Revision of the store that this view has reached.
    pub as_of: i64,
}

/// Outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// The endpoint does not accept this event.
    Refused(String),
    /// The endpoint did not answer, or its answer was that it takes no events now.
    Unavailable {
        error: String,
        retry_after: Option<Duration>,
    },
    /// The ledger no longer has the event.
    Gone,
}

#[derive(Debug)]
struct PendingWrite {
    over: i64,
    delivered: usize,
    given_up: usize,
}

/// State machine of the delivery to one endpoint.
#[derive(Debug)]
pub struct Delivery {
    filter: WebhookFilter,
    retention: Duration,
    /// Revision of the stored state that the machine continues; `None` before it has seen the key.
    revision: Option<i64>,
    /// Every selected event up to here is delivered, given up, or in a queue.
    cursor: Cursor,
    /// Events up to this position were read. The position is before `cursor` while the queues of an earlier
    /// leader are filled again.
    position: Cursor,
    rooms: BTreeMap<RoomId, Queue>,
    sending: BTreeMap<RoomId, Cursor>,
    outage: Option<Outage>,
    /// Number of answers from the endpoint: acceptances and refusals.
    answers: u64,
    dead: u64,
    given_up: Vec<AbandonedEvent>,
    /// True if the stored state is outdated.
    changed: bool,
    /// Time at which the state is written if events were only skipped.
    skipped_due: Option<Duration>,
    unwritten: usize,
    writing: Option<PendingWrite>,
    /// State of the key that the watch showed during a write. The outcome of the write shows whether the
    /// machine itself wrote this value.
    seen: Option<StoredState>,
    write_retry: Retry,
    superseded: bool,
}

impl Delivery {
    /// Creates the machine. `retention`: time for which the ledger keeps an event.
    pub fn new(filter: WebhookFilter, retention: Duration) -> Self {
        Self {
            filter,
            retention,
            revision: None,
            cursor: Cursor::default(),
            position: Cursor::default(),
            rooms: BTreeMap::new(),
            sending: BTreeMap::new(),
            outage: None,
            answers: 0,
            dead: 0,
            given_up: Vec::new(),
            changed: false,
            skipped_due: None,
            unwritten: 0,
            writing: None,
            seen: None,
            write_retry: Retry::default(),
            superseded: false,
        }
    }

    /// Applies the stored state that the watch shows. `end`: position of the newest event in the ledger.
    pub fn observe(&mut self, seen: StoredState, end: Cursor, now: Duration, wall: UnixMs) {
        if self.writing.is_some() {
            self.seen = Some(seen);
        } else if self.revision.is_none_or(|known| known != seen.revision && known <= seen.as_of) {
            self.restore(seen, end, now, wall);
        }
    }

    fn restore(&mut self, seen: StoredState, end: Cursor, now: Duration, wall: UnixMs) {
        self.changed = seen.state.is_none();
        let state = seen.state.unwrap_or_else(|| EndpointState { cursor: end, ..EndpointState::default() });
        self.revision = Some(seen.revision);
        (self.cursor, self.dead) = (state.cursor, state.dead);
        let queue = |room| Queue::restored(room, now, wall);
        self.rooms = state.waiting.into_iter().map(|(id, room)| (id, queue(room))).collect();
        let oldest = self.rooms.values().map(|room| room.from.before()).min();
        self.position = oldest.map_or(self.cursor, |oldest| oldest.min(self.cursor));
        self.outage = state.unavailable.map(|outage| Outage::restored(outage, now, wall));
        self.given_up.clear();
        (self.skipped_due, self.unwritten, self.superseded) = (None, 0, false);
        self.write_retry = Retry::default();
    }

    /// Returns the position from which [`feed`](Self::feed) needs the next events.
    pub fn position(&self) -> Cursor {
        self.position
    }

    /// Takes the events of the ledger after [`position`](Self::position), in their order. `reached`: the
    /// revision of the ledger if it has no events after these, otherwise `None`. Returns true if the next
    /// events are needed now.
    pub fn feed(
        &mut self,
        events: impl IntoIterator<Item = LedgerEntry>,
        reached: Option<i64>,
        now: Duration,
    ) -> bool {
        if self.revision.is_none() {
            return false;
        }
        for entry in events {
            let again = entry.cursor <= self.cursor;
            let taken = match self.rooms.get(&entry.room) {
                Some(queue) if again => entry.cursor >= queue.from,
                _ => !again && self.filter.takes(&entry.room, &entry.kind),
            };
            if taken {
                if !self.rooms.contains_key(&entry.room) && self.rooms.len() >= MOST_WAITING_ROOMS {
                    return false;
                }
                let queue = self.rooms.entry(entry.room).or_insert_with(|| Queue::new(entry.cursor, now));
                if queue.events.is_empty() {
                    queue.from = entry.cursor;
                }
                queue.events.push_back((entry.cursor, entry.time));
            }
            self.position = entry.cursor;
            if !again {
                self.cursor = entry.cursor;
                self.skipped_due.get_or_insert(now + SKIPPED_WRITTEN_AFTER);
            }
        }
        if self.position < self.cursor && reached.is_some_and(|revision| revision >= self.cursor.revision) {
            self.position = self.cursor;
        }
        if self.position >= self.cursor {
            // The events of rooms whose queue is still empty have left the ledger.
            self.rooms.retain(|_, queue| !queue.events.is_empty());
        }
        reached.is_none()
    }

    /// Returns the next effect. Must be called again until it returns a wait.
    pub fn plan(&mut self, now: Duration, wall: UnixMs) -> Plan<Effect> {
        let Some(over) = self.revision else { return Plan::wait("waits to see its state in the store") };
        if self.superseded {
            return Plan::wait("the state in the store was changed; waits to see it");
        }
        if self.writing.is_none() {
            self.give_up(now, wall);
            let due = self.changed || self.skipped_due.is_some_and(|due| due <= now);
            if due && self.write_retry.due().is_none_or(|due| due <= now) {
                let (state, given_up) = (Box::new(self.state(now, wall)), self.given_up.clone());
                self.writing =
                    Some(PendingWrite { over, delivered: self.unwritten, given_up: given_up.len() });
                (self.changed, self.skipped_due) = (false, None);
                return Plan::act(Effect::Write { over, state, given_up }, "writes its progress");
            }
        }
        if over > 0
            && let Some(room) = self.next_room(now)
        {
            let cursor = self.rooms[&room].events[0].0;
            self.sending.insert(room.clone(), cursor);
            return Plan::act(Effect::Send { room, cursor }, "delivers");
        }
        let (reason, until) = self.wait(now);
        Plan::Wait { reason: reason.into(), until }
    }

    /// Returns the room whose event is sent next; `None` if none may be sent now.
    fn next_room(&self, now: Duration) -> Option<RoomId> {
        let outage = self.outage.as_ref();
        let most = if outage.is_some() { 1 } else { MOST_SENDING };
        let is_full = self.sending.len() >= most || self.unwritten + self.sending.len() >= MOST_UNWRITTEN;
        // An event that was given up must be a dead letter in the store before the next one is sent.
        if is_full || !self.given_up.is_empty() || outage.is_some_and(|outage| outage.next > now) {
            return None;
        }
        let ready = self.rooms.iter().filter(|(id, queue)| {
            let is_probe = outage.is_some() && queue.unanswered_at.is_some();
            !queue.events.is_empty() && !self.sending.contains_key(*id) && (queue.due <= now || is_probe)
        });
        // In an outage, try another room each time. Otherwise, send the oldest event.
        let order = |(_, queue): &(&RoomId, &Queue)| match outage {
            Some(_) => (queue.tried, queue.from),
            None => (Duration::ZERO, queue.from),
        };
        ready.min_by_key(order).map(|(id, _)| id.clone())
    }

    fn wait(&self, now: Duration) -> (String, Option<Duration>) {
        let stored = self.skipped_due.into_iter().chain(self.write_retry.due()).filter(|due| *due > now);
        let leaves = self.rooms.values().filter_map(|queue| queue.events.front());
        // Also wake for events that are about to leave the ledger while nothing else happens.
        let leaves = leaves.map(|_| now + LEAVES_EARLY / 4).min();
        let next = match &self.outage {
            Some(outage) => Some(outage.next).filter(|next| *next > now),
            None => self.rooms.values().map(|queue| queue.due).filter(|due| *due > now).min(),
        };
        let reason = match (&self.outage, self.sending.len(), self.rooms.len()) {
            _ if self.write_retry.attempt() > 0 => "its progress cannot be written; tries again".to_owned(),
            (Some(outage), ..) => format!("the endpoint is not available: {}", outage.error),
            (None, 0, 0) => "every event is delivered".into(),
            (None, 0, rooms) => format!("events of {rooms} rooms were refused and are tried again"),
            (None, sending, _) => format!("waits for the answers to {sending} requests"),
        };
        (reason, stored.chain(next).chain(leaves).min())
    }

    /// Applies the outcome of a request. `random` is uniform in `0.0..1.0`.
    pub fn done(
        &mut self,
        (room, cursor): (&RoomId, Cursor),
        outcome: Outcome,
        now: Duration,
        wall: UnixMs,
        random: f64,
    ) {
        self.sending.remove(room);
        // The state may have been replaced since the request was sent.
        let queue = self
            .rooms
            .get_mut(room)
            .filter(|queue| queue.events.front().is_some_and(|(first, _)| *first == cursor));
        if !matches!(outcome, Outcome::Unavailable { .. } | Outcome::Gone) {
            self.answers += 1;
            self.outage = None;
        }
        let Some(queue) = queue else { return };
        self.changed = true;
        match outcome {
            Outcome::Delivered | Outcome::Gone => {
                self.unwritten += usize::from(outcome == Outcome::Delivered);
                queue.advance(now);
                self.forget(room);
            }
            Outcome::Refused(error) => {
                queue.failed(&error, wall, now);
                queue.unanswered_at = None;
                queue.counted(now, random);
            }
            Outcome::Unavailable { error, retry_after } => {
                queue.failed(&error, wall, now);
                // This is the first attempt without an answer, or other events were answered since the last
                // one. In the second case, this event itself is the cause of the failure.
                if queue.unanswered_at != Some(self.answers) {
                    queue.counted(now, random);
                }
                queue.unanswered_at = Some(self.answers);
                let outage = self.outage.get_or_insert_with(|| Outage::new(now, wall));
                outage.failed(&error, retry_after, now, random);
            }
        }
        if self.outage.is_none() {
            // Retry the rooms that failed only because the endpoint was not available.
            let failed_with_it = |queue: &&mut Queue| queue.unanswered_at.is_some() && queue.attempts <= 1;
            self.rooms.values_mut().filter(failed_with_it).for_each(|queue| queue.due = queue.due.min(now));
        }
    }

    /// Gives up events whose attempts are used up, and events that are about to leave the ledger.
    fn give_up(&mut self, now: Duration, wall: UnixMs) {
        let limit = self.retention.saturating_sub(LEAVES_EARLY);
        let ids: Vec<RoomId> = self.rooms.keys().cloned().collect();
        for room in ids {
            while let Some(queue) = self.rooms.get_mut(&room)
                && let Some((cursor, time)) = queue.events.front().copied()
                && !self.sending.contains_key(&room)
                && self.given_up.len() < GIVEN_UP_AT_ONCE
            {
                let leaves = u128::from(wall.0.saturating_sub(time.0)) > limit.as_millis();
                if !leaves && !queue.is_exhausted() {
                    break;
                }
                let error = queue.error.clone();
                let error = error.unwrap_or_else(|| "it waited behind other events".into());
                self.given_up.push(AbandonedEvent {
                    number: self.dead,
                    cursor,
                    attempts: queue.attempts,
                    error,
                });
                self.dead += 1;
                self.changed = true;
                queue.advance(now);
                self.forget(&room);
            }
        }
    }

    /// Removes a room without events, once all events up to the cursor were read.
    fn forget(&mut self, room: &RoomId) {
        if self.position >= self.cursor && self.rooms.get(room).is_some_and(|queue| queue.events.is_empty()) {
            self.rooms.remove(room);
        }
    }

    /// Applies the outcome of the write. `end`: see [`observe`](Self::observe).
    pub fn written(&mut self, outcome: WriteOutcome, end: Cursor, now: Duration, wall: UnixMs, random: f64) {
        let Some(write) = self.writing.take() else { return };
        let seen = self.seen.take();
        match outcome {
            WriteOutcome::Written { revision } => {
                self.revision = Some(revision);
                self.unwritten = self.unwritten.saturating_sub(write.delivered);
                self.given_up.drain(..write.given_up);
                self.write_retry.succeeded();
                if let Some(seen) = seen.filter(|seen| seen.revision != revision && seen.as_of > revision) {
                    self.restore(seen, end, now, wall);
                }
                return;
            }
            WriteOutcome::Superseded => self.superseded = true,
            WriteOutcome::Failed(why) => {
                self.changed = true;
                self.write_retry.failed(why.to_string(), now, &WRITE_BACKOFF, random);
            }
        }
        // If the outcome was lost, the state that was seen may be the one that this write has stored.
        if let Some(seen) = seen.filter(|seen| seen.revision != write.over && seen.as_of > write.over) {
            self.restore(seen, end, now, wall);
        }
    }

    /// Returns the state to store.
    pub fn state(&self, now: Duration, wall: UnixMs) -> EndpointState {
        EndpointState {
            cursor: self.cursor,
            waiting: self.rooms.iter().map(|(id, queue)| (id.clone(), queue.stored(now, wall))).collect(),
            unavailable: self.outage.as_ref().map(|outage| outage.stored(now, wall)),
            dead: self.dead,
        }
    }

    /// Returns true while the endpoint does not answer.
    pub fn is_unavailable(&self) -> bool {
        self.outage.is_some()
    }

    /// Returns the time of the oldest undelivered event that was read; `None` if there is none.
    pub fn oldest(&self) -> Option<UnixMs> {
        self.rooms.values().filter_map(|queue| queue.events.front()).map(|(_, time)| *time).min()
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;

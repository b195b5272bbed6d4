//! Webhooks: delivery of the event ledger to the endpoints of an application.
//!
//! The leader delivers. Its progress at each endpoint is one value in the store, [`EndpointState`]. This
//! value is written after the endpoint has accepted events. If a leader dies before the write, events are
//! therefore delivered again, and none is missed.
//!
//! Owns: which events an endpoint gets, the states of delivery ([`Delivery`]), when to retry, and when to
//! give up. Never sends a request, and never signs or writes.

mod delivery;
mod queue;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::events::Cursor;
use super::ids::{RoomId, UnixMs};

pub use delivery::{Delivery, Effect, LedgerEntry, Outcome, StoredState};

/// Maximum number of rooms with undelivered events per endpoint. Events of further rooms stay in the ledger
/// until one of these rooms has no undelivered events left.
pub const MOST_WAITING_ROOMS: usize = 100;
/// Maximum number of dead letters per endpoint; the newest are kept.
pub const MOST_DEAD_LETTERS: u64 = 1000;
/// Delays between the attempts for an event that the endpoint refuses: those that the Standard Webhooks
/// specification recommends, about 76 hours in total before jitter is added.
pub const RETRY_DELAYS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];
/// Shortest `events.retention` with which a refused event gets all its attempts: the sum of [`RETRY_DELAYS`]
/// with jitter, and a reserve.
pub const LEAST_RETENTION: Duration = Duration::from_secs(96 * 3600);
/// Maximum length of a stored error text, in characters.
const MOST_ERROR_TEXT: usize = 200;

/// Selection of the events that an endpoint gets. It depends on the event alone, so it is the same whenever
/// the event is read, even after the room has been deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookFilter {
    /// Types of events, as text, because a newer node may write types that this node does not know. Empty:
    /// all types.
    pub types: Vec<String>,
    /// Ids of rooms; a `*` at the end matches any continuation. Empty: all rooms.
    pub rooms: Vec<String>,
}

impl WebhookFilter {
    pub fn takes(&self, room: &RoomId, kind: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => room.as_str().starts_with(start),
            None => room.as_str() == pattern,
        };
        (self.types.is_empty() || self.types.iter().any(|known| known == kind))
            && (self.rooms.is_empty() || self.rooms.iter().any(fits))
    }
}

/// Progress at an endpoint, the value of its key in the store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointState {
    /// Every selected event up to here is delivered or a dead letter, except those in `waiting`.
    pub cursor: Cursor,
    /// Rooms with undelivered events up to `cursor`.
    #[serde(default)]
    pub waiting: BTreeMap<RoomId, WaitingRoom>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<Unavailable>,
    /// Number of events that were given up. The next dead letter gets this number, which determines its
    /// [`slot`].
    #[serde(default)]
    pub dead: u64,
}

/// Room whose events wait for delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingRoom {
    /// Oldest undelivered event of the room.
    pub from: Cursor,
    /// Number of failed attempts for the oldest event.
    pub attempts: u32,
    /// Time of the first failed attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixMs>,
    /// Time of the next attempt.
    pub next: UnixMs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// State of an endpoint that does not answer: nothing is sent before `next`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unavailable {
    pub since: UnixMs,
    /// Number of failed attempts since `since`.
    pub attempts: u32,
    pub next: UnixMs,
    pub error: String,
}

/// Record of an event that was given up, with a copy of the event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Number of the dead letter at its endpoint. Each dead letter gets the next higher number.
    pub number: u64,
    /// Event as API clients receive it.
    pub event: Value,
    pub attempts: u32,
    pub error: String,
    /// Time at which the event was given up.
    pub at: UnixMs,
}

/// Decision to give up an event, before the copy of the event is added to it.
#[derive(Debug, Clone, PartialEq)]
pub struct AbandonedEvent {
    pub number: u64,
    pub cursor: Cursor,
    pub attempts: u32,
    pub error: String,
}

/// Returns the slot of a dead letter. A dead letter replaces the one whose number is lower by
/// [`MOST_DEAD_LETTERS`].
pub fn slot(number: u64) -> u64 {
    number % MOST_DEAD_LETTERS
}

/// Error for a replay from a cursor that is ahead of the webhook's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is ahead of {cursor}, up to which this webhook has read the ledger")]
pub struct AheadOfCursor {
    pub cursor: Cursor,
}

/// Returns the state from which every event after `after` is delivered again. Undelivered events are sent
/// without waiting for the time of their next attempt.
///
/// # Errors
/// `after` is ahead of the state: events after it have not been delivered yet.
pub fn replayed(state: &EndpointState, after: Cursor) -> Result<EndpointState, AheadOfCursor> {
    if after > state.cursor {
        return Err(AheadOfCursor { cursor: state.cursor });
    }
    // A room whose oldest undelivered event is not after the cursor keeps its progress. The events of other
    // rooms are read again after the cursor.
    let waiting = state.waiting.iter().filter(|(_, room)| room.from <= after);
    let waiting = waiting.map(|(id, room)| (id.clone(), WaitingRoom { next: UnixMs(0), ..room.clone() }));
    Ok(EndpointState { cursor: after, waiting: waiting.collect(), unavailable: None, dead: state.dead })
}

fn shortened(error: &str) -> String {
    error.chars().take(MOST_ERROR_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_takes_types_and_rooms() {
        let filter = |types: &[&str], rooms: &[&str]| WebhookFilter {
            types: types.iter().map(ToString::to_string).collect(),
            rooms: rooms.iter().map(ToString::to_string).collect(),
        };
        let demo = RoomId::new("demo").unwrap();
        for (types, rooms, taken) in [
            (&[][..], &[][..], true),
            (&["room_ended", "room_started"], &[], true),
            (&["room_ended"], &[], false),
            (&[], &["other", "de*"], true),
            (&[], &["*"], true),
            (&[], &["dem"], false),
            (&["room_started"], &["other"], false),
        ] {
            assert_eq!(filter(types, rooms).takes(&demo, "room_started"), taken, "{types:?} {rooms:?}");
        }
    }

    #[test]
    fn replay_keeps_older_waiting_rooms() {
        let waiting = |revision, attempts| WaitingRoom {
            from: Cursor { revision, index: 0 },
            attempts,
            since: None,
            next: UnixMs(0),
            error: None,
        };
        let room = |id: &str| RoomId::new(id).unwrap();
        let state = EndpointState {
            cursor: Cursor { revision: 9, index: 0 },
            waiting: [(room("old"), waiting(3, 4)), (room("new"), waiting(7, 1))].into(),
            unavailable: None,
            dead: 2,
        };
        let after = Cursor { revision: 5, index: 0 };
        let again = replayed(&state, after).unwrap();
        assert_eq!((again.cursor, again.dead), (after, 2));
        assert_eq!(again.waiting, [(room("old"), waiting(3, 4))].into());
        assert!(replayed(&state, Cursor { revision: 9, index: 1 }).is_err());
    }

    #[test]
    fn schedule_fits_into_least_retention() {
        let longest: Duration = RETRY_DELAYS.iter().map(|delay| delay.mul_f64(1.1)).sum();
        assert!(longest > Duration::from_secs(72 * 3600) && longest < LEAST_RETENTION);
    }

    #[test]
    fn state_reads_back_with_fewer_fields() {
        let state: EndpointState = serde_json::from_str(r#"{"cursor":"42.1","later":1}"#).unwrap();
        assert_eq!(state.cursor, Cursor { revision: 42, index: 1 });
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(text, r#"{"cursor":"42.1","waiting":{},"dead":0}"#);
    }
}

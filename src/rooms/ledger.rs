//! This node's copy of the event ledger, which all its readers share.
//!
//! A reader is only a position ([`Cursor`]) in the copy, so a slow reader needs no memory. Owns: the copy and
//! its order. Does not watch (a `CopyWatch` actor updates it), or write events.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::domain::events::{Cursor, EventId, EventRecord, EventType, expired};
use crate::domain::ids::{RoomId, UnixMs};
use crate::domain::keys;
use crate::domain::recording_details::RoomEvent;
use crate::store::{KeyValue, Revision, StoreError, Txn, TxnOutcome};

use super::{RoomError, RoomService, StoreCopy, now};

/// Maximum number of events deleted by one transaction, which may have 128 operations.
const DELETED_AT_ONCE: usize = 100;
/// Maximum number of events that one read examines, so that a filter without matches does not block others.
const EXAMINED: usize = 10_000;

/// Maximum number of readers of one node that wait for events.
const MOST_READERS: usize = 100;

/// Event as readers get it.
#[derive(Debug, PartialEq, Eq)]
pub struct LedgerEvent {
    pub id: EventId,
    pub cursor: Cursor,
    pub key: String,
    pub room: RoomId,
    pub kind: String,
    pub time: UnixMs,
    /// Event in the JSON form that users get.
    pub json: Bytes,
}

/// Selection of events.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    pub room: Option<RoomId>,
    pub kind: Option<EventType>,
}

/// Events after a cursor, in order.
#[derive(Debug, Clone)]
pub struct EventPage {
    pub events: Vec<Arc<LedgerEvent>>,
    /// Cursor from which the next read continues.
    pub next: Cursor,
    /// True if the ledger continues after `next`.
    pub more: bool,
    /// Cursor of the oldest event in the ledger.
    pub oldest: Option<Cursor>,
}

/// State of the copy, for readers that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LedgerState {
    /// Store revision that the copy has reached; `None` before the first complete list.
    pub revision: Option<Revision>,
    /// True if the node is stopping; readers then stop waiting.
    pub closed: bool,
}

/// Copy of the ledger.
pub struct Ledger {
    events: Mutex<Events>,
    state: watch::Sender<LedgerState>,
    readers: Arc<Semaphore>,
}

#[derive(Default)]
struct Events {
    /// Keys are ordered like the ledger.
    all: BTreeMap<Cursor, Arc<LedgerEvent>>,
    by_key: HashMap<String, Cursor>,
    /// New copy while a list is in progress.
    listing: Option<BTreeMap<Cursor, Arc<LedgerEvent>>>,
}

impl LedgerEvent {
    /// Parses an entry of the store. Returns `None` if its key or its value cannot be parsed.
    pub fn parse(entry: &KeyValue) -> Option<Self> {
        let (room, id) = keys::parse_event(&entry.key)?;
        let record: EventRecord = serde_json::from_slice(&entry.value).ok()?;
        let cursor = Cursor { revision: entry.mod_revision, index: id.index() };
        let json = record.public(&id, &room, cursor).to_string().into();
        let EventRecord { kind, time, .. } = record;
        Some(Self { id, cursor, key: entry.key.clone(), room, kind, time, json })
    }

    /// Returns the event with its data; `None` if this version does not know its type.
    fn parsed(&self) -> Option<RoomEvent> {
        let kind = EventType::parse(&self.kind)?;
        let mut public: Value = serde_json::from_slice(&self.json).ok()?;
        Some(RoomEvent { kind, time: self.time, data: public["data"].take() })
    }
}

impl EventFilter {
    fn takes(&self, event: &LedgerEvent) -> bool {
        self.room.as_ref().is_none_or(|room| *room == event.room)
            && self.kind.is_none_or(|kind| kind.as_str() == event.kind)
    }
}

impl Default for Ledger {
    fn default() -> Self {
        let readers = Arc::new(Semaphore::new(MOST_READERS));
        Self { events: Mutex::default(), state: watch::Sender::default(), readers }
    }
}

impl Ledger {
    /// Returns at most `limit` events after `after`.
    pub fn after(&self, after: Cursor, filter: &EventFilter, limit: usize) -> EventPage {
        let events = self.lock();
        let (mut next, mut page, mut more) = (after, Vec::new(), false);
        for (examined, (cursor, event)) in
            events.all.range((Bound::Excluded(after), Bound::Unbounded)).enumerate()
        {
            if page.len() == limit || examined == EXAMINED {
                more = true;
                break;
            }
            next = *cursor;
            if filter.takes(event) {
                page.push(event.clone());
            }
        }
        EventPage { events: page, next, more, oldest: events.all.keys().next().copied() }
    }

    /// Returns the newest events that match the filter, at most `limit`, the newest first. Examines only the
    /// newest [`EXAMINED`] events.
    pub fn latest(&self, filter: &EventFilter, limit: usize) -> Vec<Arc<LedgerEvent>> {
        let events = self.lock();
        let newest = events.all.values().rev().take(EXAMINED);
        newest.filter(|event| filter.takes(event)).take(limit).cloned().collect()
    }

    /// Returns all events of a room in the ledger, in order. Events of unknown types are left out.
    pub fn of_room(&self, room: &RoomId) -> Vec<RoomEvent> {
        let kept: Vec<_> = {
            let events = self.lock();
            events.all.values().filter(|event| event.room == *room).cloned().collect()
        };
        kept.iter().filter_map(|event| event.parsed()).collect()
    }

    /// Returns the event at a cursor, if the copy has it.
    pub fn get(&self, cursor: Cursor) -> Option<Arc<LedgerEvent>> {
        self.lock().all.get(&cursor).cloned()
    }

    /// Returns the cursor of the newest event; reading after it gives only later events.
    pub fn end(&self) -> Cursor {
        self.lock().all.keys().next_back().copied().unwrap_or_default()
    }

    /// Returns the permit of a reader that waits for events; `None` if the node already has the maximum
    /// number.
    pub fn reader(&self) -> Option<OwnedSemaphorePermit> {
        self.readers.clone().try_acquire_owned().ok()
    }

    /// Subscribes to changes of the copy.
    pub fn state(&self) -> watch::Receiver<LedgerState> {
        self.state.subscribe()
    }

    /// Ends all readers that wait, because the node stops.
    pub fn close(&self) {
        self.state.send_modify(|state| state.closed = true);
    }

    /// Returns the keys of the expired events, oldest first.
    fn expired(&self, now: UnixMs, retention: Duration) -> Vec<String> {
        let events = self.lock();
        let count = expired(events.all.values().map(|event| event.time), now, retention);
        events.all.values().take(count).map(|event| event.key.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        // No code that can panic runs under the lock, and each change is complete in itself.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreCopy for Ledger {
    const WATCH: &'static str = "ledger_watch";
    const PREFIX: &'static str = keys::EVENTS;
    const RELIST_EVERY: Duration = Duration::from_secs(600);

    fn begin_list(&self) {
        self.lock().listing = Some(BTreeMap::new());
    }

    fn put(&self, entry: &KeyValue) -> bool {
        let mut events = self.lock();
        // A repeated list contains mostly events that the copy already has.
        let known = events.by_key.get(&entry.key).and_then(|cursor| events.all.get(cursor)).cloned();
        let known = known.filter(|known| known.cursor.revision == entry.mod_revision);
        let Some(event) = known.or_else(|| LedgerEvent::parse(entry).map(Arc::new)) else { return false };
        match &mut events.listing {
            Some(listing) => drop(listing.insert(event.cursor, event)),
            None => events.insert(event),
        }
        true
    }

    fn delete(&self, key: &str) {
        let mut events = self.lock();
        if let Some(cursor) = events.by_key.remove(key) {
            events.all.remove(&cursor);
        }
    }

    fn end_list(&self, revision: Revision) {
        let mut events = self.lock();
        if let Some(listed) = events.listing.take() {
            events.by_key = listed.values().map(|event| (event.key.clone(), event.cursor)).collect();
            events.all = listed;
        }
        drop(events);
        self.reached(revision);
    }

    /// Wakes the readers.
    fn reached(&self, revision: Revision) {
        self.state.send_if_modified(|state| {
            let changed = state.revision != Some(revision);
            state.revision = Some(revision);
            changed
        });
    }

    fn observed(&self) -> Map<String, Value> {
        Map::from_iter([("end".to_owned(), self.end().to_string().into())])
    }
}

impl Events {
    fn insert(&mut self, event: Arc<LedgerEvent>) {
        if let Some(before) = self.by_key.insert(event.key.clone(), event.cursor) {
            self.all.remove(&before);
        }
        self.all.insert(event.cursor, event);
    }
}

impl RoomService {
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Deletes the expired events. Returns their number.
    ///
    /// # Errors
    /// The store does not answer; the next call deletes the rest.
    pub async fn prune_events(&self, retention: Duration) -> Result<usize, RoomError> {
        let expired = self.ledger.expired(now(), retention);
        for keys in expired.chunks(DELETED_AT_ONCE) {
            let txn = keys.iter().fold(Txn::new(), |txn, key| txn.delete(key));
            if self.store.txn(txn).await? == TxnOutcome::Conflict {
                // A transaction without conditions has no conflicts.
                return Err(StoreError::Rejected("events could not be deleted".into()).into());
            }
        }
        Ok(expired.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_follows_list_and_changes() {
        let ledger = Ledger::default();
        ledger.begin_list();
        ledger.put(&entry("demo", 1, 0, 7));
        ledger.put(&entry("demo", 1, 1, 7));
        ledger.put(&entry("other", 2, 0, 5));
        assert_eq!(cursors(&ledger, "0"), Vec::<String>::new(), "the list is not complete");
        ledger.end_list(9);
        assert_eq!(cursors(&ledger, "0"), ["5.0", "7.0", "7.1"]);
        ledger.put(&entry("demo", 3, 0, 12));
        assert_eq!(cursors(&ledger, "7.0"), ["7.1", "12.0"]);
        ledger.delete(&entry("demo", 1, 0, 7).key);
        ledger.begin_list();
        ledger.put(&entry("demo", 3, 0, 12));
        ledger.end_list(12);
        assert_eq!(cursors(&ledger, "0"), ["12.0"]);
    }

    #[test]
    fn pages_are_bounded_and_continue() {
        let ledger = Ledger::default();
        for revision in 1..=5 {
            ledger.put(&entry(if revision == 3 { "other" } else { "demo" }, revision as u128, 0, revision));
        }
        let of_demo = EventFilter { room: RoomId::new("demo").ok(), kind: Some(EventType::RoomCreated) };
        let first = ledger.after(Cursor::default(), &of_demo, 2);
        assert_eq!((first.events.len(), first.next.to_string(), first.more), (2, "2.0".into(), true));
        let rest = ledger.after(first.next, &of_demo, 10);
        assert_eq!((rest.events.len(), rest.next.to_string(), rest.more), (2, "5.0".into(), false));
        let latest: Vec<_> =
            ledger.latest(&of_demo, 2).iter().map(|event| event.cursor.to_string()).collect();
        assert_eq!(latest, ["5.0", "4.0"]);
        let other = EventFilter { kind: Some(EventType::RoomEnded), ..of_demo };
        assert_eq!(ledger.after(Cursor::default(), &other, 10).events.len(), 0);
    }

    fn cursors(ledger: &Ledger, after: &str) -> Vec<String> {
        let page = ledger.after(after.parse().unwrap(), &EventFilter::default(), 100);
        page.events.iter().map(|event| event.cursor.to_string()).collect()
    }

    fn entry(room: &str, id: u128, index: u8, mod_revision: Revision) -> KeyValue {
        let id = crate::domain::events::EventId::new(id, index);
        let key = keys::event(&RoomId::new(room).unwrap(), &id);
        let value = r#"{"type":"room_created","time":1,"data":{}}"#.into();
        KeyValue { key, value, mod_revision, lease: None }
    }
}

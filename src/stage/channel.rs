//! Buffer and copy of the stage of one room on this node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;

use super::encode::{self, Entry, Surroundings};
use super::subscription::{SubscriptionEnd, Viewer};
use crate::domain::ids::{UnixMs, UserId};
use crate::domain::roles::RoomRole;
use crate::domain::stage::{
    ApplyOutcome, Event, HistoryId, PersonId, Position, Reaction, RereadOutcome, Stage, StageCopy,
};
use crate::domain::view::Users;
use crate::presence::stage::StageKey;

/// Maximum number of entries in a buffer. A client that falls further behind is disconnected, and gets a new
/// snapshot when it reconnects.
const MAX_ENTRIES: usize = 1024;
/// Maximum number of bytes of server-sent events in a buffer. If the room has clients with WebSockets, their
/// frames take about as many bytes again.
const MAX_BYTES: usize = 512 * 1024;

pub struct Channel {
    pub key: StageKey,
    /// Serializes this node's commands, which would otherwise conflict in the store.
    pub turn: Semaphore,
    inner: Mutex<Inner>,
}

pub struct Inner {
    pub copy: StageCopy,
    pub around: Surroundings,
    /// Users of the room, with their bans.
    pub users: Arc<Users>,
    /// Reactions received by this node and not passed on yet.
    pub counted: BTreeMap<Reaction, u32>,
    /// Reactions of all nodes that are not shown yet.
    pub heard: BTreeMap<Reaction, u32>,
    /// True if speaking times have changed since they were last sent to clients.
    pub spoke: bool,
    entries: VecDeque<BufferedEntry>,
    /// Position of the first entry.
    first: u64,
    bytes: usize,
    snapshot: Option<Entry>,
    wakers: Vec<Waker>,
    /// Number of wake-ups so far. A subscriber registers its waker once after each wake-up.
    pub generation: u64,
    pub subscribers: usize,
    pub idle_since: Duration,
    /// Reason why the channel is closed; `None` while it is open.
    pub closed: Option<SubscriptionEnd>,
}

struct BufferedEntry {
    entry: Entry,
    /// Version of the stage after this entry; `None` if the entry is not an event of the stage.
    version: Option<u64>,
}

/// Result of reading the buffer from a position.
pub enum ReadOutcome {
    Bytes(Bytes),
    Nothing,
    /// The channel is closed, or the position has left the buffer.
    End(SubscriptionEnd),
}

/// Returns a history that no stage has.
pub fn new_history() -> HistoryId {
    HistoryId(format!("{:016x}", rand::random::<u64>()))
}

impl Channel {
    pub fn new(key: StageKey, stage: Option<Stage>, history: HistoryId, around: Surroundings) -> Self {
        let inner = Inner {
            copy: StageCopy::new(stage, history),
            around,
            users: Arc::default(),
            counted: BTreeMap::new(),
            heard: BTreeMap::new(),
            spoke: false,
            entries: VecDeque::new(),
            first: 0,
            bytes: 0,
            snapshot: None,
            wakers: Vec::new(),
            generation: 0,
            subscribers: 0,
            idle_since: Duration::ZERO,
            closed: None,
        };
        Self { key, turn: Semaphore::new(1), inner: Mutex::new(inner) }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        // A poisoned lock is usable: at worst an entry is missing, which a snapshot corrects.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `fill` under the lock. Afterwards wakes all subscribers if it appended entries or the channel is
    /// closed.
    pub fn publish(&self, fill: impl FnOnce(&mut Inner)) {
        let wakers = {
            let mut inner = self.lock();
            let end = inner.end();
            fill(&mut inner);
            if inner.end() == end && inner.closed.is_none() {
                return;
            }
            inner.generation += 1;
            std::mem::take(&mut inner.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Applies `events`. `version`: version of the stage after these events.
    pub fn changed(&self, history: &HistoryId, version: u64, events: &[Event]) -> ApplyOutcome {
        let mut applied = ApplyOutcome::Old;
        self.publish(|inner| applied = inner.changed(history, version, events));
        applied
    }

    /// Takes over the stage that was read from the store. `since`: position of the copy when the read began.
    pub fn reread(&self, stage: Option<Stage>, since: &Position, now: UnixMs) -> RereadOutcome {
        let mut outcome = RereadOutcome::Kept;
        self.publish(|inner| {
            outcome = inner.copy.reread(stage, since);
            if outcome == RereadOutcome::Taken {
                inner.snapshot = None;
                let (entry, version) = (inner.snapshot(now), inner.copy.stage().version);
                // The entry is a snapshot of this version, so a client whose last event is older cannot
                // continue after that event. Such a client gets a snapshot instead.
                inner.push(entry, Some(version));
            }
        });
        outcome
    }
}

impl Inner {
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub fn push(&mut self, entry: Entry, version: Option<u64>) {
        self.bytes += entry.len();
        self.entries.push_back(BufferedEntry { entry, version });
        while self.entries.len() > MAX_ENTRIES || (self.bytes > MAX_BYTES && self.entries.len() > 1) {
            let oldest = self.entries.pop_front();
            self.bytes -= oldest.map_or(0, |oldest| oldest.entry.len());
            self.first += 1;
        }
    }

    /// Appends an entry that shows a part of the surroundings, which are part of every snapshot too.
    pub fn show(&mut self, entry: Entry) {
        self.snapshot = None;
        self.push(entry, None);
    }

    fn changed(&mut self, history: &HistoryId, version: u64, events: &[Event]) -> ApplyOutcome {
        let outcome = self.copy.hear(history, version, events);
        if outcome == ApplyOutcome::Yes {
            let first = version + 1 - events.len() as u64;
            for (version, event) in (first..).zip(events) {
                self.push(encode::event(history, version, event), Some(version));
            }
            self.snapshot = None;
        }
        outcome
    }

    fn snapshot(&mut self, now: UnixMs) -> Entry {
        let (stage, around) = (self.copy.stage(), &self.around);
        self.snapshot.get_or_insert_with(|| encode::snapshot(stage, around, now)).clone()
    }

    /// Returns the first bytes for a subscriber, and the position from which it continues. `last` is the last
    /// event that its client has.
    pub fn begin(&mut self, last: Option<(HistoryId, u64)>, viewer: Viewer, now: UnixMs) -> (Bytes, u64) {
        if let Some((_, version)) = last.filter(|(history, _)| *history == self.copy.stage().history)
            && let Some(missed) = self.since(version, viewer)
        {
            // The surroundings have no version, so they are sent in full.
            let around = &self.around;
            let mut bytes = BytesMut::from(&missed[..]);
            for entry in [
                encode::room(&around.room, now),
                encode::members(&around.members, now),
                encode::talking(&around.talking, now),
                encode::bans(&around.bans, now),
                encode::spoken(&around.spoken, now),
            ] {
                bytes.extend_from_slice(viewer.of(&entry));
            }
            return (bytes.freeze(), self.end());
        }
        (viewer.of(&self.snapshot(now)).clone(), self.end())
    }

    /// Returns the events of the stage after `version`; `None` if some of them are not in the buffer.
    fn since(&self, version: u64, viewer: Viewer) -> Option<Bytes> {
        let mut bytes = BytesMut::new();
        let mut next = version.checked_add(1).filter(|_| version <= self.copy.stage().version)?;
        for BufferedEntry { entry, version } in &self.entries {
            match version {
                Some(version) if *version == next => {
                    bytes.extend_from_slice(viewer.of(entry));
                    next += 1;
                }
                // This entry is a snapshot that replaced events.
                Some(version) if *version > next => return None,
                _ => {}
            }
        }
        (next == self.copy.stage().version + 1).then(|| bytes.freeze())
    }

    /// Returns the bytes from `position` on, and moves `position` to the end of the buffer. If it returns
    /// [`ReadOutcome::Nothing`], the caller must register a waker.
    pub fn next(&mut self, position: &mut u64, viewer: Viewer) -> ReadOutcome {
        if *position < self.first {
            return ReadOutcome::End(SubscriptionEnd::TooSlow);
        }
        let from = usize::try_from(*position - self.first).unwrap_or(usize::MAX);
        *position = self.end();
        let mut waiting = self.entries.iter().skip(from).map(|waiting| viewer.of(&waiting.entry));
        match (waiting.next(), waiting.len()) {
            (None, _) => self.closed.map_or(ReadOutcome::Nothing, ReadOutcome::End),
            (Some(only), 0) => ReadOutcome::Bytes(only.clone()),
            (Some(first), _) => {
                let mut bytes = BytesMut::from(&first[..]);
                waiting.for_each(|more| bytes.extend_from_slice(more));
                ReadOutcome::Bytes(bytes.freeze())
            }
        }
    }

    pub fn is_banned(&self, user: Option<&UserId>) -> bool {
        user.and_then(|user| self.users.get(user)).is_some_and(|user| user.is_banned())
    }

    /// Returns the role that was given to a user in the room.
    pub fn assigned(&self, user: Option<&UserId>) -> Option<RoomRole> {
        self.users.get(user?)?.assigned
    }

    /// Returns the banned people whose hands are raised.
    pub fn banned_hands(&self) -> Vec<PersonId> {
        let people = self.copy.stage().hands.iter().map(|hand| &hand.person);
        let banned = people.filter(|person| self.is_banned(person.subject.as_ref()));
        banned.map(|person| person.id.clone()).collect()
    }

    pub fn register(&mut self, waker: Waker) {
        self.wakers.push(waker);
    }

    /// Returns the people who talk and are still members.
    pub fn talking_members(&self) -> BTreeSet<PersonId> {
        let is_member = |id: &_| self.around.members.iter().any(|member| member.id == *id);
        self.around.talking.iter().filter(|id| is_member(id)).cloned().collect()
    }
}

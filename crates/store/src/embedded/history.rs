//! The recent history, for watches. This module is pure.
//!
//! Owns: a ring of commits, bounded by events and by bytes. A watcher stores only its position in the ring,
//! so a slow watcher needs no additional memory. A watcher whose position is no longer in the ring must list
//! again. Does not block or slow the writer for a watcher.

use std::collections::VecDeque;

use super::keyspace::Commit;
use crate::{Revision, WatchEvent};

/// Memory, in bytes, that one event needs in addition to its key and value, for the structures around them.
const EVENT_OVERHEAD: usize = 96;
/// Approximate number of events in one read, for readers that are far behind.
const PORTION: usize = 1_000;

pub(super) struct History {
    ring: VecDeque<Commit>,
    /// Every commit after this revision is in the ring.
    floor: Revision,
    events: usize,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
}

/// Result of a read from a position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HistoryRead {
    /// Events of whole transactions, complete up to `through`, which may be the newest revision.
    Events { events: Vec<WatchEvent>, through: Revision },
    /// The ring no longer holds every event from the position on.
    Forgotten,
}

impl History {
    /// Creates an empty history. Revisions up to `floor` cannot be read.
    pub fn starting_after(floor: Revision, max_events: usize, max_bytes: usize) -> Self {
        Self { ring: VecDeque::new(), floor, events: 0, bytes: 0, max_events, max_bytes }
    }

    /// Adds a commit, and removes the oldest commits while a limit is exceeded.
    pub fn push(&mut self, commit: Commit) {
        self.events += commit.events.len();
        self.bytes += size(&commit);
        self.ring.push_back(commit);
        while self.events > self.max_events || self.bytes > self.max_bytes {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.events -= oldest.events.len();
            self.bytes -= size(&oldest);
            self.floor = oldest.revision;
        }
    }

    /// Returns true if every event from revision `from` on is in the ring.
    pub fn remembers(&self, from: Revision) -> bool {
        from > self.floor
    }

    /// Returns the events under `prefix` from revision `from` on, about [`PORTION`] of them at most.
    pub fn read(&self, prefix: &str, from: Revision) -> HistoryRead {
        if !self.remembers(from) {
            return HistoryRead::Forgotten;
        }
        let start = self.ring.partition_point(|commit| commit.revision < from);
        let mut events = Vec::new();
        let mut through = self.ring.back().map_or(self.floor, |newest| newest.revision).max(from - 1);
        for commit in self.ring.range(start..) {
            if events.len() >= PORTION {
                through = commit.revision - 1;
                break;
            }
            events.extend(commit.events.iter().filter(|e| key_of(e).starts_with(prefix)).cloned());
        }
        HistoryRead::Events { events, through }
    }
}

fn size(commit: &Commit) -> usize {
    let payload = |event: &WatchEvent| match event {
        WatchEvent::Put(kv) => kv.key.len() + kv.value.len(),
        WatchEvent::Delete { key } => key.len(),
    };
    commit.events.iter().map(|event| payload(event) + EVENT_OVERHEAD).sum()
}

fn key_of(event: &WatchEvent) -> &str {
    match event {
        WatchEvent::Put(kv) => &kv.key,
        WatchEvent::Delete { key } => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deletes(revision: Revision, count: usize) -> Commit {
        let events = (0..count).map(|n| WatchEvent::Delete { key: format!("/k/{n}") }).collect();
        Commit { revision, events }
    }

    fn read(history: &History, from: Revision) -> Option<(usize, Revision)> {
        match history.read("/k/", from) {
            HistoryRead::Events { events, through } => Some((events.len(), through)),
            HistoryRead::Forgotten => None,
        }
    }

    #[test]
    fn history_drops_oldest_commits() {
        let mut history = History::starting_after(10, 3, usize::MAX);
        assert_eq!(read(&history, 11), Some((0, 10)));
        assert_eq!(read(&history, 10), None);
        history.push(deletes(11, 2));
        history.push(deletes(12, 2));
        assert_eq!(read(&history, 11), None, "four events do not fit, so revision 11 was removed");
        assert_eq!(read(&history, 12), Some((2, 12)));
    }

    #[test]
    fn history_is_bounded_by_bytes() {
        let mut history = History::starting_after(0, usize::MAX, 3 * (EVENT_OVERHEAD + 4));
        for revision in 1..=5 {
            history.push(deletes(revision, 1));
        }
        assert_eq!(read(&history, 2), None);
        assert_eq!(read(&history, 3), Some((3, 5)));
    }

    #[test]
    fn history_reads_whole_transactions_in_portions() {
        let mut history = History::starting_after(0, usize::MAX, usize::MAX);
        for revision in 1..=4 {
            history.push(deletes(revision, 600));
        }
        assert_eq!(read(&history, 1), Some((1200, 2)));
        assert_eq!(read(&history, 3), Some((1200, 4)));
        assert_eq!(read(&history, 5), Some((0, 4)));
    }

    #[test]
    fn history_accepts_future_revision() {
        let history = History::starting_after(4, 10, 10_000);
        assert_eq!(read(&history, 9), Some((0, 8)));
    }
}

//! Writes of one presence entry, one at a time, so that the newest value is written last.
//!
//! Owns the desired entry and the queued writes. Does not use the connection.

use super::values::{Effect, Unavailable, Waiter};
use crate::connection::{FencingToken, JoinOutcome};
use crate::presence_entry::PresenceEntry;

/// Presence entry of a session, with the write in progress and the queued writes.
#[derive(Debug, Default)]
pub(super) struct EntryWriter {
    /// Desired entry; `None`: the room should have no entry of the user.
    entry: Option<PresenceEntry>,
    writing: Option<Write>,
    /// The entry is to be removed after the write in progress.
    leaving: bool,
    /// Entry to add next.
    enter: Option<Enter>,
    /// The entry has changed since its newest write began.
    changed: bool,
    /// Waiters of the next update.
    waiting: Vec<Waiter>,
}

#[derive(Debug)]
enum Write {
    Enter(Enter),
    Update(Vec<Waiter>),
}

#[derive(Debug)]
struct Enter {
    entry: PresenceEntry,
    max_anchors: usize,
    waiters: Vec<Waiter>,
}

impl EntryWriter {
    /// Queues a write that adds an entry. An earlier desired entry is replaced when presence has accepted the
    /// new one.
    pub fn enter(&mut self, entry: PresenceEntry, max_anchors: usize, waiter: Waiter) {
        self.enter = Some(Enter { entry, max_anchors, waiters: vec![waiter] });
    }

    /// Queues a write that adds the entry again. Returns false if there is no desired entry, or if it is to
    /// be removed.
    pub fn enter_again(&mut self, max_anchors: usize, waiter: Waiter) -> bool {
        let Some(entry) = self.entry.clone().filter(|_| !self.leaving) else { return false };
        match &mut self.enter {
            Some(enter) => enter.waiters.push(waiter),
            None => self.enter(entry, max_anchors, waiter),
        }
        true
    }

    /// Sets a newer fencing token for later writes of the entry. An entry that is being removed keeps its
    /// token, so that a delayed removal cannot remove an entry that is added later.
    pub fn renew_token(&mut self, token: FencingToken) {
        if let Some(entry) = self.entry.as_mut().filter(|_| !self.leaving) {
            entry.token = token;
        }
    }

    /// Changes the entry and queues its write. Returns false if there is no desired entry, or if it is to be
    /// removed.
    pub fn update(&mut self, waiter: Option<Waiter>, change: impl FnOnce(&mut PresenceEntry)) -> bool {
        let Some(entry) = self.entry.as_mut().filter(|_| !self.leaving) else { return false };
        change(entry);
        self.changed = true;
        self.waiting.extend(waiter);
        true
    }

    /// Removes the entry after the write in progress. Returns true if an entry may exist, and the waiters of
    /// the writes that are dropped.
    pub fn leave(&mut self) -> (bool, Vec<Waiter>) {
        let present = self.entry.is_some() || self.writing.is_some();
        self.leaving |= present;
        (present, self.discard())
    }

    /// Discards the queued writes. Returns their waiters.
    pub fn discard(&mut self) -> Vec<Waiter> {
        self.changed = false;
        let mut waiters = std::mem::take(&mut self.waiting);
        waiters.extend(self.enter.take().into_iter().flat_map(|enter| enter.waiters));
        waiters
    }

    /// Begins the next write and returns its effect. `None` if a write is in progress, or none is needed.
    pub fn next(&mut self) -> Option<Effect> {
        if self.writing.is_some() {
            return None;
        }
        if std::mem::take(&mut self.leaving)
            && let Some(entry) = self.entry.take()
        {
            return Some(Effect::LeavePresence { token: entry.token, leave: true, release: false });
        }
        if let Some(enter) = self.enter.take() {
            let (entry, max_anchors) = (enter.entry.clone(), enter.max_anchors);
            self.writing = Some(Write::Enter(enter));
            return Some(Effect::Enter { entry, max_anchors });
        }
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let entry = self.entry.clone()?;
        self.writing = Some(Write::Update(std::mem::take(&mut self.waiting)));
        Some(Effect::Update(entry))
    }

    /// Takes the result of [`Effect::Enter`]. Returns the tasks that waited for it.
    pub fn entered(&mut self, outcome: Result<JoinOutcome, Unavailable>) -> Vec<Waiter> {
        let Some(Write::Enter(enter)) = self.writing.take() else { return Vec::new() };
        if outcome == Ok(JoinOutcome::Ok) && enter.waiters.contains(&Waiter::Join) {
            self.entry = Some(enter.entry);
        }
        enter.waiters
    }

    /// Records that the update has ended. Returns the tasks that waited for it. A failed update is not
    /// repeated: the next update, for example after a keepalive, writes the whole entry.
    pub fn updated(&mut self) -> Vec<Waiter> {
        match self.writing.take() {
            Some(Write::Update(waiters)) => waiters,
            _ => Vec::new(),
        }
    }

    /// Returns true while a write is in progress.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Returns true if the entry is to be removed after the write in progress.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }
}

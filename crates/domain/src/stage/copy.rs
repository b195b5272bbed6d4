//! Copy of a stage on one node, which follows the stage in the store.
//!
//! ```text
//! command ── attempt ── Proposal ──▶ store ── written ──▶ events to all nodes ── hear ──▶ copy
//!               │                      │                                          │
//!               └──── attempt_on ◀─── conflict: read                  gap: read ──┴── reread
//! ```
//! The store compares history and version before it writes, so the writes of all nodes are in one order.
//! Nodes whose copies have the same history and version have the same stage, unless the store lost data: then
//! some nodes have seen events that the store no longer has. A node that notices this writes its own copy
//! under a new history. So no two different stages get the same history and version, and all other nodes read
//! the stage again.
//!
//! Owns these rules. Never reads or writes the store.

use super::{Command, Event, HistoryId, Person, Refusal, Stage};
use crate::ids::UnixMs;

/// Copy of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageCopy {
    stage: Stage,
    /// True if the store has the stage, according to the latest read or to later events.
    stored: bool,
}

/// Position of a copy: its history and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub history: HistoryId,
    pub version: u64,
}

/// Result of events that a node has received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// The events were applied.
    Yes,
    /// The events are known already.
    Old,
    /// Events before these are missing: read the stage again.
    Gap,
}

/// Result of reading the stage again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RereadOutcome {
    /// The copy has changed.
    Taken,
    Kept,
    /// The copy moved to another history during the read, so it is not known which stage is newer: read it
    /// once more.
    Again,
}

/// Stage on which a command is decided.
#[derive(Debug, Clone)]
pub struct Attempt {
    base: Stage,
    /// Position that the store must have for the write; `None`: the store must have no stage.
    expected: Option<Position>,
    /// History of the written stage if the store has lost data; otherwise that of `base` goes on.
    restored_as: Option<HistoryId>,
}

/// Write that carries out a command: succeeds only if the store has the stage `expected`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    pub expected: Option<Position>,
    pub stage: Stage,
    pub events: Vec<Event>,
}

impl StageCopy {
    /// Begins a copy with the stage that was read; if there is none, with an empty stage of this history.
    pub fn new(read: Option<Stage>, history: HistoryId) -> Self {
        Self { stored: read.is_some(), stage: read.unwrap_or_else(|| Stage::new(history)) }
    }

    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    pub fn position(&self) -> Position {
        Position::of(&self.stage)
    }

    /// Applies events from the store. `version`: version of the stage after these events.
    pub fn hear(&mut self, history: &HistoryId, version: u64, events: &[Event]) -> ApplyOutcome {
        let mine = &self.stage;
        // The store had no stage, so this node began a history of its own. Meanwhile another node has written
        // the first events.
        if mine.history != *history && mine.version == 0 && version == events.len() as u64 {
            self.stage = Stage::new(history.clone());
        }
        if self.stage.history != *history {
            return ApplyOutcome::Gap;
        }
        if version <= self.stage.version {
            return ApplyOutcome::Old;
        }
        if self.stage.version + events.len() as u64 != version {
            return ApplyOutcome::Gap;
        }
        events.iter().for_each(|event| self.stage.fold(event));
        self.stored = true;
        ApplyOutcome::Yes
    }

    /// Takes over the stage that was read from the store. `since`: position of the copy when the read began.
    ///
    /// If the copy has not moved since then, the stage of the store is taken over, even if it is older: the
    /// store was reset to an earlier state. A store without a stage changes nothing: the next command
    /// restores the copy.
    pub fn reread(&mut self, read: Option<Stage>, since: &Position) -> RereadOutcome {
        let position = self.position();
        let moved = position != *since;
        let Some(stage) = read else {
            self.stored &= moved;
            return RereadOutcome::Kept;
        };
        if moved && stage.history != position.history {
            return RereadOutcome::Again;
        }
        self.stored = true;
        if stage == self.stage || (moved && stage.version <= position.version) {
            return RereadOutcome::Kept;
        }
        self.stage = stage;
        RereadOutcome::Taken
    }

    /// Begins a command on this copy. `fresh`: a history that nobody has.
    pub fn attempt(&self, fresh: HistoryId) -> Attempt {
        let lost = !self.stored && self.stage.version > 0;
        let expected = self.stored.then(|| self.position());
        Attempt { base: self.stage.clone(), expected, restored_as: lost.then_some(fresh) }
    }

    /// Begins a command again after a conflict. `self`: the copy when the read began. If the store has no
    /// stage, or an older one than the copy, it has lost data, and the write restores the copy.
    pub fn attempt_on(&self, read: Option<Stage>, fresh: HistoryId) -> Attempt {
        let mine = &self.stage;
        let expected = read.as_ref().map(Position::of);
        let lost = |stage: &Stage| stage.history == mine.history && stage.version < mine.version;
        match read.filter(|stage| !lost(stage)) {
            Some(base) => Attempt { base, expected, restored_as: None },
            None => Attempt { base: mine.clone(), expected, restored_as: Some(fresh) },
        }
    }
}

impl Position {
    fn of(stage: &Stage) -> Self {
        Self { history: stage.history.clone(), version: stage.version }
    }
}

impl Attempt {
    /// Decides a command. Returns `None` if it changes nothing.
    ///
    /// # Errors
    /// The command is refused.
    pub fn decide(&self, by: &Person, command: Command, now: UnixMs) -> Result<Option<Proposal>, Refusal> {
        let events = self.base.decide(by, command, now)?;
        if events.is_empty() {
            return Ok(None);
        }
        let mut stage = self.base.clone();
        if let Some(history) = &self.restored_as {
            stage.history = history.clone();
        }
        events.iter().for_each(|event| stage.fold(event));
        Ok(Some(Proposal { expected: self.expected.clone(), stage, events }))
    }
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;

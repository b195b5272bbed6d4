//! Stages of rooms, across listener nodes: one trait, two backends (`embedded_stages`, `redis`).
//!
//! A node applies a command to its copy of a stage, and writes the result only if the stored version still
//! equals that of its copy. All nodes then get the events in the order of their versions.
//! `tests/it/presence/` runs the same cases on both backends.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{EventStream, PresenceError};
use crate::domain::captions::Caption;
use crate::domain::ids::{RoomId, UnixMs};
use crate::domain::stage::{Event, HistoryId, PersonId, Reaction, SpeakingTimes, Stage};

/// Room that a stage belongs to. A later room with the same id has another stage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StageKey {
    pub room: RoomId,
    pub created_at: UnixMs,
}

/// Result of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageWrite {
    Written,
    /// The stage has changed since it was read: read it again.
    Conflict,
}

/// Message to all listener nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageMessage {
    pub room: RoomId,
    pub content: StageContent,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StageContent {
    /// Events of this history; `version` is the version of the stage after the last event.
    Changed { history: HistoryId, version: u64, events: Vec<Event> },
    /// Notification that is sent once: a node that misses the notification does not get it again. The stage
    /// store keeps nothing of these notifications except the speaking times.
    Passing(TransientEvent),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TransientEvent {
    /// Reactions that one node has counted since its last report.
    Reactions { at: UnixMs, counts: BTreeMap<Reaction, u32> },
    /// An anchor starts or stops talking.
    Talking { at: UnixMs, person: PersonId, talking: bool },
    /// Total time that a person has spoken in the room, in milliseconds.
    Spoken { at: UnixMs, person: PersonId, total_ms: u64 },
    /// Words of the anchors, as a speech recogniser understood them.
    Caption(Caption),
}

/// Stages of rooms.
#[async_trait]
pub trait StageStore: Send + Sync + 'static {
    /// Reads a stage; `None` if nothing was written for this room.
    async fn read(&self, key: &StageKey) -> Result<Option<Stage>, PresenceError>;

    /// Writes `stage`, the result of `events` on the version `expected` (`None`: on no stage), and notifies
    /// all nodes. After an error the stage may or may not have been written.
    async fn write(
        &self,
        key: &StageKey,
        expected: Option<(&HistoryId, u64)>,
        stage: &Stage,
        events: &[Event],
    ) -> Result<StageWrite, PresenceError>;

    /// Sends a notification to all nodes, this one included. Does not store it.
    async fn pass(&self, room: &RoomId, passing: &TransientEvent) -> Result<(), PresenceError>;

    /// Adds `ms` milliseconds to the speaking time of a person, and sends the total to all nodes. After an
    /// error, the time may or may not have been added.
    async fn add_speech(
        &self,
        key: &StageKey,
        person: &PersonId,
        ms: u64,
        at: UnixMs,
    ) -> Result<(), PresenceError>;

    /// Reads the time that each person has spoken.
    async fn speech(&self, key: &StageKey) -> Result<SpeakingTimes, PresenceError>;

    /// Removes the stage and the speaking times of a deleted room.
    async fn remove(&self, key: &StageKey) -> Result<(), PresenceError>;

    /// Returns the messages of all nodes. On
    /// [`PresenceEvent::LookAgain`](crate::presence::PresenceEvent::LookAgain), the caller must read the
    /// stages again. Must be called within a tokio runtime.
    fn follow(&self) -> EventStream<StageMessage>;
}

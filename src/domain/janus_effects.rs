//! What a Janus room asks for, and what it hears back: data only, no behaviour.

use std::collections::BTreeSet;

use super::ids::{Epoch, MediaAddr, Nonce, Pin, UserId};
use super::model::{ForwarderState, JanusState};
use super::plan::{Failure, WriteOutcome};

/// A room on the Janus that carries our mark for this room id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub janus_room_id: u32,
    /// The epoch it was created at.
    pub created_at: Epoch,
    pub forwarders: Option<Vec<ForwarderState>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// List what the Janus has of this room.
    Inspect,
    /// Make a room under the number `again`, if given, else under a fresh one.
    Create {
        epoch: Epoch,
        pin: Pin,
        /// Of a try whose outcome is unknown: it must not become a second room.
        again: Option<u32>,
    },
    Destroy {
        janus_room_id: u32,
    },
    ListForwarders {
        janus_room_id: u32,
    },
    /// Forward to the mixer's port. Room, nonce, epoch and target determine the SRTP key.
    StartForwarder {
        janus_room_id: u32,
        target: MediaAddr,
        epoch: Epoch,
        nonce: Nonce,
    },
    StopForwarder {
        janus_room_id: u32,
        stream_id: u64,
    },
    /// Put those of these users who are in the room out of it.
    Expel {
        janus_room_id: u32,
        users: BTreeSet<UserId>,
    },
    /// Put our key if livemeta is still at `live_revision` and the key at `key_revision` (0: absent).
    WriteKey {
        state: JanusState,
        live_revision: i64,
        key_revision: i64,
    },
    DeleteKey {
        key_revision: i64,
    },
}

impl Effect {
    /// Returns true if the effect removes something that may still be wanted.
    pub fn takes_away(&self) -> bool {
        matches!(self, Self::Destroy { .. } | Self::StopForwarder { .. } | Self::DeleteKey { .. })
    }
}

/// How an [`Effect`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Inspected(Vec<Found>),
    Created {
        janus_room_id: u32,
        epoch: Epoch,
    },
    /// No answer came, or none that tells: the room may be there, or come to be yet.
    Unanswered {
        janus_room_id: u32,
        why: String,
    },
    /// The room has our mark and another secret: nobody here can manage it.
    Locked {
        janus_room_id: u32,
    },
    /// Destroyed, or it was not there any more.
    Gone {
        janus_room_id: u32,
    },
    Forwarders {
        janus_room_id: u32,
        forwarders: Vec<ForwarderState>,
    },
    Started {
        janus_room_id: u32,
        forwarder: ForwarderState,
        /// Of its key.
        epoch: Epoch,
    },
    Stopped {
        janus_room_id: u32,
        stream_id: u64,
    },
    /// None of them is in the room any more.
    Expelled {
        janus_room_id: u32,
        users: BTreeSet<UserId>,
    },
    /// Somebody may still be there.
    NotExpelled(String),
    Key {
        value: Option<JanusState>,
        outcome: WriteOutcome,
    },
    Failed(Failure),
}

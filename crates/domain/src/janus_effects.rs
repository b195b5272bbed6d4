//! Effects that a Janus room requests, and their outcomes. Data only, no behaviour.

use std::collections::BTreeMap;

use super::ids::{Epoch, MediaAddr, Nonce, Pin, UserId};
use super::model::{ForwarderState, JanusState};
use super::plan::{Failure, WriteOutcome};
use super::recording::RecordingId;

/// Room in Janus with our ownership tag for this room id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRoom {
    pub janus_room_id: u32,
    /// Epoch at which the room was created.
    pub created_at: Epoch,
    pub forwarders: Option<Vec<ForwarderState>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// List the Janus rooms with our ownership tag for this room.
    Inspect,
    /// Create a room, with a new random number if `again` is `None` or in use.
    Create {
        epoch: Epoch,
        pin: Pin,
        /// Number of an earlier create with an unknown outcome. It is used again to avoid a second room.
        again: Option<u32>,
    },
    Destroy {
        janus_room_id: u32,
    },
    ListForwarders {
        janus_room_id: u32,
    },
    /// List who can speak in the room.
    ListTalkers {
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
    /// Remove these users from the Janus room, if they are in it. The values are the revisions of their
    /// records.
    Expel {
        janus_room_id: u32,
        users: BTreeMap<UserId, i64>,
    },
    /// Mute everybody in the room except `but`, then delete the order if its key is still at `key_revision`.
    MuteAll {
        janus_room_id: u32,
        but: Option<UserId>,
        key_revision: i64,
    },
    /// Record each participant into files of this recording; fails if the disk is nearly full. `None`: stop
    /// recording participants.
    RecordTracks {
        janus_room_id: u32,
        recording: Option<RecordingId>,
    },
    /// Check that the disk has enough free space to continue the tracks.
    CheckTrackDisk,
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

/// Outcome of an [`Effect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Inspected(Vec<FoundRoom>),
    Created {
        janus_room_id: u32,
        epoch: Epoch,
    },
    /// No conclusive answer arrived: the room may exist, or may still be created.
    Unanswered {
        janus_room_id: u32,
        why: String,
    },
    /// The room has our ownership tag but a different secret, so this node cannot manage it.
    Locked {
        janus_room_id: u32,
    },
    /// The room was destroyed, or no longer existed.
    Gone {
        janus_room_id: u32,
    },
    Forwarders {
        janus_room_id: u32,
        forwarders: Vec<ForwarderState>,
    },
    /// Participants with media that are not muted; true: Janus reports that the participant talks.
    Talkers(BTreeMap<u64, bool>),
    Started {
        janus_room_id: u32,
        forwarder: ForwarderState,
        /// Epoch from which the forwarder's SRTP key is derived.
        epoch: Epoch,
    },
    Stopped {
        janus_room_id: u32,
        stream_id: u64,
    },
    /// None of the users is in the room now.
    Expelled {
        janus_room_id: u32,
        users: BTreeMap<UserId, i64>,
    },
    /// Everybody was muted, as the order with this revision requested.
    MutedAll {
        key_revision: i64,
    },
    /// Some of the users may still be in the room, or may not be muted.
    NotModerated(String),
    TracksSwitched {
        janus_room_id: u32,
        recording: Option<RecordingId>,
    },
    TrackDiskChecked,
    /// Recording of the tracks could not be started, continued or stopped. `full`: true if the disk is nearly
    /// full.
    NoTracks {
        why: String,
        full: bool,
    },
    Key {
        value: Option<JanusState>,
        outcome: WriteOutcome,
    },
    Failed(Failure),
}

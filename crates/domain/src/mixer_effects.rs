//! Effects and outcomes of a mixer's room, and the decision when to reserve more sequence numbers.

use super::ids::{Epoch, MediaAddr, Nonce};
use super::model::{MixerState, SequenceState};
use super::plan::Failure;
use super::view::StoredValue;

/// Number of media sequence numbers reserved at once: about half an hour of two-second segments.
pub const SEQUENCE_BLOCK: u64 = 1024;
/// Number of discontinuity numbers reserved together with the media sequence numbers. Each gap that is too
/// long to be filled uses one.
pub const DISCONTINUITY_BLOCK: u64 = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEffect {
    /// Reserves a pair of ports.
    TakePort {
        epoch: Epoch,
    },
    /// Starts FFmpeg on the reserved port. Room, nonce, epoch and port determine the SRTP key.
    Spawn {
        epoch: Epoch,
        rtp: MediaAddr,
        nonce: Nonce,
    },
    /// Sends INT, then KILL: after a grace time if `gently`, otherwise immediately. The exit is reported by
    /// [`super::mixer_room::MixerRoom::exited`].
    Kill {
        why: KillReason,
        gently: bool,
    },
    FreePort {
        rtp: MediaAddr,
    },
    /// Begins to publish under this nonce at these numbers.
    OpenStream {
        nonce: Nonce,
        start: SequenceState,
    },
    /// Stops publishing. If the broadcast is `over`, the playlist ends; otherwise readers move to the
    /// successor stream.
    EndStream {
        over: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessOutcome {
    PortTaken { rtp: MediaAddr, epoch: Epoch },
    Spawned { epoch: Epoch },
    Killing { why: KillReason },
    Freed,
    Opened { nonce: Nonce },
    Ended,
    Failed(Failure),
}

/// Reason for killing an FFmpeg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillReason {
    NewEpoch,
    NewSource,
    /// FFmpeg writes nothing although Janus forwards.
    Starved,
    /// The mix is silent although somebody speaks.
    Unheard,
    UnusableOutput,
    NotWanted,
}

impl KillReason {
    pub fn text(self) -> &'static str {
        match self {
            Self::NewEpoch => "the room has a new assignment",
            Self::NewSource => "the RTP source changed",
            Self::Starved => "no audio from FFmpeg while Janus forwards",
            Self::Unheard => "the mix is silent although somebody speaks",
            Self::UnusableOutput => "the output of FFmpeg is unusable",
            Self::NotWanted => "the room is no longer wanted here",
        }
    }
}

impl std::fmt::Display for KillReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

/// Stream that a previous incarnation of the actor opened and did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftStream {
    pub nonce: Nonce,
    /// First numbers that the incarnation has not published.
    pub next: SequenceState,
    /// Ceiling that the incarnation had reserved in the store.
    pub ceiling: SequenceState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreEffect {
    /// Writes the key and the numbers, whichever are due, in one transaction, if livemeta is unchanged.
    Claim {
        live_revision: i64,
        key: Option<KeyClaim>,
        numbers: Option<Reservation>,
    },
    DeleteKey {
        key_revision: i64,
    },
    /// Gives the unused numbers back, so that the next start continues without a jump.
    Release {
        exact: SequenceState,
        key_revision: i64,
    },
}

/// Write of the mixer key. The key announces the address at which FFmpeg receives RTP, or soon will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyClaim {
    pub state: MixerState,
    /// Revision of the known key; 0: absent.
    pub key_revision: i64,
}

/// Numbers that the store holds for this mixer: `next` is the first unpublished number, `ceiling` the first
/// one that is not reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReservedNumbers {
    pub next: SequenceState,
    pub ceiling: SequenceState,
}

/// Write that raises the reserved ceiling of the mixer's sequence numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Numbers to start from. `None`: continue from the current numbers.
    pub from: Option<SequenceState>,
    pub ceiling: SequenceState,
    /// Revision of the known key; 0: absent.
    pub key_revision: i64,
}

impl ReservedNumbers {
    fn runs_low(&self) -> bool {
        let left = |ceiling: u64, next: u64| ceiling.saturating_sub(next);
        left(self.ceiling.ceiling, self.next.ceiling) < SEQUENCE_BLOCK / 2
            || left(self.ceiling.discontinuity, self.next.discontinuity) < DISCONTINUITY_BLOCK / 2
    }
}

impl Reservation {
    /// Returns a reservation if numbers are needed, otherwise `None`. `sequence`: the known key; `epoch`: the
    /// epoch under which to reserve.
    pub fn due(
        reserved: Option<ReservedNumbers>,
        sequence: Option<StoredValue<SequenceState>>,
        epoch: Epoch,
    ) -> Option<Self> {
        let (stored, key_revision) = sequence.map_or(Default::default(), |s| (s.value, s.mod_revision));
        let (next, low) = reserved.map_or((stored, true), |r| (r.next, r.runs_low()));
        // If numbers beyond the ceiling were used during a long store outage, count from the current numbers.
        let ceiling = SequenceState {
            ceiling: stored.ceiling.max(next.ceiling) + SEQUENCE_BLOCK,
            discontinuity: stored.discontinuity.max(next.discontinuity) + DISCONTINUITY_BLOCK,
            epoch,
            media_end: None,
        };
        let from = reserved.is_none().then_some(stored);
        low.then_some(Self { from, ceiling, key_revision })
    }
}

/// Reason for FFmpeg's exit. `Other`: none of the other reasons applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Another process holds the port, and the pool has quarantined the port.
    BindFailed,
    /// No RTP arrived, so FFmpeg gave up.
    Starved,
    /// FFmpeg finished its output because its source sent BYE. This exit counts against the restart budget
    /// too.
    Finished,
    Other,
}

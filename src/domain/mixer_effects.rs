//! What a mixer's room asks for, and what it hears back; and when it needs more numbers.

use super::ids::{Epoch, MediaAddr, Nonce};
use super::model::{MixerState, SequenceState};
use super::plan::Failure;
use super::view::Versioned;

/// Media sequence numbers reserved in the store at once: about half an hour of two-second segments.
pub const SEQUENCE_BLOCK: u64 = 1024;
/// Discontinuity numbers reserved with them: one per hole that is too long to be filled.
pub const DISCONTINUITY_BLOCK: u64 = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEffect {
    /// Reserve a pair of ports.
    TakePort {
        epoch: Epoch,
    },
    /// Start FFmpeg on the port that was taken. Room, nonce, epoch and port determine the SRTP key.
    Spawn {
        epoch: Epoch,
        rtp: MediaAddr,
        nonce: Nonce,
    },
    /// TERM and then KILL, or KILL at once; the exit is told by [`super::mixer_room::MixerRoom::exited`].
    Kill {
        gently: bool,
    },
    FreePort {
        rtp: MediaAddr,
    },
    /// Begin publishing under this nonce at these numbers.
    OpenStream {
        nonce: Nonce,
        start: SequenceState,
    },
    /// Publish no more. If the live is `over`, the playlist says so; else its readers go to where it goes on.
    EndStream {
        over: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessOutcome {
    PortTaken { rtp: MediaAddr, epoch: Epoch },
    Spawned { epoch: Epoch },
    Killing,
    Freed,
    Opened { nonce: Nonce },
    Ended,
    Failed(Failure),
}

/// A stream that an earlier incarnation opened and did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftStream {
    pub nonce: Nonce,
    /// The first numbers that it has not published.
    pub next: SequenceState,
    /// What it had reserved in the store.
    pub ceiling: SequenceState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreEffect {
    /// Our key and numbers, as far as they are due, in one write, if livemeta is still as we saw it.
    Claim {
        live_revision: i64,
        key: Option<KeyClaim>,
        numbers: Option<Reservation>,
    },
    DeleteKey {
        key_revision: i64,
    },
    /// Give the unused numbers back, so that the next start continues without a jump.
    Release {
        exact: SequenceState,
        key_revision: i64,
    },
}

/// Says where FFmpeg waits for RTP, or is about to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyClaim {
    pub state: MixerState,
    /// The key as we know it; 0: absent.
    pub key_revision: i64,
}

/// Numbers the store holds for us: `next` is the first unpublished, `ceiling` the first not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    pub next: SequenceState,
    pub ceiling: SequenceState,
}

/// Raises the ceiling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Where we count from; `None`: we had numbers, and go on from where we are.
    pub from: Option<SequenceState>,
    pub ceiling: SequenceState,
    /// The key as we know it; 0: absent.
    pub key_revision: i64,
}

impl Reserved {
    fn runs_low(&self) -> bool {
        let left = |ceiling: u64, next: u64| ceiling.saturating_sub(next);
        left(self.ceiling.ceiling, self.next.ceiling) < SEQUENCE_BLOCK / 2
            || left(self.ceiling.discontinuity, self.next.discontinuity) < DISCONTINUITY_BLOCK / 2
    }
}

impl Reservation {
    /// `None` while there are enough numbers. `sequence` is the key as we know it, `epoch` the one to reserve under.
    pub fn due(
        reserved: Option<Reserved>,
        sequence: Option<Versioned<SequenceState>>,
        epoch: Epoch,
    ) -> Option<Self> {
        let (stored, key_revision) = sequence.map_or(Default::default(), |s| (s.value, s.mod_revision));
        let (next, low) = reserved.map_or((stored, true), |r| (r.next, r.runs_low()));
        // After numbers were used beyond the ceiling (a long outage of the store) they count from where we are.
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

/// Why FFmpeg ended, as far as it decides what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Somebody else holds the port; the pool has set it aside.
    BindFailed,
    /// No RTP came, so it gave up.
    Starved,
    /// It finished its output by itself: its source said goodbye. Counts against the restart budget all the same.
    Finished,
    Other,
}

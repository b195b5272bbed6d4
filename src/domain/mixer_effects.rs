//! What a mixer's room asks for, and what it hears back: data only, no behaviour.

use super::ids::{Epoch, MediaAddr, Nonce};
use super::model::{MixerState, SequenceState};
use super::plan::Failure;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEffect {
    /// Start FFmpeg, on `port` if given, else on a fresh one.
    Spawn {
        epoch: Epoch,
        port: Option<MediaAddr>,
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
    Spawned { rtp: MediaAddr, epoch: Epoch },
    Killing,
    Freed,
    Opened { nonce: Nonce },
    Ended,
    Failed(Failure),
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

/// Says where FFmpeg waits for RTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyClaim {
    pub state: MixerState,
    /// The key as we know it; 0: absent.
    pub key_revision: i64,
}

/// Raises the ceiling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Where we count from if we had no numbers yet.
    pub from: SequenceState,
    pub ceiling: SequenceState,
    /// The key as we know it; 0: absent.
    pub key_revision: i64,
}

/// Why FFmpeg ended, as far as it decides what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Somebody else holds the port; the pool has set it aside.
    BindFailed,
    /// No RTP came, so it gave up.
    Starved,
    Other,
}

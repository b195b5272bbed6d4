//! The RTP port of a mixer's room, and the starvations on it.
//!
//! A starvation is one FFmpeg process that wrote no audio although Janus forwards to its port, or only
//! silence although somebody spoke (`unheard`). Consecutive starvations are counted in the mixer key; the
//! first audio resets the count, or the first sound if the latest starvation was a silence. The count selects
//! the repair, cheapest first:
//!
//! ```text
//!  0 ──▶ 1  FFmpeg is restarted; Janus lists its forwarders and starts the missing one
//!    ──▶ 2  a new port: Janus starts a new forwarder under a new SRTP key
//!    ──▶ 3  Janus recreates its room, which starts a new mixing thread        (`janus_room`)
//!    ──▶ 4  a managed Janus is restarted if all of its rooms are silent       (`janus_room::all_silent`)
//!    ──▶ 5  this mixer gives up: the leader moves the room elsewhere          (`failover`)
//! ```
//! Meanwhile the room is `degraded`. After the last step, FFmpeg is still restarted, with the longest backoff
//! delay. A room that cannot be moved can therefore recover. For `unheard`, all these repairs are limited
//! (`unheard`), and so are the moves.

use std::time::Duration;

use super::{KillReason, MixerRoom, Role, RunningProcess, WantedPart};
use crate::ids::{Epoch, MediaAddr};
use crate::view::RoomView;

/// Number of consecutive starvations after which the port is replaced.
const PORT_SPENT_AT: u32 = 2;
/// Number of consecutive starvations after which this mixer gives up the room.
pub const GIVE_UP_AT: u32 = 5;
/// Largest multiple of the watchdog time that is granted to one start.
const MOST_PATIENCE: u32 = 5;
/// Time after a port was taken during which a new FFmpeg can join the RTP stream on it. An SRTP receiver must
/// know the rollover counter (RFC 3711 section 3.3.1), and FFmpeg assumes zero. Janus starts its sequence
/// numbers at 0 and sends 50 packets per second, so the first rollover comes after 21.8 minutes.
pub const JOINABLE_FOR: Duration = Duration::from_secs(20 * 60);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    pub rtp: MediaAddr,
    pub epoch: Epoch,
    /// Time at which the port was taken. No forwarder to it is older.
    since: Duration,
    /// Consecutive starvations on this port.
    starved: u32,
}

/// Consecutive starvations under one epoch.
#[derive(Debug, Default)]
pub(super) struct Starvation {
    epoch: Epoch,
    pub count: u32,
    /// True if the latest starvation was a silence although somebody spoke.
    pub unheard: bool,
}

impl Port {
    pub fn new(rtp: MediaAddr, epoch: Epoch, since: Duration) -> Self {
        Self { rtp, epoch, since, starved: 0 }
    }
}

impl MixerRoom {
    /// Returns the number of consecutive starvations.
    pub fn starved(&self) -> u32 {
        self.starvation.count
    }

    /// Returns the count to write to the mixer key, capped at [`GIVE_UP_AT`].
    pub(super) fn starved_under(&self, epoch: Epoch) -> u32 {
        if self.starvation.epoch == epoch { self.starvation.count.min(GIVE_UP_AT) } else { 0 }
    }

    /// Counts a starvation. `why`: `Starved` or `Unheard`.
    pub(super) fn starve(&mut self, why: KillReason, now: Duration, random: f64) {
        if let Some(port) = &mut self.port {
            port.starved = port.starved.saturating_add(1);
            if self.starvation.epoch != port.epoch {
                self.starvation = Starvation { epoch: port.epoch, ..Starvation::default() };
            }
        }
        self.starvation.unheard = why == KillReason::Unheard;
        self.starvation.count = self.starvation.count.saturating_add(1);
        let why = format!("{why}, {} times in a row", self.starvation.count);
        self.retry.failed(why, now, &self.policy.backoff, random);
    }

    /// Records that audio arrives. It may be silence.
    pub(super) fn heard(&mut self) {
        self.retry.succeeded();
        if !self.starvation.unheard {
            self.forget_starvations();
        }
    }

    pub(super) fn forget_starvations(&mut self) {
        self.starvation.count = 0;
        self.starvation.unheard = false;
        if let Some(port) = &mut self.port {
            port.starved = 0;
        }
    }

    /// Returns how long a process may run without audio. A start is slow on a busy machine, and a second
    /// start makes the machine busier. Therefore each failed start extends the limit of the next start.
    pub(super) fn patience(&self, r: &RunningProcess) -> Duration {
        let starts = if r.last_fragment.is_none() { 1 + self.retry.attempt() } else { 1 };
        self.policy.watchdog * starts.min(MOST_PATIENCE)
    }

    /// Returns the port if the next FFmpeg cannot use it, with the reason. A new port makes Janus start a new
    /// forwarder.
    pub(super) fn spent_port(
        &self,
        wanted: &WantedPart,
        view: &RoomView,
        now: Duration,
    ) -> Option<(MediaAddr, &'static str)> {
        let port = self.port.as_ref()?;
        let why = if port.epoch != wanted.epoch {
            "every epoch gets a new port"
        } else if wanted.part == Role::Predecessor {
            // Janus already feeds the successor's port and would not follow this mixer to a new one.
            return None;
        } else if port.starved >= PORT_SPENT_AT && self.is_told(wanted, view) {
            "nothing arrives at the port: a new port makes Janus start a new forwarder"
        } else if now.saturating_sub(port.since) > JOINABLE_FOR {
            "a new FFmpeg cannot join an SRTP stream this old"
        } else {
            return None;
        };
        Some((port.rtp, why))
    }

    /// Returns true if the mixer key in the store has the current starvation count. Otherwise the store may
    /// be unavailable, and then Janus would not learn of a new port.
    fn is_told(&self, wanted: &WantedPart, view: &RoomView) -> bool {
        let key = self.key.current(view.mixer.as_ref());
        key.is_some_and(|key| key.starved == self.starved_under(wanted.epoch))
    }
}

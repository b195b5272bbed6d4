//! The RTP port of a mixer's room, and the starvations on it.
//!
//! A starvation is an FFmpeg that gave no fragment although Janus forwards to its port. Starvations in a row are
//! counted in our key; the first fragment resets the count. The count drives the repair, cheapest step first:
//!
//! ```text
//!  0 ──▶ 1  FFmpeg is started again; Janus lists its forwarders and starts the one that is missing
//!    ──▶ 2  a new port: Janus starts a new forwarder under a new SRTP key
//!    ──▶ 3  Janus makes its room anew, which starts a new mixing thread   (`janus_room`)
//!    ──▶ 4  a managed Janus all of whose rooms are silent is restarted    (`janus_room::all_silent`)
//!    ──▶ 5  given up: the leader moves the room to another mixer or Janus (`reassign`)
//! ```
//! Meanwhile the room is shown as `degraded`. After the last step FFmpeg is still started again, with the longest
//! delay of the backoff, so that the room recovers where there is nothing to move it to.

use std::time::Duration;

use super::{MixerRoom, Role, STARVED, Wanted};
use crate::domain::ids::{Epoch, MediaAddr};
use crate::domain::view::RoomView;

/// Starvations in a row after which a port is replaced.
const PORT_SPENT_AT: u32 = 2;
/// Starvations in a row after which the room is given up.
pub const GIVE_UP_AT: u32 = 5;
/// How long after a port was taken a new FFmpeg may join the stream there. The receiver must know how often the
/// sequence number has wrapped (RFC 3711 section 3.3.1), and FFmpeg begins with never. Janus counts from 0 and sends
/// 50 packets/s, so the first wrap comes after 21.8 minutes.
pub const JOINABLE_FOR: Duration = Duration::from_secs(20 * 60);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    pub rtp: MediaAddr,
    pub epoch: Epoch,
    /// When it was taken: no forwarder to it is older.
    since: Duration,
    /// Starvations in a row on this port.
    starved: u32,
}

/// Starvations in a row under one epoch.
#[derive(Debug, Default)]
pub(super) struct Starvation {
    epoch: Epoch,
    count: u32,
}

impl Port {
    pub fn new(rtp: MediaAddr, epoch: Epoch, since: Duration) -> Self {
        Self { rtp, epoch, since, starved: 0 }
    }
}

impl MixerRoom {
    /// Starvations in a row.
    pub fn starved(&self) -> u32 {
        self.starvation.count
    }

    /// The count as our key says it.
    pub(super) fn starved_under(&self, epoch: Epoch) -> u32 {
        if self.starvation.epoch == epoch { self.starvation.count.min(GIVE_UP_AT) } else { 0 }
    }

    pub(super) fn starve(&mut self, now: Duration, dice: f64) {
        if let Some(port) = &mut self.port {
            port.starved = port.starved.saturating_add(1);
            if self.starvation.epoch != port.epoch {
                self.starvation = Starvation { epoch: port.epoch, count: 0 };
            }
        }
        self.starvation.count = self.starvation.count.saturating_add(1);
        let why = format!("{STARVED}, {} times in a row", self.starvation.count);
        self.retry.failed(why, now, &self.policy.backoff, dice);
    }

    /// A fragment came, so sound arrives.
    pub(super) fn heard(&mut self) {
        self.retry.succeeded();
        self.starvation.count = 0;
        if let Some(port) = &mut self.port {
            port.starved = 0;
        }
    }

    /// The port that the next FFmpeg cannot use, and why. Another port makes Janus start a new forwarder.
    pub(super) fn spent_port(
        &self,
        wanted: &Wanted,
        view: &RoomView,
        now: Duration,
    ) -> Option<(MediaAddr, &'static str)> {
        let port = self.port.as_ref()?;
        let why = if port.epoch != wanted.epoch {
            "every epoch gets a new port"
        } else if wanted.part == Role::Predecessor {
            // Janus feeds the successor's port by now; it would not follow us to another one.
            return None;
        } else if port.starved >= PORT_SPENT_AT && self.is_told(wanted, view) {
            "nothing arrives at the port: a new one makes Janus start a new forwarder"
        } else if now.saturating_sub(port.since) > JOINABLE_FOR {
            "a new FFmpeg cannot join an SRTP stream this old"
        } else {
            return None;
        };
        Some((port.rtp, why))
    }

    /// Whether the store has our count. While it is away, Janus would not hear of another port.
    fn is_told(&self, wanted: &Wanted, view: &RoomView) -> bool {
        let key = self.key.current(view.mixer.as_ref());
        key.is_some_and(|key| key.starved == self.starved_under(wanted.epoch))
    }
}

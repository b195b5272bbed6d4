//! Resources of a room that outlive an incarnation of its actor: its port, and its stream with the reserved
//! numbers.
//!
//! A panic of the actor ends only FFmpeg. The next incarnation receives RTP at the same port, so Janus needs
//! no update, and continues the same stream, so listeners keep their window.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::PortLease;
use super::meter::MixMeter;
use crate::domain::ids::{Epoch, MediaAddr, Nonce};
use crate::domain::model::SequenceState;
use crate::packager::LiveStream;

#[derive(Clone, Default)]
pub struct RoomResources {
    left: Arc<Mutex<Leftovers>>,
    pub meter: MixMeter,
}

#[derive(Default)]
struct Leftovers {
    /// Port, with the epoch for which it was taken and the time at which it was taken.
    port: Option<(PortLease, Epoch, Duration)>,
    stream: Option<OpenStream>,
}

/// Stream that was opened and has not ended.
#[derive(Clone)]
pub struct OpenStream {
    pub nonce: Nonce,
    pub stream: Arc<LiveStream>,
    /// Ceiling of the sequence numbers that are reserved for the stream in the store.
    pub ceiling: SequenceState,
}

impl RoomResources {
    pub fn keep_port(&self, lease: PortLease, epoch: Epoch, now: Duration) {
        self.left().port = Some((lease, epoch, now));
    }

    pub fn take_port(&self) -> Option<PortLease> {
        self.left().port.take().map(|(lease, ..)| lease)
    }

    pub fn port(&self) -> Option<(MediaAddr, Epoch, Duration)> {
        self.left().port.as_ref().map(|(lease, epoch, since)| (lease.rtp, *epoch, *since))
    }

    pub fn keep_stream(&self, stream: OpenStream) {
        self.left().stream = Some(stream);
    }

    pub fn take_stream(&self) -> Option<OpenStream> {
        self.left().stream.take()
    }

    pub fn stream(&self) -> Option<OpenStream> {
        self.left().stream.clone()
    }

    pub fn raise_ceiling(&self, ceiling: SequenceState) {
        if let Some(open) = &mut self.left().stream {
            open.ceiling = ceiling;
        }
    }

    fn left(&self) -> MutexGuard<'_, Leftovers> {
        // Each change is one assignment, so a panic leaves no change half done.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

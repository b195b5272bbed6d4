//! What of a room outlives an incarnation of its actor: its ports, and its stream with the numbers reserved for it.
//!
//! A panic takes FFmpeg with it and nothing else: the next incarnation waits for RTP at the same port, so that
//! nobody need be told, and goes on with the same stream, so that its listeners keep their window.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::PortLease;
use super::meter::MixMeter;
use crate::domain::ids::{Epoch, MediaAddr, Nonce};
use crate::domain::model::SequenceState;
use crate::media::LiveStream;

#[derive(Clone, Default)]
pub struct Estate {
    left: Arc<Mutex<Left>>,
    pub meter: MixMeter,
}

#[derive(Default)]
struct Left {
    /// With its epoch, and when it was taken.
    port: Option<(PortLease, Epoch, Duration)>,
    stream: Option<OpenStream>,
}

/// A stream that was opened and not ended.
#[derive(Clone)]
pub struct OpenStream {
    pub nonce: Nonce,
    pub stream: Arc<LiveStream>,
    /// What the store has reserved for it.
    pub ceiling: SequenceState,
}

impl Estate {
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

    fn left(&self) -> MutexGuard<'_, Left> {
        // Each change is one assignment, so a panic leaves it as it was before or after.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

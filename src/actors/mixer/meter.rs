//! Counters of the clipped and the silent seconds of a room's mix.
//!
//! FFmpeg measures the peak of each second; this module counts the seconds. The counters survive restarts of
//! FFmpeg and of the room's actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Value, json};

use crate::domain::mix::PeakClass;
use crate::telemetry::Metrics;

#[derive(Clone, Default)]
pub struct MixMeter(Arc<Seconds>);

#[derive(Default)]
struct Seconds {
    clipped: AtomicU64,
    silent: AtomicU64,
}

impl MixMeter {
    /// Counts one second, and returns its class. `peak_db` is its peak, in dB relative to full scale.
    pub fn second(&self, peak_db: f64, metrics: &Metrics) -> PeakClass {
        let loud = PeakClass::of(peak_db);
        metrics.mix_second(loud);
        match loud {
            PeakClass::Clipped => drop(self.0.clipped.fetch_add(1, Relaxed)),
            PeakClass::Silent => drop(self.0.silent.fetch_add(1, Relaxed)),
            PeakClass::Sound => {}
        }
        loud
    }

    /// Returns the counters for `/actors`.
    pub fn observe(&self) -> Value {
        let Seconds { clipped, silent } = &*self.0;
        json!({ "clippedSeconds": clipped.load(Relaxed), "silentSeconds": silent.load(Relaxed) })
    }
}

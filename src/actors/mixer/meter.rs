//! Level of a room's mix, and counters of its clipped and silent seconds.
//!
//! FFmpeg measures peak and level of each second; this module counts the seconds. The counters survive
//! restarts of FFmpeg and of the room's actor.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::domain::mix::PeakClass;
use crate::telemetry::Metrics;

/// Age from which a level is outdated. FFmpeg measures one per second, and `observe` is called less often.
const OUTDATED: Duration = Duration::from_secs(5);

#[derive(Clone, Default)]
pub struct MixMeter(Arc<Seconds>);

#[derive(Default)]
struct Seconds {
    clipped: AtomicU64,
    silent: AtomicU64,
    /// Root mean square of the latest second, in dB relative to full scale, and the time of this reading.
    level: Mutex<Option<(Instant, f64)>>,
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

    /// Records the level of a second, in dB relative to full scale; minus infinity is digital silence.
    pub fn level(&self, level_db: f64) {
        // A panic cannot leave a change half done, so a poisoned lock is usable.
        let mut level = self.0.level.lock().unwrap_or_else(PoisonError::into_inner);
        *level = Some((Instant::now(), level_db));
    }

    /// Returns the counters and the level for `/actors`. The level is null while none is measured, and in
    /// digital silence.
    pub fn observe(&self) -> Value {
        let Seconds { clipped, silent, level } = &*self.0;
        let level = *level.lock().unwrap_or_else(PoisonError::into_inner);
        let level = level.filter(|(at, level)| at.elapsed() < OUTDATED && level.is_finite());
        json!({
            "clippedSeconds": clipped.load(Relaxed),
            "silentSeconds": silent.load(Relaxed),
            "levelDb": level.map(|(_, level)| (level * 10.0).round() / 10.0),
        })
    }
}

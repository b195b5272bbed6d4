//! Metrics of the rewind windows of this mixer.

use prometheus::{IntCounterVec, IntGauge, Registry};

use super::metrics::{GaugeGuard, counters, gauge};

pub struct RewindMetrics {
    windows: IntGauge,
    segments: IntCounterVec,
}

impl RewindMetrics {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            windows: gauge(r, "stentor_rewind_windows", "Rewind windows that this mixer writes."),
            segments: counters(
                r,
                "stentor_rewind_segments_total",
                "Segments of rewind windows: written, dropped because the disk was full, or lost.",
                &["outcome"],
            ),
        }
    }

    /// Counts a window as being written until the returned guard is dropped.
    pub fn active(&self) -> GaugeGuard {
        GaugeGuard::of(&self.windows)
    }

    /// Counts segments. `outcome`: `written`, `dropped` or `lost`.
    pub fn segments(&self, outcome: &'static str, count: u64) {
        self.segments.with_label_values(&[outcome]).inc_by(count);
    }
}

//! Metrics of the recordings of this mixer.

use prometheus::{IntCounterVec, IntGauge, Registry};

use super::metrics::{GaugeGuard, counters, gauge};

pub struct RecordingMetrics {
    recorders: IntGauge,
    segments: IntCounterVec,
    uploads: IntCounterVec,
}

impl RecordingMetrics {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            recorders: gauge(r, "stentor_recorders", "Recordings that this mixer writes."),
            segments: counters(
                r,
                "stentor_recorded_segments_total",
                "Segments of recorded rooms, written to the disk or lost.",
                &["outcome"],
            ),
            uploads: counters(
                r,
                "stentor_recording_uploads_total",
                "Recordings uploaded to object storage, and steps of uploads that failed.",
                &["outcome"],
            ),
        }
    }

    /// Counts a recording as being written until the returned guard is dropped.
    pub fn active(&self) -> GaugeGuard {
        GaugeGuard::of(&self.recorders)
    }

    /// Counts segments. `outcome`: `written` or `lost`.
    pub fn segments(&self, outcome: &'static str, count: u64) {
        self.segments.with_label_values(&[outcome]).inc_by(count);
    }

    /// Counts a complete upload (`stored`), or a failed step of an upload (`failed`).
    pub fn uploaded(&self, outcome: &'static str) {
        self.uploads.with_label_values(&[outcome]).inc();
    }
}

//! Metrics of this node's outputs, and of its encoders of plain Opus streams.

use prometheus::{IntCounter, IntCounterVec, Registry};

use super::metrics::{counter, counters};

pub struct OutputMetrics {
    connections: IntCounterVec,
    opus_failures: IntCounter,
}

impl OutputMetrics {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            connections: counters(
                r,
                "stentor_output_connections_total",
                "Ended connections to targets of outputs: stopped on request, or failed.",
                &["outcome"],
            ),
            opus_failures: counter(
                r,
                "stentor_opus_encoder_failures_total",
                "Encoders of plain Opus streams that failed and were started again.",
            ),
        }
    }

    /// Counts a connection that has ended.
    pub fn ended(&self, failed: bool) {
        self.connections.with_label_values(&[if failed { "failed" } else { "stopped" }]).inc();
    }

    pub fn opus_encoder_failed(&self) {
        self.opus_failures.inc();
    }
}

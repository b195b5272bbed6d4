//! Metrics of the outputs of this mixer.

use prometheus::{IntCounterVec, Registry};

use super::metrics::counters;

pub struct OutputMetrics {
    connections: IntCounterVec,
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
        }
    }

    /// Counts a connection that has ended.
    pub fn ended(&self, failed: bool) {
        self.connections.with_label_values(&[if failed { "failed" } else { "stopped" }]).inc();
    }
}

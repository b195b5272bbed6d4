//! Metrics of the speech recognisers of this node.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use super::metrics::{GaugeGuard, counter, counters, gauge};

pub struct CaptionMetrics {
    recognisers: IntGauge,
    results: IntCounterVec,
    decoder_failures: IntCounter,
}

impl CaptionMetrics {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            recognisers: gauge(r, "stentor_recognisers", "Speech recognisers connected to this node."),
            results: counters(
                r,
                "stentor_caption_results_total",
                "Results of recognisers, by outcome.",
                &["outcome"],
            ),
            decoder_failures: counter(
                r,
                "stentor_caption_decoder_failures_total",
                "Decoders for recognisers that failed and were started again.",
            ),
        }
    }

    /// Counts a recogniser as connected until the returned guard is dropped.
    pub fn connected(&self) -> GaugeGuard {
        GaugeGuard::of(&self.recognisers)
    }

    /// Counts a result. `outcome`: `final`, `partial`, `invalid`, `failed`, `not_stored` or `full`.
    pub fn result(&self, outcome: &'static str) {
        self.results.with_label_values(&[outcome]).inc();
    }

    pub fn decoder_failed(&self) {
        self.decoder_failures.inc();
    }
}

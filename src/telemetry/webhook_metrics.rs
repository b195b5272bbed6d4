//! Metrics of webhooks and admission. `endpoint` is one of the names in `webhooks.endpoints`, at most 20.

use std::time::Duration;

use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::metrics::{counters, gauges};

pub struct WebhookMetrics {
    attempts: IntCounterVec,
    dead_letters: IntCounterVec,
    oldest: IntGaugeVec,
    admissions: IntCounterVec,
}

impl WebhookMetrics {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            attempts: counters(
                r,
                "stentor_webhook_attempts_total",
                "Attempts to deliver an event.",
                &["endpoint", "outcome"],
            ),
            dead_letters: counters(
                r,
                "stentor_webhook_dead_letters_total",
                "Events given up.",
                &["endpoint"],
            ),
            oldest: gauges(
                r,
                "stentor_webhook_oldest_waiting_seconds",
                "Age of the oldest event that waits for delivery; 0 if none waits, and on other nodes.",
                &["endpoint"],
            ),
            admissions: counters(
                r,
                "stentor_admission_requests_total",
                "Requests that asked the application whether a user may join.",
                &["outcome"],
            ),
        }
    }

    /// Counts a request to the application that admits users. `outcome`: `allowed`, `refused` or `failed`.
    pub fn asked(&self, outcome: &'static str) {
        self.admissions.with_label_values(&[outcome]).inc();
    }

    /// Counts an attempt. `outcome`: `delivered`, `refused` or `unavailable`.
    pub fn attempted(&self, endpoint: &str, outcome: &'static str) {
        self.attempts.with_label_values(&[endpoint, outcome]).inc();
    }

    pub fn gave_up(&self, endpoint: &str) {
        self.dead_letters.with_label_values(&[endpoint]).inc();
    }

    pub fn set_oldest(&self, endpoint: &str, age: Duration) {
        self.oldest.with_label_values(&[endpoint]).set(age.as_secs() as i64);
    }
}

//! Metrics of the listening sockets: connections, TLS handshakes, the certificate.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::metrics::{counters, gauges};

/// Metrics of all listening sockets. `listener` names one: `api`, `ws`, `hls`, `relay`, `redirect` or `ops`.
pub struct SocketMetrics {
    connections: IntGaugeVec,
    refused: IntCounterVec,
    cut: IntCounterVec,
    limited: IntCounterVec,
    handshakes: IntCounterVec,
    certificate_expiry: IntGaugeVec,
    certificate_replaced_by: IntGaugeVec,
}

impl SocketMetrics {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            connections: gauges(
                r,
                "stentor_connections",
                "Connections open at each listening socket.",
                &["listener"],
            ),
            refused: counters(
                r,
                "stentor_connections_refused_total",
                "Connections refused because too many were open at the listening socket.",
                &["listener"],
            ),
            cut: counters(
                r,
                "stentor_connections_cut_total",
                "Connections that the node closed, by reason.",
                &["reason"],
            ),
            limited: counters(
                r,
                "stentor_requests_limited_total",
                "Requests refused because the client's address has sent too many.",
                &["listener"],
            ),
            handshakes: counters(r, "stentor_tls_handshakes_total", "TLS handshakes.", &["outcome"]),
            certificate_expiry: gauges(
                r,
                "stentor_tls_certificate_expiry_seconds",
                "End of the validity of the certificate in force, Unix time in seconds.",
                &["certificate"],
            ),
            certificate_replaced_by: gauges(
                r,
                "stentor_tls_certificate_replace_by_seconds",
                "Time by which the certificate in force should have been replaced, Unix time in seconds.",
                &["certificate"],
            ),
        }
    }

    pub fn opened(&self, listener: &'static str) {
        self.connections.with_label_values(&[listener]).inc();
    }

    pub fn closed(&self, listener: &'static str) {
        self.connections.with_label_values(&[listener]).dec();
    }

    pub fn refused(&self, listener: &'static str) {
        self.refused.with_label_values(&[listener]).inc();
    }

    pub fn cut(&self, reason: &'static str) {
        self.cut.with_label_values(&[reason]).inc();
    }

    pub fn limited(&self, listener: &'static str) {
        self.limited.with_label_values(&[listener]).inc();
    }

    /// Counts a TLS handshake. `outcome`: `ok`, `failed` or `timeout`.
    pub fn handshake(&self, outcome: &'static str) {
        self.handshakes.with_label_values(&[outcome]).inc();
    }

    /// Sets the end of the validity of the listening sockets' certificate, and the time by which it should
    /// have been replaced.
    pub fn set_certificate(&self, not_after: SystemTime, replaced_by: SystemTime) {
        let gauges = [(&self.certificate_expiry, not_after), (&self.certificate_replaced_by, replaced_by)];
        for (gauge, time) in gauges {
            let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            gauge.with_label_values(&["listen"]).set(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
    }
}

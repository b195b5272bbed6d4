//! Configuration types for logging, and for the export of traces and metrics.

use std::time::Duration;

use super::Secret;

/// OpenTelemetry collector.
#[derive(Debug, Clone)]
pub struct OtlpConfig {
    /// Base URL of OTLP over HTTP; `None`: nothing is exported.
    pub endpoint: Option<String>,
    /// Additional headers of the requests to the collector. The values are secret.
    pub headers: Vec<(String, Secret)>,
    /// Time between two exports of the metrics.
    pub interval: Duration,
    /// Recorded share of the traces that begin at this node, in percent.
    pub sample_percent: u8,
}

#[derive(Debug, Clone)]
pub struct LogConfig {
    pub format: LogFormat,
    /// `tracing` filter, e.g. `info,stentor=debug`.
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

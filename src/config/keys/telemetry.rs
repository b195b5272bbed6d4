//! Keys of the section `telemetry`, for the export of traces and metrics.

use serde_json::{Value, json};

use super::super::parse::*;
use super::super::reader::{ParseResult, Reader};
use super::super::types::{OtlpConfig, Secret};

pub(super) fn otlp(r: &mut Reader) -> OtlpConfig {
    OtlpConfig {
        endpoint: r.optional(
            "telemetry.otlp.endpoint",
            "OpenTelemetry collector for traces and metrics (OTLP over HTTP), like http://127.0.0.1:4318.",
            url(&["http", "https"]),
        ),
        headers: r
            .secret(
                "telemetry.otlp.headers",
                "Headers of the requests to the collector, each as name=value, such as an API key.",
                "File with one name=value per line, instead of headers.",
                list(header),
            )
            .unwrap_or_default(),
        interval: r.read(
            "telemetry.otlp.interval",
            "15s",
            "Time between two exports of the metrics.",
            duration("1s", "10m"),
        ),
        sample_percent: r.read(
            "telemetry.otlp.sample_percent",
            json!(100),
            "Percentage of traces beginning here that are recorded; callers decide for their own traces.",
            number(0..=100),
        ),
    }
}

/// Parses `name=value`, the format of one entry of the environment variable `OTEL_EXPORTER_OTLP_HEADERS`.
fn header(value: &Value) -> ParseResult<(String, Secret)> {
    let line = text(value)?;
    let (name, value) = line.split_once('=').unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_valid = !name.is_empty() && name.chars().all(is_name);
    match is_valid && !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        true => Ok((name.to_ascii_lowercase(), Secret(value.as_bytes().to_vec()))),
        // The value is a secret, so the message does not show it.
        false => Err("must be entries like name=value, in printable ASCII".into()),
    }
}

//! Export of traces and metrics to an OpenTelemetry collector through OTLP over HTTP with Protobuf
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! The exporter has its own thread, so that the node never waits for the collector. If the collector does not
//! answer, spans and metrics are dropped, and one warning is logged. Requests are not retried: metrics are
//! cumulative, so the next request contains the lost values.
//!
//! Owns: batches, requests, and the log lines about the collector.

mod convert;
mod messages;

use std::sync::{Arc, mpsc as std_mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::Registry;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::trace::{self, SpanData};
use crate::config::{OtlpConfig, Secret};

/// Maximum number of spans in a request.
const BATCH: usize = 512;
/// Time for which a span waits for others, so that one request exports them together.
const LINGER: Duration = Duration::from_secs(1);
/// Maximum time of a request.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Maximum time for the last requests together, before the process ends.
const LAST_WITHIN: Duration = Duration::from_secs(1);

/// Running exporter.
pub struct Exporter {
    /// Dropping it ends the exporter.
    stop: Option<oneshot::Sender<()>>,
    ended: std_mpsc::Receiver<()>,
}

/// Identity of the node in all exported data.
#[derive(Debug, Clone)]
pub struct Identity {
    pub node: String,
    pub cluster: String,
}

struct Task {
    client: reqwest::Client,
    /// Endpoint without a trailing slash.
    endpoint: String,
    headers: Vec<(String, Secret)>,
    resource: messages::Resource,
    registry: Registry,
    spans: mpsc::Receiver<SpanData>,
    start: u64,
    /// True while the collector does not accept data.
    away: bool,
}

/// Starts the export. Returns `None` if no endpoint is configured. If a process runs several nodes, only the
/// first one exports spans; each one exports its metrics.
///
/// # Errors
/// The HTTP client or the thread cannot be created.
pub fn start(
    config: &OtlpConfig,
    identity: Identity,
    registry: &Registry,
) -> anyhow::Result<Option<Exporter>> {
    let Some(endpoint) = &config.endpoint else { return Ok(None) };
    let trust = crate::tls::client_config().map_err(anyhow::Error::msg)?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(Arc::unwrap_or_clone(trust))
        .no_proxy()
        // A redirect would give the headers, which are secret, to another server.
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_WITHIN)
        .build()?;
    let spans = trace::begin(f64::from(config.sample_percent) / 100.0);
    let task = Task {
        client,
        endpoint: endpoint.trim_end_matches('/').to_owned(),
        headers: config.headers.clone(),
        resource: resource(&identity),
        registry: registry.clone(),
        spans: spans.unwrap_or_else(|| mpsc::channel(1).1),
        start: since_epoch(SystemTime::now()),
        away: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let (end, ended) = std_mpsc::channel();
    let every = config.interval;
    std::thread::Builder::new().name("otlp".into()).spawn(move || {
        runtime.block_on(task.run(every, stopped));
        // Ignore the error: `Exporter::stop` may have timed out.
        let _ = end.send(());
    })?;
    Ok(Some(Exporter { stop: Some(stop), ended }))
}

impl Exporter {
    /// Sends the metrics and the spans that wait. Returns after at most two seconds.
    pub fn stop(mut self) {
        drop(self.stop.take());
        let _ = self.ended.recv_timeout(2 * LAST_WITHIN);
    }
}

impl Task {
    async fn run(mut self, every: Duration, mut stopped: oneshot::Receiver<()>) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_open = true;
        loop {
            tokio::select! {
                span = self.spans.recv(), if is_open => match span {
                    Some(span) => {
                        let batch = batch(span, &mut self.spans).await;
                        self.send_spans(batch).await;
                    }
                    // Another node of this process exports the spans.
                    None => is_open = false,
                },
                _ = ticks.tick() => self.send_metrics().await,
                _ = &mut stopped => break,
            }
        }
        let last = async {
            // Do not wait for later spans: LINGER alone would use up the time limit.
            self.send_metrics().await;
            loop {
                let waiting = waiting(&mut self.spans);
                if waiting.is_empty() {
                    break;
                }
                self.send_spans(waiting).await;
            }
        };
        let _ = tokio::time::timeout(LAST_WITHIN, last).await;
    }

    async fn send_spans(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        let scope =
            messages::ScopeSpans { scope: Some(scope()), spans: batch.into_iter().map(span).collect() };
        let of = messages::ResourceSpans { resource: Some(self.resource.clone()), scopes: vec![scope] };
        if !self.send("traces", &messages::Traces { resources: vec![of] }).await {
            trace::add_dropped(count);
        }
    }

    async fn send_metrics(&mut self) {
        // A clock that is set back must not put the values before the start.
        let now = since_epoch(SystemTime::now()).max(self.start);
        let times = convert::Times { start: self.start, now };
        let metrics = convert::metrics(&self.registry.gather(), times);
        let scope = messages::ScopeMetrics { scope: Some(scope()), metrics };
        let of = messages::ResourceMetrics { resource: Some(self.resource.clone()), scopes: vec![scope] };
        self.send("metrics", &messages::Metrics { resources: vec![of] }).await;
    }

    /// Returns true if the collector has accepted the data.
    async fn send(&mut self, signal: &str, message: &impl Message) -> bool {
        let url = format!("{}/v1/{signal}", self.endpoint);
        let request = self.client.post(&url).header("content-type", "application/x-protobuf");
        let headers = self.headers.iter();
        let request =
            headers.fold(request, |request, (name, value)| request.header(name, value.0.as_slice()));
        let answer = request.body(message.encode_to_vec()).send().await;
        let failure = match answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered with {}", answer.status())),
            Err(error) => Some(without_url(error)),
        };
        let accepted = failure.is_none();
        match failure {
            None if self.away => {
                let spans = trace::take_dropped();
                tracing::info!(spans, "the OTLP collector accepts data again; spans were dropped meanwhile");
                self.away = false;
            }
            Some(why) if !self.away => {
                tracing::warn!(
                    url,
                    why,
                    "the OTLP collector does not accept data; traces and metrics are dropped until it does \
                     (telemetry.otlp.endpoint)"
                );
                self.away = true;
            }
            _ => {}
        }
        accepted
    }
}

/// Collects a batch that begins with this span: the spans that arrive within [`LINGER`], at most [`BATCH`].
async fn batch(first: SpanData, spans: &mut mpsc::Receiver<SpanData>) -> Vec<SpanData> {
    let (mut batch, full_at) = (vec![first], Instant::now() + LINGER);
    while batch.len() < BATCH {
        match timeout_at(full_at, spans.recv()).await {
            Ok(Some(span)) => batch.push(span),
            Ok(None) | Err(_) => break,
        }
    }
    batch
}

/// Returns the spans that wait now, at most [`BATCH`].
fn waiting(spans: &mut mpsc::Receiver<SpanData>) -> Vec<SpanData> {
    std::iter::from_fn(|| spans.try_recv().ok()).take(BATCH).collect()
}

/// Returns the text of an error and of its causes, without the URL of the request.
fn without_url(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn resource(identity: &Identity) -> messages::Resource {
    // Attribute names of the OpenTelemetry semantic conventions.
    let attributes = [
        ("service.name", "stentor"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.namespace", identity.cluster.as_str()),
        ("service.instance.id", identity.node.as_str()),
    ];
    messages::Resource {
        attributes: attributes.map(|(key, value)| messages::KeyValue::new(key, value)).to_vec(),
    }
}

fn scope() -> messages::Scope {
    messages::Scope { name: "stentor".into(), version: env!("CARGO_PKG_VERSION").into() }
}

fn span(data: SpanData) -> messages::Span {
    let SpanData { context, parent, name, is_server, start, end, attributes, error } = data;
    messages::Span {
        trace_id: context.trace.to_vec(),
        span_id: context.span.to_vec(),
        parent_span_id: parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        name,
        kind: if is_server { messages::SERVER } else { messages::INTERNAL },
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes: attributes.into_iter().map(|(key, value)| messages::KeyValue::new(key, value)).collect(),
        status: error.map(|message| messages::Status { message, code: messages::ERROR }),
    }
}

fn since_epoch(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::trace_context::TraceContext;

    #[test]
    fn last_batch_waits_for_nothing() {
        let (sender, mut spans) = mpsc::channel(BATCH + 8);
        let span = |span: u8| SpanData {
            context: TraceContext { trace: [1; 16], span: [span; 8], sampled: true },
            parent: None,
            name: "write".into(),
            is_server: false,
            start: 1,
            end: 2,
            attributes: Vec::new(),
            error: None,
        };
        assert_eq!(waiting(&mut spans), []);
        (2..4).for_each(|number| sender.try_send(span(number)).unwrap());
        assert_eq!(waiting(&mut spans), [span(2), span(3)]);
        (0..BATCH + 3).for_each(|_| sender.try_send(span(1)).unwrap());
        assert_eq!((waiting(&mut spans).len(), waiting(&mut spans).len()), (BATCH, 3));
    }
}

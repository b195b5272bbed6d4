//! Every metric outside the actor kernel, declared in one place.
//!
//! Owns: names, help texts, buckets, labels. Label values come only from small fixed sets: never a room, a
//! user or an address. The kernel registers its own metrics in the same [`Metrics::registry`].

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{
    Counter, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::caption_metrics::CaptionMetrics;
use super::logging;
use super::output_metrics::OutputMetrics;
use super::recording_metrics::RecordingMetrics;
use super::rewind_metrics::RewindMetrics;
use super::socket_metrics::SocketMetrics;
use super::webhook_metrics::WebhookMetrics;
use crate::domain::mix::PeakClass;

/// Histogram buckets in seconds: 0.5 ms (a call on loopback) to 10 s (the longest timeout).
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All metrics of a process. Cheap to clone; clones share their values.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

/// Guard that keeps a gauge incremented until it is dropped.
#[must_use]
pub struct GaugeGuard(IntGauge);

impl GaugeGuard {
    pub(super) fn of(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct Families {
    registry: Registry,
    events: IntCounterVec,
    rooms: IntGaugeVec,
    room_moves: IntCounterVec,
    leader: IntGauge,
    housekeeping_actions: IntCounterVec,
    invalid_keys: IntGauge,
    relay_requests: IntCounterVec,
    ffmpeg_starts: IntCounter,
    ffmpeg_exits: IntCounterVec,
    ffmpeg_running: IntGauge,
    fragments: IntCounter,
    late_parts: IntCounter,
    mix_seconds: IntCounterVec,
    captions: CaptionMetrics,
    recordings: RecordingMetrics,
    outputs: OutputMetrics,
    rewind: RewindMetrics,
    silence: Counter,
    janus_requests: IntCounterVec,
    janus_seconds: HistogramVec,
    janus_up: IntGauge,
    store_requests: IntCounterVec,
    store_seconds: HistogramVec,
    store_up: IntGauge,
    watch_restarts: IntCounterVec,
    http_requests: IntCounterVec,
    http_seconds: HistogramVec,
    sockets: SocketMetrics,
    webhooks: WebhookMetrics,
    listeners: IntGauge,
    heartbeats: IntCounterVec,
    channel_clients: IntGauge,
    channel_dropped: IntCounter,
    ws_connections: IntGauge,
    ws_calls: IntCounterVec,
    ws_call_seconds: HistogramVec,
    ws_closed: IntCounterVec,
    presence_requests: IntCounterVec,
    presence_seconds: HistogramVec,
    presence_up: IntGauge,
    anchor_sessions: IntGauge,
    anchor_session_ends: IntCounterVec,
}

impl Metrics {
    /// Creates the metrics with their own registry; `started_at` is the start time of the process.
    pub fn new(started_at: SystemTime) -> Self {
        let registry = Registry::new();
        register_process(&registry, started_at);
        registered(&registry, logging::DROPPED_LINES.clone());
        registered(&registry, logging::REPEATED_LINES.clone());
        let r = &registry;
        Self(Arc::new(Families {
            events: counters(r, "stentor_events_total", "Operational events, as logged.", &["event"]),
            rooms: gauges(r, "stentor_rooms", "Rooms of the installation, by status.", &["status"]),
            room_moves: counters(
                r,
                "stentor_room_moves_total",
                "Rooms on air moved by this node to another Janus instance or mixer, counted per module.",
                &["cause"],
            ),
            leader: gauge(r, "stentor_leader", "1 while this node is the leader, else 0."),
            housekeeping_actions: counters(
                r,
                "stentor_housekeeping_actions_total",
                "Housekeeping actions of this node.",
                &["action"],
            ),
            invalid_keys: gauge(
                r,
                "stentor_store_invalid_keys",
                "Keys of the store that this version cannot parse, or whose value it cannot parse.",
            ),
            relay_requests: counters(
                r,
                "stentor_relay_requests_total",
                "Requests of this listener node to mixer nodes.",
                &["what", "outcome"],
            ),
            ffmpeg_starts: counter(r, "stentor_ffmpeg_starts_total", "FFmpeg processes started."),
            ffmpeg_exits: counters(r, "stentor_ffmpeg_exits_total", "FFmpeg processes ended.", &["reason"]),
            ffmpeg_running: gauge(r, "stentor_ffmpeg_running", "FFmpeg processes alive."),
            fragments: counter(
                r,
                "stentor_media_fragments_total",
                "HLS parts published, of FFmpeg's audio or of silence in its place.",
            ),
            silence: seconds_total(
                r,
                "stentor_media_silence_seconds_total",
                "Silence published in place of audio that FFmpeg did not deliver in time.",
            ),
            late_parts: counter(
                r,
                "stentor_media_late_parts_total",
                "HLS parts published more than half a part late.",
            ),
            captions: CaptionMetrics::new(r),
            recordings: RecordingMetrics::new(r),
            outputs: OutputMetrics::new(r),
            rewind: RewindMetrics::new(r),
            mix_seconds: counters(r, "stentor_mix_seconds_total", "Seconds mixed, by level.", &["level"]),
            janus_requests: counters(
                r,
                "stentor_janus_requests_total",
                "Requests to Janus.",
                &["request", "outcome"],
            ),
            janus_seconds: seconds(
                r,
                "stentor_janus_request_seconds",
                "Time of requests to Janus.",
                &["request"],
            ),
            janus_up: gauge(r, "stentor_janus_up", "1 while this node's Janus answers, else 0."),
            store_requests: counters(
                r,
                "stentor_store_requests_total",
                "Requests to the store.",
                &["op", "outcome"],
            ),
            store_seconds: seconds(
                r,
                "stentor_store_request_seconds",
                "Time of requests to the store.",
                &["op"],
            ),
            store_up: gauge(r, "stentor_store_up", "1 while the store answers, else 0."),
            watch_restarts: counters(
                r,
                "stentor_store_watch_restarts_total",
                "Store watches restarted with a new list.",
                &["reason"],
            ),
            http_requests: counters(
                r,
                "stentor_http_requests_total",
                "HTTP requests answered.",
                &["route", "status"],
            ),
            http_seconds: seconds(
                r,
                "stentor_http_request_seconds",
                "Time to answer HTTP requests.",
                &["route"],
            ),
            sockets: SocketMetrics::new(r),
            webhooks: WebhookMetrics::new(r),
            listeners: gauge(
                r,
                "stentor_listeners",
                "Listeners by HLS and by plain stream in the last ten seconds.",
            ),
            heartbeats: counters(r, "stentor_heartbeats_total", "Heartbeats to the store.", &["outcome"]),
            channel_clients: gauge(r, "stentor_channel_clients", "Clients of listener channels."),
            channel_dropped: counter(
                r,
                "stentor_channel_dropped_total",
                "Clients of listener channels dropped because they were too slow.",
            ),
            ws_connections: gauge(r, "stentor_ws_connections", "Signalling connections open."),
            ws_calls: counters(
                r,
                "stentor_ws_calls_total",
                "Signalling calls, by method and outcome.",
                &["method", "outcome"],
            ),
            ws_call_seconds: seconds(
                r,
                "stentor_ws_call_seconds",
                "Time of signalling calls that were run.",
                &["method"],
            ),
            ws_closed: counters(r, "stentor_ws_closed_total", "Signalling connections closed.", &["reason"]),
            presence_requests: counters(
                r,
                "stentor_presence_requests_total",
                "Requests for connection locks and presence entries, by outcome.",
                &["op", "outcome"],
            ),
            presence_seconds: seconds(
                r,
                "stentor_presence_request_seconds",
                "Time of these presence requests.",
                &["op"],
            ),
            presence_up: gauge(r, "stentor_presence_up", "1 while Redis, or the embedded presence, answers."),
            anchor_sessions: gauge(
                r,
                "stentor_anchor_sessions",
                "Media sessions of anchors on this gateway.",
            ),
            anchor_session_ends: counters(
                r,
                "stentor_anchor_session_ends_total",
                "Media sessions of anchors ended.",
                &["reason"],
            ),
            registry,
        }))
    }

    /// Returns the registry, in which the actor kernel registers its own metrics.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Returns all metrics in the Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Cannot fail: it writes to memory, and the registry refused bad names when they were registered.
        TextEncoder::new().encode_utf8(&self.0.registry.gather(), &mut text).expect("metrics are valid text");
        text
    }

    /// Counts an event; called by [`Event::emit`](super::Event::emit).
    pub(super) fn event(&self, name: &'static str) {
        self.0.events.with_label_values(&[name]).inc();
    }

    /// Sets the number of rooms with `status`. Set the statuses without rooms to 0.
    pub fn set_rooms(&self, status: &'static str, count: usize) {
        self.0.rooms.with_label_values(&[status]).set(count as i64);
    }

    pub fn set_listeners(&self, count: usize) {
        self.0.listeners.set(count as i64);
    }

    /// Counts a room's move to another Janus instance or mixer. `cause`: the reason for the move.
    pub fn room_moved(&self, cause: &'static str) {
        self.0.room_moves.with_label_values(&[cause]).inc();
    }

    pub fn set_leader(&self, leads: bool) {
        self.0.leader.set(leads.into());
    }

    pub fn housekeeping_done(&self, action: &'static str) {
        self.0.housekeeping_actions.with_label_values(&[action]).inc();
    }

    pub fn set_invalid_keys(&self, count: usize) {
        self.0.invalid_keys.set(count as i64);
    }

    /// Counts a request to another node; `what` is documented with the metric.
    pub fn relay_request(&self, what: &'static str, outcome: &'static str) {
        self.0.relay_requests.with_label_values(&[what, outcome]).inc();
    }

    pub fn ffmpeg_started(&self) {
        self.0.ffmpeg_starts.inc();
    }

    /// Counts an FFmpeg as running until the returned guard is dropped, even by a panic.
    pub fn ffmpeg_alive(&self) -> GaugeGuard {
        GaugeGuard::of(&self.0.ffmpeg_running)
    }

    pub fn captions(&self) -> &CaptionMetrics {
        &self.0.captions
    }

    pub fn recordings(&self) -> &RecordingMetrics {
        &self.0.recordings
    }

    pub fn outputs(&self) -> &OutputMetrics {
        &self.0.outputs
    }

    /// Returns the metrics of rewind windows.
    pub fn rewind(&self) -> &RewindMetrics {
        &self.0.rewind
    }

    pub fn ffmpeg_exited(&self, reason: &'static str) {
        self.0.ffmpeg_exits.with_label_values(&[reason]).inc();
    }

    pub fn media_fragment(&self) {
        self.0.fragments.inc();
    }

    pub fn silence_filled(&self, duration: Duration) {
        self.0.silence.inc_by(duration.as_secs_f64());
    }

    pub fn late_part(&self) {
        self.0.late_parts.inc();
    }

    /// Counts one second of a room's mix.
    pub fn mix_second(&self, loud: PeakClass) {
        self.0.mix_seconds.with_label_values(&[loud.as_str()]).inc();
    }

    /// Records a request of a kind (`create`, `rtp_forward`, …). `outcome` e.g. `ok`, `refused`, `timeout`.
    pub fn janus_request(&self, request: &'static str, outcome: &'static str, took: Duration) {
        self.0.janus_requests.with_label_values(&[request, outcome]).inc();
        self.0.janus_seconds.with_label_values(&[request]).observe(took.as_secs_f64());
    }

    pub fn set_janus_up(&self, up: bool) {
        self.0.janus_up.set(up.into());
    }

    /// Records a request. `op` is the method of the store, `outcome` e.g. `ok`, `conflict`, `unavailable`.
    pub fn store_request(&self, op: &'static str, outcome: &'static str, took: Duration) {
        self.0.store_requests.with_label_values(&[op, outcome]).inc();
        self.0.store_seconds.with_label_values(&[op]).observe(took.as_secs_f64());
    }

    pub fn set_store_up(&self, up: bool) {
        self.0.store_up.set(up.into());
    }

    pub fn watch_restarted(&self, reason: &'static str) {
        self.0.watch_restarts.with_label_values(&[reason]).inc();
    }

    /// Records a request. `route` is the pattern (`/api/rooms/{id}`), never the path.
    pub fn http_request(&self, route: &str, status: u16, took: Duration) {
        self.0.http_requests.with_label_values(&[route, status_class(status)]).inc();
        self.0.http_seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// Returns the metrics of the listening sockets.
    pub fn sockets(&self) -> &SocketMetrics {
        &self.0.sockets
    }

    /// Returns the metrics of webhooks.
    pub fn webhooks(&self) -> &WebhookMetrics {
        &self.0.webhooks
    }

    pub fn channel_opened(&self) {
        self.0.channel_clients.inc();
    }

    pub fn channel_closed(&self) {
        self.0.channel_clients.dec();
    }

    pub fn channel_dropped(&self) {
        self.0.channel_dropped.inc();
    }

    pub fn set_ws_connections(&self, count: usize) {
        self.0.ws_connections.set(count as i64);
    }

    /// Records a call. `outcome`: `ok` or an error code. `method`: `none` for a call refused before it ran.
    pub fn ws_call(&self, method: &'static str, outcome: &'static str, took: Option<Duration>) {
        self.0.ws_calls.with_label_values(&[method, outcome]).inc();
        if let Some(took) = took {
            self.0.ws_call_seconds.with_label_values(&[method]).observe(took.as_secs_f64());
        }
    }

    pub fn ws_closed(&self, reason: &'static str) {
        self.0.ws_closed.with_label_values(&[reason]).inc();
    }

    /// Records a request. `outcome` is the answer of the lock or the room, or the kind of failure.
    pub fn presence_request(&self, op: &'static str, outcome: &'static str, took: Duration) {
        self.0.presence_requests.with_label_values(&[op, outcome]).inc();
        self.0.presence_seconds.with_label_values(&[op]).observe(took.as_secs_f64());
    }

    pub fn set_presence_up(&self, up: bool) {
        self.0.presence_up.set(i64::from(up));
    }

    pub fn set_anchor_sessions(&self, count: usize) {
        self.0.anchor_sessions.set(count as i64);
    }

    pub fn anchor_session_ended(&self, reason: &'static str) {
        self.0.anchor_session_ends.with_label_values(&[reason]).inc();
    }

    pub fn heartbeat(&self, sent: bool) {
        self.0.heartbeats.with_label_values(&[if sent { "sent" } else { "failed" }]).inc();
    }
}

fn status_class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

fn register_process(registry: &Registry, started_at: SystemTime) {
    let build =
        gauges(registry, "stentor_build_info", "Always 1; the labels identify the build.", &["version"]);
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    let (name, help) = ("process_start_time_seconds", "Start of the process, Unix time in seconds.");
    // Cannot fail: name and help are literals that a test renders.
    let start = Gauge::new(name, help).expect("valid");
    start.set(started_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    registered(registry, start);
}

pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    // Cannot fail: names and help texts are literals that a test renders. The same holds below.
    registered(registry, IntCounter::new(name, help).expect("valid"))
}

fn seconds_total(registry: &Registry, name: &str, help: &str) -> Counter {
    // See `counter`.
    registered(registry, Counter::new(name, help).expect("valid"))
}

pub(super) fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    // See `counter`.
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels).expect("valid"))
}

pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    // See `counter`.
    registered(registry, IntGauge::new(name, help).expect("valid"))
}

pub(super) fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    // See `counter`.
    registered(registry, IntGaugeVec::new(Opts::new(name, help), labels).expect("valid"))
}

fn seconds(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let opts = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
    // See `counter`.
    registered(registry, HistogramVec::new(opts, labels).expect("valid"))
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    // Fails only for a name that is registered twice; a test registers all metrics.
    registry.register(Box::new(collector.clone())).expect("every name is there once");
    collector
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;

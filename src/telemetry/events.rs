//! Operational events: one struct each, whose `emit` writes the log line and the metrics together.
//!
//! Owns: the wording and level of these lines, so that each event is worded in one place only. A new event is
//! a struct with an `impl Event`; its count in `stentor_events_total` needs no further code.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::field::display;
use tracing::{error, info, warn};

use super::Metrics;
use crate::domain::ids::{Epoch, ModuleId, RoomId};
use crate::domain::recording::RecordingId;

/// An event that an operator wants to know about, logged once when it happens.
pub trait Event {
    /// Label in `stentor_events_total`.
    const NAME: &'static str;

    /// Writes one log line with all fields of the event.
    fn log(&self);

    /// Updates metrics beyond the count of the event.
    fn record(&self, _metrics: &Metrics) {}

    /// Writes the log line, counts the event and updates the metrics, in one step.
    fn emit(self, metrics: &Metrics)
    where
        Self: Sized,
    {
        self.log();
        metrics.event(Self::NAME);
        self.record(metrics);
    }
}

/// Readiness of the node: `/readyz` responds with 200 from now on. Scripts wait for this line.
pub struct NodeReady<'a> {
    pub node: &'a ModuleId,
    /// `None`: no role of this node uses this address.
    pub api: Option<SocketAddr>,
    pub ws: Option<SocketAddr>,
    pub hls: Option<SocketAddr>,
    pub ops: SocketAddr,
}

/// Start of the orderly shutdown.
pub struct NodeStopping<'a> {
    pub node: &'a ModuleId,
    pub reason: &'static str,
}

pub struct RoomPlaced<'a> {
    pub room: &'a RoomId,
    pub epoch: Epoch,
    pub janus: &'a ModuleId,
    pub mixer: &'a ModuleId,
    /// `started`, or the reason for the new placement.
    pub reason: &'static str,
}

/// Assignment of another Janus instance or mixer to a room on air.
pub struct RoomMoved<'a> {
    pub room: &'a RoomId,
    pub epoch: Epoch,
    pub janus: &'a ModuleId,
    pub mixer: &'a ModuleId,
    /// Cause for each module that was replaced, from a small fixed set.
    pub causes: Vec<&'static str>,
    /// The causes as text, with the modules that the room left.
    pub reason: &'a str,
}

/// Outage of a webhook endpoint: it does not answer, or does not accept events. Its events wait.
pub struct WebhookUnavailable<'a> {
    pub endpoint: &'a str,
    pub error: &'a str,
}

/// End of the outage of a webhook endpoint.
pub struct WebhookAvailable<'a> {
    pub endpoint: &'a str,
}

/// Event that was given up for an endpoint and is now a dead letter.
pub struct WebhookDeadLetter<'a> {
    pub endpoint: &'a str,
    pub event: &'a str,
    pub attempts: u32,
    pub error: &'a str,
}

/// Election of this node as the leader.
pub struct LeaderElected<'a> {
    pub node: &'a ModuleId,
}

/// End of this node's time as the leader.
pub struct LeaderLost<'a> {
    pub node: &'a ModuleId,
    pub reason: &'a str,
}

/// Leader key without a lease, so no Stentor node wrote it. This node takes it over.
pub struct LeaderKeyOrphaned<'a> {
    pub key: &'a str,
    /// Node that the key names.
    pub named: &'a str,
}

pub struct FfmpegStarted<'a> {
    pub room: &'a RoomId,
    pub epoch: Epoch,
    pub pid: u32,
    pub port: u16,
}

/// Reason why an FFmpeg ended. A fixed set, because it is a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FfmpegExit {
    /// Stentor stopped the process: the room ended, moved, or got a new forwarder.
    Stopped,
    /// The process ended by itself, for a reason that is not listed here.
    Crashed,
    /// The process finished its output by itself, with exit code 0 or 255.
    Finished,
    /// The process found its port in use.
    BindFailed,
    /// No audio arrived: the watchdog stopped the process, or the process ended by itself.
    Stalled,
    /// The mix was silent although somebody spoke.
    Silent,
}

pub struct FfmpegExited<'a> {
    pub room: &'a RoomId,
    pub pid: u32,
    pub why: FfmpegExit,
    /// Exit status as the system reported it, e.g. `signal: 9 (SIGKILL)`.
    pub status: &'a str,
    pub ran: Duration,
}

pub struct JanusUp<'a> {
    pub url: &'a str,
    pub version: &'a str,
}

pub struct JanusLost<'a> {
    pub url: &'a str,
    pub reason: &'a str,
}

/// Outage of the store. Broadcasts continue, but nothing is written to the store.
pub struct StoreLost<'a> {
    pub reason: &'a str,
}

/// Failure to write segments of a recording. The broadcast continues.
pub struct RecordingDiskFailed<'a> {
    pub recording: &'a RecordingId,
    pub room: &'a RoomId,
    pub error: &'a dyn std::error::Error,
    /// Segments lost so far.
    pub lost: u64,
}

/// Failure to write the rewind window of a room. The broadcast continues, and the window is shorter.
pub struct RewindDiskFailed<'a> {
    pub room: &'a RoomId,
    pub error: &'a dyn std::error::Error,
    /// Time that listeners can still go back.
    pub span: Duration,
    /// Segments lost so far.
    pub lost: u64,
}

pub struct StoreBack {
    pub away: Duration,
}

impl Event for NodeReady<'_> {
    const NAME: &'static str = "node_ready";

    fn log(&self) {
        let (api, ws, hls) = (self.api.map(display), self.ws.map(display), self.hls.map(display));
        info!(node = %self.node, api, ws, hls, ops = %self.ops, "ready");
    }
}

impl Event for NodeStopping<'_> {
    const NAME: &'static str = "node_stopping";

    fn log(&self) {
        info!(node = %self.node, reason = self.reason, "stopping");
    }
}

impl Event for RoomPlaced<'_> {
    const NAME: &'static str = "room_placed";

    fn log(&self) {
        let Self { room, epoch, janus, mixer, reason } = self;
        info!(%room, %epoch, %janus, %mixer, reason, "room placed");
    }
}

impl Event for RoomMoved<'_> {
    const NAME: &'static str = "room_moved";

    fn log(&self) {
        let Self { room, epoch, janus, mixer, reason, .. } = self;
        warn!(%room, %epoch, %janus, %mixer, reason, "room moved");
    }

    fn record(&self, metrics: &Metrics) {
        self.causes.iter().for_each(|cause| metrics.room_moved(cause));
    }
}

impl Event for WebhookUnavailable<'_> {
    const NAME: &'static str = "webhook_unavailable";

    fn log(&self) {
        warn!(endpoint = self.endpoint, error = self.error, "webhook endpoint not available; events wait");
    }
}

impl Event for WebhookAvailable<'_> {
    const NAME: &'static str = "webhook_available";

    fn log(&self) {
        info!(endpoint = self.endpoint, "webhook endpoint answered again");
    }
}

impl Event for WebhookDeadLetter<'_> {
    const NAME: &'static str = "webhook_dead_letter";

    fn log(&self) {
        let Self { endpoint, event, attempts, error } = self;
        warn!(endpoint, event, attempts, error, "webhook event given up; it is a dead letter now");
    }

    fn record(&self, metrics: &Metrics) {
        metrics.webhooks().gave_up(self.endpoint);
    }
}

impl Event for LeaderElected<'_> {
    const NAME: &'static str = "leader_elected";

    fn log(&self) {
        info!(node = %self.node, "this node became the leader");
    }

    fn record(&self, metrics: &Metrics) {
        metrics.set_leader(true);
    }
}

impl Event for LeaderKeyOrphaned<'_> {
    const NAME: &'static str = "leader_key_orphaned";

    fn log(&self) {
        error!(
            key = self.key,
            named = self.named,
            "took over a leader key without a lease; find out what writes to the store"
        );
    }
}

impl Event for LeaderLost<'_> {
    const NAME: &'static str = "leader_lost";

    fn log(&self) {
        info!(node = %self.node, reason = self.reason, "this node is no longer the leader");
    }

    fn record(&self, metrics: &Metrics) {
        metrics.set_leader(false);
    }
}

impl Event for FfmpegStarted<'_> {
    const NAME: &'static str = "ffmpeg_started";

    fn log(&self) {
        info!(room = %self.room, epoch = %self.epoch, pid = self.pid, port = self.port, "FFmpeg started");
    }

    fn record(&self, metrics: &Metrics) {
        metrics.ffmpeg_started();
    }
}

impl FfmpegExit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::BindFailed => "bind_failed",
            Self::Finished => "finished",
            Self::Stalled => "stalled",
            Self::Silent => "silent",
        }
    }
}

impl Event for FfmpegExited<'_> {
    const NAME: &'static str = "ffmpeg_exited";

    fn log(&self) {
        let (room, pid, why, status) = (self.room, self.pid, self.why.as_str(), self.status);
        let ran_ms = self.ran.as_millis() as u64;
        match self.why {
            // Without RTP, FFmpeg ignores INT and is killed. For an operator, that is no different stop.
            FfmpegExit::Stopped => info!(%room, pid, ran_ms, "FFmpeg stopped"),
            _ => warn!(%room, pid, why, status, ran_ms, "FFmpeg exited"),
        }
    }

    fn record(&self, metrics: &Metrics) {
        metrics.ffmpeg_exited(self.why.as_str());
    }
}

impl Event for JanusUp<'_> {
    const NAME: &'static str = "janus_up";

    fn log(&self) {
        info!(url = self.url, version = self.version, "Janus became available");
    }

    fn record(&self, metrics: &Metrics) {
        metrics.set_janus_up(true);
    }
}

impl Event for JanusLost<'_> {
    const NAME: &'static str = "janus_lost";

    fn log(&self) {
        error!(url = self.url, reason = self.reason, "lost Janus; its rooms will be rebuilt when it is back");
    }

    fn record(&self, metrics: &Metrics) {
        metrics.set_janus_up(false);
    }
}

impl Event for StoreLost<'_> {
    const NAME: &'static str = "store_lost";

    fn log(&self) {
        error!(reason = self.reason, "lost the store; rooms on air continue, changes are refused");
    }

    fn record(&self, metrics: &Metrics) {
        metrics.set_store_up(false);
    }
}

impl Event for RecordingDiskFailed<'_> {
    const NAME: &'static str = "recording_disk_failed";

    fn log(&self) {
        let Self { recording, room, error, lost } = self;
        error!(
            %recording, %room, %error, lost,
            "cannot write a recording; the broadcast continues, free space or repair recording.dir"
        );
    }
}

impl Event for RewindDiskFailed<'_> {
    const NAME: &'static str = "rewind_disk_failed";

    fn log(&self) {
        let Self { room, error, span, lost } = self;
        warn!(
            %room, %error, ?span, lost,
            "cannot write a rewind window, so it is shorter; the broadcast continues, free space in data_dir"
        );
    }
}

impl Event for StoreBack {
    const NAME: &'static str = "store_back";

    fn log(&self) {
        info!(away_ms = self.away.as_millis() as u64, "store became available again");
    }

    fn record(&self, metrics: &Metrics) {
        metrics.set_store_up(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::time::SystemTime;

    #[test]
    fn emit_writes_log_counter_and_histogram() {
        let (metrics, log) = observed(|metrics| {
            let room = &RoomId::new("demo").unwrap();
            FfmpegStarted { room, epoch: Epoch(3), pid: 7, port: 20_000 }.emit(metrics);
            let status = "signal: 9 (SIGKILL)";
            let ran = Duration::from_millis(1500);
            for why in [FfmpegExit::Crashed, FfmpegExit::Stopped] {
                FfmpegExited { room, pid: 7, why, status, ran }.emit(metrics);
            }
        });
        assert!(
            log.contains("INFO") && log.contains("FFmpeg started room=demo epoch=3 pid=7 port=20000"),
            "{log}"
        );
        assert!(
            log.contains("WARN") && log.contains("why=\"crashed\"") && log.contains("ran_ms=1500"),
            "{log}"
        );
        assert_eq!(log.matches("SIGKILL").count(), 1, "a stopped process has no exit status: {log}");
        for line in [
            "stentor_events_total{event=\"ffmpeg_exited\"} 2",
            "stentor_ffmpeg_starts_total 1",
            "stentor_ffmpeg_exits_total{reason=\"crashed\"} 1",
        ] {
            assert!(metrics.contains(line), "missing {line} in\n{metrics}");
        }
    }

    #[test]
    fn up_and_lost_events_set_gauges() {
        let (metrics, log) = observed(|metrics| {
            JanusUp { url: "ws://127.0.0.1:8188", version: "1.1.2" }.emit(metrics);
            JanusLost { url: "ws://127.0.0.1:8188", reason: "closed" }.emit(metrics);
            StoreLost { reason: "timeout" }.emit(metrics);
            StoreBack { away: Duration::from_secs(1) }.emit(metrics);
        });
        assert!(
            metrics.contains("stentor_janus_up 0") && metrics.contains("stentor_store_up 1"),
            "{metrics}"
        );
        assert_eq!(log.matches("ERROR").count(), 2, "{log}");
    }

    #[test]
    fn the_ready_line_names_the_addresses() {
        let (_, log) = observed(|metrics| {
            let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
            let node = &ModuleId::new("node-1").unwrap();
            let (api, ws, hls) = (Some(at(3000)), Some(at(8081)), Some(at(8080)));
            NodeReady { node, api, ws, hls, ops: at(9464) }.emit(metrics);
            NodeReady { node, api: None, ws: None, hls, ops: at(9464) }.emit(metrics);
            NodeStopping { node, reason: "SIGTERM" }.emit(metrics);
            let room = &RoomId::new("demo").unwrap();
            RoomPlaced { room, epoch: Epoch(1), janus: node, mixer: node, reason: "started" }.emit(metrics);
        });
        assert!(log.contains(
            "ready node=node-1 api=127.0.0.1:3000 ws=127.0.0.1:8081 hls=127.0.0.1:8080 ops=127.0.0.1:9464"
        ));
        assert!(log.contains("ready node=node-1 hls=127.0.0.1:8080 ops=127.0.0.1:9464"), "{log}");
    }

    /// Runs `story` and returns the resulting `/metrics` text and log.
    fn observed(story: impl FnOnce(&Metrics)) -> (String, String) {
        let metrics = Metrics::new(SystemTime::now());
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || story(&metrics));
        let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        (metrics.render(), log)
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}

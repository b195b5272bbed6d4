//! Tests of the metrics as Prometheus reads them.

use super::*;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn promtool_accepts_metrics() {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool (package prometheus) is installed");
    child.stdin.take().unwrap().write_all(used().render().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn metrics_render_counted_values() {
    let text = used().render();
    for line in [
        "stentor_rooms{status=\"onair\"} 2",
        "stentor_ffmpeg_running 1",
        "stentor_ffmpeg_exits_total{reason=\"crash\"} 1",
        "stentor_janus_requests_total{outcome=\"ok\",request=\"create\"} 1",
        "stentor_janus_request_seconds_bucket{request=\"create\",le=\"0.0025\"} 1",
        "stentor_http_requests_total{route=\"/api/rooms/{id}\",status=\"4xx\"} 1",
        "stentor_heartbeats_total{outcome=\"failed\"} 1",
        "process_start_time_seconds 1000",
    ] {
        assert!(text.lines().any(|l| l == line), "missing {line} in\n{text}");
    }
}

/// Returns metrics with at least one value per family, so that all of them are rendered.
fn used() -> Metrics {
    let metrics = Metrics::new(UNIX_EPOCH + Duration::from_secs(1000));
    let took = Duration::from_millis(2);
    metrics.event("test");
    metrics.set_rooms("onair", 2);
    metrics.room_moved("vanished");
    metrics.set_leader(true);
    metrics.relay_request("file", "ok");
    metrics.housekeeping_done("never_started");
    metrics.set_invalid_keys(1);
    drop(metrics.captions().connected());
    metrics.captions().result("final");
    metrics.captions().decoder_failed();
    metrics.recordings().segments("written", 1);
    metrics.recordings().uploaded("stored");
    metrics.ffmpeg_started();
    metrics.ffmpeg_started();
    metrics.ffmpeg_exited("crash");
    metrics.outputs().opus_encoder_failed();
    drop(metrics.ffmpeg_alive());
    std::mem::forget(metrics.ffmpeg_alive());
    metrics.media_fragment();
    metrics.silence_filled(took);
    metrics.late_part();
    metrics.mix_second(PeakClass::Clipped);
    metrics.janus_request("create", "ok", took);
    metrics.set_janus_up(true);
    metrics.store_request("txn", "conflict", took);
    metrics.set_store_up(true);
    metrics.watch_restarted("compacted");
    metrics.http_request("/api/rooms/{id}", 404, took);
    metrics.sockets().opened("hls");
    metrics.sockets().refused("hls");
    metrics.sockets().cut("slow_reader");
    metrics.sockets().limited("hls");
    metrics.webhooks().attempted("app", "delivered");
    metrics.webhooks().gave_up("app");
    metrics.webhooks().set_oldest("app", took);
    metrics.sockets().handshake("ok");
    metrics.sockets().set_certificate(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
    metrics.heartbeat(false);
    metrics.set_ws_connections(3);
    metrics.ws_call("join", "ok", Some(took));
    metrics.ws_closed("too_slow");
    metrics
}

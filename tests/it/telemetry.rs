//! Traces and metrics of a real node at an OTLP collector, and a collector that is not reachable.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::kept::KeptProcess;
use crate::support::node::{Node, request};
use crate::support::webrtc::WebRtcClient;
use crate::support::{free_ports, opus, raw, skipped, until};
use crate::ws::client::Client;

const ROOM: &str = "live";
/// Version of `opentelemetry-proto` on PyPI.
const VERSION: &str = "1.45.2";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const WHIP_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00f067aa0ba902b7";

struct Receiver {
    url: String,
    _process: KeptProcess,
}

impl Receiver {
    /// Starts a receiver. If its Protobuf classes cannot be installed, prints a message and returns `None`.
    async fn start() -> Option<Self> {
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/otlp-receiver");
        let install = Command::new(format!("{scripts}.sh")).arg(VERSION).stderr(Stdio::inherit()).output();
        let installed = install.expect("the script runs");
        if !installed.status.success() {
            skipped("opentelemetry-proto cannot be installed from PyPI here");
            return None;
        }
        let python = String::from_utf8(installed.stdout).unwrap();
        let [port] = free_ports();
        let mut command = Command::new(python.trim());
        command.arg(format!("{scripts}.py")).arg(port.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
        let process = KeptProcess::start(command);
        let address = format!("127.0.0.1:{port}");
        until("the receiver listens", async || tokio::net::TcpStream::connect(&address).await.is_ok()).await;
        Some(Self { url: format!("http://{address}"), _process: process })
    }

    /// Returns all spans that were received.
    async fn spans(&self) -> Vec<Value> {
        let of = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
        let requests = request("GET", &format!("{}/traces", self.url), &[], None).await.json();
        let data = requests.as_array().unwrap().iter().map(|request| request["data"].clone());
        let scopes = data.flat_map(|data| of(&data, "resourceSpans")).flat_map(|r| of(&r, "scopeSpans"));
        scopes.flat_map(|scope| of(&scope, "spans")).collect()
    }

    async fn metrics(&self) -> Vec<Value> {
        request("GET", &format!("{}/metrics", self.url), &[], None).await.json().as_array().unwrap().clone()
    }
}

/// Converts an id to Base64, as in Protobuf's JSON.
fn base64(id: &str) -> Value {
    BASE64_STANDARD.encode(hex::decode(id).unwrap()).into()
}

#[actix::test]
async fn start_is_one_trace() {
    let Some(receiver) = Receiver::start().await else { return };
    let mut node = Node::start(&[
        ("telemetry.otlp.endpoint", &receiver.url),
        ("telemetry.otlp.headers", "x-test-key=a-secret-of-the-collector"),
        ("telemetry.otlp.interval", "1s"),
        ("telemetry.otlp.sample_percent", "0"),
    ])
    .await;
    assert_eq!(node.post("/api/rooms", json!({ "roomId": ROOM })).await.status, 201);
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let start = format!("{}/api/rooms/{ROOM}/start", node.api);
    let started = request("POST", &start, &[("traceparent", &traceparent)], None).await;
    assert_eq!(started.status, 200, "{started:?}");
    node.until_status(ROOM, "onair").await;
    let wanted = [
        "POST /api/rooms/{id}/start",
        "store.write",
        "janus.create_room",
        "janus.start_forwarder",
        "janus.store.write",
        "mixer.ffmpeg.start",
        "mixer.store.write",
        "mixer.first_part",
    ];
    until("all spans arrive", async || {
        let spans = receiver.spans().await;
        wanted.iter().all(|name| spans.iter().any(|span| span["name"] == *name))
    })
    .await;
    let spans = receiver.spans().await;
    let [trace, parent] = [TRACE, PARENT].map(base64);
    assert!(spans.iter().all(|span| span["traceId"] == trace), "only this trace is recorded: {spans:#?}");
    let root = spans.iter().find(|span| span["name"] == wanted[0]).unwrap();
    assert_eq!((&root["parentSpanId"], &root["kind"]), (&parent, &json!("SPAN_KIND_SERVER")));
    for name in &wanted[1..] {
        let span = spans.iter().find(|span| span["name"] == *name).unwrap();
        assert_eq!(span["parentSpanId"], root["spanId"], "{span}");
    }
    let nanos = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
    assert!(nanos(root, "startTimeUnixNano") <= nanos(root, "endTimeUnixNano"));

    let lines = node.log();
    let traced: Vec<_> = lines.iter().filter(|line| line["trace_id"] == TRACE).collect();
    assert!(traced.iter().any(|line| line["message"] == "room placed"), "{traced:#?}");
    assert!(traced.iter().any(|line| line["message"] == "FFmpeg started"), "{traced:#?}");

    let of_last = |requests: &[Value]| {
        requests.last()?["data"]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().cloned()
    };
    let named = |metrics: &[Value], name: &str| metrics.iter().find(|metric| metric["name"] == name).cloned();
    until("the metrics show the FFmpeg", async || {
        let metrics = of_last(&receiver.metrics().await).unwrap_or_default();
        let starts = named(&metrics, "stentor_ffmpeg_starts_total");
        starts.is_some_and(|starts| starts["sum"]["dataPoints"][0]["asDouble"] == 1.0)
    })
    .await;
    let requests = receiver.metrics().await;
    let (last, metrics) = (requests.last().unwrap(), of_last(&requests).unwrap());
    assert_eq!(last["key"], "a-secret-of-the-collector");
    let resource = &last["data"]["resourceMetrics"][0]["resource"];
    let resource = serde_json::to_string(resource).unwrap();
    assert!(resource.contains("service.name") && resource.contains("stentor"), "{resource}");
    let find = |name: &str| named(&metrics, name).unwrap();
    assert!(named(&metrics, "stentor_ffmpeg_running").is_some());
    let starts = &find("stentor_ffmpeg_starts_total")["sum"];
    assert_eq!((&starts["isMonotonic"], &starts["dataPoints"][0]["asDouble"]), (&json!(true), &json!(1.0)));
    let seconds = &find("stentor_store_request_seconds")["histogram"]["dataPoints"][0];
    let length = |name: &str| seconds[name].as_array().unwrap().len();
    assert_eq!(length("bucketCounts"), length("explicitBounds") + 1);
    assert!(!node.output().contains("a-secret-of-the-collector"));
    assert!(node.stop().success());
}

#[actix::test]
async fn calls_continue_a_trace() {
    let Some(receiver) = Receiver::start().await else { return };
    let settings =
        [("telemetry.otlp.endpoint", receiver.url.as_str()), ("telemetry.otlp.sample_percent", "0")];
    let node = Node::start(&[&settings[..], &[("telemetry.otlp.interval", "1s")]].concat()).await;
    node.room_on_air(ROOM).await;
    let host = json!({ "role": "host", "userId": "hera" });
    let host = node.post(&format!("/api/rooms/{ROOM}/users"), host).await.json();
    let gateway = node.ws.trim_start_matches("http://").parse().unwrap();
    let mut host = Client::connect_to(gateway, host["token"].as_str().unwrap()).await;
    let mut call = async |id: u64, method: &str, params: Value, trace: Option<String>| {
        let mut call = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        if let Some(trace) = trace {
            call["traceparent"] = trace.into();
        }
        let mut answer = host.ask(&call.to_string()).await;
        while answer["id"] != id {
            answer = host.next().await;
        }
        assert_eq!(answer["error"], Value::Null, "{answer}");
    };
    call(1, "join", json!({}), None).await;
    call(2, "lock", json!({}), Some(format!("00-{TRACE}-{PARENT}-01"))).await;
    let named = |spans: &[Value], name: &str| spans.iter().find(|span| span["name"] == name).cloned();
    until("the spans arrive", async || {
        let spans = receiver.spans().await;
        named(&spans, "lock").is_some() && named(&spans, "store.write").is_some()
    })
    .await;
    let spans = receiver.spans().await;
    let (lock, write) = (named(&spans, "lock").unwrap(), named(&spans, "store.write").unwrap());
    assert_eq!((&lock["traceId"], &lock["parentSpanId"]), (&base64(TRACE), &base64(PARENT)));
    assert_eq!((&write["traceId"], &write["parentSpanId"]), (&lock["traceId"], &lock["spanId"]));
    assert!(named(&spans, "join").is_none(), "no call is recorded without its caller's wish");

    node.room_on_air("studio").await;
    let bob = json!({ "role": "anchor", "userId": "bob" });
    let bob = node.post("/api/rooms/studio/users", bob).await.json();
    let headers = format!(
        "Content-Type: application/sdp\r\nAuthorization: Bearer {}\r\n\
         traceparent: 00-{WHIP_TRACE}-{PARENT}-01\r\n",
        bob["token"].as_str().unwrap()
    );
    let offer = WebRtcClient::new(opus::tone(440)).await.offer();
    let published = raw::request(&node.ws, "POST", b"/whip/studio", &headers, offer.as_bytes()).await;
    assert_eq!(published.status, 201, "{}", published.text());
    until("the spans of the publisher arrive", async || {
        let spans = receiver.spans().await;
        ["POST /whip/{room}", "join", "offer"].iter().all(|name| named(&spans, name).is_some())
    })
    .await;
    let spans = receiver.spans().await;
    let post = named(&spans, "POST /whip/{room}").unwrap();
    assert_eq!((&post["traceId"], &post["parentSpanId"]), (&base64(WHIP_TRACE), &base64(PARENT)));
    for name in ["join", "offer"] {
        let call = named(&spans, name).unwrap();
        assert_eq!((&call["traceId"], &call["parentSpanId"]), (&post["traceId"], &post["spanId"]), "{call}");
    }
}

/// Reads a whole request, and returns true if it has spans. After a partial read, the connection is reset and
/// the answer is lost.
async fn take_request(stream: &mut tokio::net::TcpStream) -> bool {
    let (mut request, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let head = request.windows(4).position(|four| four == b"\r\n\r\n");
        if head.zip(length).is_some_and(|(head, length)| request.len() >= head + 4 + length) {
            return text.starts_with("POST /v1/traces ");
        }
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
            _ => return false,
        }
    }
}

#[actix::test]
async fn absent_collector_is_reported_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (attempts, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, answering) = (attempts.clone(), answers.clone());
    let lost_spans = Arc::new(AtomicBool::new(false));
    let lost = lost_spans.clone();
    let collector = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let has_spans = take_request(&mut stream).await;
            counted.fetch_add(1, Relaxed);
            if !answering.load(Relaxed) {
                lost.fetch_or(has_spans, Relaxed);
            } else {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(answer).await;
            }
        }
    });
    let settings = [("telemetry.otlp.endpoint", endpoint.as_str()), ("telemetry.otlp.interval", "1s")];
    let mut node = Node::start(&settings).await;
    node.room_on_air(ROOM).await;
    until("several attempts failed", async || attempts.load(Relaxed) >= 4 && lost_spans.load(Relaxed)).await;
    let lines = |text: &str| {
        let has = |line: &Value| line["message"].as_str().is_some_and(|message| message.contains(text));
        node.log().into_iter().filter(|line| has(line)).count()
    };
    assert_eq!(lines("does not accept data"), 1, "{}", node.output());
    answers.store(true, Relaxed);
    until("the node reports the collector", async || lines("accepts data again") == 1).await;
    let again =
        |line: &Value| line["message"].as_str().is_some_and(|text| text.contains("accepts data again"));
    let line = node.log().into_iter().find(again).unwrap();
    assert!(line["spans"].as_u64().is_some_and(|spans| spans > 0), "{line}");
    assert_eq!(node.get("/api/rooms").await.status, 200);
    collector.abort();
    assert!(node.stop().success());
}

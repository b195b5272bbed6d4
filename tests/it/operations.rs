//! Operators' view of a node: metrics, actors, readiness, logs, and errors that name the remedy.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::rooms::node_on_etcd;
use crate::support::etcd::Etcd;
use crate::support::external::on_janus;
use crate::support::janus::TestJanus;
use crate::support::node::{Answer, Node, request};
use crate::support::pause_async;

const PATIENCE: Duration = Duration::from_secs(60);
const ROOM: &str = "very-private-name";

#[actix::test]
async fn metrics_pass_promtool_without_room_names() {
    let mut node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let url = format!("{}/hls/rooms/{ROOM}/index.m3u8", node.hls);
    until("the playlist", async || request("GET", &url, &[], None).await.status == 200).await;
    let metrics = ops(&node, "/metrics").await;
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = metrics.text();
    let checked = promtool(&text);
    assert!(checked.status.success() && checked.stdout.is_empty(), "{checked:?}");
    assert!(!text.contains(ROOM), "{text}");
    for figure in [
        "stentor_rooms{status=\"onair\"} 1",
        "stentor_ffmpeg_running 1",
        "stentor_janus_up 1",
        "stentor_store_up 1",
        "stentor_actors{actor=\"janus_room\"} 1",
        "stentor_mailbox_depth{actor=\"room\"} 0",
        "stentor_mailbox_oldest_seconds{actor=\"mixer_room\"}",
        "stentor_messages_total{actor=\"mixer_room\",message=\"output\"}",
        "stentor_message_seconds_bucket{actor=\"janus_room\",message=\"done\",le=",
        "stentor_janus_requests_total{",
        "stentor_store_requests_total{",
        "stentor_media_fragments_total ",
    ] {
        assert!(text.contains(figure), "{figure} is not in\n{text}");
    }
    assert!(node.stop().success());
}

#[actix::test]
async fn actors_report_state_and_reason() {
    let mut node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    let tree = node.actors().await;
    assert_eq!((&tree["kind"], &tree["status"]), (&"node".into(), &"alive".into()));
    for (kind, state, supervisor) in [
        ("room", "onair", "room_supervisor"),
        ("janus_room", "forwarding", "janus_connection"),
        ("mixer_room", "producing", "mixer_supervisor"),
    ] {
        until(state, async || node.states_of(kind).await.iter().any(|actor| actor["state"] == state)).await;
        let actors = node.states_of(kind).await;
        assert_eq!(actors.len(), 1, "{kind}");
        let actor = &actors[0];
        assert_eq!(
            (actor["name"].as_str().unwrap(), &actor["status"]),
            (format!("room:{ROOM}").as_str(), &Value::from("alive")),
            "{actor:#}"
        );
        assert!(actor["path"].as_str().unwrap().ends_with(&format!("/room:{ROOM}")), "{actor:#}");
        assert!(actor["mailbox"]["capacity"].as_u64().unwrap() > 0 && actor["mailbox"]["depth"].is_u64());
        let transitions = actor["transitions"].as_array().unwrap();
        assert!((1..=32).contains(&transitions.len()), "{actor:#}");
        let last = transitions.last().unwrap();
        assert!(
            last["to"] == state && last["cause"].is_string() && last["at"].as_u64().unwrap() > 0,
            "{actor:#}"
        );
        let above = node.states_of(supervisor).await;
        assert!(
            above[0]["children"].as_array().unwrap().iter().any(|child| child["kind"] == kind),
            "{supervisor}"
        );
    }
    for kind in ["janus_room", "mixer_room"] {
        let actor = &node.state_of(kind).await;
        assert!(!actor["reason"].as_str().unwrap().is_empty(), "{actor:#}");
        assert!(actor["desired"]["onAir"] == true && actor["observed"].is_object(), "{actor:#}");
    }
    assert!(node.stop().success());
}

#[actix::test]
async fn json_log_holds_no_secret() {
    let mut node = Node::start(&[("log.filter", "debug")]).await;
    let room = node.room_on_air(ROOM).await;
    let token = node.token(ROOM).await;
    let url = format!("{}/hls/rooms/{ROOM}/index.m3u8?token={token}", node.hls);
    until("the playlist", async || request("GET", &url, &[], None).await.status == 200).await;
    node.delete(&format!("/api/rooms/{ROOM}")).await;
    assert!(node.stop().success());
    let output = node.output();
    for line in output.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        for field in ["timestamp", "level", "message", "target"] {
            assert!(object[field].is_string(), "{field} in {line}");
        }
    }
    let (pin, secrets) =
        (room["pin"].as_str().unwrap(), std::fs::read_to_string(node.data_dir().join("secrets.json")));
    let secrets: Value = serde_json::from_str(&secrets.unwrap()).unwrap();
    for secret in
        [pin, &token, secrets["jwt"].as_str().unwrap(), secrets["hls"].as_str().unwrap(), "a=rtpmap"]
    {
        assert!(!output.contains(secret), "{secret} is in the log");
    }
}

#[actix::test]
async fn readiness_follows_janus() {
    let janus = TestJanus::start().await;
    let mut node = on_janus(&janus, janus.janus.url(), &[]);
    node.run();
    node.ready().await;
    assert_eq!(ops(&node, "/livez").await.status, 200);
    let ready = node.readyz().await;
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &Value::Bool(true)));
    let names = |answer: &Answer| -> Vec<String> {
        let checks = answer.json()["checks"].as_array().unwrap().clone();
        checks.iter().map(|check| check["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&ready), ["node", "store", "api", "janus", "ffmpeg", "gateway", "hls"]);
    janus.janus.stop(Duration::from_secs(1)).await.unwrap();
    let reason = not_ready(&node, "janus").await;
    for named in ["has not worked for ", " s: ", "; check that this Janus runs, and janus.url"] {
        assert!(reason.contains(named), "{reason}");
    }
    let gateway = &node.state_of("janus_connection").await;
    assert!(gateway["state"] != "up" && gateway["reason"].is_string(), "{gateway:#}");
    assert_eq!(ops(&node, "/livez").await.status, 200);
    assert!(ops(&node, "/metrics").await.text().contains("stentor_janus_up 0"));
    let refused = node.post("/api/rooms", serde_json::json!({ "roomId": "abc", "start": true })).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "no_janus_available"));
    assert!(node.stop().success());
}

#[actix::test]
async fn listener_node_reports_only_its_addresses() {
    let mut node = Node::start(&[("node.roles", "hls")]).await;
    let ready = node.readyz().await;
    let checks = ready.json()["checks"].clone();
    let ok = |name: &str| serde_json::json!({ "name": name, "ok": true });
    assert_eq!((ready.status, checks), (200, Value::Array(["node", "store", "hls"].map(ok).to_vec())));
    let line = node.log().into_iter().find(|line| line["message"] == "ready").unwrap();
    assert!(line["api"].is_null() && line["hls"].is_string() && line["ops"].is_string(), "{line}");
    assert!(node.stop().success());
}

/// A stopped FFmpeg keeps the shutdown going long enough to observe it.
#[actix::test]
async fn stopping_node_is_not_ready() {
    let mut node = Node::start(&[("mixer.stop_grace", "5s")]).await;
    node.room_on_air(ROOM).await;
    let ffmpeg = node.ffmpeg().await;
    signal(ffmpeg, Signal::STOP);
    node.signal(Signal::TERM);
    let reason = not_ready(&node, "node").await;
    assert!(reason.contains("stopping"), "{reason}");
    assert_eq!(ops(&node, "/livez").await.status, 200);
    signal(ffmpeg, Signal::CONT);
    assert!(node.ended().success());
    crate::support::node::until_gone(&[ffmpeg]);
}

#[actix::test]
async fn taken_port_error_names_config_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for key in ["listen.api", "listen.hls", "listen.ops"] {
        let (code, words) = fails_to_start(&[(key, &address)]);
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains(&address) && words.contains(key), "{words}");
    }
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (first, second) = (address, other.local_addr().unwrap().to_string());
    let (_, words) = fails_to_start(&[("listen.api", &first), ("listen.ops", &second)]);
    for named in [&first, &second, "change listen.api", "change listen.ops"] {
        assert!(words.contains(named), "all at once: {words}");
    }
}

#[actix::test]
async fn unwritable_data_directory_fails_start() {
    // These paths fail even for root, who ignores permissions.
    let (code, words) = fails_to_start(&[("node.data_dir", "/dev/null/data")]);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("/dev/null/data") && words.contains("node.data_dir"), "{words}");
    let (code, words) = fails_to_start(&[("node.data_dir", "/proc/self")]);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("/proc/self") && words.contains("node.data_dir"), "{words}");
}

#[actix::test]
async fn gateway_without_redis_warns_once() {
    let etcd = Etcd::start();
    let node = node_on_etcd(&etcd, &[("node.roles", "gateway")]).await;
    let problems = node.problems();
    let named = |line: &String| line.contains("WARN") && line.contains("set presence.kind: redis");
    assert!(matches!(&problems[..], [one] if named(one)), "{problems:#?}");
}

#[actix::test]
async fn invalid_configuration_reports_all_errors() {
    let (code, words) = fails_to_start(&[("hls.part_ms", "x"), ("auth.mode", "keys"), ("nosuch.key", "1")]);
    assert_eq!(code, Some(2), "{words}");
    for named in ["hls.part_ms", "auth.api_keys", "nosuch.key"] {
        assert!(words.contains(named), "{words}");
    }
}

#[actix::test]
async fn node_without_janus_is_not_ready() {
    for (binary, expected) in
        [("/nonexistent/janus", "apt-get install janus"), ("/bin/false", "is janus.binary a Janus Gateway?")]
    {
        let mut node = waits(&[("janus.binary", binary)]).await;
        until("the reason", async || not_ready(&node, "janus").await.contains(expected)).await;
        until("the reason", async || failure(&node, "janus_process").await.contains(expected)).await;
        assert_eq!(ops(&node, "/livez").await.status, 200);
        assert!(node.output().contains(expected), "{}", node.output());
        assert!(node.stop().success());
    }
}

#[actix::test]
async fn node_without_ffmpeg_is_not_ready() {
    for (binary, expected) in [("/nonexistent/ffmpeg", "apt install ffmpeg"), ("/bin/true", "mixer.ffmpeg")] {
        let mut node = waits(&[("mixer.ffmpeg", binary)]).await;
        until("the reason", async || not_ready(&node, "ffmpeg").await.contains(expected)).await;
        until("the reason", async || failure(&node, "mixer_supervisor").await.contains(expected)).await;
        assert!(node.output().contains(expected), "{}", node.output());
        assert!(node.stop().success());
    }
}

async fn ops(node: &Node, path: &str) -> Answer {
    request("GET", &format!("{}{path}", node.ops), &[], None).await
}

/// Waits until this check fails and returns the reason.
async fn not_ready(node: &Node, check: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = node.readyz().await;
        let json = answer.json();
        let failed =
            json["checks"].as_array().unwrap().iter().find(|c| c["name"] == check && c["ok"] == false);
        if let Some(failed) = failed {
            assert_eq!((answer.status, &json["ready"]), (503, &Value::Bool(false)));
            return failed["reason"].as_str().unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "{check} is still fine: {json}");
        pause_async().await;
    }
}

/// Returns the actor's reason for waiting, and its last failure.
async fn failure(node: &Node, kind: &str) -> String {
    let actors = node.states_of(kind).await;
    let Some(actor) = actors.first() else { return String::new() };
    format!("{} {}", actor["reason"], actor["last_failure"]["text"])
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "not yet: {what}");
        pause_async().await;
    }
}

/// Starts a node that will not become ready. Its operations address is chosen here, because only a ready node
/// logs it.
async fn waits(settings: &[(&str, &str)]) -> Node {
    let ops = format!("127.0.0.1:{}", crate::support::free_ports::<1>()[0]);
    let mut node = Node::prepare(&[settings, &[("listen.ops", ops.as_str())]].concat());
    node.run();
    node.ops = format!("http://{ops}");
    until("the operations address accepts connections", async || {
        tokio::net::TcpStream::connect(&ops).await.is_ok()
    })
    .await;
    node
}

/// Returns the exit code and all output of the program.
fn fails_to_start(settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut node = Node::prepare(settings);
    node.run();
    let status = node.ended();
    (status.code(), node.output())
}

fn promtool(text: &str) -> Output {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is installed");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn signal(pid: i32, signal: Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

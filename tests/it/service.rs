//! A node under a service manager: its log, its signals, its children and its data directory.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::abuse_table::withstood;
use crate::support::node::{Node, request, signal, until_gone};
use crate::support::{free_ports, until};

const ROOM: &str = "demo";
const FIRST_KEY: &str = "first-key-0123456789";
const SECOND_KEY: &str = "second-key-0123456789";

#[actix::test]
async fn an_unread_log_pipe_freezes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // At each start, the script writes more than the pipe and the queue hold.
    let janus =
        script(folder.path(), "head -c 4000000 /dev/urandom | base64 | sed 's/^/[WARN] /'; exec sleep 1000");
    let [api, ws, hls, ops] = free_ports::<4>().map(|port| format!("127.0.0.1:{port}"));
    let addresses =
        [("listen.api", &*api), ("listen.ws", &*ws), ("listen.hls", &*hls), ("listen.ops", &*ops)];
    let janus = ("janus.binary", janus.to_str().unwrap());
    let mut node = Node::prepare(&[&addresses[..], &[janus]].concat());
    let (unread, pipe) = std::io::pipe().unwrap();
    node.log_to(pipe);
    node.run();
    node.api = format!("http://{api}");
    until("the node listens", async || tokio::net::TcpStream::connect(&ops).await.is_ok()).await;
    until("lines are dropped", async || figure(&ops, "stentor_log_lines_dropped_total").await > 0.0).await;
    assert_eq!(node.post("/api/rooms", json!({ "roomId": ROOM })).await.status, 201);
    assert_eq!(request("GET", &format!("http://{hls}/pages/rooms"), &[], None).await.status, 200);
    assert_eq!(request("GET", &format!("http://{ops}/livez"), &[], None).await.status, 200);
    assert_eq!(node.stop().code(), Some(0), "TERM is handled");
    drop(unread);
    withstood("a log pipe that nobody reads", "lines are dropped and counted", "the node answers");
}

#[actix::test]
async fn repeated_child_lines_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let text = "i=0; while [ $i -lt 200 ]; do echo \"[WARN] cannot decode packet $i\"; i=$((i+1)); done; \
                exec sleep 1000";
    let ops = format!("127.0.0.1:{}", free_ports::<1>()[0]);
    let janus = script(folder.path(), text);
    let mut node = Node::prepare(&[("listen.ops", &ops), ("janus.binary", janus.to_str().unwrap())]);
    node.run();
    let lines = || -> Vec<Value> {
        let of_janus = |line: &Value| line["target"] == "janus";
        node.log().into_iter().filter(of_janus).collect()
    };
    until("a report", async || lines().iter().any(|line| line["repeated"].is_u64())).await;
    let lines = lines();
    let first_report = lines.iter().position(|line| line["repeated"].is_u64()).unwrap();
    assert_eq!(first_report, 5, "{lines:#?}");
    let report = &lines[first_report];
    // The script may have been started again within the interval.
    assert!(report["repeated"].as_u64().unwrap() >= 195 && report["level"] == "WARN", "{report}");
    assert_eq!(report["message"], "[WARN] cannot decode packet 5");
    assert!(figure(&ops, "stentor_log_lines_repeated_total").await >= 195.0);
    assert!(node.stop().success());
}

#[actix::test]
async fn sighup_applies_filter_and_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (config, keys) = (folder.path().join("config.yaml"), folder.path().join("keys"));
    let write = |filter: &str, window: u32, key: &str| {
        let text = format!("log:\n  filter: {filter}\nhls:\n  window: {window}\n");
        std::fs::write(&config, text).unwrap();
        std::fs::write(&keys, format!("{key}\n")).unwrap();
    };
    // The old filter hides the lines that the test waits for; the new one shows them.
    write("info,stentor::app::reload=off", 6, FIRST_KEY);
    let mut node = Node::prepare(&[("auth.mode", "keys"), ("auth.api_keys_file", keys.to_str().unwrap())]);
    node.configured_by(&config);
    node.run();
    node.ready().await;
    assert_eq!([with(&node, FIRST_KEY).await, with(&node, SECOND_KEY).await], [200, 401]);

    write("info", 7, SECOND_KEY);
    node.signal(Signal::HUP);
    until("the new key opens", async || with(&node, SECOND_KEY).await == 200).await;
    assert_eq!(with(&node, FIRST_KEY).await, 401);
    let named = |message: &str| {
        let line = node.log().into_iter().find(|line| line["message"] == message);
        line.map(|line| line["keys"].as_str().unwrap_or_default().to_owned())
    };
    until("both lists of settings are logged", async || {
        named("SIGHUP: changed settings need a restart of the node").is_some()
    })
    .await;
    assert_eq!(named("SIGHUP: changed settings need a restart of the node").unwrap(), "hls.window");
    let applied = named("SIGHUP: changed settings were applied").unwrap();
    assert_eq!(applied, "auth.api_keys_file, log.filter");

    write("loud=loud", 6, "short");
    node.signal(Signal::HUP);
    let errors = || -> Vec<String> {
        let errors = node.log().into_iter().filter(|line| line["level"] == "ERROR");
        errors.map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    };
    until("all errors are logged", async || errors().len() == 2).await;
    for named in ["auth.api_keys_file", "log.filter"] {
        assert!(errors().iter().any(|error| error.contains(named)), "{:?}", errors());
    }
    assert_eq!(with(&node, SECOND_KEY).await, 200, "nothing was changed");
    assert!(!node.output().contains(SECOND_KEY));
    assert!(node.stop().success());
}

/// Returns a field of `/proc/{pid}/status`.
fn status(pid: i32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[actix::test]
async fn children_of_root_are_unprivileged() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    let node = Node::start(&[("janus.capacity", "8")]).await;
    node.room_on_air(ROOM).await;
    node.ffmpeg().await;
    for name in ["janus", "ffmpeg"] {
        let pid = node.children(name)[0];
        assert_eq!(status(pid, "Uid:"), "65534 65534 65534 65534", "{name}");
        assert_eq!((status(pid, "Groups:"), status(pid, "NoNewPrivs:")), (String::new(), "1".into()));
        assert_eq!(u64::from_str_radix(&status(pid, "CapPrm:"), 16), Ok(0), "{name}");
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let of = |limit: &str| {
            let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
            line[limit.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(of("Max core file size"), ["0", "0"]);
        // Janus: 2 GiB, and 512 MiB for each room of the capacity.
        let gib: u64 = if name == "ffmpeg" { 2 } else { 2 + 8 / 2 };
        assert_eq!(of("Max data size")[0], (gib << 30).to_string(), "{name}");
    }
    let folder = node.data_dir().join("janus");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(node.data_dir()), mode(&folder), mode(&folder.join("janus.jcfg"))),
        (0o700, 0o750, 0o640)
    );
    let mut refused = Node::prepare(&[("node.child_user", "no-such-user")]);
    refused.run();
    assert_eq!(refused.ended().code(), Some(2));
    assert!(refused.output().contains("useradd --system no-such-user"), "{}", refused.output());
}

#[actix::test]
async fn node_without_root_keeps_its_user() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    let mut node = Node::prepare(&[("node.child_user", "no-such-user")]);
    node.run_as(1, 1);
    node.run();
    node.ready().await;
    node.room_on_air(ROOM).await;
    node.ffmpeg().await;
    for name in ["janus", "ffmpeg"] {
        assert_eq!(status(node.children(name)[0], "Uid:"), "1 1 1 1", "{name}");
    }
    assert!(node.stop().success());
}

#[actix::test]
async fn children_get_no_secrets() {
    let secret = "a-secret-of-the-environment-0123456789";
    let mut node = Node::prepare(&[]);
    node.environment(vec![
        ("STENTOR__HLS__SECRET".into(), secret.into()),
        ("STENTOR__AUTH__JWT_SECRETS".into(), format!("k1:{secret}")),
        ("STENTOR__JANUS__API_SECRET".into(), secret.into()),
        ("SOME_OTHER_SECRET".into(), secret.into()),
    ]);
    node.run();
    node.ready().await;
    node.room_on_air(ROOM).await;
    for name in ["janus", "ffmpeg"] {
        let children = node.children(name);
        assert_eq!(children.len(), 1, "{name}");
        for file in ["environ", "cmdline"] {
            let text = std::fs::read(format!("/proc/{}/{file}", children[0])).unwrap();
            let text = String::from_utf8_lossy(&text).replace('\0', "\n");
            assert!(!text.contains(secret) && !text.contains("STENTOR__"), "{name} {file}: {text}");
        }
    }
    assert!(node.stop().success());
}

/// Simulates a service manager that signals every process of a service, like systemd's
/// `KillMode=control-group`.
#[actix::test]
async fn children_survive_signals_to_group() {
    let mut node = Node::start(&[]).await;
    node.room_on_air(ROOM).await;
    node.ffmpeg().await;
    let children = [node.children("janus"), node.children("ffmpeg")].concat();
    assert_eq!(children.len(), 2);
    for terminate in [Signal::TERM, Signal::HUP] {
        children.iter().for_each(|pid| signal(*pid, terminate));
    }
    let (ops, before) = (node.ops.trim_start_matches("http://").to_owned(), "stentor_media_fragments_total");
    let fragments = figure(&ops, before).await;
    until("media goes on", async || figure(&ops, before).await > fragments + 10.0).await;
    assert_eq!([node.children("janus"), node.children("ffmpeg")].concat(), children);
    children.iter().for_each(|pid| signal(*pid, Signal::TERM));
    node.signal(Signal::TERM);
    assert_eq!(node.ended().code(), Some(0));
    until_gone(&children);
    assert_eq!(node.problems(), Vec::<String>::new());
}

#[actix::test]
async fn the_data_directory_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mode = || std::fs::metadata(&data).unwrap().mode() & 0o7777;
    let mut node = Node::start(&[("node.data_dir", data.to_str().unwrap())]).await;
    assert_eq!(mode(), 0o700);
    assert!(node.stop().success());
    // The mode with which earlier versions created the directory.
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    node.run();
    node.ready().await;
    assert_eq!(mode(), 0o700);
    assert!(matches!(&node.problems()[..], [one] if one.contains("mode 0755")), "{:?}", node.problems());
    assert!(node.stop().success());
}

/// Returns the status of a request with this key.
async fn with(node: &Node, key: &str) -> u16 {
    let authorization = format!("Bearer {key}");
    request("GET", &format!("{}/api/rooms", node.api), &[("authorization", &authorization)], None)
        .await
        .status
}

/// Returns a metric without labels from the node with this operations address.
async fn figure(ops: &str, name: &str) -> f64 {
    let text = request("GET", &format!("http://{ops}/metrics"), &[], None).await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("janus.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    // Janus may run as a different user from the tests.
    for open in [folder, &path] {
        std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    path
}

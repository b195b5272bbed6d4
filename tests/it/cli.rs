//! The command line as an operator uses it: its output and exit codes.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::node::{Node, signal};
use crate::support::until;

const KEY: &str = "sixteen-letters-1";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn check_config_prints_values_and_sources() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.yaml"), "listen:\n  hls: 127.0.0.1:9000\n").unwrap();
    let output = stentor(folder.path(), &["check-config", "--set", &format!("hls.secret={SECRET}")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(line(&text, "listen.hls"), "\"127.0.0.1:9000\" config.yaml line 2");
    assert_eq!(line(&text, "listen.api"), "\"127.0.0.1:3999\" environment STENTOR__LISTEN__API");
    assert_eq!(line(&text, "hls.secret"), "****** flag --set");
    assert_eq!(line(&text, "hls.part_ms"), "192 default");
}

#[test]
fn check_config_prints_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = format!(
        "store:\n  kind: etcd\n  etcd: {{endpoints: [\"http://127.0.0.1:2379\"]}}\n\
         hls: {{secret: {SECRET}}}\n\
         auth:\n  jwt_secrets: [{{kid: a, secret: {SECRET}}}]\n"
    );
    std::fs::write(folder.path().join("config.yaml"), cluster).unwrap();
    let output = stentor(folder.path(), &["check-config"]);
    let remarks = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && remarks.contains("set presence.kind: redis"), "{remarks}");
    assert!(remarks.contains("auth.mode is open"), "{remarks}");
}

#[test]
fn check_config_exits_2_with_errors() {
    let folder = tempfile::tempdir().unwrap();
    let output = stentor(folder.path(), &["check-config", "--set", "hls.part_ms=x", "--set", "hls.prt=1"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(errors.contains("2 errors") && errors.contains("hls.part_ms = \"x\""), "{errors}");
    let missing = stentor(folder.path(), &["check-config", "--config", "nowhere.yaml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("nowhere.yaml"));
}

#[test]
fn check_config_output_is_as_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let secret = format!("hls.secret={SECRET}");
    let values = stentor(folder.path(), &["check-config", "--set", &secret]);
    insta::assert_snapshot!("check-config-values", String::from_utf8(values.stdout).unwrap());
    let wrong = ["--set", "hls.part_ms=x", "--set", "hls.prt=1", "--set", "node.roles=[mixer,ear]"];
    let errors = stentor(folder.path(), &[&["check-config"], wrong.as_slice()].concat());
    insta::assert_snapshot!("check-config-errors", String::from_utf8(errors.stderr).unwrap());
}

#[test]
fn manual_pages_cover_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let output = stentor(folder.path(), &["man", "pages"]);
    assert!(output.status.success(), "{output:?}");
    for page in ["stentor.1", "stentor-serve.1", "stentor-room-create.1", "stentor-load.1", "stentor-audit.1"]
    {
        let text = std::fs::read_to_string(folder.path().join("pages").join(page)).expect(page);
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
}

#[test]
fn openapi_prints_the_sdk_document() {
    let folder = tempfile::tempdir().unwrap();
    let run = stentor(folder.path(), &["openapi"]);
    assert!(run.status.success());
    let is_committed = run.stdout == include_bytes!("../../sdk/openapi.json");
    assert!(is_committed, "sdk/openapi.json differs from the code: run make sdk and commit sdk/");
}

#[test]
fn check_config_shows_differences() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    file("old.yaml", "hls: {window: 6}\nlog: {filter: info}\n");
    file("new.yaml", &format!("hls: {{window: 8, secret: {SECRET}}}\nlog: {{filter: warn}}\n"));
    let output = stentor(folder.path(), &["check-config", "--config", "new.yaml", "--diff", "old.yaml"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "log.filter: \"info\" -> \"warn\"  (applied by reload)\n\
         hls.window: 6 -> 8  (needs a restart)\n\
         hls.secret: null -> ******  (needs a restart)\n"
    );
}

#[actix::test]
async fn reload_prints_changes_and_errors() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, "log: {filter: info}\n").unwrap();
    let mut node = Node::prepare(&[]);
    node.configured_by(&config);
    node.run();
    node.ready().await;
    std::fs::copy(&config, folder.path().join("old.yaml")).unwrap();
    let changed = "log: {filter: \"info,stentor=debug\"}\nhls: {window: 9}\n\
                   http: {body_limit: 1024, header_timeout: 9s}\nws: {rate: 7}\n";
    std::fs::write(&config, changed).unwrap();
    let args = ["check-config", "--config", "config.yaml", "--diff", "old.yaml"];
    let announced = String::from_utf8(stentor(folder.path(), &args).stdout).unwrap();
    let output = control(&node, &["reload"], None).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for (key, live) in [
        ("log.filter", true),
        ("hls.window", false),
        ("http.body_limit", true),
        ("http.header_timeout", false),
        ("ws.rate", true),
    ] {
        let (result, effect) =
            if live { ("applied", "(applied by reload)") } else { ("needs a restart", "(needs a restart)") };
        assert_eq!(line(&text, key), result, "{key}");
        assert!(announced.lines().any(|l| l.starts_with(key) && l.ends_with(effect)), "{announced}");
    }
    let large = serde_json::json!({ "roomId": "large", "description": "x".repeat(1024) });
    assert_eq!(node.post("/api/rooms", large).await.status, 413, "the new limit applies");

    std::fs::write(&config, "hls: {window: none, segment_ms: none}\n").unwrap();
    let refused = control(&node, &["reload"], None).await;
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    for named in ["invalid_config", "hls.window", "hls.segment_ms"] {
        assert!(error.contains(named), "{error}");
    }
    assert!(node.stop().success());
}

#[actix::test]
async fn commands_control_a_running_node() {
    let node = Node::start(&[("auth.mode", "keys"), ("auth.api_keys", KEY)]).await;
    let ok = async |args: &'static [&'static str]| {
        let output = control(&node, args, Some(KEY)).await;
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let created = ok(&["room", "create", "tea", "--max-anchors", "4", "--start"]).await;
    assert_eq!(line(&created, "status"), "onair");
    let json: Value = serde_json::from_str(&ok(&["room", "show", "tea", "--json"]).await).unwrap();
    assert_eq!((&json["status"], &json["maxAnchors"]), (&"onair".into(), &4.into()));
    assert!(line(&ok(&["room", "list"]).await, "tea").starts_with("onair 0/4 0 "));

    let created = ok(&["room", "create", "green", "--backstage", "--max-anchors", "20"]).await;
    assert_eq!(line(&created, "status"), "backstage");
    assert_eq!(line(&ok(&["room", "start", "green"]).await, "status"), "onair");
    ok(&["room", "delete", "green"]).await;

    let invitation = ok(&["user", "invite", "tea", "auth0|bob/x", "--role", "host"]).await;
    assert!(line(&invitation, "link").contains("/speak/tea#token="), "{invitation}");
    assert_eq!(line(&ok(&["user", "list", "tea"]).await, "auth0|bob/x"), "host away");
    ok(&["room", "role", "tea", "auth0|bob/x", "co-host"]).await;
    assert_eq!(line(&ok(&["user", "list", "tea"]).await, "auth0|bob/x"), "co_host away");
    ok(&["user", "remove", "tea", "auth0|bob/x"]).await;
    assert_eq!(line(&ok(&["user", "list", "tea"]).await, "auth0|bob/x"), "co_host removed");
    assert!(line(&ok(&["room", "bans", "tea"]).await, "auth0|bob/x").ends_with("s ago"));
    ok(&["room", "unban", "tea", "auth0|bob/x"]).await;
    ok(&["room", "ban", "tea", "lena"]).await;
    let bans: Value = serde_json::from_str(&ok(&["room", "bans", "tea", "--json"]).await).unwrap();
    assert_eq!((&bans[0]["userId"], bans.as_array().unwrap().len()), (&"lena".into(), 1));
    let kicked = ok(&["room", "kick", "tea", "mona"]).await;
    assert_eq!(kicked, "mona is kicked out of tea and may come back\n");
    let unknown = control(&node, &["room", "role", "tea", "nobody", "host"], Some(KEY)).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("(person_not_found)"));
    let urls = ok(&["token", "tea"]).await;
    let playlist = line(&urls, "playlist");
    let heard = awc::Client::new().get(&playlist).send().await.unwrap();
    assert_eq!(heard.status(), 200, "{playlist}");

    let modules: Value = serde_json::from_str(&ok(&["module", "list", "--json"]).await).unwrap();
    let mixer = modules["mixers"][0]["id"].as_str().unwrap();
    let output = control(&node, &["module", "cordon", "mixer", mixer], Some(KEY)).await;
    assert!(String::from_utf8(output.stdout).unwrap().contains("no: "));
    let explained = ok(&["explain", "tea"]).await;
    for part in ["tea is on air.", "No mixer takes a room now", "Its janus is", "janus_room"] {
        assert!(explained.contains(part), "{part} is missing:\n{explained}");
    }
    let output = control(&node, &["module", "ready", "mixer", mixer], Some(KEY)).await;
    assert!(String::from_utf8(output.stdout).unwrap().contains("yes"));
    assert!(ok(&["actors", "--kind", "room", "--sort", "restarts"]).await.contains("room:tea"));
    let made: Value = serde_json::from_str(
        &ok(&["key", "create", "App", "--scope", "read", "--rooms", "3", "--json"]).await,
    )
    .unwrap();
    let (id, secret) = (made["key"]["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert_eq!(line(&ok(&["key", "list"]).await, id), "App read active 0s ago 0/3 0/- - -");
    assert!(control(&node, &["room", "list"], Some(secret)).await.status.success());
    let refused = control(&node, &["room", "stop", "tea"], Some(secret)).await;
    assert!(String::from_utf8(refused.stderr).unwrap().contains("lacks the scope rooms"));
    assert!(control(&node, &["key", "revoke", id], Some(KEY)).await.status.success());
    assert!(line(&ok(&["key", "list"]).await, id).starts_with("App read revoked "));
    assert!(!node.output().contains(secret), "the key is in the log");
    ok(&["room", "delete", "tea"]).await;
    let gone = control(&node, &["room", "show", "tea"], Some(KEY)).await;
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8(gone.stderr).unwrap().contains("(room_not_found)"));
}

#[actix::test]
async fn load_reports_percentiles_and_cleans_up() {
    let node = Node::start(&[("auth.mode", "keys"), ("auth.api_keys", KEY)]).await;
    let counts = ["--rooms", "2", "--anchors", "3", "--listeners", "4", "--plain", "2"];
    let args = [&["load", "--seconds", "8", "--json"], &counts[..]].concat();
    let output = control(&node, &args, Some(KEY)).await;
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["start"]["count"], 2, "{report:#}");
    let anchors = &report["anchors"];
    assert_eq!((&anchors["anchors"], &anchors["failed"]), (&3.into(), &0.into()), "{report:#}");
    assert!(anchors["join"]["count"] == 3 && anchors["join"]["p99Ms"].is_u64(), "{report:#}");
    for (side, listeners) in [("hls", 4), ("plain", 2)] {
        let side = &report[side];
        assert_eq!((&side["listeners"], &side["failed"]), (&listeners.into(), &0.into()), "{report:#}");
        assert_eq!(side["firstSound"]["count"], listeners, "{report:#}");
        assert!(side["delay"]["p99Ms"].is_u64(), "{report:#}");
    }
    let rooms = node.get("/api/rooms").await.json();
    let is_left = |room: &Value| room["status"] != "removing";
    assert!(!rooms["rooms"].as_array().unwrap().iter().any(is_left), "{rooms}");
    let refused = control(&node, &["load", "--listeners", "1001"], Some(KEY)).await;
    assert_eq!(refused.status.code(), Some(2));
    let refused = control(&node, &["load", "--rooms", "2", "--anchors", "41"], Some(KEY)).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("at most 40"), "{refused:?}");
    let audit = control(&node, &["audit"], Some(KEY)).await;
    let text = String::from_utf8(audit.stdout).unwrap();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = text.lines().map(words).collect();
    assert_eq!((lines.len(), lines[0].as_str()), (3, "AGO OPERATOR ADDRESS ACTION NODE OUTCOME"), "{text}");
    let deleted = "key of the configuration 127.0.0.1 delete_room load-";
    assert!(lines[1..].iter().all(|line| line.contains(deleted) && line.ends_with(" done")), "{text}");
}

#[actix::test]
async fn ended_load_deletes_its_rooms() {
    let node = Node::start(&[("auth.mode", "keys"), ("auth.api_keys", KEY)]).await;
    let rooms = async |status: &str| {
        let rooms = node.get("/api/rooms").await.json()["rooms"].as_array().cloned().unwrap_or_default();
        rooms.iter().filter(|room| room["status"] == status).count()
    };
    for ends in [Signal::TERM, Signal::HUP] {
        let mut load = tokio::process::Command::new(env!("CARGO_BIN_EXE_stentor"))
            .args(["load", "--seconds", "600", "--listeners", "1"])
            .env("STENTOR_API", &node.api)
            .env("STENTOR_API_KEY", KEY)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        until("the room is on air", async || rooms("onair").await == 1).await;
        signal(i32::try_from(load.id().unwrap()).unwrap(), ends);
        let status = tokio::time::timeout(crate::support::PATIENCE, load.wait()).await;
        assert_eq!(status.expect("it ends").unwrap().code(), Some(1), "{ends:?}");
        assert_eq!(rooms("onair").await, 0, "{ends:?}");
    }
}

#[actix::test]
async fn refused_commands_name_the_remedy() {
    let node = Node::start(&[("auth.mode", "keys"), ("auth.api_keys", KEY)]).await;
    let error = async |args: &[&str], key| {
        let output = control(&node, args, key).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(error(&["room", "list"], None).await.contains("set --key-file or STENTOR_API_KEY"));
    assert!(
        error(&["room", "list"], Some("another-key-0001"))
            .await
            .contains("stentor key list shows the valid keys")
    );
    let nobody = error(&["room", "list", "--api", "http://127.0.0.1:9"], Some(KEY)).await;
    assert!(nobody.contains("Is the node running? --api or STENTOR_API"), "{nobody}");
    let other = error(&["actors", "--ops", &node.hls], Some(KEY)).await;
    assert!(other.contains("--ops or STENTOR_OPS"), "{other}");
    let missing = error(&["room", "list", "--key-file", "/nowhere/key"], None).await;
    assert!(missing.contains("/nowhere/key"), "{missing}");
}

#[actix::test]
async fn doctor_finds_a_working_machine() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing listens on port 1, so the doctor finds no running node and tests the addresses; port 0 is
    // always free.
    let any = ["listen.api", "listen.ws", "listen.hls"].map(|key| format!("{key}=127.0.0.1:0"));
    let mut args = vec!["doctor", "--set", "listen.ops=127.0.0.1:1"];
    args.extend(any.iter().flat_map(|setting| ["--set", setting.as_str()]));
    let output = stentor(folder.path(), &args);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for subject in ["janus", "ffmpeg", "addresses", "child", "ports"] {
        assert!(text.lines().any(|l| l.starts_with(&format!("ok    {subject}"))), "{subject}:\n{text}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the command left files behind");
}

#[actix::test]
async fn doctor_names_a_remedy_per_failure() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("listen.api={}", taken.local_addr().unwrap());
    let (janus, ffmpeg) = ("janus.binary=/nowhere/janus", "mixer.ffmpeg=/bin/true");
    let args = ["doctor", "--set", &api, "--set", janus, "--set", ffmpeg, "--set", "listen.ops=127.0.0.1:1"];
    let output = stentor(folder.path(), &args);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for remedy in ["change listen.api, or free the port", "apt-get install janus", "set mixer.ffmpeg"] {
        assert!(text.lines().any(|l| l.starts_with("FAIL") && l.contains(remedy)), "{remedy}:\n{text}");
    }
}

#[test]
fn doctor_reads_firewall_and_ports() {
    let folder = tempfile::tempdir().unwrap();
    // A network namespace of its own has no rules, and nothing in it listens.
    let script = |rules: &str| {
        format!(
            "ip link set lo up; {rules} exec {} doctor --json --set node.roles=mixer,hls \
             --set auth.mode=keys --set auth.api_keys=sixteen-letters-1 --set listen.hls=0.0.0.0:8080 \
             --set listen.media=10.0.0.7 --set mixer.rtp_ports=27000-27099",
            env!("CARGO_BIN_EXE_stentor")
        )
    };
    let found = |rules: &str| -> Vec<Value> {
        let mut command = Command::new("unshare");
        let output = command.args(["-n", "sh", "-c", &script(rules)]).current_dir(folder.path()).output();
        serde_json::from_slice(&output.unwrap().stdout).unwrap()
    };
    let of = |findings: &[Value], subject: &str| {
        let found = findings.iter().find(|finding| finding["subject"] == subject).unwrap().clone();
        (found["verdict"].clone(), found["text"].as_str().unwrap().to_owned())
    };
    let add = "ip address add 10.0.0.7/32 dev lo;";
    let open = found(add);
    let all = "the rules of this machine let in UDP 27000-27099 (mixer.rtp_ports), TCP 8080 (listen.hls)";
    assert_eq!(of(&open, "firewall"), ("good".into(), all.into()));
    assert_eq!(of(&open, "udp ports"), ("good".into(), "mixer.rtp_ports 27000-27099 can be bound".into()));
    let rules = "nft add table inet f; nft 'add chain inet f in { type filter hook input priority 0; policy \
                 drop; }'; nft add rule inet f in tcp dport 8080 accept;";
    let closed = found(&format!("{add} {rules}"));
    let (verdict, text) = of(&closed, "firewall");
    assert_eq!(verdict, "warning");
    assert!(text.contains("drop UDP 27000-27099 (mixer.rtp_ports): add a rule"), "{text}");
    assert!(text.contains("`udp dport 27000-27099 accept`"), "{text}");
    let (verdict, text) = of(&found(""), "udp ports");
    assert_eq!(verdict, "failure");
    assert!(text.contains("cannot bind 10.0.0.7"), "{text}");
}

/// Runs a command against the node, with the API key in the environment.
async fn control(node: &Node, args: &[&str], key: Option<&str>) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.args(args).env("STENTOR_API", &node.api).env("STENTOR_OPS", &node.ops);
    command.env_remove("STENTOR_API_KEY").kill_on_drop(true);
    if let Some(key) = key {
        command.env("STENTOR_API_KEY", key);
    }
    let output = tokio::time::timeout(crate::support::PATIENCE, command.output()).await;
    output.expect("the command ends").unwrap()
}

fn stentor(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stentor"))
        .args(args)
        .current_dir(folder)
        .env("STENTOR__LISTEN__API", "127.0.0.1:3999")
        .output()
        .unwrap()
}

/// Returns value and source of `key`.
fn line(text: &str, key: &str) -> String {
    let line = text.lines().find(|l| l.split_whitespace().next() == Some(key)).unwrap();
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

//! The Debian package and the systemd unit: built from this build's program, linted, installed, upgraded and
//! purged; and the settings of the container image, of Compose and of Kubernetes.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use stentor::config::{self, ConfigFile, LoadInput};

use crate::support::node::{Node, request};
use crate::support::{pause_async, skipped};

const UNIT: &str = "packaging/stentor.service";
/// Exit code of `package.sh` where it cannot work.
const NOT_POSSIBLE: i32 = 77;
const TOLD_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn package_installs_upgrades_and_purges() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("stentor");
    // Most of a debug build is debug information.
    let strip = Command::new("strip").arg("-o").arg(&binary).arg(env!("CARGO_BIN_EXE_stentor")).output();
    succeeded(strip.unwrap());
    let packages = folder.path().join("packages");
    let build = |version: &[&str]| {
        let built = Command::new("packaging/build.sh")
            .arg("deb")
            .args([&binary, &packages])
            .args(version)
            .envs([("DPKG_DEB_COMPRESSOR_TYPE", "gzip"), ("DPKG_DEB_COMPRESSOR_LEVEL", "1")])
            .output();
        let path = succeeded(built.unwrap());
        Path::new(path.trim()).file_name().unwrap().to_owned()
    };
    let (old, new) = (build(&["0.0.1"]), build(&[]));
    let tried = Command::new("tests/it/support/package.sh").arg(&packages).args([old, new]).output().unwrap();
    if tried.status.code() == Some(NOT_POSSIBLE) {
        return skipped("needs root, namespaces and overlay mounts");
    }
    succeeded(tried);
}

#[test]
fn systemd_accepts_the_unit() {
    // The program of the unit is not installed here.
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("stentor.service");
    let text = std::fs::read_to_string(UNIT).unwrap();
    std::fs::write(&unit, text.replace("/usr/bin/stentor", env!("CARGO_BIN_EXE_stentor"))).unwrap();
    let analyze = |args: &[&str]| {
        let output = Command::new("systemd-analyze").args(args).arg(&unit).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "systemd-analyze {args:?}");
        succeeded(output);
    };
    analyze(&["verify", "--man=no"]);
    // The threshold is an exposure level in tenths: from 0 (not exposed) to 100.
    analyze(&["security", "--offline=true", "--no-pager", "--threshold=30"]);
}

#[actix::test]
async fn service_manager_is_notified() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let mut manager = Manager(UnixDatagram::bind(&path).unwrap());
    let mut node = Node::prepare(&[]);
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000")];
    node.environment(environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
    node.run();
    let starting = manager.told("WATCHDOG=1").await;
    assert!(starting.contains("EXTEND_TIMEOUT_USEC=60000000"), "{starting}");
    manager.told("READY=1").await;
    node.ready().await;
    assert_eq!(request("GET", &format!("{}/readyz", node.ops), &[], None).await.status, 200);
    let ready = manager.told("WATCHDOG=1\nSTATUS=ready").await;
    assert!(!ready.contains("EXTEND_TIMEOUT_USEC"), "{ready}");
    node.signal(Signal::HUP);
    manager.told("RELOADING=1").await;
    manager.told("READY=1").await;
    node.signal(Signal::TERM);
    let stopping = manager.told("STOPPING=1").await;
    // 30 s: the sum of the two configured deadlines and ten seconds.
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=30000000"), "{stopping}");
    assert!(node.ended().success());
}

/// A service manager's end of `NOTIFY_SOCKET`.
struct Manager(UnixDatagram);

impl Manager {
    /// Waits for the next message that starts with `wanted`, and returns it.
    async fn told(&mut self, wanted: &str) -> String {
        self.0.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        let message = async {
            loop {
                match self.0.recv(&mut buffer) {
                    Ok(size) if buffer[..size].starts_with(wanted.as_bytes()) => break size,
                    Ok(_) => {}
                    Err(_) => pause_async().await,
                }
            }
        };
        let size = tokio::time::timeout(TOLD_WITHIN, message).await;
        let size = size.unwrap_or_else(|_| panic!("no {wanted} within {TOLD_WITHIN:?}"));
        String::from_utf8(buffer[..size].to_vec()).unwrap()
    }
}

#[test]
fn container_settings_are_valid() {
    let container = read("packaging/container/config.yaml");
    let nodes = |compose: &str| -> Vec<(String, Vec<(String, String)>)> {
        let compose: Value = serde_saphyr::from_str(&read(compose)).unwrap();
        let services = compose["services"].as_object().unwrap().iter();
        let nodes =
            services.filter(|(_, service)| !service["environment"]["STENTOR__HTTP__PUBLIC_WS_URL"].is_null());
        nodes.map(|(name, node)| (name.clone(), variables(&node["environment"], filled_in))).collect()
    };
    let (one, cluster) =
        (nodes("packaging/container/compose.yaml"), nodes("packaging/container/compose.cluster.yaml"));
    assert_eq!((one.len(), cluster.len()), (1, 4));
    for (name, environment) in one.into_iter().chain(cluster) {
        valid(&name, &container, environment);
    }
}

#[test]
fn kubernetes_settings_are_valid() {
    let text = read("packaging/kubernetes/stentor.yaml");
    let documents: Vec<Value> =
        text.split("\n---\n").map(|text| serde_saphyr::from_str(text).unwrap()).collect();
    let of_kind = |kind: &'static str| documents.iter().filter(move |document| document["kind"] == *kind);
    let mut common = Vec::new();
    for (kind, field) in [("ConfigMap", "data"), ("Secret", "stringData")] {
        let named = of_kind(kind).find(|document| document["metadata"]["name"] == "stentor").unwrap();
        common.extend(variables(&named[field], str::to_owned));
    }
    for kind in ["Deployment", "StatefulSet"] {
        let workload = of_kind(kind).next().unwrap();
        let containers = workload["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        let node = containers.iter().find(|container| container["name"] == "stentor").unwrap();
        let own = node["env"].as_array().unwrap().iter().map(|variable| {
            // Variables without a value get fields of the pod: its address or its name.
            let value = variable["value"].as_str().unwrap_or("10.0.0.7");
            (variable["name"].as_str().unwrap().to_owned(), value.replace("$(HOST_IP)", "10.0.0.7"))
        });
        let environment = common.iter().cloned().chain(own).collect();
        valid(kind, &read("packaging/container/config.yaml"), environment);
    }
}

#[test]
fn packaged_configuration_is_valid() {
    // The package creates the key file when it is installed.
    let keys = [("AUTH__API_KEYS_FILE", ""), ("AUTH__API_KEYS", "key-of-this-test")];
    let environment = keys.map(|(name, value)| (format!("STENTOR__{name}"), value.to_owned())).to_vec();
    valid("the package", &read("packaging/config.yaml"), environment);
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn variables(map: &Value, value: impl Fn(&str) -> String) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), &value);
    map.as_object().unwrap().iter().map(|(name, v)| (name.clone(), text(v))).collect()
}

/// Fills in the variables of a Compose value, as the file `.env` would.
fn filled_in(text: &str) -> String {
    let mut parts = text.split("${");
    let mut filled = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap();
        filled += match name.split(':').next().unwrap() {
            "STENTOR_HOST" => "live.example.org",
            "STENTOR_PUBLIC_IP" => "203.0.113.7",
            _ => "0123456789abcdef0123456789abcdef",
        };
        filled += rest;
    }
    filled
}

#[track_caller]
fn valid(name: &str, file: &str, env: Vec<(String, String)>) {
    let file = Some(ConfigFile { name: name.to_owned(), text: file.to_owned() });
    if let Err(errors) = config::load(LoadInput { file, env: env.into_iter().collect(), flags: Vec::new() }) {
        panic!("{name}: {errors}");
    }
}

/// Returns the standard output of a program that must have succeeded.
fn succeeded(output: Output) -> String {
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}{errors}", output.status);
    said.into_owned()
}

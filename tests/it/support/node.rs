//! A Stentor node as users run it: the real binary, on free ports, with its own data directory and log.

use std::fs::File;
use std::io::PipeWriter;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use stentor::config::{self, Config, LoadInput};
use stentor::domain::ids::RoomId;
use stentor::probe::listener::Target;
use tempfile::TempDir;

use super::kept::KeptProcess;
use super::wait_until;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// Range of RTP ports between those of the managed Janus and the ephemeral ports. Each node of a test run
/// gets its own block.
const RTP_RANGE: Range<u16> = 27_000..32_700;
const RTP_PORTS: u16 = 100;
static NODES: AtomicU32 = AtomicU32::new(0);

/// URL of a listener proxy, for a node without the role `hls`. Nothing listens there.
pub const PUBLIC_HLS_URL: &str = "http://listen.localhost";
/// URL of a gateway proxy, for a node without the role `gateway`. Nothing listens there.
pub const PUBLIC_WS_URL: &str = "ws://speak.localhost/ws";
/// Settings that a node with the role `rooms` needs, each with the role whose absence requires it.
const PUBLIC_URLS: [(&str, &str, &str); 2] =
    [("hls", "http.public_hls_url", PUBLIC_HLS_URL), ("gateway", "http.public_ws_url", PUBLIC_WS_URL)];

pub struct Node {
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    netns: Option<String>,
    config_file: Option<PathBuf>,
    log_pipe: Option<PipeWriter>,
    /// Argument of `prlimit`.
    descriptors: Option<String>,
    /// User and group of later runs; `None`: the user and group of the tests.
    account: Option<(u32, u32)>,
    data: TempDir,
    runs: usize,
    process: Option<KeptProcess>,
    /// Header sent with every API request, if `auth.api_keys` is set.
    authorization: Option<String>,
    pub api: String,
    pub ws: String,
    pub hls: String,
    pub ops: String,
}

/// An HTTP response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Node {
    /// Starts a node with embedded store, managed Janus, all roles and an open API; `settings` are additional
    /// `--set` flags. Returns once it is ready.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let mut node = Self::prepare(settings);
        node.run();
        node.ready().await;
        node
    }

    /// Prepares a node that is not running yet.
    pub fn prepare(settings: &[(&str, &str)]) -> Self {
        let data = private_folder();
        let mut all = vec![
            ("node.data_dir".to_owned(), data.path().display().to_string()),
            ("log.format".to_owned(), "json".to_owned()),
            ("log.filter".to_owned(), "info,stentor=debug".to_owned()),
        ];
        for address in ["listen.api", "listen.ws", "listen.hls", "listen.ops"] {
            all.push((address.to_owned(), "127.0.0.1:0".to_owned()));
        }
        all.push(("mixer.rtp_ports".to_owned(), rtp_ports()));
        all.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let roles = settings.iter().find(|(name, _)| *name == "node.roles").map(|(_, roles)| *roles);
        for (role, key, url) in PUBLIC_URLS {
            let is_set = settings.iter().any(|(name, _)| *name == key);
            if !is_set && roles.is_some_and(|roles| roles.contains("rooms") && !roles.contains(role)) {
                all.push((key.to_owned(), url.to_owned()));
            }
        }
        let key = settings.iter().find(|(name, _)| *name == "auth.api_keys");
        let authorization = key.map(|(_, key)| format!("Bearer {key}"));
        let none = String::new;
        Self {
            settings: all,
            environment: Vec::new(),
            netns: None,
            config_file: None,
            log_pipe: None,
            descriptors: None,
            account: None,
            data,
            runs: 0,
            process: None,
            authorization,
            api: none(),
            ws: none(),
            hls: none(),
            ops: none(),
        }
    }

    /// Sets additional environment variables for later runs.
    pub fn environment(&mut self, variables: Vec<(String, String)>) {
        self.environment = variables;
    }

    /// Sends this API key with every API request. Needed if the settings do not contain the key.
    pub fn authorize(&mut self, key: &str) {
        self.authorization = Some(format!("Bearer {key}"));
    }

    /// Makes later runs read this file; `log.filter` comes only from the file.
    pub fn configured_by(&mut self, file: &Path) {
        self.config_file = Some(file.to_owned());
        self.settings.retain(|(key, _)| key != "log.filter");
    }

    /// Makes the next run log into this pipe. `ready` cannot be used then, because it reads the log file.
    pub fn log_to(&mut self, pipe: PipeWriter) {
        self.log_pipe = Some(pipe);
    }

    /// Limits the open files of later runs.
    pub fn limit_descriptors(&mut self, soft: u64, hard: u64) {
        self.descriptors = Some(format!("--nofile={soft}:{hard}"));
    }

    /// Makes later runs start as this user and group, and makes these the owners of the data directory.
    /// The tests must run as root.
    pub fn run_as(&mut self, user: u32, group: u32) {
        std::os::unix::fs::chown(self.data_dir(), Some(user), Some(group)).expect("the tests run as root");
        self.account = Some((user, group));
    }

    /// Makes later runs start in this network namespace.
    pub fn within(&mut self, netns: &str) {
        self.netns = Some(netns.to_owned());
    }

    pub fn data_dir(&self) -> &Path {
        let set = self.settings.iter().rfind(|(key, _)| key == "node.data_dir");
        Path::new(&set.expect("it is always set").1)
    }

    /// Returns the configuration of the node.
    pub fn config(&self) -> Config {
        config::load(LoadInput { flags: self.settings.clone(), ..LoadInput::default() }).expect("it is valid")
    }

    /// Starts the process (again); its addresses may differ from those of the last run.
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "the node runs already");
        self.runs += 1;
        let log = File::create(self.log_path()).expect("a log file");
        let binary = env!("CARGO_BIN_EXE_stentor");
        let mut command = match (&self.netns, &self.descriptors) {
            (Some(netns), _) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", netns, binary]);
                command
            }
            (None, Some(limits)) => {
                let mut command = Command::new("prlimit");
                command.args([limits, binary]);
                command
            }
            (None, None) => match self.account {
                Some((user, group)) => {
                    let mut command = Command::new("setpriv");
                    command.args([format!("--reuid={user}"), format!("--regid={group}")]);
                    command.args(["--clear-groups", "--", binary]);
                    command
                }
                None => Command::new(binary),
            },
        };
        command
            .arg("serve")
            .arg("--config")
            .arg(self.config_file.as_deref().unwrap_or(Path::new("/dev/null")));
        for (key, value) in &self.settings {
            command.args(["--set", &format!("{key}={value}")]);
        }
        command.envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        match self.log_pipe.take() {
            Some(pipe) => command.stderr(pipe),
            None => command.stderr(log),
        };
        self.process = Some(KeptProcess::start(command));
    }

    /// Waits for the log line `ready` and reads the addresses from it.
    pub async fn ready(&mut self) {
        let deadline = tokio::time::Instant::now() + READY_WITHIN;
        loop {
            if let Some(line) = self.log().into_iter().find(|l| l["message"] == "ready") {
                // A role that this node lacks has no address.
                let address = |name: &str| match line[name].as_str() {
                    Some(address) => format!("http://{address}"),
                    None => String::new(),
                };
                self.api = address("api");
                self.ws = address("ws");
                self.hls = address("hls");
                self.ops = address("ops");
                return;
            }
            let ended = self.process.as_ref().is_none_or(KeptProcess::has_ended);
            let late = ended || tokio::time::Instant::now() > deadline;
            assert!(!late, "not ready: {}", self.output());
            super::pause_async().await;
        }
    }

    pub fn pid(&self) -> i32 {
        self.process.as_ref().expect("the node runs").pid()
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().expect("the node runs").kill();
    }

    /// Sends SIGTERM, then waits for the orderly shutdown.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("the node runs").signal(signal);
    }

    /// Waits for the process to end on its own.
    pub fn ended(&mut self) -> ExitStatus {
        self.process.take().expect("the node runs").end(Duration::from_secs(30))
    }

    /// Returns the log of the newest run, line by line.
    pub fn log(&self) -> Vec<Value> {
        // The last line may be incomplete.
        self.output().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Returns everything that the newest run has written to its standard error.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Returns the lines of the newest run's log at WARN and above, without the warnings that are normal in
    /// tests. These warnings concern the settings and the low limit of file descriptors.
    pub fn problems(&self) -> Vec<String> {
        let expected = ["auth.mode is open", "this node serves listeners without", "few file descriptors"];
        let known = |text: &str| expected.iter().any(|start| text.starts_with(start));
        let bad = |l: &Value| {
            matches!(l["level"].as_str(), Some("WARN" | "ERROR")) && !l["message"].as_str().is_some_and(known)
        };
        self.log().into_iter().filter(bad).map(|l| l.to_string()).collect()
    }

    fn log_path(&self) -> PathBuf {
        self.data.path().join(format!("log-{}.json", self.runs))
    }

    /// Returns the pids of the node's children with this name, e.g. `ffmpeg` or `janus`.
    pub fn children(&self, name: &str) -> Vec<i32> {
        children_of(self.pid(), name)
    }

    /// Waits until the node has an FFmpeg and returns its process id. A room is on air slightly before its
    /// FFmpeg runs.
    pub async fn ffmpeg(&self) -> i32 {
        super::until("FFmpeg runs", async || !self.children("ffmpeg").is_empty()).await;
        self.children("ffmpeg")[0]
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, None).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path, Some(body)).await
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let key: Vec<_> = self.authorization.iter().map(|key| ("authorization", key.as_str())).collect();
        request(method, &format!("{}{path}", self.api), &key, body).await
    }

    /// Returns the id of the node, which is also the id of its Janus and its mixer.
    pub async fn id(&self) -> String {
        let modules = self.get("/api/modules").await.json();
        modules["mixers"][0]["id"].as_str().expect("a mixer").to_owned()
    }

    pub async fn readyz(&self) -> Answer {
        request("GET", &format!("{}/readyz", self.ops), &[], None).await
    }

    /// Creates the room and puts it on air. Anchors can join once it returns.
    pub async fn room_on_air(&self, room: &str) -> Value {
        let made = self.post("/api/rooms", json!({ "roomId": room, "start": true })).await;
        assert_eq!(made.status, 201, "{made:?}");
        self.until_status(room, "onair").await
    }

    /// Waits until the room has the status; returns the room.
    pub async fn until_status(&self, room: &str, status: &str) -> Value {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.get(&format!("/api/rooms/{room}")).await;
            let json = answer.json();
            if json["room"]["status"] == status {
                return json["room"].clone();
            }
            assert!(tokio::time::Instant::now() < deadline, "{room} is not {status}: {json}");
            super::pause_async().await;
        }
    }

    pub async fn token(&self, room: &str) -> String {
        let answer = self.post("/api/token", json!({ "roomId": room })).await;
        answer.json()["token"].as_str().expect("a token").to_owned()
    }

    /// Returns the data that a listener needs to hear the room.
    pub async fn target(&self, room: &str) -> Target {
        Target {
            base_url: self.hls.clone(),
            room: RoomId::new(room).expect("a room id"),
            token: self.token(room).await,
            ffmpeg: "ffmpeg".into(),
        }
    }

    pub async fn actors(&self) -> Value {
        request("GET", &format!("{}/actors", self.ops), &[], None).await.json()
    }

    /// Makes an actor panic.
    pub async fn panic(&self, path: &str) {
        let url = format!("{}/actors/panic", self.ops);
        assert_eq!(request("POST", &url, &[], Some(json!({ "path": path }))).await.status, 204, "{path}");
    }

    /// Returns the entries of `/actors` for actors of a kind.
    pub async fn states_of(&self, kind: &str) -> Vec<Value> {
        let mut found = Vec::new();
        collect(&self.actors().await, kind, &mut found);
        found
    }

    /// Returns the first of [`states_of`](Self::states_of); null if there is none.
    pub async fn state_of(&self, kind: &str) -> Value {
        self.states_of(kind).await.into_iter().next().unwrap_or_default()
    }
}

impl Drop for Node {
    /// Prints the log of the node if the test failed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the node:\n{}", self.output());
        }
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Sends one request with a deadline; returns an `Answer` for any status.
pub async fn request(method: &str, url: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
    let client = awc::Client::builder().timeout(Duration::from_secs(30)).disable_redirects().finish();
    let method: awc::http::Method = method.parse().expect("a method");
    let mut request = client.request(method, url);
    for (name, value) in headers {
        request = request.insert_header((*name, *value));
    }
    let sent = match &body {
        Some(body) => request.send_json(body).await,
        None => request.send().await,
    };
    let mut response = sent.unwrap_or_else(|e| panic!("{url}: {e}"));
    let text = |v: &awc::http::header::HeaderValue| v.to_str().unwrap_or_default().to_owned();
    let headers = response.headers().iter().map(|(n, v)| (n.to_string(), text(v))).collect();
    let body = response.body().limit(64 << 20).await.expect("a whole body").to_vec();
    Answer { status: response.status().as_u16(), headers, body }
}

/// Creates a folder with mode 0700, which a data directory needs if it contains other files, here the log.
fn private_folder() -> TempDir {
    let private = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir().expect("a temporary directory")
}

/// Chooses a block of RTP ports. Concurrent test runs rarely start with the same ports.
fn rtp_ports() -> String {
    let blocks = u32::from((RTP_RANGE.end - RTP_RANGE.start) / RTP_PORTS);
    let block = (std::process::id() * 7 + NODES.fetch_add(1, Relaxed)) % blocks;
    let first = RTP_RANGE.start + block as u16 * RTP_PORTS;
    format!("{first}-{}", first + RTP_PORTS - 1)
}

/// Sends a signal to one process that the test, or a node of the test, started. After SIGSTOP, blocks until
/// all its threads have stopped: on a busy machine one of them could still answer a request.
pub fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("no process has pid 0"), signal).expect("it is there and ours");
    if signal == Signal::STOP {
        wait_until("the process stops", Duration::from_secs(30), || has_stopped(pid));
    }
}

fn has_stopped(pid: i32) -> bool {
    let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("procfs");
    threads.all(|thread| {
        let stat = thread.and_then(|thread| std::fs::read_to_string(thread.path().join("stat")));
        stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    })
}

/// Returns the pids of the children of `parent` with this command name.
pub fn children_of(parent: i32, name: &str) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc")
        .expect("procfs")
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
        let Some((head, tail)) = stat.rsplit_once(')') else { return false };
        let mut fields = tail.split_whitespace();
        let (state, ppid) = (fields.next(), fields.next().and_then(|p| p.parse::<i32>().ok()));
        head.split_once('(').is_some_and(|(_, comm)| comm == name)
            && ppid == Some(parent)
            && state != Some("Z")
    })
    .collect()
}

pub fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

/// Blocks until all the processes have ended.
pub fn until_gone(pids: &[i32]) {
    wait_until("the processes end", Duration::from_secs(10), || pids.iter().all(|pid| !is_alive(*pid)));
}

fn collect(node: &Value, kind: &str, found: &mut Vec<Value>) {
    if node["kind"] == kind {
        found.push(node.clone());
    }
    for child in node["children"].as_array().into_iter().flatten() {
        collect(child, kind, found);
    }
}

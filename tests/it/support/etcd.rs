//! A real etcd for the test, with one member or several: free ports, temporary data, stopped with its owner.
//!
//! Owns: the processes. Does not touch an etcd that it did not start.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::kept::KeptProcess;
use super::{free_ports, wait_until};

const READY_WITHIN: Duration = Duration::from_secs(30);

pub struct Etcd {
    members: Vec<Member>,
}

struct Member {
    client_port: u16,
    peer_port: u16,
    data: TempDir,
    running: Option<KeptProcess>,
    arguments: Vec<String>,
}

impl Etcd {
    /// Starts one member. Returns once it serves.
    pub fn start() -> Self {
        Self::start_members(1)
    }

    /// Starts one member with these additional arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut etcd = Self::start();
        etcd.stop();
        etcd.members[0].arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        etcd.run();
        etcd
    }

    /// Starts several members. Returns once all of them serve.
    pub fn start_members(count: usize) -> Self {
        let member = |_| {
            let [client_port, peer_port] = free_ports();
            let data = tempfile::tempdir().expect("a temporary directory");
            Member { client_port, peer_port, data, running: None, arguments: Vec::new() }
        };
        let mut etcd = Self { members: (0..count).map(member).collect() };
        etcd.run();
        etcd
    }

    /// Returns the instance shared by all tests that only need some etcd and use their own key prefix. It
    /// ends with its last user.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Etcd>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let etcd = Arc::new(Self::start());
            *shared = Arc::downgrade(&etcd);
            etcd
        })
    }

    /// Returns the address of the first member.
    pub fn address(&self) -> SocketAddr {
        self.members[0].address()
    }

    /// Returns the endpoints of all members, in the form of `store.etcd.endpoints`.
    pub fn endpoint(&self) -> String {
        self.members.iter().map(Member::endpoint).collect::<Vec<_>>().join(",")
    }

    /// Waits for a leader among the members and returns its index.
    pub fn leader(&self) -> usize {
        let found = std::cell::Cell::new(0);
        wait_until("a member leads", READY_WITHIN, || {
            let leads = |member: &Member| member.leads().unwrap_or(false);
            let leader = self.members.iter().position(leads);
            leader.map(|leader| found.set(leader)).is_some()
        });
        found.get()
    }

    /// Kills all members; their data stays.
    pub fn stop(&mut self) {
        (0..self.members.len()).for_each(|member| self.stop_member(member));
    }

    pub fn stop_member(&mut self, member: usize) {
        if let Some(running) = self.members[member].running.take() {
            running.kill();
        }
    }

    /// Starts the stopped members on the same ports and data. Returns once all serve.
    pub fn run(&mut self) {
        let peer = |(n, member): (usize, &Member)| format!("m{n}={}", member.peer());
        let all = self.members.iter().enumerate().map(peer).collect::<Vec<_>>().join(",");
        for (n, member) in self.members.iter_mut().enumerate().filter(|(_, member)| member.running.is_none())
        {
            member.run(&format!("m{n}"), &all);
        }
        let healthy = || self.members.iter().all(|member| member.healthy().unwrap_or(false));
        wait_until("etcd becomes healthy", READY_WITHIN, healthy);
    }

    /// Sends SIGSTOP: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        for member in &self.members {
            member.running.as_ref().expect("etcd runs").signal(signal);
        }
    }
}

impl Member {
    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.client_port))
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    fn peer(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    fn run(&mut self, name: &str, all: &str) {
        let (client, peer) = (self.endpoint(), self.peer());
        let mut command = Command::new("etcd");
        command
            .args(["--name", name, "--data-dir"])
            .arg(self.data.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", all])
            .args(["--logger", "zap", "--log-level", "error"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.running = Some(KeptProcess::start(command));
    }

    fn healthy(&self) -> io::Result<bool> {
        Ok(self.ask("GET /health HTTP/1.0\r\n\r\n")?["health"] == "true")
    }

    fn leads(&self) -> io::Result<bool> {
        let status = self.ask("POST /v3/maintenance/status HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")?;
        Ok(status["leader"].is_string() && status["leader"] == status["header"]["member_id"])
    }

    fn ask(&self, request: &str) -> io::Result<Value> {
        let mut connection = TcpStream::connect(self.address())?;
        connection.set_read_timeout(Some(Duration::from_secs(2)))?;
        connection.write_all(request.as_bytes())?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok(serde_json::from_str(body).unwrap_or_default())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.stop();
    }
}

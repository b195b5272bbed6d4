//! A real etcd of the test's own: free ports, temporary data, gone with its owner.
//!
//! Owns: the process. Never does: touch an etcd that it did not start.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::kept::Kept;
use super::{free_ports, wait_until};

const READY_WITHIN: Duration = Duration::from_secs(30);

pub struct Etcd {
    client_port: u16,
    peer_port: u16,
    data: TempDir,
    running: Option<Kept>,
}

impl Etcd {
    /// Returns when it serves.
    pub fn start() -> Self {
        let [client_port, peer_port] = free_ports();
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut etcd = Self { client_port, peer_port, data, running: None };
        etcd.run();
        etcd
    }

    /// One instance for all tests that only need some etcd and stay below a prefix of their own. It ends
    /// with its last user.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Etcd>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let etcd = Arc::new(Self::start());
            *shared = Arc::downgrade(&etcd);
            etcd
        })
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.client_port))
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Kills it; its data stays.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    /// Starts it again on the same ports and data; returns when it serves.
    pub fn run(&mut self) {
        assert!(self.running.is_none(), "etcd runs already");
        let (client, peer) = (self.endpoint(), format!("http://127.0.0.1:{}", self.peer_port));
        let mut command = Command::new("etcd");
        command
            .arg("--data-dir")
            .arg(self.data.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(["--logger", "zap", "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.running = Some(Kept::start(command));
        wait_until("etcd becomes healthy", READY_WITHIN, || self.healthy().unwrap_or(false));
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        self.running.as_ref().expect("etcd runs").signal(signal);
    }

    fn healthy(&self) -> io::Result<bool> {
        let mut connection = TcpStream::connect(self.address())?;
        connection.set_read_timeout(Some(Duration::from_secs(2)))?;
        connection.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer.contains(r#""health":"true""#))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.stop();
    }
}

//! A real etcd of the test's own: free ports, temporary data, gone with its owner.
//!
//! Owns: the process. Never does: touch an etcd that it did not start.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{free_ports, wait_until};

const READY_WITHIN: Duration = Duration::from_secs(30);

pub struct Etcd {
    client_port: u16,
    peer_port: u16,
    data: TempDir,
    running: Option<Running>,
}

/// The kernel kills a child with the *thread* that spawned it, so one thread keeps it for all its life.
struct Running {
    pid: Pid,
    stop: Sender<()>,
    keeper: JoinHandle<()>,
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
            drop(running.stop);
            running.keeper.join().expect("the keeper ends by itself");
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
        self.running = Some(keep(command));
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
        let running = self.running.as_ref().expect("etcd runs");
        kill_process(running.pid, signal).expect("etcd is ours");
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

fn keep(mut command: Command) -> Running {
    let (stop, stopped) = channel();
    let (started, pid) = channel();
    let keeper = std::thread::Builder::new().name("etcd-keeper".into()).spawn(move || {
        // SAFETY: between fork and exec, one bare system call that touches no memory of the parent.
        unsafe {
            command.pre_exec(|| {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)
            });
        }
        let child = command.spawn().expect("etcd is installed (package etcd-server)");
        let _ = started.send(Pid::from_child(&child));
        kill_when_stopped(child, &stopped);
    });
    let keeper = keeper.expect("a thread");
    Running { pid: pid.recv().expect("etcd was started"), stop, keeper }
}

/// Nothing is ever sent: the end of the channel is the message.
fn kill_when_stopped(mut child: Child, stopped: &Receiver<()>) {
    let _ = stopped.recv();
    child.kill().expect("etcd is ours");
    child.wait().expect("etcd is our child");
}

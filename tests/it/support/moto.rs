//! moto, an S3-compatible server that keeps everything in memory. It listens on a free port, and stops when
//! its [`Moto`] is dropped.

use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::kept::KeptProcess;
use super::node::{Answer, request};
use super::{free_ports, skipped, wait_until};

const VERSION: &str = "5.2.5";
const READY_WITHIN: Duration = Duration::from_secs(60);
pub const BUCKET: &str = "recordings";

pub struct Moto {
    program: String,
    port: u16,
    running: Option<KeptProcess>,
}

impl Moto {
    /// Installs moto, but does not start it. If it cannot be installed, prints a message and returns `None`.
    pub fn prepare() -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/moto.sh");
        let installed = Command::new(script).arg(VERSION).stderr(Stdio::inherit()).output();
        let installed = installed.expect("the script runs");
        if !installed.status.success() {
            skipped("moto cannot be installed from PyPI here");
            return None;
        }
        let program = String::from_utf8(installed.stdout).expect("a path").trim().to_owned();
        let [port] = free_ports();
        Some(Self { program, port, running: None })
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Starts moto with one bucket, which is empty.
    pub async fn run(&mut self) {
        assert!(self.running.is_none(), "moto runs already");
        let mut command = Command::new(&self.program);
        command.args(["-H", "127.0.0.1", "-p", &self.port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.running = Some(KeptProcess::start(command));
        wait_until("moto serves", READY_WITHIN, || TcpStream::connect(self.address()).is_ok());
        let made = request("PUT", &self.url(""), &[], None).await;
        assert_eq!(made.status, 200, "{made:?}");
    }

    /// Kills moto, which loses all data.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    /// Requests an object. The status is 404 if it does not exist.
    pub async fn object(&self, name: &str) -> Answer {
        request("GET", &self.url(name), &[], None).await
    }

    /// Writes an object, like another program.
    pub async fn put(&self, name: &str, content: Vec<u8>) {
        let answer = awc::Client::default().put(self.url(name)).send_body(content).await;
        assert_eq!(answer.expect("an answer").status(), 200);
    }

    fn url(&self, name: &str) -> String {
        format!("http://{}/{BUCKET}/{name}", self.address())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.stop();
    }
}

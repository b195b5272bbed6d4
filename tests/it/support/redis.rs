//! A real Redis for the test: free port, nothing on disk, stopped with its owner.
//!
//! Owns: the process. Does not touch a Redis that it did not start.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use redis::{Client, FromRedisValue, Script};
use rustix::process::Signal;
use tempfile::TempDir;

use super::kept::KeptProcess;
use super::{free_ports, wait_until};

const READY_WITHIN: Duration = Duration::from_secs(30);

/// Lua script that shortens each key's time to live; keys whose time has run out expire.
const PASS: &str = "
    for _, key in ipairs(redis.call('KEYS', '*')) do
        local left = redis.call('PTTL', key)
        if left >= 0 then
            redis.call('PEXPIRE', key, left - ARGV[1])
        end
    end
    return 1";

pub struct Redis {
    port: u16,
    dir: TempDir,
    password: Option<&'static str>,
    running: Option<KeptProcess>,
}

impl Redis {
    /// Starts Redis. Returns once it serves.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    pub fn start_with_password(password: &'static str) -> Self {
        Self::start_with(Some(password))
    }

    fn start_with(password: Option<&'static str>) -> Self {
        let [port] = free_ports();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut redis = Self { port, dir, password, running: None };
        redis.run();
        redis
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Returns the URL without the password.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Kills the server; all its data is lost.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    /// Starts Redis again, empty, on the same port. Returns once it serves.
    pub fn run(&mut self) {
        assert!(self.running.is_none(), "Redis runs already");
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.dir.path())
            .args(self.password.into_iter().flat_map(|password| ["--requirepass", password]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.running = Some(KeptProcess::start(command));
        wait_until("Redis serves", READY_WITHIN, || self.ask::<String>("PING").is_ok());
    }

    /// Sends SIGSTOP: connections stay open, the kernel accepts new ones, and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    pub fn flush(&self) {
        self.ask::<()>("FLUSHALL").expect("Redis forgets");
    }

    /// Ages all keys by `time`.
    pub fn pass(&self, time: Duration) {
        let mut connection = self.client().get_connection().expect("Redis serves");
        let ms = u64::try_from(time.as_millis()).expect("a short time");
        Script::new(PASS).arg(ms).invoke::<()>(&mut connection).expect("Redis runs the script");
    }

    fn ask<T: FromRedisValue>(&self, command: &str) -> redis::RedisResult<T> {
        let mut connection = self.client().get_connection_with_timeout(Duration::from_secs(2))?;
        connection.set_read_timeout(Some(Duration::from_secs(2)))?;
        redis::cmd(command).query(&mut connection)
    }

    fn client(&self) -> Client {
        let login = self.password.map(|password| format!(":{password}@")).unwrap_or_default();
        Client::open(format!("redis://{login}{}", self.address())).expect("a good URL")
    }

    fn signal(&self, signal: Signal) {
        self.running.as_ref().expect("Redis runs").signal(signal);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

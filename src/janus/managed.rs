//! `janus` as a child process: configure, start, wait until it responds, stop.
//!
//! Owns: the process and its configuration folder. Does not restart the process; the actor `JanusProcess`
//! does. Must be used on an arbiter's thread: a child is killed when the thread that started it ends (see
//! `process`).

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::client::server_info;
use super::error::JanusError;
use super::link::{ConnectOptions, Link};
use super::managed_config::{self, ManagedOptions};
use crate::process::{self, Confinement};

/// Maximum time until Janus responds. It takes about 0.1 s, and more on a machine under load.
const START_DEADLINE: Duration = Duration::from_secs(10);
const PROBE_EVERY: Duration = Duration::from_millis(5);
/// Maximum number of attempts to find a port. We pick a free port and Janus opens it; another process may
/// take it in between.
const PORT_ATTEMPTS: u32 = 5;

/// Reason why Janus could not be started, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ManagedError {
    #[error(
        "janus is not at `{}`: apt-get install janus, or set janus.binary; where apt has no janus \
         (Debian 13), see README.md, section Install",
        .0.display()
    )]
    NotFound(PathBuf),
    #[error("cannot run `{}`", .0.display())]
    Spawn(PathBuf, #[source] io::Error),
    #[error("cannot write the configuration of janus to {}: check node.data_dir and its owner", .0.display())]
    WorkDir(PathBuf, #[source] io::Error),
    #[error("cannot find a free port on 127.0.0.1 for janus")]
    NoPort(#[source] io::Error),
    #[error(
        "janus ended ({status}) before it was ready; is janus.binary a Janus Gateway? It said: {last_words}"
    )]
    Exited { status: ExitStatus, last_words: String },
    #[error("janus did not answer within {after:?}; see its log (target `janus`)")]
    NotReady { after: Duration },
    #[error("another process has taken port {0}, which was chosen for janus")]
    PortTaken(u16),
    #[error("cannot wait for janus")]
    Wait(#[source] io::Error),
}

/// Running Janus. Dropping it kills the process.
#[derive(Debug)]
pub struct ManagedJanus {
    url: String,
    child: Child,
    log: Vec<JoinHandle<()>>,
    last_words: LastWords,
}

/// Last warning or error that Janus printed: the likely reason if it ends before it is ready.
type LastWords = Arc<Mutex<String>>;

impl ManagedJanus {
    /// Writes the configuration, starts Janus and waits until it responds on its WebSocket.
    ///
    /// # Errors
    /// See [`ManagedError`].
    pub async fn start(options: &ManagedOptions) -> Result<Self, ManagedError> {
        let mut attempt = 1;
        loop {
            let port = free_port().map_err(ManagedError::NoPort)?;
            match Self::start_on(options, port).await {
                Err(ManagedError::PortTaken(_)) if attempt < PORT_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    /// Returns `ws://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the process id; `None` after the exit status has been read.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until Janus ends. The future may be dropped and the function called again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Sends INT, then KILL after `grace`, and returns the real exit status. Janus takes 0.2 s to end, but
    /// version 1.1.2 may hang forever if INT arrives just after its start. KILL loses no data, because Janus
    /// stores none.
    pub async fn stop(mut self, grace: Duration) -> io::Result<ExitStatus> {
        let status = process::stop(&mut self.child, grace).await;
        self.drain_log().await;
        status
    }

    async fn start_on(options: &ManagedOptions, port: u16) -> Result<Self, ManagedError> {
        // Identifies our Janus: another process may respond on the port.
        let server_name = format!("stentor-{}", uuid::Uuid::new_v4());
        managed_config::write(options, &server_name, port)
            .map_err(|e| ManagedError::WorkDir(options.work_dir.clone(), e))?;
        let mut janus = Self::spawn(options, port)?;
        let connect = ConnectOptions {
            url: janus.url.clone(),
            api_secret: Some(options.api_secret.clone()),
            admin_key: None,
            request_timeout: START_DEADLINE,
            keep_alive: START_DEADLINE,
        };
        let deadline = Instant::now() + START_DEADLINE;
        tokio::select! {
            answered = timeout_at(deadline, answering_name(&connect)) => match answered {
                Ok(name) if name == server_name => Ok(janus),
                Ok(_) => Err(ManagedError::PortTaken(port)),
                Err(_) => Err(ManagedError::NotReady { after: START_DEADLINE }),
            },
            status = janus.child.wait() => {
                let status = status.map_err(ManagedError::Wait)?;
                Err(janus.why_ended(status, port).await)
            }
        }
    }

    fn spawn(options: &ManagedOptions, port: u16) -> Result<Self, ManagedError> {
        let confinement =
            Confinement { account: options.account.clone(), data_limit: Some(options.data_limit) };
        let mut command = process::confined(&confinement, &options.binary, ["-F", "."]);
        // The account of Janus has access to this folder, but not to the data directory above it. So the
        // child enters the folder before it changes its user.
        command.current_dir(&options.work_dir);
        let mut child = command.spawn().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => ManagedError::NotFound(options.binary.clone()),
            _ => ManagedError::Spawn(options.binary.clone(), e),
        })?;
        let last_words = LastWords::default();
        let stdout = child.stdout.take().map(|out| tokio::spawn(log_lines(out, last_words.clone())));
        let stderr = child.stderr.take().map(|err| tokio::spawn(log_lines(err, last_words.clone())));
        let url = format!("ws://127.0.0.1:{port}");
        Ok(Self { url, child, log: stdout.into_iter().chain(stderr).collect(), last_words })
    }

    /// Waits until all output is logged. Janus writes to a pipe in blocks, so its last lines may still be in
    /// the pipe after it has ended.
    async fn drain_log(&mut self) {
        for pump in self.log.drain(..) {
            let _ = pump.await;
        }
    }

    async fn why_ended(&mut self, status: ExitStatus, port: u16) -> ManagedError {
        self.drain_log().await;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            return ManagedError::PortTaken(port);
        }
        let last_words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ManagedError::Exited { status, last_words }
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Requests the server name until Janus responds, and returns it.
async fn answering_name(options: &ConnectOptions) -> String {
    let mut probe = interval(PROBE_EVERY);
    probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        probe.tick().await;
        if let Ok(name) = name_at(options).await {
            return name;
        }
    }
}

async fn name_at(options: &ConnectOptions) -> Result<String, JanusError> {
    let (events, _) = mpsc::unbounded_channel();
    let link = Link::dial(options, events).await?;
    Ok(server_info(&link).await?.server_name)
}

/// Copies every line of Janus to our log.
async fn log_lines(output: impl AsyncRead + Unpin, last_words: LastWords) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log_line(line, &last_words);
    }
}

/// Logs one line. A Janus error may be a participant's mistake, such as a wrong pin, so only `FATAL` is
/// logged as an error. Lines like `setpriv: …` and `…: error while loading shared libraries: …` come from the
/// programs that start Janus; they are warnings.
fn log_line(line: String, last_words: &LastWords) {
    // Janus prints these lines at every normal start. They concern modules that our configuration disables,
    // and a build (1.4) without RNNoise.
    let expected = line.ends_with("has been disabled, skipping...")
        || line.ends_with("Denoising via RNNoise NOT supported");
    if line.is_empty() {
        return;
    } else if line.contains("[sdp.c:") || line.contains("[sdp-utils.c:") {
        // The line contains the unreadable part of the SDP, which must not be logged.
        tracing::warn!(target: "janus", "session description was refused");
        return;
    } else if line.starts_with("[FATAL]") {
        tracing::error!(target: "janus", "{line}");
    } else if line.starts_with("setpriv: ") || line.contains(": error while loading shared libraries: ") {
        tracing::warn!(target: "janus", "{line}");
    } else if (line.starts_with("[ERR]") || line.starts_with("[WARN]")) && !expected {
        tracing::warn!(target: "janus", "{line}");
    } else {
        tracing::debug!(target: "janus", "{line}");
        return;
    }
    *last_words.lock().unwrap_or_else(PoisonError::into_inner) = line;
}

#[cfg(test)]
mod tests {
    use super::super::{SESSION_TIMEOUT, Secret};
    use super::*;
    use crate::domain::ports::{PLAIN_RTP_PORTS, WEBRTC_PORTS};

    #[actix::test]
    async fn managed_janus_reports_port_taken() {
        let dir = tempfile::tempdir().unwrap();
        let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = stranger.local_addr().unwrap().port();
        let error = ManagedJanus::start_on(&options(dir.path().join("janus")), port).await.unwrap_err();
        assert!(matches!(error, ManagedError::PortTaken(taken) if taken == port), "{error}");
    }

    #[actix::test]
    async fn foreign_janus_on_port_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let other = ManagedJanus::start(&options(dir.path().join("other"))).await.unwrap();
        let port = other.url().rsplit_once(':').unwrap().1.parse().unwrap();
        let error = ManagedJanus::start_on(&options(dir.path().join("ours")), port).await.unwrap_err();
        assert!(matches!(error, ManagedError::PortTaken(taken) if taken == port), "{error}");
    }

    fn options(work_dir: PathBuf) -> ManagedOptions {
        ManagedOptions {
            binary: "janus".into(),
            work_dir,
            media_ip: Ipv4Addr::LOCALHOST.into(),
            ice_interface: None,
            public_ip: None,
            api_secret: Secret("api".to_owned()),
            admin_key: Secret("admin".to_owned()),
            webrtc_ports: WEBRTC_PORTS,
            plain_rtp_ports: PLAIN_RTP_PORTS,
            session_timeout: SESSION_TIMEOUT,
            account: None,
            data_limit: 1 << 30,
        }
    }
}

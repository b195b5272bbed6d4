//! Janus as our child process: its open ports, how it ends, and the error messages.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use stentor::domain::mix::MixShare;
use stentor::janus::{AudioBridge, ManagedError, ManagedJanus, ManagedOptions};

use crate::support::janus::{MOMENT, TestJanus, options, pin, room, secret};
use crate::support::srtp;
use crate::support::{PATIENCE, wait_until};

/// Environment variable that makes this program the parent of a Janus process, to be killed by the test.
const IS_PARENT: &str = "STENTOR_TEST_PARENT_OF_A_JANUS";

#[actix::test]
async fn managed_janus_listens_on_loopback_only() {
    let janus = TestJanus::start().await;
    let port = janus.janus.url().strip_prefix("ws://127.0.0.1:").unwrap().parse().unwrap();
    assert_eq!(tcp_listeners(janus.janus.pid().unwrap()), [(u32::from_le_bytes([127, 0, 0, 1]), port)]);
}

#[actix::test]
async fn managed_janus_stop_returns_status() {
    // Try several times: Janus sometimes hangs on a TERM right after its start; then the status is that of
    // KILL.
    let stops = (0..8).map(|_| async {
        let janus = TestJanus::start().await;
        let pid = pid_of(&janus.janus);
        let status = janus.janus.stop(Duration::from_secs(2)).await.unwrap();
        assert!(status.code() == Some(0) || status.signal() == Some(9), "{status}");
        assert!(test_kill_process(pid).is_err(), "is gone");
    });
    futures::future::join_all(stops).await;
}

#[actix::test]
async fn managed_janus_death_reports_signal() {
    let mut janus = TestJanus::start().await;
    kill_process(pid_of(&janus.janus), Signal::KILL).unwrap();
    assert_eq!(janus.janus.wait().await.unwrap().signal(), Some(9));
}

#[actix::test]
async fn two_managed_januses_run_together() {
    let (one, two) = futures::join!(TestJanus::start(), TestJanus::start());
    let (client, _events) = one.client().await;
    let (other, _events) = two.client().await;
    client.create_room(&room(300_001)).await.unwrap();
    assert!(!other.exists(300_001).await.unwrap());
}

#[actix::test]
async fn missing_janus_binary_names_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let options = ManagedOptions { binary: "/nowhere/janus".into(), ..options(dir.path()) };
    let error = ManagedJanus::start(&options).await.unwrap_err();
    assert!(error.to_string().contains("apt-get install janus, or set janus.binary"), "{error}");
}

#[actix::test]
async fn exited_janus_is_reported_with_status() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.binary = script(dir.path(), "echo '[FATAL] the disk is full'; exit 3");
    let error = ManagedJanus::start(&options).await.unwrap_err();
    let ManagedError::Exited { status, last_words } = error else { panic!("{error}") };
    assert_eq!((status.code(), last_words.as_str()), (Some(3), "[FATAL] the disk is full"));
}

#[actix::test]
async fn no_secret_reaches_the_log() {
    // A Janus that had to be killed loses the last block of its output.
    for _ in 0..5 {
        if a_run_keeps_its_secrets().await.signal().is_none() {
            return;
        }
    }
    panic!("Janus never ended by TERM, so its log was never complete");
}

async fn a_run_keeps_its_secrets() -> ExitStatus {
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || LogBuffer(writer.clone()))
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // While there is only one subscriber, the first thread that reaches a log line decides whether the line
    // is logged at all. That thread may belong to another test, without a subscriber. With two subscribers,
    // tracing asks both.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let janus = TestJanus::start().await;
    let (client, _events) = janus.client().await;
    client.create_room(&room(300_002)).await.unwrap();
    let ours = stentor::domain::ids::MediaAddr { ip: [127, 0, 0, 1].into(), port: 9 };
    client.start_forwarder(300_002, &secret(), ours, &srtp::key()).await.unwrap();
    client.join_rtp(300_002, &pin(), "someone", ours, MixShare::of(3)).await.unwrap().leave().await.unwrap();
    client.destroy_room(300_002, &stentor::janus::Secret("wrong one".to_owned())).await.unwrap_err();
    client.destroy_room(300_002, &secret()).await.unwrap();
    let status = janus.janus.stop(MOMENT).await.unwrap();
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    let complete = log.contains("Starting Meetecho Janus");
    assert!(complete || status.signal().is_some(), "the log of Janus is in ours");
    for hidden in [
        srtp::key().reveal(),
        pin().reveal(),
        &secret().0,
        "wrong one",
        &janus.options.api_secret.0,
        &janus.options.admin_key.0,
    ] {
        assert!(!log.contains(hidden), "{hidden} is in the log");
    }
    status
}

/// Runs this test again in a separate process, as the parent.
#[test]
fn managed_janus_dies_with_parent() {
    if std::env::var_os(IS_PARENT).is_some() {
        return actix::System::new().block_on(run_a_janus_forever());
    }
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "janus::managed::managed_janus_dies_with_parent", "--nocapture"])
        .env(IS_PARENT, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let pid = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("janus pid ")?.parse().ok());
    let pid = Pid::from_raw(pid.unwrap()).unwrap();
    test_kill_process(pid).expect("runs");
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until("the end of janus after its parent's", PATIENCE, || !is_running(pid));
}

async fn run_a_janus_forever() {
    let janus = TestJanus::start().await;
    println!("janus pid {}", janus.janus.pid().unwrap());
    std::future::pending::<()>().await
}

fn pid_of(janus: &ManagedJanus) -> Pid {
    Pid::from_raw(janus.pid().unwrap() as i32).unwrap()
}

/// Returns true if the process runs; a zombie that its new parent has not reaped yet does not.
fn is_running(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn script(dir: &Path, text: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("janus.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// Returns address and port of every TCP socket on which `pid` listens.
fn tcp_listeners(pid: u32) -> Vec<(u32, u16)> {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    let sockets: HashSet<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    assert!(!listening("/proc/net/tcp6", &sockets).any(|_| true), "nothing on IPv6");
    let addresses = listening("/proc/net/tcp", &sockets).map(|address| {
        let (ip, port) = address.split_once(':').unwrap();
        (u32::from_str_radix(ip, 16).unwrap(), u16::from_str_radix(port, 16).unwrap())
    });
    addresses.collect()
}

/// Returns the local addresses, in hexadecimal, of those listening sockets in `table` (a file like
/// `/proc/net/tcp`) that are among `sockets`.
fn listening<'a>(table: &str, sockets: &'a HashSet<String>) -> impl Iterator<Item = String> + 'a {
    const LISTEN: &str = "0A";
    let lines: Vec<String> =
        std::fs::read_to_string(table).unwrap().lines().skip(1).map(str::to_owned).collect();
    lines.into_iter().filter_map(move |line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ours = fields[3] == LISTEN && sockets.contains(&format!("socket:[{}]", fields[9]));
        ours.then(|| fields[1].to_owned())
    })
}

struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

//! Child processes that cannot outlive this one.
//!
//! Each child leads its own process group and gets SIGKILL from the kernel when the thread that spawned it
//! ends (`PR_SET_PDEATHSIG`). Therefore, spawn only from a thread that lives as long as the process, such as
//! the thread of an arbiter. Never spawn from a thread of a blocking pool. `setpriv` arms the signal, denies
//! the child new privileges (`PR_SET_NO_NEW_PRIVS`), and executes the program. The alternative, to run code
//! of this process between fork and exec, would require a true fork. Such a fork copies the page tables while
//! it holds the allocator's locks. So each start of a child would stop every thread of a busy node for about
//! ten milliseconds.
//!
//! Janus and FFmpeg read data from clients, so they are started with [`confined`]: their memory can be
//! limited, and a node that runs as root gives them a different [`Account`].
//!
//! TERM and HUP are blocked in children: service managers send them to all processes of a service at once,
//! but a draining node still needs its children. Children are stopped with INT, which Janus and FFmpeg treat
//! as TERM.
//!
//! ```
//! use std::time::Duration;
//! use stentor_process::{command, stop};
//! use tokio::io::AsyncReadExt;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let output = command("echo", ["a b", "$HOME"]).output().await.unwrap();
//! assert_eq!(output.stdout, b"a b $HOME\n", "no shell interprets the arguments");
//!
//! let mut child = command("sh", ["-c", "echo up; sleep 60"]).spawn().unwrap();
//! let mut up = [0; 3];
//! child.stdout.as_mut().unwrap().read_exact(&mut up).await.unwrap();
//! let status = stop(&mut child, Duration::from_secs(30)).await.unwrap();
//! assert!(!status.success(), "INT ended it");
//! # });
//! ```
//!
//! Owns: spawning and stopping. Does not decide to restart.

mod account;
mod limits;
pub mod usage;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

pub use account::Account;
pub use limits::{disable_core_files, raise_descriptor_limit};

/// Program of util-linux.
const SETPRIV: &str = "setpriv";
/// Program of GNU coreutils 8.31 (2019) or newer.
const ENV: &str = "env";
/// Option that blocks TERM and HUP. A signal mask survives exec (POSIX.1-2017, 2.4.3).
const BLOCK_SIGNALS: &str = "--block-signal=TERM,HUP";
/// Option that resets INT. A node that a script starts in the background ignores INT, and its children would
/// inherit that.
const DEFAULT_INT: &str = "--default-signal=INT";
/// Shell script with the parent's process id as `$0`, the descriptor limit as `$1`, and the program with its
/// arguments as the rest of `$@`: nothing is quoted or split. The script does nothing if the parent died
/// before the signal was armed, because in that case the child would never receive the signal. The hard limit
/// of core files is 0, because Janus raises the soft limit. (As root, Janus raises both limits.)
const UNLESS_ORPHANED: &str = r#"[ "$PPID" = "$0" ] || exit; ulimit -c 0; ulimit -Sn "$1"; shift; exec "$@""#;
/// Like [`UNLESS_ORPHANED`], for a confined program. `$2` is the limit of its data segment in KiB; empty: no
/// limit. A hard limit that is already lower stays in force.
const CONFINED: &str = r#"[ "$PPID" = "$0" ] || exit; ulimit -c 0; ulimit -Sn "$1"
if [ -n "$2" ]; then ulimit -d "$2" 2>/dev/null || :; fi; shift 2; exec "$@""#;
/// Environment variables passed to children. Others may hold secrets, as `STENTOR__*` do.
const ENVIRONMENT: [&str; 8] =
    ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD"];

/// Variables of [`ENVIRONMENT`] that name folders of this process's account.
const OF_ACCOUNT: [&str; 2] = ["HOME", "TMPDIR"];

/// Restrictions of a child that reads data from clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Account that the child runs as; `None`: that of this process.
    pub account: Option<Account>,
    /// Maximum size of heap and thread stacks together, in bytes; `None`: no limit.
    pub data_limit: Option<u64>,
}

/// Creates a command with empty stdin, piped stdout and stderr, a minimal environment and its own process
/// group. The child dies with this process.
pub fn command<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> Command {
    build(program, args, None)
}

/// Creates a command like [`command`], with the restrictions of `confinement`.
pub fn confined<S: AsRef<OsStr>>(
    confinement: &Confinement,
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = S>,
) -> Command {
    build(program, args, Some(confinement))
}

fn build<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = S>,
    confinement: Option<&Confinement>,
) -> Command {
    let account = confinement.and_then(|confinement| confinement.account.as_ref());
    let mut command = match which::which(&program) {
        Ok(program) => {
            let mut command = Command::new(SETPRIV);
            command.args(["--no-new-privs", "--pdeathsig", "KILL"]);
            command.args(account.into_iter().flat_map(Account::options));
            command.args(["--", ENV, BLOCK_SIGNALS, DEFAULT_INT, "--", "/bin/sh", "-c"]);
            let (parent, descriptors) = (std::process::id().to_string(), limits::child_limit().to_string());
            match confinement {
                None => command.args([UNLESS_ORPHANED, &parent, &descriptors]),
                Some(Confinement { data_limit, .. }) => {
                    let kib = data_limit.map(|bytes| (bytes / 1024).to_string()).unwrap_or_default();
                    command.args([CONFINED, &parent, &descriptors, &kib])
                }
            };
            command.arg(program);
            command
        }
        // Spawning this command fails and reports the reason.
        Err(_) => Command::new(program),
    };
    command
        .args(args)
        .env_clear()
        .envs(environment().filter(|(name, _)| account.is_none() || !OF_ACCOUNT.contains(name)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

fn environment() -> impl Iterator<Item = (&'static str, OsString)> {
    ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}

/// Checks that children can be spawned, and that `account` can run `programs`. A program that does not exist
/// is not an error here; spawning it reports the error.
///
/// # Errors
/// A system program is missing or too old, this process cannot change to the account, or the account cannot
/// run a program. The message names the remedy.
pub fn check(account: Option<&Account>, programs: &[&Path]) -> Result<(), String> {
    which::which(SETPRIV).map_err(|error| {
        format!("{SETPRIV} is needed to start Janus and FFmpeg: {error}; install util-linux")
    })?;
    let tried = std::process::Command::new(ENV)
        .args([BLOCK_SIGNALS, DEFAULT_INT, "--", "true"])
        .stderr(Stdio::null())
        .status();
    match tried {
        Ok(status) if status.success() => {}
        _ => {
            return Err(format!(
                "`{ENV} {BLOCK_SIGNALS}` is needed to start Janus and FFmpeg and does not work; \
                 install GNU coreutils 8.31 or newer"
            ));
        }
    }
    account.map_or(Ok(()), |account| account.check(programs))
}

/// Sends `signal` to the child's whole process group. Does nothing if the child has already exited.
pub fn signal_group(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
    if let Some(pid) = pid {
        // ESRCH: the child exited between the two calls.
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

/// Sends INT, then KILL after `grace`, and returns the child's own exit status.
pub async fn stop(child: &mut Child, grace: Duration) -> io::Result<ExitStatus> {
    signal_group(child, Signal::INT);
    if let Ok(status) = tokio::time::timeout(grace, child.wait()).await {
        return status;
    }
    signal_group(child, Signal::KILL);
    child.wait().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[tokio::test]
    async fn children_survive_term_and_hup() {
        let mut child = command("cat", [""; 0]).stdin(Stdio::piped()).spawn().unwrap();
        // The child echoes, so it is running.
        let (stdin, stdout) = (child.stdin.as_mut().unwrap(), child.stdout.as_mut().unwrap());
        let mut echoed = [0u8; 2];
        tokio::io::AsyncWriteExt::write_all(stdin, b"up").await.unwrap();
        tokio::io::AsyncReadExt::read_exact(stdout, &mut echoed).await.unwrap();
        signal_group(&child, Signal::TERM);
        signal_group(&child, Signal::HUP);
        tokio::io::AsyncWriteExt::write_all(child.stdin.as_mut().unwrap(), b"on").await.unwrap();
        tokio::io::AsyncReadExt::read_exact(child.stdout.as_mut().unwrap(), &mut echoed).await.unwrap();
        let status = stop(&mut child, Duration::from_secs(30)).await.unwrap();
        assert_eq!((&echoed, status.signal()), (b"on", Some(Signal::INT.as_raw())));
    }

    #[tokio::test]
    async fn children_get_a_minimal_environment() {
        // Cargo sets this variable for the test.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let output = String::from_utf8(command("env", [""; 0]).output().await.unwrap().stdout).unwrap();
        let names: Vec<_> = output.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        // `sh` adds these four.
        let known =
            |name: &&str| ENVIRONMENT.contains(name) || ["PWD", "OLDPWD", "SHLVL", "_"].contains(name);
        assert!(names.contains(&"PATH") && names.iter().all(known), "{names:?}");
    }

    #[tokio::test]
    async fn a_child_that_ignores_int_is_killed() {
        let mut child =
            command("sh", ["-c", "trap '' INT; echo up; while :; do sleep 1; done"]).spawn().unwrap();
        let mut first = [0u8; 3];
        tokio::io::AsyncReadExt::read_exact(child.stdout.as_mut().unwrap(), &mut first).await.unwrap();
        let status = stop(&mut child, Duration::from_millis(50)).await.unwrap();
        assert_eq!(status.signal(), Some(9));
    }

    #[tokio::test]
    async fn arguments_arrive_as_they_are() {
        let args = ["%s|", "a b", "", "$HOME", "'\"", "*"];
        let output = command("printf", args).output().await.unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "a b||$HOME|'\"|*|");
    }

    #[tokio::test]
    async fn children_get_a_bounded_descriptor_limit() {
        raise_descriptor_limit();
        let output = command("sh", ["-c", "ulimit -Sn"]).output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), limits::child_limit().to_string());
    }

    #[tokio::test]
    async fn children_cannot_write_core_files() {
        let output = command("sh", ["-c", "ulimit -Hc"]).output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n");
    }

    #[tokio::test]
    async fn children_get_no_new_privileges() {
        let output = command("grep", ["NoNewPrivs", "/proc/self/status"]).output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "NoNewPrivs:\t1\n");
    }

    #[tokio::test]
    async fn orphaned_child_starts_nothing() {
        let orphaned = [
            vec!["-c", UNLESS_ORPHANED, "1", "64", "echo", "up"],
            vec!["-c", CONFINED, "1", "64", "", "echo", "up"],
        ];
        for args in orphaned {
            assert_eq!(Command::new("/bin/sh").args(args).output().await.unwrap().stdout, b"");
        }
    }

    #[tokio::test]
    async fn confined_children_have_limits() {
        for (data_limit, shown) in [(Some(1 << 30), "1048576"), (None, "unlimited")] {
            let confinement = Confinement { account: None, data_limit };
            let script = "ulimit -c; ulimit -d";
            let output = confined(&confinement, "sh", ["-c", script]).output().await.unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert_eq!(text, format!("0\n{shown}\n"));
        }
    }

    #[tokio::test]
    async fn missing_program_cannot_be_spawned() {
        let error = command("/nowhere/ffmpeg", [""; 0]).spawn().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn child_exit_status_is_returned() {
        let mut child = command("sh", ["-c", "exit 7"]).spawn().unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(7));
    }
}

//! Child processes that cannot outlive this one.
//!
//! Each child is the leader of its own process group and gets SIGKILL from the kernel when the thread that
//! spawned it ends (`PR_SET_PDEATHSIG`), so spawn only from a thread that lives as long as the process: an
//! arbiter's, never a blocking pool's. `setpriv` arms that before it becomes the program: code of our own between
//! fork and exec would need a true fork, which copies page tables and holds the allocator's locks meanwhile, so
//! that each start of a child would stop every thread of a busy node for some ten milliseconds. Owns: spawning and
//! stopping. Never does: decide to restart.

use std::ffi::OsStr;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

/// Part of util-linux.
const SETPRIV: &str = "setpriv";
/// The parent's process id, and the program with its arguments, come as `$0` and `$@`: nothing is quoted or split. The
/// parent may have died before the signal was armed: then nobody would ever send it.
const UNLESS_ORPHANED: &str = r#"[ "$PPID" = "$0" ] && exec "$@""#;

/// A command with closed stdin, piped stdout and stderr, its own process group, dying with us.
pub fn command<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = match which::which(&program) {
        Ok(program) => {
            let mut command = Command::new(SETPRIV);
            command.args(["--pdeathsig", "KILL", "--", "/bin/sh", "-c", UNLESS_ORPHANED]);
            command.arg(std::process::id().to_string()).arg(program);
            command
        }
        // To spawn it fails, and says why.
        Err(_) => Command::new(program),
    };
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Whether children can be spawned at all; else what to install.
pub fn check() -> Result<(), String> {
    let missing =
        |error| format!("{SETPRIV} is needed to start Janus and FFmpeg: {error}; install util-linux");
    which::which(SETPRIV).map(drop).map_err(missing)
}

/// Sends `signal` to the child's whole process group. A child that is already gone is no error.
pub fn signal_group(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
    if let Some(pid) = pid {
        // ESRCH: it exited between the two calls.
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

/// TERM, then KILL after `grace`; returns the true exit status.
pub async fn stop(child: &mut Child, grace: Duration) -> io::Result<ExitStatus> {
    signal_group(child, Signal::TERM);
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

    #[actix::test]
    async fn a_child_that_ignores_term_is_killed() {
        let mut child =
            command("sh", ["-c", "trap '' TERM; echo up; while :; do sleep 1; done"]).spawn().unwrap();
        let mut first = [0u8; 3];
        tokio::io::AsyncReadExt::read_exact(child.stdout.as_mut().unwrap(), &mut first).await.unwrap();
        let status = stop(&mut child, Duration::from_millis(50)).await.unwrap();
        assert_eq!(status.signal(), Some(9));
    }

    #[actix::test]
    async fn arguments_arrive_as_they_are() {
        let args = ["%s|", "a b", "", "$HOME", "'\"", "*"];
        let output = command("printf", args).output().await.unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "a b||$HOME|'\"|*|");
    }

    #[actix::test]
    async fn whoever_is_not_its_parent_any_more_starts_nothing() {
        let orphaned = Command::new("/bin/sh").args(["-c", UNLESS_ORPHANED, "1", "echo", "up"]).output();
        assert_eq!(orphaned.await.unwrap().stdout, b"");
    }

    #[actix::test]
    async fn a_program_that_is_not_there_cannot_be_spawned() {
        let error = command("/nowhere/ffmpeg", [""; 0]).spawn().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[actix::test]
    async fn the_exit_status_is_the_true_one() {
        let mut child = command("sh", ["-c", "exit 7"]).spawn().unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(7));
    }
}

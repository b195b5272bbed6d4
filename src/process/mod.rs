//! Child processes that cannot outlive this one.
//!
//! Each child is the leader of its own process group and gets SIGKILL from the kernel when the thread that
//! spawned it ends (`PR_SET_PDEATHSIG`), so spawn only from a thread that lives as long as the process: an
//! arbiter's, never a blocking pool's. Owns: spawning and stopping. Never does: decide to restart.

use std::ffi::OsStr;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

/// A command with no shell, closed stdin, piped stdout and stderr, its own process group, dying with us.
pub fn command<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let parent = rustix::process::getpid();
    // SAFETY: runs between fork and exec; both calls are bare system calls, async-signal-safe, and touch no
    // memory of the parent.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above: then nobody would ever signal us.
            if rustix::process::getppid() != Some(parent) {
                return Err(io::Error::other("parent is gone"));
            }
            Ok(())
        });
    }
    command
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
    async fn the_exit_status_is_the_true_one() {
        let mut child = command("sh", ["-c", "exit 7"]).spawn().unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(7));
    }
}

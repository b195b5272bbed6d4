//! A child process of the test that always ends with the test.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::{pause, report_panics};

/// A child process with its keeper thread. The kernel kills a child when the *thread* that spawned it ends.
/// The keeper thread therefore lives as long as the child.
pub struct KeptProcess {
    pid: Pid,
    kill: Option<Sender<()>>,
    keeper: Option<JoinHandle<ExitStatus>>,
}

impl KeptProcess {
    pub fn start(mut command: Command) -> Self {
        report_panics();
        let (kill, killed) = channel();
        let (started, pid) = channel();
        let keeper = std::thread::Builder::new().name("keeper".into()).spawn(move || {
            // SAFETY: between fork and exec, one bare system call that touches no memory of the parent.
            unsafe {
                command.pre_exec(|| {
                    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)
                });
            }
            let child =
                command.spawn().unwrap_or_else(|e| panic!("{:?} cannot be run: {e}", command.get_program()));
            let _ = started.send(Pid::from_child(&child));
            keep(child, &killed)
        });
        let pid = pid.recv().expect("the process was started");
        Self { pid, kill: Some(kill), keeper: Some(keeper.expect("a thread")) }
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub fn signal(&self, signal: Signal) {
        super::node::signal(self.pid(), signal);
    }

    /// Returns true if the process ended on its own.
    pub fn has_ended(&self) -> bool {
        self.keeper.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Sends SIGKILL and returns the exit status.
    pub fn kill(mut self) -> ExitStatus {
        self.kill = None;
        self.join()
    }

    /// Waits for the process to end; kills it and fails if that takes longer than `within`.
    pub fn end(mut self, within: Duration) -> ExitStatus {
        let deadline = std::time::Instant::now() + within;
        while !self.has_ended() {
            assert!(std::time::Instant::now() < deadline, "the process did not end within {within:?}");
            pause();
        }
        self.join()
    }

    fn join(&mut self) -> ExitStatus {
        let keeper = self.keeper.take().expect("joined once");
        keeper.join().expect("the keeper ends by itself")
    }
}

impl Drop for KeptProcess {
    fn drop(&mut self) {
        self.kill = None;
        if self.keeper.is_some() {
            self.join();
        }
    }
}

/// Waits for the child. No message is ever sent: a closed channel is the order to kill.
fn keep(mut child: Child, killed: &Receiver<()>) -> ExitStatus {
    loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return status;
        }
        if killed.try_recv() == Err(TryRecvError::Disconnected) {
            child.kill().expect("it is ours");
            return child.wait().unwrap_or(ExitStatus::from_raw(9));
        }
        pause();
    }
}

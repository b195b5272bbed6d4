//! A program in a terminal: a tmux server for one test, stopped when [`Terminal`] is dropped.
//!
//! Owns: the server and the program in it. Never uses the user's tmux, its sessions or its settings.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Terminal size: narrow enough for long lines to wrap, as they do for most users.
const SIZE: [&str; 4] = ["-x", "100", "-y", "50"];

pub struct Terminal {
    /// Folder of the server's socket.
    folder: TempDir,
}

impl Terminal {
    /// Runs `program` (a shell command line) in `directory`.
    pub fn run(program: &str, directory: &Path, environment: &[(&str, &str)]) -> Self {
        let terminal = Self { folder: tempfile::tempdir().expect("a temporary directory") };
        let settings = terminal.folder.path().join("tmux.conf");
        // The final output is read after the program has ended.
        std::fs::write(&settings, "set -g remain-on-exit on\n").expect("a file in our own folder");
        let mut command = terminal.tmux();
        command.arg("-f").arg(settings).args(["new-session", "-d"]).args(SIZE).arg("-c").arg(directory);
        let output = command.arg(program).envs(environment.iter().copied()).output().expect("tmux");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        terminal
    }

    /// Returns everything shown so far, with wrapped lines joined.
    pub fn text(&self) -> String {
        let output = self.ask(&["capture-pane", "-p", "-J", "-S", "-"]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Sends a key by its tmux name, e.g. `C-c`.
    pub fn press(&self, key: &str) {
        assert!(self.ask(&["send-keys", key]).status.success());
    }

    /// Returns the pid of the program.
    pub fn pid(&self) -> i32 {
        self.about("#{pane_pid}").parse().expect("a pid")
    }

    pub fn has_ended(&self) -> bool {
        self.about("#{pane_dead}") == "1"
    }

    fn about(&self, format: &str) -> String {
        let output = self.ask(&["display-message", "-p", format]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn ask(&self, args: &[&str]) -> Output {
        self.tmux().args(args).output().expect("tmux")
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.folder.path().join("socket"));
        // The program must not see a tmux or a make around this test.
        for name in ["TMUX", "MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
            command.env_remove(name);
        }
        command
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Without its terminal the program gets a hangup signal.
        let _ = self.tmux().arg("kill-server").output();
    }
}

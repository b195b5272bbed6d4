//! The program FFmpeg, and the account and limits that its processes run with.
//!
//! Owns: the restrictions of every FFmpeg that handles media. Does not choose arguments.

use std::ffi::OsStr;
use std::path::PathBuf;

use tokio::process::Command;

use crate::process::{self, Account, Confinement};

/// Limit of heap and thread stacks in bytes. FFmpeg needs about 40 MB, and 8 MB per processor for its filter
/// threads.
const DATA_LIMIT: u64 = 2 << 30;

/// FFmpeg executable, and the restrictions on the processes that run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FfmpegProgram {
    pub binary: PathBuf,
    /// Account that FFmpeg runs as; `None`: that of the node.
    pub account: Option<Account>,
}

impl FfmpegProgram {
    /// Returns a command that is confined to the account and the memory limit.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        process::confined(&self.confinement(), &self.binary, args)
    }

    /// Returns a command like [`command`](Self::command) that runs with the lowest processor priority.
    pub fn idle_command(&self, args: &[&str]) -> Command {
        let binary = self.binary.as_os_str();
        let nice = [OsStr::new("-n"), OsStr::new("19"), binary];
        let args = nice.into_iter().chain(args.iter().map(OsStr::new));
        process::confined(&self.confinement(), "nice", args)
    }

    fn confinement(&self) -> Confinement {
        Confinement { account: self.account.clone(), data_limit: Some(DATA_LIMIT) }
    }
}

//! What a mixer's room knows of its FFmpeg while it runs.

use std::time::Duration;

use tokio::process::ChildStdout;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::actors::kernel::Timer;
use crate::media::Prelude;

/// A start ends with the first fragment. Without RTP there is none, and the starts of others must not wait for
/// a Janus that keeps this room waiting: then it ends after this long.
pub const LONGEST_START: Duration = Duration::from_secs(1);

pub struct Running {
    pub pid: u32,
    pub started: Duration,
    pub kill: Option<oneshot::Sender<Duration>>,
    pub why_killed: Option<String>,
    pub starting: Option<Starting>,
    pub last_fragment: Option<Duration>,
    /// Not read before there is a stream to put it into, or somebody to take the room over from.
    pub stdout: Option<ChildStdout>,
    pub prelude: Prelude,
}

/// Keeps its place among those that start at once.
pub struct Starting {
    pub _permit: OwnedSemaphorePermit,
    pub _until: Timer,
}

impl Running {
    /// It was spawned a moment ago. `kill` asks its attendant to end it, and carries the grace.
    pub fn new(
        pid: u32,
        started: Duration,
        kill: oneshot::Sender<Duration>,
        stdout: ChildStdout,
        starting: Starting,
    ) -> Self {
        Self {
            pid,
            started,
            kill: Some(kill),
            why_killed: None,
            starting: Some(starting),
            last_fragment: None,
            stdout: Some(stdout),
            prelude: Prelude::default(),
        }
    }
}

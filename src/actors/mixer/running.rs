//! What a mixer's room knows of its FFmpeg while it runs.

use std::time::Duration;

use tokio::process::ChildStdout;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::actors::kernel::Timer;
use crate::domain::mixer_room::{Exit, STARVED};
use crate::media::Prelude;
use crate::telemetry::Alive;
use crate::telemetry::events::FfmpegExit;

/// A start ends with the first part. Without RTP there is none, and the starts of others must not wait for
/// a Janus that keeps this room waiting: then it ends after this long.
pub const LONGEST_START: Duration = Duration::from_secs(1);

pub struct Running {
    pub pid: u32,
    pub started: Duration,
    pub kill: Option<oneshot::Sender<Duration>>,
    pub why_killed: Option<String>,
    pub starting: Option<Starting>,
    /// When media of it were published last.
    pub last_part: Option<Duration>,
    /// Not read before there is a stream to put it into, or somebody to take the room over from.
    pub stdout: Option<ChildStdout>,
    pub prelude: Prelude,
    _alive: Alive,
}

/// Why each lane of a room does what it does.
#[derive(Default)]
pub struct Reasons {
    pub process: String,
    pub store: String,
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
        alive: Alive,
    ) -> Self {
        Self {
            pid,
            started,
            kill: Some(kill),
            why_killed: None,
            starting: Some(starting),
            last_part: None,
            stdout: Some(stdout),
            prelude: Prelude::default(),
            _alive: alive,
        }
    }

    /// For the log and the metrics.
    pub fn why_ended(&self, exit: Exit) -> FfmpegExit {
        match (&self.why_killed, exit) {
            (Some(why), _) if why == STARVED => FfmpegExit::Stalled,
            (Some(_), _) => FfmpegExit::Stopped,
            (None, Exit::BindFailed) => FfmpegExit::BindFailed,
            (None, Exit::Starved) => FfmpegExit::Stalled,
            (None, Exit::Finished) => FfmpegExit::Finished,
            (None, Exit::Other) => FfmpegExit::Crashed,
        }
    }
}

//! State of a mixer room's FFmpeg while it runs.

use std::time::Duration;

use tokio::process::ChildStdout;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::actors::kernel::Timer;
use crate::domain::mixer_room::{Exit, KillReason};
use crate::packager::StandbyBuffer;
use crate::telemetry::GaugeGuard;
use crate::telemetry::events::FfmpegExit;
use crate::telemetry::trace::Span;

/// Longest time a start occupies its slot. A start ends with the first part. Without RTP there is no part,
/// and a Janus that is slow for this room must not block the starts of other rooms.
pub const LONGEST_START: Duration = Duration::from_secs(1);

pub struct RunningProcess {
    pub pid: u32,
    pub started: Duration,
    pub kill: Option<oneshot::Sender<Duration>>,
    pub why_killed: Option<KillReason>,
    pub starting: Option<StartPermit>,
    /// Time of the last published part made from the output of this process.
    pub last_part: Option<Duration>,
    /// Output of FFmpeg. Read only while a stream is open, or while this mixer prepares to take the room
    /// over.
    pub stdout: Option<ChildStdout>,
    pub standby: StandbyBuffer,
    _alive: GaugeGuard,
}

/// Reasons for the state of each lane of a room.
#[derive(Default)]
pub struct Reasons {
    pub process: String,
    pub store: String,
}

/// Start slot, held until the start is complete.
pub struct StartPermit {
    pub _permit: OwnedSemaphorePermit,
    pub _until: Timer,
    /// Span of the start. Dropping the permit ends the span.
    pub _span: Span,
}

impl RunningProcess {
    /// Creates the state of a process that was just spawned. A message on `kill` ends the process; the
    /// message contains the grace period.
    pub fn new(
        pid: u32,
        started: Duration,
        kill: oneshot::Sender<Duration>,
        stdout: ChildStdout,
        starting: StartPermit,
        alive: GaugeGuard,
    ) -> Self {
        Self {
            pid,
            started,
            kill: Some(kill),
            why_killed: None,
            starting: Some(starting),
            last_part: None,
            stdout: Some(stdout),
            standby: StandbyBuffer::default(),
            _alive: alive,
        }
    }

    /// Returns the reason for the exit, for log and metrics.
    pub fn why_ended(&self, exit: Exit) -> FfmpegExit {
        match (self.why_killed, exit) {
            (Some(KillReason::Starved), _) => FfmpegExit::Stalled,
            (Some(KillReason::Unheard), _) => FfmpegExit::Silent,
            (Some(_), _) => FfmpegExit::Stopped,
            (None, Exit::BindFailed) => FfmpegExit::BindFailed,
            (None, Exit::Starved) => FfmpegExit::Stalled,
            (None, Exit::Finished) => FfmpegExit::Finished,
            (None, Exit::Other) => FfmpegExit::Crashed,
        }
    }
}

//! Start and supervision of one FFmpeg process.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::ChildStdout;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::MixerShared;
use super::meter::MixMeter;
use crate::actors::context::Context;
use crate::config::LoudnessConfig;
use crate::domain::ids::{MediaAddr, RoomId};
use crate::domain::mix::{MixShare, SilenceMeter};
use crate::domain::mixer_room::Exit;
use crate::domain::plan::Failure;
use crate::domain::srtp::SrtpKey;
use crate::ffmpeg::{
    ExitReason, Ffmpeg, FfmpegCommand, FfmpegLog, FfmpegLogLines, FfmpegProcess, LogLevel, Loudness,
    MeterLine, SpawnError,
};
use crate::telemetry::Metrics;

/// Number of log lines kept to explain the exit.
const LAST_LINES: usize = 16;

/// Process that has just been started.
pub struct SpawnedProcess {
    pub ffmpeg: Ffmpeg,
    pub rtp: MediaAddr,
    /// Slot for concurrent starts; held until the start is complete.
    pub permit: OwnedSemaphorePermit,
}

/// Exit of a process.
#[derive(Debug, Clone)]
pub struct ProcessEnd {
    pub pid: u32,
    pub exit: Exit,
    pub status: String,
}

/// Waits for a start slot and starts FFmpeg. Blocks the thread until the child has called exec, about 0.3 ms.
pub async fn spawn(
    context: Context,
    shared: MixerShared,
    rtp: MediaAddr,
    share: MixShare,
    srtp: SrtpKey,
) -> Result<SpawnedProcess, Failure> {
    let stopping = |_| Failure::Refused("the node is stopping".into());
    let permit = shared.starts.clone().acquire_owned().await.map_err(stopping)?;
    let config = &context.config;
    let command = FfmpegCommand {
        program: context.ffmpeg(),
        rtp,
        bitrate: config.mixer.bitrate,
        payload_type: crate::janus::FORWARD_PAYLOAD_TYPE,
        loudness: loudness(&config.mixer.loudness, share),
        srtp,
    };
    let refused = |error: SpawnError| Failure::Refused(format!("{error}: {}", error.source));
    let ffmpeg = Ffmpeg::spawn(&command).map_err(refused)?;
    Ok(SpawnedProcess { ffmpeg, rtp, permit })
}

fn loudness(config: &LoudnessConfig, share: MixShare) -> Loudness {
    let LoudnessConfig { enabled, target, limit } = *config;
    Loudness::new(share, enabled.then_some(target), limit)
}

/// Waits until the process ends, by itself or because of a message on `kill`. The message contains the grace
/// period between INT and KILL. `changed` is called when lasting silence begins (true) or sound does.
pub async fn attend(
    room: RoomId,
    mut process: FfmpegProcess,
    log: FfmpegLogLines,
    (meter, metrics): (MixMeter, Metrics),
    changed: impl Fn(bool),
    kill: oneshot::Receiver<Duration>,
) -> ProcessEnd {
    let pid = process.pid();
    let end = async {
        let asked = tokio::select! {
            status = process.wait() => return status,
            asked = kill => asked,
        };
        // If the sender is dropped, the actor is gone, and the process must end, too.
        process.stop(asked.unwrap_or_default()).await
    };
    let mut silence = SilenceMeter::default();
    let measured = |line| match line {
        MeterLine::Peak(peak_db) => {
            let class = meter.second(peak_db, &metrics);
            silence.second(class).into_iter().for_each(&changed);
        }
        MeterLine::Mean(mean_db) => meter.level(mean_db),
        MeterLine::Frame => {}
    };
    let (status, last) = tokio::join!(end, follow(&room, pid, log, measured));
    match status {
        Ok(status) => ProcessEnd { pid, exit: exit(status, &last), status: status.to_string() },
        Err(error) => ProcessEnd { pid, exit: Exit::Other, status: format!("cannot be waited for: {error}") },
    }
}

/// Copies FFmpeg's stderr to our log until the output ends. Calls `measured` with each line of the meter.
async fn follow(
    room: &RoomId,
    pid: u32,
    mut log: FfmpegLogLines,
    mut measured: impl FnMut(MeterLine),
) -> VecDeque<FfmpegLog> {
    let mut last = VecDeque::with_capacity(LAST_LINES);
    while let Some(line) = log.next().await {
        if let Some(line) = MeterLine::parse(&line.text) {
            measured(line);
            continue;
        }
        // FFmpeg logs a late RTP packet at the same level as a real error. Only an exit of FFmpeg shows that
        // an error was real.
        match line.level {
            LogLevel::Fatal => tracing::warn!(target: "ffmpeg", %room, pid, "{}", line.text),
            _ => tracing::debug!(target: "ffmpeg", %room, pid, "{}", line.text),
        }
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    last
}

fn exit(status: ExitStatus, last: &VecDeque<FfmpegLog>) -> Exit {
    match ExitReason::from(status, last) {
        ExitReason::BindFailed => Exit::BindFailed,
        ExitReason::Starved => Exit::Starved,
        ExitReason::Clean => Exit::Finished,
        ExitReason::Signal(_) | ExitReason::Code(_) => Exit::Other,
    }
}

/// Completed read of FFmpeg's output.
pub struct Output {
    pub pid: u32,
    pub stdout: ChildStdout,
    pub buffer: Vec<u8>,
    pub read: Read,
}

/// Result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Number of bytes at the front of the buffer.
    Bytes(usize),
    /// The output has ended or failed. The exit of the process follows and states the reason.
    Ended,
    /// No output arrived in time.
    Late,
}

/// Times of one read.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadTimes {
    /// Delay before the read, until the next part may be complete. FFmpeg flushes every frame, so this delay
    /// avoids most wake-ups of a room. FFmpeg does not block meanwhile: the pipe holds eight seconds of audio
    /// at the default bit rate.
    pub wait: Duration,
    /// Time until the output counts as late, measured from the same moment as `wait`.
    pub late: Option<Duration>,
}

/// Reads once and returns the reader and the buffer.
pub async fn read(pid: u32, mut stdout: ChildStdout, mut buffer: Vec<u8>, times: ReadTimes) -> Output {
    use tokio::io::AsyncReadExt;
    let begin = tokio::time::Instant::now();
    if !times.wait.is_zero() {
        tokio::time::sleep(times.wait).await;
    }
    buffer.resize(READ, 0);
    let reading = stdout.read(&mut buffer);
    let read = match times.late {
        // `timeout_at` polls the read first, so output that is available already never counts as late.
        Some(late) => tokio::time::timeout_at(begin + late, reading).await,
        None => Ok(reading.await),
    };
    let read = match read {
        Ok(Ok(0) | Err(_)) => Read::Ended,
        Ok(Ok(bytes)) => Read::Bytes(bytes),
        Err(_) => Read::Late,
    };
    Output { pid, stdout, buffer, read }
}

/// Read buffer size. A part of 192 ms at 64 kbit/s has 1.5 kB.
const READ: usize = 4096;

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn finished_ffmpeg_is_no_crash() {
        let last = VecDeque::new();
        assert_eq!(exit(ExitStatus::from_raw(0), &last), Exit::Finished);
        assert_eq!(exit(ExitStatus::from_raw(1 << 8), &last), Exit::Other);
        assert_eq!(exit(ExitStatus::from_raw(9), &last), Exit::Other);
    }
}

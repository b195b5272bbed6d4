//! Measurement of the loudness and the waveform of one recording. The analyzer runs it as an effect.
//!
//! One FFmpeg process with the lowest priority decodes the M4A file once. It needs 8.6 s of processor time
//! per hour of audio (one core, 2026). A room that is on air all day thus costs 0.24 % of a core.

use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};

use crate::delivery::ReplayMedia;
use crate::domain::analysis::{Analysis, PeakMeter, RATE, Waveform, loudness};
use crate::domain::clip::Clip;
use crate::domain::ids::UnixMs;
use crate::domain::recording::RecordingId;
use crate::ffmpeg::{FfmpegLogLines, FfmpegProgram};
use crate::packager::{MediaError, Piece, RecordedM4a, Source};

/// Number of log lines that are kept. The summary of the loudness has ten lines.
const LAST_LINES: usize = 32;

/// Reason why a recording was not measured. The attempt can be retried.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    #[error("the recording cannot be read: {0}")]
    Unreadable(#[from] MediaError),
    #[error("a mixer that has a part of the recording does not answer")]
    Incomplete,
    #[error("FFmpeg cannot be run: {0}")]
    Process(#[from] std::io::Error),
    #[error("FFmpeg did not measure the recording: {0}")]
    Failed(String),
}

/// Measures a recording.
///
/// # Errors
/// The attempt failed and can be retried; see [`AnalysisError`].
pub async fn analyze(
    ffmpeg: &FfmpegProgram,
    media: &dyn ReplayMedia,
    id: &RecordingId,
    now: UnixMs,
) -> Result<Analysis, AnalysisError> {
    // The layout of the M4A file needs all segments, so check the journals first.
    if !media.archive(id).await.map_err(AnalysisError::Unreadable)?.complete {
        return Err(AnalysisError::Incomplete);
    }
    let file = media.m4a(id, Clip::WHOLE).await.map_err(AnalysisError::Unreadable)?;
    if !file.complete {
        return Err(AnalysisError::Incomplete);
    }
    let rate = RATE.to_string();
    let args = [
        &["-hide_banner", "-nostats", "-loglevel", "level+info", "-threads", "1"][..],
        // The filter logs each frame at the level `verbose`, and the summary at `info`.
        &["-f", "mp4", "-i", "pipe:0", "-map", "0:a:0", "-af", "ebur128=framelog=verbose"],
        &["-ac", "1", "-ar", &rate, "-f", "s16le", "pipe:1"],
    ];
    let mut child = ffmpeg.idle_command(&args.concat()).stdin(Stdio::piped()).spawn()?;
    let gone = || std::io::Error::other("FFmpeg ended during its start");
    let stdin = child.stdin.take().ok_or_else(gone)?;
    let stdout = child.stdout.take().ok_or_else(gone)?;
    let log = FfmpegLogLines::new(child.stderr.take().ok_or_else(gone)?);
    let (fed, waveform, last) =
        tokio::join!(feed(media, id, &file, stdin), meter(stdout), log.last(LAST_LINES));
    fed?;
    let waveform = waveform?;
    let status = child.wait().await?;
    let measured = loudness(last.iter().map(String::as_str)).filter(|_| status.success());
    let (lufs_tenths, range_tenths) = measured.ok_or_else(|| AnalysisError::Failed(status.to_string()))?;
    Ok(Analysis { at: now, file_bytes: file.file.length(), lufs_tenths, range_tenths, waveform })
}

/// Writes the file to FFmpeg. If FFmpeg ends early, its log and exit status contain the reason.
pub(super) async fn feed(
    media: &dyn ReplayMedia,
    id: &RecordingId,
    file: &RecordedM4a,
    mut stdin: ChildStdin,
) -> Result<(), MediaError> {
    for Piece { source, range } in file.file.pieces(0..file.file.length()) {
        let whole = match source {
            Source::Known(bytes) => bytes,
            Source::Segment(sequence) => media.frames(id, sequence).await?,
        };
        let part = whole.get(range).ok_or(MediaError::RecordingUnavailable)?;
        if stdin.write_all(part).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn meter(mut stdout: ChildStdout) -> Result<Waveform, std::io::Error> {
    let mut peaks = PeakMeter::default();
    let mut buffer = vec![0; 64 << 10];
    let mut kept = 0;
    loop {
        let read = stdout.read(&mut buffer[kept..]).await?;
        if read == 0 {
            return Ok(peaks.finish());
        }
        let filled = kept + read;
        let whole = filled - filled % 2;
        peaks.add(buffer[..whole].chunks_exact(2).map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]])));
        // A read may end in the middle of a sample.
        buffer.copy_within(whole..filled, 0);
        kept = filled - whole;
    }
}

//! Comparison of the tracks of one recording with its mix. The tracks actor runs it as an effect.
//!
//! One FFmpeg process at a time, with the lowest priority, decodes the mix and then each track, once. The
//! levels of the mix, 5.8 MB per hour, and those of one track are in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;

use super::analyzing::feed;
use super::copying::blocking;
use crate::delivery::ReplayMedia;
use crate::domain::clip::Clip;
use crate::domain::ids::UserId;
use crate::domain::recording::RecordingId;
use crate::domain::tracks::TrackFile;
use crate::ffmpeg::{FfmpegLogLines, FfmpegProgram};
use crate::packager::track::{BandLevels, RATE, Shift, shifts};
use crate::packager::{MediaError, RecordedM4a};
use crate::spool::tracks::TrackSpool;

/// Number of bytes that are measured at a time.
const PART: usize = 64 << 10;

/// Reason why the tracks were not compared. The attempt can be retried.
#[derive(Debug, thiserror::Error)]
pub enum AlignError {
    #[error("the mix cannot be read: {0}")]
    Unreadable(#[from] MediaError),
    #[error("a mixer that has a part of the mix does not answer")]
    Incomplete,
    #[error("FFmpeg cannot be run, or the disk failed: {0}")]
    Io(#[from] io::Error),
    #[error("FFmpeg cannot decode: {0}")]
    Failed(String),
}

/// Returns the shifts that the tracks of a recording need, by user. Tracks in sync are not listed.
///
/// # Errors
/// The attempt failed and can be retried; see [`AlignError`].
pub async fn align(
    ffmpeg: &FfmpegProgram,
    media: &dyn ReplayMedia,
    spool: &TrackSpool,
    id: &RecordingId,
    tracks: &[TrackFile],
) -> Result<BTreeMap<UserId, Vec<Shift>>, AlignError> {
    if tracks.is_empty() {
        return Ok(BTreeMap::new());
    }
    let file = media.m4a(id, Clip::WHOLE).await?;
    if !file.complete {
        return Err(AlignError::Incomplete);
    }
    let mix = Arc::new(decode(ffmpeg, &["-f", "mp4"], Input::Mix(media, id, &file)).await?);
    let mut needed = BTreeMap::new();
    for TrackFile { user_id, .. } in tracks {
        let (spool, on_disk) = (spool.clone(), (id.clone(), user_id.clone()));
        let track = blocking(move || spool.open(&on_disk.0, &on_disk.1)).await?;
        let track = decode(ffmpeg, &["-f", "ogg", "-c:a", "libopus"], Input::Track(track)).await?;
        let mix = mix.clone();
        match blocking(move || Ok(shifts(&track, &mix))).await? {
            Some(found) if !found.is_empty() => {
                needed.insert(user_id.clone(), found);
            }
            Some(_) => {}
            None => tracing::info!(recording = %id, user = %user_id, "track not found in the mix; not moved"),
        }
    }
    Ok(needed)
}

enum Input<'a> {
    Mix(&'a dyn ReplayMedia, &'a RecordingId, &'a RecordedM4a),
    Track(File),
}

/// Decodes with these options of the input, and measures the levels.
async fn decode(ffmpeg: &FfmpegProgram, format: &[&str], input: Input<'_>) -> Result<BandLevels, AlignError> {
    let rate = RATE.to_string();
    let args = [
        &["-hide_banner", "-nostats", "-loglevel", "level+error", "-threads", "1"][..],
        format,
        &["-i", "pipe:0", "-map", "0:a:0", "-ac", "1", "-ar", &rate, "-f", "s16le", "pipe:1"],
    ];
    let (stdin, mix) = match input {
        Input::Mix(media, id, file) => (Stdio::piped(), Some((media, id, file))),
        Input::Track(file) => (Stdio::from(file), None),
    };
    let mut child = ffmpeg.idle_command(&args.concat()).stdin(stdin).spawn()?;
    let gone = || io::Error::other("FFmpeg ended during its start");
    let stdin = child.stdin.take();
    let stdout = child.stdout.take().ok_or_else(gone)?;
    let log = FfmpegLogLines::new(child.stderr.take().ok_or_else(gone)?);
    let fed = async {
        match mix.zip(stdin) {
            Some(((media, id, file), stdin)) => feed(media, id, file, stdin).await,
            None => Ok(()),
        }
    };
    let (fed, levels, last) = tokio::join!(fed, measure(stdout), log.last(1));
    fed?;
    let levels = levels?;
    let status = child.wait().await?;
    match status.success() {
        true => Ok(levels),
        false => Err(AlignError::Failed(last.into_iter().next().unwrap_or_else(|| status.to_string()))),
    }
}

async fn measure(mut stdout: ChildStdout) -> io::Result<BandLevels> {
    let (mut levels, mut bytes) = (BandLevels::default(), Vec::new());
    loop {
        bytes.reserve(PART);
        let read = stdout.read_buf(&mut bytes).await?;
        if read > 0 && bytes.len() < PART {
            continue;
        }
        // A read may end in the middle of a sample.
        let rest = bytes.split_off(bytes.len() - bytes.len() % 2);
        levels = blocking(move || {
            levels.add(bytes.chunks_exact(2).map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]])));
            Ok(levels)
        })
        .await?;
        bytes = rest;
        if read == 0 {
            return Ok(levels);
        }
    }
}

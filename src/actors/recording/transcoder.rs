//! Encodes the Ogg Opus files that clients request, one after the other.
//!
//! One FFmpeg process with the lowest priority reads the M4A file, whose title, date and chapters it copies
//! into the comments of the Opus file. [`OpusFiles`] has the files and their order.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::sync::watch;

use super::analyzing::feed;
use super::changed;
use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message};
use crate::delivery::{OpusFiles, OpusWriter, ReplayMedia};
use crate::ffmpeg::{FfmpegLogLines, FfmpegProgram};
use crate::packager::MediaError;
use crate::rooms::recordings::Recordings;
use crate::spool::check_scratch;
use crate::store::Revision;

/// Bit rate of the files. Opus needs less than AAC for the same quality.
const BITRATE: &str = "64k";
/// Number of bytes that are read from FFmpeg at a time.
const READ: usize = 64 << 10;
/// Minimum time between two log lines about files that were not encoded.
const LOG_FAILURE_EVERY: Duration = Duration::from_secs(60);

pub struct TranscoderActor {
    context: Context,
    recordings: Arc<Recordings>,
    parts: TranscoderParts,
    busy: bool,
    encoded: u64,
    reason: Option<String>,
    failure_logged: Option<Duration>,
}

/// Source and target of the encodings.
#[derive(Clone)]
pub struct TranscoderParts {
    pub files: Arc<OpusFiles>,
    pub media: Arc<dyn ReplayMedia>,
}

pub enum Msg {
    Changed(watch::Receiver<Option<Revision>>),
    Wanted,
    Encoded(Result<(), EncodeError>),
}

/// Reason why a file was not encoded. The client can request it again.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("the recording cannot be read: {0}")]
    Unreadable(#[from] MediaError),
    #[error("FFmpeg cannot be run, or the file not written: {0}")]
    Io(#[from] std::io::Error),
    #[error("FFmpeg failed: {0}")]
    Failed(String),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Changed(_) => "changed",
            Self::Wanted => "wanted",
            Self::Encoded(_) => "encoded",
        }
    }
}

impl TranscoderActor {
    pub fn new(context: Context, recordings: Arc<Recordings>, parts: TranscoderParts) -> Self {
        Self { context, recordings, parts, busy: false, encoded: 0, reason: None, failure_logged: None }
    }

    fn listen(&self, cx: &mut Cx<Self>) {
        let files = self.parts.files.clone();
        cx.run(async move { files.wanted().await }, |()| Msg::Wanted);
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        if self.busy {
            return;
        }
        let Some(writer) = self.parts.files.next() else { return };
        self.busy = true;
        let (ffmpeg, media) = (self.context.ffmpeg(), self.parts.media.clone());
        cx.run(async move { encode(&ffmpeg, &*media, writer).await }, Msg::Encoded);
    }

    fn encoded(&mut self, outcome: Result<(), EncodeError>) {
        self.busy = false;
        let Err(error) = outcome else {
            self.encoded += 1;
            self.reason = None;
            return;
        };
        self.reason = Some(error.to_string());
        let now = self.context.clock.now();
        if self.failure_logged.is_none_or(|last| now.saturating_sub(last) >= LOG_FAILURE_EVERY) {
            self.failure_logged = Some(now);
            tracing::warn!(%error, "cannot encode a recording as Opus");
        }
    }
}

impl Behaviour for TranscoderActor {
    const KIND: &'static str = "transcoder";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        cx.run(changed(self.recordings.changes()), Msg::Changed);
        self.listen(cx);
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Changed(changes) => {
                let exists = |known: &crate::domain::recording::Recording| known.deleted_at.is_none();
                let recordings = &self.recordings;
                self.parts.files.retain(|id| recordings.get(id).is_some_and(|known| exists(&known)));
                cx.run(changed(changes), Msg::Changed);
            }
            Msg::Wanted => self.listen(cx),
            Msg::Encoded(outcome) => self.encoded(outcome),
        }
        self.step(cx);
    }

    fn observe(&self) -> ActorState {
        let state = match (self.busy, &self.reason) {
            (true, _) => "encoding",
            (false, Some(_)) => "failing",
            (false, None) => "waiting",
        };
        ActorState {
            observed: json!({ "files": self.parts.files.count(), "encoded": self.encoded }),
            reason: self.reason.clone(),
            ..ActorState::state(state)
        }
    }
}

async fn encode(
    ffmpeg: &FfmpegProgram,
    media: &dyn ReplayMedia,
    writer: OpusWriter,
) -> Result<(), EncodeError> {
    let args = [
        &["-hide_banner", "-nostats", "-loglevel", "level+error", "-threads", "1"][..],
        &["-f", "mp4", "-i", "pipe:0", "-map", "0:a:0", "-c:a", "libopus", "-b:a", BITRATE],
        &["-f", "ogg", "pipe:1"],
    ];
    let mut child = ffmpeg.idle_command(&args.concat()).stdin(Stdio::piped()).spawn()?;
    let gone = || std::io::Error::other("FFmpeg ended during its start");
    let stdin = child.stdin.take().ok_or_else(gone)?;
    let stdout = child.stdout.take().ok_or_else(gone)?;
    let log = FfmpegLogLines::new(child.stderr.take().ok_or_else(gone)?);
    let (id, source) = (writer.file().recording.clone(), writer.file().source.clone());
    let (fed, kept, last) =
        tokio::join!(feed(media, &id, &source, stdin), keep(stdout, &writer), log.last(1));
    fed?;
    kept?;
    let status = child.wait().await?;
    if !status.success() {
        return Err(EncodeError::Failed(last.into_iter().next().unwrap_or_else(|| status.to_string())));
    }
    writer.complete();
    Ok(())
}

async fn keep(mut stdout: ChildStdout, writer: &OpusWriter) -> std::io::Result<()> {
    loop {
        let mut part = Vec::with_capacity(READ);
        if stdout.read_buf(&mut part).await? == 0 {
            return Ok(());
        }
        writer.append(part, check_scratch).await?;
    }
}

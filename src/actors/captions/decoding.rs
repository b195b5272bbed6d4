//! One run of a decoder, from start to end. The actor of a feed executes it as an effect.

use std::future::pending;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::timeout;

use crate::delivery::{NewParts, NoParts, OnDemandStream, PcmFeed, RoomParts};
use crate::domain::ids::{RoomId, UnixMs};
use crate::domain::plain_room::{BURST, Fetch};
use crate::domain::relay_room::Position;
use crate::ffmpeg::{DecoderProcess, FfmpegProgram};
use crate::packager::pcm::{PCM_RATE, PcmClock};
use crate::packager::plain::{Place, PlainPart};
use crate::process;

/// Maximum duration of the audio that one request fetches, except the first request. Reached only after a
/// time without parts.
const CATCH_UP: Duration = Duration::from_secs(10);
/// Delay after a failed request for parts.
const FETCH_AGAIN: Duration = Duration::from_millis(250);
/// Time without output after which a decoder that has input counts as stalled. Short enough for the next
/// decoder to find the same parts in the playlist.
const STALLED_AFTER: Duration = Duration::from_secs(3);
/// Maximum duration of the audio inside a working decoder, in milliseconds, with a wide margin.
const HELD_MS: u64 = 1_000;
/// Time limit for the decoding of the last audio.
const END_WITHIN: Duration = Duration::from_secs(2);
/// Maximum overlap, in milliseconds, of a new part with the part before it. Needed because positions are
/// rounded.
const OVERLAP: u64 = 20;
/// Number of log lines kept to explain the exit.
const LAST_LINES: usize = 4;

/// Reason why a run has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecoderEnd {
    /// The broadcast is over. Its last audio was decoded, or was lost after `END_WITHIN`.
    Over,
    /// No recogniser reads the feed, or the actor was told to stop.
    Unread,
    /// The decoder failed.
    Failed(String),
}

/// State that `Run::write` and `Run::read` share.
struct Progress {
    clock: PcmClock,
    /// Position of the part to be fetched next.
    next: Option<Position>,
}

struct Run {
    room: RoomId,
    source: Arc<RoomParts>,
    feed: Arc<PcmFeed>,
    progress: Mutex<Progress>,
}

/// Decodes the room's audio into the feed, beginning at the position that the feed has reached. Returns the
/// reason why the run ended.
pub async fn decode(
    program: FfmpegProgram,
    room: RoomId,
    source: Arc<RoomParts>,
    feed: Arc<PcmFeed>,
) -> DecoderEnd {
    let DecoderProcess { stdin, stdout, log, mut child } = match DecoderProcess::spawn(&program, PCM_RATE) {
        Ok(process) => process,
        Err(error) => return DecoderEnd::Failed(format!("FFmpeg could not be started: {error}")),
    };
    let reached = feed.reached();
    let progress = Mutex::new(Progress { clock: PcmClock::new(reached.until), next: reached.next });
    let run = Run { room, source, feed, progress };
    let mut log = Box::pin(log.last(LAST_LINES));
    let mut last = None;
    let mut ended = {
        let mut work = pin!(run.work(stdin, stdout));
        loop {
            tokio::select! {
                ended = &mut work => break ended,
                lines = &mut log, if last.is_none() => last = Some(lines),
            }
        }
    };
    // Ignore the error: the process is gone in any case.
    let _ = process::stop(&mut child, Duration::ZERO).await;
    if let DecoderEnd::Failed(why) = &mut ended {
        let last = match last {
            Some(lines) => lines,
            None => log.await,
        };
        last.iter().for_each(|line| *why = format!("{why}; {line}"));
    }
    ended
}

impl Run {
    async fn work(&self, stdin: ChildStdin, stdout: ChildStdout) -> DecoderEnd {
        let (mut feeding, mut reading) = (pin!(self.write(stdin)), pin!(self.read(stdout)));
        tokio::select! {
            () = self.feed.unread() => DecoderEnd::Unread,
            () = &mut feeding => {
                // If the last audio is not decoded in time, it is lost.
                let _ = timeout(END_WITHIN, reading).await;
                DecoderEnd::Over
            }
            why = &mut reading => DecoderEnd::Failed(why.into()),
        }
    }

    /// Writes the room's parts to the decoder. Returns at the end of the broadcast.
    async fn write(&self, mut stdin: ChildStdin) {
        let mut wait = false;
        let mut end = UnixMs::default();
        loop {
            let from = self.progress().next;
            let limit = if from.is_some() { CATCH_UP } else { BURST };
            let fetched = self.source.parts(&self.room, self.feed.live(), &Fetch { from, wait }, limit).await;
            let new = match fetched {
                Ok(new) => new,
                Err(NoParts::Over) => return,
                Err(NoParts::Failed(why)) => {
                    tracing::debug!(room = %self.room, why, "parts for recognisers were not fetched");
                    NewParts { parts: Vec::new(), next: from.unwrap_or_default(), ended: false }
                }
            };
            if new.parts.is_empty() && !new.ended && wait | from.is_none() {
                // The next request does not wait for a part number, because the numbers may have jumped.
                wait = false;
                // Limit the rate of the requests to a source without parts.
                tokio::time::sleep(FETCH_AGAIN).await;
                continue;
            }
            for part in &new.parts {
                if self.is_new(part, &mut end) && stdin.write_all(&part.bytes).await.is_err() {
                    // The decoder has closed its input. Wait until `read` reports the end of the decoder.
                    pending::<()>().await;
                }
            }
            self.progress().next = Some(new.next);
            if new.ended {
                return;
            }
            wait = true;
        }
    }

    /// Records a part as the next input of the decoder. Returns false if the part must not be written: it is
    /// silence in place of audio, or its audio was already written. `end`: position after the last part.
    fn is_new(&self, part: &PlainPart, end: &mut UnixMs) -> bool {
        let is_new = |place: &Place| place.at.0.saturating_add(OVERLAP) >= end.0;
        let Some(place) = part.place.filter(is_new) else { return false };
        *end = UnixMs(place.at.0.saturating_add(part.duration().as_millis() as u64));
        self.progress().clock.written(place.position, place.at, part.frames);
        true
    }

    /// Publishes the output of the decoder until the decoder ends or stalls. Returns the reason.
    async fn read(&self, mut stdout: ChildStdout) -> &'static str {
        let mut buffer = vec![0; 8 * 1024];
        loop {
            match timeout(STALLED_AFTER, stdout.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => {
                    let rest = self.progress().clock.rest();
                    self.publish(rest);
                    return "the decoder has ended";
                }
                Ok(Ok(read)) => {
                    let chunks = self.progress().clock.decoded(&buffer[..read]);
                    self.publish(chunks);
                }
                Err(_) if self.progress().clock.behind_ms() > HELD_MS => return "the decoder does not decode",
                Err(_) => {}
            }
        }
    }

    fn publish(&self, chunks: Vec<crate::packager::pcm::PcmChunk>) {
        if !chunks.is_empty() {
            let next = {
                let progress = self.progress();
                progress.clock.pending().or(progress.next)
            };
            self.feed.publish(chunks, next);
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // A poisoned lock is usable: a panic ends the whole run, so nobody uses the state afterwards.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

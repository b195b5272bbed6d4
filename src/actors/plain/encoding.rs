//! One run of an Opus encoder, from start to end. The actor of a stream executes it as an effect.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::timeout;

use crate::delivery::{PlainReader, PlainStream};
use crate::ffmpeg::{FfmpegProgram, OpusProcess};
use crate::packager::ogg_stream::{OggPackets, opus_part};
use crate::process;

/// Time without output after which the encoder counts as stalled. Its input never pauses that long: silence
/// is sent in place of parts that do not arrive.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// Time limit for the encoding of the last audio.
const END_WITHIN: Duration = Duration::from_secs(2);
/// Number of log lines kept to explain the exit.
const LAST_LINES: usize = 4;

/// Reason why a run has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncoderEnd {
    /// The AAC has ended, because the broadcast is over.
    Over,
    /// Nobody reads the stream, or the actor was told to stop.
    Unread,
    /// The encoder failed.
    Failed(String),
}

/// Encodes what the reader gets into the stream. Returns the reason why the run ended.
pub async fn encode(
    program: &FfmpegProgram,
    bitrate: u32,
    aac: &mut PlainReader,
    opus: &PlainStream,
) -> EncoderEnd {
    let OpusProcess { stdin, stdout, log, mut child } = match OpusProcess::spawn(program, bitrate) {
        Ok(process) => process,
        Err(error) => return EncoderEnd::Failed(format!("FFmpeg could not be started: {error}")),
    };
    let mut log = Box::pin(log.last(LAST_LINES));
    let mut last = None;
    let mut ended = {
        let mut work = pin!(work(aac, stdin, stdout, opus));
        loop {
            tokio::select! {
                ended = &mut work => break ended,
                lines = &mut log, if last.is_none() => last = Some(lines),
            }
        }
    };
    // Ignore the error: the process is gone in any case.
    let _ = process::stop(&mut child, Duration::ZERO).await;
    if let EncoderEnd::Failed(why) = &mut ended {
        let last = match last {
            Some(lines) => lines,
            None => log.await,
        };
        last.iter().for_each(|line| *why = format!("{why}; {line}"));
    }
    ended
}

async fn work(
    aac: &mut PlainReader,
    stdin: ChildStdin,
    stdout: ChildStdout,
    opus: &PlainStream,
) -> EncoderEnd {
    let (mut feeding, mut reading) = (pin!(write(aac, stdin)), pin!(read(stdout, opus)));
    tokio::select! {
        () = opus.unread() => EncoderEnd::Unread,
        () = &mut feeding => {
            // If the last audio is not encoded in time, it is lost.
            let _ = timeout(END_WITHIN, reading).await;
            EncoderEnd::Over
        }
        why = &mut reading => EncoderEnd::Failed(why),
    }
}

/// Writes the AAC to the encoder. Returns at its end.
async fn write(aac: &mut PlainReader, mut stdin: ChildStdin) {
    while let Some(frames) = aac.next().await {
        if stdin.write_all(&frames).await.is_err() {
            // The encoder has closed its input. Wait until `read` reports the end of the encoder.
            pending::<()>().await;
        }
    }
}

/// Publishes the output of the encoder until the encoder ends or stalls. Returns the reason.
async fn read(mut stdout: ChildStdout, opus: &PlainStream) -> String {
    let mut packets = OggPackets::default();
    let mut buffer = vec![0; 8 * 1024];
    loop {
        let read = match timeout(STALLED_AFTER, stdout.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return "the encoder has ended".to_owned(),
            Ok(Ok(read)) => read,
            Err(_) => return "the encoder does not encode".to_owned(),
        };
        match packets.push(&buffer[..read]) {
            Ok(packets) if packets.is_empty() => {}
            Ok(packets) => opus.publish([opus_part(&packets)], None),
            Err(error) => return error.to_string(),
        }
    }
}

//! FFmpeg process that decodes a room's AAC for speech recognisers.
//!
//! Owns: the arguments and the process. Does not restart the process, or track positions in the stream.

use std::io;
use std::process::Stdio;

use tokio::process::{Child, ChildStdin, ChildStdout};

use super::log::FfmpegLogLines;
use super::program::FfmpegProgram;

/// Running decoder: AAC in ADTS on stdin becomes signed 16-bit samples, one channel, on stdout. Dropping the
/// child kills it.
pub struct DecoderProcess {
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub log: FfmpegLogLines,
    pub child: Child,
}

impl DecoderProcess {
    /// Starts FFmpeg. `rate`: samples per second of the output. Call from a thread that lives as long as the
    /// node (see `process`), inside a tokio runtime.
    pub fn spawn(program: &FfmpegProgram, rate: u32) -> io::Result<Self> {
        let rate = rate.to_string();
        let args = [
            &["-hide_banner", "-nostats", "-loglevel", "level+error"][..],
            // A few frames are enough to detect the parameters of the stream. Without the flag `nobuffer`,
            // these frames are decoded too, so that the samples can be counted.
            &["-analyzeduration", "0", "-probesize", "4096", "-f", "aac"],
            &["-threads", "1", "-i", "pipe:0", "-map", "0:a:0", "-ac", "1", "-ar", &rate],
            &["-f", "s16le", "-flush_packets", "1", "pipe:1"],
        ];
        let mut command = program.command(args.concat());
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        let gone = || io::Error::other("FFmpeg ended during its start");
        let stdin = child.stdin.take().ok_or_else(gone)?;
        let stdout = child.stdout.take().ok_or_else(gone)?;
        let log = FfmpegLogLines::new(child.stderr.take().ok_or_else(gone)?);
        Ok(Self { stdin, stdout, log, child })
    }
}

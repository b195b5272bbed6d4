//! FFmpeg process that encodes a room's AAC as Opus for plain streams.
//!
//! Owns: the arguments and the process. Does not restart the process.

use std::io;
use std::process::Stdio;

use tokio::process::{Child, ChildStdin, ChildStdout};

use super::log::FfmpegLogLines;
use super::program::FfmpegProgram;

/// Running encoder: AAC in ADTS on stdin becomes Ogg Opus in packets of 20 ms on stdout. Dropping the child
/// kills it.
pub struct OpusProcess {
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub log: FfmpegLogLines,
    pub child: Child,
}

impl OpusProcess {
    /// Starts FFmpeg. `bitrate` is in bit/s. Call from a thread that lives as long as the node (see
    /// `process`), inside a tokio runtime.
    pub fn spawn(program: &FfmpegProgram, bitrate: u32) -> io::Result<Self> {
        let bitrate = bitrate.to_string();
        let args = [
            &["-hide_banner", "-nostats", "-loglevel", "level+error", "-fflags", "nobuffer"][..],
            &["-analyzeduration", "0", "-probesize", "4096", "-f", "aac"],
            &["-threads", "1", "-i", "pipe:0", "-map", "0:a:0", "-ac", "1", "-ar", "48000"],
            // Without `constrained`, a single voice takes nearly twice the bit rate.
            &["-c:a", "libopus", "-b:a", &bitrate, "-vbr", "constrained", "-frame_duration", "20"],
            // In microseconds: a page is sent every 100 ms.
            &["-page_duration", "100000", "-f", "ogg", "-flush_packets", "1", "pipe:1"],
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

//! FFmpeg process of one output: reads AAC in ADTS from stdin, and sends it over the target's protocol,
//! or writes it to stdout for an Icecast target.
//!
//! Owns: the arguments, the process, and the progress that it reports. Does not restart. Its log may quote
//! the URL of the target with its credentials, so no line of it may be logged or shown.

use std::io;
use std::net::IpAddr;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::log::FfmpegLogLines;
use super::program::FfmpegProgram;
use crate::domain::output::{OutputKind, Target};
use crate::process;

/// FFmpeg process of one output, divided into its input, output, log and handle. Each part can be moved to
/// the code that uses it.
pub struct OutputFfmpeg {
    pub stdin: ChildStdin,
    /// Audio for an Icecast target, or the progress of FFmpeg for any other target: see [`Progress`].
    pub stdout: ChildStdout,
    pub log: FfmpegLogLines,
    pub process: OutputProcess,
}

/// Process handle. Dropping it kills the process.
pub struct OutputProcess(Child);

/// Progress that FFmpeg reports twice a second on stdout, if the target is not an Icecast server.
pub struct Progress(Lines<BufReader<ChildStdout>>);

impl OutputFfmpeg {
    /// Starts FFmpeg. `ip`: allowed address of the target. Call from a thread that lives as long as the node
    /// (see `process`), inside a tokio runtime.
    pub fn spawn(program: &FfmpegProgram, target: &Target, ip: IpAddr) -> io::Result<Self> {
        let mut command = program.command(args(target, ip));
        let mut child = command.stdin(std::process::Stdio::piped()).spawn()?;
        let gone = || io::Error::other("FFmpeg ended during its start");
        let stdin = child.stdin.take().ok_or_else(gone)?;
        let stdout = child.stdout.take().ok_or_else(gone)?;
        let stderr = child.stderr.take().ok_or_else(gone)?;
        Ok(Self { stdin, stdout, log: FfmpegLogLines::new(stderr), process: OutputProcess(child) })
    }
}

impl OutputProcess {
    pub fn pid(&self) -> Option<u32> {
        self.0.id()
    }

    /// Waits for the exit. The future may be dropped and the function called again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }

    /// Sends INT, then KILL after `grace`.
    pub async fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        process::stop(&mut self.0, grace).await
    }
}

impl Progress {
    pub fn new(stdout: ChildStdout) -> Self {
        Self(BufReader::new(stdout).lines())
    }

    /// Waits for the next report, and returns the number of bytes sent so far; `None` at the end of the
    /// process.
    pub async fn next(&mut self) -> Option<u64> {
        loop {
            let line = self.0.next_line().await.ok()??;
            if let Some(size) = line.strip_prefix("total_size=") {
                // Before the first byte, FFmpeg may write `N/A`.
                return Some(size.trim().parse().unwrap_or(0));
            }
        }
    }
}

fn args(target: &Target, ip: IpAddr) -> Vec<String> {
    let is_icecast = target.kind() == OutputKind::Icecast;
    let progress: &[&str] = if is_icecast { &[] } else { &["-progress", "pipe:1"] };
    let input = [
        &["-hide_banner", "-nostats", "-loglevel", "level+error"],
        progress,
        // A few frames are enough to detect the parameters of the stream.
        &["-fflags", "nobuffer", "-analyzeduration", "0", "-probesize", "4096", "-f", "aac"],
        &["-i", "pipe:0", "-map", "0:a:0"],
    ];
    let mut args: Vec<String> = input.concat().into_iter().map(str::to_owned).collect();
    if target.is_encrypted() && !is_icecast {
        args.extend(["-tls_verify".to_owned(), "1".to_owned()]);
        // FFmpeg has no certificate authorities of its own. Without a file it refuses every certificate.
        let authorities = openssl_probe::probe().cert_file;
        args.extend(authorities.iter().flat_map(|file| ["-ca_file".to_owned(), file.display().to_string()]));
    }
    args.extend(target.output_args(ip));
    args
}

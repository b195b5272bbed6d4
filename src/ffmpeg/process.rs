//! FFmpeg process of one room: RTP Opus in, AAC in ADTS out.
//!
//! Owns: the arguments, the session description on stdin, the process and its exit status. Does not restart
//! FFmpeg, use a content key (FFmpeg's output is not encrypted yet), or write the session description to a
//! log or file.

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::{Child, ChildStdout};

use super::log::{FfmpegLog, FfmpegLogLines};
use super::loudness::Loudness;
use super::program::FfmpegProgram;
use crate::domain::ids::MediaAddr;
use crate::domain::srtp::{SUITE_NAME, SrtpKey};
use crate::process;

/// Command for one FFmpeg process. Two processes with the same `rtp` port cannot run at the same time.
#[derive(Debug, Clone, PartialEq)]
pub struct FfmpegCommand {
    pub program: FfmpegProgram,
    /// Address for RTP. The port is even; RTCP uses the port above it.
    pub rtp: MediaAddr,
    /// Bit rate of the AAC in bit/s.
    pub bitrate: u32,
    /// RTP payload type of the incoming Opus.
    pub payload_type: u8,
    pub loudness: Loudness,
    /// Key of the incoming stream. All packets other than SRTP and SRTCP under this key are dropped.
    pub srtp: SrtpKey,
}

#[derive(Debug, thiserror::Error)]
#[error("{} could not be started", binary.display())]
pub struct SpawnError {
    pub binary: PathBuf,
    #[source]
    pub source: io::Error,
}

/// Running FFmpeg in three parts, so that each can be moved to the code that uses it.
#[derive(Debug)]
pub struct Ffmpeg {
    pub stdout: ChildStdout,
    pub log: FfmpegLogLines,
    pub process: FfmpegProcess,
}

/// Process handle. Dropping it kills the process.
#[derive(Debug)]
pub struct FfmpegProcess {
    child: Child,
    pid: u32,
}

/// Reason for an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// Exit code 0 or 255. With 255, FFmpeg has finished its output because of a signal.
    Clean,
    /// Another process holds the RTP or the RTCP port.
    BindFailed,
    /// No RTP arrived for about ten seconds, so FFmpeg ended its input. FFmpeg itself works.
    Starved,
    Signal(i32),
    Code(i32),
}

/// Output options. An ADTS stream needs no index that grows with its duration, and each frame is written
/// immediately. So a part is complete 20 ms earlier than with a muxer that needs the next packet to determine
/// a duration.
pub const MUXER: [&str; 5] = ["-f", "adts", "-flush_packets", "1", "pipe:1"];

impl FfmpegCommand {
    /// Returns the arguments, without the program.
    pub fn args(&self) -> Vec<String> {
        let bind = self.rtp.ip.to_string();
        let bitrate = self.bitrate.to_string();
        // A lost packet leaves a gap, which ADTS cannot express because its frames have no timestamps.
        // Resampling inserts silence, so that the number of frames matches the elapsed time. Integer samples
        // are used because the Opus decoder outputs silence after sound as ever smaller floating-point
        // numbers. Once these are subnormal, the filters and the encoder take six times as long.
        let filters = format!("aresample=async=1:out_sample_fmt=s32,{}", self.loudness.filters());
        [
            // FFmpeg writes a warning per packet that fails authentication; a flood of them must not fill the
            // log.
            &["-hide_banner", "-nostats", "-loglevel", "level+error"][..],
            // No probing: the session description contains everything.
            &["-fflags", "nobuffer", "-analyzeduration", "0", "-probesize", "32"],
            &["-protocol_whitelist", "pipe,udp,rtp,srtp", "-format_whitelist", "sdp,rtp"],
            &["-codec_whitelist", "opus", "-localaddr", &bind, "-f", "sdp", "-i", "pipe:0"],
            &["-map", "0:a:0", "-af", &filters],
            // The default coder, `twoloop`, takes four times as long as `fast` and sounds worse. At 64 kbit/s
            // (FFmpeg 5.1), the wideband PESQ of `twoloop` is 3.48 for one voice and 4.14 for three; that of
            // `fast` is 3.95 and 4.34.
            &["-c:a", "aac", "-aac_coder", "fast", "-b:a", &bitrate],
            // AudioBridge mixes mono.
            &["-ar", "48000", "-ac", "1"],
            &MUXER,
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect()
    }

    /// Returns the session description (RFC 8866) of the incoming RTP. Opus is always announced as two
    /// channels at 48 kHz (RFC 7587 section 7). The key is an SDES attribute (RFC 4568).
    fn session_description(&self) -> String {
        let family = match self.rtp.ip {
            IpAddr::V4(_) => "IP4",
            IpAddr::V6(_) => "IP6",
        };
        let MediaAddr { ip, port } = self.rtp;
        let pt = self.payload_type;
        let key = self.srtp.reveal();
        format!(
            "v=0\r\no=- 0 0 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/SAVP {pt}\r\na=rtpmap:{pt} opus/48000/2\r\n\
             a=crypto:1 {SUITE_NAME} inline:{key}\r\n"
        )
    }
}

impl Ffmpeg {
    /// Starts FFmpeg. Call from a thread that lives as long as the node (see `process`), inside a tokio
    /// runtime.
    pub fn spawn(command: &FfmpegCommand) -> Result<Self, SpawnError> {
        Self::try_spawn(command)
            .map_err(|source| SpawnError { binary: command.program.binary.clone(), source })
    }

    fn try_spawn(command: &FfmpegCommand) -> io::Result<Self> {
        // The description is far smaller than the pipe's buffer, so this does not block. stdin must be closed
        // afterwards; otherwise FFmpeg waits for more and writes nothing.
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(command.session_description().as_bytes())?;
        drop(writer);
        let mut child = command.program.command(command.args()).stdin(reader).spawn()?;
        let gone = || io::Error::other("ended while being started");
        let pid = child.id().ok_or_else(gone)?;
        let stdout = child.stdout.take().ok_or_else(gone)?;
        let stderr = child.stderr.take().ok_or_else(gone)?;
        Ok(Self { stdout, log: FfmpegLogLines::new(stderr), process: FfmpegProcess { child, pid } })
    }
}

impl FfmpegProcess {
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the exit. The future may be dropped and the function called again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Sends INT, then KILL after `grace`. Without RTP, FFmpeg ignores INT for seconds, so KILL is a normal
    /// end.
    pub async fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        process::stop(&mut self.child, grace).await
    }
}

impl ExitReason {
    /// Determines the reason for an exit. `last` holds the last lines of the process's log; a few are enough.
    pub fn from<'a>(status: ExitStatus, last: impl IntoIterator<Item = &'a FfmpegLog>) -> Self {
        let mut reason = match (status.code(), status.signal()) {
            (_, Some(signal)) => return Self::Signal(signal),
            (Some(0 | 255), _) => Self::Clean,
            (code, _) => Self::Code(code.unwrap_or(-1)),
        };
        for line in last {
            if line.text.starts_with("bind failed") {
                reason = Self::BindFailed;
            } else if line.text.starts_with("pipe:0: Connection timed out") {
                reason = Self::Starved;
            }
        }
        reason
    }
}

/// Error for an unusable FFmpeg. The text names the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FfmpegUnusable {
    #[error("{binary} cannot be run ({error}): install FFmpeg (`apt install ffmpeg`) or set mixer.ffmpeg")]
    NotRunnable { binary: String, error: String },
    #[error("{binary} prints no FFmpeg version: set mixer.ffmpeg to an FFmpeg binary")]
    NotFfmpeg { binary: String },
}

/// Returns the version as printed by FFmpeg, e.g. `5.1.9-0+deb12u1`.
pub async fn ffmpeg_version(binary: &Path) -> Result<String, FfmpegUnusable> {
    let shown = binary.display().to_string();
    let output = process::command(binary, ["-version"])
        .output()
        .await
        .map_err(|e| FfmpegUnusable::NotRunnable { binary: shown.clone(), error: e.to_string() })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.strip_prefix("ffmpeg version ").and_then(|rest| rest.split_whitespace().next());
    version.map(str::to_owned).ok_or(FfmpegUnusable::NotFfmpeg { binary: shown })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mix::MixShare;
    use crate::ffmpeg::LogLevel;

    fn command(ip: &str) -> FfmpegCommand {
        FfmpegCommand {
            program: FfmpegProgram { binary: "ffmpeg".into(), account: None },
            rtp: MediaAddr { ip: ip.parse().unwrap(), port: 40_000 },
            bitrate: 64_000,
            payload_type: 111,
            loudness: Loudness::new(MixShare::of(3), Some(-18), -1),
            srtp: SrtpKey::new([7; SrtpKey::LENGTH]),
        }
    }

    #[test]
    fn ffmpeg_arguments_bind_only_media_address() {
        let args = command("10.0.0.7").args().join(" ");
        assert!(args.contains("-localaddr 10.0.0.7 -f sdp -i pipe:0"), "{args}");
        let whitelists =
            "-protocol_whitelist pipe,udp,rtp,srtp -format_whitelist sdp,rtp -codec_whitelist opus";
        assert!(args.contains(whitelists), "{args}");
        assert!(args.contains("-af aresample=async=1:out_sample_fmt=s32,pan="), "{args}");
        assert!(args.contains("-c:a aac -aac_coder fast -b:a 64000"), "{args}");
        assert!(args.ends_with("-f adts -flush_packets 1 pipe:1"), "{args}");
        assert!(command("::1").session_description().contains("c=IN IP6 ::1\r\n"));
    }

    #[test]
    fn ffmpeg_exit_reason_is_classified() {
        let log = |text: &str| vec![FfmpegLog { level: LogLevel::Error, text: text.into() }];
        let code = |c: i32| ExitStatus::from_raw(c << 8);
        let taken = log("bind failed: Address already in use");
        assert_eq!(ExitReason::from(code(1), &taken), ExitReason::BindFailed);
        assert_eq!(ExitReason::from(code(0), &log("pipe:0: Connection timed out")), ExitReason::Starved);
        assert_eq!(ExitReason::from(code(1), &log("other")), ExitReason::Code(1));
        assert_eq!(ExitReason::from(code(255), &[]), ExitReason::Clean);
        assert_eq!(ExitReason::from(ExitStatus::from_raw(9), &taken), ExitReason::Signal(9));
    }

    #[actix::test]
    async fn a_missing_ffmpeg_names_the_remedy() {
        let error = ffmpeg_version(Path::new("/nonexistent/ffmpeg")).await.unwrap_err().to_string();
        assert!(error.contains("apt install ffmpeg") && error.contains("mixer.ffmpeg"), "{error}");
        let error = ffmpeg_version(Path::new("/bin/true")).await.unwrap_err();
        assert!(matches!(error, FfmpegUnusable::NotFfmpeg { .. }));
        assert!(!ffmpeg_version(Path::new("ffmpeg")).await.unwrap().is_empty());
    }
}

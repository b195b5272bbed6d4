//! FFmpeg process of a source: reads any permitted input, and sends Opus over RTP in real time.
//!
//! The command lists the permitted protocols and formats, so FFmpeg opens only the input itself. Without
//! these lists, a playlist or a concatenation could make it open other addresses and files.
//!
//! Owns: the arguments, the process and its log. Does not choose or check the input, or restart.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Child;

use super::log::FfmpegLogLines;
use super::process::SpawnError;
use super::program::FfmpegProgram;

/// Formats that contain their media and cannot refer to another input.
const FORMATS: &str = "aac,aiff,au,caf,flac,flv,mov,mp3,mp4,m4a,matroska,mpegts,ogg,wav,webm";
/// Decoders of the audio in these formats. FFmpeg does not decode the video of a file.
const CODECS: &str = "aac,aac_latm,ac3,alac,eac3,flac,mp1,mp1float,mp2,mp2float,mp3,mp3float,opus,pcm_alaw,\
                      pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_mulaw,pcm_s16be,pcm_s16le,pcm_s24be,\
                      pcm_s24le,pcm_s32be,pcm_s32le,pcm_s8,pcm_u8,vorbis";
/// Bit rate of the Opus, in bit/s.
const BITRATE: &str = "96k";

/// Input of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceInput {
    /// The caller writes the media to stdin.
    Pipe,
    File {
        path: PathBuf,
        repeats: bool,
    },
    /// RTMP from this address. `tc_url` names the host and application that the server expects.
    Rtmp {
        url: String,
        tc_url: String,
    },
    Srt {
        url: String,
    },
}

/// Command for one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceCommand {
    pub program: FfmpegProgram,
    pub input: SourceInput,
    /// Address that receives the RTP packets. It must be on this machine.
    pub to: SocketAddr,
    /// RTP payload type of the Opus.
    pub payload_type: u8,
}

/// Running process with its log. Dropping the child kills it. Its stdin is open if the input is
/// [`SourceInput::Pipe`].
#[derive(Debug)]
pub struct SourceProcess {
    pub child: Child,
    pub log: FfmpegLogLines,
}

impl SourceCommand {
    /// Starts the process. Call it on a thread that lives as long as the node.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(&self) -> Result<SourceProcess, SpawnError> {
        let failed = |source| SpawnError { binary: self.program.binary.clone(), source };
        let stdin = if self.input == SourceInput::Pipe { Stdio::piped() } else { Stdio::null() };
        let mut command = self.program.command(self.args());
        // FFmpeg prints an unused session description to stdout.
        let mut child = command.stdin(stdin).stdout(Stdio::null()).spawn().map_err(failed)?;
        // `FfmpegProgram::command` pipes stderr, and this is the only place that takes it.
        let stderr = child.stderr.take().expect("stderr is piped");
        Ok(SourceProcess { child, log: FfmpegLogLines::new(stderr) })
    }

    fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> =
            ["-nostdin", "-hide_banner", "-loglevel", "level+error"].map(OsString::from).into();
        args.extend(["-format_whitelist", FORMATS, "-codec_whitelist", CODECS].map(OsString::from));
        args.extend(self.input.args());
        let payload_type = self.payload_type.to_string();
        let encode = ["-map", "0:a:0", "-ac", "1", "-ar", "48000", "-c:a", "libopus", "-b:a", BITRATE];
        // RTCP would go to the next port, which may be that of another source.
        let packets = ["-frame_duration", "20", "-payload_type", &payload_type];
        let packets = packets.into_iter().chain(["-rtpflags", "skip_rtcp", "-f", "rtp"]);
        args.extend(encode.into_iter().chain(packets).map(OsString::from));
        args.push(format!("rtp://{}?pkt_size=1200", self.to).into());
        args
    }
}

impl SourceInput {
    fn args(&self) -> Vec<OsString> {
        // `-re` limits reading to the speed of the media. Files play in real time, and the burst that servers
        // send at the start of a live stream does not overflow the jitter buffer of Janus.
        let reads = |protocols: &str, options: &[&str], input: OsString| {
            let before = ["-protocol_whitelist", protocols, "-re", "-analyzeduration", "1000000"];
            let all = before.iter().chain(options).map(OsString::from);
            all.chain([OsString::from("-i"), input]).collect()
        };
        match self {
            Self::Pipe => reads("pipe", &[], "pipe:0".into()),
            Self::File { path, repeats } => {
                let repeats: &[_] = if *repeats { &["-stream_loop", "-1"] } else { &[] };
                reads("file", repeats, file_url(path))
            }
            Self::Rtmp { url, tc_url } => {
                reads("rtmp,tcp", &["-rtmp_tcurl", tc_url, "-rw_timeout", "10000000"], url.into())
            }
            Self::Srt { url } => reads("srt,udp", &[], url.into()),
        }
    }

    /// Returns the log text without the address of the input. Returns `None` if the text quotes a part of the
    /// address that may be a secret: a stream key or a parameter.
    pub fn redact(&self, text: &str) -> Option<String> {
        // The line about a codec that is not allowed ends with the whole list.
        let refused = text.split_once(" not on whitelist '");
        let refused = refused.map(|(codec, _)| format!("{codec} is not decoded"));
        let text = refused.as_deref().unwrap_or(text);
        let (url, shown) = match self {
            Self::Pipe => return Some(text.replace("pipe:0", "the input")),
            Self::File { path, .. } => {
                return Some(text.replace(&*file_url(path).to_string_lossy(), "the file"));
            }
            Self::Rtmp { url, .. } | Self::Srt { url } => (url, text.replace(url.as_str(), "the input")),
        };
        let url = url::Url::parse(url).ok()?;
        // The first part of the path is the application, which is not a secret.
        let path = url.path_segments().into_iter().flatten().skip(1).map(str::to_owned);
        let parameters = url.query_pairs().map(|(_, value)| value.into_owned());
        let mut secrets = path.chain(parameters).chain(url.query().map(str::to_owned));
        let is_quoted = secrets.any(|secret| !secret.is_empty() && shown.contains(&secret));
        (!is_quoted).then_some(shown)
    }
}

/// Returns a path with the prefix `file:`, so that FFmpeg cannot read a part of the path as a protocol.
fn file_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_limited_to_their_protocol() {
        for (input, protocols, last) in [
            (SourceInput::Pipe, "pipe", "pipe:0"),
            (SourceInput::File { path: "/m/a:b.mp3".into(), repeats: true }, "file", "file:/m/a:b.mp3"),
            (
                SourceInput::Rtmp { url: "rtmp://1.2.3.4:1935/a/k".into(), tc_url: "rtmp://x/a".into() },
                "rtmp,tcp",
                "rtmp://1.2.3.4:1935/a/k",
            ),
            (
                SourceInput::Srt { url: "srt://1.2.3.4:9?mode=caller".into() },
                "srt,udp",
                "srt://1.2.3.4:9?mode=caller",
            ),
        ] {
            let to = "127.0.0.1:4000".parse().unwrap();
            let program = FfmpegProgram { binary: "ffmpeg".into(), account: None };
            let command = SourceCommand { program, input, to, payload_type: 100 };
            let args = command.args();
            let after =
                |name: &str| args.iter().skip_while(|arg| *arg != name).nth(1).unwrap().to_str().unwrap();
            assert_eq!((after("-protocol_whitelist"), after("-i")), (protocols, last));
            assert_eq!((after("-format_whitelist"), after("-codec_whitelist")), (FORMATS, CODECS));
            let shown = command.input.redact(&format!("[error] {last}: Connection refused")).unwrap();
            assert!(!shown.contains(last), "{shown}");
        }
    }

    #[test]
    fn log_lines_with_secrets_are_dropped() {
        let rtmp = "rtmp://1.2.3.4:1935/live/s3cret/key?token=t0ken".to_owned();
        let rtmp = SourceInput::Rtmp { url: rtmp, tc_url: "rtmp://x/live".into() };
        let srt = "srt://1.2.3.4:9?streamid=s3%2Ccret&passphrase=t0ken&mode=caller".to_owned();
        let srt = SourceInput::Srt { url: srt };
        for (input, line) in [
            (&rtmp, "Server error: failed to play s3cret"),
            (&rtmp, "Server error: no stream key"),
            (&rtmp, "Server error: ?token=t0ken"),
            (&srt, "no stream s3,cret"),
            (&srt, "cannot set the option t0ken"),
        ] {
            assert_eq!(input.redact(line), None, "{line}");
        }
        let video = "[h264 @ 0x5] Codec (h264) not on whitelist 'aac,opus'";
        assert_eq!(rtmp.redact(video).as_deref(), Some("[h264 @ 0x5] Codec (h264) is not decoded"));
        assert_eq!(rtmp.redact("Server error: live is off").as_deref(), Some("Server error: live is off"));
    }
}

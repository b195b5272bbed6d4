//! Target of an output: its URL, the part of it that may be shown, and the arguments for FFmpeg. This module
//! is pure.
//!
//! The URL contains credentials: the Icecast password, the stream key in an RTMP path, or SRT parameters. The
//! shown form contains none of them. FFmpeg's messages are never shown, because they may quote the URL.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use url::Url;

/// Maximum length of a URL in bytes.
const MAX_URL: usize = 1_000;
/// SRT parameters that a URL may have. `mode` is not one of them: Stentor is always the caller.
const SRT_PARAMETERS: [&str; 4] = ["streamid", "passphrase", "pbkeylen", "latency"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    Icecast,
    Rtmp,
    Srt,
}

/// Codec of the audio that is sent. AAC is not encoded again: the target gets the same frames as listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    #[default]
    Aac,
    Mp3,
    Opus,
}

/// Validated target. Its `Debug` form contains no credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    kind: OutputKind,
    format: OutputFormat,
    url: Url,
}

/// Error for a URL that is not a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    #[error(
        "url must be icecast://user:password@host:port/mount, icecasts://user:password@host:port/mount, \
         rtmp://host/app/key, rtmps://host/app/key or srt://host:port?streamid=…, of at most {MAX_URL} bytes"
    )]
    Url,
    #[error("an icecast URL has a user, a password, a port and a mount such as /live.aac, and no query")]
    Icecast,
    #[error("an RTMP URL has an application and a stream key, as in rtmp://host/app/key, and no user")]
    Rtmp,
    #[error("an SRT URL has a port and only the parameters streamid, passphrase, pbkeylen and latency")]
    Srt,
    #[error("only icecast targets take mp3 and opus; leave format out")]
    Format,
}

impl Target {
    /// Parses the URL of a target.
    pub fn parse(text: &str, format: OutputFormat) -> Result<Self, InvalidTarget> {
        // FFmpeg parses the text after a space in an RTMP URL as options.
        let is_plain = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'\''));
        if text.len() > MAX_URL || !is_plain {
            return Err(InvalidTarget::Url);
        }
        let url = Url::parse(text).map_err(|_| InvalidTarget::Url)?;
        let kind = match url.scheme() {
            "icecast" | "icecasts" => OutputKind::Icecast,
            "rtmp" | "rtmps" => OutputKind::Rtmp,
            "srt" => OutputKind::Srt,
            _ => return Err(InvalidTarget::Url),
        };
        if url.host_str().is_none_or(str::is_empty) || url.fragment().is_some() {
            return Err(InvalidTarget::Url);
        }
        let has_user = !url.username().is_empty() || url.password().is_some();
        match kind {
            OutputKind::Icecast => {
                let complete = !url.username().is_empty() && url.password().is_some_and(|p| !p.is_empty());
                let good = complete && url.port().is_some() && url.path().len() > 1 && url.query().is_none();
                good.then_some(()).ok_or(InvalidTarget::Icecast)?;
            }
            OutputKind::Rtmp => {
                let mut parts = url.path().trim_start_matches('/').splitn(2, '/');
                let good = parts.next().is_some_and(|app| !app.is_empty())
                    && parts.next().is_some_and(|key| !key.is_empty());
                (good && !has_user).then_some(()).ok_or(InvalidTarget::Rtmp)?;
            }
            OutputKind::Srt => {
                let known = url.query_pairs().all(|(name, _)| SRT_PARAMETERS.contains(&&*name));
                let bare = matches!(url.path(), "" | "/") && !has_user;
                (known && bare && url.port().is_some()).then_some(()).ok_or(InvalidTarget::Srt)?;
            }
        }
        if format != OutputFormat::Aac && kind != OutputKind::Icecast {
            return Err(InvalidTarget::Format);
        }
        Ok(Self { kind, format, url })
    }

    pub fn kind(&self) -> OutputKind {
        self.kind
    }

    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// Returns the URL, with its credentials.
    pub fn reveal(&self) -> &str {
        self.url.as_str()
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the host without brackets, and the port.
    pub fn authority(&self) -> (String, u16) {
        let host = self.url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let usual = if self.is_encrypted() { 443 } else { 1935 };
        (host.to_owned(), self.url.port().unwrap_or(usual))
    }

    /// Returns the host if it is an IP address.
    pub fn address(&self) -> Option<IpAddr> {
        self.authority().0.parse().ok()
    }

    /// Returns the target without its secrets.
    pub fn shown(&self) -> String {
        let (host, port) = self.authority();
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let path = match self.kind {
            OutputKind::Icecast => self.url.path().to_owned(),
            // The stream key is secret.
            OutputKind::Rtmp => format!("/{}/…", self.app()),
            OutputKind::Srt => String::new(),
        };
        format!("{}://{host}:{port}{path}", self.url.scheme())
    }

    /// Returns true if the connection uses TLS. The certificate of the target must then be verified.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.url.scheme(), "rtmps" | "icecasts")
    }

    fn app(&self) -> &str {
        self.url.path().trim_start_matches('/').split('/').next().unwrap_or_default()
    }

    /// Returns the arguments for FFmpeg that come after the input. `ip`: allowed address of the host. With
    /// RTMP over TLS, the URL keeps the host name, because the handshake needs it. For Icecast, FFmpeg writes
    /// to stdout, because it would follow redirects to any address.
    pub fn output_args(&self, ip: IpAddr) -> Vec<String> {
        let mut url = self.url.clone();
        // `set_ip_host` cannot fail, because the URL has a host.
        let by_address = !self.is_encrypted() && url.set_ip_host(ip).is_ok();
        let mut args: Vec<String> = match self.format {
            OutputFormat::Aac => vec!["-c:a".into(), "copy".into()],
            OutputFormat::Mp3 => ["-c:a", "libmp3lame", "-b:a", "128k"].map(str::to_owned).into(),
            OutputFormat::Opus => ["-c:a", "libopus", "-b:a", "64k"].map(str::to_owned).into(),
        };
        args.extend(["-flush_packets".to_owned(), "1".to_owned()]);
        let more: &[&str] = match (self.kind, self.format) {
            (OutputKind::Icecast, OutputFormat::Aac) => &["-f", "adts"],
            (OutputKind::Icecast, OutputFormat::Mp3) => &["-f", "mp3"],
            (OutputKind::Icecast, OutputFormat::Opus) => &["-page_duration", "200000", "-f", "ogg"],
            (OutputKind::Rtmp, _) => {
                &["-bsf:a", "aac_adtstoasc", "-flvflags", "no_duration_filesize", "-f", "flv"]
            }
            (OutputKind::Srt, _) => &["-f", "mpegts"],
        };
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        match self.kind {
            OutputKind::Rtmp if by_address => {
                let (host, port) = self.authority();
                let tc_url = format!("{}://{host}:{port}/{}", self.url.scheme(), self.app());
                args.extend(["-rtmp_tcurl".to_owned(), tc_url]);
            }
            OutputKind::Srt => {
                url.query_pairs_mut().append_pair("mode", "caller").append_pair("connect_timeout", "5000");
            }
            OutputKind::Rtmp | OutputKind::Icecast => {}
        }
        let is_pushed_here = self.kind == OutputKind::Icecast;
        args.push(if is_pushed_here { "pipe:1".to_owned() } else { url.into() });
        args
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// Returns a reason for FFmpeg's exit that can be shown. `log`: lines of FFmpeg's log. The reason quotes none
/// of them, because they may contain the URL.
pub fn failure<'a>(log: impl IntoIterator<Item = &'a str>, status: &str) -> String {
    known_failure(log).map_or_else(|| format!("FFmpeg ended: {status}"), str::to_owned)
}

/// Returns a reason that can be shown if one of these lines, from FFmpeg or a library, contains a known
/// error; otherwise `None`.
pub fn known_failure<'a>(log: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
    const KNOWN: [(&[&str], &str); 10] = [
        (
            &["certificate"],
            "the certificate of the target is for another name, has expired, or is from an unknown authority",
        ),
        (&["error 401", "returned 401", "Unauthorized"], "the target refuses the credentials"),
        (
            &["error 403", "returned 403", "Forbidden"],
            "the target refuses the mount or stream; it may be in use",
        ),
        (&["error 404", "returned 404", "Not Found"], "the target does not know the path"),
        (&["Connection refused"], "the target refuses connections"),
        (&["timed out"], "the target does not answer"),
        (&["Name or service not known", "Failed to resolve"], "the host name is unknown"),
        (&["No route to host", "Network is unreachable"], "the target cannot be reached"),
        (&["Broken pipe", "Connection reset"], "the target has closed the connection"),
        (&["Input/output error"], "the target does not answer, or has closed the connection"),
    ];
    let lines: Vec<_> = log.into_iter().collect();
    let is_known = |words: &[&str]| lines.iter().any(|line| words.iter().any(|word| line.contains(word)));
    KNOWN.iter().find(|(words, _)| is_known(words)).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(url: &str) -> Result<Target, InvalidTarget> {
        Target::parse(url, OutputFormat::Aac)
    }

    #[test]
    fn targets_show_no_credentials() {
        for (url, shown) in [
            (
                "icecast://source:hackme@radio.example.org:8000/live.aac",
                "icecast://radio.example.org:8000/live.aac",
            ),
            (
                "icecasts://source:hackme@radio.example.org:8443/live",
                "icecasts://radio.example.org:8443/live",
            ),
            ("rtmp://live.example.org/app/s3cret-key", "rtmp://live.example.org:1935/app/…"),
            ("rtmps://live.example.org/app/s3cret/key?x=s3cret", "rtmps://live.example.org:443/app/…"),
            ("srt://[2001:db8::1]:9000?streamid=s3cret&passphrase=s3crets3cret", "srt://[2001:db8::1]:9000"),
        ] {
            let target = target(url).unwrap();
            assert_eq!((target.shown().as_str(), format!("{target:?}").as_str()), (shown, shown));
            assert_eq!(target.reveal(), url);
        }
    }

    #[test]
    fn targets_are_validated() {
        for (url, error) in [
            ("http://a.example.org/x", InvalidTarget::Url),
            ("file:///etc/passwd", InvalidTarget::Url),
            ("icecast://a.example.org:8000/x", InvalidTarget::Icecast),
            ("icecast://u:p@a.example.org/x", InvalidTarget::Icecast),
            ("icecast://u:p@a.example.org:8000/", InvalidTarget::Icecast),
            ("rtmp://a.example.org/app", InvalidTarget::Rtmp),
            ("rtmp://u:p@a.example.org/app/key", InvalidTarget::Rtmp),
            ("rtmp://a.example.org/app/key live=1", InvalidTarget::Url),
            ("srt://a.example.org", InvalidTarget::Srt),
            ("srt://a.example.org:9?mode=listener", InvalidTarget::Srt),
            ("srt://a.example.org:9?localport=1", InvalidTarget::Srt),
            ("srt://:9", InvalidTarget::Url),
        ] {
            assert_eq!(target(url), Err(error), "{url}");
        }
        let srt = Target::parse("srt://a.example.org:9", OutputFormat::Mp3);
        assert_eq!(srt, Err(InvalidTarget::Format));
    }

    #[test]
    fn ffmpeg_connects_to_checked_address() {
        let ip: IpAddr = "203.0.113.7".parse().unwrap();
        let args = |url: &str, format| Target::parse(url, format).unwrap().output_args(ip).join(" ");
        let icecast = args("icecast://u:p@a.example.org:8000/x", OutputFormat::Mp3);
        assert!(icecast.contains("libmp3lame") && icecast.ends_with(" -f mp3 pipe:1"), "{icecast}");
        let rtmp = args("rtmp://a.example.org/app/key", OutputFormat::Aac);
        assert!(rtmp.contains("-c:a copy") && rtmp.contains("aac_adtstoasc"), "{rtmp}");
        assert!(
            rtmp.ends_with("-rtmp_tcurl rtmp://a.example.org:1935/app rtmp://203.0.113.7/app/key"),
            "{rtmp}"
        );
        let secure = args("rtmps://a.example.org/app/key", OutputFormat::Aac);
        assert!(secure.ends_with(" rtmps://a.example.org/app/key"), "{secure}");
        let srt = args("srt://a.example.org:9?streamid=x", OutputFormat::Aac);
        assert!(srt.ends_with("srt://203.0.113.7:9?streamid=x&mode=caller&connect_timeout=5000"), "{srt}");
    }

    #[test]
    fn reasons_quote_nothing() {
        let line = "icecast://source:hackme@127.0.0.1:1/x.aac: Connection refused";
        assert_eq!(failure([line], "exit status: 1"), "the target refuses connections");
        let unknown = failure(["icecast://source:hackme@a/x: odd"], "exit status: 1");
        assert_eq!(unknown, "FFmpeg ended: exit status: 1");
        let digits = "[tcp @ 0x5403401] Connection to tcp://127.0.0.1:40404 failed: Connection refused";
        assert_eq!(failure([digits], "exit status: 1"), "the target refuses connections");
        let http = failure(["[http @ 0x1] HTTP error 401 Unauthorized"], "exit status: 1");
        assert_eq!(http, "the target refuses the credentials");
        let tls = failure(["[tls @ 0x1] Peer certificate failed verification"], "exit status: 1");
        assert!(tls.starts_with("the certificate of the target"), "{tls}");
    }

    proptest! {
        #[test]
        fn no_secret_is_shown(secret in "[A-Z]{8,20}", at in 0usize..4) {
            let urls = [
                format!("icecast://source:{secret}@radio.example.org:8000/live"),
                format!("rtmp://live.example.org/app/{secret}"),
                format!("srt://a.example.org:9?passphrase={secret}"),
                format!("srt://a.example.org:9?streamid={secret}"),
            ];
            let target = target(&urls[at]).unwrap();
            prop_assert!(!target.shown().contains(&secret));
            let reason = failure([urls[at].as_str(), "Broken pipe"], "exit status: 1");
            prop_assert!(!reason.contains(&secret));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,80}", format in 0u8..3) {
            let format = [OutputFormat::Aac, OutputFormat::Mp3, OutputFormat::Opus][usize::from(format)];
            if let Ok(target) = Target::parse(&text, format) {
                let args = target.output_args("8.8.8.8".parse().unwrap());
                prop_assert!(!args.last().unwrap().starts_with('-'));
            }
        }
    }
}

//! Lines of FFmpeg's stderr as typed records.
//!
//! Owns: the limit of a line's length. Does not log. FFmpeg chooses the text. At levels up to `warning`, the
//! text contains addresses and ports, but not the session description.

use std::collections::VecDeque;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStderr;

/// Maximum length of a line; longer lines are cut to bound memory.
const MAX_LINE: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Info,
    Warning,
    Error,
    Fatal,
}

/// One line without its prefixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FfmpegLog {
    pub level: LogLevel,
    pub text: String,
}

/// Lines of one process.
#[derive(Debug)]
pub struct FfmpegLogLines(BufReader<ChildStderr>);

impl FfmpegLogLines {
    pub fn new(stderr: ChildStderr) -> Self {
        Self(BufReader::with_capacity(MAX_LINE, stderr))
    }

    /// Returns the next line, or `None` when the process has closed its stderr.
    pub async fn next(&mut self) -> Option<FfmpegLog> {
        loop {
            let line = self.line().await?;
            let log = FfmpegLog::parse(&String::from_utf8_lossy(&line));
            if !log.text.is_empty() {
                return Some(log);
            }
        }
    }

    /// Returns the texts of the last `count` lines when the process has closed its stderr.
    pub async fn last(mut self, count: usize) -> Vec<String> {
        let mut last = VecDeque::with_capacity(count);
        while let Some(line) = self.next().await {
            if last.len() == count {
                last.pop_front();
            }
            last.push_back(line.text);
        }
        last.into()
    }

    async fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            // A pipe that cannot be read counts as closed.
            let available = self.0.fill_buf().await.unwrap_or_default();
            if available.is_empty() {
                return (!line.is_empty()).then_some(line);
            }
            // FFmpeg ends its progress lines with a carriage return only.
            let end = available.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let taken = end.unwrap_or(available.len());
            line.extend_from_slice(&available[..taken.min(MAX_LINE - line.len())]);
            self.0.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                return Some(line);
            }
        }
    }
}

impl FfmpegLog {
    /// Parses a line like `[aac @ 0x5581] [warning] text`, with the prefixes that `-loglevel level+…` adds.
    fn parse(line: &str) -> Self {
        let mut level = LogLevel::Info;
        let mut text = line.trim();
        while let Some((prefix, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
            match prefix {
                "info" | "verbose" => level = LogLevel::Info,
                "warning" => level = LogLevel::Warning,
                "error" => level = LogLevel::Error,
                "fatal" | "panic" => level = LogLevel::Fatal,
                component if component.contains(" @ 0x") => {}
                _ => break,
            }
            text = rest.trim_start();
        }
        Self { level, text: text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_become_the_level() {
        let log = FfmpegLog::parse("[udp @ 0x557bfa0f2900] [error] bind failed: Address already in use");
        assert_eq!((log.level, &*log.text), (LogLevel::Error, "bind failed: Address already in use"));
        let log = FfmpegLog::parse("[warning] [x] y");
        assert_eq!((log.level, &*log.text), (LogLevel::Warning, "[x] y"));
        assert_eq!(FfmpegLog::parse("plain").level, LogLevel::Info);
    }

    #[actix::test]
    async fn an_endless_line_is_cut() {
        let script = "head -c 100000 /dev/zero | tr '\\0' x >&2; printf '\\n[error] after\\n' >&2";
        let mut child = crate::process::command("sh", ["-c", script]).spawn().unwrap();
        let mut lines = FfmpegLogLines::new(child.stderr.take().unwrap());
        assert_eq!(lines.next().await.unwrap().text.len(), MAX_LINE);
        assert_eq!(lines.next().await.unwrap().text, "after");
        assert_eq!(lines.next().await, None);
        child.wait().await.unwrap();
    }
}

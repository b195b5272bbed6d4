//! Writer of the media playlist: RFC 8216bis (draft 20), version 9, with the low-latency tags.
//!
//! Owns: the text. Does not hold a token. [`with_token`] adds a listener's token to that listener's copy.

use std::fmt::{self, Write};
use std::time::Duration;

use bytes::Bytes;

use super::names::{MediaFile, NonceHint};
use super::window::{Head, Limits, OpenSegment, Part, Window};
use stentor_domain::civil_time::Rfc3339;

/// Beginning of every key tag, and of nothing else.
pub(super) const KEY_TAG: &str = "#EXT-X-KEY:METHOD=AES-128,URI=\"";

/// Content of one rendering.
pub(super) struct Playlist<'a> {
    pub hint: NonceHint,
    pub limits: &'a Limits,
    pub window: &'a Window,
    pub open: Option<&'a OpenSegment>,
    /// Next part; `None` ends the playlist.
    pub hinted: Option<(u64, u32)>,
}

impl Playlist<'_> {
    pub fn render(&self) -> Bytes {
        let mut text = String::with_capacity(8 * 1024);
        match self.write(&mut text) {
            Ok(()) => {
                text.shrink_to_fit();
                text.into()
            }
            Err(fmt::Error) => unreachable!("writing to a String does not fail"),
        }
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        self.write_header(out)?;
        let mut before = None;
        let mut parts_until = self.parts_distance();
        for segment in self.window.listed() {
            parts_until = parts_until.saturating_sub(segment.duration);
            self.write_head(out, &segment.head, before)?;
            before = Some(&segment.head);
            if parts_until <= 3 * self.limits.target {
                self.write_parts(out, segment.head.msn, &segment.parts)?;
            }
            writeln!(out, "#EXTINF:{},", seconds(segment.duration))?;
            writeln!(out, "{}", MediaFile::Segment { hint: self.hint, msn: segment.head.msn })?;
        }
        if let Some(open) = self.open {
            self.write_head(out, &open.head, before)?;
            self.write_parts(out, open.head.msn, &open.parts)?;
        }
        self.write_end(out)
    }

    /// Returns the duration of the media after the start of the first listed segment.
    fn parts_distance(&self) -> Duration {
        let closed: Duration = self.window.listed().map(|s| s.duration).sum();
        closed + self.open.map_or(Duration::ZERO, |o| o.duration)
    }

    fn write_header(&self, out: &mut String) -> fmt::Result {
        let part = seconds_up(self.limits.part_target);
        let hold_back = seconds_up(3 * self.limits.part_target);
        let first = self.window.listed().next().map_or(0, |s| s.head.msn);
        writeln!(out, "#EXTM3U")?;
        writeln!(out, "#EXT-X-VERSION:9")?;
        writeln!(out, "#EXT-X-INDEPENDENT-SEGMENTS")?;
        writeln!(out, "#EXT-X-TARGETDURATION:{}", self.limits.target.as_secs())?;
        writeln!(out, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={hold_back}")?;
        writeln!(out, "#EXT-X-PART-INF:PART-TARGET={part}")?;
        writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{first}")?;
        writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.window.discontinuity_sequence())
    }

    /// Writes the tags before a segment. The key is repeated only where it changes.
    fn write_head(&self, out: &mut String, head: &Head, before: Option<&Head>) -> fmt::Result {
        if head.discontinuity {
            writeln!(out, "#EXT-X-DISCONTINUITY")?;
        }
        if before.is_none_or(|b| b.key_index != head.key_index) {
            writeln!(out, "{KEY_TAG}enc.key?n={}&k={}\"", self.hint, head.key_index)?;
        }
        write!(out, "#EXT-X-PROGRAM-DATE-TIME:")?;
        write!(out, "{}", Rfc3339(head.started))?;
        out.write_char('\n')
    }

    fn write_parts(&self, out: &mut String, msn: u64, parts: &[Part]) -> fmt::Result {
        for (index, part) in (0..).zip(parts) {
            let duration = seconds(part.duration);
            let file = MediaFile::Part { hint: self.hint, msn, index };
            writeln!(out, "#EXT-X-PART:DURATION={duration},URI=\"{file}\",INDEPENDENT=YES")?;
        }
        Ok(())
    }

    fn write_end(&self, out: &mut String) -> fmt::Result {
        match self.hinted {
            Some((msn, index)) => {
                let file = MediaFile::Part { hint: self.hint, msn, index };
                writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{file}\"")
            }
            None => writeln!(out, "#EXT-X-ENDLIST"),
        }
    }
}

/// Formats decimal seconds with five places, rounded to the nearest.
pub(super) fn seconds(duration: Duration) -> impl fmt::Display {
    decimal((duration.as_nanos() + 5_000) / 10_000)
}

/// Formats decimal seconds rounded up: a limit must not be smaller than the values compared with it.
fn seconds_up(duration: Duration) -> impl fmt::Display {
    decimal(duration.as_nanos().div_ceil(10_000))
}

fn decimal(hundred_thousandths: u128) -> impl fmt::Display {
    struct Decimal(u128);
    impl fmt::Display for Decimal {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}.{:05}", self.0 / 100_000, self.0 % 100_000)
        }
    }
    Decimal(hundred_thousandths)
}

/// Returns the playlist for a listener who can send neither header nor cookie: `token` is repeated in its key
/// URIs, percent-encoded so that it cannot end the attribute or the line.
pub fn with_token(playlist: &Bytes, token: &str) -> Bytes {
    let Ok(text) = std::str::from_utf8(playlist) else { return playlist.clone() };
    let suffix = format!("&token={}", percent_encoded(token));
    let mut out = String::with_capacity(text.len() + 8 * suffix.len());
    for line in text.split_inclusive('\n') {
        match line.strip_prefix(KEY_TAG).and_then(|rest| rest.split_once('"')) {
            Some((uri, rest)) => out.extend([KEY_TAG, uri, &suffix, "\"", rest]),
            None => out.push_str(line),
        }
    }
    out.into()
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_round_up_durations_to_nearest() {
        let d = Duration::from_nanos(213_333_333);
        assert_eq!(seconds(d).to_string(), "0.21333");
        assert_eq!(seconds_up(d).to_string(), "0.21334");
    }

    #[test]
    fn with_token_changes_only_key_uris() {
        let text = "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"enc.key?n=1&k=2\"\nb.ts\n";
        let got = with_token(&Bytes::from(text), "a.b\"\n#&é");
        let expected = text.replace("k=2", "k=2&token=a.b%22%0A%23%26%C3%A9");
        assert_eq!(got, expected);
    }
}

//! Captions as WebVTT (W3C WebVTT section 4).
//!
//! Owns: the text. Does not choose captions.

use std::fmt::{self, Write};
use std::time::Duration;

/// Text that is shown for a part of the audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cue<'a> {
    pub from: Duration,
    /// Later than `from`.
    pub to: Duration,
    /// One line.
    pub text: &'a str,
}

/// Returns a WebVTT file with these cues, which must be ordered by start. `header`: further lines of the
/// header, each ending with a line feed.
pub fn webvtt<'a>(header: &str, cues: impl IntoIterator<Item = Cue<'a>>) -> String {
    let mut text = format!("WEBVTT\n{header}");
    for Cue { from, to, text: words } in cues {
        // Writing to a String does not fail.
        let _ = write!(text, "\n{} --> {}\n{}\n", Timestamp(from), Timestamp(to), EscapedText(words));
    }
    text
}

/// Timestamp with hours (WebVTT section 4.1).
struct Timestamp(Duration);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        write!(f, "{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

/// Text whose markup characters are escaped. The result cannot contain the arrow `-->`.
struct EscapedText<'a>(&'a str);

impl fmt::Display for EscapedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            other => f.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cues_are_timed_and_escaped() {
        let cue =
            |from, to, text| Cue { from: Duration::from_millis(from), to: Duration::from_millis(to), text };
        let cues = [cue(0, 1_500, "Tea & <b>cake</b>"), cue(3_599_999, 360_000_001, "a --> b")];
        let expected = "WEBVTT\nX-A:1\n\n00:00:00.000 --> 00:00:01.500\nTea &amp; &lt;b&gt;cake&lt;/b&gt;\n\n\
                        00:59:59.999 --> 100:00:00.001\na --&gt; b\n";
        assert_eq!(webvtt("X-A:1\n", cues), expected);
        assert_eq!(webvtt("", []), "WEBVTT\n");
    }
}

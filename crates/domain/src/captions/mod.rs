//! Captions: text that external speech recognisers derive from a room's audio, and the rules for their
//! results.
//!
//! All positions are on the stream's clock, the clock of `EXT-X-PROGRAM-DATE-TIME`. This module is pure.

mod stored;
mod webvtt;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::UnixMs;
use crate::json;
use crate::profile::Language;
use crate::text::{self, bounded, text_values};

pub use stored::{CaptionChunk, ChunkFull, StoredCaption, TranscriptLine, captions_of, recorded};
pub use webvtt::{Cue, webvtt};

/// Maximum size of a message of a recogniser, in bytes.
pub const MAX_MESSAGE: usize = 16 * 1024;
/// Maximum number of messages per second that are read from one recogniser. Further messages wait.
pub const MESSAGE_RATE: u32 = 10;
/// Maximum number of messages that are read at once after a pause.
pub const MESSAGE_BURST: u32 = 40;
/// Maximum number of final results per second that are read from one recogniser. If the broadcast is
/// recorded, each final result is written to the store. People speak one sentence in about two seconds.
pub const FINAL_RATE: u32 = 2;
/// Maximum number of final results that are read at once after a pause.
pub const FINAL_BURST: u32 = 20;
/// Maximum number of recognisers of a room. Each language has at most one recogniser.
pub const MAX_RECOGNISERS: usize = 8;
/// Longest duration of one result.
const LONGEST: Duration = Duration::from_secs(60);
/// Maximum time by which a result may end after the audio that the recogniser received, because recognisers
/// round positions.
const AHEAD: Duration = Duration::from_secs(1);

/// Text of a caption: 1 to 500 visible characters, in one line.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CaptionText(Arc<str>);

text_values!(CaptionText);

impl CaptionText {
    pub fn new(text: &str) -> Result<Self, crate::ids::InvalidName> {
        let rule = "must be 1 to 500 visible characters, without control or direction-changing characters";
        let invalid = crate::ids::InvalidName { what: "text", rule };
        bounded(text, 500, text::message).map(Self).ok_or(invalid)
    }
}

/// Caption of a part of the audio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caption {
    /// Position at which the words begin.
    pub from: UnixMs,
    /// Position at which the words end, later than `from`.
    pub to: UnixMs,
    pub text: CaptionText,
    /// False if a later result for the same words may replace this one.
    #[serde(rename = "final")]
    pub is_final: bool,
    pub language: Language,
}

/// Span of the audio that was sent to a recogniser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioSpan {
    pub from: UnixMs,
    pub to: UnixMs,
}

/// Reason why a message of a recogniser is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResult {
    #[error("the message is not a result: {0}")]
    Form(String),
    #[error("the {0}")]
    Value(#[from] crate::ids::InvalidName),
    #[error("from must be before to, by at most {} s", LONGEST.as_secs())]
    Span,
    #[error("from and to must be within the audio that was sent to the recogniser")]
    NotHeard,
    #[error("language must be {}, the language of the connection, or absent", .0.as_str())]
    OtherLanguage(Language),
}

/// Message of a recogniser.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    from: u64,
    to: u64,
    text: String,
    #[serde(rename = "final")]
    is_final: bool,
    #[serde(default)]
    language: Option<String>,
}

impl Caption {
    /// Parses a result of the recogniser of `language`. `heard`: audio that was sent to the recogniser;
    /// `None`: no audio was sent yet.
    ///
    /// # Errors
    /// The message is not a result, or a value breaks a rule.
    pub fn of_result(
        message: &str,
        language: &Language,
        heard: Option<AudioSpan>,
    ) -> Result<Self, InvalidResult> {
        // serde would accept an array for a struct, field by field.
        if !message.trim_ascii_start().starts_with('{') {
            return Err(InvalidResult::Form("it must be a JSON object".into()));
        }
        let read = json::read_text(message).map_err(InvalidResult::Form);
        let Message { from, to, text, is_final, language: named } = read?;
        if let Some(named) = named
            && Language::new(&named)? != *language
        {
            return Err(InvalidResult::OtherLanguage(language.clone()));
        }
        if from >= to || u128::from(to - from) > LONGEST.as_millis() {
            return Err(InvalidResult::Span);
        }
        let heard = heard.ok_or(InvalidResult::NotHeard)?;
        if from < heard.from.0 || to > heard.to.0 + AHEAD.as_millis() as u64 {
            return Err(InvalidResult::NotHeard);
        }
        let text = CaptionText::new(&text)?;
        Ok(Self { from: UnixMs(from), to: UnixMs(to), text, is_final, language: language.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARD: AudioSpan = AudioSpan { from: UnixMs(10_000), to: UnixMs(90_000) };

    fn en() -> Language {
        Language::new("en").unwrap()
    }

    fn of(message: &str) -> Result<Caption, InvalidResult> {
        Caption::of_result(message, &en(), Some(HEARD))
    }

    #[test]
    fn results_become_captions() {
        let caption = of(r#"{"from":10000,"to":12500,"text":" Good\nevening ","final":true}"#).unwrap();
        assert_eq!((caption.from, caption.to, caption.is_final), (UnixMs(10_000), UnixMs(12_500), true));
        assert_eq!((caption.text.as_str(), caption.language.as_str()), ("Good evening", "en"));
        let partial = r#"{"from":89000,"to":91000,"text":"a","final":false,"language":"EN"}"#;
        assert!(!of(partial).unwrap().is_final, "up to a second ahead");
    }

    #[test]
    fn invalid_results_are_refused() {
        let result = |from: u64, to: u64, text: &str| {
            of(&serde_json::json!({ "from": from, "to": to, "text": text, "final": true }).to_string())
        };
        assert_eq!(result(20_000, 20_000, "a"), Err(InvalidResult::Span));
        assert_eq!(result(20_000, 80_001, "a"), Err(InvalidResult::Span));
        assert_eq!(result(9_999, 20_000, "a"), Err(InvalidResult::NotHeard));
        assert_eq!(result(90_000, 91_001, "a"), Err(InvalidResult::NotHeard));
        let long = "x".repeat(501);
        for text in ["", " ", "a\u{202E}b", "\u{7}", &long] {
            assert!(matches!(result(20_000, 21_000, text), Err(InvalidResult::Value(_))), "{text:?}");
        }
        let whole = r#"{"from":20000,"to":21000,"text":"a","final":true"#;
        assert_eq!(of(&format!(r#"{whole},"language":"de"}}"#)), Err(InvalidResult::OtherLanguage(en())));
        for garbage in ["", "x", "[20000,21000,\"a\",true]", whole, &format!("{whole},\"more\":1}}"), "{}"] {
            assert!(matches!(of(garbage), Err(InvalidResult::Form(_))), "{garbage:?}");
        }
        let early = Caption::of_result(&format!("{whole}}}"), &en(), None);
        assert_eq!(early, Err(InvalidResult::NotHeard));
    }
}

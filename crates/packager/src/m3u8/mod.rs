//! Strict reader of media playlists (RFC 8216bis), for tests of the writer only. The plain stream and the
//! probe, which reads like a player, have readers of their own.
//!
//! It knows every tag that the writer uses. It rejects all other tags, duplicates, a wrong order, and
//! durations that contradict the declared targets. Shares no code with the writer. Never does: fetch.

mod attributes;
mod reader;

use std::time::Duration;

use stentor_domain::ids::UnixMs;

pub use reader::parse;

/// Media playlist that passed all checks.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaPlaylist {
    /// Target duration in seconds.
    pub target_duration: u64,
    pub part_target: Duration,
    pub part_hold_back: Duration,
    pub media_sequence: u64,
    pub discontinuity_sequence: u64,
    /// Complete segments, oldest first. Never empty.
    pub segments: Vec<MediaSegment>,
    /// Segment in progress, if it has parts.
    pub open: Option<OpenSegment>,
    /// URI of the next part. `None` exactly when `ended`.
    pub preload_hint: Option<String>,
    pub ended: bool,
}

/// Properties that a segment and its parts have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// Media sequence number, which is also the IV.
    pub msn: u64,
    pub discontinuity_sequence: u64,
    /// URI of the AES-128 key.
    pub key: String,
    pub program_date_time: UnixMs,
}

#[derive(Debug, Clone, PartialEq)]
pub struct MediaSegment {
    pub context: Context,
    pub uri: String,
    pub duration: Duration,
    /// Parts of the segment. Empty for older segments.
    pub parts: Vec<MediaPart>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct OpenSegment {
    pub context: Context,
    /// Parts so far. Never empty.
    pub parts: Vec<MediaPart>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct MediaPart {
    pub uri: String,
    pub duration: Duration,
}

/// First error and its line, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct PlaylistError {
    pub line: usize,
    pub fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("does not begin with #EXTM3U")]
    NotAPlaylist,
    #[error("unknown tag {0}")]
    UnknownTag(String),
    #[error("{0} appears twice")]
    Duplicate(&'static str),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is not allowed here")]
    Misplaced(&'static str),
    #[error("{0} has an invalid value")]
    BadValue(&'static str),
    #[error("{0} is longer than announced")]
    TooLong(&'static str),
    #[error("a part below 85 % of PART-TARGET that is not the last of its segment")]
    PartTooShort,
    #[error("the parts of a segment do not add up to its duration")]
    PartsDisagree,
    #[error("PROGRAM-DATE-TIME goes back")]
    TimeGoesBack,
}

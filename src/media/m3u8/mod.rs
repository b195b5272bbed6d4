//! A strict reader of media playlists (RFC 8216bis): what our tests hold the writer to. A node never reads one; the
//! probe, which reads as a player does, has a reader of its own.
//!
//! Knows every tag the writer uses and refuses all others, duplicates, wrong order and broken promises about
//! durations. Shares no code with the writer. Never does: fetch.

mod attributes;
mod reader;

use std::time::Duration;

use crate::domain::ids::UnixMs;

pub use reader::parse;

/// A playlist that keeps its promises.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaPlaylist {
    /// Seconds.
    pub target_duration: u64,
    pub part_target: Duration,
    pub part_hold_back: Duration,
    pub media_sequence: u64,
    pub discontinuity_sequence: u64,
    /// Complete segments, oldest first. Never empty.
    pub segments: Vec<MediaSegment>,
    /// Of the segment that is being made, if it has parts.
    pub open: Option<OpenSegment>,
    /// URI of the part that comes next. `None` exactly when `ended`.
    pub preload_hint: Option<String>,
    pub ended: bool,
}

/// What applies to a segment and to its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// Media sequence number, and so the IV.
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
    /// Empty for older segments.
    pub parts: Vec<MediaPart>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct OpenSegment {
    pub context: Context,
    /// Never empty.
    pub parts: Vec<MediaPart>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct MediaPart {
    pub uri: String,
    pub duration: Duration,
}

/// The first thing that is wrong, and the line (from 1) where it shows.
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
    #[error("{0} stands twice")]
    Duplicate(&'static str),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} has no place here")]
    Misplaced(&'static str),
    #[error("{0} has a value it may not have")]
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

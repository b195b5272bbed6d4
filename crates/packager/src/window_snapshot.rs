//! Window snapshot: bytes that an outgoing mixer passes to its successor.
//!
//! Format: a length (four bytes, big endian), JSON of that length, then the files in the order in which the
//! JSON names them. The files are encrypted as for listeners. Nodes of the same version or of two successive
//! versions exchange snapshots. A snapshot that cannot be read is ignored, and the successor begins with an
//! empty window.
//!
//! Owns: this format. Does not store a key.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::names::NonceHint;
use super::packager::Place;
use super::stream::Snapshot;
use super::ticks::TickPhase;
use super::window::{Head, Part, Segment, Window};
use stentor_domain::ids::UnixMs;
use stentor_domain::timeline::{Junction, Timeline};

#[derive(Serialize, Deserialize)]
struct WindowSnapshot {
    /// [`NonceHint`](super::names::NonceHint) of the broadcast: the prefix of its file names.
    hint: String,
    discontinuity_sequence: u64,
    /// Number of listed segments, counted from the newest.
    listed: usize,
    /// Position of the next part. `None`: the successor begins with a discontinuity.
    timeline: Option<Timeline>,
    /// Age of the newest sample at the time of writing. This is an age and not a time, because the nodes'
    /// wall clocks may differ.
    age: Duration,
    segments: Vec<SavedSegment>,
}

#[derive(Serialize, Deserialize)]
struct SavedSegment {
    msn: u64,
    discontinuity: bool,
    key_index: u64,
    started: u64,
    duration: Duration,
    part_count: u32,
    /// Durations of the parts that are still held, with their lengths in bytes.
    parts: Vec<(Duration, usize)>,
    /// Length of the whole segment in bytes if its parts are gone.
    whole: Option<usize>,
}

/// Encodes the closed segments of the broadcast with this hint. `wall` is the current time.
pub(super) fn to_bytes(snapshot: &Snapshot, hint: NonceHint, wall: UnixMs) -> Bytes {
    let window = &snapshot.window;
    let mut files = BytesMut::new();
    let mut segments = Vec::new();
    for segment in window.held() {
        let head = &segment.head;
        let whole = segment.whole_if_made().filter(|_| segment.parts.is_empty());
        files.extend_from_slice(&whole.clone().unwrap_or_default());
        segment.parts.iter().for_each(|part| files.extend_from_slice(&part.bytes));
        segments.push(SavedSegment {
            msn: head.msn,
            discontinuity: head.discontinuity,
            key_index: head.key_index,
            started: head.started.0,
            duration: segment.duration,
            part_count: segment.part_count,
            parts: segment.parts.iter().map(|part| (part.duration, part.bytes.len())).collect(),
            whole: whole.map(|bytes| bytes.len()),
        });
    }
    let contents = WindowSnapshot {
        hint: hint.to_string(),
        discontinuity_sequence: window.discontinuity_sequence(),
        listed: window.listed().count(),
        timeline: match snapshot.place {
            Place::After(_) => Some(snapshot.timeline),
            Place::First | Place::Broken => None,
        },
        age: Duration::from_millis(wall.0.saturating_sub(snapshot.end().0)),
        segments,
    };
    let json = match serde_json::to_vec(&contents) {
        Ok(json) => json,
        Err(error) => unreachable!("numbers, strings and lists are JSON: {error}"),
    };
    let mut bytes = BytesMut::with_capacity(4 + json.len() + files.len());
    bytes.extend_from_slice(&(json.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&json);
    bytes.extend_from_slice(&files);
    bytes.freeze()
}

/// Decodes the window, and the junction at which the next media continue. `None` if the bytes are invalid or
/// belong to another broadcast.
pub(super) fn from_bytes(mut bytes: Bytes, hint: NonceHint) -> Option<(Window, Junction)> {
    let length = bytes.try_get_u32().ok()? as usize;
    let json = taken(&mut bytes, length)?;
    let contents: WindowSnapshot = serde_json::from_slice(&json).ok()?;
    if contents.hint != hint.to_string() || contents.listed > contents.segments.len() {
        return None;
    }
    let mut held: VecDeque<Arc<Segment>> = VecDeque::new();
    for made in contents.segments {
        if held.back().is_some_and(|last| last.head.msn.checked_add(1) != Some(made.msn)) {
            return None;
        }
        let whole = match made.whole {
            Some(length) => Some(taken(&mut bytes, length)?),
            None => None,
        };
        let part = |(duration, length)| Some(Part { bytes: taken(&mut bytes, length)?, duration });
        let parts = made.parts.into_iter().map(part).collect::<Option<Vec<Part>>>()?;
        if whole.is_none() && parts.is_empty() {
            return None;
        }
        let head = Head {
            msn: made.msn,
            discontinuity: made.discontinuity,
            key_index: made.key_index,
            started: UnixMs(made.started),
            lag: None,
            ticks: TickPhase::default(),
        };
        held.push_back(Arc::new(Segment::left(head, made.duration, made.part_count, parts, whole)));
    }
    let junction = match contents.timeline {
        Some(timeline) => Junction::After { timeline, ago: contents.age },
        None => Junction::Unknown,
    };
    bytes.is_empty().then(|| (Window::left(held, contents.listed, contents.discontinuity_sequence), junction))
}

/// Returns the next `length` bytes, or `None` if there are fewer.
fn taken(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

//! What a mixer that has handed a room over leaves its successor: the window, as bytes.
//!
//! A length (four bytes, big endian), that much JSON about what follows, and then the files themselves in the order in
//! which the JSON names them, encrypted as listeners get them. Between nodes of one version or two neighbouring ones;
//! what cannot be read is not taken over, and the successor begins with an empty window.
//!
//! Owns: this format. Never does: hold a key.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::names::NonceHint;
use super::packager::Place;
use super::stream::Snapshot;
use super::window::{Head, Part, Segment, Window};
use crate::domain::ids::UnixMs;
use crate::domain::timeline::{Junction, Timeline};

#[derive(Serialize, Deserialize)]
struct Contents {
    /// Of the live.
    hint: String,
    discontinuity_sequence: u64,
    /// Of the segments, the newest so many.
    listed: usize,
    /// `None`: the successor begins with a discontinuity.
    timeline: Option<Timeline>,
    /// Age of the newest sample when this was written. A difference, so that the nodes' wall clocks may differ.
    age: Duration,
    segments: Vec<Made>,
}

#[derive(Serialize, Deserialize)]
struct Made {
    msn: u64,
    discontinuity: bool,
    key_index: u64,
    started: u64,
    duration: Duration,
    part_count: u32,
    /// Those that are held, with their lengths.
    parts: Vec<(Duration, usize)>,
    /// Length of the whole, where the parts are gone.
    whole: Option<usize>,
}

/// The closed segments of the live with this hint, at this wall-clock time.
pub(super) fn to_bytes(snapshot: &Snapshot, hint: NonceHint, wall: UnixMs) -> Bytes {
    let window = &snapshot.window;
    let mut files = BytesMut::new();
    let mut segments = Vec::new();
    for segment in window.held() {
        let head = &segment.head;
        let whole = segment.whole_if_made().filter(|_| segment.parts.is_empty());
        files.extend_from_slice(&whole.clone().unwrap_or_default());
        segment.parts.iter().for_each(|part| files.extend_from_slice(&part.bytes));
        segments.push(Made {
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
    let contents = Contents {
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

/// The window, and how media join it. `None`: it is of another live, or no such thing.
pub(super) fn from_bytes(mut bytes: Bytes, hint: NonceHint) -> Option<(Window, Junction)> {
    let length = bytes.try_get_u32().ok()? as usize;
    let json = taken(&mut bytes, length)?;
    let contents: Contents = serde_json::from_slice(&json).ok()?;
    if contents.hint != hint.to_string() || contents.listed > contents.segments.len() {
        return None;
    }
    let mut held: VecDeque<Arc<Segment>> = VecDeque::new();
    for made in contents.segments {
        if held.back().is_some_and(|last| last.head.msn + 1 != made.msn) {
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
        };
        held.push_back(Arc::new(Segment::left(head, made.duration, made.part_count, parts, whole)));
    }
    let junction = match contents.timeline {
        Some(timeline) => Junction::After { timeline, ago: contents.age },
        None => Junction::Unknown,
    };
    bytes.is_empty().then(|| (Window::left(held, contents.listed, contents.discontinuity_sequence), junction))
}

/// The next so many bytes, if there are so many.
fn taken(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

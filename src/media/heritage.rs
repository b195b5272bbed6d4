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
use super::window::{Head, InitFile, Part, Segment, Window};
use crate::domain::ids::UnixMs;

#[derive(Serialize, Deserialize)]
struct Contents {
    /// Of the live.
    hint: String,
    discontinuity_sequence: u64,
    /// Of the segments, the newest so many.
    listed: usize,
    inits: Vec<Init>,
    segments: Vec<Made>,
}

#[derive(Serialize, Deserialize)]
struct Init {
    msn: u64,
    length: usize,
}

#[derive(Serialize, Deserialize)]
struct Made {
    msn: u64,
    /// Name of its init section.
    init: u64,
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

/// The window of the live with this hint.
pub(super) fn to_bytes(window: &Window, hint: NonceHint) -> Bytes {
    let mut files = BytesMut::new();
    let mut inits: Vec<Init> = Vec::new();
    let mut segments = Vec::new();
    for segment in window.held() {
        let head = &segment.head;
        if inits.last().is_none_or(|last| last.msn != head.init.msn) {
            inits.push(Init { msn: head.init.msn, length: head.init.bytes.len() });
            files.extend_from_slice(&head.init.bytes);
        }
        let whole = segment.whole_if_made().filter(|_| segment.parts.is_empty());
        files.extend_from_slice(&whole.clone().unwrap_or_default());
        segment.parts.iter().for_each(|part| files.extend_from_slice(&part.bytes));
        segments.push(Made {
            msn: head.msn,
            init: head.init.msn,
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
        inits,
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

/// The other way round. `None`: it is of another live, or no such thing.
pub(super) fn from_bytes(mut bytes: Bytes, hint: NonceHint) -> Option<Window> {
    let length = bytes.try_get_u32().ok()? as usize;
    let json = taken(&mut bytes, length)?;
    let contents: Contents = serde_json::from_slice(&json).ok()?;
    if contents.hint != hint.to_string() || contents.listed > contents.segments.len() {
        return None;
    }
    let mut inits = contents.inits.into_iter().peekable();
    let mut held: VecDeque<Arc<Segment>> = VecDeque::new();
    let mut init: Option<Arc<InitFile>> = None;
    for made in contents.segments {
        if let Some(next) = inits.next_if(|next| next.msn == made.init) {
            init = Some(Arc::new(InitFile { msn: next.msn, bytes: taken(&mut bytes, next.length)? }));
        }
        let init = init.clone().filter(|init| init.msn == made.init)?;
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
            init,
            discontinuity: made.discontinuity,
            key_index: made.key_index,
            started: UnixMs(made.started),
        };
        held.push_back(Arc::new(Segment::left(head, made.duration, made.part_count, parts, whole)));
    }
    bytes.is_empty().then(|| Window::left(held, contents.listed, contents.discontinuity_sequence))
}

/// The next so many bytes, if there are so many.
fn taken(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

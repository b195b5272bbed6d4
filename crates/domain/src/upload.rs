//! Order of the steps that upload a recording to object storage in parts, also after a crash. This module is
//! pure.
//!
//! ```text
//!  Begin ─▶ Part 0 ─▶ … ─▶ Part n ─▶ Complete        every step may be repeated
//!    ▲                                  │
//!    └── the storage has forgotten it ──┘
//! ```
//! The state is stored next to the recording after every step. After a crash, the upload continues with the
//! first part that the stored state does not contain. Owns these rules. Does not access the storage.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::ids::{ModuleId, RoomId, UnixMs};
use super::recording::{Recording, RecordingId, RecordingState};

/// Size in bytes of every part except the last one. S3 requires at least 5 MiB for these parts.
pub const PART_SIZE: u64 = 5 << 20;

/// State of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    /// Name of the object.
    pub object: String,
    /// Size of the file in bytes.
    pub length: u64,
    /// Id that the storage has given to the upload; `None` before the upload has begun.
    #[serde(default)]
    pub id: Option<String>,
    /// Ids that the storage has given to the parts, in order.
    #[serde(default)]
    pub parts: Vec<String>,
}

/// Next step of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Begin,
    /// Upload these bytes of the file.
    Part {
        index: usize,
        range: Range<u64>,
    },
    /// The storage has all parts: combine them into the object.
    Complete,
}

/// Copy of a recording in object storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Time at which the object was verified.
    pub at: UnixMs,
    pub bytes: u64,
}

impl Upload {
    pub fn new(object: String, length: u64) -> Self {
        Self { object, length, id: None, parts: Vec::new() }
    }

    /// Returns true if this is the upload of a file of this length to this object. A file that has changed is
    /// uploaded again from the start.
    pub fn is_of(&self, object: &str, length: u64) -> bool {
        self.object == object && self.length == length
    }

    pub fn next(&self) -> Step {
        if self.id.is_none() {
            return Step::Begin;
        }
        let from = self.parts.len() as u64 * PART_SIZE;
        if from >= self.length && !self.parts.is_empty() {
            return Step::Complete;
        }
        Step::Part { index: self.parts.len(), range: from..(from + PART_SIZE).min(self.length) }
    }

    /// Records that the storage has begun the upload, and forgets the parts of an earlier upload.
    pub fn begun(&mut self, id: String) {
        self.id = Some(id);
        self.parts.clear();
    }

    /// Records that the storage has the next part.
    pub fn part_stored(&mut self, id: String) {
        self.parts.push(id);
    }

    /// Records that the storage no longer knows the upload.
    pub fn forgotten(&mut self) {
        self.id = None;
        self.parts.clear();
    }
}

/// Returns the name of a recording's object, below the configured prefix.
pub fn object_name(room: &RoomId, id: &RecordingId) -> String {
    format!("{room}/{id}.m4a")
}

/// Returns true if mixer `me` has to upload this recording, because its take was closed last.
pub fn is_due(recording: &Recording, state: RecordingState, me: &ModuleId) -> bool {
    let with_media = recording.takes.iter().filter(|(_, take)| take.segments > 0);
    let last = with_media.max_by_key(|(mixer, take)| (take.ended_at, *mixer));
    state == RecordingState::Ready
        && recording.deleted_at.is_none()
        && recording.stored.is_none()
        && last.is_some_and(|(mixer, take)| mixer == me && take.ended_at.is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recording::Take;

    fn recording(takes: &[(&str, Option<u64>)]) -> Recording {
        let stored = r#"{"room":"demo","nonce":"n","roomCreatedAt":1,"startedAt":5,"takes":{}}"#;
        let recording: Recording = serde_json::from_str(stored).unwrap();
        takes.iter().fold(recording, |recording, (mixer, ended)| {
            let take = Take { ended_at: ended.map(UnixMs), segments: 3, ..Take::default() };
            recording.with_take(ModuleId::new(mixer).unwrap(), take)
        })
    }

    #[test]
    fn mixer_of_last_part_uploads() {
        let due =
            |recording: &Recording, state, me: &str| is_due(recording, state, &ModuleId::new(me).unwrap());
        let moved = recording(&[("m1", Some(9)), ("m2", Some(7))]);
        assert!(due(&moved, RecordingState::Ready, "m1") && !due(&moved, RecordingState::Ready, "m2"));
        assert!(!due(&moved, RecordingState::Pending, "m1") && !due(&moved, RecordingState::Recording, "m1"));
        assert!(!due(&moved.clone().deleted(UnixMs(9)), RecordingState::Ready, "m1"));
        let empty = Take { ended_at: Some(UnixMs(12)), ..Take::default() };
        let with_empty = moved.clone().with_take(ModuleId::new("m3").unwrap(), empty);
        assert!(
            due(&with_empty, RecordingState::Ready, "m1") && !due(&with_empty, RecordingState::Ready, "m3")
        );
        let stored = Recording { stored: Some(Stored { at: UnixMs(9), bytes: 7 }), ..moved };
        assert!(!due(&stored, RecordingState::Ready, "m1"));
        assert!(!due(&recording(&[("m1", None)]), RecordingState::Ready, "m1"));
        let same = recording(&[("m1", Some(9)), ("m2", Some(9))]);
        assert!(due(&same, RecordingState::Ready, "m2") && !due(&same, RecordingState::Ready, "m1"));
    }

    #[test]
    fn forgotten_upload_begins_anew() {
        let mut upload = Upload::new("demo/a.m4a".into(), PART_SIZE + 1);
        assert_eq!(upload.next(), Step::Begin);
        upload.begun("u1".into());
        upload.part_stored("p0".into());
        let text = serde_json::to_string(&upload).unwrap();
        assert_eq!(serde_json::from_str::<Upload>(&text).unwrap(), upload);
        assert_eq!(upload.next(), Step::Part { index: 1, range: PART_SIZE..PART_SIZE + 1 });
        upload.part_stored("p1".into());
        assert_eq!(upload.next(), Step::Complete);
        upload.forgotten();
        assert_eq!((upload.next(), upload.parts.len()), (Step::Begin, 0));
        assert!(upload.is_of("demo/a.m4a", PART_SIZE + 1) && !upload.is_of("demo/a.m4a", PART_SIZE));
    }

    proptest! {
        #[test]
        fn parts_cover_the_file(length in 1u64..60 * PART_SIZE, crash in 0usize..70) {
            let mut upload = Upload::new("a".into(), length);
            let (mut at, mut steps) = (0, 0);
            loop {
                steps += 1;
                if steps == crash {
                    let text = serde_json::to_string(&upload).unwrap();
                    upload = serde_json::from_str(&text).unwrap();
                }
                match upload.next() {
                    Step::Begin => upload.begun("u".into()),
                    Step::Part { index, range } => {
                        prop_assert_eq!((index, range.start), (upload.parts.len(), at));
                        prop_assert!(range.end - range.start <= PART_SIZE && range.end > range.start);
                        prop_assert!(range.end == length || range.end - range.start == PART_SIZE);
                        at = range.end;
                        upload.part_stored(format!("p{index}"));
                    }
                    Step::Complete => break,
                }
            }
            prop_assert_eq!(at, length);
        }
    }
}

//! Order of the steps that upload a recording to object storage in parts, even after a crash. This module is
//! pure.
//!
//! ```text
//!  Begin ─▶ Part 0 ─▶ … ─▶ Part n ─▶ Complete ─▶ Verify        every step may be repeated
//!    ▲                                  │           │
//!    └── the storage has forgotten it ──┴───────────┘ the object is another one
//! ```
//! The state is stored next to the recording after every step. After a crash, the upload continues with the
//! first part that the stored state does not contain. Owns these rules. Does not access the storage.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{ModuleId, RoomId, UnixMs};
use super::recording::{Recording, RecordingId, RecordingState};
use super::recording_metadata::version;

/// Size in bytes of every part except the last one. S3 requires at least 5 MiB for these parts.
pub const PART_SIZE: u64 = 5 << 20;
/// Longest delay between two attempts at an upload. The number of attempts is not limited.
pub const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// Time after the end of a recording in which captions may still arrive.
const CAPTIONS_WITHIN: Duration = Duration::from_secs(15);

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
    /// ETag of the complete object; `None` until the object is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
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
    /// The object was complete: check that it is still the same.
    Verify {
        etag: String,
    },
}

/// Copy of a recording in object storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCopy {
    /// Time at which the M4A file was verified.
    pub at: UnixMs,
    /// Size of the M4A file.
    pub bytes: u64,
    /// Copy of the segments, from which the recording can be played; `None` until it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<StoredSegments>,
}

/// Object with the encrypted segments of a recording, followed by their journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSegments {
    /// Time at which the object was verified.
    pub at: UnixMs,
    /// Size of the segments in bytes, which is the position of the journal in the object.
    pub media: u64,
    /// Size of the journal in bytes.
    pub journal: u64,
}

/// Object that is a copy of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyKind {
    /// The M4A file, for archives and other programs.
    M4a,
    /// The encrypted segments, from which Stentor plays the recording.
    Segments,
    /// The captions, one JSON object per line.
    Captions,
    /// The metadata, of this [version](version).
    Info { version: u64 },
    /// The track with this number.
    Track(u32),
}

/// Complete copies of what belongs to a recording, besides the audio of the mix.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoredExtras {
    #[serde(default)]
    pub captions: bool,
    /// Version of [`CopyKind::Info`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info_version: Option<u64>,
    /// Sizes of the tracks in bytes, by their numbers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tracks: BTreeMap<u32, u64>,
}

/// Work of a mixer for the copies of one recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageJob {
    Upload(CopyKind),
    /// Remove the data from the disk of this mixer. The recording is then read from the copy.
    DropLocal,
    /// Remove the copies of a deleted recording. None of its mixers is alive.
    RemoveCopies,
}

impl Upload {
    pub fn new(object: String, length: u64) -> Self {
        Self { object, length, id: None, parts: Vec::new(), etag: None }
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
        if let Some(etag) = self.etag.clone() {
            return Step::Verify { etag };
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

    /// Records that the storage has the object, with this ETag.
    pub fn completed(&mut self, etag: Option<String>) {
        self.etag = etag;
    }

    /// Records that the storage no longer has the upload, or has another object.
    pub fn forgotten(&mut self) {
        self.id = None;
        self.parts.clear();
        self.etag = None;
    }
}

impl CopyKind {
    /// Returns all copies of a recording with these tracks.
    pub fn all(tracks: impl IntoIterator<Item = u32>) -> impl Iterator<Item = Self> {
        let others = [Self::M4a, Self::Segments, Self::Captions, Self::Info { version: 0 }];
        others.into_iter().chain(tracks.into_iter().map(Self::Track))
    }

    /// Returns true for a copy of the mix, which needs all mixers of the recording.
    pub fn is_mix(self) -> bool {
        matches!(self, Self::M4a | Self::Segments)
    }
}

/// Returns the name of a recording's object, below the configured prefix.
pub fn object_name(room: &RoomId, id: &RecordingId, kind: CopyKind) -> String {
    match kind {
        CopyKind::M4a => format!("{room}/{id}.m4a"),
        CopyKind::Segments => format!("{room}/{id}.segments"),
        CopyKind::Captions => format!("{room}/{id}.captions.jsonl"),
        CopyKind::Info { .. } => format!("{room}/{id}.info.json"),
        CopyKind::Track(number) => format!("{room}/{id}.track-{number}.opus"),
    }
}

/// Returns the next job of mixer `me` for this recording. `keep_local`: time for which a mixer keeps its data
/// after the upload; `None`: for as long as the recording exists.
pub fn storage_job(
    recording: &Recording,
    state: RecordingState,
    me: &ModuleId,
    is_alive: impl Fn(&ModuleId) -> bool,
    keep_local: Option<Duration>,
    now: UnixMs,
) -> Option<StorageJob> {
    if recording.deleted_at.is_some() {
        // A mixer with a take removes the copies together with its data.
        let all_gone = !recording.takes.keys().any(is_alive);
        return (recording.stored.is_some() && all_gone).then_some(StorageJob::RemoveCopies);
    }
    if state != RecordingState::Ready {
        return None;
    }
    let due = match recording.stored {
        None => Some(CopyKind::M4a),
        Some(stored) if stored.segments.is_none() => Some(CopyKind::Segments),
        Some(_) => None,
    };
    if let Some(kind) = due {
        // The M4A file contains the chapters.
        let is_due = !recording.unreported && is_last_mixer(recording, me);
        return is_due.then_some(StorageJob::Upload(kind));
    }
    let copied = recording.stored.and_then(|stored| stored.segments)?.at;
    let age = Duration::from_millis(now.0.saturating_sub(copied.0));
    let has_data = recording.takes.get(me).is_some_and(|take| !take.dropped && take.ended_at.is_some());
    if has_data && keep_local.is_some_and(|keep| age >= keep) {
        return Some(StorageJob::DropLocal);
    }
    let extra = missing_extra(recording, now).filter(|_| is_last_mixer(recording, me));
    extra.map(StorageJob::Upload)
}

/// Returns the next copy to make of what belongs to the recording, besides the mix. The tracks come last,
/// because a node that has some may be away for days.
fn missing_extra(recording: &Recording, now: UnixMs) -> Option<CopyKind> {
    let StoredExtras { captions, info_version, tracks } = &recording.extras;
    let ended = recording.takes.values().filter_map(|take| take.ended_at).max();
    let age = ended.map(|ended| Duration::from_millis(now.0.saturating_sub(ended.0)));
    let settled = age.is_some_and(|age| age >= CAPTIONS_WITHIN);
    if settled && !captions {
        return Some(CopyKind::Captions);
    }
    let version = version(recording);
    if settled && !recording.unreported && *info_version != Some(version) {
        return Some(CopyKind::Info { version });
    }
    let missing = recording.tracks.iter().find(|track| tracks.get(&track.number) != Some(&track.bytes));
    missing.map(|track| CopyKind::Track(track.number))
}

/// Returns true if the take of mixer `me` was closed last. That mixer uploads and measures the recording.
/// Takes without segments do not count.
pub fn is_last_mixer(recording: &Recording, me: &ModuleId) -> bool {
    let with_media = recording.takes.iter().filter(|(_, take)| take.segments > 0);
    let last = with_media.max_by_key(|(mixer, take)| (take.ended_at, *mixer));
    last.is_some_and(|(mixer, take)| mixer == me && take.ended_at.is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::UserId;
    use crate::plan::Retry;
    use crate::recording::{RecordingWrite, Take};
    use crate::restart::Backoff;
    use crate::tracks::Track;

    fn recording(takes: &[(&str, Option<u64>)]) -> Recording {
        let stored = r#"{"room":"demo","nonce":"n","roomCreatedAt":1,"startedAt":5,"takes":{}}"#;
        let recording: Recording = serde_json::from_str(stored).unwrap();
        let extras = StoredExtras { captions: true, info_version: Some(0), ..StoredExtras::default() };
        takes.iter().fold(Recording { extras, ..recording }, |recording, (mixer, ended)| {
            let take = Take { ended_at: ended.map(UnixMs), segments: 3, ..Take::default() };
            recording.with_take(ModuleId::new(mixer).unwrap(), take)
        })
    }

    fn mixer(name: &str) -> ModuleId {
        ModuleId::new(name).unwrap()
    }

    #[test]
    fn mixer_of_last_part_uploads() {
        let due = |recording: &Recording, state, me: &str| {
            let job = storage_job(recording, state, &mixer(me), |_| true, None, UnixMs(99));
            job == Some(StorageJob::Upload(CopyKind::M4a))
        };
        let moved = recording(&[("m1", Some(9)), ("m2", Some(7))]);
        assert!(due(&moved, RecordingState::Ready, "m1") && !due(&moved, RecordingState::Ready, "m2"));
        assert!(!due(&moved, RecordingState::Pending, "m1") && !due(&moved, RecordingState::Recording, "m1"));
        assert!(!due(&moved.clone().deleted(UnixMs(9)), RecordingState::Ready, "m1"));
        let empty = Take { ended_at: Some(UnixMs(12)), ..Take::default() };
        let with_empty = moved.clone().with_take(ModuleId::new("m3").unwrap(), empty);
        assert!(
            due(&with_empty, RecordingState::Ready, "m1") && !due(&with_empty, RecordingState::Ready, "m3")
        );
        let stored = Recording { stored: Some(stored(None)), ..moved };
        assert!(!due(&stored, RecordingState::Ready, "m1"));
        let next = storage_job(&stored, RecordingState::Ready, &mixer("m1"), |_| true, None, UnixMs(99));
        assert_eq!(next, Some(StorageJob::Upload(CopyKind::Segments)));
        assert!(!due(&recording(&[("m1", None)]), RecordingState::Ready, "m1"));
        let same = recording(&[("m1", Some(9)), ("m2", Some(9))]);
        assert!(due(&same, RecordingState::Ready, "m2") && !due(&same, RecordingState::Ready, "m1"));
    }

    fn stored(segments: Option<u64>) -> StoredCopy {
        let segments = segments.map(|at| StoredSegments { at: UnixMs(at), media: 7, journal: 3 });
        StoredCopy { at: UnixMs(9), bytes: 7, segments }
    }

    #[test]
    fn local_data_is_dropped_after_time() {
        let two = recording(&[("m1", Some(9)), ("m2", Some(7))]).stored(stored(Some(1_000)));
        let job = |recording: &Recording, me: &str, keep: Option<u64>, now| {
            let keep = keep.map(Duration::from_millis);
            storage_job(recording, RecordingState::Ready, &mixer(me), |_| true, keep, UnixMs(now))
        };
        assert_eq!(job(&two, "m1", None, u64::MAX), None);
        assert_eq!(job(&two, "m1", Some(500), 1_499), None);
        for me in ["m1", "m2"] {
            assert_eq!(job(&two, me, Some(500), 1_500), Some(StorageJob::DropLocal), "{me}");
            assert_eq!(job(&two, me, Some(0), 900), Some(StorageJob::DropLocal), "a clock that is behind");
        }
        assert_eq!(job(&two, "m3", Some(0), 2_000), None, "has no take");
        let dropped = two.without_local(&mixer("m1"));
        assert_eq!(job(&dropped, "m1", Some(0), 2_000), None);
        assert_eq!(job(&dropped, "m2", Some(0), 2_000), Some(StorageJob::DropLocal));
        assert_eq!(job(&recording(&[("m1", Some(9))]).stored(stored(None)), "m2", Some(0), 2_000), None);
    }

    #[test]
    fn copies_outlive_no_deleted_recording() {
        let gone = recording(&[("m1", Some(9)), ("m2", Some(7))]).stored(stored(Some(10)));
        let gone = gone.without_local(&mixer("m1")).deleted(UnixMs(20));
        let job = |recording: &Recording, me: &str, alive: &[&str]| {
            let is_alive = |mixer: &ModuleId| alive.contains(&mixer.as_str());
            storage_job(recording, RecordingState::Ready, &mixer(me), is_alive, None, UnixMs(30))
        };
        assert_eq!(job(&gone, "m3", &["m3"]), Some(StorageJob::RemoveCopies));
        assert_eq!(job(&gone, "m3", &["m3", "m2"]), None, "m2 removes the copies");
        let RecordingWrite::Put(left) = gone.without_copies() else { panic!("m2 still has data") };
        assert_eq!((job(&left, "m3", &["m3"]), left.takes.len()), (None, 1));
        let only_stored = left.stored(stored(Some(10))).without_local(&mixer("m2"));
        assert_eq!(only_stored.without_copies(), RecordingWrite::Remove);
    }

    #[test]
    fn extras_follow_the_mix() {
        let mix = recording(&[("m1", Some(9_000)), ("m2", Some(7_000))]).stored(stored(Some(9_100)));
        let track =
            |number, bytes| Track { number, user_id: UserId::new("ann").unwrap(), node: mixer("j1"), bytes };
        let mut of = Recording { extras: StoredExtras::default(), tracks: vec![track(2, 50)], ..mix };
        let job = |of: &Recording, me: &str, keep: Option<Duration>, now| {
            storage_job(of, RecordingState::Ready, &mixer(me), |_| true, keep, UnixMs(now))
        };
        let upload = |kind| Some(StorageJob::Upload(kind));
        assert_eq!(job(&of, "m1", None, 20_000), upload(CopyKind::Track(2)), "captions may still arrive");
        assert_eq!(job(&of, "m1", Some(Duration::ZERO), 24_000), Some(StorageJob::DropLocal));
        assert_eq!(job(&of, "m1", None, 24_000), upload(CopyKind::Captions));
        assert_eq!(job(&of, "m2", None, 24_000), None, "the other mixer does it");
        of.extras.captions = true;
        assert_eq!(job(&of, "m1", None, 24_000), upload(CopyKind::Info { version: 50 }));
        of.unreported = true;
        assert_eq!(job(&of, "m1", None, 24_000), upload(CopyKind::Track(2)), "the anchors are unknown");
        of.extras.tracks.insert(2, 49);
        assert_eq!(job(&of, "m1", None, 24_000), upload(CopyKind::Track(2)), "it was made again");
        of.extras.tracks.insert(2, 50);
        assert_eq!(job(&of, "m1", None, 24_000), None);
        (of.unreported, of.extras.info_version) = (false, Some(50));
        assert_eq!(job(&of, "m1", None, 24_000), None);
        let spoken = of.clone().with_speech(&UserId::new("ann").unwrap(), 9);
        assert_eq!(job(&spoken, "m1", None, 24_000), upload(CopyKind::Info { version: 59 }));
        let names: Vec<_> =
            CopyKind::all([2]).map(|kind| object_name(&of.room, &RecordingId::random(7), kind)).collect();
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
    }

    #[test]
    fn forgotten_upload_starts_over() {
        let mut upload = Upload::new("demo/a.m4a".into(), PART_SIZE + 1);
        assert_eq!(upload.next(), Step::Begin);
        upload.begun("u1".into());
        upload.part_stored("p0".into());
        let text = serde_json::to_string(&upload).unwrap();
        assert_eq!(serde_json::from_str::<Upload>(&text).unwrap(), upload);
        assert_eq!(upload.next(), Step::Part { index: 1, range: PART_SIZE..PART_SIZE + 1 });
        upload.part_stored("p1".into());
        assert_eq!(upload.next(), Step::Complete);
        upload.completed(Some("e".into()));
        assert_eq!(upload.next(), Step::Verify { etag: "e".into() });
        upload.forgotten();
        assert_eq!((upload.next(), upload.parts.len()), (Step::Begin, 0));
        assert!(upload.is_of("demo/a.m4a", PART_SIZE + 1) && !upload.is_of("demo/a.m4a", PART_SIZE));
    }

    /// The storage refuses everything for an hour of simulated time, in which the process also restarts.
    #[test]
    fn upload_outlasts_hour_without_storage() {
        let hour = Duration::from_secs(3_600);
        let backoff = Backoff { first: Duration::from_secs(1), max: LONGEST_DELAY };
        let mut upload = Upload::new("demo/a.m4a".into(), 3 * PART_SIZE);
        upload.begun("u".into());
        upload.part_stored("p0".into());
        let (mut retry, mut now, mut attempts) = (Retry::default(), Duration::ZERO, 0);
        while now < hour {
            attempts += 1;
            assert_eq!(upload.next(), Step::Part { index: 1, range: PART_SIZE..2 * PART_SIZE });
            retry.failed("no answer", now, &backoff, 0.5);
            let due = retry.due().unwrap();
            assert!(due > now && due - now <= LONGEST_DELAY, "{now:?} {due:?}");
            now = due;
            if attempts == 30 {
                let text = serde_json::to_string(&upload).unwrap();
                (upload, retry) = (serde_json::from_str(&text).unwrap(), Retry::default());
            }
        }
        assert!(now - hour <= LONGEST_DELAY && (60..200).contains(&attempts), "{attempts} attempts");
        upload.part_stored("p1".into());
        upload.part_stored("p2".into());
        assert_eq!(upload.next(), Step::Complete);
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
                    Step::Verify { .. } => prop_assert!(false, "not complete yet"),
                }
            }
            prop_assert_eq!(at, length);
        }
    }
}

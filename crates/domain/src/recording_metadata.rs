//! Metadata of a recording as a JSON file, which lies next to its media on the disk and in object storage.
//! This module is pure.

use serde::Serialize;

use super::ids::{RoomId, UnixMs};
use super::profile::{Description, Owner, Tags, Title};
use super::recording::{Recording, RecordingId};
use super::recording_details::{Chapter, RecordedAnchor};
use super::tracks::Track;

/// Content of the file. Its fields have the names of the room API, and times are milliseconds since the Unix
/// epoch.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    recording_id: &'a RecordingId,
    room_id: &'a RoomId,
    title: Option<&'a Title>,
    description: Option<&'a Description>,
    owner: Option<&'a Owner>,
    tags: Option<&'a Tags>,
    started_at: UnixMs,
    ended_at: Option<UnixMs>,
    duration_ms: u64,
    lost_segments: u64,
    loudness: Option<Loudness>,
    anchors: Vec<RecordedAnchor>,
    chapters: &'a [Chapter],
    tracks: Vec<TrackEntry>,
    /// Peaks of equal parts of the recording, from 0 to 255.
    waveform: Option<&'a [u8]>,
}

/// Loudness of a recording (EBU R 128).
#[derive(Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Loudness {
    /// Integrated loudness in LUFS; absent for silence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrated_lufs: Option<f64>,
    /// Loudness range in LU.
    pub range_lu: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TrackEntry {
    number: u32,
    user_id: String,
}

impl Loudness {
    /// Returns the loudness of a recording; `None` until it has been measured.
    pub fn of(recording: &Recording) -> Option<Self> {
        let analysis = recording.analysis.as_ref()?;
        Some(Self { integrated_lufs: analysis.integrated_lufs(), range_lu: analysis.range_lu() })
    }
}

/// Returns the metadata of a recording as JSON text.
pub fn metadata(id: &RecordingId, recording: &Recording) -> String {
    let sum = |of: fn(&crate::recording::Take) -> u64| recording.takes.values().map(of).sum();
    let track = |track: &Track| TrackEntry { number: track.number, user_id: track.user_id.to_string() };
    let metadata = Metadata {
        recording_id: id,
        room_id: &recording.room,
        title: recording.title.as_ref(),
        description: recording.profile.description.as_ref(),
        owner: recording.profile.owner.as_ref(),
        tags: recording.profile.tags.as_ref(),
        started_at: recording.started_at,
        ended_at: recording.ended_at(),
        duration_ms: sum(|take| take.duration_ms),
        lost_segments: sum(|take| take.lost),
        loudness: Loudness::of(recording),
        anchors: recording.anchors(),
        chapters: &recording.details.chapters,
        tracks: recording.tracks.iter().map(track).collect(),
        waveform: recording.analysis.as_ref().map(|analysis| &analysis.waveform.0[..]),
    };
    // Serialisation does not fail: all map keys are text.
    let mut text = serde_json::to_string(&metadata).unwrap_or_default();
    text.push('\n');
    text
}

/// Returns a number that grows with every change of the metadata of a recording that is ready.
pub fn version(recording: &Recording) -> u64 {
    let measured_at = recording.analysis.as_ref().map_or(0, |analysis| analysis.at.0);
    let spoken: u64 = recording.spoken.iter().flatten().map(|(_, ms)| ms).sum();
    let tracks: u64 = recording.tracks.iter().map(|track| track.bytes).sum();
    let takes: u64 = recording.takes.values().map(|take| take.bytes + take.lost).sum();
    measured_at + spoken + tracks + takes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserId;

    #[test]
    fn metadata_names_anchors_with_speech() {
        let stored = r#"{"room":"demo","nonce":"n","roomCreatedAt":1,"startedAt":5,"title":"Tea","spoken":{},
            "takes":{"m":{"endedAt":9000,"segments":3,"durationMs":6000,"lost":1}},
            "profile":{"owner":"ann","tags":["tea"]},
            "details":{"anchors":[{"userId":"ann","role":"host","visits":[{"joinedAt":5,"leftAt":9000}]},
            {"userId":"bob","role":"anchor","visits":[]}],
            "chapters":[{"startedAt":5,"title":"Ann"}]}}"#;
        let recording: Recording = serde_json::from_str(stored).unwrap();
        let ann = UserId::new("ann").unwrap();
        let recording = recording.with_speech(&ann, 1_500).with_speech(&ann, 700);
        let id = RecordingId::random(7);
        let text = metadata(&id, &recording);
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told["anchors"][0]["spokenMs"], 2_200, "{text}");
        assert_eq!(told["anchors"][1]["spokenMs"], 0, "{text}");
        assert_eq!(told["chapters"][0]["title"], "Ann");
        assert_eq!((&told["durationMs"], &told["lostSegments"]), (&6_000.into(), &1.into()));
        assert_eq!((&told["endedAt"], &told["owner"]), (&9_000.into(), &"ann".into()));
        let before = version(&recording);
        assert_eq!(version(&recording.with_speech(&ann, 1)), before + 1);
    }

    #[test]
    fn recorded_speech_is_bounded() {
        let stored = r#"{"room":"demo","nonce":"n","roomCreatedAt":1,"startedAt":5,"takes":{}}"#;
        let mut recording: Recording = serde_json::from_str(stored).unwrap();
        assert_eq!(recording.spoken, None, "unknown for a recording of an earlier version");
        for n in 0..150 {
            recording = recording.with_speech(&UserId::new(&format!("u{n}")).unwrap(), 1);
        }
        let recording = recording.with_speech(&UserId::new("u0").unwrap(), 1);
        let spoken = recording.spoken.unwrap();
        assert_eq!((spoken.len(), spoken[&UserId::new("u0").unwrap()]), (100, 2));
    }
}

//! Description of a recording for its listeners, also inside its files: the anchors and chapters with their
//! positions.

use serde::Serialize;

use crate::domain::clip::{Clip, Positions, position_of, positions};
use crate::domain::ids::{RoomId, UnixMs};
use crate::domain::profile::{CoverUrl, Title};
use crate::domain::recording::{Recording, RecordingId};
use crate::domain::recording_details::Visit;
use crate::domain::recording_journal::JournalEntry;
use crate::domain::roles::RoomRole;
use crate::packager::{M4aTags, cut};

/// Description of a recording. Positions are in seconds. Contains no user ids, because they must not be
/// revealed to listeners.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayInfo {
    pub recording_id: RecordingId,
    pub room_id: RoomId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<Title>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cover_url: Option<CoverUrl>,
    /// Time of the first recorded sample.
    pub started_at: UnixMs,
    /// Duration, which is also the position of the end.
    pub duration: f64,
    pub anchors: Vec<InfoAnchor>,
    pub chapters: Vec<InfoChapter>,
    /// Peaks of equal parts of the recording, from 0 to 255; absent until measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waveform: Option<Vec<u8>>,
    /// Integrated loudness in LUFS; absent until measured, and for silence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrated_lufs: Option<f64>,
    /// Parts that were not recorded. The file contains silence there; the playlist skips them.
    pub gaps: Vec<Clip>,
    /// Position at which the playlist of the clip begins, which is the start of a segment.
    pub listed_from: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InfoAnchor {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    pub role: RoomRole,
    /// Parts of the recording in which the anchor was in the room.
    pub visits: Vec<Clip>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InfoChapter {
    /// Position at which the chapter begins.
    pub at: f64,
    pub title: String,
}

impl ReplayInfo {
    /// Describes a recording that has these segments, for a listener of this clip.
    pub fn of(id: &RecordingId, recording: &Recording, segments: &[&JournalEntry], clip: Clip) -> Self {
        let position = |moment: UnixMs| position_of(segments, moment.0);
        let visit = |Visit { joined_at, left_at }: &Visit| Clip {
            from: position(*joined_at),
            to: position(*left_at),
        };
        let anchors = recording.details.anchors.iter().map(|anchor| InfoAnchor {
            display_name: anchor.display_name.clone(),
            role: anchor.role,
            visits: anchor.visits.iter().map(visit).collect(),
        });
        let chapters = recording.details.chapters.iter().map(|chapter| InfoChapter {
            at: position(chapter.started_at).as_secs_f64(),
            title: chapter.title.clone(),
        });
        let (starts, duration) = positions(segments.iter().copied());
        let ends = segments.iter().zip(&starts).map(|(entry, start)| *start + entry.duration());
        let gaps = ends.clone().zip(starts.iter().skip(1)).filter(|(end, next)| end < *next);
        let listed = cut(segments, clip).into_iter().find(|part| !part.frames.is_empty());
        Self {
            recording_id: id.clone(),
            room_id: recording.room.clone(),
            title: recording.title.clone(),
            cover_url: recording.profile.cover_url.clone(),
            started_at: segments.first().map_or(recording.started_at, |entry| entry.started_at),
            duration: duration.as_secs_f64(),
            anchors: anchors.collect(),
            chapters: chapters.collect(),
            waveform: recording.analysis.as_ref().map(|analysis| analysis.waveform.0.clone()),
            integrated_lufs: recording.analysis.as_ref().and_then(|analysis| analysis.integrated_lufs()),
            gaps: gaps.map(|(from, to)| Clip { from, to: *to }).collect(),
            listed_from: listed.map_or(0.0, |part| starts[part.segment].as_secs_f64()),
        }
    }
}

/// Returns the description inside the M4A file of a clip.
pub(super) fn tags_of(known: &Recording, segments: &[&JournalEntry], clip: Clip) -> M4aTags {
    let positions = Positions::new(segments);
    let chapters = known.details.chapters.iter();
    let mut chapters: Vec<_> = chapters
        .map(|chapter| (positions.of(chapter.started_at.0), chapter.title.clone()))
        .filter(|(at, _)| *at < clip.to)
        .map(|(at, title)| (at.saturating_sub(clip.from), title))
        .collect();
    // The chapters that begin before the clip have the position 0; the last of them is heard there.
    let earlier = chapters.iter().take_while(|(at, _)| at.is_zero()).count();
    chapters.drain(..earlier.saturating_sub(1));
    M4aTags { title: known.title.as_ref().map(|title| title.as_str().to_owned()), chapters }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, started_at: u64) -> JournalEntry {
        JournalEntry {
            sequence,
            duration_us: 2_000_000,
            started_at: UnixMs(started_at),
            discontinuity: false,
            key_index: 0,
            bytes: 9,
            file: 1,
            offset: 0,
            lag_us: None,
            tick_us: None,
        }
    }

    #[test]
    fn info_has_positions_and_no_user_ids() {
        let stored = r#"{"room":"demo","nonce":"n","roomCreatedAt":1,"startedAt":999000,"takes":{},
            "title":"Tea",
            "details":{"anchors":[{"userId":"ann-id","displayName":"Ann","role":"host",
            "visits":[{"joinedAt":5,"leftAt":1003000}]}],"chapters":[{"startedAt":999000,"title":"Ann"},
            {"startedAt":1011000,"title":"Bob"}]}}"#;
        let recording: Recording = serde_json::from_str(stored).unwrap();
        let segments = [entry(1, 1_000_000), entry(2, 1_002_000), entry(5, 1_010_000)];
        let segments: Vec<_> = segments.iter().collect();
        let id = RecordingId::random(7);
        let info = ReplayInfo::of(&id, &recording, &segments, Clip::new(3.0, 12.0).unwrap());
        let told = serde_json::to_value(&info).unwrap();
        assert_eq!((info.started_at, info.duration, info.listed_from), (UnixMs(1_000_000), 12.0, 2.0));
        assert_eq!(told["gaps"], serde_json::json!([{ "from": 4.0, "to": 10.0 }]));
        assert_eq!(told["anchors"][0]["visits"], serde_json::json!([{ "from": 0.0, "to": 3.0 }]));
        assert_eq!(info.chapters.iter().map(|chapter| chapter.at).collect::<Vec<_>>(), [0.0, 11.0]);
        assert!(!told.to_string().contains("ann-id"), "{told}");
        let none = ReplayInfo::of(&id, &recording, &[], Clip::WHOLE);
        assert_eq!((none.duration, none.listed_from), (0.0, 0.0));
    }
}

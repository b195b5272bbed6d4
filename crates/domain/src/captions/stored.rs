//! Final captions as they are stored: in chunks, one store key per recording, language and ten minutes.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Caption, CaptionText, Cue, LONGEST, webvtt};
use crate::clip::{Clip, Positions};
use crate::ids::{Nonce, RoomId, UnixMs};
use crate::profile::Language;
use crate::recording::{Recording, RecordingId};
use crate::recording_journal::JournalEntry;
use crate::view::RoomView;

/// Duration of the audio of one chunk.
const CHUNK: Duration = Duration::from_secs(600);
/// Maximum text of a chunk, in bytes. People speak about 10 kB in ten minutes.
const MAX_TEXT: usize = 100_000;
/// Maximum number of captions of a chunk.
const MAX_CAPTIONS: usize = 1_200;

/// Caption in a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCaption {
    pub from: UnixMs,
    pub to: UnixMs,
    pub text: CaptionText,
}

/// Value of a chunk's store key: captions, ordered by start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaptionChunk(pub Vec<StoredCaption>);

/// Reason why a caption is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ten minutes of a recording have at most {MAX_CAPTIONS} captions with {MAX_TEXT} bytes")]
pub struct ChunkFull;

/// Caption of a recording, with its language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranscriptLine {
    pub language: Language,
    pub caption: StoredCaption,
}

impl TranscriptLine {
    /// Returns the caption as one line of JSON.
    pub fn json(&self) -> String {
        let StoredCaption { from, to, text } = &self.caption;
        let language = &self.language;
        let line = json!({ "from": from, "to": to, "text": text, "language": language, "speaker": null });
        format!("{line}\n")
    }
}

impl CaptionChunk {
    /// Returns the number of the chunk that contains a caption.
    pub fn number(caption: &Caption) -> u64 {
        caption.from.0 / CHUNK.as_millis() as u64
    }

    /// Returns the numbers of all chunks that can contain captions of words spoken within this span.
    pub fn numbers(span: &RangeInclusive<UnixMs>) -> RangeInclusive<u64> {
        let (chunk, longest) = (CHUNK.as_millis() as u64, LONGEST.as_millis() as u64);
        span.start().0.saturating_sub(longest) / chunk..=span.end().0 / chunk
    }

    /// Adds a caption. An earlier caption with the same start is replaced: the recogniser has corrected it.
    ///
    /// # Errors
    /// The chunk is full.
    pub fn add(&mut self, caption: &Caption) -> Result<(), ChunkFull> {
        let Caption { from, to, text, .. } = caption.clone();
        let new = StoredCaption { from, to, text };
        match self.0.binary_search_by_key(&from, |known| known.from) {
            Ok(at) => self.0[at] = new,
            Err(at) => self.0.insert(at, new),
        }
        let bytes: usize = self.0.iter().map(|caption| caption.text.as_str().len()).sum();
        if self.0.len() > MAX_CAPTIONS || bytes > MAX_TEXT { Err(ChunkFull) } else { Ok(()) }
    }
}

/// Returns the caption as the recording stores it; `None` if the recording does not contain the words of the
/// caption. `room` and `nonce`: broadcast of the caption; `view`: current state of the recorded room, on air
/// or not. If the recording ended during the caption, the stored caption ends at that time.
pub fn recorded(
    (id, recording): (&RecordingId, &Recording),
    view: &RoomView,
    (room, nonce): (&RoomId, &Nonce),
    caption: &Caption,
) -> Option<Caption> {
    let same = recording.room == *room && recording.nonce == *nonce && recording.deleted_at.is_none();
    let request = view.recording.as_ref().filter(|request| request.nonce == *nonce);
    let stopped = match request {
        // The broadcast has a newer recording, so the room no longer stores when this recording was stopped.
        Some(request) if request.id != *id => return None,
        request => request.and_then(|request| request.stopped_at),
    };
    let end = [stopped, recording.ended_at()].into_iter().flatten().min();
    let is_within = caption.to > recording.started_at && end.is_none_or(|end| caption.from < end);
    let to = end.map_or(caption.to, |end| caption.to.min(end));
    (same && is_within).then(|| Caption { to, ..caption.clone() })
}

/// Returns the captions within the clip as WebVTT, with positions in the recording that has these segments.
/// If `language` is `None`, the language of the first caption is used.
pub fn captions_of(
    lines: &[TranscriptLine],
    segments: &[&JournalEntry],
    clip: Clip,
    language: Option<&Language>,
) -> String {
    let language = language.or_else(|| lines.first().map(|line| &line.language));
    let positions = Positions::new(segments);
    let cue = |TranscriptLine { caption, .. }: &'_ TranscriptLine| {
        let (from, to) = (positions.of(caption.from.0), positions.of(caption.to.0));
        (from < to && from < clip.to && to > clip.from).then_some((from, to))
    };
    let shown = lines.iter().filter(|line| Some(&line.language) == language);
    webvtt(
        "",
        shown.filter_map(|line| {
            let (from, to) = cue(line)?;
            Some(Cue { from, to, text: line.caption.text.as_str() })
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::RecordingRequest;
    use crate::view::StoredValue;

    fn caption(from: u64, text: &str) -> Caption {
        let (text, language) = (CaptionText::new(text).unwrap(), Language::new("en").unwrap());
        Caption { from: UnixMs(from), to: UnixMs(from + 1000), text, is_final: true, language }
    }

    #[test]
    fn chunks_are_ordered_and_bounded() {
        let mut chunk = CaptionChunk::default();
        for (from, text) in [(3000, "three"), (1000, "one"), (3000, "Three.")] {
            chunk.add(&caption(from, text)).unwrap();
        }
        let text: Vec<_> = chunk.0.iter().map(|caption| caption.text.as_str()).collect();
        assert_eq!(text, ["one", "Three."]);
        let json = serde_json::to_string(&chunk).unwrap();
        assert_eq!(json, r#"[{"from":1000,"to":2000,"text":"one"},{"from":3000,"to":4000,"text":"Three."}]"#);
        assert_eq!(serde_json::from_str::<CaptionChunk>(&json).unwrap(), chunk);
        let long = "ü".repeat(500);
        let added = (0..).take_while(|n| chunk.add(&caption(10_000 + n, &long)).is_ok()).count();
        assert_eq!(added, 99);
        let mut chunk = CaptionChunk::default();
        assert_eq!((0..).take_while(|n| chunk.add(&caption(*n, "a")).is_ok()).count(), MAX_CAPTIONS);
        assert_eq!(
            (CaptionChunk::number(&caption(599_999, "a")), CaptionChunk::number(&caption(600_000, "a"))),
            (0, 1)
        );
        let numbers = |from, to| CaptionChunk::numbers(&(UnixMs(from)..=UnixMs(to)));
        assert_eq!((numbers(0, 599_999), numbers(659_999, 1_200_000)), (0..=0, 0..=2));
        assert_eq!(numbers(660_000, 660_001), 1..=1, "a caption lasts a minute at most");
    }

    #[test]
    fn recorded_captions_have_positions() {
        let entry = |sequence, started_at| JournalEntry {
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
        };
        let segments = [entry(1, 100_000), entry(2, 102_000), entry(9, 110_000)];
        let segments: Vec<_> = segments.iter().collect();
        let line = |language: &str, from, text: &str| {
            let Caption { from, to, text, .. } = caption(from, text);
            let language = Language::new(language).unwrap();
            TranscriptLine { language, caption: StoredCaption { from, to, text } }
        };
        let lines =
            [line("en", 99_500, "first"), line("de", 101_000, "zwei"), line("en", 110_500, "after the gap")];
        let of = |clip, language: Option<&str>| {
            captions_of(&lines, &segments, clip, language.map(|tag| Language::new(tag).unwrap()).as_ref())
        };
        let whole = "WEBVTT\n\n00:00:00.000 --> 00:00:00.500\nfirst\n\n\
                     00:00:10.500 --> 00:00:11.500\nafter the gap\n";
        assert_eq!(of(Clip::WHOLE, None), whole);
        assert_eq!(of(Clip::WHOLE, Some("de")), "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nzwei\n");
        assert_eq!(of(Clip::new(2.0, 9.0).unwrap(), None), "WEBVTT\n");
        assert_eq!(captions_of(&[], &segments, Clip::WHOLE, None), "WEBVTT\n");
    }

    #[test]
    fn recordings_contain_their_time_only() {
        let recording = |more: &str| -> Recording {
            let text = format!(
                r#"{{"room":"demo","nonce":"n","roomCreatedAt":1,"startedAt":5000,"takes":{{{more}}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let (open, closed) = (recording(r#""m":{}"#), recording(r#""m":{"endedAt":9000}"#));
        let (id, room, view) = (RecordingId::random(7), RoomId::new("demo").unwrap(), RoomView::default());
        let has = |known: &Recording, nonce: &str, from| {
            recorded((&id, known), &view, (&room, &Nonce(nonce.into())), &caption(from, "a")).is_some()
        };
        assert_eq!([3_000, 4_500, 8_999, 9_000].map(|from| has(&open, "n", from)), [false, true, true, true]);
        assert_eq!(
            [3_000, 4_500, 8_999, 9_000].map(|from| has(&closed, "n", from)),
            [false, true, true, false]
        );
        assert!(!has(&open, "other", 6_000));
        let deleted = Recording { deleted_at: Some(UnixMs(1)), ..open };
        assert!(!has(&deleted, "n", 6_000));
    }

    #[test]
    fn stopped_recordings_get_no_more() {
        let text = r#"{"room":"demo","nonce":"n","roomCreatedAt":1,"startedAt":5000,
            "takes":{"lost":{},"m":{"endedAt":12000}}}"#;
        let recording: Recording = serde_json::from_str(text).unwrap();
        let (id, room, nonce) = (RecordingId::random(7), RoomId::new("demo").unwrap(), Nonce("n".into()));
        let ends = |request: Option<(&RecordingId, &str, Option<u64>)>, from| {
            let value = |(id, nonce, stopped): (&RecordingId, &str, Option<u64>)| RecordingRequest {
                id: id.clone(),
                nonce: Nonce(nonce.into()),
                since: UnixMs(5_000),
                stopped_at: stopped.map(UnixMs),
            };
            let stored = |value| StoredValue { value, mod_revision: 1 };
            let view = RoomView { recording: request.map(value).map(stored), ..RoomView::default() };
            let caption = recorded((&id, &recording), &view, (&room, &nonce), &caption(from, "a"));
            caption.map(|caption| caption.to.0)
        };
        // A take is open: its mixer is lost.
        assert_eq!(ends(Some((&id, "n", None)), 20_000), Some(21_000));
        let stopped = Some((&id, "n", Some(9_500)));
        assert_eq!([8_000, 9_000, 9_500].map(|from| ends(stopped, from)), [Some(9_000), Some(9_500), None]);
        // The broadcast is being recorded again.
        assert_eq!(ends(Some((&RecordingId::random(8), "n", None)), 8_000), None);
        // The room has a later broadcast, or none.
        assert_eq!(ends(Some((&RecordingId::random(8), "later", None)), 8_000), Some(9_000));
        assert_eq!(ends(None, 8_000), Some(9_000));
    }
}

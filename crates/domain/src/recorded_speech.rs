//! Speech of one user while the room is recorded. This module is pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ids::UserId;
use super::recording::{Recording, RecordingId};
use super::recording_details::{MOST_ANCHORS, RecordedAnchor};
use super::stage::TalkTimer;

/// Stopwatch of the speech that belongs to a recording.
#[derive(Debug, Default)]
pub struct RecordedSpeech {
    timer: TalkTimer,
    /// Recording in progress; `None` while the room is not recorded.
    recording: Option<RecordingId>,
}

/// Speech to add to a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeechInRecording {
    pub recording: RecordingId,
    pub ms: u64,
}

impl RecordedSpeech {
    /// Records that the user starts or stops talking. `now` is monotonic.
    pub fn heard(&mut self, talking: bool, now: Duration) {
        self.timer.heard(talking, now);
    }

    /// Records which recording is in progress. Returns the unreported speech of the one before, if it is
    /// another one.
    pub fn recorded_by(
        &mut self,
        recording: Option<&RecordingId>,
        now: Duration,
    ) -> Option<SpeechInRecording> {
        if self.recording.as_ref() == recording {
            return None;
        }
        let rest = self.take(Duration::ZERO, now);
        self.recording = recording.cloned();
        rest
    }

    /// Takes the unreported speech; `None` if it is shorter than `at_least`, or not recorded.
    pub fn take(&mut self, at_least: Duration, now: Duration) -> Option<SpeechInRecording> {
        let ms = self.timer.take(at_least, now)?;
        Some(SpeechInRecording { recording: self.recording.clone()?, ms })
    }
}

impl Recording {
    /// Returns the recording after this user has spoken for `ms` milliseconds more.
    pub fn with_speech(mut self, user: &UserId, ms: u64) -> Self {
        let spoken = self.spoken.get_or_insert_default();
        if spoken.len() < MOST_ANCHORS || spoken.contains_key(user) {
            *spoken.entry(user.clone()).or_default() += ms;
        }
        self
    }

    /// Returns the anchors with the time that each has spoken.
    pub fn anchors(&self) -> Vec<RecordedAnchor> {
        let with_speech = |anchor: &RecordedAnchor| {
            let of = |spoken: &BTreeMap<UserId, u64>| spoken.get(&anchor.user_id).copied().unwrap_or(0);
            RecordedAnchor { spoken_ms: self.spoken.as_ref().map(of), ..anchor.clone() }
        };
        self.details.anchors.iter().map(with_speech).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_belongs_to_its_recording() {
        let [first, second] = [1, 2].map(RecordingId::random);
        let at = Duration::from_secs;
        let mut speech = RecordedSpeech::default();
        speech.heard(true, at(0));
        assert_eq!(speech.recorded_by(Some(&first), at(10)), None, "not recorded before");
        assert_eq!(speech.recorded_by(Some(&first), at(11)), None);
        assert_eq!(speech.take(at(60), at(12)), None, "too short");
        let of = |recording: &RecordingId, ms| SpeechInRecording { recording: recording.clone(), ms };
        assert_eq!(speech.recorded_by(Some(&second), at(13)), Some(of(&first, 3_000)));
        speech.heard(false, at(15));
        assert_eq!(speech.take(Duration::ZERO, at(99)), Some(of(&second, 2_000)));
        assert_eq!(speech.recorded_by(None, at(99)), None);
        speech.heard(true, at(100));
        assert_eq!(speech.take(at(1), at(200)), None, "not recorded");
    }
}

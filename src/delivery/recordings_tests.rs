//! Tests of the joined journals.

use super::*;

/// Returns a recording with these segments, all on one mixer.
pub(in crate::delivery) fn joined(sequences: std::ops::Range<u64>) -> JoinedRecording {
    let entry = |sequence: u64| JournalEntry {
        sequence,
        duration_us: 1_920_000,
        started_at: UnixMs(1_920 * sequence),
        discontinuity: false,
        key_index: sequence / 2,
        bytes: 9,
        file: 1,
        offset: 0,
        lag_us: None,
        tick_us: None,
    };
    let place = Place::Mixer(ModuleId::new("m1").unwrap());
    let segments = sequences.map(|sequence| (place.clone(), entry(sequence))).collect();
    let id = RecordingId::new("0123456789abcdef").unwrap();
    JoinedRecording { id, revision: 7, complete: true, stored: false, segments }
}

#[test]
fn clip_has_segments_of_its_range() {
    let joined = joined(10..20);
    let listed = |from: f64, to: f64| {
        let clip = Clip::new(from, to).unwrap();
        joined.of_clip(clip).unwrap().iter().map(|entry| entry.sequence).collect::<Vec<_>>()
    };
    assert_eq!(listed(2.0, 3.0), [11]);
    assert_eq!(listed(1.92, 3.84), [11], "a clip ends before the next segment");
    assert_eq!(listed(1.0, 4.0), [10, 11, 12]);
    assert_eq!(joined.of_clip(Clip::WHOLE).unwrap().len(), 10);
    let behind = joined.of_clip(Clip::new(19.3, 30.0).unwrap());
    assert_eq!(behind.unwrap_err(), MediaError::NoSuchClip);
}

//! Loudness and waveform of a recording, measured once after the recording has ended. This module is pure.
//!
//! Owns: the values, the reduction of samples to a waveform, and the parser of FFmpeg's loudness summary.
//! Does not decode audio.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use super::ids::{ModuleId, UnixMs};
use super::recording::{Recording, RecordingState};
use super::upload::is_last_mixer;

/// Sample rate of the decoded audio, in Hz. A waveform does not need frequencies above half this rate.
pub const RATE: u32 = 8_000;
/// Maximum number of values in a waveform.
pub const MOST_VALUES: usize = 1_000;
/// Samples per value before the reduction to [`MOST_VALUES`]: a tenth of a second.
const FINE: usize = RATE as usize / 10;
/// Integrated loudness that FFmpeg reports for silence.
const SILENT_TENTHS: i32 = -700;

/// Result of the measurement. All values are integers, because stored recordings are compared for equality.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    pub at: UnixMs,
    /// Size of the M4A file in bytes.
    pub file_bytes: u64,
    /// Integrated loudness (ITU-R BS.1770, EBU R 128) in tenths of LUFS; `None`: silence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lufs_tenths: Option<i32>,
    /// Loudness range (EBU Tech 3342) in tenths of LU.
    #[serde(default)]
    pub range_tenths: i32,
    pub waveform: Waveform,
}

impl Analysis {
    /// Returns the integrated loudness in LUFS; `None`: silence.
    pub fn integrated_lufs(&self) -> Option<f64> {
        self.lufs_tenths.map(|tenths| f64::from(tenths) / 10.0)
    }

    /// Returns the loudness range in LU.
    pub fn range_lu(&self) -> f64 {
        f64::from(self.range_tenths) / 10.0
    }
}

/// Peaks of equal parts of a recording, from 0 (silence) to 255 (full scale).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Waveform(pub Vec<u8>);

/// Error for a stored waveform that is not base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a waveform must be base64")]
pub struct InvalidWaveform;

impl TryFrom<String> for Waveform {
    type Error = InvalidWaveform;

    fn try_from(text: String) -> Result<Self, InvalidWaveform> {
        STANDARD_NO_PAD.decode(text).map(Self).map_err(|_| InvalidWaveform)
    }
}

impl From<Waveform> for String {
    fn from(waveform: Waveform) -> Self {
        STANDARD_NO_PAD.encode(waveform.0)
    }
}

/// Collector of the peaks in a stream of samples. The length of the stream need not be known in advance.
#[derive(Debug, Default)]
pub struct PeakMeter {
    fine: Vec<u8>,
    /// Peak and number of the samples since the last value.
    current: (u16, usize),
}

impl PeakMeter {
    /// Adds samples.
    pub fn add(&mut self, samples: impl IntoIterator<Item = i16>) {
        for sample in samples {
            let (peak, count) = self.current;
            self.current = (peak.max(sample.unsigned_abs()), count + 1);
            if self.current.1 == FINE {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        let (peak, _) = std::mem::take(&mut self.current);
        self.fine.push(u8::try_from(peak >> 7).unwrap_or(u8::MAX));
    }

    /// Returns the waveform.
    pub fn finish(mut self) -> Waveform {
        if self.current.1 > 0 {
            self.close();
        }
        let parts = self.fine.len().min(MOST_VALUES);
        let at = |part: usize| part * self.fine.len() / parts;
        let peak = |part: usize| self.fine[at(part)..at(part + 1)].iter().copied().max().unwrap_or(0);
        Waveform((0..parts).map(peak).collect())
    }
}

/// Parses the summary of FFmpeg's filter `ebur128`. Returns the integrated loudness (`None`: silence) and the
/// loudness range, in tenths of LUFS and of LU. Returns `None` if `lines` contain no summary.
pub fn loudness<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<(Option<i32>, i32)> {
    let (mut integrated, mut range) = (None, 0);
    for line in lines {
        let value = |name: &str| {
            let number = line.trim().strip_prefix(name)?.split_whitespace().next()?;
            let number: f64 = number.parse().ok()?;
            number.is_finite().then_some((number * 10.0).round() as i32)
        };
        // A later summary replaces an earlier one.
        integrated = value("I:").or(integrated);
        range = value("LRA:").unwrap_or(range);
    }
    integrated.map(|tenths| (Some(tenths).filter(|tenths| *tenths > SILENT_TENTHS), range))
}

/// Returns true if mixer `me` has to measure this recording. The same mixer uploads it.
pub fn is_due(recording: &Recording, state: RecordingState, me: &ModuleId) -> bool {
    state == RecordingState::Ready
        && recording.deleted_at.is_none()
        // The M4A file, whose size is measured, contains the chapters.
        && !recording.unreported
        && recording.analysis.is_none()
        && is_last_mixer(recording, me)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waveform_has_peaks_in_order() {
        let mut meter = PeakMeter::default();
        meter.add(std::iter::repeat_n(0, FINE));
        meter.add(std::iter::repeat_n(-32_768, FINE));
        meter.add(std::iter::repeat_n(16_384, 10));
        let waveform = meter.finish();
        assert_eq!(waveform.0, [0, 255, 128]);
        let text = serde_json::to_string(&waveform).unwrap();
        assert_eq!(serde_json::from_str::<Waveform>(&text).unwrap(), waveform);
        assert_eq!(PeakMeter::default().finish(), Waveform::default());
        assert!(serde_json::from_str::<Waveform>("\"?\"").is_err());
    }

    #[test]
    fn loudness_is_read_from_summary() {
        let summary = |i: &str| {
            let text = format!(
                "Summary:\n  Integrated loudness:\n    I:  {i} LUFS\n    Threshold: -31.8 LUFS\n\n  Loudness \
                 range:\n    LRA:         4.3 LU\n    Threshold: -41.8 LUFS\n    LRA low:   -21.8 LUFS"
            );
            loudness(text.lines())
        };
        assert_eq!(summary("-21.8"), Some((Some(-218), 43)));
        assert_eq!(summary("-70.0"), Some((None, 43)), "silence");
        assert_eq!(summary("nan"), None);
        assert_eq!(loudness(["error"]), None);
    }

    proptest! {
        // Few cases: each one is up to five minutes of samples.
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 8))]
        #[test]
        fn waveform_keeps_every_peak(loud in 0usize..300, seconds in 1usize..300) {
            let mut meter = PeakMeter::default();
            let total = seconds * RATE as usize;
            let loud = loud.min(seconds - 1) * RATE as usize;
            meter.add((0..total).map(|at| if at == loud { i16::MAX } else { 0 }));
            let values = meter.finish().0;
            prop_assert!(values.len() <= MOST_VALUES && !values.is_empty());
            prop_assert_eq!(values.iter().filter(|value| **value == 255).count(), 1);
            let at = values.iter().position(|value| *value == 255).unwrap() as f64;
            let expected = (loud as f64 / total as f64) * values.len() as f64;
            prop_assert!((at - expected).abs() <= 1.0, "{at} {expected}");
        }
    }
}

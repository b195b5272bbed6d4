//! Levels in the mix of a room.
//!
//! AudioBridge adds the samples of a room's participants and stores the sum in 16 bits without saturation. A
//! sum beyond full scale therefore wraps into noise (Janus 1.1.2 and 1.4.1,
//! `janus_audiobridge_mixer_thread`). For this reason each participant enters the mix at a fixed share of
//! full scale, and receivers amplify the mix by the inverse of that share. The share depends only on the
//! room's `maxAnchors`, which never changes while the room exists. So the share needs no update when a
//! participant joins, unmutes or leaves. The sum of the shares in use does not exceed full scale, except in
//! the case described at `OTHERS`.

/// Largest `maxAnchors`.
pub const MOST_ANCHORS: u8 = 20;

/// Maximum number of participants, in addition to the anchors, for which the mix has a share. These are the
/// plain-RTP tone of `stentor demo`, and earlier sessions of anchors that Janus has not ended yet. If
/// `maxAnchors` is lower than this number, the mix has shares for `maxAnchors` others. A session whose client
/// has disappeared sends no audio, so only a client with two open peer connections is in the mix twice. More
/// than five such clients at full scale would distort the mix.
const OTHERS: u32 = 5;

/// Share of full scale that each participant of a room may fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixShare {
    percent: u32,
}

impl MixShare {
    pub fn of(max_anchors: u8) -> Self {
        let anchors = u32::from(max_anchors.max(1));
        // AudioBridge accepts only whole percentages.
        Self { percent: (100 / (anchors + anchors.min(OTHERS))).max(1) }
    }

    /// Returns AudioBridge's `volume` of each participant, in percent.
    pub fn volume(self) -> u32 {
        self.percent
    }

    /// Returns the number of participants whose sum fits into full scale.
    pub fn participants(self) -> usize {
        (100 / self.percent) as usize
    }

    /// Returns the gain that restores one participant's own level, in dB.
    pub fn makeup_db(self) -> f64 {
        20.0 * (100.0 / f64::from(self.percent)).log10()
    }
}

/// Peak from which an amplified mix counts as clipped: a sender clipped its audio, or several voices together
/// exceed full scale and are limited.
const CLIPPED_DB: f64 = -0.1;
/// Peak below which a mix is silent.
const SILENT_DB: f64 = -60.0;

/// Class of one second of a room's mix, by its peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeakClass {
    Silent,
    Sound,
    Clipped,
}

impl PeakClass {
    /// Classifies a peak. `peak_db`: relative to full scale, at the level of one participant; minus infinity
    /// in digital silence.
    pub fn of(peak_db: f64) -> Self {
        match peak_db {
            peak if peak >= CLIPPED_DB => Self::Clipped,
            peak if peak >= SILENT_DB => Self::Sound,
            _ => Self::Silent,
        }
    }

    /// Returns the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Sound => "sound",
            Self::Clipped => "clipped",
        }
    }
}

/// Number of silent seconds in a row from which a mix is reported as silent.
const LASTING: u32 = 3;
/// Minimum number of seconds between two reports of silence. Each report is a write to the store, and pauses
/// in a conversation are frequent.
const BETWEEN_REPORTS: u32 = 60;

/// Finds the changes between sound and lasting silence in the mix of one FFmpeg.
#[derive(Debug, Default)]
pub struct SilenceMeter {
    seconds: u32,
    reported: Option<bool>,
    /// Number of seconds since the last report of silence.
    since_report: Option<u32>,
}

impl SilenceMeter {
    /// Adds one second. Returns true if silence has lasted for three seconds since the last sound, but not
    /// within a minute after it last returned true. Returns false for the first sound of the process, and for
    /// the first sound after a reported silence. Otherwise returns `None`.
    pub fn second(&mut self, class: PeakClass) -> Option<bool> {
        self.seconds = if class == PeakClass::Silent { self.seconds.saturating_add(1) } else { 0 };
        self.since_report = self.since_report.map(|since| since.saturating_add(1));
        let permitted = self.since_report.is_none_or(|since| since >= BETWEEN_REPORTS);
        let now = match self.seconds {
            0 => false,
            LASTING.. if permitted || self.reported == Some(true) => true,
            _ => return None,
        };
        let report = (self.reported.replace(now) != Some(now)).then_some(now);
        if report == Some(true) {
            self.since_report = Some(0);
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scales a sample as AudioBridge does: `sample * volume / 100` in C integers.
    fn scaled(sample: i16, share: MixShare) -> i32 {
        i32::from(sample) * share.volume() as i32 / 100
    }

    #[test]
    fn full_scale_participants_fit_16_bits() {
        for max_anchors in 0..=u8::MAX {
            let share = MixShare::of(max_anchors);
            for sample in [i16::MIN, i16::MAX] {
                let sum = scaled(sample, share) * share.participants() as i32;
                assert!(i16::try_from(sum).is_ok(), "{max_anchors} anchors at {sample} make {sum}");
            }
        }
    }

    #[test]
    fn loud_classifies_peaks() {
        let classes = [f64::NEG_INFINITY, -61.0, -59.0, -0.2, 0.0, 12.0].map(PeakClass::of);
        use PeakClass::{Clipped, Silent, Sound};
        assert_eq!(classes, [Silent, Silent, Sound, Sound, Clipped, Clipped]);
    }

    #[test]
    fn lasting_silence_is_reported_once() {
        use PeakClass::{Clipped, Silent, Sound};
        let reports = |seconds: &[PeakClass]| -> Vec<_> {
            let mut meter = SilenceMeter::default();
            seconds.iter().map(|second| meter.second(*second)).collect()
        };
        assert_eq!(reports(&[Silent, Silent, Silent, Silent]), [None, None, Some(true), None]);
        assert_eq!(reports(&[Sound, Clipped, Silent, Silent, Sound]), [Some(false), None, None, None, None]);
        assert_eq!(reports(&[Silent, Silent, Silent, Sound, Sound])[2..], [Some(true), Some(false), None]);
    }

    #[test]
    fn frequent_pauses_are_reported_rarely() {
        let mut meter = SilenceMeter::default();
        // Four seconds of silence after each second of sound, for five minutes.
        let seconds = (0..300).map(|n| if n % 5 == 0 { PeakClass::Sound } else { PeakClass::Silent });
        let reports: Vec<_> = seconds.filter_map(|second| meter.second(second)).collect();
        assert_eq!(reports.iter().filter(|silent| **silent).count(), 5, "{reports:?}");
        assert!(reports.iter().enumerate().all(|(n, silent)| *silent == (n % 2 == 1)), "{reports:?}");
        let late = (0..70).filter_map(|_| meter.second(PeakClass::Silent)).collect::<Vec<_>>();
        assert_eq!(late, [true], "a lasting silence is reported, even if late");
    }

    #[test]
    fn mix_has_room_for_others() {
        for max_anchors in 1..=MOST_ANCHORS {
            let anchors = usize::from(max_anchors);
            assert!(MixShare::of(max_anchors).participants() >= anchors + anchors.min(5), "{anchors}");
        }
        let volumes = [1, 2, 3, 4, 5, 6, 10, 20].map(|anchors| MixShare::of(anchors).volume());
        assert_eq!(volumes, [50, 25, 16, 12, 10, 9, 6, 4]);
    }

    /// AudioBridge stores the scaled samples as integers. The gain that restores the level also amplifies the
    /// rounding, most in the largest room.
    #[test]
    fn rounding_noise_stays_below_speech() {
        let speech = |n: u32| 3_277.0 * (f64::from(n) * 0.0173).sin() * (f64::from(n) * 0.000_21).sin();
        let noise_db = |max_anchors| {
            let share = MixShare::of(max_anchors);
            let gain = 10f64.powf(share.makeup_db() / 20.0);
            let errors = (0..480_000).map(|n| {
                let sample = speech(n) as i16;
                (f64::from(scaled(sample, share)) * gain - f64::from(sample)).powi(2)
            });
            10.0 * (errors.sum::<f64>() / 480_000.0 / 32_768f64.powi(2)).log10()
        };
        assert!(noise_db(5) < -74.0, "{}", noise_db(5));
        assert!(noise_db(MOST_ANCHORS) < -66.0, "{}", noise_db(MOST_ANCHORS));
    }

    #[test]
    fn makeup_restores_one_participant() {
        for max_anchors in 1..=MOST_ANCHORS {
            let share = MixShare::of(max_anchors);
            let heard = f64::from(scaled(20_000, share)) * 10f64.powf(share.makeup_db() / 20.0);
            assert!((heard - 20_000.0).abs() < 26.0, "{max_anchors} anchors: {heard}");
        }
    }
}

//! Levels in the mix of a room.
//!
//! AudioBridge adds the samples of a room's participants and stores the sum in 16 bits without saturation. A
//! sum beyond full scale therefore wraps into noise (Janus 1.1.2 and 1.4.1,
//! `janus_audiobridge_mixer_thread`). For this reason each participant enters the mix at a fixed share of
//! full scale, and receivers amplify the mix by the inverse. The share depends only on the room's
//! `maxAnchors`, which never changes while the room exists. It needs no update when a participant joins,
//! unmutes or leaves, so the sum of the shares in use can never exceed full scale.

/// Part of full scale that the anchors of a room fill together, in percent.
///
/// The other half is for participants other than anchors: the plain-RTP tone of `stentor demo`, and earlier
/// sessions of anchors that Janus has not ended yet.
const ANCHORS_PERCENT: u32 = 50;

/// Share of full scale that each participant of a room may fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixShare {
    percent: u32,
}

impl MixShare {
    pub fn of(max_anchors: u8) -> Self {
        // AudioBridge accepts only whole percentages.
        Self { percent: (ANCHORS_PERCENT / u32::from(max_anchors.max(1))).max(1) }
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
    fn participants_are_twice_the_anchors() {
        for max_anchors in 1..=5 {
            assert!(MixShare::of(max_anchors).participants() >= 2 * usize::from(max_anchors));
        }
    }

    #[test]
    fn makeup_restores_one_participant() {
        for max_anchors in 1..=5 {
            let share = MixShare::of(max_anchors);
            let heard = f64::from(scaled(20_000, share)) * 10f64.powf(share.makeup_db() / 20.0);
            assert!((heard - 20_000.0).abs() < 13.0, "{max_anchors} anchors: {heard}");
        }
    }
}

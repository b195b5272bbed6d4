//! Which tone is in a piece of audio: Goertzel's algorithm, a single bin of a Fourier transform.
//!
//! Pure. Used by listeners of ours that must know *whose* sound arrived, not only that some did.

use std::f64::consts::TAU;

/// Share of the signal's energy at `freq` Hz: 1 for a pure tone, about 0 for another tone, noise or silence.
/// `rate` is in samples per second. A second of audio tells tones 2 Hz apart, a tenth 20 Hz.
pub fn tone_level(pcm: &[f32], rate: u32, freq: f32) -> f32 {
    let energy: f64 = pcm.iter().map(|s| f64::from(*s).powi(2)).sum();
    if energy <= f64::EPSILON {
        return 0.0;
    }
    let step = TAU * f64::from(freq) / f64::from(rate);
    let coefficient = 2.0 * step.cos();
    let (mut last, mut before) = (0.0f64, 0.0f64);
    for sample in pcm {
        (last, before) = (f64::from(*sample) + coefficient * last - before, last);
    }
    let power = last * last + before * before - coefficient * last * before;
    // A pure tone of amplitude A has power (A n / 2)² and energy A² n / 2.
    (power * 2.0 / (pcm.len() as f64 * energy)).min(1.0) as f32
}

/// The strongest of these frequencies and its level; `None` when there are none.
pub fn strongest(pcm: &[f32], rate: u32, candidates: &[f32]) -> Option<(f32, f32)> {
    candidates.iter().map(|f| (*f, tone_level(pcm, rate, *f))).max_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(freq: f64, amplitude: f64) -> Vec<f32> {
        (0..48_000).map(|n| (amplitude * (TAU * freq * f64::from(n) / 48_000.0).sin()) as f32).collect()
    }

    #[test]
    fn a_tone_is_told_from_its_neighbours_at_any_loudness() {
        for amplitude in [0.01, 1.0] {
            let pcm = sine(440.0, amplitude);
            assert!(tone_level(&pcm, 48_000, 440.0) > 0.99);
            assert!(tone_level(&pcm, 48_000, 444.0) < 0.01);
        }
        assert_eq!(strongest(&sine(880.0, 0.1), 48_000, &[440.0, 880.0, 1000.0]).map(|s| s.0), Some(880.0));
    }

    #[test]
    fn two_tones_share_and_silence_has_none() {
        let both: Vec<f32> = sine(440.0, 0.5).iter().zip(sine(1000.0, 0.5)).map(|(a, b)| a + b).collect();
        assert!((tone_level(&both, 48_000, 440.0) - 0.5).abs() < 0.01);
        assert_eq!(tone_level(&[0.0; 4800], 48_000, 440.0), 0.0);
        assert_eq!(tone_level(&[], 48_000, 440.0), 0.0);
    }
}

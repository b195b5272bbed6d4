//! Frequencies in a block of samples: a fast Fourier transform (radix 2, in place).
//!
//! A listener analyses audio while it listens. Testing one frequency at a time took longer than the audio
//! itself in a debug build on a busy machine. Owns: the arithmetic. Does not decide what counts as heard.

use std::f64::consts::{PI, TAU};
use std::ops::RangeInclusive;

/// Number of points of the transform. A shorter block is padded with silence.
pub const POINTS: usize = 4096;

/// Returns the loudest frequency in `range` over all blocks together, to within one bin (`rate / 4096`);
/// `None` if no bin is in `range`. Each block is truncated to 4096 samples.
pub fn strongest<'a>(
    blocks: impl Iterator<Item = &'a [f32]>,
    rate: f64,
    range: RangeInclusive<f64>,
) -> Option<f64> {
    let mut loudness = vec![0.0; POINTS / 2];
    for block in blocks {
        let spectrum = transform(block);
        loudness.iter_mut().zip(&spectrum).for_each(|(sum, (re, im))| *sum += re.hypot(*im));
    }
    let hz = |bin: usize| bin as f64 * rate / POINTS as f64;
    let audible = loudness.iter().enumerate().map(|(bin, sum)| (hz(bin), sum));
    audible.filter(|(hz, _)| range.contains(hz)).max_by(|a, b| a.1.total_cmp(b.1)).map(|(hz, _)| hz)
}

/// Returns the energy of a block outside these bands relative to the energy inside them, in dB.
pub fn beside(block: &[f32], rate: f64, bands: &[RangeInclusive<f64>]) -> f64 {
    let (mut inside, mut outside) = (f64::MIN_POSITIVE, 0.0);
    for (bin, (re, im)) in transform(block).into_iter().enumerate().take(POINTS / 2) {
        let hz = bin as f64 * rate / POINTS as f64;
        let energy = re * re + im * im;
        match bands.iter().any(|band| band.contains(&hz)) {
            true => inside += energy,
            false => outside += energy,
        }
    }
    10.0 * (outside / inside).log10()
}

/// Transforms the block under a Hann window, which limits leakage from a strong neighbour.
fn transform(block: &[f32]) -> Vec<(f64, f64)> {
    let mut points = vec![(0.0, 0.0); POINTS];
    let length = block.len().min(POINTS);
    for (n, sample) in block.iter().take(POINTS).enumerate() {
        let hann = 0.5 - 0.5 * (TAU * n as f64 / length as f64).cos();
        points[reversed(n)].0 = f64::from(*sample) * hann;
    }
    let mut size = 2;
    while size <= POINTS {
        points.chunks_exact_mut(size).for_each(butterflies);
        size *= 2;
    }
    points
}

/// Combines the spectra of the even and the odd samples, which are stored one after the other.
fn butterflies(points: &mut [(f64, f64)]) {
    let half = points.len() / 2;
    let (even, odd) = points.split_at_mut(half);
    let (turn_im, turn_re) = (-PI / half as f64).sin_cos();
    let (mut re, mut im) = (1.0f64, 0.0f64);
    for (a, b) in even.iter_mut().zip(odd) {
        let turned = (b.0 * re - b.1 * im, b.0 * im + b.1 * re);
        *b = (a.0 - turned.0, a.1 - turned.1);
        *a = (a.0 + turned.0, a.1 + turned.1);
        (re, im) = (re * turn_re - im * turn_im, re * turn_im + im * turn_re);
    }
}

/// Returns the position of sample `n` before the first butterflies: the index with the bits of `n` reversed.
fn reversed(n: usize) -> usize {
    n.reverse_bits() >> (usize::BITS - POINTS.ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spectrum_equals_fourier_sum() {
        let block: Vec<f32> = (0..POINTS).map(|n| ((n * n) % 97) as f32 / 97.0).collect();
        let fast = transform(&block);
        for bin in [0, 1, 37, 2_000] {
            let sum = block.iter().enumerate().fold((0.0, 0.0), |(re, im), (n, sample)| {
                let hann = 0.5 - 0.5 * (TAU * n as f64 / POINTS as f64).cos();
                let (sin, cos) = (TAU * (bin * n) as f64 / POINTS as f64).sin_cos();
                (re + f64::from(*sample) * hann * cos, im - f64::from(*sample) * hann * sin)
            });
            assert!((fast[bin].0 - sum.0).abs() < 1e-6 && (fast[bin].1 - sum.1).abs() < 1e-6, "bin {bin}");
        }
    }

    #[test]
    fn beside_measures_energy_outside_ranges() {
        let tone = |hz: f64, n: usize| (TAU * hz * n as f64 / 48_000.0).sin();
        let block: Vec<f32> =
            (0..POINTS).map(|n| (0.5 * tone(440.0, n) + 0.05 * tone(5_000.0, n)) as f32).collect();
        let one = beside(&block, 48_000.0, &[340.0..=540.0]);
        let both = beside(&block, 48_000.0, &[340.0..=540.0, 4_900.0..=5_100.0]);
        assert!((one + 20.0).abs() < 0.1 && both < -60.0, "{one} {both}");
    }

    #[test]
    fn strongest_searches_within_range() {
        let tone = |hz: f64, n: usize| (TAU * hz * n as f64 / 48_000.0).sin();
        let block: Vec<f32> =
            (0..2_400).map(|n| (0.2 * tone(440.0, n) + 0.1 * tone(5_000.0, n)) as f32).collect();
        let low = strongest([&block[..]].into_iter(), 48_000.0, 20.0..=20_000.0).unwrap();
        let high = strongest([&block[..]].into_iter(), 48_000.0, 1_000.0..=20_000.0).unwrap();
        assert!((low - 440.0).abs() < 12.0 && (high - 5_000.0).abs() < 12.0, "{low} {high}");
        assert_eq!(strongest([&block[..]].into_iter(), 48_000.0, 30_000.0..=40_000.0), None);
    }
}

//! Sync of a track with the mix. The model of Janus's queue cannot know when the mixer of AudioBridge
//! stalled. So the finished track is compared with the mix. It gets or loses whole packets where they differ.
//!
//! ```text
//! samples -> levels of eight bands (BandLevels) -> likeness at each lag, per window
//!         -> most likely lag of each window (Viterbi) -> only lags with enough likeness
//!         -> shifts at the quietest packets near each change
//! ```
//! The mix also has the other anchors, at another gain, and was encoded twice. So the changes of the levels
//! are compared, per band, and not the samples. Owns: the plan. Neither decodes nor writes the track.

use std::f32::consts::TAU;
use std::ops::Range;

/// Samples per second of the compared sound.
pub const RATE: u32 = 8_000;
/// Samples from one level to the next: 5 ms.
const STEP: usize = 40;
/// Samples of which a level is measured: 10 ms.
const SPAN: usize = 80;
const BANDS: usize = 8;
/// Frequencies per band, 100 Hz apart.
const BINS: usize = 5;
/// Cosines and sines of all bands.
const WAVES: usize = 2 * BINS * BANDS;
/// Levels in 20 ms, the duration of a packet.
const PER_PACKET: usize = 4;
/// Largest lag of the mix in either direction, in levels: 200 ms. The queue of AudioBridge has at most
/// 240 ms, and its usual length is half of this.
const MOST: usize = 40;
const LAGS: usize = 2 * MOST + 1;
/// Levels of a window: a second.
const WINDOW: usize = 200;
/// Levels from one window to the next.
const HOP: usize = 100;
/// Energy of the changes below which a window has no sound that could be compared.
const LEAST: f32 = 4_000.0;
/// Share of the loud windows' energy below which a window is ignored: 14 dB. It may contain the other
/// anchors, from the loudspeaker of this one, so its lag would be that of their echo.
const FAINT: f32 = 0.2;
/// Percentage of the windows with sound that are not as loud as the loud ones. An anchor who mostly listens
/// has few loud windows.
const LOUD: usize = 98;
/// Likeness that another lag must gain in all, to be chosen for a time. The sound of a second has a likeness
/// of at most 1.
const CHANGE: f32 = 0.6;
/// Mean likeness from which a lag is trusted. Unrelated sounds, or a lag of more than [`MOST`], have 0.05 to
/// 0.25; a track in sync has 0.4 to 1, also while another anchor is as loud.
const TRUSTED: f32 = 0.33;
/// Least number of windows with sound that a trusted lag has in a row: 2.5 s. In unrelated sound, one or two
/// syllables may be alike.
const ENOUGH: usize = 4;
/// Largest lag, in levels, for which the track stays as it is: half a packet.
const IN_SYNC: usize = PER_PACKET / 2;

type Levels = [u8; BANDS];

/// Levels of a sound in eight bands up to 4 kHz, every 5 ms: 5.8 MB per hour.
#[derive(Debug, Default)]
pub struct BandLevels {
    /// For each sample of a span, the windowed cosine and sine of each frequency; empty at first.
    filters: Vec<[f32; WAVES]>,
    /// Samples that are not measured yet.
    kept: Vec<f32>,
    levels: Vec<Levels>,
}

/// From this packet of a track on, its sound is this number of packets later than in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    /// Number of the packet in the shifted track.
    pub at: u64,
    /// Negative if the sound is earlier.
    pub packets: i64,
}

/// Comparison of a part of the track with the mix.
#[derive(Debug, Clone, PartialEq)]
struct Window {
    /// Energy of the strongest change; 0 if the window cannot be compared.
    strongest: f32,
    /// Likeness at each lag, from -1 to 1. The first lag is -[`MOST`].
    likeness: [f32; LAGS],
}

impl BandLevels {
    /// Adds samples of [`RATE`].
    pub fn add(&mut self, samples: impl IntoIterator<Item = i16>) {
        if self.filters.is_empty() {
            self.filters = (0..SPAN).map(waves_at).collect();
        }
        self.kept.extend(samples.into_iter().map(f32::from));
        let mut at = 0;
        while let Some(span) = self.kept.get(at..at + SPAN) {
            self.levels.push(levels(&self.filters, span));
            at += STEP;
        }
        self.kept.drain(..at);
    }

    /// Returns the change of each band around a time; none outside of the sound.
    fn change(&self, at: Option<usize>) -> [f32; BANDS] {
        let around = at.and_then(|at| Some((self.levels.get(at.checked_sub(1)?)?, self.levels.get(at + 1)?)));
        around.map_or([0.0; BANDS], |(before, after)| {
            std::array::from_fn(|band| f32::from(after[band]) - f32::from(before[band]))
        })
    }

    fn loudness(&self, packet: usize) -> u32 {
        let levels = self.levels.iter().skip(packet * PER_PACKET).take(PER_PACKET);
        levels.flatten().map(|level| u32::from(*level)).sum()
    }
}

/// Returns the windowed cosine and sine of each multiple of 100 Hz, at this sample of a span.
fn waves_at(sample: usize) -> [f32; WAVES] {
    let part = sample as f32 / SPAN as f32;
    let window = 0.5 - 0.5 * (TAU * (part + 0.5 / SPAN as f32)).cos();
    std::array::from_fn(|wave| {
        let (sin, cos) = (TAU * (wave / 2 + 1) as f32 * part).sin_cos();
        window * if wave % 2 == 0 { cos } else { sin }
    })
}

/// Returns the levels of the bands. They grow with the square root of the amplitude, so that quiet sound
/// counts, too; the loudest sine has level 202.
fn levels(filters: &[[f32; WAVES]], samples: &[f32]) -> Levels {
    let mut products = [0.0; WAVES];
    for (waves, sample) in filters.iter().zip(samples) {
        products.iter_mut().zip(waves).for_each(|(product, wave)| *product += wave * sample);
    }
    let mut levels = [0; BANDS];
    for (level, band) in levels.iter_mut().zip(products.chunks(2 * BINS)) {
        let power: f32 = band.iter().map(|product| product * product).sum();
        // The cast saturates.
        *level = (power.sqrt().sqrt() / 4.0).round() as u8;
    }
    levels
}

/// Plans the shifts of a track. They are in order, and none are needed if the track is in sync everywhere.
/// Returns `None` if the sound of the track was not found in the mix: then the lag is unknown.
pub fn shifts(track: &BandLevels, mix: &BandLevels) -> Option<Vec<Shift>> {
    // A window that reaches past an end would compare too little sound.
    let end = track.levels.len().min(mix.levels.len().saturating_sub(MOST));
    let starts = (0..(end + 1).saturating_sub(WINDOW)).step_by(HOP);
    let windows: Vec<_> = starts.map(|from| compare(track, mix, from)).collect();
    let lags = lags(&windows)?;
    Some(planned(&lags, |lags, near| place(track, mix, lags, near)))
}

/// Compares the window of the track that begins at `from`.
fn compare(track: &BandLevels, mix: &BandLevels, from: usize) -> Window {
    let own: Vec<_> = (from..from + WINDOW).map(|at| track.change(Some(at))).collect();
    let of_track = products(&own, &own);
    let mut likeness = [0.0; LAGS];
    if of_track.iter().sum::<f32>() < LEAST {
        return Window { strongest: 0.0, likeness };
    }
    let around = from..from + WINDOW + 2 * MOST;
    let mixed: Vec<_> = around.map(|at| mix.change(at.checked_sub(MOST))).collect();
    for (like, mixed) in likeness.iter_mut().zip(mixed.windows(WINDOW)) {
        let both: f32 = products(&own, mixed).iter().sum();
        // Bands in which the track has no sound do not count, whatever the other anchors do there.
        let most: f32 = of_track.iter().zip(products(mixed, mixed)).map(|(a, b)| (a * b).sqrt()).sum();
        *like = if most > 0.0 { both / most } else { 0.0 };
    }
    let energies = own.iter().map(|change| change.iter().map(|level| level * level).sum());
    Window { strongest: energies.fold(0.0, f32::max), likeness }
}

/// Returns the sum of the products of two sounds' changes, for each band.
fn products(one: &[[f32; BANDS]], other: &[[f32; BANDS]]) -> [f32; BANDS] {
    let mut sums = [0.0; BANDS];
    for (one, other) in one.iter().zip(other) {
        sums.iter_mut().zip(one.iter().zip(other)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums
}

/// Returns the most likely lag of the mix in each window, in levels; `None` if no lag is trusted.
fn lags(windows: &[Window]) -> Option<Vec<i64>> {
    let mut strongest: Vec<_> = windows.iter().map(|window| window.strongest).filter(|e| *e > 0.0).collect();
    strongest.sort_by(f32::total_cmp);
    let loud = strongest.get(strongest.len() * LOUD / 100)? * FAINT;
    let mut scores: [f32; LAGS] =
        std::array::from_fn(|lag| if lag.abs_diff(MOST) <= IN_SYNC { 0.0 } else { -CHANGE });
    // For each window and lag: true if the lag continues from the window before.
    let mut stays: Vec<[bool; LAGS]> = Vec::with_capacity(windows.len());
    let mut best_before = Vec::with_capacity(windows.len());
    for window in windows {
        let weight = if window.strongest < loud { 0.0 } else { 1.0 };
        let best = best(&scores);
        let least = scores[best] - CHANGE;
        stays.push(std::array::from_fn(|lag| scores[lag] >= least));
        best_before.push(best);
        for (score, like) in scores.iter_mut().zip(&window.likeness) {
            *score = score.max(least) + weight * like;
        }
    }
    let mut lag = best(&scores);
    let mut lags = Vec::with_capacity(windows.len());
    for (stays, best) in stays.iter().zip(&best_before).rev() {
        lags.push(lag);
        if !stays[lag] {
            lag = *best;
        }
    }
    lags.reverse();
    trusted(windows, &lags, loud)
}

/// Returns the lags in levels. A lag that is not trusted is replaced by the trusted one before it, or by the
/// first one. `loud`: energy from which a window counts.
fn trusted(windows: &[Window], lags: &[usize], loud: f32) -> Option<Vec<i64>> {
    let mut windows = windows.iter();
    let (mut first, mut last) = (None, None);
    let mut trusted = Vec::with_capacity(lags.len());
    for same in lags.chunk_by(|a, b| a == b) {
        let counted = windows.by_ref().take(same.len()).filter(|window| window.strongest >= loud);
        let likeness: Vec<_> = counted.map(|window| window.likeness[same[0]]).collect();
        if likeness.len() >= ENOUGH && likeness.iter().sum::<f32>() >= likeness.len() as f32 * TRUSTED {
            last = Some(same[0] as i64 - MOST as i64);
            first = first.or(last);
        }
        trusted.extend(same.iter().map(|_| last));
    }
    let first = first?;
    Some(trusted.into_iter().map(|lag| lag.unwrap_or(first)).collect())
}

/// Returns the lag with the highest score. If several have it, returns the smallest one.
fn best(scores: &[f32; LAGS]) -> usize {
    let by_score = |a: &usize, b: &usize| {
        scores[*a].total_cmp(&scores[*b]).then(b.abs_diff(MOST).cmp(&a.abs_diff(MOST)))
    };
    (0..LAGS).max_by(by_score).unwrap_or(MOST)
}

/// Returns the shifts that follow these lags. `place`: chooses the packet of the track at which a change is
/// made, from a window, the lags before and after, and the packets to choose from.
fn planned(lags: &[i64], place: impl Fn([i64; 2], Range<usize>) -> usize) -> Vec<Shift> {
    let mut shifts = Vec::new();
    let (mut now, mut done) = (0, 0);
    for (window, lag) in lags.iter().enumerate() {
        // At half a packet, the smaller shift is as good.
        let wanted = lag.signum() * ((lag.abs() + 1) / PER_PACKET as i64);
        if wanted == now {
            continue;
        }
        let first = match window {
            0 => 0,
            _ => {
                let near = (window - 1) * HOP / PER_PACKET..(window + 2) * HOP / PER_PACKET;
                place([lags[window - 1], *lag], near.start.max(done)..near.end.max(done + 1))
            }
        };
        shifts.push(Shift { at: (first as u64).saturating_add_signed(now), packets: wanted });
        done = first + usize::try_from(now - wanted).unwrap_or(0).max(1);
        now = wanted;
    }
    shifts
}

/// Returns the packet at which the lag of the mix changes: of the most likely ones, the quietest.
fn place(track: &BandLevels, mix: &BandLevels, lags: [i64; 2], near: Range<usize>) -> usize {
    let gain = |packet: &usize| -> f32 {
        let levels = packet * PER_PACKET..(packet + 1) * PER_PACKET;
        let [before, after] = lags.map(|lag| -> f32 {
            let mixed = |at: usize| mix.change(at.checked_add_signed(lag as isize));
            let product = |at| track.change(Some(at)).iter().zip(mixed(at)).map(|(a, b)| a * b).sum::<f32>();
            levels.clone().map(product).sum()
        });
        before - after
    };
    // Sum of what the earlier lag gains up to each packet.
    let sums: Vec<_> = near
        .clone()
        .map(|packet| gain(&packet))
        .scan(0.0, |sum, gain| {
            let before = *sum;
            *sum += gain;
            Some(before)
        })
        .collect();
    let (least, most) =
        sums.iter().fold((0.0f32, 0.0f32), |(least, most), sum| (least.min(*sum), most.max(*sum)));
    let enough = most - 0.05 * (most - least);
    let likely = near.clone().zip(&sums).filter(|(_, sum)| **sum >= enough).map(|(packet, _)| packet);
    likely.min_by_key(|packet| track.loudness(*packet)).unwrap_or(near.start)
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;

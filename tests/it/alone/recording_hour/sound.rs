//! Levels of the sent tones in the heard and the recorded sound, in steps of 10 ms on the clock of the
//! senders.

use std::io::{BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Different tones of an anchor. They follow each other, and then repeat.
pub const TONES: usize = 8;
/// Seconds from one pause of a tone to the next. A pause lasts 0.1 s.
pub const PAUSE_EVERY: u64 = 2;
pub const ANCHORS: usize = 2;
/// Samples per second to which all sound is decoded: enough for the tones.
const RATE: usize = 8_000;
/// Steps per second.
pub const STEPS: usize = 100;
const STEP: usize = RATE / STEPS;
/// Usual delay in seconds from the anchor to a position in the recording.
const LATENCY: f64 = 0.3;
/// Maximum deviation from [`LATENCY`], in seconds.
const LATENCY_DIFFERS: f64 = 0.5;
/// Share of the usual level below which a step is silent.
const SILENT: f32 = 0.4;
/// Minimum number of steps in a gap; a pause has fewer.
const GAP: usize = 16;
/// Number of steps in a pause, after the codecs have blurred it.
const PAUSE: std::ops::RangeInclusive<usize> = 7..=14;
/// Number of steps with sound that a pause must have on each side to count as a mark of time.
const AROUND: usize = 20;

/// The clock of the senders, and the duration of each tone.
#[derive(Debug, Clone, Copy)]
pub struct SentTones {
    pub since: Instant,
    /// The same moment, in seconds since the Unix epoch.
    pub epoch: f64,
    /// Seconds that each tone lasts.
    pub slot: u64,
}

/// Levels by step since the start of the clock. Steps without data have level 0.
#[derive(Debug, Clone)]
pub struct SoundLevels {
    pub levels: [Vec<f32>; ANCHORS],
    /// Level of all other sound.
    pub other: Vec<f32>,
}

impl SentTones {
    /// Returns the frequency of an anchor in a slot. All are multiples of 100 Hz, so the tones do not disturb
    /// each other in steps of 10 ms.
    pub fn hz(self, anchor: usize, slot: i64) -> usize {
        let tone = slot.rem_euclid(TONES as i64) as usize;
        [600, 2_000][anchor] + tone * 100
    }

    /// Returns the slots whose tone may be in a step.
    fn slots(self, step: usize) -> std::ops::RangeInclusive<i64> {
        let sent = step as f64 / STEPS as f64 - LATENCY;
        let slot = |seconds: f64| (seconds / self.slot as f64).floor() as i64;
        slot(sent - LATENCY_DIFFERS)..=slot(sent + LATENCY_DIFFERS)
    }
}

impl SoundLevels {
    /// Creates levels for this many seconds.
    pub fn new(seconds: f64) -> Self {
        let steps = (seconds * STEPS as f64) as usize;
        Self { levels: [vec![0.0; steps], vec![0.0; steps]], other: vec![0.0; steps] }
    }

    /// Decodes a file or URL with FFmpeg and this decoder, and adds the levels of the sound. `start`: time of
    /// the first sample in seconds since the Unix epoch. Returns the duration of the sound in seconds.
    pub fn add(&mut self, decoder: &str, input: &str, start: f64, sent: SentTones) -> f64 {
        let mut child = Command::new("ffmpeg")
            .args(["-nostdin", "-loglevel", "error", "-c:a", decoder, "-i", input])
            .args(["-f", "f32le", "-ac", "1", "-ar", &RATE.to_string(), "-"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let first = ((start - sent.epoch) * STEPS as f64).round() as i64;
        let (mut bytes, mut steps) = ([0; 4 * STEP], 0);
        while output.read_exact(&mut bytes).is_ok() {
            let step = usize::try_from(first + steps).ok().filter(|step| *step < self.other.len());
            if let Some(step) = step {
                let pcm = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
                self.step(step, &pcm.collect::<Vec<_>>(), sent);
            }
            steps += 1;
        }
        assert!(child.wait().unwrap().success());
        steps as f64 / STEPS as f64
    }

    fn step(&mut self, step: usize, pcm: &[f32], sent: SentTones) {
        let mut other = pcm.iter().map(|sample| sample * sample).sum::<f32>() / STEP as f32;
        for (anchor, levels) in self.levels.iter_mut().enumerate() {
            let of = |slot| amplitude(pcm, sent.hz(anchor, slot));
            let level = sent.slots(step).map(of).fold(0.0, f32::max);
            levels[step] = level;
            other -= level * level / 2.0;
        }
        self.other[step] = other.max(0.0).sqrt();
    }

    /// Merges other levels: keeps the higher level in each step.
    pub fn join(&mut self, more: &Self) {
        let pairs = self.levels.iter_mut().zip(&more.levels);
        pairs.for_each(|(one, two)| one.iter_mut().zip(two).for_each(|(one, two)| *one = one.max(*two)));
        self.other.iter_mut().zip(&more.other).for_each(|(one, two)| *one = one.max(*two));
    }

    /// Returns the usual level of an anchor.
    pub fn usual(&self, anchor: usize) -> f32 {
        let mut levels: Vec<_> = self.levels[anchor].iter().copied().filter(|level| *level > 0.01).collect();
        levels.sort_by(f32::total_cmp);
        levels.get(levels.len() / 2).copied().unwrap_or(1.0)
    }

    fn silences(&self, anchor: usize) -> Vec<std::ops::Range<usize>> {
        let least = self.usual(anchor) * SILENT;
        runs(&self.levels[anchor], |level| level < least)
    }

    /// Returns the gaps in the sound of an anchor, in steps.
    pub fn gaps(&self, anchor: usize) -> Vec<std::ops::Range<usize>> {
        self.silences(anchor).into_iter().filter(|run| run.len() >= GAP).collect()
    }

    /// Returns the times, in steps, with sound that no anchor sent at that time.
    pub fn strange(&self) -> Vec<std::ops::Range<usize>> {
        let most = self.usual(0).min(self.usual(1)) * SILENT;
        runs(&self.other, |level| level > most).into_iter().filter(|run| run.len() >= 10).collect()
    }

    /// Returns the middle of each pause that an anchor sent, in seconds.
    pub fn pauses(&self, anchor: usize) -> Vec<f64> {
        let (levels, least) = (&self.levels[anchor], self.usual(anchor) * SILENT);
        let pauses = self.silences(anchor).into_iter().filter(|run| PAUSE.contains(&run.len()));
        pauses
            .filter_map(|run| {
                let before = levels.get(run.start.checked_sub(AROUND)?..run.start)?;
                let after = levels.get(run.end..run.end + AROUND)?;
                let around = || before.iter().chain(after);
                let whole = around().filter(|level| **level < least).count() <= 1;
                let usual = around().sum::<f32>() / (2 * AROUND) as f32;
                let (mut weights, mut sum) = (0.0, 0.0);
                let blurred = run.start - 3..run.end + 3;
                for (step, level) in blurred.clone().zip(&levels[blurred]) {
                    let weight = f64::from((1.0 - level / usual).max(0.0));
                    weights += weight;
                    sum += weight * (step as f64 + 0.5);
                }
                whole.then(|| sum / weights / STEPS as f64)
            })
            .collect()
    }
}

/// Returns the amplitude of a frequency that is a multiple of 100 Hz.
fn amplitude(pcm: &[f32], hz: usize) -> f32 {
    let coefficient = 2.0 * (std::f32::consts::TAU * hz as f32 / RATE as f32).cos();
    let (mut last, mut before) = (0.0f32, 0.0f32);
    for sample in pcm {
        (last, before) = (sample + coefficient * last - before, last);
    }
    let power = last * last + before * before - coefficient * last * before;
    power.max(0.0).sqrt() * 2.0 / STEP as f32
}

fn runs(levels: &[f32], wanted: impl Fn(f32) -> bool) -> Vec<std::ops::Range<usize>> {
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    for (step, _) in levels.iter().enumerate().filter(|(_, level)| wanted(**level)) {
        match found.last_mut() {
            Some(run) if run.end == step => run.end += 1,
            _ => found.push(step..step + 1),
        }
    }
    found
}

/// Returns for how many seconds these runs, in steps, overlap the time between `from` and `to`, in seconds.
pub fn within(runs: &[std::ops::Range<usize>], from: f64, to: f64) -> f64 {
    let [from, to] = [from, to].map(|seconds| (seconds * STEPS as f64) as usize);
    let steps = runs.iter().map(|run| run.end.min(to).saturating_sub(run.start.max(from)));
    steps.sum::<usize>() as f64 / STEPS as f64
}

/// Returns, for each pause in `first`, its time and the delay of the nearest pause in `second`, both in
/// seconds. The delay is negative if the pause in `second` is earlier. Pauses without a near counterpart are
/// left out.
pub fn later(first: &[f64], second: &[f64]) -> Vec<(f64, f64)> {
    let most = Duration::from_millis(950).as_secs_f64();
    let nearest = |at: &f64| {
        let distances = second.iter().map(|other| other - at);
        distances.min_by(|a, b| a.abs().total_cmp(&b.abs())).map(|distance| (*at, distance))
    };
    first.iter().filter_map(nearest).filter(|(_, distance)| distance.abs() < most).collect()
}

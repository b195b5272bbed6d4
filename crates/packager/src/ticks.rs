//! Times at which AudioBridge mixes. It sends one packet every 20 ms, and FFmpeg writes each frame right
//! after a packet. So the arrival times of all frames are equal modulo 20 ms, apart from jitter.

use std::f64::consts::TAU;

/// Duration of a packet in microseconds.
pub const TICK: u64 = 20_000;
/// Minimum number of frames for a phase.
const FRAMES: u32 = 10;
/// Minimum length of the mean vector of the frames (0 to 1) for a phase.
const AGREE: f64 = 0.7;
/// Largest difference in microseconds between the phases of segments whose ticks are the same.
const SAME: u64 = 5_000;
/// Minimum number of segments that confirm a phase.
const CONFIRM: usize = 2;

/// Circular mean of times within a tick.
#[derive(Debug, Clone, Copy, Default)]
pub struct TickPhase {
    cos: f64,
    sin: f64,
    count: u32,
}

/// Phases of the ticks of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TickPhases {
    /// Stretches with one phase each: position of the start in the recording, and phase, in microseconds.
    stretches: Vec<(u64, u64)>,
}

impl TickPhase {
    /// Adds a time in microseconds.
    pub fn add(&mut self, time: u64) {
        let angle = (time % TICK) as f64 / TICK as f64 * TAU;
        self.cos += angle.cos();
        self.sin += angle.sin();
        self.count += 1;
    }

    /// Adds the times of another mean.
    pub fn join(&mut self, other: Self) {
        self.cos += other.cos;
        self.sin += other.sin;
        self.count += other.count;
    }

    /// Returns the phase in microseconds; `None` if there are too few times, or they do not agree.
    pub fn get(self) -> Option<u32> {
        let agree = self.cos.hypot(self.sin) >= AGREE * f64::from(self.count);
        (self.count >= FRAMES && agree).then(|| self.mean() as u32)
    }

    fn mean(self) -> u64 {
        (self.sin.atan2(self.cos).rem_euclid(TAU) / TAU * TICK as f64) as u64 % TICK
    }
}

impl TickPhases {
    /// Returns the phases of a recording. `segments`: position and phase of each, in microseconds. A phase
    /// that only one segment has is ignored: it is jitter, or the mean of two Janus processes.
    pub fn new(segments: impl IntoIterator<Item = (u64, Option<u32>)>) -> Self {
        let mut runs: Vec<(u64, TickPhase, usize)> = Vec::new();
        // Start of the segments after the last confirmed run.
        let mut unknown = None;
        for (start, phase) in segments {
            let from = *unknown.get_or_insert(start);
            let Some(phase) = phase.map(u64::from) else { continue };
            match runs.last_mut() {
                Some((_, mean, count)) if distance(mean.mean(), phase) <= SAME => {
                    mean.add(phase);
                    *count += 1;
                    unknown = None;
                }
                _ => {
                    runs.pop_if(|(.., count)| *count < CONFIRM);
                    let mut mean = TickPhase::default();
                    mean.add(phase);
                    runs.push((from, mean, 1));
                }
            }
        }
        runs.retain(|(.., count)| *count >= CONFIRM);
        Self { stretches: runs.into_iter().map(|(start, mean, _)| (start, mean.mean())).collect() }
    }

    /// Returns the phase at a position; `None` if no phase is known.
    pub fn at(&self, position: u64) -> Option<u64> {
        let next = self.stretches.partition_point(|(start, _)| *start <= position);
        self.stretches.get(next.saturating_sub(1)).map(|(_, phase)| *phase)
    }
}

/// Returns the time with this phase that is nearest to `time`.
pub fn nearest(time: u64, phase: u64) -> u64 {
    let latest = time + TICK / 2;
    latest - (latest + TICK - phase % TICK) % TICK
}

fn distance(one: u64, other: u64) -> u64 {
    let ahead = (one + TICK - other) % TICK;
    ahead.min(TICK - ahead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(times: impl IntoIterator<Item = u64>) -> Option<u32> {
        let mut phase = TickPhase::default();
        times.into_iter().for_each(|time| phase.add(time));
        phase.get()
    }

    #[test]
    fn phase_is_circular_mean() {
        let around = |phase: u64| {
            (0..20).map(move |n| TICK * n * 7 + phase + [19_000, 20_000, 21_000][n as usize % 3])
        };
        assert!(matches!(mean(around(0)), Some(0..=200 | 19_800..)), "{:?}", mean(around(0)));
        assert!(matches!(mean(around(7_000)), Some(6_800..=7_200)));
        assert_eq!(mean((0..20).map(|n| n * 6_000)), None, "the times do not agree");
        assert_eq!(mean([5; 9]), None, "nine times are too few");
    }

    #[test]
    fn phases_change_with_janus() {
        let phases =
            [Some(1_000), Some(19_500), None, Some(300), Some(6_000), Some(12_000), None, Some(12_100)];
        let segments = phases.into_iter().enumerate().map(|(n, phase)| (n as u64 * 2_000_000, phase));
        let phases = TickPhases::new(segments);
        let at = |position: u64| phases.at(position * 1_000_000).unwrap();
        assert!(distance(at(0), 266) < 100 && distance(at(7), 266) < 100, "{phases:?}");
        assert!(distance(at(8), 12_050) < 100 && at(8) == at(99), "{phases:?}");
        assert_eq!(TickPhases::new([(0, Some(1)), (2, None)]).at(0), None);
    }

    #[test]
    fn nearest_tick_has_phase() {
        for (time, phase, expected) in
            [(100_000, 0, 100_000), (109_000, 0, 100_000), (111_000, 0, 120_000), (100_000, 19_000, 99_000)]
        {
            assert_eq!(nearest(time, phase), expected, "{time} {phase}");
        }
    }
}

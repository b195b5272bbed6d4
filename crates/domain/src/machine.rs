//! Load of a machine: the measured share of its processor time in use.
//!
//! Owns: the average, and the rule that decides which changes are announced. Never reads the kernel's
//! counters.

use std::time::Duration;

use super::model::MachineLoad;

/// Time constant of the average. The first load is announced after this time, too.
const AVERAGED: Duration = Duration::from_secs(10);
/// Smallest change, in percentage points, that is announced.
const ANNOUNCED: f64 = 5.0;
/// Share of the processors in use, in percent, at which HLS parts become late.
const BUSY_PERCENT: u8 = 85;
/// Share of the processors used by rooms, in percent, at which the rooms count as the cause of a high load.
const ROOMS_PERCENT: u8 = 40;
/// Difference, in percentage points, below which two loads are equal for placement.
const EQUAL_WITHIN: u8 = 20;

/// Processor times since a fixed moment, in kernel ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuTimes {
    /// All processors, idle time included.
    pub total: u64,
    pub busy: u64,
    /// Part of `busy` used by the Janus and FFmpeg processes of this node. Decreases when such a process
    /// ends.
    pub media: u64,
}

/// Moving average over readings of [`CpuTimes`].
#[derive(Debug, Clone, Default)]
pub struct LoadMeter {
    last: Option<(Duration, CpuTimes)>,
    /// Busy and media share in percent.
    average: Option<(f64, f64)>,
    observed: Duration,
    announced: Option<MachineLoad>,
}

impl LoadMeter {
    /// Adds a reading and returns the load to announce: the previous one unless it has clearly changed.
    /// `None` until enough time was observed. `now` is monotonic.
    pub fn observe(&mut self, now: Duration, times: CpuTimes) -> Option<MachineLoad> {
        let Some((at, last)) = self.last.replace((now, times)) else { return self.announced };
        let (passed, total) = (now.saturating_sub(at), times.total.saturating_sub(last.total));
        if passed.is_zero() || total == 0 {
            self.last = Some((at, last));
            return self.announced;
        }
        let share =
            |now: u64, before: u64| 100.0 * now.saturating_sub(before).min(total) as f64 / total as f64;
        let new = (share(times.busy, last.busy), share(times.media, last.media));
        let (busy, media) = *self.average.get_or_insert(new);
        let weight = 1.0 - (-passed.as_secs_f64() / AVERAGED.as_secs_f64()).exp();
        let average = (busy + weight * (new.0 - busy), media + weight * (new.1 - media));
        self.average = Some(average);
        self.observed += passed;
        let differs = |shown: u8, is: f64| (f64::from(shown) - is).abs() >= ANNOUNCED;
        let changed = |shown: MachineLoad| {
            differs(shown.busy_percent, average.0) || differs(shown.media_percent, average.1)
        };
        if self.observed >= AVERAGED && self.announced.is_none_or(changed) {
            let [busy_percent, media_percent] = [average.0, average.1].map(|percent| percent.round() as u8);
            self.announced = Some(MachineLoad { busy_percent, media_percent });
        }
        self.announced
    }
}

impl MachineLoad {
    /// Returns true if the machine should take no more rooms: its processors are busy, and rooms use a large
    /// part of them. A machine that is busy only with other programs is not full.
    pub fn is_full(self) -> bool {
        self.busy_percent >= BUSY_PERCENT && self.media_percent >= ROOMS_PERCENT
    }

    /// Returns true if this machine is clearly busier than the other.
    pub fn is_above(self, other: Self) -> bool {
        self.busy_percent >= other.busy_percent.saturating_add(EQUAL_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Observes two processors for `seconds`. `busy` and `media` are percentages.
    fn run(
        meter: &mut LoadMeter,
        at: &mut (Duration, CpuTimes),
        seconds: u32,
        busy: u64,
        media: u64,
    ) -> Option<MachineLoad> {
        let mut announced = None;
        for _ in 0..seconds {
            at.0 += SECOND;
            at.1.total += 200;
            at.1.busy += 2 * busy;
            at.1.media += 2 * media;
            announced = meter.observe(at.0, at.1);
        }
        announced
    }

    fn load(busy_percent: u8, media_percent: u8) -> MachineLoad {
        MachineLoad { busy_percent, media_percent }
    }

    #[test]
    fn load_is_announced_after_ten_seconds() {
        let (mut meter, mut at) = (LoadMeter::default(), Default::default());
        assert_eq!(run(&mut meter, &mut at, 10, 50, 30), None);
        assert_eq!(run(&mut meter, &mut at, 1, 50, 30), Some(load(50, 30)));
    }

    #[test]
    fn small_changes_are_not_announced() {
        let (mut meter, mut at) = (LoadMeter::default(), Default::default());
        run(&mut meter, &mut at, 20, 50, 30);
        assert_eq!(run(&mut meter, &mut at, 60, 54, 34), Some(load(50, 30)));
        assert_ne!(run(&mut meter, &mut at, 60, 60, 34), Some(load(50, 30)));
    }

    #[test]
    fn ended_processes_do_not_underflow() {
        let (mut meter, mut at) = (LoadMeter::default(), Default::default());
        run(&mut meter, &mut at, 20, 50, 40);
        at.1.media = 0;
        assert!(run(&mut meter, &mut at, 60, 50, 0).unwrap().media_percent < 5);
    }

    #[test]
    fn readings_without_time_change_nothing() {
        let (mut meter, mut at) = (LoadMeter::default(), Default::default());
        let announced = run(&mut meter, &mut at, 20, 50, 30);
        assert_eq!(meter.observe(at.0, at.1), announced);
        assert_eq!(run(&mut meter, &mut at, 20, 50, 30), announced);
    }

    #[test]
    fn other_programs_do_not_fill_a_machine() {
        assert!(load(90, 60).is_full());
        assert!(!load(100, 20).is_full());
        assert!(!load(60, 60).is_full());
    }
}

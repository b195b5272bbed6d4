//! EXT-X-PROGRAM-DATE-TIME: wall-clock time at which a part of the media was mixed.
//!
//! The clock starts at the arrival of the first media minus their duration, and advances by media durations,
//! because arrival times jitter. After a pause of a source that was not replaced (a frozen Janus), media time
//! stays behind wall time. The clock then moves forward at the next segment. It moves by the *least* lateness
//! within a whole segment, so that one stalled read followed by a burst does not move it. It never goes back.

use std::time::Duration;

use stentor_domain::ids::UnixMs;

/// Lateness in microseconds that is attributed to scheduling and clock drift. A drift of 50 ppm reaches it
/// after 2.8 hours.
const TOLERATED: u64 = 500_000;

/// Clock in microseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct MediaClock {
    /// Start time of the next part.
    next: u64,
    /// Least lateness of a part of this segment.
    lateness: Option<u64>,
}

impl MediaClock {
    /// Creates a clock that continues after media that ended at this time.
    pub fn behind(end: UnixMs) -> Self {
        Self { next: end.0.saturating_mul(1000), lateness: None }
    }

    /// Moves the clock forward to this end time of earlier media, if it is behind.
    pub fn at_least(&mut self, end: UnixMs) {
        self.next = self.next.max(end.0.saturating_mul(1000));
    }

    /// Returns the end time of the media so far.
    pub fn now(&self) -> UnixMs {
        UnixMs(self.next / 1000)
    }

    /// Sets the clock for the first media, also the first media after a gap. These media last `duration`, and
    /// the last of them arrived at `wall`. The clock never goes back.
    pub fn anchor(&mut self, wall: UnixMs, duration: Duration) {
        self.next = self.next.max(Self::start(wall, duration));
        self.lateness = None;
    }

    /// Begins a segment and catches up with the least lateness of the previous one. Returns the start time.
    pub fn begin_segment(&mut self) -> UnixMs {
        if let Some(late) = self.lateness.take().filter(|late| *late > TOLERATED) {
            self.next += late;
        }
        UnixMs(self.next / 1000)
    }

    /// Advances by a part that was published at `wall`. Returns by how many microseconds `wall` is later than
    /// the end of the part; may be negative.
    pub fn advance(&mut self, wall: UnixMs, duration: Duration) -> i64 {
        let start = Self::start(wall, duration);
        let late = start.saturating_sub(self.next);
        // Both are far below 2^63.
        let lag = start as i64 - self.next as i64;
        self.lateness = Some(self.lateness.map_or(late, |least| least.min(late)));
        self.next += duration.as_micros() as u64;
        lag
    }

    fn start(wall: UnixMs, duration: Duration) -> u64 {
        (wall.0.saturating_mul(1000)).saturating_sub(duration.as_micros() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: Duration = Duration::from_millis(200);

    /// Advances by five parts that arrive at these times. Returns the start time of the segment.
    fn segment(clock: &mut MediaClock, walls: [u64; 5]) -> u64 {
        let stamp = clock.begin_segment().0;
        walls.iter().for_each(|wall| _ = clock.advance(UnixMs(*wall), PART));
        stamp
    }

    fn anchored() -> MediaClock {
        let mut clock = MediaClock::default();
        clock.anchor(UnixMs(10_200), PART);
        clock
    }

    #[test]
    fn stall_and_burst_keep_clock() {
        let mut clock = anchored();
        assert_eq!(segment(&mut clock, [10_200, 10_400, 11_700, 11_700, 11_700]), 10_000);
        assert_eq!(segment(&mut clock, [11_700, 11_700, 11_700, 11_800, 12_000]), 11_000);
        assert_eq!(segment(&mut clock, [12_200, 12_400, 12_600, 12_800, 13_000]), 12_000);
    }

    #[test]
    fn source_pause_moves_clock_once() {
        let mut clock = anchored();
        segment(&mut clock, [10_200, 10_400, 10_600, 10_800, 11_000]);
        assert_eq!(segment(&mut clock, [15_200, 15_400, 15_600, 15_800, 16_000]), 11_000);
        assert_eq!(segment(&mut clock, [16_200, 16_400, 16_600, 16_800, 17_000]), 16_000);
        assert_eq!(segment(&mut clock, [17_200, 17_400, 17_600, 17_800, 18_000]), 17_000);
    }

    #[test]
    fn wall_clock_step_back_keeps_timeline() {
        let mut clock = anchored();
        segment(&mut clock, [10_200, 10_400, 10_600, 10_800, 11_000]);
        clock.anchor(UnixMs(2_000), PART);
        assert_eq!(segment(&mut clock, [2_000, 2_200, 2_400, 2_600, 2_800]), 11_000);
    }
}

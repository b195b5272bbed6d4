//! EXT-X-PROGRAM-DATE-TIME: when, by the wall clock, a part of the media was mixed.
//!
//! Anchored where the first media arrive, minus their duration, then carried on by media durations:
//! arrivals jitter, samples do not. A source that paused without changing (a frozen Janus) leaves media time
//! behind the wall for good; the clock then moves forward at the next segment. The measure is the *least*
//! lateness of a whole segment, so that one stalled read followed by a burst moves nothing. Never goes back.

use std::time::Duration;

use crate::domain::ids::UnixMs;

/// Below this, lateness is scheduling and clock drift (50 ppm over three hours is 0.54 s).
const TOLERATED: u64 = 500_000;

/// All in microseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct MediaClock {
    /// When the next part starts.
    next: u64,
    /// The least that a part of this segment arrived after it should have.
    lateness: Option<u64>,
}

impl MediaClock {
    /// Goes on behind media that ended at this time.
    pub fn behind(end: UnixMs) -> Self {
        Self { next: end.0.saturating_mul(1000), lateness: None }
    }

    /// The media before ended at this time, whatever else is known.
    pub fn at_least(&mut self, end: UnixMs) {
        self.next = self.next.max(end.0.saturating_mul(1000));
    }

    /// When the media so far end.
    pub fn now(&self) -> UnixMs {
        UnixMs(self.next / 1000)
    }

    /// The first media after a hole, arrived at `wall`.
    pub fn anchor(&mut self, wall: UnixMs, duration: Duration) {
        self.next = self.next.max(Self::start(wall, duration));
        self.lateness = None;
    }

    /// A segment begins: catches up with what the whole last one was late by.
    pub fn begin_segment(&mut self) -> UnixMs {
        if let Some(late) = self.lateness.take().filter(|late| *late > TOLERATED) {
            self.next += late;
        }
        UnixMs(self.next / 1000)
    }

    /// A part was published at `wall`.
    pub fn advance(&mut self, wall: UnixMs, duration: Duration) {
        let late = Self::start(wall, duration).saturating_sub(self.next);
        self.lateness = Some(self.lateness.map_or(late, |least| least.min(late)));
        self.next += duration.as_micros() as u64;
    }

    fn start(wall: UnixMs, duration: Duration) -> u64 {
        (wall.0.saturating_mul(1000)).saturating_sub(duration.as_micros() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: Duration = Duration::from_millis(200);

    /// Five parts arriving at these times; gives the stamp of the segment.
    fn segment(clock: &mut MediaClock, walls: [u64; 5]) -> u64 {
        let stamp = clock.begin_segment().0;
        walls.iter().for_each(|wall| clock.advance(UnixMs(*wall), PART));
        stamp
    }

    fn anchored() -> MediaClock {
        let mut clock = MediaClock::default();
        clock.anchor(UnixMs(10_200), PART);
        clock
    }

    #[test]
    fn a_stall_and_its_burst_move_nothing() {
        let mut clock = anchored();
        assert_eq!(segment(&mut clock, [10_200, 10_400, 11_700, 11_700, 11_700]), 10_000);
        assert_eq!(segment(&mut clock, [11_700, 11_700, 11_700, 11_800, 12_000]), 11_000);
        assert_eq!(segment(&mut clock, [12_200, 12_400, 12_600, 12_800, 13_000]), 12_000);
    }

    #[test]
    fn a_pause_of_the_source_moves_it_forward_once() {
        let mut clock = anchored();
        segment(&mut clock, [10_200, 10_400, 10_600, 10_800, 11_000]);
        assert_eq!(segment(&mut clock, [15_200, 15_400, 15_600, 15_800, 16_000]), 11_000);
        assert_eq!(segment(&mut clock, [16_200, 16_400, 16_600, 16_800, 17_000]), 16_000);
        assert_eq!(segment(&mut clock, [17_200, 17_400, 17_600, 17_800, 18_000]), 17_000);
    }

    #[test]
    fn a_wall_clock_set_back_does_not_take_it_back() {
        let mut clock = anchored();
        segment(&mut clock, [10_200, 10_400, 10_600, 10_800, 11_000]);
        clock.anchor(UnixMs(2_000), PART);
        assert_eq!(segment(&mut clock, [2_000, 2_200, 2_400, 2_600, 2_800]), 11_000);
    }
}

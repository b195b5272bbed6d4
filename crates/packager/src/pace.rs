//! Comparison of a room's media with the monotonic clock, in AAC frames.
//!
//! The edge is the time up to which media exist. Media that arrive in time keep the edge at the clock. The
//! lag is the distance of the edge behind the clock. Owns the conclusions from the lag: silence is due, a
//! frame is late, or FFmpeg runs ahead.

use std::time::Duration;

use stentor_domain::timeline::{frames_last, whole_frames};

/// Longest lead of FFmpeg over the clock. Allows a burst after a stall, but no stream faster than real time.
pub(super) const AHEAD: Duration = Duration::from_secs(2);
/// Tolerated jitter in nanoseconds: late frames are dropped only if they move the edge further ahead than
/// this.
const SLACK: i64 = 43_000_000;

/// Pace of a stream. All times are nanoseconds of the monotonic clock. They are signed, because media may be
/// older than the process.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    origin: i64,
    /// Frames since the origin.
    frames: u64,
    /// Number of frames at the last [`settle`](Self::settle).
    settled: u64,
    /// Smallest lag of the media that have arrived since the last [`settle`](Self::settle).
    least: Option<i64>,
    /// Consecutive silent frames.
    silent: u64,
    /// Silent frames that replaced media that the running process may still deliver.
    owed: u64,
}

impl Pace {
    /// Creates the pace of media that begin `frames` frames before `end`.
    pub fn begin(end: Duration, frames: u64) -> Self {
        Self::from_origin(nanos(end) - nanos(frames_last(frames)))
    }

    /// Creates the pace of media that ended `ago` before `now`.
    pub fn behind(now: Duration, ago: Duration) -> Self {
        Self::from_origin(nanos(now) - nanos(ago))
    }

    fn from_origin(origin: i64) -> Self {
        Self { origin, frames: 0, settled: 0, least: None, silent: 0, owed: 0 }
    }

    /// Returns the pace of the media without their last `frames` frames.
    pub fn less(mut self, frames: u64) -> Self {
        self.origin -= nanos(frames_last(frames));
        self
    }

    /// Returns the lag of the edge behind the clock; negative if the edge is ahead.
    fn lag(&self, now: Duration) -> i64 {
        nanos(now) - self.origin - nanos(frames_last(self.frames))
    }

    /// Returns the number of whole frames between the edge and the clock.
    pub fn missing(&self, now: Duration) -> u64 {
        whole_frames(Duration::from_nanos(self.lag(now).max(0) as u64))
    }

    /// Returns the time at which the edge will lag by `lag`.
    pub fn lags_by(&self, lag: Duration) -> Duration {
        let at = self.origin + nanos(frames_last(self.frames)) + nanos(lag);
        Duration::from_nanos(at.max(0) as u64)
    }

    pub fn runs_ahead(&self, now: Duration) -> bool {
        self.lag(now) < -nanos(AHEAD)
    }

    /// Returns true if the time of the next frame was already filled with silence. In this case, decrements
    /// `owed`.
    pub fn is_late(&mut self, now: Duration) -> bool {
        let late = self.owed > 0 && self.lag(now) - nanos(frames_last(1)) < -SLACK;
        self.owed -= u64::from(late);
        late
    }

    pub fn media(&mut self) {
        self.frames += 1;
        self.silent = 0;
    }

    pub fn silence(&mut self) {
        self.frames += 1;
        self.silent += 1;
        self.owed += 1;
    }

    /// Returns the number of silent frames since the last frame of media.
    pub fn silent(&self) -> u64 {
        self.silent
    }

    /// Records the lag after all media that had arrived by `now` were counted.
    pub fn arrived(&mut self, now: Duration) {
        let lag = self.lag(now);
        self.least = Some(self.least.map_or(lag, |least| least.min(lag)));
    }

    /// Adjusts the origin to the source's clock at the end of a segment: moves it by the smallest lag of the
    /// segment's media, but back by at most 1 % of their duration. The source's clock may drift, or the
    /// source may have paused too briefly for silence to be written.
    pub fn settle(&mut self) {
        let drift = nanos(frames_last(self.frames - self.settled)) / 100;
        self.settled = self.frames;
        if let Some(least) = self.least.take() {
            self.origin += least.max(-drift);
        }
    }

    /// Prepares for the media of a new process, which begin now or later. Earlier silence makes none of its
    /// frames late.
    pub fn new_source(&mut self, now: Duration) {
        self.owed = 0;
        self.least = None;
        self.origin += self.lag(now).min(0);
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn late_frames_offset_inserted_silence() {
        let mut pace = Pace::begin(ms(1000), 9);
        (0..9).for_each(|_| pace.media());
        assert_eq!(pace.missing(ms(1000)), 0);
        assert_eq!(pace.missing(ms(1640)), 30);
        (0..27).for_each(|_| pace.silence());
        let late = (0..60)
            .filter(|_| {
                if pace.is_late(ms(1640)) {
                    true
                } else {
                    pace.media();
                    false
                }
            })
            .count();
        assert_eq!(late, 27, "as many frames as the silence replaced");
    }

    #[test]
    fn slow_source_moves_the_clock() {
        let mut pace = Pace::begin(ms(192), 9);
        for n in 1..2000u64 {
            // The source is 0.1 % slow.
            let now = Duration::from_micros(192_192 * n);
            (0..9).for_each(|_| pace.media());
            pace.arrived(now);
            assert!(pace.missing(now) < 2, "part {n}");
            if n % 10 == 0 {
                pace.settle();
            }
        }
    }

    #[test]
    fn fast_source_moves_clock_one_percent() {
        let mut pace = Pace::begin(ms(192), 9);
        for n in 1..2000u64 {
            let now = Duration::from_micros(191_000 * n);
            (0..9).for_each(|_| pace.media());
            pace.arrived(now);
            assert!(!pace.runs_ahead(now), "part {n}");
            if n % 10 == 0 {
                pace.settle();
            }
        }
    }

    #[test]
    fn new_source_resets_pace() {
        let mut pace = Pace::begin(ms(192), 9);
        (0..200).for_each(|_| pace.media());
        assert!(pace.runs_ahead(ms(500)));
        pace.new_source(ms(500));
        assert_eq!(pace.missing(ms(692)), 9);
        assert_eq!(pace.lags_by(ms(10)), ms(510));
    }

    #[test]
    fn less_removes_unpublished_frames() {
        let mut pace = Pace::behind(ms(10), ms(650));
        assert_eq!(pace.missing(ms(10)), 30);
        (0..12).for_each(|_| pace.silence());
        assert_eq!((pace.missing(ms(10)), pace.silent()), (18, 12));
        // Without the three unpublished frames, the media end earlier.
        assert_eq!(pace.less(3).missing(ms(10)), 21);
    }
}

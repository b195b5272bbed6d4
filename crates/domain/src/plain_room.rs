//! State machine of a plain stream: one endless sequence of AAC frames, made of the parts that a room's
//! playlist lists.
//!
//! ```text
//!           first parts               nothing for HOLE
//!  Starting ──────────▶ Live ─────────────────────────▶ Filling: silence at the pace of the clock
//!                        ▲                                 │ parts: those that the silence did not replace
//!                        └─────────────────────────────────┘
//!  any ── the broadcast is over ──▶ Ended
//! ```
//! The stream has no timestamps, so every surplus frame would delay all later ones. A part that arrives after
//! silence was sent in its place is therefore dropped.

use std::time::Duration;

use super::plan::{Plan, Retry};
use super::relay_room::Position;
use super::restart::Backoff;
use super::timeline::frames_last;

/// Duration of the audio that a new listener receives at once. With this audio, players start immediately,
/// and then stay this far behind the live audio.
pub const BURST: Duration = Duration::from_secs(1);
/// Time without a part after which silence is sent. The packager fills shorter gaps itself.
pub const HOLE: Duration = Duration::from_secs(1);
/// Number of AAC frames in a silent part.
pub const SILENT_FRAMES: u64 = 9;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Position of the first part that has not been sent yet. `None`: request the newest parts.
    pub from: Option<Position>,
    /// True to wait for the part at `from`; false to return the parts that exist.
    pub wait: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Parts {
        /// Number of AAC frames in each received part, oldest first.
        frames: Vec<u64>,
        /// Position of the part that comes next.
        next: Position,
        /// True if no further part follows.
        ended: bool,
    },
    Failed(String),
    /// The room is no longer on air, or is on air with another broadcast.
    Over,
}

#[derive(Debug)]
pub struct PlainRoom {
    backoff: Backoff,
    next: Option<Position>,
    /// Time up to which audio or silence was sent.
    covered: Option<Duration>,
    filling: bool,
    /// Difference, in nanoseconds, between the audio that was sent to fill holes and the duration of the
    /// holes. Positive if too much was sent (always less than one part), negative if too little was sent.
    surplus: i64,
    ended: bool,
    retry: Retry,
}

impl PlainRoom {
    /// Creates the machine. `next`: position after the last part that was sent.
    pub fn new(next: Option<Position>, backoff: Backoff) -> Self {
        let retry = Retry::default();
        Self { backoff, next, covered: None, filling: false, surplus: 0, ended: false, retry }
    }

    pub fn next(&self) -> Option<Position> {
        self.next
    }

    pub fn is_filling(&self) -> bool {
        self.filling
    }

    pub fn attempt(&self) -> u32 {
        self.retry.attempt()
    }

    pub fn plan(&self, now: Duration) -> Plan<Fetch> {
        if self.ended {
            return Plan::Finished;
        }
        if let Some(wait) = self.retry.pending(now) {
            return wait;
        }
        match self.next {
            Some(_) if self.attempt() == 0 => {
                Plan::act(Fetch { from: self.next, wait: true }, "waits for the next part")
            }
            // At first, and after a failure, request the parts that exist now: after a failure, the numbers
            // may have jumped.
            _ => Plan::act(Fetch { from: self.next, wait: false }, "requests the newest parts"),
        }
    }

    /// Applies the outcome of a request. Returns how many of the parts to send, counted from the newest.
    pub fn done(&mut self, outcome: Outcome, now: Duration, random_unit: f64) -> usize {
        match outcome {
            Outcome::Over => {
                self.ended = true;
                0
            }
            Outcome::Failed(why) => {
                self.retry.failed(why, now, &self.backoff, random_unit);
                0
            }
            Outcome::Parts { frames, next, ended } => {
                self.next = Some(next);
                self.ended = ended;
                if frames.is_empty() && !ended {
                    self.retry.failed("no new part", now, &self.backoff, random_unit);
                    return 0;
                }
                self.retry.succeeded();
                self.take(&frames, now)
            }
        }
    }

    fn take(&mut self, frames: &[u64], now: Duration) -> usize {
        let silent_until = self.covered.filter(|_| self.filling);
        self.filling = false;
        let Some(silent_until) = silent_until else {
            self.covered = Some(now);
            return frames.len();
        };
        // Whole parts never fill a hole exactly: a surplus or a shortage is made up for at the next hole.
        let mut missing = now.saturating_sub(silent_until).as_nanos() as i64 - self.surplus;
        let mut taken = 0;
        for part in frames.iter().rev().map(|frames| frames_last(*frames).as_nanos() as i64) {
            if missing < part / 2 {
                break;
            }
            missing -= part;
            taken += 1;
        }
        // A shortage of more than one silent part is not made up for, because the missing parts are lost.
        self.surplus = (-missing).max(-(frames_last(SILENT_FRAMES).as_nanos() as i64));
        self.covered = Some(now);
        taken
    }

    /// Returns the time at which silence is due unless a part arrives first; `None` before the first part and
    /// at the end.
    pub fn silence_at(&self) -> Option<Duration> {
        let wait = if self.filling { frames_last(SILENT_FRAMES) } else { HOLE };
        self.covered.filter(|_| !self.ended).map(|covered| covered + wait)
    }

    /// Returns the number of silent parts that are due, and counts them as sent.
    pub fn fill(&mut self, now: Duration) -> usize {
        let Some(covered) = self.covered.filter(|_| self.silence_at().is_some_and(|due| due <= now)) else {
            return 0;
        };
        let part = frames_last(SILENT_FRAMES);
        let parts = ((now - covered).as_nanos() / part.as_nanos()) as u32;
        self.covered = Some(covered + part * parts);
        self.filling = true;
        parts as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PART: Duration = Duration::from_millis(192);

    fn room() -> PlainRoom {
        PlainRoom::new(None, Backoff { first: Duration::from_millis(50), max: Duration::from_millis(500) })
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn parts(count: usize, msn: u64) -> Outcome {
        Outcome::Parts { frames: vec![9; count], next: (msn, 0), ended: false }
    }

    fn fetch(room: &PlainRoom, now: Duration) -> Fetch {
        match room.plan(now) {
            Plan::Do { effect, .. } => effect,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_part_is_sent_in_order() {
        let mut room = room();
        assert_eq!(fetch(&room, ms(0)), Fetch { from: None, wait: false });
        assert_eq!(room.done(parts(5, 10), ms(0), 0.5), 5, "the burst");
        assert_eq!(fetch(&room, ms(0)), Fetch { from: Some((10, 0)), wait: true });
        assert_eq!(room.done(parts(1, 11), ms(192), 0.5), 1);
        assert_eq!(room.done(parts(4, 12), ms(1100), 0.5), 4, "a stall shorter than a hole");
        assert_eq!(room.silence_at(), Some(ms(2100)));
    }

    #[test]
    fn holes_are_filled_with_silence() {
        let mut room = room();
        assert_eq!((room.silence_at(), room.fill(ms(5000))), (None, 0), "nothing was sent yet");
        room.done(parts(5, 10), ms(0), 0.5);
        assert_eq!(room.fill(ms(999)), 0);
        assert_eq!(room.fill(ms(1000)), 5);
        assert_eq!(room.silence_at(), Some(PART * 6));
        assert_eq!(room.fill(PART * 6), 1);
        // Silence reaches 1152 ms, so only 48 ms are missing. This is less than half a part, so none of the
        // five late parts is sent.
        assert_eq!(room.done(parts(5, 11), ms(1200), 0.5), 0);
        assert!(!room.is_filling());
        assert_eq!(room.done(parts(1, 12), ms(1392), 0.5), 1);
    }

    #[test]
    fn failures_back_off_and_do_not_wait() {
        let mut room = room();
        room.done(parts(5, 10), ms(0), 0.5);
        assert_eq!(room.done(Outcome::Failed("timeout".into()), ms(100), 0.5), 0);
        assert!(matches!(room.plan(ms(100)), Plan::Wait { until: Some(_), .. }), "no busy loop");
        assert_eq!(fetch(&room, ms(1100)), Fetch { from: Some((10, 0)), wait: false });
        room.done(parts(0, 10), ms(1100), 0.5);
        assert!(
            matches!(room.plan(ms(1100)), Plan::Wait { .. }),
            "an answer without a new part counts as a failure"
        );
        assert_eq!(room.done(parts(1, 11), ms(1150), 0.5), 1);
        assert!(fetch(&room, ms(1150)).wait);
    }

    #[test]
    fn nothing_follows_the_end() {
        for last in [Outcome::Over, Outcome::Parts { frames: vec![3], next: (10, 1), ended: true }] {
            let mut room = room();
            room.done(parts(5, 10), ms(0), 0.5);
            room.done(last, ms(100), 0.5);
            assert_eq!((room.plan(ms(100)), room.silence_at()), (Plan::Finished, None));
            assert_eq!(room.fill(ms(9000)), 0);
        }
    }

    proptest! {
        /// However often parts are late, the stream never runs more than 0.2 s (about one part) ahead of
        /// the clock.
        #[test]
        fn holes_shift_nothing(holes in proptest::collection::vec(0u64..6000, 1..30)) {
            let mut room = room();
            let (mut now, mut sent) = (Duration::ZERO, 0);
            room.done(parts(1, 1), now, 0.5);
            for hole in holes {
                let end = now + ms(192 + hole);
                while let Some(due) = room.silence_at().filter(|due| *due <= end) {
                    sent += room.fill(due);
                    now = due;
                }
                now = now.max(end);
                // The missed parts arrive together, limited to one burst (5 parts).
                let missed = (((192 + hole) / 192) as usize).min(5);
                sent += room.done(parts(missed, 2), now, 0.5);
                let ahead = (PART * sent as u32).as_secs_f64() - now.as_secs_f64();
                // Stalls shorter than a hole lose less than a part each; this test does not check them.
                prop_assert!(ahead < 0.2, "{ahead} s ahead");
            }
        }
    }
}

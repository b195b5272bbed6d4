//! Search for somebody who speaks while the room's mixer reports a silent mix.
//!
//! Janus's talking state is not enough as evidence: Janus updates it only when packets arrive, so it stays if
//! the speaker's network fails, or if the speaker's client sends few packets in a pause (DTX). Therefore
//! somebody must have begun to speak during the silence, which needs packets above Janus's level threshold.
//! Other talking states are weak evidence: they must last longer than a pause with DTX can cause. They permit
//! only the cheapest repairs, and only a few.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Time that the mixer has to report sound after somebody was seen speaking.
const HEARD_WITHIN: Duration = Duration::from_secs(3);
/// Time for which somebody must be seen speaking until weak evidence counts. Janus below 1.4 updates the
/// state only once per 25 packets, and a client with DTX sends one packet per 400 ms in a pause. The state
/// can therefore stay for 12 seconds after the last word. The first query is at least three seconds after it.
const STEADY_FOR: Duration = Duration::from_secs(12);
/// Interval of the queries while a participant can speak, in the first part of a silence.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Time after the first query from which the queries are rarer.
const ASK_OFTEN_FOR: Duration = Duration::from_secs(30);
/// Interval of the queries in a longer silence while a participant can speak.
const ASK_LATER: Duration = Duration::from_secs(5);
/// Interval of the queries while nobody can speak.
const ASK_EMPTY: Duration = Duration::from_secs(10);
/// Time without a speaker after which the evidence expires.
const EXPIRES_AFTER: Duration = Duration::from_secs(30);
/// Number of starvations up to which weak evidence counts. The repairs up to it, a new FFmpeg and a new port,
/// cost no anchor anything.
const WEAK_UNTIL: u32 = 2;
/// Maximum number of times that weak evidence counts within [`WEAK_WINDOW`]. Sound between them does not
/// reset it.
const MOST_WEAK: usize = 2;
const WEAK_WINDOW: Duration = Duration::from_secs(30 * 60);

/// Participants with media that are not muted, by number; true: Janus reports that the participant talks.
pub type Talkers = BTreeMap<u64, bool>;

/// Evidence collected during one report of silence.
#[derive(Debug, Default)]
pub(super) struct SpeechSearch {
    /// Revision of the mixer key that reports the silence; `None`: it reports none.
    report: Option<i64>,
    /// Times of the first and the latest query.
    asked: Option<(Duration, Duration)>,
    seen: Talkers,
    /// Time from which somebody who began to speak during the silence was seen speaking.
    began: Option<Duration>,
    /// Time from which somebody was seen speaking at every query.
    steady: Option<Duration>,
    last: Duration,
    found: bool,
    /// Times at which weak evidence counted, also in earlier reports.
    weak: VecDeque<Duration>,
}

impl SpeechSearch {
    /// Begins a new search if the report is new. `report`: revision of the mixer key, if it reports silence.
    pub fn look(&mut self, report: Option<i64>) {
        if self.report != report {
            *self = Self { report, weak: std::mem::take(&mut self.weak), ..Self::default() };
        }
    }

    /// Returns the time of the next query; `None` if the mixer reports no silence.
    pub fn due(&self) -> Option<Duration> {
        self.report?;
        let Some((first, latest)) = self.asked else { return Some(Duration::ZERO) };
        let every = match latest.saturating_sub(first) {
            _ if self.seen.is_empty() => ASK_EMPTY,
            since if since < ASK_OFTEN_FOR => ASK_EVERY,
            _ => ASK_LATER,
        };
        Some(latest + every)
    }

    /// Takes the answer to a query. `starved`: number of repairs so far.
    pub fn answered(&mut self, talkers: Talkers, starved: u32, now: Duration) {
        self.asked = Some((self.asked.map_or(now, |(first, _)| first), now));
        let talking = || talkers.iter().filter(|(_, talks)| **talks).map(|(id, _)| id);
        // The state of a participant who was not seen before may be old: muting does not reset it.
        if talking().any(|id| self.seen.get(id) == Some(&false)) {
            self.began.get_or_insert(now);
        }
        if !talking().any(|id| self.seen.get(id) == Some(&true)) {
            self.steady = talking().next().map(|_| now);
        }
        if talking().next().is_some() {
            self.last = now;
        } else if now.saturating_sub(self.last) > EXPIRES_AFTER {
            (self.began, self.found) = (None, false);
        }
        let lasts = |since: Option<Duration>, time| since.is_some_and(|at| now.saturating_sub(at) >= time);
        let weak = starved < WEAK_UNTIL && lasts(self.steady, STEADY_FOR);
        self.found = self.found || lasts(self.began, HEARD_WITHIN) || (weak && self.permit_weak(now));
        self.seen = talkers;
    }

    /// Returns true if weak evidence may count now, and records it.
    fn permit_weak(&mut self, now: Duration) -> bool {
        self.weak.retain(|at| now.saturating_sub(*at) < WEAK_WINDOW);
        let permitted = self.weak.len() < MOST_WEAK;
        if permitted {
            self.weak.push_back(now);
        }
        permitted
    }

    /// Returns true if somebody speaks although the mix is silent.
    pub fn found(&self) -> bool {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Returns the answers of a search in which Janus lists one participant with these states, two seconds
    /// apart; `None`: nobody.
    fn found(starved: u32, states: &[Option<bool>]) -> Vec<bool> {
        let mut search = SpeechSearch::default();
        search.look(Some(1));
        let answers = states.iter().enumerate().map(|(n, state)| {
            let talkers = state.iter().map(|talks| (7, *talks)).collect();
            search.answered(talkers, starved, secs(100 + 2 * n as u64));
            search.found()
        });
        answers.collect()
    }

    const TALKS: Option<bool> = Some(true);
    const QUIET: Option<bool> = Some(false);

    #[test]
    fn speech_begun_in_silence_is_evidence() {
        assert_eq!(found(4, &[QUIET, TALKS, TALKS, TALKS]), [false, false, false, true]);
        assert_eq!(found(4, &[QUIET, TALKS, QUIET, QUIET]), [false, false, false, true], "a short remark");
    }

    /// Janus lists only participants who are not muted, and up to 1.3 muting leaves the talking state.
    #[test]
    fn unmuting_does_not_count_as_speech() {
        assert_eq!(found(4, &[None, TALKS, TALKS, TALKS]), [false; 4]);
        assert_eq!(found(4, &[QUIET, None, TALKS, TALKS, TALKS]), [false; 5]);
        let joined: Vec<_> = std::iter::once(None).chain([TALKS; 7]).collect();
        assert_eq!(found(0, &joined).iter().filter(|found| **found).count(), 1, "12 s after the first talk");
    }

    #[test]
    fn lasting_talk_permits_cheap_repairs_only() {
        let first = |starved| found(starved, &[TALKS; 9]).iter().position(|found| *found);
        assert_eq!([0, 1, 2].map(first), [Some(6), Some(6), None]);
    }

    /// In a pause with DTX, Janus below 1.4 keeps the state for up to 12 seconds after the last word.
    #[test]
    fn pause_with_dtx_is_no_evidence() {
        for lag in 1..=5 {
            let states = [vec![TALKS; lag], vec![QUIET; 9]].concat();
            assert_eq!(found(0, &states), vec![false; lag + 9], "{lag}");
        }
    }

    #[test]
    fn weak_evidence_counts_twice_only() {
        let mut search = SpeechSearch::default();
        let counts = (0..4).map(|report| {
            search.look(None);
            search.look(Some(report));
            let begin = secs(100 + 60 * report as u64);
            for second in (0..=20).step_by(2) {
                search.answered([(7, true)].into(), 0, begin + secs(second));
            }
            search.found()
        });
        assert_eq!(counts.collect::<Vec<_>>(), [true, true, false, false]);
        search.look(Some(9));
        let later = secs(100) + WEAK_WINDOW + secs(60);
        search.answered([(7, true)].into(), 0, later);
        search.answered([(7, true)].into(), 0, later + STEADY_FOR);
        assert!(search.found());
    }

    #[test]
    fn queries_are_rarer_in_long_silence() {
        let mut search = SpeechSearch::default();
        search.look(Some(1));
        let (mut now, mut queries) = (secs(100), 0);
        while now < secs(160) {
            search.answered([(7, false)].into(), 0, now);
            now = search.due().unwrap();
            queries += 1;
        }
        assert_eq!(queries, 16 + 5);
    }

    #[test]
    fn quiet_room_gives_no_evidence() {
        assert_eq!(found(0, &[QUIET; 9]), [false; 9]);
        assert_eq!(found(0, &[None; 9]), [false; 9]);
        assert_eq!(found(0, &[TALKS, QUIET, QUIET]), [false; 3]);
    }

    #[test]
    fn evidence_expires_without_speaker() {
        let mut states = vec![QUIET, TALKS, TALKS, TALKS];
        states.extend([QUIET; 20]);
        let found = found(4, &states);
        assert!(found[3] && found[15] && !found[19], "{found:?}");
    }

    #[test]
    fn every_report_needs_new_evidence() {
        let mut search = SpeechSearch::default();
        assert_eq!(search.due(), None);
        search.look(Some(1));
        assert_eq!(search.due(), Some(secs(0)));
        search.answered(Talkers::from([(7, false)]), 0, secs(1));
        assert_eq!(search.due(), Some(secs(3)));
        search.answered(Talkers::from([(7, true)]), 0, secs(3));
        search.answered(Talkers::from([(7, true)]), 0, secs(6));
        assert!(search.found());
        search.look(Some(1));
        assert!(search.found());
        search.look(Some(2));
        assert_eq!((search.found(), search.due()), (false, Some(secs(0))));
        search.answered(Talkers::new(), 0, secs(5));
        assert_eq!(search.due(), Some(secs(15)));
        search.look(None);
        assert_eq!(search.due(), None);
    }
}

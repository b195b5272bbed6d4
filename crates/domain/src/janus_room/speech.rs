//! Search for somebody who speaks while the room's mixer reports a silent mix.
//!
//! Janus's talking state is not enough as evidence: Janus updates it only when packets arrive, so it stays if
//! the speaker's network fails, or if the speaker's client stops sending in a pause (DTX). Therefore somebody
//! must have begun to speak during the silence, which needs packets above Janus's level threshold. A state
//! that was there before counts only until the cheapest repairs were made.

use std::collections::BTreeMap;
use std::time::Duration;

/// Time that the mixer has to report sound after somebody was seen speaking.
const HEARD_WITHIN: Duration = Duration::from_secs(3);
/// Interval of the queries while a participant can speak.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Interval of the queries while nobody can speak.
const ASK_EMPTY: Duration = Duration::from_secs(10);
/// Time without a speaker after which the evidence expires.
const EXPIRES_AFTER: Duration = Duration::from_secs(30);
/// Number of starvations up to which a talking state that began before the silence is evidence. The repairs
/// up to it, a new FFmpeg and a new port, cost no anchor anything.
const WEAK_UNTIL: u32 = 2;

/// Participants with media that are not muted, by number; true: Janus reports that the participant talks.
pub type Talkers = BTreeMap<u64, bool>;

/// Evidence collected during one report of silence.
#[derive(Debug, Default)]
pub(super) struct SpeechSearch {
    /// Revision of the mixer key that reports the silence; `None`: it reports none.
    report: Option<i64>,
    asked_at: Option<Duration>,
    seen: Talkers,
    /// Time from which somebody who began to speak during the silence was seen speaking.
    began: Option<Duration>,
    /// Time from which somebody was seen speaking at every query.
    steady: Option<Duration>,
    last: Duration,
    found: bool,
}

impl SpeechSearch {
    /// Begins a new search if the report is new. `report`: revision of the mixer key, if it reports silence.
    pub fn look(&mut self, report: Option<i64>) {
        if self.report != report {
            *self = Self { report, ..Self::default() };
        }
    }

    /// Returns the time of the next query; `None` if the mixer reports no silence.
    pub fn due(&self) -> Option<Duration> {
        self.report?;
        let every = if self.seen.is_empty() { ASK_EMPTY } else { ASK_EVERY };
        Some(self.asked_at.map_or(Duration::ZERO, |at| at + every))
    }

    /// Takes the answer to a query. `starved`: number of repairs so far.
    pub fn answered(&mut self, talkers: Talkers, starved: u32, now: Duration) {
        let first = self.asked_at.replace(now).is_none();
        let talks = |id: &u64| talkers.get(id) == Some(&true);
        let begins = |(id, talks): (&u64, &bool)| *talks && self.seen.get(id) != Some(&true);
        if !first && talkers.iter().any(begins) {
            self.began.get_or_insert(now);
        }
        match (first, talkers.keys().any(talks), self.seen.iter().any(|(id, talked)| *talked && talks(id))) {
            (true, true, _) => self.steady = Some(now),
            (false, _, true) => {}
            _ => self.steady = None,
        }
        if talkers.values().any(|talks| *talks) {
            self.last = now;
        } else if now.saturating_sub(self.last) > EXPIRES_AFTER {
            (self.began, self.found) = (None, false);
        }
        let unheard =
            |since: Option<Duration>| since.is_some_and(|at| now.saturating_sub(at) >= HEARD_WITHIN);
        self.found |= unheard(self.began) || (starved < WEAK_UNTIL && unheard(self.steady));
        self.seen = talkers;
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
        assert_eq!(found(4, &[None, TALKS, TALKS, TALKS]), [false, false, false, true], "joined and talks");
    }

    #[test]
    fn lasting_talk_permits_cheap_repairs_only() {
        let stale = [TALKS; 4];
        assert_eq!(found(0, &stale), [false, false, true, true]);
        assert_eq!(found(1, &stale), [false, false, true, true]);
        assert_eq!(found(2, &stale), [false; 4]);
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
        search.answered(Talkers::from([(7, true)]), 0, secs(1));
        assert_eq!(search.due(), Some(secs(3)));
        search.answered(Talkers::from([(7, true)]), 0, secs(4));
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

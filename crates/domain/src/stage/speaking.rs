//! Time spoken by each person of a room, and the floor: the time that a host or co-host gives to one person.
//!
//! A gateway measures how long its users talk ([`TalkTimer`]) and adds the time to the room's total in
//! portions. Listener nodes fold the totals ([`SpeakingTimes`]). Totals only grow, so a total that arrives
//! late or twice changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PersonId;
use crate::ids::{InvalidName, UnixMs};

/// Maximum number of people whose time is kept.
const MAX_PEOPLE: usize = 2000;

/// Time spoken in a room, in milliseconds, by person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpeakingTimes(BTreeMap<PersonId, u64>);

/// Stopwatch of one user's speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TalkTimer {
    /// Start of the speech that is not in `unreported` yet; `None` while the user is silent.
    since: Option<Duration>,
    unreported: Duration,
}

/// Speaking time that a host or co-host gives to one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Floor {
    pub person: PersonId,
    pub since: UnixMs,
    pub until: UnixMs,
}

/// Length of a floor: 5 to 3,600 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FloorSeconds(u32);

impl SpeakingTimes {
    /// Records the total of a person. Returns true if this changes the stored total.
    pub fn fold(&mut self, person: &PersonId, total_ms: u64) -> bool {
        let is_full = self.0.len() >= MAX_PEOPLE;
        match self.0.get_mut(person) {
            Some(known) if *known < total_ms => *known = total_ms,
            Some(_) => return false,
            None if is_full => return false,
            None => drop(self.0.insert(person.clone(), total_ms)),
        }
        true
    }

    /// Returns the time of a person in milliseconds; 0 if the person has not spoken.
    pub fn of(&self, person: &PersonId) -> u64 {
        self.0.get(person).copied().unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(PersonId, u64)> for SpeakingTimes {
    fn from_iter<I: IntoIterator<Item = (PersonId, u64)>>(all: I) -> Self {
        let mut times = Self::default();
        for (person, total) in all {
            times.fold(&person, total);
        }
        times
    }
}

impl TalkTimer {
    /// Records that the user starts or stops talking. `now` is monotonic.
    pub fn heard(&mut self, talking: bool, now: Duration) {
        self.count(now);
        self.since = talking.then_some(now);
    }

    /// Takes the time spoken since the last call that did not return `None`, in whole milliseconds. Returns
    /// `None` if this time is shorter than `at_least` or than one millisecond. A fraction of a millisecond is
    /// kept for the next call.
    pub fn take(&mut self, at_least: Duration, now: Duration) -> Option<u64> {
        self.count(now);
        let spoken = u64::try_from(self.unreported.as_millis()).unwrap_or(u64::MAX);
        if spoken == 0 || self.unreported < at_least {
            return None;
        }
        self.unreported = self.unreported.saturating_sub(Duration::from_millis(spoken));
        Some(spoken)
    }

    fn count(&mut self, now: Duration) {
        if let Some(since) = &mut self.since {
            self.unreported += now.saturating_sub(*since);
            *since = now;
        }
    }
}

impl FloorSeconds {
    /// Checks the number of seconds.
    ///
    /// # Errors
    /// The number is not 5 to 3,600.
    pub fn new(seconds: u32) -> Result<Self, InvalidName> {
        let ok = (5..=3_600).contains(&seconds);
        if ok { Ok(Self(seconds)) } else { Err(InvalidName { what: "seconds", rule: "must be 5 to 3600" }) }
    }

    pub(super) fn after(self, at: UnixMs) -> UnixMs {
        UnixMs(at.0.saturating_add(u64::from(self.0) * 1000))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> PersonId {
        PersonId::new(&format!("{n:016x}")).unwrap()
    }

    #[test]
    fn late_totals_change_nothing() {
        let mut times = SpeakingTimes::default();
        assert!(times.fold(&id(1), 500) && times.fold(&id(2), 100));
        assert!(!times.fold(&id(1), 400) && !times.fold(&id(1), 500));
        assert!(times.fold(&id(1), 900));
        assert_eq!((times.of(&id(1)), times.of(&id(2)), times.of(&id(3))), (900, 100, 0));
    }

    #[test]
    fn remembered_people_are_bounded() {
        let mut times: SpeakingTimes = (0..MAX_PEOPLE as u64).map(|n| (id(n), 1)).collect();
        assert!(!times.fold(&id(u64::MAX), 1));
        assert!(times.fold(&id(7), 2));
    }

    proptest! {
        /// The sum of all portions is the time talked, and no portion is below the minimum.
        #[test]
        fn portions_sum_up_to_talk(steps in prop::collection::vec((any::<bool>(), 0_u64..20_000), 1..60)) {
            let (mut timer, mut now, mut talks) = (TalkTimer::default(), Duration::ZERO, false);
            let (mut talked, mut reported) = (0, 0);
            for (talking, ms) in steps {
                timer.heard(talking, now);
                talks = talking;
                now += Duration::from_millis(ms);
                talked += if talks { ms } else { 0 };
                if let Some(portion) = timer.take(Duration::from_secs(10), now) {
                    prop_assert!(portion >= 10_000);
                    reported += portion;
                }
            }
            timer.heard(false, now);
            reported += timer.take(Duration::ZERO, now).unwrap_or_default();
            prop_assert_eq!(reported, talked, "{}", talks);
        }
    }
}

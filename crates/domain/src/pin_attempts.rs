//! Limit on wrong pins per minute for each user and address, so that pins cannot be guessed. This module is
//! pure: the time is an argument.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::ids::UserId;

const WINDOW: Duration = Duration::from_secs(60);
/// Number of entries above which entries without a recent wrong pin are removed.
const MANY: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    Right,
    Wrong,
    /// The attempt is rejected, whether the pin is right or wrong.
    TooMany {
        retry_after: Duration,
    },
}

#[derive(Debug, Default)]
pub struct PinAttempts {
    wrong: HashMap<(UserId, IpAddr), VecDeque<Duration>>,
}

impl PinAttempts {
    /// Decides one attempt, and counts it if the pin is wrong. `right`: the pin is correct. `per_minute`:
    /// maximum number of wrong pins.
    pub fn attempt(
        &mut self,
        user: &UserId,
        address: IpAddr,
        right: bool,
        per_minute: u32,
        now: Duration,
    ) -> Guess {
        if self.wrong.len() > MANY {
            self.wrong.retain(|_, times| times.back().is_some_and(|last| *last + WINDOW > now));
        }
        let times = self.wrong.entry((user.clone(), address)).or_default();
        while times.front().is_some_and(|first| *first + WINDOW <= now) {
            times.pop_front();
        }
        if times.len() >= per_minute as usize {
            // `times` is not empty, because at least one wrong pin per minute is allowed.
            let first = times.front().copied().unwrap_or(now);
            return Guess::TooMany { retry_after: (first + WINDOW).saturating_sub(now) };
        }
        if right {
            self.wrong.remove(&(user.clone(), address));
            return Guess::Right;
        }
        times.push_back(now);
        Guess::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_wrong_pins_block_right_one() {
        let mut attempts = PinAttempts::default();
        let (ann, here) = (UserId::new("ann").unwrap(), IpAddr::from([127, 0, 0, 1]));
        let at = Duration::from_secs;
        for second in 0..5 {
            assert_eq!(attempts.attempt(&ann, here, false, 5, at(second)), Guess::Wrong);
        }
        let wait = at(50);
        assert_eq!(attempts.attempt(&ann, here, true, 5, at(10)), Guess::TooMany { retry_after: wait });
        let elsewhere = IpAddr::from([127, 0, 0, 2]);
        assert_eq!(attempts.attempt(&ann, elsewhere, true, 5, at(10)), Guess::Right);
        assert_eq!(attempts.attempt(&ann, here, true, 5, at(60)), Guess::Right);
        assert_eq!(attempts.attempt(&ann, here, false, 5, at(60)), Guess::Wrong, "the count starts over");
    }

    #[test]
    fn old_pin_attempts_are_forgotten() {
        let mut attempts = PinAttempts::default();
        let here = IpAddr::from([127, 0, 0, 1]);
        for n in 0..3 * MANY as u64 {
            let user = UserId::new(&format!("u{n}")).unwrap();
            attempts.attempt(&user, here, false, 5, Duration::from_secs(n));
        }
        assert!(attempts.wrong.len() <= MANY + 1, "{}", attempts.wrong.len());
    }
}

//! Compaction of the store: decides how much of its history is kept.
//!
//! etcd stores every earlier value until its history is compacted. Without compaction, heartbeats, listener
//! counts and rooms would fill its database in weeks. Only watches read history. A watch that is further
//! behind than [`KEPT`] must list all keys again.

use std::collections::VecDeque;
use std::time::Duration;

/// Age up to which history is kept.
pub const KEPT: Duration = Duration::from_secs(300);
/// Interval between two samples of the revision, and therefore also between two compactions.
const EVERY: Duration = Duration::from_secs(60);

/// Recent revisions, with the times at which they were seen.
#[derive(Debug, Default)]
pub struct Compaction {
    seen: VecDeque<(Duration, i64)>,
}

impl Compaction {
    /// Records `revision`, the newest one known at `now` (monotonic). Returns the revision up to which
    /// history may be removed; `None` if no sample has reached the age [`KEPT`] since the last call.
    pub fn due(&mut self, revision: i64, now: Duration) -> Option<i64> {
        if self.seen.back().is_none_or(|(at, _)| *at + EVERY <= now) {
            self.seen.push_back((now, revision));
        }
        let mut due = None;
        while self.seen.front().is_some_and(|(at, _)| *at + KEPT <= now) {
            due = self.seen.pop_front().map(|(_, revision)| revision);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_of_five_minutes_is_kept() {
        let (mut compaction, mut compacted) = (Compaction::default(), -1);
        // One write per second, checked every ten seconds for a day.
        for second in (0..86_400).step_by(10) {
            let due = compaction.due(second, Duration::from_secs(second as u64));
            if let Some(due) = due {
                assert!(due > compacted && due <= second - 300, "{due} at {second}");
                compacted = due;
            }
            assert!(second - compacted <= 300 + 60 + 10 || second < 400, "{compacted} at {second}");
            assert!(compaction.seen.len() <= 6);
        }
    }

    #[test]
    fn compaction_catches_up_after_pause() {
        let mut compaction = Compaction::default();
        assert_eq!(compaction.due(7, Duration::ZERO), None);
        assert_eq!(compaction.due(9, Duration::from_secs(3600)), Some(7));
        assert_eq!(compaction.due(9, Duration::from_secs(3601)), None);
    }
}

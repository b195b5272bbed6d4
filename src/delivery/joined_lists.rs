//! Cache of the joined journals of recordings in use.
//!
//! Owns: how long a list is used. Does not read a journal or a clock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::recordings::JoinedRecording;
use crate::domain::recording::RecordingId;

/// Number of lists that are kept. An hour has 1,900 entries of 100 bytes each.
const KEPT: usize = 32;
/// Time for which an incomplete list is used before the mixers are asked again. If incomplete lists were not
/// cached, each segment of a download would cause a request to each mixer.
const INCOMPLETE_FOR: Duration = Duration::from_secs(5);

/// Lists with the times at which they were read, the newest last.
#[derive(Default)]
pub struct JoinedLists(Mutex<VecDeque<(Arc<JoinedRecording>, Instant)>>);

impl JoinedLists {
    /// Returns the list of this revision. `stored`: true for the list of the copy in object storage, false
    /// for that of the mixers.
    pub(super) fn find(
        &self,
        id: &RecordingId,
        revision: i64,
        stored: bool,
        now: Instant,
    ) -> Option<Arc<JoinedRecording>> {
        let mut lists = self.locked();
        lists.retain(|(list, read)| list.complete || now.duration_since(*read) < INCOMPLETE_FOR);
        let mut lists = lists.iter().map(|(list, _)| list);
        lists.find(|list| (&list.id, list.revision, list.stored) == (id, revision, stored)).cloned()
    }

    /// Caches `joined`, which was read at `now`. It replaces the cached list of the same recording and the
    /// same source (mixers or copy).
    pub(super) fn keep(&self, joined: &Arc<JoinedRecording>, now: Instant) {
        let mut lists = self.locked();
        lists.retain(|(list, _)| list.id != joined.id || list.stored != joined.stored);
        lists.push_back((joined.clone(), now));
        if lists.len() > KEPT {
            lists.pop_front();
        }
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<(Arc<JoinedRecording>, Instant)>> {
        // A poisoned lock is usable: every change leaves a complete list.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::recordings::tests::joined;

    #[test]
    fn incomplete_lists_are_used_for_seconds() {
        let (lists, began) = (JoinedLists::default(), Instant::now());
        let mut partial = joined(0..3);
        partial.complete = false;
        let partial = Arc::new(partial);
        let find = |revision, after| lists.find(&partial.id, revision, false, began + after);
        lists.keep(&partial, began);
        assert!(find(partial.revision, INCOMPLETE_FOR - Duration::from_millis(1)).is_some());
        assert!(find(partial.revision + 1, Duration::ZERO).is_none(), "the key has changed");
        assert!(find(partial.revision, INCOMPLETE_FOR).is_none(), "the mixers are asked again");
        let whole = Arc::new(joined(0..4));
        lists.keep(&whole, began);
        assert!(find(whole.revision, Duration::from_secs(1_000_000)).is_some());
        assert!(lists.find(&whole.id, whole.revision, true, began).is_none(), "of the copy");
    }
}

//! Lock of a room: no new anchor may join. Anchors who are in the room stay and may resume their sessions,
//! and hosts and co-hosts may join.
//!
//! Owns this rule. Does not write to the store, or read the presence entries.

use super::ids::UserId;
use super::room::{Admission, PatchDenied, RoomWrite};
use super::view::RoomView;

/// Effect of the lock on a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    Open,
    /// The user may enter only if the join resumes a media session. In that case, the user was in the room
    /// before, and presence has lost the entry.
    IfResumed,
    Locked,
}

impl Entry {
    /// Decides about a join. `is_host`: the user moderates the room. `present`: the user has a presence
    /// entry, on any gateway. `resuming`: the user sent a resume token.
    pub fn of(locked: bool, is_host: bool, present: bool, resuming: bool) -> Self {
        match (locked && !is_host && !present, resuming) {
            (false, _) => Self::Open,
            (true, true) => Self::IfResumed,
            (true, false) => Self::Locked,
        }
    }

    /// Returns true if the user may stay after the join. `resumed`: the join resumed a media session.
    pub fn admits(self, resumed: bool) -> bool {
        self == Self::Open || (self == Self::IfResumed && resumed)
    }
}

/// Decides a change of the lock. `by`: host or co-host who requests it. May be repeated.
///
/// # Errors
/// There is no such room, or it is being removed.
pub fn admit_lock(
    view: &RoomView,
    locked: bool,
    by: Option<UserId>,
) -> Result<Admission<RoomWrite>, PatchDenied> {
    let meta = view.meta.as_ref().ok_or(PatchDenied::NotFound)?;
    if meta.deleted_at.is_some() {
        return Err(PatchDenied::Removing);
    }
    if meta.profile.locked == locked {
        return Ok(Admission::AlreadyDone);
    }
    let mut meta = meta.value.clone();
    meta.profile.locked = locked;
    Ok(Admission::Accepted(RoomWrite::Lock { meta, by }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lock_keeps_out_only_newcomers(
            locked: bool, is_host: bool, present: bool, resuming: bool, resumed: bool,
        ) {
            let entry = Entry::of(locked, is_host, present, resuming);
            let knows_session = resuming && resumed;
            let admitted = entry.admits(knows_session);
            prop_assert_eq!(admitted, !locked || is_host || present || knows_session);
            prop_assert_eq!(entry == Entry::Locked, !entry.admits(true));
        }
    }
}

//! Time limits of a room: when it is ended without a request.
//!
//! Owns these limits. The clock is that of [`Ages`](crate::ages::Ages). Never writes.

use std::time::Duration;

use super::{RoomStatus, status};
use crate::ids::UnixMs;
use crate::view::RoomView;

/// Reason why a room is ended without a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The room was created and never started. The whole room is deleted.
    NeverStarted,
    /// The room has been on air or backstage for longer than allowed. The broadcast or backstage ends, and
    /// the room stays.
    TooOld,
    /// No anchor was in the room for its `emptyTimeout`. The broadcast ends, and the room stays.
    Empty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpiryLimits {
    pub never_started_after: Duration,
    /// Longest duration of a backstage, and of a broadcast if the room has no `maxDuration`.
    pub max_age: Duration,
}

/// Returns why the room has expired; `None`: it has not. `now` is the clock of an
/// [`Ages`](crate::ages::Ages), as for [`cleanup`](super::cleanup).
pub fn expiry(view: &RoomView, now: UnixMs, limits: &ExpiryLimits) -> Option<Expiry> {
    let (_, expiry) = lifetime(view, limits)?;
    (time_left(view, now, limits) == Some(Duration::ZERO)).then_some(expiry)
}

/// Returns the time until the room expires; `None` if the room does not expire. `now` is as for [`expiry`].
pub fn time_left(view: &RoomView, now: UnixMs, limits: &ExpiryLimits) -> Option<Duration> {
    let ((since, limit), _) = lifetime(view, limits)?;
    // A room expires when it is older than its limit, not when it is exactly as old.
    let limit = limit.saturating_add(Duration::from_millis(1));
    Some(limit.saturating_sub(Duration::from_millis(now.0.saturating_sub(since.0))))
}

/// Returns the time from which the room's age counts, its maximum age, and the kind of expiry.
fn lifetime(view: &RoomView, limits: &ExpiryLimits) -> Option<((UnixMs, Duration), Expiry)> {
    match status(view)? {
        RoomStatus::Removing => None,
        RoomStatus::Created => {
            let meta = view
                .meta
                .as_ref()
                .filter(|meta| meta.last_started_at.is_none() && meta.profile.starts_at.is_none())?;
            Some(((meta.created_at, limits.never_started_after), Expiry::NeverStarted))
        }
        RoomStatus::Backstage => Some(((view.live.as_ref()?.created_at, limits.max_age), Expiry::TooOld)),
        _ => Some(((view.live.as_ref()?.created_at, max_duration(view, limits)), Expiry::TooOld)),
    }
}

/// Returns the longest duration of the room's broadcasts. A backstage lasts at most `limits.max_age`.
pub fn max_duration(view: &RoomView, limits: &ExpiryLimits) -> Duration {
    let own = view.meta.as_ref().and_then(|meta| meta.profile.max_duration);
    own.map_or(limits.max_age, |seconds| Duration::from_secs(seconds.into()))
}

/// Returns the time without anchors after which the room's broadcast ends; `None` if there is no such limit,
/// or the room is not on air.
pub fn empty_timeout(view: &RoomView) -> Option<Duration> {
    let seconds = view.meta.as_ref()?.profile.empty_timeout.filter(|_| view.is_on_air())?;
    Some(Duration::from_secs(seconds.into()))
}

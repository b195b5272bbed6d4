//! Schedule: when a room with a `startsAt` is put on air, and when its time has been missed.
//!
//! ```text
//!            startsAt                        startsAt + LATE
//!   waits ───────────▶ start, again after failures ─────────▶ missed: the room stays, without schedule
//! ```
//! The start and the removal of `startsAt` are one transaction, so a room is started only once, even if the
//! leader changes.
//!
//! A start time is wall-clock time. A step of this node's wall clock must not start a room early, so
//! [`SteadyWallClock`] follows a step only after it has lasted for [`LASTING`].
//!
//! Owns these rules, and the time of the next attempt for each room. Never writes.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known;

use super::civil_time::Rfc3339;
use super::ids::{InvalidName, RoomId, UnixMs};
use super::model::Meta;
use super::profile::ProfileError;
use super::room::{Admission, RoomStatus, RoomWrite, status};
use super::timeline::Moment;
use super::view::{RoomView, Rooms};

/// Time after `startsAt` in which the room is still started, if it could not be started earlier.
pub const LATE: Duration = Duration::from_secs(15 * 60);
/// Longest time from now until `startsAt`.
const FURTHEST: Duration = Duration::from_secs(366 * 86_400);
/// Time between two attempts to start a room.
const RETRY: Duration = Duration::from_secs(2);
/// Longest time between two rounds while a room waits. Within this time, a step of the wall clock is noticed.
const ROUND: Duration = Duration::from_secs(5);
/// Largest deviation of the wall clock that is followed immediately, in milliseconds. The slow corrections by
/// NTP stay below it.
const DRIFT: i64 = 1_000;
/// Time for which a step of the wall clock must last before it is followed.
const LASTING: Duration = Duration::from_secs(30);

/// Refusal of a start time for a room on air.
pub const ON_AIR: ProfileError =
    ProfileError::Immutable { field: "startsAt", why: "the broadcast has started; stop the room first" };

/// `startsAt`: time at which a room is put on air. Written in RFC 3339 format, in UTC with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StartTime(pub UnixMs);

impl StartTime {
    /// Parses a time in RFC 3339 format (section 5.6), in any time zone; fractions below a millisecond are
    /// dropped.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let parsed = OffsetDateTime::parse(text, &well_known::Rfc3339).ok();
        let ms = parsed.and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok());
        ms.map(|ms| Self(UnixMs(ms)))
            .ok_or(invalid("must be a time in RFC 3339 format, such as 2026-01-31T18:00:00Z"))
    }

    /// Checks that the time is in the future, and not too far ahead. `now` is wall-clock time.
    pub fn check(self, now: UnixMs) -> Result<(), InvalidName> {
        if self.0 <= now {
            return Err(invalid(
                "must be in the future; to start the room now, use POST /api/rooms/{id}/start",
            ));
        }
        let furthest = now.0.saturating_add(FURTHEST.as_millis() as u64);
        if self.0.0 > furthest { Err(invalid("must be at most 366 days ahead")) } else { Ok(()) }
    }

    /// Returns true if the room can no longer be started for this time.
    pub fn is_missed(self, now: UnixMs) -> bool {
        u128::from(now.0.saturating_sub(self.0.0)) > LATE.as_millis()
    }
}

fn invalid(rule: &'static str) -> InvalidName {
    InvalidName { what: "startsAt", rule }
}

impl fmt::Display for StartTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Rfc3339(self.0).fmt(f)
    }
}

impl TryFrom<String> for StartTime {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl From<StartTime> for String {
    fn from(time: StartTime) -> Self {
        time.to_string()
    }
}

/// Next step of a scheduled room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleStep {
    Start,
    /// It is too late to start the room. The schedule is removed.
    Miss,
}

/// Returns the next step of the room; `None`: it waits, or nothing is scheduled. `now` is wall-clock time.
pub fn due(view: &RoomView, now: UnixMs) -> Option<ScheduleStep> {
    let at = view.starts_at().filter(|at| at.0 <= now)?;
    if view.unreadable_part().is_some() {
        return None;
    }
    match status(view)? {
        RoomStatus::Created | RoomStatus::Backstage if at.is_missed(now) => Some(ScheduleStep::Miss),
        RoomStatus::Created | RoomStatus::Backstage => Some(ScheduleStep::Start),
        // A start removes the schedule. Therefore a room with a schedule and any other status is being
        // removed, or was changed manually in the store.
        _ => None,
    }
}

/// Decides the removal of a missed schedule. Changes nothing if the room has been rescheduled meanwhile.
pub fn admit_miss(view: &RoomView, now: UnixMs) -> Admission<RoomWrite> {
    let missed = due(view, now) == Some(ScheduleStep::Miss);
    let Some(meta) = view.meta.as_ref().filter(|_| missed) else { return Admission::AlreadyDone };
    let mut meta: Meta = meta.value.clone();
    meta.profile.starts_at = None;
    Admission::Accepted(RoomWrite::Put { meta: Some(meta), live: None })
}

/// State of the leader's work on the schedules of all rooms.
#[derive(Debug, Default)]
pub struct Scheduler {
    clock: SteadyWallClock,
    /// Rooms whose last attempt has failed, with the time of the next one.
    retries: BTreeMap<RoomId, Duration>,
    /// Time of the next round (monotonic); `None` while nothing is scheduled.
    next: Option<Duration>,
}

/// Step of a room, and the wall-clock time at which it was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleTask {
    pub room: RoomId,
    pub step: ScheduleStep,
    pub at: UnixMs,
}

impl Scheduler {
    /// Returns the steps that are due, the earliest schedule first. Sets the time of the next step.
    pub fn round(&mut self, rooms: &Rooms, moment: Moment) -> Vec<ScheduleTask> {
        let (now, wall) = (moment.now, self.clock.read(moment));
        let scheduled = |room: &RoomId| rooms.get(room).and_then(|view| view.starts_at());
        self.retries.retain(|room, _| scheduled(room).is_some());
        self.next = None;
        let mut tasks = Vec::new();
        for (room, view) in rooms {
            let Some(at) = scheduled(room) else { continue };
            let left = Duration::from_millis(at.0.0.saturating_sub(wall.0));
            let retry = self.retries.get(room).copied().unwrap_or_default();
            match due(view, wall).filter(|_| retry <= now) {
                Some(step) => tasks.push((at, ScheduleTask { room: room.clone(), step, at: wall })),
                None => {
                    let next = now + left.max(retry.saturating_sub(now)).min(ROUND);
                    self.next = Some(self.next.map_or(next, |known| known.min(next)));
                }
            }
        }
        tasks.sort_by_key(|(at, _)| *at);
        tasks.into_iter().map(|(_, task)| task).collect()
    }

    /// Records that a step was carried out, or was found to be unnecessary.
    pub fn done(&mut self, room: &RoomId) {
        self.retries.remove(room);
    }

    /// Records that a step has failed.
    pub fn failed(&mut self, room: RoomId, now: Duration) {
        self.retries.insert(room, now + RETRY);
        let again = now + RETRY;
        self.next = Some(self.next.map_or(again, |next| next.min(again)));
    }

    /// Returns the time of the next round (monotonic), which the last round computed.
    pub fn next(&self) -> Option<Duration> {
        self.next
    }
}

/// Wall clock that ignores a step until it has lasted for [`LASTING`].
#[derive(Debug, Default)]
struct SteadyWallClock {
    /// Wall clock minus monotonic clock, in milliseconds.
    offset: Option<i64>,
    /// Offset after a step, and the time at which this offset was first seen.
    step: Option<(i64, Duration)>,
}

impl SteadyWallClock {
    fn read(&mut self, Moment { now, wall }: Moment) -> UnixMs {
        let since_start = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let offset = i64::try_from(wall.0).unwrap_or(i64::MAX).saturating_sub(since_start);
        let close = |known: i64| offset.saturating_sub(known).abs() <= DRIFT;
        let known = *self.offset.get_or_insert(offset);
        let lasting = |(step, since): (i64, Duration)| close(step) && now.saturating_sub(since) >= LASTING;
        if close(known) || self.step.is_some_and(lasting) {
            (self.offset, self.step) = (Some(offset), None);
        } else if !self.step.is_some_and(|(step, _)| close(step)) {
            self.step = Some((offset, now));
        }
        let trusted = self.offset.unwrap_or(offset).saturating_add(since_start);
        UnixMs(u64::try_from(trusted).unwrap_or(0))
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;

//! The event ledger: events of rooms, their order and their age.
//!
//! The event of a change in the store is written in the same transaction as the change, so neither exists
//! without the other. The position of an event in the ledger is its [`Cursor`]: the transaction's store
//! revision, and a number within the transaction. All nodes therefore see the events of all rooms in the same
//! order.
//!
//! Owns: the events of each change, and the retention. Never writes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::civil_time::Rfc3339;
pub use super::event_type::EventType;
use super::ids::{RoomId, UnixMs, UserId};
use super::model::{EndReason, LiveMeta, LiveStatus, Meta, User};
use super::recording::{Recording, RecordingId, Take};
use super::reported_anchors::{PresentAnchor, ReportedAnchors, reported};
use super::reported_hands::HandChange;
use super::roles::RoomRole;
use super::room::RoomWrite;
use super::view::RoomView;

/// Maximum number of events kept, whatever their age. This bounds the memory of the nodes and the size of the
/// store: 100,000 events take about 60 MB.
pub const MOST_EVENTS: usize = 100_000;
/// Maximum number of events in one transaction: a single digit of an [`EventId`] numbers them.
pub const MOST_PER_WRITE: usize = 10;

/// Event before it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    pub kind: EventType,
    pub data: Value,
}

/// Value of an event's key in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// The type as text, because a newer node may write types that this version does not have.
    #[serde(rename = "type")]
    pub kind: String,
    pub time: UnixMs,
    pub data: Value,
}

/// Id of an event: `evt_`, 32 hexadecimal digits, and one digit that orders the events of a transaction.
/// Every delivery of an event has the same id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(String);

/// Position in the ledger: the transaction's store revision, and the number of the event within the
/// transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    pub revision: i64,
    pub index: u8,
}

/// Error for a text that is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the cursor of an event, or 0")]
pub struct InvalidCursor;

impl EventId {
    /// Returns the id of event `index` of a transaction. `random` is new for each transaction.
    pub fn new(random: u128, index: u8) -> Self {
        Self(format!("evt_{random:032x}{}", index % 10))
    }

    /// Parses an id, as in the last part of an event's key; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("evt_")?;
        let ok =
            digits.len() == 33 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (ok && digits.as_bytes()[32].is_ascii_digit()).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the number of the event within its transaction.
    pub fn index(&self) -> u8 {
        self.0.bytes().last().map_or(0, |digit| digit.wrapping_sub(b'0'))
    }
}

impl EventRecord {
    pub fn new(event: NewEvent, time: UnixMs) -> Self {
        Self { kind: event.kind.as_str().to_owned(), time, data: event.data }
    }

    /// Returns the event as API clients receive it.
    pub fn public(&self, id: &EventId, room: &RoomId, cursor: Cursor) -> Value {
        json!({
            "id": id.as_str(),
            "cursor": cursor.to_string(),
            "type": self.kind,
            "roomId": room,
            "time": Rfc3339(self.time).to_string(),
            "data": self.data,
        })
    }
}

impl Cursor {
    /// Returns the position directly before this one.
    pub fn before(self) -> Self {
        match self.index.checked_sub(1) {
            Some(index) => Self { index, ..self },
            None => Self { revision: self.revision.saturating_sub(1), index: u8::MAX },
        }
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

impl TryFrom<String> for Cursor {
    type Error = InvalidCursor;

    fn try_from(text: String) -> Result<Self, InvalidCursor> {
        text.parse()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.revision, self.index)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    /// Parses `revision.index`, or a revision alone.
    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (revision, index) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(revision) || !digits(index) {
            return Err(InvalidCursor);
        }
        let parsed = revision.parse().ok().zip(index.parse().ok());
        parsed.map(|(revision, index)| Self { revision, index }).ok_or(InvalidCursor)
    }
}

/// Returns the events for a write to a room, in order. `view`: the room before the write; `now`: time of the
/// write.
pub fn of_write(view: &RoomView, write: &RoomWrite, now: UnixMs) -> Vec<NewEvent> {
    let event = |kind, data| NewEvent { kind, data };
    match write {
        RoomWrite::Put { meta, live } => {
            let new_room = meta.as_ref().filter(|_| view.meta.is_none());
            let created =
                new_room.map(|meta| event(EventType::RoomCreated, json!({ "maxAnchors": meta.max_anchors })));
            let changed = live.as_ref().and_then(|live| of_broadcast(view, live, meta.as_ref(), now));
            let lock = meta.as_ref().and_then(|meta| of_lock(view, meta, None));
            let schedule = meta.as_ref().filter(|_| live.is_none() || view.meta.is_none());
            let schedule = schedule.and_then(|meta| of_schedule(view, meta, now));
            created.into_iter().chain(lock).chain(schedule).chain(changed).collect()
        }
        RoomWrite::ClearAll if view.meta.is_some() => vec![event(EventType::RoomDeleted, json!({}))],
        RoomWrite::Roles { users, by } => {
            let changed = users.iter().map(|(id, user)| {
                let role = user.assigned.unwrap_or(user.role.into());
                let mut data = json!({ "userId": id, "role": role });
                if let Some(by) = by {
                    data["by"] = json!(by);
                }
                event(EventType::RoleChanged, data)
            });
            changed.collect()
        }
        RoomWrite::Muted { user, muted, by } => {
            let kind = if *muted { EventType::AnchorMuted } else { EventType::AnchorUnmuted };
            vec![event(kind, json!({ "userId": user, "by": by }))]
        }
        RoomWrite::MuteAll(order) => vec![event(EventType::RoomMuted, authored(order.by.as_ref()))],
        RoomWrite::Lock { meta, by } => of_lock(view, meta, by.as_ref()).into_iter().collect(),
        RoomWrite::ClearAll
        | RoomWrite::ClearLive
        | RoomWrite::Recording(_)
        | RoomWrite::Outputs(_)
        // Sources have no events of their own. Their joins and leaves are reported as those of anchors.
        | RoomWrite::Sources(_) => Vec::new(),
        RoomWrite::Anchors { reported, joined, hands } => {
            let hands = hands.iter().map(HandChange::event);
            of_anchors(view, reported, joined, now).into_iter().chain(hands).collect()
        }
        RoomWrite::User { id, user, by, .. } => of_user(view, (id, user.as_ref()), by.as_ref()),
    }
}

/// Returns the event that reports that a recording can be played.
pub fn recording_ready(id: &RecordingId, recording: &Recording) -> NewEvent {
    let sum = |of: fn(&Take) -> u64| recording.takes.values().map(of).sum::<u64>();
    let data = json!({
        "recordingId": id,
        "startedAt": Rfc3339(recording.started_at).to_string(),
        "durationMs": sum(|take| take.duration_ms),
        "bytes": sum(|take| take.bytes),
    });
    NewEvent { kind: EventType::RecordingReady, data }
}

/// Returns the events for the anchors who left, then for those who joined, then for a new maximum of
/// listeners.
fn of_anchors(
    view: &RoomView,
    now_reported: &ReportedAnchors,
    joined: &[PresentAnchor],
    now: UnixMs,
) -> Vec<NewEvent> {
    let before = reported(view);
    let anchors = before.map(|known| &known.anchors);
    let gone = anchors.into_iter().flatten().filter(|(user, _)| !now_reported.anchors.contains_key(*user));
    let left = gone.map(|(user, since)| {
        let mut data = json!({
            "userId": user,
            "joinedAt": Rfc3339(*since).to_string(),
            "durationMs": now.0.saturating_sub(since.0),
        });
        if let Some(source) = before.and_then(|known| known.sources.get(user)) {
            data["source"] = json!(source);
        }
        NewEvent { kind: EventType::AnchorLeft, data }
    });
    let joined = joined.iter().map(|PresentAnchor { user, role, name, source, consent, .. }| {
        let mut data = json!({ "userId": user, "role": role });
        if let Some(name) = name {
            data["displayName"] = json!(name);
        }
        if !source.is_signalling() {
            data["source"] = json!(source);
        }
        if *consent {
            data["recordingConsent"] = json!(true);
        }
        NewEvent { kind: EventType::AnchorJoined, data }
    });
    let peak = now_reported.listener_peak;
    let peak = peak.filter(|_| peak != before.and_then(|known| known.listener_peak));
    let peak = peak
        .map(|listeners| NewEvent { kind: EventType::ListenerPeak, data: json!({ "listeners": listeners }) });
    left.chain(joined).chain(peak).collect()
}

/// Returns the data of an event that has only an author. `by`: host or co-host; `None`: the room API.
fn authored(by: Option<&UserId>) -> serde_json::Value {
    by.map_or(json!({}), |by| json!({ "by": by }))
}

fn of_lock(view: &RoomView, meta: &Meta, by: Option<&UserId>) -> Option<NewEvent> {
    let kind = match (view.is_locked(), meta.profile.locked) {
        (false, true) => EventType::RoomLocked,
        (true, false) => EventType::RoomUnlocked,
        _ => return None,
    };
    Some(NewEvent { kind, data: authored(by) })
}

/// Returns the event for a schedule change; `None` if the schedule has not changed. Must not be called for
/// the start of a room, which also removes the start time.
fn of_schedule(view: &RoomView, meta: &Meta, now: UnixMs) -> Option<NewEvent> {
    let event = |kind, data| Some(NewEvent { kind, data });
    match (view.starts_at(), meta.profile.starts_at) {
        (before, Some(at)) if before != Some(at) => {
            event(EventType::RoomScheduled, json!({ "startsAt": at }))
        }
        (Some(at), None) => {
            let missed = at.is_missed(now);
            event(EventType::RoomUnscheduled, json!({ "startsAt": at, "missed": missed }))
        }
        _ => None,
    }
}

/// Returns the event for a write to user `id`. `by`: host or co-host who requested the write.
fn of_user(view: &RoomView, (id, user): (&UserId, Option<&User>), by: Option<&UserId>) -> Vec<NewEvent> {
    let before = view.users.get(id).map(|user| &user.value);
    let is_kicked = |user: Option<&User>| user.is_some_and(|user| user.is_banned() && user.kicked);
    let is_banned = |user: Option<&User>| user.is_some_and(|user| user.is_banned() && !user.kicked);
    let mut data = json!({ "userId": id });
    let kind = match user {
        _ if is_banned(user) && !is_banned(before) => EventType::UserBanned,
        _ if is_kicked(user) && !is_kicked(before) => EventType::UserKicked,
        _ if is_banned(before) && !is_banned(user) => EventType::UserUnbanned,
        Some(user)
            if before.is_none_or(|before| before.role != user.role || returns_to_stage(before, user)) =>
        {
            data["role"] = json!(user.role);
            EventType::AnchorInvited
        }
        _ => return Vec::new(),
    };
    if let Some(by) = by {
        data["by"] = json!(by);
    }
    vec![NewEvent { kind, data }]
}

/// Returns true if the user was a listener before this invitation and may speak again after it.
fn returns_to_stage(before: &User, user: &User) -> bool {
    before.assigned == Some(RoomRole::Listener) && user.assigned.is_none()
}

fn of_broadcast(view: &RoomView, live: &LiveMeta, meta: Option<&Meta>, now: UnixMs) -> Option<NewEvent> {
    let before = view.live.as_ref().filter(|before| before.status != LiveStatus::Removing);
    let assignment = json!({ "epoch": live.epoch, "janusId": live.janus_id, "mixerId": live.mixer_id });
    let (kind, data) = match (live.status, before) {
        (LiveStatus::OnAir, None) => (EventType::RoomStarted, assignment),
        (LiveStatus::Backstage, None) => (EventType::BackstageOpened, assignment),
        (LiveStatus::OnAir, Some(before)) if before.status == LiveStatus::Backstage => {
            (EventType::RoomStarted, assignment)
        }
        (LiveStatus::OnAir | LiveStatus::Backstage, Some(before)) if before.epoch != live.epoch => {
            let from = json!({ "janusId": before.janus_id, "mixerId": before.mixer_id });
            let data = json!({
                "epoch": live.epoch, "janusId": live.janus_id, "mixerId": live.mixer_id, "from": from,
            });
            (EventType::RoomMoved, data)
        }
        (LiveStatus::Removing, Some(before)) if before.status == LiveStatus::Backstage => {
            (EventType::BackstageClosed, json!({ "reason": end_reason(meta) }))
        }
        (LiveStatus::Removing, Some(before)) => {
            let data = json!({
                "reason": end_reason(meta),
                "startedAt": Rfc3339(before.created_at).to_string(),
                "durationMs": now.0.saturating_sub(before.created_at.0),
            });
            (EventType::RoomEnded, data)
        }
        _ => return None,
    };
    Some(NewEvent { kind, data })
}

/// Returns the reason for the end of a broadcast. `meta`: metadata in the write that ends it.
fn end_reason(meta: Option<&Meta>) -> Value {
    match meta {
        Some(meta) if meta.deleted_at.is_some() => json!("deleted"),
        // Livemeta without meta results only from a manual write to the store.
        meta => json!(meta.and_then(|meta| meta.last_end).unwrap_or(EndReason::Other)),
    }
}

/// Returns how many of the oldest events to delete. `times`: times of all events, in the order of the ledger.
/// An event is deleted only with all events before it, so that the ledger has no gaps.
pub fn expired(times: impl ExactSizeIterator<Item = UnixMs>, now: UnixMs, retention: Duration) -> usize {
    let surplus = times.len().saturating_sub(MOST_EVENTS);
    let is_old = |time: UnixMs| now.0.saturating_sub(time.0) as u128 > retention.as_millis();
    times.take_while(|time| is_old(*time)).count().max(surplus)
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;

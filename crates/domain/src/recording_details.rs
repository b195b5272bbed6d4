//! Details of a recording: its anchors with the times at which they were in the room, and its chapters. This
//! module is pure.
//!
//! Anchors and chapters are derived from the events of the room. They are written to the recording's key when
//! the recording becomes ready, because events are deleted after their retention.
//!
//! A chapter begins at the start of the recording, and whenever the anchors in the room change. Changes
//! within [`SHORTEST_CHAPTER`] after the start of a chapter belong to that chapter. While no anchor is in the
//! room, the previous chapter continues. The title of a chapter is the list of its anchors.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::events::EventType;
use super::ids::{UnixMs, UserId};
use super::presence_entry::Source;
use super::roles::RoomRole;

/// Time after the start of a chapter within which a change of the anchors does not begin a new chapter.
pub const SHORTEST_CHAPTER: Duration = Duration::from_secs(30);
/// Maximum number of chapters. If there are more, [`SHORTEST_CHAPTER`] is doubled until they fit.
pub const MOST_CHAPTERS: usize = 100;
/// Maximum number of anchors; later ones are left out.
pub(super) const MOST_ANCHORS: usize = 100;
/// Maximum number of visits per anchor; later ones are left out.
const MOST_VISITS: usize = 50;
/// Title of a chapter without anchors.
const NOBODY: &str = "Nobody on stage";

/// Anchors and chapters of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordingDetails {
    /// Anchors who were in the room during the recording, ordered by when they first joined the room.
    #[serde(default)]
    pub anchors: Vec<RecordedAnchor>,
    #[serde(default)]
    pub chapters: Vec<Chapter>,
}

/// Anchor of a recorded room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct RecordedAnchor {
    /// Id of the user.
    #[cfg_attr(feature = "utoipa", schema(value_type = String))]
    pub user_id: UserId,
    /// Name of the user, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    pub role: RoomRole,
    /// `whip` if the user published with WHIP, `url` or `file` for a source; absent for clients with a
    /// WebSocket.
    #[serde(default, skip_serializing_if = "Source::is_signalling")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<String>))]
    pub source: Source,
    /// True if, on every join, the user agreed to be recorded, as `recording.consent: required` demands.
    #[serde(default)]
    pub recording_consent: bool,
    /// Time that the user has spoken in the recording, in milliseconds; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spoken_ms: Option<u64>,
    /// Times at which the user was in the room, in order.
    pub visits: Vec<Visit>,
}

/// Period that an anchor spent in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct Visit {
    /// Time at which the anchor joined; may be before the start of the recording.
    #[cfg_attr(feature = "utoipa", schema(value_type = u64))]
    pub joined_at: UnixMs,
    /// Time at which the anchor left, at the latest the end of the recording.
    #[cfg_attr(feature = "utoipa", schema(value_type = u64))]
    pub left_at: UnixMs,
}

/// Chapter of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct Chapter {
    /// Time at which the chapter begins. It lasts until the next one begins.
    #[cfg_attr(feature = "utoipa", schema(value_type = u64))]
    pub started_at: UnixMs,
    pub title: String,
}

/// Event of a room, read from the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomEvent {
    pub kind: EventType,
    pub time: UnixMs,
    pub data: Value,
}

impl RecordingDetails {
    /// Returns the details of a recording. `events`: the events of the room, in order, including those before
    /// the recording; `started` and `ended`: first and last moment of the recording.
    pub fn of(events: &[RoomEvent], started: UnixMs, ended: UnixMs) -> Self {
        let mut anchors = visits(events, started, ended);
        for anchor in &mut anchors {
            anchor.visits.retain(|visit| visit.left_at > started && visit.joined_at < ended);
        }
        anchors.retain(|anchor| !anchor.visits.is_empty());
        let chapters = chapters(&anchors, started, ended);
        anchors.truncate(MOST_ANCHORS);
        anchors.iter_mut().for_each(|anchor| anchor.visits.truncate(MOST_VISITS));
        Self { anchors, chapters }
    }
}

/// Returns all anchors with their visits up to `ended`. Only visits that end after `started` count for the
/// consent.
fn visits(events: &[RoomEvent], started: UnixMs, ended: UnixMs) -> Vec<RecordedAnchor> {
    let mut anchors: Vec<RecordedAnchor> = Vec::new();
    let open = UnixMs(u64::MAX);
    for RoomEvent { kind, time, data } in events.iter().take_while(|event| event.time <= ended) {
        let user = data["userId"].as_str().and_then(|id| UserId::new(id).ok());
        let mut leave = |leaves: &dyn Fn(&UserId) -> bool| {
            for anchor in anchors.iter_mut().filter(|anchor| leaves(&anchor.user_id)) {
                if let Some(visit) = anchor.visits.last_mut().filter(|visit| visit.left_at == open) {
                    visit.left_at = *time;
                }
            }
        };
        match (kind, user) {
            (EventType::AnchorJoined, Some(user)) => {
                let visit = Visit { joined_at: *time, left_at: open };
                let role = serde_json::from_value(data["role"].clone()).unwrap_or(RoomRole::Anchor);
                let display_name = data["displayName"].as_str().map(str::to_owned);
                let source = serde_json::from_value(data["source"].clone()).unwrap_or_default();
                let consent = data["recordingConsent"] == true;
                match anchors.iter_mut().find(|anchor| anchor.user_id == user) {
                    Some(anchor) => {
                        (anchor.role, anchor.source) = (role, source);
                        let is_first = anchor.visits.iter().all(|visit| visit.left_at <= started);
                        anchor.recording_consent = consent && (is_first || anchor.recording_consent);
                        anchor.display_name = display_name.or(anchor.display_name.take());
                        anchor.visits.push(visit);
                    }
                    None => {
                        let visits = vec![visit];
                        anchors.push(RecordedAnchor {
                            user_id: user,
                            display_name,
                            role,
                            source,
                            recording_consent: consent,
                            spoken_ms: None,
                            visits,
                        });
                    }
                }
            }
            (EventType::AnchorLeft, Some(user)) => leave(&|known| *known == user),
            // The end of a broadcast ends all visits, without an event for each.
            (kind, _) if kind.ends_broadcast() => leave(&|_| true),
            _ => {}
        }
    }
    let all = anchors.iter_mut().flat_map(|anchor| &mut anchor.visits);
    all.for_each(|visit| visit.left_at = visit.left_at.min(ended));
    anchors
}

/// Returns the chapters, at most [`MOST_CHAPTERS`].
fn chapters(anchors: &[RecordedAnchor], started: UnixMs, ended: UnixMs) -> Vec<Chapter> {
    let visits = || anchors.iter().flat_map(|anchor| &anchor.visits);
    let mut moments: Vec<_> = visits().flat_map(|visit| [visit.joined_at, visit.left_at]).collect();
    moments.retain(|moment| *moment > started && *moment < ended);
    moments.sort_unstable();
    moments.dedup();
    let mut shortest = SHORTEST_CHAPTER;
    loop {
        let chapters = chapters_of(anchors, started, &moments, shortest);
        if chapters.len() <= MOST_CHAPTERS {
            return chapters;
        }
        shortest *= 2;
    }
}

fn chapters_of(
    anchors: &[RecordedAnchor],
    started: UnixMs,
    moments: &[UnixMs],
    shortest: Duration,
) -> Vec<Chapter> {
    let mut chapters = vec![Chapter { started_at: started, title: title_at(anchors, started) }];
    for moment in moments {
        let title = title_at(anchors, *moment);
        // While no anchor is in the room, the previous chapter continues.
        let Some(last) = chapters.last_mut().filter(|last| last.title != title && title != NOBODY) else {
            continue;
        };
        let age = moment.0 - last.started_at.0;
        if u128::from(age) < shortest.as_millis() || last.title == NOBODY {
            last.title = title;
        } else {
            chapters.push(Chapter { started_at: *moment, title });
        }
    }
    // A change that was undone within `shortest` leaves two chapters in a row with the same anchors.
    chapters.dedup_by(|later, earlier| later.title == earlier.title);
    chapters
}

/// Returns the title of a chapter: the list of the anchors in the room at this moment.
fn title_at(anchors: &[RecordedAnchor], moment: UnixMs) -> String {
    let is_here = |anchor: &&RecordedAnchor| {
        anchor.visits.iter().any(|visit| visit.joined_at <= moment && moment < visit.left_at)
    };
    let here: Vec<_> = anchors.iter().filter(is_here).collect();
    let names: Vec<_> = here.iter().filter_map(|anchor| anchor.display_name.as_deref()).collect();
    let unnamed = here.len() - names.len();
    let others = match (names.len(), unnamed) {
        (_, 0) => None,
        (0, 1) => Some("1 anchor".to_owned()),
        (0, count) => Some(format!("{count} anchors")),
        (_, 1) => Some("1 other".to_owned()),
        (_, count) => Some(format!("{count} others")),
    };
    let parts: Vec<_> = names.into_iter().map(str::to_owned).chain(others).collect();
    match parts.split_last() {
        None => NOBODY.to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, first)) => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
#[path = "recording_details_tests.rs"]
mod tests;

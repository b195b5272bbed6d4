//! Profile of a room: fields that the application sets at creation and can change at any time, even on air
//! (except the start time).
//!
//! ```text
//! profile + JSON merge patch (RFC 7396) ── merged ──▶ profile | ProfileError naming the field
//! ```
//! Owns: the fields, their limits, the list of fields that cannot be changed, and the filter for lists. Never
//! writes.

mod filter;
mod values;

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ids::InvalidName;
use super::recording::RecordingMode;
use super::schedule::StartTime;

pub use filter::RoomFilter;
pub use values::{CoverUrl, CustomData, Description, Language, Owner, Tag, Tags, Title};

/// Allowed values of `listenerLimit`.
pub const LISTENER_LIMITS: RangeInclusive<u32> = 1..=1_000_000;
/// Allowed values of `maxDuration` and `emptyTimeout`, in seconds: at most a week.
pub const ROOM_TIMES: RangeInclusive<u32> = 1..=604_800;
/// Allowed values of `rewind`, in seconds: at most three hours.
pub const REWINDS: RangeInclusive<u32> = 0..=10_800;

/// Profile of a room. An absent field is not set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RoomProfile {
    /// Title: at most 100 visible characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<String>, min_length = 1, max_length = 100))]
    pub title: Option<Title>,
    /// Description: at most 2,000 visible characters; may contain line breaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<String>, min_length = 1, max_length = 2000))]
    pub description: Option<Description>,
    /// Language of the broadcast, a BCP 47 language tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<String>, min_length = 2, max_length = 64))]
    pub language: Option<Language>,
    /// Tags: at most 10 of at most 32 visible characters each, in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<Vec<String>>, max_items = 10))]
    pub tags: Option<Tags>,
    /// Image of the room: an https URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<String>, pattern = "^https://", max_length = 1024))]
    pub cover_url: Option<CoverUrl>,
    /// Owner: an id that the application chooses, at most 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<String>, min_length = 1, max_length = 255))]
    pub owner: Option<Owner>,
    /// JSON object of the application: at most 4,096 bytes, nested at most 8 levels deep. Not interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<Object>))]
    pub custom: Option<CustomData>,
    /// Maximum number of listeners at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(minimum = 1, maximum = 1_000_000))]
    pub listener_limit: Option<u32>,
    /// Selection of the broadcasts of this room that are recorded. Overrides `recording.mode`, unless that
    /// is `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "utoipa",
        schema(value_type = Option<String>, pattern = "^(off|on_request|always)$")
    )]
    pub recording_mode: Option<RecordingMode>,
    /// Time at which the room goes on air automatically (RFC 3339): in the future, and at most a year ahead.
    /// Each start removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<String>, format = DateTime))]
    pub starts_at: Option<StartTime>,
    /// Maximum duration of a broadcast, in seconds. Overrides `rooms.max_age`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(minimum = 1, maximum = 604_800))]
    pub max_duration: Option<u32>,
    /// Time without anchors, in seconds, after which a broadcast ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(minimum = 1, maximum = 604_800))]
    pub empty_timeout: Option<u32>,
    /// Time that listeners can go back during a broadcast, in seconds; 0: not at all. Overrides `hls.rewind`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(minimum = 0, maximum = 10_800))]
    pub rewind: Option<u32>,
    /// True if no new anchor may join; absent otherwise. Anchors in the room stay, and hosts and co-hosts may
    /// join.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<bool>))]
    pub locked: bool,
    /// True if title, description and cover are shown to people without a token, as in link previews; absent
    /// otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<bool>))]
    pub public: bool,
}

/// Reason why a change of the profile was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    #[error("unknown field `{0}`")]
    Unknown(String),
    #[error("{0} must be {1}")]
    WrongType(&'static str, &'static str),
    #[error(transparent)]
    Invalid(InvalidName),
    #[error("{field} cannot be changed: {why}")]
    Immutable { field: &'static str, why: &'static str },
}

/// Fields of a room that a patch cannot change, with the reason.
const IMMUTABLE: [(&str, &str); 7] = [
    ("roomId", "it is the room's name in every URL and token"),
    ("pin", "anchors were given it with their invitations; create another room"),
    ("maxAnchors", "the level of each anchor in the mix depends on it; create another room"),
    ("backstage", "use POST /api/rooms/{id}/backstage, …/start and …/stop"),
    ("start", "use POST /api/rooms/{id}/start and …/stop"),
    ("createdAt", "it is part of the room's tokens"),
    ("status", "use POST /api/rooms/{id}/start and …/stop"),
];

impl RoomProfile {
    /// Applies a JSON merge patch (RFC 7396): a field of `patch` replaces that of the profile, null removes
    /// it, and `custom` is merged field by field.
    ///
    /// # Errors
    /// The first field that is unknown, cannot be changed, or has an invalid value.
    pub fn merged(&self, patch: &Map<String, Value>) -> Result<Self, ProfileError> {
        let mut next = self.clone();
        for (name, value) in patch {
            match name.as_str() {
                "title" => next.title = text("title", value, Title::new)?,
                "description" => next.description = text("description", value, Description::new)?,
                "language" => next.language = text("language", value, Language::new)?,
                "tags" => next.tags = tags(value)?,
                "coverUrl" => next.cover_url = text("coverUrl", value, CoverUrl::new)?,
                "owner" => next.owner = text("owner", value, Owner::new)?,
                "custom" => next.custom = custom(self.custom.as_ref(), value)?,
                "listenerLimit" => {
                    let rule = "must be an integer from 1 to 1000000";
                    next.listener_limit = number("listenerLimit", value, LISTENER_LIMITS, rule)?;
                }
                "startsAt" => next.starts_at = text("startsAt", value, StartTime::parse)?,
                "maxDuration" => next.max_duration = seconds("maxDuration", value)?,
                "emptyTimeout" => next.empty_timeout = seconds("emptyTimeout", value)?,
                "rewind" => {
                    let rule = "must be an integer from 0 to 10800, in seconds";
                    next.rewind = number("rewind", value, REWINDS, rule)?;
                }
                "recordingMode" => {
                    next.recording_mode = text("recordingMode", value, RecordingMode::parse)?;
                }
                "locked" => next.locked = flag("locked", value)?,
                "public" => next.public = flag("public", value)?,
                other => return Err(refused(other)),
            }
        }
        Ok(next)
    }

    /// Reads the fields of a new room, like [`merged`](Self::merged) with an empty profile.
    ///
    /// # Errors
    /// The first field that is unknown or has an invalid value.
    pub fn new(fields: &Map<String, Value>) -> Result<Self, ProfileError> {
        Self::default().merged(fields)
    }
}

fn refused(name: &str) -> ProfileError {
    match IMMUTABLE.iter().find(|(field, _)| *field == name) {
        Some((field, why)) => ProfileError::Immutable { field, why },
        None => ProfileError::Unknown(name.chars().take(64).collect()),
    }
}

fn text<T>(
    name: &'static str,
    value: &Value,
    new: impl FnOnce(&str) -> Result<T, InvalidName>,
) -> Result<Option<T>, ProfileError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => new(text).map(Some).map_err(ProfileError::Invalid),
        _ => Err(ProfileError::WrongType(name, "a string")),
    }
}

fn tags(value: &Value) -> Result<Option<Tags>, ProfileError> {
    let items = match value {
        Value::Null => return Ok(None),
        Value::Array(items) => items.iter().map(|item| item.as_str()).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let items = items.ok_or(ProfileError::WrongType("tags", "a list of strings"))?;
    let tags: Result<Vec<_>, _> = items.into_iter().map(Tag::new).collect();
    let tags = tags.and_then(Tags::new).map_err(ProfileError::Invalid)?;
    // An empty list is equivalent to no list.
    Ok(Some(tags).filter(|tags| !tags.as_slice().is_empty()))
}

fn custom(known: Option<&CustomData>, value: &Value) -> Result<Option<CustomData>, ProfileError> {
    let patch = match value {
        Value::Null => return Ok(None),
        Value::Object(patch) => patch,
        _ => return Err(ProfileError::WrongType("custom", "an object")),
    };
    let mut target = known.map(|known| known.object().clone()).unwrap_or_default();
    merge(&mut target, patch);
    CustomData::new(target).map(Some).map_err(ProfileError::Invalid)
}

/// Applies a patch to an object (RFC 7396 section 2). The parser bounds the depth of a patch.
fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(name)),
            Value::Object(inner) => {
                let mut merged = match target.remove(name) {
                    Some(Value::Object(known)) => known,
                    _ => Map::new(),
                };
                merge(&mut merged, inner);
                target.insert(name.clone(), Value::Object(merged));
            }
            other => drop(target.insert(name.clone(), other.clone())),
        }
    }
}

fn flag(name: &'static str, value: &Value) -> Result<bool, ProfileError> {
    match value {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        _ => Err(ProfileError::WrongType(name, "true or false")),
    }
}

fn seconds(name: &'static str, value: &Value) -> Result<Option<u32>, ProfileError> {
    number(name, value, ROOM_TIMES, "must be an integer from 1 to 604800, in seconds")
}

/// Reads an integer, even if written as `3.0`, which in JSON is the same as `3` (RFC 8259 section 6).
fn number(
    what: &'static str,
    value: &Value,
    allowed: RangeInclusive<u32>,
    rule: &'static str,
) -> Result<Option<u32>, ProfileError> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number,
        _ => return Err(ProfileError::WrongType(what, "an integer")),
    };
    let whole = number.as_f64().filter(|number| number.fract() == 0.0 && *number >= 0.0);
    // The cast saturates: a larger number stays out of range.
    let number = whole.map(|number| number as u32).filter(|number| allowed.contains(number));
    number.map(Some).ok_or(ProfileError::Invalid(InvalidName { what, rule }))
}

//! Bodies with the fields of a room: `CreateRoom` and `UpdateRoom`.
//!
//! The fields of the profile are read by [`RoomProfile`], which names the field in every error. The schema of
//! each body is one closed object with the fields of the profile and, for a creation, the fields that are set
//! once.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::openapi::schema::{AdditionalProperties, Schema};
use utoipa::openapi::{Object, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::ids::{Pin, RoomId};
use crate::domain::profile::RoomProfile;
use crate::http::error::{ApiError, Code};
use crate::http::extract::integer;
use crate::rooms::{InitialState, NewRoom};

/// Fields of a new room.
#[derive(Deserialize)]
pub(super) struct CreateRoom {
    #[serde(flatten)]
    once: CreationFields,
    #[serde(flatten)]
    profile: Map<String, Value>,
}

/// Fields to change, as a JSON merge patch (RFC 7396): null removes a field, absent fields stay, and `custom`
/// is merged field by field.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct UpdateRoom(pub Map<String, Value>);

/// Fields that are set at the creation and never change.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CreationFields {
    /// Id of the room. If absent or null, a random id is generated.
    #[serde(default)]
    #[schema(pattern = "^[A-Za-z0-9_-]{3,32}$")]
    room_id: Option<String>,
    /// PIN of the room. If absent or null, a random PIN is generated.
    #[serde(default)]
    #[schema(pattern = "^[A-Za-z0-9]{6}$")]
    pin: Option<String>,
    /// Maximum number of anchors in the room; 3 if absent or null.
    #[serde(default, deserialize_with = "integer")]
    #[schema(minimum = 1, maximum = 20)]
    max_anchors: Option<i64>,
    /// Puts the room on air at once. If no Janus or no mixer accepts it, the room is not created.
    #[serde(default)]
    start: bool,
    /// Opens the backstage at once: anchors may join, and listeners hear nothing until the room is started.
    /// Cannot be combined with `start`.
    #[serde(default)]
    backstage: bool,
}

impl TryFrom<CreateRoom> for NewRoom {
    type Error = ApiError;

    fn try_from(CreateRoom { once, profile }: CreateRoom) -> Result<Self, ApiError> {
        let opening = match (once.start, once.backstage) {
            (true, true) => {
                let message = "`start` and `backstage` exclude each other: leave one of them out";
                return Err(ApiError::new(Code::InvalidBody, message));
            }
            (true, false) => InitialState::OnAir,
            (false, true) => InitialState::Backstage,
            (false, false) => InitialState::Later,
        };
        Ok(Self {
            room_id: once.room_id.as_deref().map(RoomId::new).transpose()?,
            pin: once.pin.as_deref().map(Pin::new).transpose()?,
            // A number that does not fit a `u8` is out of range anyway: it becomes 0, which is refused.
            max_anchors: once.max_anchors.map(|n| u8::try_from(n).unwrap_or(0)),
            profile: RoomProfile::new(&profile)?,
            opening,
            key: None,
        })
    }
}

impl PartialSchema for CreateRoom {
    fn schema() -> RefOr<Schema> {
        closed("Fields of a new room.", [CreationFields::schema(), RoomProfile::schema()])
    }
}

impl ToSchema for CreateRoom {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("CreateRoom")
    }
}

impl PartialSchema for UpdateRoom {
    fn schema() -> RefOr<Schema> {
        let description = "Fields to change, as a JSON merge patch (RFC 7396): null removes a field, absent \
            fields stay, and `custom` is merged field by field.";
        closed(description, [RoomProfile::schema()])
    }
}

impl ToSchema for UpdateRoom {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("UpdateRoom")
    }
}

/// Joins the properties of several objects in one object that allows no other properties.
fn closed<const N: usize>(description: &str, parts: [RefOr<Schema>; N]) -> RefOr<Schema> {
    let mut object = Object::new();
    object.description = Some(description.to_owned());
    for part in parts {
        if let RefOr::T(Schema::Object(part)) = part {
            object.properties.extend(part.properties);
        }
    }
    object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    object.into()
}

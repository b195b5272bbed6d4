//! Bodies of the channel's requests and answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::stage::HandOrder;

/// Raised hand.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct RaiseHand {
    /// Note for the hosts: at most 140 visible characters.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 140)]
    pub note: Option<String>,
    /// Name to show, if the token has none: 1 to 64 visible characters.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    pub name: Option<String>,
}

/// Chat message.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SendMessage {
    /// Text: at most 500 visible characters.
    #[schema(min_length = 1, max_length = 500)]
    pub text: String,
    /// Name to show, if the token has none: 1 to 64 visible characters.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    pub name: Option<String>,
}

/// Reaction of a listener.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct React {
    #[schema(value_type = String, pattern = "^(clap|heart|laugh|wow|agree|fire)$")]
    pub reaction: crate::domain::stage::Reaction,
}

/// Message to pin.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct PinMessage {
    /// Id of a chat message.
    #[schema(minimum = 1)]
    pub message: u64,
}

/// Announcement by a host or co-host.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Announce {
    /// Text: at most 500 visible characters.
    #[schema(min_length = 1, max_length = 500)]
    pub text: String,
}

/// Settings of the channel.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::http) struct SetSettings {
    /// True if listeners may raise their hands.
    pub hands_open: bool,
    /// True if listeners may send messages.
    pub chat_open: bool,
    /// Shortest time between two messages of one listener, in seconds; 0 switches slow mode off.
    #[schema(minimum = 0, maximum = 600)]
    pub slow_mode_seconds: u32,
    /// Order in which raised hands are shown; `time` if absent.
    #[serde(default)]
    pub hand_order: HandOrder,
}

/// Floor for one person.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct GiveFloor {
    /// Id of a person in the room.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    pub person: String,
    /// Time for which the person has the floor, in seconds.
    #[schema(minimum = 5, maximum = 3600)]
    pub seconds: u32,
}

/// Answer to a message.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct MessageAnswer {
    /// Always true.
    pub success: bool,
    /// Id of the message.
    pub message: u64,
}

/// Answer to a listener who comes to the stage.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct StageAnswer {
    /// Always true.
    pub success: bool,
    /// Id under which the listener speaks: the subject of the listener's token.
    pub user_id: String,
    /// Token for the WebSocket at `wsUrl`, valid until `expiresAt`.
    pub token: String,
    /// Time at which the token expires.
    pub expires_at: u64,
    /// URL of the WebSocket for anchors.
    pub ws_url: String,
}

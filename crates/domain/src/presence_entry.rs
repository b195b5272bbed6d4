//! Presence entry: record of a user in a room, shared by all gateways.
//!
//! Owns the value and its format in the presence backend. Does not access the backend.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::connection::FencingToken;
use super::ids::UserId;
use super::model::UserRole;
use super::signalling::methods::ActivityStatus;

/// Kind of a user's client, or of the input that is played as a user without a client. Kinds that only newer
/// versions know are read as `Signalling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// WHIP client (RFC 9725). It publishes over HTTP, so only its media show that it is alive.
    Whip,
    /// URL that the room's Janus node plays.
    Url,
    /// File that the room's Janus node plays.
    File,
    /// Client with a WebSocket.
    #[default]
    #[serde(other)]
    Signalling,
}

/// Presence entry: record of a user in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PresenceEntry {
    pub user_id: UserId,
    /// Role in the user's token. A role that only a newer version knows is read as the lowest one.
    #[serde(deserialize_with = "role")]
    pub role: UserRole,
    pub display_name: Option<String>,
    /// Activity of the user. A status that only a newer version knows is read as `idle`.
    #[serde(deserialize_with = "status")]
    pub status: ActivityStatus,
    pub muted: bool,
    #[serde(default, skip_serializing_if = "Source::is_signalling")]
    pub source: Source,
    /// True until the user's media session is ready, or could not be set up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joining: bool,
    /// True if, when joining, the user agreed to be recorded.
    #[serde(default, rename = "recordingConsent", skip_serializing_if = "std::ops::Not::not")]
    pub consent: bool,
    /// Fencing token of the connection lock under which the entry was written.
    #[serde(rename = "fence")]
    pub token: FencingToken,
}

impl Source {
    pub fn is_signalling(&self) -> bool {
        *self == Self::Signalling
    }
}

fn role<'de, D: Deserializer<'de>>(input: D) -> Result<UserRole, D::Error> {
    known_or(UserRole::Anchor, input)
}

fn status<'de, D: Deserializer<'de>>(input: D) -> Result<ActivityStatus, D::Error> {
    known_or(ActivityStatus::Idle, input)
}

/// Reads a value. Returns `default` for a value that only a newer version knows.
fn known_or<'de, T: DeserializeOwned, D: Deserializer<'de>>(default: T, input: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(input)?).unwrap_or(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If entries of a newer version could not be read, one of them would hide the whole room from a gateway
    /// of this version.
    #[test]
    fn values_of_newer_versions_are_read() {
        let text = r#"{"userId":"ann","role":"narrator","displayName":null,"status":"asleep","muted":false,
            "source":"satellite","fence":7,"mood":"good"}"#;
        let entry: PresenceEntry = serde_json::from_str(text).unwrap();
        assert_eq!((entry.role, entry.status), (UserRole::Anchor, ActivityStatus::Idle));
        assert_eq!(entry.source, Source::Signalling);
        for source in ["", r#""source":"whip","#] {
            let same = r#"{"userId":"ann","role":"host","displayName":null,"status":"onair","muted":true,"#;
            let same = format!(r#"{same}{source}"fence":7}}"#);
            let entry: PresenceEntry = serde_json::from_str(&same).unwrap();
            assert_eq!(serde_json::to_string(&entry).unwrap(), same);
        }
    }
}

//! Presence entry: record of a user in a room, shared by all gateways.
//!
//! Owns the value and its format in the presence backend. Does not know where it is stored.

use serde::{Deserialize, Serialize};

use super::connection::FencingToken;
use super::ids::UserId;
use super::model::UserRole;

/// Role of a user in a room, as the user's token claims it. A role that only a newer version knows is read as
/// the lowest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    Host,
    #[serde(other)]
    Anchor,
}

/// Activity of a user in a room. A status that only a newer version knows is read as `idle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberStatus {
    OnAir,
    #[serde(other)]
    Idle,
}

/// Presence entry: record of a user in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PresenceEntry {
    pub user_id: UserId,
    pub role: MemberRole,
    pub display_name: Option<String>,
    pub status: MemberStatus,
    pub muted: bool,
    /// Fencing token of the connection lock under which the entry was written.
    pub fence: FencingToken,
}

impl From<MemberRole> for UserRole {
    fn from(role: MemberRole) -> Self {
        match role {
            MemberRole::Host => Self::Host,
            MemberRole::Anchor => Self::Anchor,
        }
    }
}

impl From<UserRole> for MemberRole {
    fn from(role: UserRole) -> Self {
        match role {
            UserRole::Host => Self::Host,
            UserRole::Anchor => Self::Anchor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If entries of a newer version could not be read, one of them would hide the whole room from a gateway
    /// of this version.
    #[test]
    fn values_of_newer_versions_are_read() {
        let text = r#"{"userId":"ann","role":"narrator","displayName":null,"status":"asleep","muted":false,
            "fence":7,"mood":"good"}"#;
        let entry: PresenceEntry = serde_json::from_str(text).unwrap();
        assert_eq!((entry.role, entry.status), (MemberRole::Anchor, MemberStatus::Idle));
        let same =
            r#"{"userId":"ann","role":"host","displayName":null,"status":"onair","muted":true,"fence":7}"#;
        assert_eq!(
            serde_json::to_string(&serde_json::from_str::<PresenceEntry>(same).unwrap()).unwrap(),
            same
        );
    }
}

//! JSON-RPC notifications from the server to the client.

use serde::Serialize;
use serde_json::{Value, json};

use super::methods::{ActivityStatus, Candidate};
use super::names::DisplayName;
use crate::ids::{RoomId, UserId};
use crate::presence_entry::Source;
use crate::roles::RoomRole;
use crate::schedule::StartTime;
use crate::stage::PersonId;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "method", content = "params", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Notification {
    /// Users in the room. Every change sends the whole list.
    RoomStatus {
        room_id: RoomId,
        members: Vec<RoomMember>,
        /// True if no new anchor may join.
        locked: bool,
        /// True while listeners do not hear the room yet.
        backstage: bool,
        /// Time at which the room goes on air automatically.
        #[serde(skip_serializing_if = "Option::is_none")]
        starts_at: Option<StartTime>,
    },
    Talking {
        user_id: UserId,
        talking: bool,
    },
    /// Candidate from Janus; null after the last one.
    #[serde(rename = "icecandidate")]
    IceCandidate {
        candidate: Option<Candidate>,
    },
    /// Number of packets lost since the last notification, on the way to Janus (`uplink`) or from it.
    SlowLink {
        uplink: bool,
        lost: u64,
    },
    /// The media session is lost or must move. After this delay the client must join again, over a new
    /// connection if this one is closed. If `join` does not resume the session, the client must also offer
    /// again.
    Reconnect {
        reason: String,
        retry_after_ms: u64,
    },
    /// The room ended; the connection is closed with 4410.
    RoomClosed {
        room_id: RoomId,
        /// Reason why the broadcast ended, or `deleted`.
        reason: &'static str,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomMember {
    pub user_id: UserId,
    /// Id of the user in the listener channel of the room.
    pub person_id: PersonId,
    pub role: RoomRole,
    pub status: ActivityStatus,
    pub muted: bool,
    /// Absent for a client with a WebSocket.
    #[serde(skip_serializing_if = "Source::is_signalling")]
    pub source: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<DisplayName>,
}

impl Notification {
    /// Returns the JSON that is sent to the client.
    pub fn to_json(&self) -> Value {
        // Cannot fail: every variant is plain data with text keys.
        let mut value = serde_json::to_value(self).expect("a notification is JSON");
        value["jsonrpc"] = json!("2.0");
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_serialize_without_id() {
        let member = RoomMember {
            user_id: UserId::new("ann").unwrap(),
            person_id: PersonId::new("0123456789abcdef").unwrap(),
            role: RoomRole::Host,
            status: ActivityStatus::OnAir,
            muted: false,
            source: Source::Signalling,
            display_name: None,
        };
        let studio =
            RoomMember { user_id: UserId::new("bob").unwrap(), source: Source::Whip, ..member.clone() };
        let room_id = RoomId::new("demo").unwrap();
        let status = Notification::RoomStatus {
            room_id,
            members: vec![member, studio],
            locked: false,
            backstage: true,
            starts_at: StartTime::parse("2026-01-31T18:00:00+01:00").ok(),
        };
        let params = json!({"roomId": "demo", "locked": false, "backstage": true,
            "startsAt": "2026-01-31T17:00:00.000Z",
            "members": [{"userId": "ann", "personId": "0123456789abcdef", "role": "host", "status": "onair",
                "muted": false}, {"userId": "bob", "personId": "0123456789abcdef", "role": "host",
                "status": "onair", "muted": false, "source": "whip"}]});
        assert_eq!(status.to_json(), json!({"jsonrpc": "2.0", "method": "roomStatus", "params": params}));
        let reconnect = Notification::Reconnect { reason: "draining".into(), retry_after_ms: 500 };
        assert_eq!(reconnect.to_json()["params"], json!({"reason": "draining", "retryAfterMs": 500}));
        let closed =
            Notification::RoomClosed { room_id: RoomId::new("demo").unwrap(), reason: "max_duration" };
        assert_eq!(closed.to_json()["params"], json!({"roomId": "demo", "reason": "max_duration"}));
        let end = Notification::IceCandidate { candidate: None };
        assert_eq!(
            end.to_json(),
            json!({"jsonrpc": "2.0", "method": "icecandidate", "params": {"candidate": null}})
        );
    }
}

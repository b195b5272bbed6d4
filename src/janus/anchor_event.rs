//! Typed events of one anchor, from the Janus core and the AudioBridge.
//!
//! Events of the core: janus.conf.meetecho.com/docs/rest.html, section "plugin handles".

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use super::audiobridge::ParticipantInfo;
use super::link::HandleEvent;
use super::wire::Participant;

/// ICE candidate in WebRTC's format (`RTCIceCandidateInit`). Never printed, because it contains addresses of
/// users.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    pub candidate: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    #[serde(default, rename = "sdpMLineIndex", skip_serializing_if = "Option::is_none")]
    pub sdp_m_line_index: Option<u16>,
}

/// Event of one anchor. Participants are identified by their numbers in Janus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnchorEvent {
    /// ICE and DTLS are done: media can flow.
    Up,
    /// The peer connection is over. With AudioBridge 1.1.2 the participant then also leaves the room.
    Hangup {
        reason: String,
    },
    /// Janus receives packets from the anchor (true), or has received none for a second (false).
    Media {
        receiving: bool,
    },
    /// Packets are lost: on the way to Janus if `uplink` is true, otherwise on the way to the anchor.
    SlowLink {
        uplink: bool,
        lost: u64,
    },
    /// Candidate from Janus (full trickle only); `None`: there are no more.
    Candidate(Option<Candidate>),
    Talking {
        participant: u64,
        talking: bool,
    },
    /// Participants that joined, or whose state changed.
    Changed(Vec<ParticipantInfo>),
    Left {
        participant: u64,
    },
    /// The participant was kicked. The others then also receive `Left`; the kicked participant does not.
    Removed {
        participant: u64,
    },
    RoomDestroyed,
    /// Janus has ended the session or the handle.
    SessionOver,
}

/// Stream of one anchor's events.
#[derive(Debug)]
pub struct AnchorEvents(mpsc::Receiver<HandleEvent>);

impl AnchorEvents {
    pub(super) fn new(events: mpsc::Receiver<HandleEvent>) -> Self {
        Self(events)
    }

    /// Returns the next event. `None`: the connection to Janus is over, or the reader fell too far behind.
    /// The session may still exist.
    pub async fn next(&mut self) -> Option<AnchorEvent> {
        loop {
            if let Some(event) = AnchorEvent::read(self.0.recv().await?) {
                return Some(event);
            }
        }
    }
}

impl AnchorEvent {
    /// Converts a Janus event. Returns `None` for events that are not used.
    pub(super) fn read(HandleEvent { kind, data }: HandleEvent) -> Option<Self> {
        Some(match kind.as_str() {
            "webrtcup" => Self::Up,
            "hangup" => Self::Hangup { reason: data["reason"].as_str().unwrap_or_default().to_owned() },
            "media" => Self::Media { receiving: data["receiving"].as_bool()? },
            "slowlink" => {
                Self::SlowLink { uplink: data["uplink"].as_bool()?, lost: data["lost"].as_u64().unwrap_or(0) }
            }
            "trickle" => Self::Candidate(candidate(&data["candidate"])?),
            "timeout" | "detached" => Self::SessionOver,
            "event" => return Self::of_plugin(&data),
            _ => return None,
        })
    }

    fn of_plugin(data: &Value) -> Option<Self> {
        let number = |name: &str| data[name].as_u64();
        match data["audiobridge"].as_str()? {
            "talking" => Some(Self::Talking { participant: number("id")?, talking: true }),
            "stopped-talking" => Some(Self::Talking { participant: number("id")?, talking: false }),
            "destroyed" => Some(Self::RoomDestroyed),
            "joined" | "event" => {
                let removed = number("kicked").map(|participant| Self::Removed { participant });
                let left = || number("leaving").map(|participant| Self::Left { participant });
                removed.or_else(left).or_else(|| participants(data).map(Self::Changed))
            }
            _ => None,
        }
    }
}

/// Reads a candidate. `Some(None)`: the end of candidates. `None`: the candidate cannot be read.
fn candidate(json: &Value) -> Option<Option<Candidate>> {
    if json["completed"].as_bool() == Some(true) {
        return Some(None);
    }
    Candidate::deserialize(json).ok().map(Some)
}

fn participants(data: &Value) -> Option<Vec<ParticipantInfo>> {
    let list = Vec::<Participant>::deserialize(data.get("participants")?).ok()?;
    Some(list.into_iter().map(ParticipantInfo::from).collect())
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Candidate(******)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(kind: &str, data: Value) -> Option<AnchorEvent> {
        AnchorEvent::read(HandleEvent { kind: kind.to_owned(), data })
    }

    #[test]
    fn anchor_events_match_janus_1_1_2() {
        let hangup = read("hangup", json!({"janus":"hangup","sender":7,"reason":"DTLS alert"}));
        assert_eq!(hangup, Some(AnchorEvent::Hangup { reason: "DTLS alert".to_owned() }));
        let media =
            json!({"janus":"media","sender":7,"mid":"0","type":"audio","receiving":false,"seconds":1});
        assert_eq!(read("media", media), Some(AnchorEvent::Media { receiving: false }));
        let kicked = json!({"audiobridge":"event","room":1234,"kicked":6});
        assert_eq!(read("event", kicked), Some(AnchorEvent::Removed { participant: 6 }));
        let muted = json!({"audiobridge":"event","room":1234,
            "participants":[{"id":17,"display":"x","setup":false,"muted":true}]});
        let Some(AnchorEvent::Changed(list)) = read("event", muted) else { panic!("a change") };
        assert!((list[0].id, list[0].muted) == (17, true));
        assert_eq!(read("event", json!({"audiobridge":"event","result":"ok"})), None);
    }

    #[test]
    fn candidates_of_full_trickle_and_their_end() {
        let one = json!({"janus":"trickle","candidate":{"sdpMid":"0","sdpMLineIndex":0,"candidate":"c"}});
        let Some(AnchorEvent::Candidate(Some(candidate))) = read("trickle", one) else { panic!("one") };
        assert_eq!((candidate.candidate.as_str(), candidate.sdp_m_line_index), ("c", Some(0)));
        assert!(!format!("{candidate:?}").contains("\"c\""));
        let end = json!({"janus":"trickle","candidate":{"completed":true}});
        assert_eq!(read("trickle", end), Some(AnchorEvent::Candidate(None)));
    }
}

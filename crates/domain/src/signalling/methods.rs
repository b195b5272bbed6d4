//! Methods that a client may call, with their checked parameters.
//!
//! Parameters are passed by name; an unknown one is refused. Owns names, shapes, and size limits that are not
//! configurable (`connection_limits` has the others). Never shows an SDP, a pin or a resume token in `Debug`
//! output.

use std::fmt;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::error::{ErrorCode, RpcError};
use super::names::DisplayName;
use crate::ids::{ClientId, Pin, UserId};
use crate::json;
use crate::roles::RoomRole;

const MAX_CANDIDATE: usize = 512;
const MAX_JTOKEN: usize = 1024;

/// Call with valid parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    Join(Join),
    Offer(Offer),
    IceCandidate(Trickle),
    /// Keeps the media session and the presence entry alive.
    Keepalive(Activity),
    /// Same as `Keepalive`; sent when the status changes.
    Status(Activity),
    /// Mutes the caller or, called by a host or co-host, another user.
    Mute(MuteParams),
    Unmute(MuteParams),
    /// Bans a user from the room; only for hosts, and for co-hosts if the user does not moderate the room.
    /// Its earlier name is `remove`.
    Ban(Member),
    /// Lifts a ban; only for hosts and co-hosts.
    Unban(Member),
    /// Disconnects a user, who may come back shortly after; only for callers who may ban the user.
    Kick(Member),
    /// Gives another user a role; only for hosts.
    SetRole(RoleParams),
    /// Makes another user the host in place of the caller; only for hosts.
    TransferHost(Member),
    /// Mutes everybody else; only for hosts and co-hosts.
    MuteAll,
    /// Locks the room, so that no new anchor may join; only for hosts and co-hosts.
    Lock,
    Unlock,
    /// Puts the backstage on air; only for hosts and co-hosts.
    GoLive,
    Leave,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Join {
    /// Pin of the room. Optional, but a wrong pin is refused.
    pub pin: Option<PinInput>,
    pub client_id: Option<ClientId>,
    pub display_name: Option<DisplayName>,
    /// Resume token of an earlier `join`: resumes the session with its media.
    pub jtoken: Option<ResumeToken>,
    /// True if the user agrees to be recorded.
    #[serde(default)]
    pub recording_consent: bool,
}

/// Pin as the user entered it. `None`: the text cannot be the pin of any room; it counts as a wrong guess.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct PinInput(pub Option<Pin>);

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    pub sdp: SessionDescription,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionDescription {
    #[serde(rename = "type")]
    pub kind: SdpType,
    pub sdp: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SdpType {
    Offer,
    Answer,
}

/// Next candidate, or the end of candidates (RFC 8838).
#[derive(Debug, Clone, PartialEq)]
pub enum Trickle {
    Candidate(Candidate),
    Completed,
}

/// Candidate in the format of a browser's `RTCIceCandidate.toJSON`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Candidate {
    pub candidate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    #[serde(rename = "sdpMLineIndex", skip_serializing_if = "Option::is_none")]
    pub sdp_m_line_index: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username_fragment: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activity {
    pub status: ActivityStatus,
}

/// Activity of an anchor: speaking, or only connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivityStatus {
    #[serde(rename = "onair")]
    OnAir,
    Idle,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MuteParams {
    /// User to mute or unmute; `None`: the caller.
    pub user_id: Option<UserId>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    pub user_id: UserId,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleParams {
    pub user_id: UserId,
    pub role: RoomRole,
}

/// Resume token, opaque in this module. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ResumeToken(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParams {}

impl From<String> for PinInput {
    fn from(text: String) -> Self {
        Self(Pin::new(&text).ok())
    }
}

impl Method {
    /// Returns the method with this name and these parameters.
    ///
    /// # Errors
    /// The error to answer with: unknown method or invalid parameters.
    pub fn parse(name: &str, params: Option<Value>) -> Result<Self, RpcError> {
        match name {
            "join" => Ok(Self::Join(read(params)?)),
            "offer" => offer(params).map(Self::Offer),
            "icecandidate" => Ok(Self::IceCandidate(read(params)?)),
            "keepalive" => Ok(Self::Keepalive(read(params)?)),
            "status" => Ok(Self::Status(read(params)?)),
            "mute" => Ok(Self::Mute(read(params)?)),
            "unmute" => Ok(Self::Unmute(read(params)?)),
            "ban" | "remove" => Ok(Self::Ban(read(params)?)),
            "unban" => Ok(Self::Unban(read(params)?)),
            "kick" => Ok(Self::Kick(read(params)?)),
            "setRole" => Ok(Self::SetRole(read(params)?)),
            "transferHost" => Ok(Self::TransferHost(read(params)?)),
            "muteAll" => read(params).map(|NoParams {}| Self::MuteAll),
            "lock" => read(params).map(|NoParams {}| Self::Lock),
            "unlock" => read(params).map(|NoParams {}| Self::Unlock),
            "goLive" => read(params).map(|NoParams {}| Self::GoLive),
            "leave" => read(params).map(|NoParams {}| Self::Leave),
            _ => Err(ErrorCode::MethodNotFound.into()),
        }
    }

    /// Returns the method name used in the protocol.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Offer(_) => "offer",
            Self::IceCandidate(_) => "icecandidate",
            Self::Keepalive(_) => "keepalive",
            Self::Status(_) => "status",
            Self::Mute(_) => "mute",
            Self::Unmute(_) => "unmute",
            Self::Ban(_) => "ban",
            Self::Unban(_) => "unban",
            Self::Kick(_) => "kick",
            Self::SetRole(_) => "setRole",
            Self::TransferHost(_) => "transferHost",
            Self::MuteAll => "muteAll",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::GoLive => "goLive",
            Self::Leave => "leave",
        }
    }
}

/// Reads the parameters. Missing parameters and an empty list count as an object without fields.
fn read<T: DeserializeOwned>(params: Option<Value>) -> Result<T, RpcError> {
    let params = match params {
        None => Value::Object(Map::new()),
        Some(Value::Array(list)) if list.is_empty() => Value::Object(Map::new()),
        Some(Value::Array(_)) => return Err(invalid("parameters are given by name")),
        Some(object) => object,
    };
    json::read(params).map_err(invalid)
}

fn offer(params: Option<Value>) -> Result<Offer, RpcError> {
    let offer: Offer = read(params)?;
    match &offer.sdp {
        SessionDescription { kind: SdpType::Answer, .. } => Err(invalid("sdp.type must be offer")),
        // RFC 8866 section 5.1: every description starts with this line.
        SessionDescription { sdp, .. } if !sdp.starts_with("v=0") => Err(invalid("sdp.sdp is not an SDP")),
        _ => Ok(offer),
    }
}

fn invalid(why: impl Into<std::borrow::Cow<'static, str>>) -> RpcError {
    RpcError::new(ErrorCode::InvalidParams, why)
}

impl<'de> Deserialize<'de> for Trickle {
    /// Reads `{candidate}`: an object, null, or `{completed: true}`. An empty `candidate.candidate`, which
    /// browsers send, also ends the candidates (WebRTC 1.0, 4.4.1.5).
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Params {
            candidate: Value,
        }
        let Params { candidate } = Params::deserialize(deserializer)?;
        if candidate.is_null() || candidate == serde_json::json!({ "completed": true }) {
            return Ok(Self::Completed);
        }
        let candidate = serde_json::from_value(candidate).map_err(D::Error::custom)?;
        Self::new(candidate).map_err(D::Error::custom)
    }
}

impl Trickle {
    /// Checks a candidate of a client. An empty one is the end of candidates.
    ///
    /// # Errors
    /// A text is longer than 512 bytes, has control characters, or is not a candidate.
    pub fn new(candidate: Candidate) -> Result<Self, &'static str> {
        candidate.check()?;
        Ok(if candidate.candidate.is_empty() { Self::Completed } else { Self::Candidate(candidate) })
    }
}

impl Candidate {
    fn check(&self) -> Result<(), &'static str> {
        let names = [&self.sdp_mid, &self.username_fragment];
        let texts = || names.into_iter().flatten().chain([&self.candidate]);
        if texts().any(|text| text.len() > MAX_CANDIDATE || text.chars().any(char::is_control)) {
            return Err("a text in the candidate is longer than 512 bytes or has control characters");
        }
        let named = self.candidate.is_empty() || self.candidate.starts_with("candidate:");
        if named { Ok(()) } else { Err("candidate.candidate must begin with candidate:") }
    }
}

impl ResumeToken {
    /// Creates a token that the server issues.
    pub fn issued(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ResumeToken {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        if text.len() <= MAX_JTOKEN { Ok(Self(text)) } else { Err("jtoken is longer than 1024 bytes") }
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeToken(******)")
    }
}

impl fmt::Debug for SessionDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionDescription({:?}, {} bytes)", self.kind, self.sdp.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(method: &str, params: Value) -> Result<Method, ErrorCode> {
        Method::parse(method, Some(params)).map_err(|error| error.code)
    }

    #[test]
    fn each_method_takes_its_parameters() {
        let join = json!({"pin": "abc123", "clientId": "tab-1", "displayName": "Änne", "jtoken": "x"});
        let Ok(Method::Join(join)) = parse("join", join) else { panic!("a join") };
        assert_eq!(join.pin.unwrap().0.unwrap().reveal(), "abc123");
        assert_eq!(Method::parse("join", None), Ok(Method::Join(Join::default())));
        assert_eq!(parse("join", json!([])), Ok(Method::Join(Join::default())));
        assert!(parse("offer", json!({"sdp": {"type": "offer", "sdp": "v=0\r\n"}})).is_ok());
        let idle = Activity { status: ActivityStatus::Idle };
        assert_eq!(parse("keepalive", json!({"status": "idle"})), Ok(Method::Keepalive(idle)));
        assert!(parse("status", json!({"status": "onair"})).is_ok());
        assert_eq!(parse("mute", json!({})), Ok(Method::Mute(MuteParams::default())));
        assert!(parse("unmute", json!({"userId": "bob"})).is_ok());
        let bob = Member { user_id: UserId::new("bob").unwrap() };
        for name in ["ban", "remove"] {
            assert_eq!(parse(name, json!({"userId": "bob"})), Ok(Method::Ban(bob.clone())));
        }
        assert_eq!(parse("unban", json!({"userId": "bob"})), Ok(Method::Unban(bob.clone())));
        assert_eq!(parse("kick", json!({"userId": "bob"})), Ok(Method::Kick(bob)));
        let set = parse("setRole", json!({"userId": "bob", "role": "co_host"}));
        assert!(matches!(set, Ok(Method::SetRole(RoleParams { role: RoomRole::CoHost, .. }))));
        assert!(parse("setRole", json!({"userId": "bob", "role": "listener"})).is_ok());
        assert!(parse("transferHost", json!({"userId": "bob"})).is_ok());
        let plain = [Method::Leave, Method::MuteAll, Method::Lock, Method::Unlock, Method::GoLive];
        assert!(plain.iter().all(|method| Method::parse(method.name(), None).as_ref() == Ok(method)));
    }

    #[test]
    fn invalid_methods_and_params_are_refused() {
        for (method, params) in [
            ("join", json!({"pin": 123_456})),
            ("join", json!({"password": "x"})),
            ("join", json!(["abc123"])),
            ("join", json!({"jtoken": "x".repeat(1025)})),
            ("join", json!({"displayName": "a\u{7}"})),
            ("offer", json!({})),
            ("offer", json!({"sdp": "v=0"})),
            ("offer", json!({"sdp": {"type": "answer", "sdp": "v=0"}})),
            ("offer", json!({"sdp": {"type": "offer", "sdp": "hello"}})),
            ("offer", json!({"sdp": {"type": "offer", "sdp": "v=0", "more": 1}})),
            ("keepalive", json!({})),
            ("keepalive", json!({"status": "asleep"})),
            ("remove", json!({})),
            ("ban", json!({"userId": ""})),
            ("unban", json!({"userId": "bob", "by": "ann"})),
            ("kick", json!({})),
            ("leave", json!({"now": true})),
            ("muteAll", json!({"userId": "bob"})),
            ("setRole", json!({"userId": "bob"})),
            ("setRole", json!({"userId": "bob", "role": "king"})),
            ("setRole", json!({"userId": "bob", "role": "Host"})),
            ("transferHost", json!({})),
            ("lock", json!({"locked": false})),
        ] {
            assert_eq!(parse(method, params.clone()), Err(ErrorCode::InvalidParams), "{method} {params}");
        }
        for method in ["", "Join", "rpc.discover", "jo\u{0}in"] {
            assert_eq!(parse(method, json!({})), Err(ErrorCode::MethodNotFound), "{method}");
        }
    }

    #[test]
    fn icecandidate_accepts_candidates_and_three_ends() {
        let text = "candidate:1 1 udp 2122 192.0.2.1 5000 typ host";
        let full = json!({"candidate": text, "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "ab"});
        let Ok(Method::IceCandidate(Trickle::Candidate(read))) =
            parse("icecandidate", json!({ "candidate": full }))
        else {
            panic!("a candidate")
        };
        assert_eq!(serde_json::to_value(&read).unwrap(), full);
        for end in [json!(null), json!({"completed": true}), json!({"candidate": "", "sdpMid": "0"})] {
            let ended = parse("icecandidate", json!({ "candidate": end }));
            assert_eq!(ended, Ok(Method::IceCandidate(Trickle::Completed)));
        }
        for bad in [
            json!({}),
            json!({"candidate": {}}),
            json!({"candidate": {"completed": false}}),
            json!({"candidate": text}),
            json!({"candidate": {"candidate": "nonsense"}}),
            json!({"candidate": {"candidate": "candidate:1\r\na=evil"}}),
            json!({"candidate": {"candidate": format!("candidate:{}", "x".repeat(600))}}),
            json!({"candidate": {"candidate": text, "sdpMLineIndex": -1}}),
            json!({"candidate": null, "more": 1}),
        ] {
            assert_eq!(parse("icecandidate", bad.clone()), Err(ErrorCode::InvalidParams), "{bad}");
        }
    }

    #[test]
    fn secrets_do_not_reach_a_log() {
        let join = parse("join", json!({"pin": "abc123", "jtoken": "sealed"})).unwrap();
        let offer = parse("offer", json!({"sdp": {"type": "offer", "sdp": "v=0 a=ice-pwd:x"}})).unwrap();
        let text = format!("{join:?} {offer:?}");
        assert!(!text.contains("abc123") && !text.contains("sealed") && !text.contains("ice-pwd"), "{text}");
    }
}

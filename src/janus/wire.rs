//! JSON of the Janus API (janus.conf.meetecho.com/docs/rest.html) and of the AudioBridge plugin
//! (janus.conf.meetecho.com/docs/audiobridge.html). Field names are those of the two documents.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Secret;
use super::error::{CoreError, JanusError, PluginError};

pub(super) const AUDIOBRIDGE: &str = "janus.plugin.audiobridge";

/// Request without the fields that the link adds. No `Debug`: bodies contain pins and secrets.
#[derive(Serialize)]
pub(super) struct Request {
    /// Name of the request in errors.
    #[serde(skip)]
    pub name: &'static str,
    pub janus: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jsep: Option<Jsep>,
    /// ICE candidate, or `{"completed": true}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Value>,
}

/// Session description (janus.conf.meetecho.com/docs/rest.html). No `Debug`: SDP must not be logged.
#[derive(Serialize, Deserialize)]
pub(super) struct Jsep {
    #[serde(rename = "type")]
    pub kind: String,
    pub sdp: String,
}

#[derive(Serialize)]
struct AddressedRequest<'a> {
    #[serde(flatten)]
    request: &'a Request,
    transaction: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    apisecret: Option<&'a Secret>,
}

impl Request {
    pub(super) fn new(janus: &'static str) -> Self {
        let (name, session_id, handle_id, plugin) = (janus, None, None, None);
        Self { name, janus, session_id, handle_id, plugin, body: None, jsep: None, candidate: None }
    }

    pub(super) fn to_json(
        &self,
        transaction: &str,
        apisecret: Option<&Secret>,
    ) -> serde_json::Result<String> {
        serde_json::to_string(&AddressedRequest { request: self, transaction, apisecret })
    }

    /// Returns true if `ack` is the complete reply. For other requests the reply follows the `ack`.
    pub(super) fn ends_with_ack(&self) -> bool {
        matches!(self.janus, "keepalive" | "trickle")
    }
}

/// Fields that the link reads from every message.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    pub janus: Cow<'a, str>,
    #[serde(borrow)]
    pub transaction: Option<Cow<'a, str>>,
    /// Handle that sent an event.
    pub sender: Option<u64>,
    pub session_id: Option<u64>,
}

/// Returns the transaction id from the beginning of a message whose rest was dropped.
pub(super) fn transaction_in(beginning: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(beginning);
    let (_, rest) = text.split_once("\"transaction\"")?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    value.split('"').next()?.parse().ok()
}

#[derive(Deserialize)]
struct Failure {
    error: Option<CodeAndReason>,
}

#[derive(Deserialize)]
struct CodeAndReason {
    code: u32,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct PluginReply {
    plugindata: PluginData,
}

#[derive(Deserialize)]
struct PluginData {
    data: Value,
}

#[derive(Deserialize)]
struct PluginFailure {
    error_code: Option<u32>,
    #[serde(default)]
    error: String,
}

/// Parses a reply of the Janus core.
///
/// # Errors
/// The error in the reply, or [`JanusError::BadReply`] if it cannot be parsed.
pub(super) fn core_reply<T: DeserializeOwned>(request: &'static str, raw: &[u8]) -> Result<T, JanusError> {
    let bad = |e: serde_json::Error| JanusError::BadReply { request, detail: e.to_string() };
    let failure: Failure = serde_json::from_slice(raw).map_err(bad)?;
    if let Some(error) = failure.error {
        return Err(CoreError::new(error.code, error.reason).into());
    }
    serde_json::from_slice(raw).map_err(bad)
}

/// Parses the plugin's part of a reply.
///
/// # Errors
/// The same as [`core_reply`]; also for a `success` that contains an `error_code`.
pub(super) fn plugin_reply<T: DeserializeOwned>(request: &'static str, raw: &[u8]) -> Result<T, JanusError> {
    let bad = |e: serde_json::Error| JanusError::BadReply { request, detail: e.to_string() };
    let data = core_reply::<PluginReply>(request, raw)?.plugindata.data;
    let failure = PluginFailure::deserialize(&data).map_err(bad)?;
    if let Some(code) = failure.error_code {
        return Err(PluginError::new(code, failure.error).into());
    }
    serde_json::from_value(data).map_err(bad)
}

/// Returns the plugin's part of an event, or the whole event if the core sent it.
pub(super) fn event_data(raw: &[u8]) -> Value {
    let plugin = serde_json::from_slice::<PluginReply>(raw).map(|reply| reply.plugindata.data);
    plugin.or_else(|_| serde_json::from_slice(raw)).unwrap_or_default()
}

/// Returns the SDP answer that accompanies the plugin's reply to an offer.
pub(super) fn answer_in(request: &'static str, raw: &[u8]) -> Result<Jsep, JanusError> {
    plugin_reply::<DoneReply>(request, raw)?;
    core_reply::<WithJsep>(request, raw).map(|reply| reply.jsep)
}

#[derive(Deserialize)]
struct WithJsep {
    jsep: Jsep,
}

/// Reply `{"data": {"id": …}}` to `create` and `attach`.
#[derive(Deserialize)]
pub(super) struct CreateReply {
    pub data: CreatedId,
}

#[derive(Deserialize)]
pub(super) struct CreatedId {
    pub id: u64,
}

/// Reply whose content is not used.
#[derive(Deserialize)]
pub(super) struct DoneReply {}

#[derive(Deserialize)]
pub(super) struct ServerInfo {
    pub version_string: String,
    #[serde(rename = "server-name", default)]
    pub server_name: String,
    #[serde(default)]
    pub plugins: BTreeMap<String, PluginVersion>,
}

#[derive(Deserialize)]
pub(super) struct PluginVersion {
    pub version_string: String,
}

/// Requests to the AudioBridge.
#[derive(Serialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(super) enum BridgeRequest<'a> {
    Create {
        room: u32,
        description: &'a str,
        secret: &'a Secret,
        pin: &'a str,
        is_private: bool,
        permanent: bool,
        sampling_rate: u32,
        /// Bit rate of the forwarders' encoder, and of participants that joined without a bit rate, in bit/s.
        default_bitrate: u32,
        audiolevel_event: bool,
        audio_active_packets: u32,
        audio_level_average: u32,
        allow_rtp_participants: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        admin_key: Option<&'a Secret>,
    },
    Destroy {
        room: u32,
        secret: &'a Secret,
        permanent: bool,
    },
    List {
        #[serde(skip_serializing_if = "Option::is_none")]
        admin_key: Option<&'a Secret>,
    },
    Exists {
        room: u32,
    },
    RtpForward {
        room: u32,
        secret: &'a Secret,
        codec: &'static str,
        ptype: u8,
        host: IpAddr,
        port: u16,
        always_on: bool,
        srtp_suite: u32,
        srtp_crypto: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        admin_key: Option<&'a Secret>,
    },
    StopRtpForward {
        room: u32,
        secret: &'a Secret,
        stream_id: u64,
        /// With `lock_rtp_forward`, Janus requires this key here, too, although its documentation does
        /// not say so.
        #[serde(skip_serializing_if = "Option::is_none")]
        admin_key: Option<&'a Secret>,
    },
    #[serde(rename = "listforwarders")]
    ListForwarders {
        room: u32,
        secret: &'a Secret,
    },
    #[serde(rename = "listparticipants")]
    ListParticipants {
        room: u32,
    },
    /// Starts or stops the recording of each participant's RTP.
    EnableMjrs {
        room: u32,
        secret: &'a Secret,
        mjrs: bool,
        /// Folder of the files; created by Janus if it does not exist.
        #[serde(skip_serializing_if = "Option::is_none")]
        mjrs_dir: Option<&'a str>,
    },
    Mute {
        room: u32,
        secret: &'a Secret,
        id: u64,
    },
    Unmute {
        room: u32,
        secret: &'a Secret,
        id: u64,
    },
    Kick {
        room: u32,
        secret: &'a Secret,
        id: u64,
    },
    Join {
        room: u32,
        pin: &'a str,
        display: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        muted: Option<bool>,
        /// Volume of the participant in the mix, in percent of its original level.
        volume: u32,
        #[serde(flatten)]
        quality: Quality,
        /// Name of the participant's files, without `-audio.mjr`, while its room is recorded.
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rtp: Option<RtpEndpoint>,
    },
    Configure {
        #[serde(skip_serializing_if = "Option::is_none")]
        muted: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        volume: Option<u32>,
    },
}

/// Settings of the audio that Janus sends to a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Quality {
    /// Bit rate of the Opus that Janus sends, in bit/s; `None`: the room's `default_bitrate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<u32>,
    /// Complexity of the encoder, 1 to 10; `None`: AudioBridge's default, 4.
    #[serde(rename = "quality", skip_serializing_if = "Option::is_none")]
    pub complexity: Option<u8>,
    /// Expected packet loss, in percent; at most 20. At 1 or more, Opus contains forward error correction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_loss: Option<u8>,
}

impl Quality {
    /// Audio for anchors: with forward error correction, because their networks lose packets. libopus then
    /// uses SILK with CELT, which encodes twice as fast at complexity 1 as at 4. The bit rate, above
    /// libopus's default of 51,000, makes up for most of the lost quality: wideband PESQ of natural speech is
    /// 4.10 instead of 4.21.
    pub const ANCHORS: Self = Self { bitrate: Some(72_000), complexity: Some(1), expected_loss: Some(10) };
}

impl BridgeRequest<'_> {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Destroy { .. } => "destroy",
            Self::List { .. } => "list",
            Self::Exists { .. } => "exists",
            Self::RtpForward { .. } => "rtp_forward",
            Self::StopRtpForward { .. } => "stop_rtp_forward",
            Self::ListForwarders { .. } => "listforwarders",
            Self::ListParticipants { .. } => "listparticipants",
            Self::EnableMjrs { .. } => "enable_mjrs",
            Self::Mute { .. } => "mute",
            Self::Unmute { .. } => "unmute",
            Self::Kick { .. } => "kick",
            Self::Join { .. } => "join",
            Self::Configure { .. } => "configure",
        }
    }
}

/// Address where one side of a plain-RTP participant receives packets.
#[derive(Serialize, Deserialize)]
pub(super) struct RtpEndpoint {
    pub ip: IpAddr,
    pub port: u16,
    pub payload_type: u8,
}

#[derive(Deserialize)]
pub(super) struct Rooms {
    #[serde(rename = "list", alias = "rooms")]
    pub rooms: Vec<Room>,
}

#[derive(Deserialize)]
pub(super) struct Room {
    pub room: u64,
    #[serde(default)]
    pub description: String,
    pub num_participants: u32,
}

#[derive(Deserialize)]
pub(super) struct ExistsReply {
    pub exists: bool,
}

#[derive(Deserialize)]
pub(super) struct ForwardReply {
    pub stream_id: u64,
}

#[derive(Deserialize)]
pub(super) struct Forwarders {
    pub rtp_forwarders: Vec<Forwarder>,
}

#[derive(Deserialize)]
pub(super) struct Forwarder {
    pub stream_id: u64,
    pub ip: IpAddr,
    pub port: u16,
    pub ssrc: Option<u32>,
    #[serde(default)]
    pub always_on: bool,
}

#[derive(Deserialize)]
pub(super) struct Participants {
    pub participants: Vec<Participant>,
}

#[derive(Deserialize)]
pub(super) struct Participant {
    pub id: u64,
    #[serde(default)]
    pub display: String,
    #[serde(default)]
    pub setup: bool,
    #[serde(default)]
    pub muted: bool,
    #[serde(default)]
    pub talking: bool,
}

#[derive(Deserialize)]
pub(super) struct JoinReply {
    pub id: u64,
    /// Other participants in the room.
    #[serde(default)]
    pub participants: Vec<Participant>,
    /// Address of Janus, for a participant that joined over plain RTP.
    pub rtp: Option<RtpEndpoint>,
}

#[cfg(test)]
mod tests {
    use stentor_fuzz::{Corpus, Mutations};

    use super::super::anchor_event::AnchorEvent;
    use super::super::link::HandleEvent;
    use super::*;

    #[test]
    fn plugin_error_code_overrides_success() {
        let raw = br#"{"janus":"success","plugindata":{"plugin":"p","data":
            {"audiobridge":"event","error_code":485,"error":"No such room (1)"}}}"#;
        let result = plugin_reply::<DoneReply>("destroy", raw).map(|_| ());
        assert_eq!(result, Err(PluginError::NoSuchRoom.into()));
        let raw = br#"{"janus":"success","plugindata":{"data":{"error_code":499,"error":"Whatever"}}}"#;
        let other = PluginError::Other { code: 499, text: "Whatever".to_owned() };
        assert_eq!(plugin_reply::<DoneReply>("destroy", raw).map(|_| ()), Err(other.into()));
    }

    #[test]
    fn errors_of_the_core_have_their_names() {
        let error = |code: u32| {
            let raw = format!(r#"{{"janus":"error","error":{{"code":{code},"reason":"why"}}}}"#);
            core_reply::<DoneReply>("attach", raw.as_bytes()).map(|_| ()).unwrap_err()
        };
        assert_eq!(error(403), CoreError::Unauthorized.into());
        assert_eq!(error(458), CoreError::NoSuchSession.into());
        assert_eq!(error(459), CoreError::NoSuchHandle.into());
        assert_eq!(error(490), CoreError::Other { code: 490, text: "why".to_owned() }.into());
    }

    #[test]
    fn fuzz_janus_replies() {
        let corpus = Corpus::lines(include_str!("replies.txt"));
        bolero::check!().with_type().for_each(|mutations: &Mutations| {
            let raw = corpus.input(mutations);
            let _ = core_reply::<CreateReply>("attach", &raw);
            let _ = core_reply::<ServerInfo>("info", &raw);
            let _ = plugin_reply::<JoinReply>("join", &raw);
            let _ = plugin_reply::<ForwardReply>("rtp_forward", &raw);
            let _ = plugin_reply::<Participants>("listparticipants", &raw);
            let _ = answer_in("configure", &raw);
            let _ = transaction_in(&raw);
            for kind in ["event", "trickle", "hangup", "media"] {
                AnchorEvent::read(HandleEvent { kind: kind.to_owned(), data: event_data(&raw) });
            }
        });
    }

    #[test]
    fn undocumented_reply_is_bad_reply() {
        for raw in
            ["", "[]", "{}", r#"{"janus":"success"}"#, r#"{"janus":"success","plugindata":{"data":{}}}"#]
        {
            let result = plugin_reply::<ForwardReply>("rtp_forward", raw.as_bytes()).map(|_| ());
            assert!(matches!(result, Err(JanusError::BadReply { request: "rtp_forward", .. })), "{raw}");
        }
    }

    #[test]
    fn transaction_is_read_from_reply_beginning() {
        assert_eq!(transaction_in(br#"{"janus":"success","transaction":"42","x"#), Some(42));
        assert_eq!(transaction_in(b"{ \"transaction\" : \"42\""), Some(42));
        for other in ["", "{\"transaction\":", "{\"transaction\":\"x\""] {
            assert_eq!(transaction_in(other.as_bytes()), None, "{other:?}");
        }
    }
}

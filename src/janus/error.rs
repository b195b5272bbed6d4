//! Errors of the communication with Janus, grouped by the caller's possible reactions.
//!
//! Texts come from Janus's own error replies; they contain ids and element names, never a pin or a secret.

use std::time::Duration;

/// Reason why a request has failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JanusError {
    /// The connection failed; nothing was sent.
    #[error("cannot connect to Janus at {url}: {reason}")]
    Unreachable { url: String, reason: String },
    /// The WebSocket ended before the reply. It is unknown whether the request was executed.
    #[error("the connection to Janus ended before Janus answered")]
    Disconnected,
    /// No reply in time. It is unknown whether the request was executed: check with Janus before a retry.
    #[error("Janus did not answer `{request}` within {after:?}; whether it was carried out is unknown")]
    Timeout { request: &'static str, after: Duration },
    /// The request was executed; its reply is lost.
    #[error("Janus answered `{request}` with more than {limit} bytes")]
    TooLarge { request: &'static str, limit: usize },
    #[error("Janus sent an undocumented reply to `{request}`: {detail}")]
    BadReply { request: &'static str, detail: String },
    #[error(transparent)]
    Core(#[from] CoreError),
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

/// Errors of the Janus core (codes of its `apierror.h`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoreError {
    #[error("Janus refuses the API secret (403): set janus.api_secret to the secret in its janus.jcfg")]
    Unauthorized,
    #[error("Janus does not know the session (458)")]
    NoSuchSession,
    #[error("Janus does not know the handle (459)")]
    NoSuchHandle,
    #[error("Janus has no AudioBridge plugin (460)")]
    NoSuchPlugin,
    /// Omits Janus's text, which contains lines of the SDP.
    #[error("Janus does not understand the SDP (465)")]
    InvalidSdp,
    #[error("Janus error {code}: {text}")]
    Other { code: u32, text: String },
}

/// Errors of the AudioBridge plugin (codes of its `janus_audiobridge.c`), which arrive inside a `success`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    #[error("the request to AudioBridge lacks an element (483): {0}")]
    MissingElement(String),
    #[error("AudioBridge has no such room (485)")]
    NoSuchRoom,
    #[error("AudioBridge has that room already (486)")]
    RoomExists,
    /// Wrong admin key, room secret or pin: AudioBridge has one code for all three.
    #[error("AudioBridge refuses the admin key, room secret or pin (489)")]
    Unauthorized,
    #[error("the requesting handle is not in an AudioBridge room (487)")]
    NotInRoom,
    #[error("AudioBridge cannot set up its Opus encoder or decoder (488)")]
    OpusFailure,
    #[error("AudioBridge has no such participant (492)")]
    NoSuchParticipant,
    #[error("AudioBridge cannot use the SDP (493)")]
    InvalidSdp,
    #[error("AudioBridge error {code}: {text}")]
    Other { code: u32, text: String },
}

impl JanusError {
    /// Returns true if it is unknown whether Janus has executed the request.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Disconnected | Self::Timeout { .. } | Self::BadReply { .. })
    }
}

impl CoreError {
    pub(super) fn new(code: u32, text: String) -> Self {
        match code {
            403 => Self::Unauthorized,
            458 => Self::NoSuchSession,
            459 => Self::NoSuchHandle,
            460 => Self::NoSuchPlugin,
            465 => Self::InvalidSdp,
            _ => Self::Other { code, text },
        }
    }
}

impl PluginError {
    pub(super) fn new(code: u32, text: String) -> Self {
        match code {
            483 => Self::MissingElement(text),
            485 => Self::NoSuchRoom,
            486 => Self::RoomExists,
            487 => Self::NotInRoom,
            488 => Self::OpusFailure,
            489 => Self::Unauthorized,
            492 => Self::NoSuchParticipant,
            493 => Self::InvalidSdp,
            _ => Self::Other { code, text },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugin_codes_match_audiobridge() {
        for (code, wanted) in [
            (483, PluginError::MissingElement("room".into())),
            (485, PluginError::NoSuchRoom),
            (486, PluginError::RoomExists),
            (487, PluginError::NotInRoom),
            (488, PluginError::OpusFailure),
            (489, PluginError::Unauthorized),
            (492, PluginError::NoSuchParticipant),
            (493, PluginError::InvalidSdp),
            (499, PluginError::Other { code: 499, text: "room".into() }),
        ] {
            let error = PluginError::new(code, "room".into());
            assert_eq!(error, wanted);
            let shown = error.to_string();
            assert!(shown.contains(&code.to_string()), "{shown}");
        }
    }
}

//! Errors of calls. The codes are stable: new ones may be added, but none changes its meaning.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};

macro_rules! codes {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident = $number:literal, $text:literal, $retryable:literal, $message:literal;
    )*) => {
        /// Reason why a call failed. The numbers are those of JSON-RPC, and our own from −32001 downwards.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $name,)*
        }

        impl ErrorCode {
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the number in `error.code`.
            pub fn number(self) -> i64 {
                match self { $(Self::$name => $number,)* }
            }

            /// Returns the name in `error.data.code`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Returns `error.data.retryable`: true if the same call may succeed later.
            pub fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retryable,)* }
            }

            fn message(self) -> &'static str {
                match self { $(Self::$name => $message,)* }
            }
        }
    };
}

codes! {
    /// The text is not JSON.
    ParseError = -32700, "parse_error", false, "the text is not JSON";
    /// The JSON is not a JSON-RPC 2.0 request.
    InvalidRequest = -32600, "invalid_request", false, "this is not a JSON-RPC 2.0 request";
    /// The JSON is nested deeper than 16 levels.
    TooDeep = -32600, "too_deep", false, "the JSON is nested deeper than 16";
    /// A batch has more than 16 entries.
    BatchTooLarge = -32600, "batch_too_large", false, "a batch holds at most 16 entries";
    /// There is no such method.
    MethodNotFound = -32601, "method_not_found", false, "there is no such method";
    /// A parameter is missing, unknown, or of the wrong type or shape.
    InvalidParams = -32602, "invalid_params", false, "the parameters do not match the method";
    /// Internal error of the server.
    Internal = -32603, "internal", true, "internal server error";
    /// More simultaneous calls than `ws.calls`; the client must wait for an answer first.
    TooManyCalls = -32001, "too_many_calls", true, "too many calls wait for their answers";
    /// More calls per second than `ws.rate`. If the client continues, the connection is closed with 4429.
    RateLimited = -32002, "rate_limited", true, "too many calls";
    /// The call took longer than `ws.call_timeout`. It may or may not have taken effect.
    Timeout = -32003, "timeout", true, "the call took too long; it may or may not have taken effect";
    /// The SDP is larger than `ws.sdp_limit`.
    SdpTooLarge = -32004, "sdp_too_large", false, "the SDP is too large";
    /// More than `ws.candidate_limit` candidates since the last offer.
    TooManyCandidates = -32005, "too_many_candidates", false, "too many candidates after an offer";
    /// The method requires a `join` first.
    NotJoined = -32006, "not_joined", false, "join first";
    /// The pin is not the room's.
    WrongPin = -32007, "wrong_pin", false, "the pin is wrong";
    /// Too many wrong pins from this user and address.
    TooManyPins = -32008, "too_many_pins", true, "too many wrong pins; wait";
    /// The room already has as many anchors as its `maxAnchors` allows.
    RoomFull = -32009, "room_full", true, "the room is full";
    /// The room is neither on air nor backstage, or cannot be joined yet.
    NotOnAir = -32010, "not_on_air", true, "the room is not on air";
    /// The role of the user does not allow this.
    Forbidden = -32011, "forbidden", false, "the role of the user does not allow this";
    /// The room has no such member.
    NoSuchMember = -32012, "no_such_member", false, "there is no such member in the room";
    /// The offer cannot work, or Janus refused it or the candidate.
    MediaRefused = -32013, "media_refused", false, "the media server refused this";
    /// The room's Janus does not answer.
    MediaUnavailable = -32014, "media_unavailable", true, "the media server does not answer";
    /// The store or presence does not answer.
    Unavailable = -32015, "unavailable", true, "a part of the server does not answer";
    /// Another client of the same user is connected. The connection is closed: with 4423 if `ws.duplicate` is
    /// `reject`, with 4409 if the other client took over.
    AlreadyConnected = -32016, "already_connected", true, "the user is connected from another client";
    /// The room is over or gone, the user is banned from it, or the token has expired; the close code states
    /// which of these applies.
    RoomOver = -32017, "room_over", false, "the room has ended, or you no longer have access to it";
    /// The room already has the maximum number of bans and assigned roles.
    TooManyUsers = -32018, "too_many_users", false,
        "the room has the maximum number of bans and assigned roles";
    /// The room is locked; a host or co-host must unlock it.
    RoomLocked = -32019, "room_locked", true, "the room is locked";
    /// The application does not admit the user; the message is its reason.
    NotAdmitted = -32020, "not_admitted", false, "the application does not admit this user";
    /// The server admits only anchors who agree to be recorded.
    ConsentRequired = -32021, "consent_required", false,
        "this room may be recorded: join with recordingConsent: true if the user agrees";
    /// The application that admits users does not answer, and `admission.on_failure` is `deny`.
    AdmissionUnavailable = -32022, "admission_unavailable", true,
        "the application that admits users does not answer";
}

/// Failure of one call, as the client receives it.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcError {
    pub code: ErrorCode,
    /// Text for humans; may change. Contains no secret and no text of an inner error.
    pub message: Cow<'static, str>,
    /// Value of `error.data.retryAfterMs`: time to wait before a retry.
    pub retry_after: Option<Duration>,
}

impl RpcError {
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// Returns the `error` member of a response.
    pub fn to_json(&self) -> Value {
        let code = self.code;
        let mut data = json!({ "code": code.as_str(), "retryable": code.is_retryable() });
        if let Some(wait) = self.retry_after {
            data["retryAfterMs"] = json!(wait.as_millis().max(1) as u64);
        }
        json!({ "code": code.number(), "message": self.message, "data": data })
    }
}

impl From<ErrorCode> for RpcError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.message())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn error_codes_are_unique_and_consecutive() {
        let names: HashSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), ErrorCode::ALL.len());
        let ours: Vec<_> = ErrorCode::ALL.iter().map(|c| c.number()).filter(|n| *n > -32100).collect();
        assert!(ours.iter().zip(1..).all(|(number, i)| *number == -32000 - i), "{ours:?}");
    }

    #[test]
    fn rpc_error_states_retry() {
        let error = RpcError::from(ErrorCode::RateLimited).retry_after(Duration::from_millis(50));
        let data = json!({ "code": "rate_limited", "retryable": true, "retryAfterMs": 50 });
        assert_eq!(error.to_json(), json!({ "code": -32002, "message": "too many calls", "data": data }));
        assert!(RpcError::from(ErrorCode::WrongPin).to_json()["data"].get("retryAfterMs").is_none());
    }
}

//! The error type that becomes a response.
//!
//! `{success: false, error, code, details?, requestId}`: `code` is stable and documented here, `error` is a
//! text for humans and may change. Information that only operators may see stays in `cause`, which is logged.

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::ids::{InvalidName, ModuleId};
use crate::domain::placement::RejectReason;
use crate::domain::profile::ProfileError;
use crate::domain::recording::RecordingDenied;
use crate::domain::room::StartDenied;
use crate::domain::users::UserDenied;
use crate::rooms::RoomError;
use crate::store::StoreError;

use super::request_id;

/// Stable error codes. New codes may be added; none changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 400: the body is not JSON.
    InvalidJson,
    /// 400: the body is JSON but not of the expected form: a wrong type, a missing field or an unknown field.
    InvalidBody,
    /// 400: the query has an unknown parameter or a value out of range.
    InvalidQuery,
    /// 400: the room id is not 3 to 32 characters of `A-Z a-z 0-9 _ -`.
    InvalidRoomId,
    /// 400: the PIN is not 6 letters or digits.
    InvalidPin,
    /// 400: the maximum number of anchors is not 1 to 5.
    InvalidMaxAnchors,
    /// 400: a field of the room has an invalid value; the message names the field and the rule.
    InvalidRoomField,
    /// 400: this field of a room cannot be changed; the message says why.
    ImmutableField,
    /// 400: the name is not 1 to 64 visible characters: no control, invisible or direction-changing ones.
    InvalidName,
    /// 400: the user id is not 1 to 255 bytes without control or invisible characters; an id with a colon
    /// must be a URI.
    InvalidUserId,
    /// 400: the module id is not 1 to 64 characters of `A-Z a-z 0-9 _ - .`.
    InvalidModuleId,
    /// 400: the lifetime of a cordon label is not 1 to 604800 seconds.
    InvalidTtl,
    /// 400: this path only opens WebSockets.
    WebsocketExpected,
    /// 426: the WebSocket version is not 13.
    WebsocketVersion,
    /// 408: the body did not arrive in time.
    RequestTimeout,
    /// 401: the API key is missing or not valid.
    Unauthorized,
    /// 401: a token is required: in the Authorization header, a cookie (listeners), or the `token` parameter.
    TokenMissing,
    /// 401: the token was not issued by this installation, or is for another purpose, or for an earlier room
    /// of this id.
    TokenInvalid,
    /// 401: the token has expired; request a new one.
    TokenExpired,
    /// 403: the token is for another room or recording.
    TokenWrongRoom,
    /// 403: the token is of the wrong kind: listener tokens are for rooms, replay tokens for recordings.
    TokenWrongAudience,
    /// 403: the room is not on air, so its keys are not given out.
    KeyRefused,
    /// 403: a browser sent the request from a page whose origin is not in `http.allowed_origins`.
    OriginNotAllowed,
    /// 403: `Host` is not a name of this server. A node in open mode answers only to `localhost` and loopback
    /// addresses. The operations endpoints on loopback do so in every mode, and also answer to the hosts of
    /// the public URLs and of `http.allowed_origins`.
    HostNotAllowed,
    /// 403: a proxy passed the request on to a node with `auth.mode: open`, which serves only its own
    /// machine.
    ProxyNotAllowed,
    /// 403: pages give out tokens only with `auth.mode: open`; open the page by a link that carries a token.
    PagesClosed,
    /// 400: the id of a recording is not 16 characters of a-z 0-9.
    InvalidRecordingId,
    /// 404: there is no such recording, or it was deleted.
    RecordingNotFound,
    /// 409, retryable: the recording is not complete yet, or its broadcast is still on air.
    RecordingNotReady,
    /// 409: the broadcast is being recorded; stop that first.
    RecordingActive,
    /// 409: `recording.mode` is `off`.
    RecordingOff,
    /// 404: the path does not exist.
    NotFound,
    /// 404: the room does not exist.
    RoomNotFound,
    /// 403: the key is neither a key of the live window nor the next key: it has left the window, or is not
    /// used yet.
    KeyOutOfWindow,
    /// 404: the room is not on air.
    RoomNotOnAir,
    /// 404: there is no such key: it is of another broadcast, or the recording does not use it.
    KeyNotFound,
    /// 400: `_HLS_msn` is further ahead than the stream can soon reach.
    TooFarAhead,
    /// 410: the media has left the live window.
    MediaGone,
    /// 404: no Janus or mixer with this id is known.
    ModuleNotFound,
    /// 405: the path does not support this method; `Allow` lists those it supports.
    MethodNotAllowed,
    /// 409: a room with this id exists.
    RoomExists,
    /// 409, retryable: the room is being removed, which takes only moments.
    RoomRemoving,
    /// 409: the user is banned from the room, until a host or the application lifts the ban.
    UserRemoved,
    /// 409: the room cannot remember any more banned users; lift some bans.
    TooManyUsers,
    /// 404: nobody with this id is in the room, has written or has raised a hand.
    PersonNotFound,
    /// 413: the body is larger than `http.body_limit`.
    BodyTooLarge,
    /// 416: the range begins behind the end of the file; `Content-Range` has its size.
    RangeNotSatisfiable,
    /// 415: the body must be `application/json` in UTF-8, without `Content-Encoding`.
    UnsupportedMediaType,
    /// 422: the configuration that `POST /reload` read has errors; `details.errors` lists them all.
    InvalidConfig,
    /// 500: the server failed. The request id identifies the log line.
    Internal,
    /// 503: this node cannot read its configuration again: it is stopping, or is a demo.
    ReloadUnavailable,
    /// 503, retryable: other requests kept changing the room at the same time.
    Busy,
    /// 400: the text or note is empty, too long, or has characters that cannot be shown.
    InvalidText,
    /// 400: the person id is not 16 hexadecimal digits.
    InvalidPersonId,
    /// 400: neither the token nor the body names the user.
    NameRequired,
    /// 403: only a host of the room may do this.
    HostOnly,
    /// 404: this listener has not raised a hand.
    HandNotRaised,
    /// 404: the message was deleted, or is older than those that are kept.
    MessageNotFound,
    /// 409: anchors and hosts cannot raise a hand.
    OnStage,
    /// 409: hands are closed in this room.
    HandsClosed,
    /// 409: the room already has its maximum number of raised hands.
    HandsFull,
    /// 409: the caller has no invitation to the stage.
    NotInvited,
    /// 409: the room is locked; a host must unlock it.
    RoomLocked,
    /// 409: the chat is closed in this room.
    ChatClosed,
    /// 429: slow mode is on; `Retry-After` tells when the caller may send again.
    SlowMode,
    /// 503, retryable: the room has as many listeners as its `listenerLimit` allows.
    ListenersFull,
    /// 503, retryable: the listener channel cannot be used now.
    ChannelUnavailable,
    /// 503, retryable: this node accepts no signalling connections, because it is starting or stopping.
    GatewayUnavailable,
    /// 503, retryable: the modules that could take the room are full; `details.considered` names them.
    /// Nothing was changed.
    NoCapacity,
    /// 503, retryable: no Janus accepts a room; `details.considered` says why. Nothing was changed.
    NoJanusAvailable,
    /// 503, retryable: no mixer accepts a room; `details.considered` says why. Nothing was changed.
    NoMixerAvailable,
    /// 503, retryable: the room is starting and has no segment yet.
    MediaNotReady,
    /// 503: the requested media did not arrive in time.
    MediaTimeout,
    /// 503, retryable: too many connections are open to this address of the server.
    TooManyClients,
    /// 429, retryable: too many requests with this token, too many requests or connections from this client
    /// address, or too many messages in this room.
    TooManyRequests,
    /// 503, retryable: the node that mixes this room, or has this recording, does not answer.
    MediaUnavailable,
    /// 503, retryable: the store does not answer. A change may or may not have happened.
    StoreUnavailable,
}

/// Refusal or failure on its way to the caller.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub code: Code,
    /// Text for the caller. Never contains a secret or the text of an inner error.
    pub message: String,
    pub details: Option<Value>,
    /// Text for the log.
    pub cause: Option<String>,
    allow: Option<String>,
    /// Number of seconds after which to retry, if it is known more precisely than by the code.
    retry_after: Option<u32>,
}

/// Body of every error response.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// Always false.
    success: bool,
    /// Human-readable text; may change.
    error: String,
    code: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    details: Option<Value>,
    /// Id of the request, also in the header `X-Request-Id`.
    request_id: String,
}

impl Code {
    /// Returns the HTTP status of the code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidJson
            | Self::InvalidBody
            | Self::InvalidQuery
            | Self::InvalidRoomId
            | Self::InvalidPin
            | Self::InvalidMaxAnchors
            | Self::InvalidRoomField
            | Self::ImmutableField
            | Self::InvalidName
            | Self::InvalidUserId
            | Self::InvalidModuleId
            | Self::InvalidTtl
            | Self::InvalidRecordingId
            | Self::TooFarAhead
            | Self::InvalidText
            | Self::InvalidPersonId
            | Self::NameRequired
            | Self::WebsocketExpected => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::TokenMissing | Self::TokenInvalid | Self::TokenExpired => {
                StatusCode::UNAUTHORIZED
            }
            Self::OriginNotAllowed
            | Self::HostNotAllowed
            | Self::ProxyNotAllowed
            | Self::PagesClosed
            | Self::TokenWrongRoom
            | Self::TokenWrongAudience
            | Self::KeyRefused
            | Self::HostOnly
            | Self::KeyOutOfWindow => StatusCode::FORBIDDEN,
            Self::NotFound
            | Self::RoomNotFound
            | Self::RoomNotOnAir
            | Self::KeyNotFound
            | Self::HandNotRaised
            | Self::MessageNotFound
            | Self::PersonNotFound
            | Self::RecordingNotFound
            | Self::ModuleNotFound => StatusCode::NOT_FOUND,
            Self::MediaGone => StatusCode::GONE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::WebsocketVersion => StatusCode::UPGRADE_REQUIRED,
            Self::RoomExists
            | Self::RoomRemoving
            | Self::UserRemoved
            | Self::TooManyUsers
            | Self::OnStage
            | Self::HandsClosed
            | Self::HandsFull
            | Self::NotInvited
            | Self::RoomLocked
            | Self::RecordingNotReady
            | Self::RecordingActive
            | Self::RecordingOff
            | Self::ChatClosed => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidConfig => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Busy
            | Self::ReloadUnavailable
            | Self::GatewayUnavailable
            | Self::NoCapacity
            | Self::NoJanusAvailable
            | Self::NoMixerAvailable
            | Self::StoreUnavailable
            | Self::MediaNotReady
            | Self::MediaTimeout
            | Self::TooManyClients
            | Self::ListenersFull
            | Self::ChannelUnavailable
            | Self::MediaUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::SlowMode | Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Returns the number of seconds after which to retry; `None` if the same request would fail again.
    pub fn retry_after(self) -> Option<u32> {
        match self {
            Self::RoomRemoving
            | Self::Busy
            | Self::GatewayUnavailable
            | Self::MediaNotReady
            | Self::ChannelUnavailable
            | Self::SlowMode
            | Self::TooManyRequests
            | Self::RecordingNotReady
            | Self::MediaUnavailable => Some(1),
            Self::StoreUnavailable => Some(2),
            Self::NoCapacity
            | Self::NoJanusAvailable
            | Self::NoMixerAvailable
            | Self::ListenersFull
            | Self::TooManyClients => Some(5),
            _ => None,
        }
    }
}

impl ApiError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: None, cause: None, allow: None, retry_after: None }
    }

    /// Builds a 500. The cause is only logged.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self {
            cause: Some(cause.to_string()),
            ..Self::new(Code::Internal, "internal error; the log line has this request id")
        }
    }

    /// Sets the text for the log.
    pub fn because(self, cause: impl std::fmt::Display) -> Self {
        Self { cause: Some(cause.to_string()), ..self }
    }

    /// Sets the time after which to retry, rounded up to seconds.
    pub fn retry_in(self, time: std::time::Duration) -> Self {
        let seconds = u32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        Self { retry_after: Some(seconds.max(1)), ..self }
    }

    pub(in crate::http) fn body(&self, request_id: String) -> ErrorBody {
        ErrorBody {
            success: false,
            error: self.message.clone(),
            code: self.code,
            details: self.details.clone(),
            request_id,
        }
    }

    /// Builds the refusal of a method. `allow` lists the methods of the path, e.g. `GET, POST`.
    pub fn method_not_allowed(allow: &str) -> Self {
        let message = format!("this path allows {allow}");
        Self { allow: Some(allow.to_owned()), ..Self::new(Code::MethodNotAllowed, message) }
    }
}

/// Handles every path that does not exist.
pub async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::new(Code::NotFound, "there is no such path"))
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.code.status());
        if let Some(seconds) = self.retry_after.or_else(|| self.code.retry_after()) {
            response.insert_header((RETRY_AFTER, seconds));
        }
        if let Some(allow) = &self.allow {
            response.insert_header((ALLOW, allow.as_str()));
        }
        match self.code {
            // RFC 9110 section 15.5.22, RFC 6455 section 4.4.
            Code::WebsocketVersion => {
                response.insert_header((UPGRADE, "websocket")).insert_header((SEC_WEBSOCKET_VERSION, "13"));
            }
            // RFC 9110 section 15.5.16.
            Code::UnsupportedMediaType => {
                response.insert_header((ACCEPT_ENCODING, "identity"));
            }
            code if code.status() == StatusCode::UNAUTHORIZED => {
                response.insert_header((WWW_AUTHENTICATE, "Bearer"));
            }
            _ => {}
        }
        // Media responses have no request id middleware, so they get their id here.
        let request_id = request_id::current().unwrap_or_else(|| {
            let id = request_id::fresh();
            response.insert_header((request_id::X_REQUEST_ID, id.as_str()));
            id
        });
        response.insert_header((CACHE_CONTROL, "no-store"));
        response.json(self.body(request_id))
    }
}

impl From<RoomError> for ApiError {
    fn from(error: RoomError) -> Self {
        let message = error.to_string();
        match error {
            RoomError::Exists => Self::new(Code::RoomExists, message),
            RoomError::NotFound => Self::new(Code::RoomNotFound, message),
            RoomError::Removing => Self::new(Code::RoomRemoving, message),
            RoomError::User(denied) => Self::new(user_code(&denied), message),
            RoomError::Role(_) => Self::new(Code::HostOnly, message),
            RoomError::Profile(error) => error.into(),
            RoomError::ModuleNotFound => Self::new(Code::ModuleNotFound, message),
            RoomError::NotOnAir | RoomError::Recording(RecordingDenied::NotOnAir) => {
                Self::new(Code::RoomNotOnAir, message)
            }
            RoomError::Recording(_) => Self::new(Code::RecordingOff, message),
            RoomError::Busy => Self::new(Code::Busy, message),
            RoomError::InvalidInput(invalid) => invalid.into(),
            RoomError::NoCapacity(denied) => no_capacity(denied, message),
            RoomError::Corrupt { .. } => Self::internal(message),
            RoomError::Store(StoreError::Unavailable(cause)) => {
                let message = "the store does not answer; a change may or may not have happened";
                Self { cause: Some(cause), ..Self::new(Code::StoreUnavailable, message) }
            }
            RoomError::Store(other) => Self::internal(other),
        }
    }
}

impl From<ProfileError> for ApiError {
    fn from(error: ProfileError) -> Self {
        let message = error.to_string();
        match error {
            ProfileError::Unknown(_) | ProfileError::WrongType(..) => Self::new(Code::InvalidBody, message),
            ProfileError::Invalid(invalid) => invalid.into(),
            ProfileError::Immutable { .. } => Self::new(Code::ImmutableField, message),
        }
    }
}

impl From<InvalidName> for ApiError {
    fn from(invalid: InvalidName) -> Self {
        let code = match invalid.what {
            "roomId" => Code::InvalidRoomId,
            "pin" => Code::InvalidPin,
            "maxAnchors" => Code::InvalidMaxAnchors,
            "title" | "description" | "language" | "tags" | "coverUrl" | "owner" | "custom"
            | "listenerLimit" | "maxDuration" | "emptyTimeout" => Code::InvalidRoomField,
            "displayName" => Code::InvalidName,
            "userId" => Code::InvalidUserId,
            "module id" => Code::InvalidModuleId,
            "recording id" => Code::InvalidRecordingId,
            "text" | "note" => Code::InvalidText,
            "person id" => Code::InvalidPersonId,
            _ => Code::InvalidBody,
        };
        Self::new(code, invalid.to_string())
    }
}

fn user_code(denied: &UserDenied) -> Code {
    match denied {
        UserDenied::Banned => Code::UserRemoved,
        UserDenied::TooMany => Code::TooManyUsers,
        // `RoomError` has its own variants for these.
        UserDenied::NoSuchRoom => Code::RoomNotFound,
        UserDenied::RoomRemoving => Code::RoomRemoving,
    }
}

fn no_capacity(denied: StartDenied, message: String) -> ApiError {
    let (none, considered) = match denied {
        StartDenied::NoPickableMixer { considered } => (Code::NoMixerAvailable, considered),
        StartDenied::NoPickableJanus { considered } => (Code::NoJanusAvailable, considered),
        // `RoomError` has its own variants for these.
        StartDenied::NotFound | StartDenied::Removing => return ApiError::internal(message),
    };
    let is_full = |(_, why): &(ModuleId, RejectReason)| {
        matches!(why, RejectReason::Full { .. } | RejectReason::Overloaded(_))
    };
    let code = if considered.iter().any(is_full) { Code::NoCapacity } else { none };
    let reason = |(id, why): (ModuleId, RejectReason)| json!({"id": id.as_str(), "reason": why.to_string()});
    let considered: Vec<Value> = considered.into_iter().map(reason).collect();
    ApiError { details: Some(json!({ "considered": considered })), ..ApiError::new(code, message) }
}

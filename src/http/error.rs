//! The error type that becomes a response.
//!
//! `{success: false, error, code, details?, requestId}`: `code` is stable and documented here, `error` is a
//! text for humans and may change. Information that only operators may see stays in `cause`, which is logged.

mod code;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::ids::{InvalidName, ModuleId};
use crate::domain::output::OutputDenied;
use crate::domain::placement::RejectReason;
use crate::domain::profile::ProfileError;
use crate::domain::quotas::QuotaExceeded;
use crate::domain::recording::RecordingDenied;
use crate::domain::room::StartDenied;
use crate::domain::sources::SourceDenied;
use crate::domain::users::UserDenied;
use crate::rooms::RoomError;
use crate::store::StoreError;

use super::request_id;

pub use code::Code;

/// Refusal or failure that is reported to the caller.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub code: Code,
    /// Text for the caller. Never contains a secret or the text of an inner error.
    pub message: String,
    pub details: Option<Value>,
    /// Text for the log.
    pub cause: Option<String>,
    allow: Option<String>,
    /// Number of seconds after which to retry; `None`: the number that belongs to `code`.
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

impl ApiError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: None, cause: None, allow: None, retry_after: None }
    }

    /// Builds the error `internal` (500). The cause is only logged.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self {
            cause: Some(cause.to_string()),
            ..Self::new(Code::Internal, "internal error; the log line contains this request id")
        }
    }

    /// Sets the text for the log.
    pub fn because(self, cause: impl std::fmt::Display) -> Self {
        Self { cause: Some(cause.to_string()), ..self }
    }

    pub fn with_details(self, details: Value) -> Self {
        Self { details: Some(details), ..self }
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
        // Requests for media do not pass through the request id middleware, so their errors get an id here.
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
            RoomError::Source(denied) => Self::new(source_code(&denied), message),
            RoomError::Role(_) => Self::new(Code::HostOnly, message),
            RoomError::Profile(error) => error.into(),
            RoomError::ModuleNotFound => Self::new(Code::ModuleNotFound, message),
            RoomError::NotOnAir | RoomError::Recording(RecordingDenied::NotOnAir) => {
                Self::new(Code::RoomNotOnAir, message)
            }
            RoomError::Recording(_) => Self::new(Code::RecordingOff, message),
            RoomError::Output(denied) => Self::new(output_code(denied), message),
            RoomError::Quota(exceeded) => quota_refusal(Code::QuotaExceeded, &exceeded),
            RoomError::OnAir => Self::new(Code::RoomOnAir, message),
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

fn output_code(denied: OutputDenied) -> Code {
    match denied {
        OutputDenied::NoSuchRoom => Code::RoomNotFound,
        OutputDenied::NoSuchOutput => Code::OutputNotFound,
        OutputDenied::TooMany(_) => Code::TooManyOutputs,
        OutputDenied::SwitchedOff => Code::OutputsOff,
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
            | "listenerLimit" | "maxDuration" | "emptyTimeout" | "rewind" | "recordingMode" | "startsAt" => {
                Code::InvalidRoomField
            }
            "displayName" | "name" => Code::InvalidName,
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

/// Builds the refusal for an exceeded quota.
pub(in crate::http) fn quota_refusal(code: Code, exceeded: &QuotaExceeded) -> ApiError {
    let details = json!({ "quota": exceeded.quota, "limit": exceeded.limit });
    ApiError::new(code, exceeded.to_string()).with_details(details)
}

fn user_code(denied: &UserDenied) -> Code {
    match denied {
        UserDenied::Banned => Code::UserRemoved,
        UserDenied::TooMany => Code::TooManyUsers,
        // `RoomError` has its own variants for these reasons.
        UserDenied::NoSuchRoom => Code::RoomNotFound,
        UserDenied::RoomRemoving => Code::RoomRemoving,
    }
}

fn source_code(denied: &SourceDenied) -> Code {
    match denied {
        SourceDenied::NoSuchSource => Code::SourceNotFound,
        SourceDenied::SchemeOff(_) | SourceDenied::FilesOff => Code::SourceNotPermitted,
        SourceDenied::Full => Code::RoomFull,
        // `RoomError` has its own variants for these.
        SourceDenied::NoSuchRoom => Code::RoomNotFound,
        SourceDenied::RoomRemoving => Code::RoomRemoving,
    }
}

fn no_capacity(denied: StartDenied, message: String) -> ApiError {
    let (none, considered) = match denied {
        StartDenied::NoPickableMixer { considered } => (Code::NoMixerAvailable, considered),
        StartDenied::NoPickableJanus { considered } => (Code::NoJanusAvailable, considered),
        // `RoomError` has its own variants for these reasons.
        StartDenied::NotFound | StartDenied::Removing | StartDenied::OnAir => {
            return ApiError::internal(message);
        }
    };
    let is_full = |(_, why): &(ModuleId, RejectReason)| {
        matches!(why, RejectReason::Full { .. } | RejectReason::Overloaded(_))
    };
    let code = if considered.iter().any(is_full) { Code::NoCapacity } else { none };
    let reason = |(id, why): (ModuleId, RejectReason)| json!({"id": id.as_str(), "reason": why.to_string()});
    let considered: Vec<Value> = considered.into_iter().map(reason).collect();
    ApiError { details: Some(json!({ "considered": considered })), ..ApiError::new(code, message) }
}

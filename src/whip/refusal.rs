//! Translation of the errors of a publisher's session to API errors.

use crate::actors::gateway::direct::CallFailure;
use crate::domain::signalling::{CloseCode, ErrorCode, RpcError};
use crate::http::error::{ApiError, Code};

const CONSENT: &str =
    "this room may be recorded: add ?recordingConsent=true to the URL if the user agrees to that";

impl From<CallFailure> for ApiError {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Refused(error) => refused(error),
            CallFailure::Closed(code) => closed(code),
        }
    }
}

/// Converts the error of a call to an API error.
fn refused(RpcError { code, message, retry_after }: RpcError) -> ApiError {
    let code = match code {
        ErrorCode::RoomFull => Code::RoomFull,
        ErrorCode::RoomLocked => Code::RoomLocked,
        ErrorCode::NotOnAir | ErrorCode::RoomOver => Code::RoomNotOnAir,
        ErrorCode::NotAdmitted => Code::NotAdmitted,
        ErrorCode::ConsentRequired => Code::ConsentRequired,
        ErrorCode::AlreadyConnected => Code::AlreadyConnected,
        ErrorCode::MediaRefused | ErrorCode::TooManyCandidates => Code::OfferRefused,
        ErrorCode::MediaUnavailable | ErrorCode::Timeout => Code::MediaUnavailable,
        ErrorCode::Unavailable => Code::StoreUnavailable,
        ErrorCode::AdmissionUnavailable => Code::AdmissionUnavailable,
        ErrorCode::SdpTooLarge => Code::BodyTooLarge,
        ErrorCode::TooManyCalls => Code::TooManyRequests,
        ErrorCode::NotJoined => Code::SessionNotFound,
        other => return ApiError::internal(other.as_str()),
    };
    let message = match code {
        Code::ConsentRequired => CONSENT.into(),
        _ => message,
    };
    let error = ApiError::new(code, message);
    match retry_after.filter(|_| code.retry_after().is_some()) {
        Some(wait) => error.retry_in(wait),
        None => error,
    }
}

/// Converts the close code of a connection that was closed before it answered the call.
fn closed(code: CloseCode) -> ApiError {
    let (code, message) = match code {
        CloseCode::TokenInvalid => {
            (Code::TokenInvalid, "the token has expired, or is for an earlier room with this id")
        }
        CloseCode::Removed => {
            (Code::UserRemoved, "the user is banned from the room, was kicked, or is a listener now")
        }
        CloseCode::RoomGone => (Code::RoomNotFound, "there is no such room"),
        CloseCode::RoomClosed => (Code::RoomNotOnAir, "the room has ended"),
        CloseCode::AlreadyConnected | CloseCode::Replaced => {
            (Code::AlreadyConnected, "the user is connected from another client")
        }
        CloseCode::Gone | CloseCode::NotJoined => (Code::SessionNotFound, "the session has ended"),
        CloseCode::Draining => (Code::GatewayUnavailable, "this node shuts down; publish again"),
        CloseCode::Unavailable => (Code::StoreUnavailable, "the store or presence does not answer"),
        other => return ApiError::internal(other.reason()),
    };
    ApiError::new(code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_errors_have_documented_codes() {
        for (failure, status, code) in [
            (CallFailure::Refused(ErrorCode::RoomFull.into()), 409, Code::RoomFull),
            (CallFailure::Refused(ErrorCode::RoomLocked.into()), 409, Code::RoomLocked),
            (CallFailure::Refused(ErrorCode::NotAdmitted.into()), 403, Code::NotAdmitted),
            (CallFailure::Refused(ErrorCode::AdmissionUnavailable.into()), 503, Code::AdmissionUnavailable),
            (CallFailure::Refused(ErrorCode::NotOnAir.into()), 404, Code::RoomNotOnAir),
            (CallFailure::Refused(ErrorCode::ConsentRequired.into()), 403, Code::ConsentRequired),
            (CallFailure::Refused(ErrorCode::MediaRefused.into()), 400, Code::OfferRefused),
            (CallFailure::Refused(ErrorCode::Forbidden.into()), 500, Code::Internal),
            (CallFailure::Closed(CloseCode::TokenInvalid), 401, Code::TokenInvalid),
            (CallFailure::Closed(CloseCode::Removed), 409, Code::UserRemoved),
            (CallFailure::Closed(CloseCode::RoomGone), 404, Code::RoomNotFound),
            (CallFailure::Closed(CloseCode::AlreadyConnected), 409, Code::AlreadyConnected),
            (CallFailure::Closed(CloseCode::Draining), 503, Code::GatewayUnavailable),
        ] {
            let error = ApiError::from(failure.clone());
            assert_eq!((error.code.status().as_u16(), error.code), (status, code), "{failure:?}");
        }
    }
}

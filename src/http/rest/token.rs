//! `POST /api/token`: tokens for listeners of one room.

use actix_web::Responder;
use actix_web::web::{Data, Json, ReqData};

use crate::domain::api_key::Caller;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::room::RoomStatus;
use crate::domain::signalling::DisplayName;
use crate::domain::users::UserDenied;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::extract::JsonBody;
use crate::http::tokens::ListenerClaims;
use crate::rooms::{RoomError, now};

use super::body::{TokenAnswer, TokenRequest};
use super::{Api, charge_token};

/// Issues a token with which a listener can hear one room.
///
/// The room need not be on air: the listener can wait for it.
#[utoipa::path(
    post, path = "/api/token", operation_id = "issueListenerToken", tag = "listeners",
    request_body = TokenRequest,
    responses(
        (status = 200, body = TokenAnswer, description = "a fresh token"),
        (
            status = 400, body = ErrorBody,
            description = "invalid_json, invalid_body, invalid_room_id, invalid_user_id, invalid_name"
        ),
        (status = 401, body = ErrorBody, description = "unauthorized"),
        (status = 403, body = ErrorBody, description = "origin_not_allowed, host_not_allowed, scope_missing"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed, room_removing (retryable)"),
        (status = 408, body = ErrorBody, description = "request_timeout"),
        (status = 413, body = ErrorBody, description = "body_too_large"),
        (status = 415, body = ErrorBody, description = "unsupported_media_type"),
        (status = 429, body = ErrorBody, description = "token_quota_exceeded (retryable)"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn issue(
    api: Data<Api>,
    caller: ReqData<Caller>,
    body: JsonBody<TokenRequest>,
) -> Result<impl Responder, ApiError> {
    let id = RoomId::new(&body.0.room_id)?;
    let who = ListenerClaims {
        user: body.0.user_id.as_deref().map(UserId::new).transpose()?,
        name: body.0.name.as_deref().map(DisplayName::new).transpose()?,
    };
    let room = api.rooms.get(&id).await?;
    if room.status == RoomStatus::Removing {
        return Err(RoomError::Removing.into());
    }
    if who.user.as_ref().is_some_and(|user| room.view.is_banned(user)) {
        return Err(RoomError::User(UserDenied::Banned).into());
    }
    charge_token(&api, &caller)?;
    let issued = api.tokens.listener(&who, &id, room.meta.created_at, now());
    Ok(Json(TokenAnswer { success: true, token: issued.token, expires_at: issued.expires_at.0 }))
}

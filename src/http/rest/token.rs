//! `POST /api/token`: tokens for listeners of one room.

use actix_web::Responder;
use actix_web::web::{Data, Json, ReqData};

use crate::auth::IssuedToken;
use crate::domain::api_key::Caller;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::room::RoomStatus;
use crate::domain::signalling::DisplayName;
use crate::domain::users::UserDenied;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::extract::JsonBody;
use crate::http::tokens::ListenerClaims;
use crate::rooms::{RoomError, now, random_user_id};

use super::body::{ListenerTokenAnswer, TokenRequest};
use super::{Api, charge_token};

/// Issues a token with which a listener can hear one room.
///
/// The room need not be on air: the listener can wait for it.
#[utoipa::path(
    post, path = "/api/token", operation_id = "issueListenerToken", tag = "listeners",
    request_body = TokenRequest,
    responses(
        (status = 200, body = ListenerTokenAnswer, description = "a fresh token"),
        (
            status = 400, body = ErrorBody,
            description = "invalid_json, invalid_body, invalid_room_id, invalid_user_id, invalid_name"
        ),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed, room_removing (retryable)"),
        (status = 429, body = ErrorBody, description = "token_quota_exceeded (retryable)"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn issue(
    api: Data<Api>,
    caller: ReqData<Caller>,
    body: JsonBody<TokenRequest>,
) -> Result<impl Responder, ApiError> {
    let id = RoomId::new(&body.0.room_id)?;
    let user = body.0.user_id.as_deref().map(UserId::new).transpose()?.unwrap_or_else(random_user_id);
    let name = body.0.name.as_deref().map(|name| DisplayName::of_field("name", name)).transpose()?;
    let room = api.rooms.get(&id).await?;
    if room.status == RoomStatus::Removing {
        return Err(RoomError::Removing.into());
    }
    if room.view.is_banned(&user) && !room.view.is_kicked(&user) {
        return Err(RoomError::User(UserDenied::Banned).into());
    }
    charge_token(&api, &caller)?;
    let (user_id, person_id) = (user.to_string(), String::from(api.tokens.person_id(&id, &user)));
    let who = ListenerClaims { user: Some(user), name };
    let IssuedToken { token, expires_at } = api.tokens.listener(&who, &id, room.meta.created_at, now());
    let (listen_url, expires_at) = (listen_url(&api.hls_base, &id, &token), expires_at.0);
    Ok(Json(ListenerTokenAnswer { success: true, token, expires_at, listen_url, user_id, person_id }))
}

/// Builds the URL of the listen page, with a token in the fragment, like [`invite_url`](super::users).
fn listen_url(hls_base: &str, room: &RoomId, token: &str) -> String {
    format!("{hls_base}/listen/{room}#token={token}")
}

//! `/api/rooms/{id}/bans`: users who are banned from a room; and the kick, which acts like a ban of a few
//! seconds.

use actix_web::Responder;
use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::users::BanOrder;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::extract::{RoomPath, UserPath};

use super::Api;
use super::body::DoneAnswer;

/// Answer with the bans of a room.
#[derive(Serialize, ToSchema)]
pub(super) struct BansAnswer {
    /// Always true.
    success: bool,
    /// Banned users, ordered by id.
    bans: Vec<BanBody>,
}

/// Ban of a user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Ban)]
pub(super) struct BanBody {
    /// Id of the user: the subject of the user's tokens.
    user_id: String,
    /// Id of the user in the listener channel of the room.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    person_id: String,
    /// Name under which the user was known when banned; absent if none was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Time of the ban.
    banned_at: u64,
}

/// Lists the users who are banned from a room, at most 1000.
#[utoipa::path(
    get, path = "/api/rooms/{id}/bans", operation_id = "listBans", tag = "users",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = BansAnswer, description = "the bans"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn list(api: Data<Api>, room: RoomPath) -> Result<impl Responder, ApiError> {
    let users = api.rooms.users(&room.0).await?;
    let ban = users.iter().filter(|(_, user)| !user.kicked).filter_map(|(id, user)| {
        let name = user.banned_name.as_ref().map(|name| name.as_str().to_owned());
        let (user_id, person_id) = (id.to_string(), api.tokens.person_id(&room.0, id).into());
        Some(BanBody { user_id, person_id, name, banned_at: user.removed_at?.0 })
    });
    Ok(Json(BansAnswer { success: true, bans: ban.collect() }))
}

/// Bans a user (anchor or listener) from a room.
///
/// The user is disconnected, and every token of the user is refused until the ban is lifted or the room is
/// deleted. The call may be repeated, and may name a user whose token was issued elsewhere. Listeners whose
/// tokens were issued without `userId` have random ids.
#[utoipa::path(
    put, path = "/api/rooms/{id}/bans/{userId}", operation_id = "banUser", tag = "users",
    params(
        ("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("userId" = String, Path, description = "user id, percent-encoded", min_length = 1, max_length = 255),
    ),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id, invalid_user_id"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "too_many_users, room_removing (retryable)"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn ban(api: Data<Api>, user: UserPath) -> Result<impl Responder, ApiError> {
    let order = BanOrder { user: user.1, name: None, by: None };
    api.rooms.ban_user(&user.0, &order).await?;
    Ok(Json(DoneAnswer::YES))
}

/// Kicks a user (anchor or listener) out of a room. The user is disconnected and may come back.
///
/// All tokens of the user are refused for about ten seconds, and are valid again afterwards. May be repeated.
/// Changes nothing if the user is banned.
#[utoipa::path(
    post, path = "/api/rooms/{id}/users/{userId}/kick", operation_id = "kickUser", tag = "users",
    params(
        ("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("userId" = String, Path, description = "user id, percent-encoded", min_length = 1, max_length = 255),
    ),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id, invalid_user_id"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "too_many_users, room_removing (retryable)"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn kick(api: Data<Api>, user: UserPath) -> Result<impl Responder, ApiError> {
    let order = BanOrder { user: user.1, name: None, by: None };
    api.rooms.kick_user(&user.0, &order).await?;
    Ok(Json(DoneAnswer::YES))
}

/// Lifts the ban of a user. May be repeated.
///
/// The user's tokens are valid again until they expire.
#[utoipa::path(
    delete, path = "/api/rooms/{id}/bans/{userId}", operation_id = "unbanUser", tag = "users",
    params(
        ("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("userId" = String, Path, description = "user id, percent-encoded", min_length = 1, max_length = 255),
    ),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id, invalid_user_id"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "room_removing (retryable)"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn unban(api: Data<Api>, user: UserPath) -> Result<impl Responder, ApiError> {
    api.rooms.unban_user(&user.0, &user.1, None).await?;
    Ok(Json(DoneAnswer::YES))
}

//! Requests of hosts and co-hosts about the anchors: the floor, muting everybody, the lock.

use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, Responder};

use super::ChannelSide;
use super::bans::{find, moderator};
use super::body::GiveFloor;
use super::handlers::act;
use crate::domain::stage::{Command, FloorSeconds, PersonId};
use crate::http::error::{ApiError, ErrorBody};
use crate::http::extract::JsonBody;
use crate::http::rest::DoneAnswer;

/// Gives a person the floor for some time, in place of the person who has it; for hosts and co-hosts.
///
/// The person must be in the room, have written in the chat, have a hand raised, or have been invited.
/// Everybody in the room sees the remaining time. Nobody is muted when it is over.
#[utoipa::path(
    put, path = "/hls/rooms/{room}/floor", operation_id = "giveFloor", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    request_body = GiveFloor,
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (
            status = 400, body = ErrorBody,
            description = "invalid_json, invalid_body, invalid_room_id, invalid_person_id"
        ),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, host_only"),
        (status = 404, body = ErrorBody, description = "room_not_found, person_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed"),
        (status = 408, body = ErrorBody, description = "request_timeout"),
        (status = 413, body = ErrorBody, description = "body_too_large"),
        (status = 415, body = ErrorBody, description = "unsupported_media_type"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy (retryable)"),
    )
)]
pub async fn give_floor(
    request: HttpRequest,
    side: Data<ChannelSide>,
    body: JsonBody<GiveFloor>,
) -> Result<impl Responder, ApiError> {
    let (person, seconds) = (PersonId::new(&body.0.person)?, FloorSeconds::new(body.0.seconds)?);
    let (room, caller) = moderator(&request, &side)?;
    if person != caller.id {
        find(&side, &room, &person).await?;
    }
    side.hub.command(&room, &caller, Command::GiveFloor(person, seconds)).await?;
    Ok(Json(DoneAnswer::YES))
}

/// Ends the floor early; for the person who has it, and for hosts and co-hosts. May be repeated.
#[utoipa::path(
    delete, path = "/hls/rooms/{room}/floor", operation_id = "endFloor", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, host_only"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy (retryable)"),
    )
)]
pub async fn end_floor(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    act(&request, &side, None, Command::EndFloor).await
}

/// Mutes all anchors once; for hosts and co-hosts. The caller stays audible. Everybody may unmute afterwards.
#[utoipa::path(
    post, path = "/hls/rooms/{room}/mute", operation_id = "muteEverybody", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, host_only"),
        (status = 404, body = ErrorBody, description = "room_not_found, room_not_on_air"),
        (status = 409, body = ErrorBody, description = "user_removed, room_removing (retryable)"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy, store_unavailable \
            (retryable)"),
    )
)]
pub async fn mute_all(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    let (room, caller) = moderator(&request, &side)?;
    side.rooms.mute_all(&room, caller.subject.as_ref()).await?;
    Ok(Json(DoneAnswer::YES))
}

/// Locks the room; for hosts and co-hosts. May be repeated.
///
/// No new anchor may join, except hosts and co-hosts.
#[utoipa::path(
    put, path = "/hls/rooms/{room}/lock", operation_id = "lockRoom", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, host_only"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed, room_removing (retryable)"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy, store_unavailable \
            (retryable)"),
    )
)]
pub async fn lock(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    set_locked(&request, &side, true).await
}

/// Unlocks the room; for hosts and co-hosts. May be repeated.
#[utoipa::path(
    delete, path = "/hls/rooms/{room}/lock", operation_id = "unlockRoom", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, host_only"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed, room_removing (retryable)"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy, store_unavailable \
            (retryable)"),
    )
)]
pub async fn unlock(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    set_locked(&request, &side, false).await
}

async fn set_locked(
    request: &HttpRequest,
    side: &ChannelSide,
    locked: bool,
) -> Result<Json<DoneAnswer>, ApiError> {
    let (room, caller) = moderator(request, side)?;
    side.rooms.set_locked(&room, locked, caller.subject.as_ref()).await?;
    Ok(Json(DoneAnswer::YES))
}

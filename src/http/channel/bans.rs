//! Handlers of the bans of a room, for its hosts and co-hosts. People are named by their ids in the room.

use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, Responder};

use super::ChannelSide;
use super::handlers::{person, room};
use crate::domain::ids::RoomId;
use crate::domain::roles::Action;
use crate::domain::stage::{Person, PersonId, Refusal};
use crate::domain::users::BanOrder;
use crate::http::error::{ApiError, Code, ErrorBody};
use crate::http::rest::DoneAnswer;
use crate::stage::FoundPerson;

/// Bans a person (anchor or listener) from the room; for hosts and co-hosts. May be repeated.
///
/// The person must be in the room, have written in the chat, have a hand raised, or have been invited. Every
/// token of the person is refused until the ban is lifted.
#[utoipa::path(
    put, path = "/hls/rooms/{room}/bans/{person}", operation_id = "banPerson", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("person" = String, Path, description = "id of a person in this room", pattern = "^[0-9a-f]{16}$")),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id, invalid_person_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, host_only"),
        (status = 404, body = ErrorBody, description = "room_not_found, person_not_found"),
        (
            status = 409, body = ErrorBody,
            description = "user_removed, too_many_users, room_removing (retryable)"
        ),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy, store_unavailable \
            (retryable)"),
    )
)]
pub async fn ban(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    let (room, order) = ban_order(&request, &side).await?;
    side.rooms.ban_user(&room, &order).await?;
    Ok(Json(DoneAnswer::YES))
}

/// Kicks a person (anchor or listener) out of the room; for hosts and co-hosts. May be repeated.
///
/// The person must be in the room, have written in the chat, have a hand raised, or have been invited. Every
/// token of the person is refused for about ten seconds. Afterwards the person may come back.
#[utoipa::path(
    post, path = "/hls/rooms/{room}/kicks/{person}", operation_id = "kickPerson", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("person" = String, Path, description = "id of a person in this room", pattern = "^[0-9a-f]{16}$")),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id, invalid_person_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, host_only"),
        (status = 404, body = ErrorBody, description = "room_not_found, person_not_found"),
        (
            status = 409, body = ErrorBody,
            description = "user_removed, too_many_users, room_removing (retryable)"
        ),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy, store_unavailable \
            (retryable)"),
    )
)]
pub async fn kick(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    let (room, order) = ban_order(&request, &side).await?;
    side.rooms.kick_user(&room, &order).await?;
    Ok(Json(DoneAnswer::YES))
}

/// Returns the room, and the order to ban or kick the person whom the path names.
async fn ban_order(request: &HttpRequest, side: &ChannelSide) -> Result<(RoomId, BanOrder), ApiError> {
    let (room, caller) = moderator(request, side)?;
    let FoundPerson { user, name, role } = find(side, &room, &person(request)?).await?;
    let may = caller.role.in_room().is_some_and(|by| by.may(Action::Ban(role)));
    if !may || caller.subject.as_ref() == Some(&user) {
        return Err(ApiError::new(
            Code::HostOnly,
            "co-hosts cannot ban or kick hosts or co-hosts, and nobody can ban or kick themselves",
        ));
    }
    Ok((room, BanOrder { user, name, by: caller.subject }))
}

/// Lifts the ban of a person; for hosts and co-hosts. May be repeated.
#[utoipa::path(
    delete, path = "/hls/rooms/{room}/bans/{person}", operation_id = "unbanPerson", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("person" = String, Path, description = "id of a person in this room", pattern = "^[0-9a-f]{16}$")),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id, invalid_person_id"),
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
pub async fn unban(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    let (room, caller) = moderator(&request, &side)?;
    let person = person(&request)?;
    if let Some(user) = side.hub.banned(&room, &person) {
        side.rooms.unban_user(&room, &user, caller.subject.as_ref()).await?;
    }
    Ok(Json(DoneAnswer::YES))
}

/// Returns the user who is this person.
///
/// # Errors
/// `person_not_found`, or the stage cannot be read.
pub(super) async fn find(
    side: &ChannelSide,
    room: &RoomId,
    person: &PersonId,
) -> Result<FoundPerson, ApiError> {
    let found = side.hub.find(room, person).await?;
    found.ok_or_else(|| {
        let message = "nobody with this id is in the room, has written, has a hand raised or was invited";
        ApiError::new(Code::PersonNotFound, message)
    })
}

/// Returns the room and the calling host or co-host.
///
/// # Errors
/// The token is not valid for the room, the limits of the caller are exceeded, or the caller is neither host
/// nor co-host.
pub(super) fn moderator(request: &HttpRequest, side: &ChannelSide) -> Result<(RoomId, Person), ApiError> {
    let room = room(request)?;
    let caller = side.caller(request, &room, None)?.person;
    if caller.role.moderates() { Ok((room, caller)) } else { Err(Refusal::HostOnly.into()) }
}

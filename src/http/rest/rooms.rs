//! `/api/rooms`: create, list, read, change, start, stop and delete rooms.

use actix_web::web::{Data, Json, ReqData};
use actix_web::{HttpResponse, Responder};

use crate::domain::api_key::Caller;
use crate::domain::audit::{ApiAction, OperatorAction};
use crate::domain::ids::RoomId;
use crate::domain::profile::{Owner, RoomFilter, RoomProfile, Tag};
use crate::domain::room::RoomStatus;
use crate::http::anchors;
use crate::http::audit::Author;
use crate::http::error::{ApiError, Code, ErrorBody};
use crate::http::extract::{JsonBody, QueryOf, RoomPath};
use crate::rooms::{NewRoom, Room};

use super::Api;
use super::body::{DeleteAnswer, DoneAnswer, ListAnswer, ListQuery, RoomAnswer, RoomBody, RoomCounts};
use super::room_fields::{CreateRoom, UpdateRoom};

const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;
/// Maximum length of `q`, in characters.
const LONGEST_TEXT: usize = 100;

/// Creates a room and, with `start`, puts it on air; with `backstage`, opens its backstage.
#[utoipa::path(
    post, path = "/api/rooms", operation_id = "createRoom", tag = "rooms",
    request_body(content = Option<CreateRoom>, description = "may be left out"),
    responses(
        (status = 201, body = RoomAnswer, description = "the room"),
        (status = 400, body = ErrorBody, description = "invalid_json, invalid_body, invalid_room_id, \
            invalid_pin, invalid_max_anchors, invalid_room_field, immutable_field"),
        (status = 403, body = ErrorBody, description = "origin_not_allowed, host_not_allowed, scope_missing, \
            quota_exceeded"),
        (status = 409, body = ErrorBody, description = "room_exists; room_removing (retryable)"),
        (status = 503, body = ErrorBody, description = "no_capacity, no_janus_available, no_mixer_available, \
            busy, store_unavailable (all retryable)"),
    )
)]
pub(super) async fn create(
    api: Data<Api>,
    caller: ReqData<Caller>,
    body: JsonBody<CreateRoom>,
) -> Result<impl Responder, ApiError> {
    let new = NewRoom { key: caller.key().cloned(), ..body.0.try_into()? };
    let room = api.rooms.create(new).await?;
    Ok(HttpResponse::Created().json(RoomAnswer::of(shown(&api, &room).await)))
}

/// Lists the rooms that meet all conditions, ordered by id.
#[utoipa::path(
    get, path = "/api/rooms", operation_id = "listRooms", tag = "rooms", params(ListQuery),
    responses(
        (status = 200, body = ListAnswer, description = "a page of rooms"),
        (status = 400, body = ErrorBody, description = "invalid_query, invalid_room_id, invalid_room_field"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn list(api: Data<Api>, query: QueryOf<ListQuery>) -> Result<impl Responder, ApiError> {
    let after = query.0.after.as_deref().map(RoomId::new).transpose()?;
    let limit = query.0.limit.as_deref().map_or(Ok(PAGE), page)?;
    let page = api.rooms.list(after.as_ref(), limit, &filter(&query.0)?);
    let rooms = all_shown(&api, &page.rooms).await;
    Ok(Json(ListAnswer { success: true, rooms, next: page.next.map(|id| id.to_string()) }))
}

/// Returns one room: its status, its Janus and mixer, its HLS URL.
#[utoipa::path(
    get, path = "/api/rooms/{id}", operation_id = "getRoom", tag = "rooms",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = RoomAnswer, description = "the room"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn get(api: Data<Api>, id: RoomPath) -> Result<impl Responder, ApiError> {
    let room = api.rooms.get(&id.0).await?;
    Ok(Json(RoomAnswer::of(shown(&api, &room).await)))
}

/// Changes fields of a room, whether it is on air or not.
///
/// The body is a JSON merge patch (RFC 7396). `maxDuration` always counts from the start of the broadcast.
#[utoipa::path(
    patch, path = "/api/rooms/{id}", operation_id = "updateRoom", tag = "rooms",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    request_body(content = Option<UpdateRoom>, description = "may be left out"),
    responses(
        (status = 200, body = RoomAnswer, description = "the room"),
        (status = 400, body = ErrorBody, description = "invalid_json, invalid_body, invalid_room_id, \
            invalid_room_field, immutable_field"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "room_removing"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn update(
    api: Data<Api>,
    id: RoomPath,
    body: JsonBody<UpdateRoom>,
) -> Result<impl Responder, ApiError> {
    // Validate the patch before the store is read, so that an invalid one is refused even if the room does
    // not exist.
    RoomProfile::default().merged(&body.0.0)?;
    let room = api.rooms.patch(&id.0, &body.0.0).await?;
    Ok(Json(RoomAnswer::of(shown(&api, &room).await)))
}

/// Puts a room on air.
///
/// A room that is on air already stays as it is. An open backstage goes on air with everybody in it.
#[utoipa::path(
    post, path = "/api/rooms/{id}/start", operation_id = "startRoom", tag = "rooms",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = RoomAnswer, description = "the room"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 403, body = ErrorBody, description = "origin_not_allowed, host_not_allowed, scope_missing, \
            quota_exceeded"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "room_removing (retryable): stop or delete \
            in progress"),
        (status = 503, body = ErrorBody, description = "no_capacity, no_janus_available, no_mixer_available \
            (nothing was written), busy, store_unavailable (all retryable)"),
    )
)]
pub(super) async fn start(api: Data<Api>, id: RoomPath) -> Result<impl Responder, ApiError> {
    let room = api.rooms.start(&id.0).await?;
    Ok(Json(RoomAnswer::of(shown(&api, &room).await)))
}

/// Opens the backstage of a room.
///
/// Anchors may join and talk to each other, and listeners hear nothing until the room is started. The room
/// has its Janus and mixer from now on. A backstage that is open already stays as it is.
#[utoipa::path(
    post, path = "/api/rooms/{id}/backstage", operation_id = "openBackstage", tag = "rooms",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = RoomAnswer, description = "the room"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 403, body = ErrorBody, description = "origin_not_allowed, host_not_allowed, scope_missing, \
            quota_exceeded"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "room_on_air; room_removing (retryable)"),
        (status = 503, body = ErrorBody, description = "no_capacity, no_janus_available, no_mixer_available \
            (nothing was written), busy, store_unavailable (all retryable)"),
    )
)]
pub(super) async fn backstage(api: Data<Api>, id: RoomPath) -> Result<impl Responder, ApiError> {
    let room = api.rooms.backstage(&id.0).await?;
    Ok(Json(RoomAnswer::of(shown(&api, &room).await)))
}

/// Ends the broadcast or the backstage of a room.
///
/// The room stays. It can be started again once its status is not `removing` any more.
#[utoipa::path(
    post, path = "/api/rooms/{id}/stop", operation_id = "stopRoom", tag = "rooms",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = RoomAnswer, description = "the room"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn stop(api: Data<Api>, id: RoomPath, author: Author) -> Result<impl Responder, ApiError> {
    let action = OperatorAction::StopRoom { room: id.0.clone() };
    let room = api.audit.carry_out(author, action, api.rooms.stop(&id.0)).await?;
    Ok(Json(RoomAnswer::of(shown(&api, &room).await)))
}

/// Deletes a room.
///
/// Its status is `removing` while its Janus and mixer release it; then the room is gone.
#[utoipa::path(
    delete, path = "/api/rooms/{id}", operation_id = "deleteRoom", tag = "rooms",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = DeleteAnswer, description = "the room while it is being removed; none if \
            it is gone"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn delete(api: Data<Api>, id: RoomPath, author: Author) -> Result<impl Responder, ApiError> {
    let action = ApiAction::DeleteRoom { room: id.0.clone() };
    let room = api.audit.carry_out(author, action, api.rooms.delete(&id.0)).await?;
    let room = match &room {
        Some(room) => Some(shown(&api, room).await),
        None => None,
    };
    Ok(Json(DeleteAnswer::of(room)))
}

/// Mutes all anchors of a room that is on air or backstage, once.
///
/// Everybody who is in the room is muted shortly afterwards, as if by a host, and may unmute again.
#[utoipa::path(
    post, path = "/api/rooms/{id}/mute", operation_id = "muteRoom", tag = "rooms",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = DoneAnswer, description = "they are being muted"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 404, body = ErrorBody, description = "room_not_found, room_not_on_air"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn mute(api: Data<Api>, id: RoomPath) -> Result<impl Responder, ApiError> {
    api.rooms.mute_all(&id.0, None).await?;
    Ok(Json(DoneAnswer::YES))
}

pub(super) async fn shown(api: &Api, room: &Room) -> RoomBody {
    all_shown(api, std::slice::from_ref(room)).await.swap_remove(0)
}

/// Returns the body of each room, with its anchors and listeners. A room that is not live has no anchors.
async fn all_shown(api: &Api, rooms: &[Room]) -> Vec<RoomBody> {
    let live: Vec<_> = rooms.iter().filter(|room| room.view.live.is_some()).map(|room| &room.id).collect();
    let anchors = anchors::counts(api.anchors.as_deref(), &live).await;
    let counts = |room: &Room| RoomCounts {
        anchors: match room.view.live {
            Some(_) => anchors.get(&room.id).copied(),
            None => api.anchors.as_ref().map(|_| 0),
        },
        listeners: api.listeners.of(&room.id, &room.view),
    };
    rooms.iter().map(|room| RoomBody::of(room, (&api.hls_base, api.rewind), counts(room))).collect()
}

fn filter(query: &ListQuery) -> Result<RoomFilter, ApiError> {
    let invalid = |message: &str| ApiError::new(Code::InvalidQuery, message);
    let status = query.status.as_deref().map(|name| {
        let status = RoomStatus::ALL.into_iter().find(|status| status.as_str() == name);
        status.ok_or_else(|| {
            invalid("status must be created, backstage, starting, onair, degraded or removing")
        })
    });
    let text = query.q.as_deref().map(|text| match (1..=LONGEST_TEXT).contains(&text.chars().count()) {
        true => Ok(text.to_lowercase()),
        false => Err(invalid("q must be 1 to 100 characters")),
    });
    Ok(RoomFilter {
        status: status.transpose()?,
        tag: query.tag.as_deref().map(Tag::new).transpose()?,
        owner: query.owner.as_deref().map(Owner::new).transpose()?,
        text: text.transpose()?,
    })
}

/// Parses `limit`. Accepts only digits: `parse` alone would also accept a sign.
///
/// # Errors
/// `invalid_query` if the value is not a number from 1 to [`LARGEST_PAGE`].
pub(super) fn page(limit: &str) -> Result<usize, ApiError> {
    let digits = limit.bytes().all(|byte| byte.is_ascii_digit());
    let limit = limit.parse().ok().filter(|limit| digits && (1..=LARGEST_PAGE).contains(limit));
    limit.ok_or_else(|| ApiError::new(Code::InvalidQuery, format!("limit must be 1 to {LARGEST_PAGE}")))
}

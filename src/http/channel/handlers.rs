//! Handlers of the channel's paths.

use actix_web::http::header;
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse, Responder};

use super::body::{
    Announce, MessageAnswer, PinMessage, RaiseHand, React, SendMessage, SetSettings, StageAnswer,
};
use super::{ChannelSide, socket, token_missing};
use crate::domain::ids::{RoomId, UserId};
use crate::domain::model::UserRole;
use crate::domain::stage::{ChatText, Command, Event, MessageId, NoteText, PersonId, Settings};
use crate::http::error::{ApiError, Code, ErrorBody};
use crate::http::event_stream;
use crate::http::extract::JsonBody;
use crate::http::hls::{Query, token_of};
use crate::http::rest::DoneAnswer;
use crate::http::upgrade;
use crate::rooms::now;
use crate::stage::Transport;

/// Follows a room: its state, stage, chat and reactions, as server-sent events.
///
/// The token is that of a listener, anchor or host. If the request is an opening handshake of RFC 6455, the
/// response is a WebSocket. It carries the same events, and accepts the requests of the channel. A WebSocket
/// takes the token from the Authorization header, the parameter, or a subprotocol `bearer.<token>` that is
/// offered together with `stentor`. `docs/listeners.md` describes the events and the WebSocket.
#[utoipa::path(
    get, path = "/hls/rooms/{room}/events", operation_id = "channelEvents", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("token" = Option<String>, Query, description = "token, for clients that cannot send headers"),
        ("lastEventId" = Option<String>, Query, description = "Last-Event-ID, for clients that cannot \
            send headers"),
        ("Last-Event-ID" = Option<String>, Header, description = "id of the last event that the client has")),
    responses(
        (status = 200, description = "server-sent events, without end"),
        (status = 400, body = ErrorBody, description = "invalid_room_id, invalid_query, websocket_expected"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed"),
        (status = 426, body = ErrorBody, description = "websocket_version"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy (retryable)"),
    )
)]
pub async fn events(request: HttpRequest, side: Data<ChannelSide>) -> Result<HttpResponse, ApiError> {
    if upgrade::is_asked(&request) {
        return socket::open(&request, &side).await;
    }
    let in_query = Query(request.query_string()).token()?;
    let token = token_of(&request, in_query.as_deref()).ok_or_else(token_missing)?;
    let events = side.follow(&request, token, Transport::EventStream).await?;
    Ok(event_stream::answer(&request, events))
}

/// Raises the caller's hand, or changes the note of the raised hand.
///
/// A hand that is raised already keeps its place in the order.
#[utoipa::path(
    post, path = "/hls/rooms/{room}/hand", operation_id = "raiseHand", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    request_body = RaiseHand,
    responses(
        (status = 200, body = DoneAnswer, description = "the hand is raised"),
        (
            status = 400, body = ErrorBody,
            description = "invalid_json, invalid_body, invalid_room_id, invalid_text, invalid_name, \
                           name_required"
        ),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "on_stage, hands_closed, hands_full, user_removed"),
        (status = 408, body = ErrorBody, description = "request_timeout"),
        (status = 413, body = ErrorBody, description = "body_too_large"),
        (status = 415, body = ErrorBody, description = "unsupported_media_type"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy (retryable)"),
    )
)]
pub async fn raise(
    request: HttpRequest,
    side: Data<ChannelSide>,
    body: JsonBody<RaiseHand>,
) -> Result<impl Responder, ApiError> {
    let note = body.0.note.as_deref().map(NoteText::new).transpose()?;
    act(&request, &side, body.0.name.as_deref(), Command::RaiseHand { note }).await
}

/// Lowers the caller's hand, and declines an invitation to the stage. May be repeated.
#[utoipa::path(
    delete, path = "/hls/rooms/{room}/hand", operation_id = "lowerHand", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy (retryable)"),
    )
)]
pub async fn lower(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    act(&request, &side, None, Command::LowerHand).await
}

/// Lowers the hand of a listener; for hosts and co-hosts. May be repeated.
#[utoipa::path(
    delete, path = "/hls/rooms/{room}/hands/{person}", operation_id = "lowerHandOf", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("person" = String, Path, description = "id of a person in this room", pattern = "^[0-9a-f]{16}$")),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id, invalid_person_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, host_only"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy (retryable)"),
    )
)]
pub async fn lower_other(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    act(&request, &side, None, Command::LowerHandOf(person(&request)?)).await
}

/// Invites a listener to the stage; for hosts and co-hosts. May be repeated.
///
/// The listener must have raised a hand.
#[utoipa::path(
    put, path = "/hls/rooms/{room}/hands/{person}/invitation", operation_id = "inviteToStage",
    tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("person" = String, Path, description = "id of a person in this room", pattern = "^[0-9a-f]{16}$")),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id, invalid_person_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, host_only"),
        (status = 404, body = ErrorBody, description = "room_not_found, hand_not_raised"),
        (status = 409, body = ErrorBody, description = "user_removed"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy (retryable)"),
    )
)]
pub async fn invite(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    act(&request, &side, None, Command::Invite(person(&request)?)).await
}

/// Revokes an invitation to the stage; for hosts and co-hosts. The hand stays raised. May be repeated.
#[utoipa::path(
    delete, path = "/hls/rooms/{room}/hands/{person}/invitation", operation_id = "revokeInvitation",
    tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("person" = String, Path, description = "id of a person in this room", pattern = "^[0-9a-f]{16}$")),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id, invalid_person_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, host_only"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy (retryable)"),
    )
)]
pub async fn revoke(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    act(&request, &side, None, Command::Revoke(person(&request)?)).await
}

/// Accepts the caller's invitation to the stage, and issues an anchor token for the caller.
#[utoipa::path(
    post, path = "/hls/rooms/{room}/stage", operation_id = "enterStage", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = StageAnswer, description = "a token with which the caller may speak"),
        (status = 400, body = ErrorBody, description = "invalid_room_id, invalid_user_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, \
            quota_exceeded"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (
            status = 409, body = ErrorBody,
            description = "not_invited, room_locked, user_removed, too_many_users, room_removing \
                (retryable)"
        ),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy, store_unavailable \
            (retryable)"),
    )
)]
pub async fn enter(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    let room = room(&request)?;
    let caller = side.caller(&request, &room, None)?;
    let ws_url = side.ws_url.clone().ok_or_else(|| {
        ApiError::new(Code::ChannelUnavailable, "this node has no gateway URL; set http.public_ws_url")
    })?;
    let user = UserId::new(&caller.subject)?;
    if side.rooms.directory().room(&room).is_some_and(|view| view.is_locked()) {
        return Err(ApiError::new(Code::RoomLocked, "the room is locked; the invitation stays open"));
    }
    // Accept the invitation before creating the user, because an invitation can be accepted only once. If the
    // creation fails, the listener must raise the hand again.
    side.hub.command(&room, &caller.person, Command::Accept).await?;
    let invited = side.rooms.create_user(&room, UserRole::Anchor, Some(user)).await?;
    let created_at = invited.room.meta.created_at;
    let issued = side.tokens.speaker(invited.user.role, &invited.id, &room, created_at, now());
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(StageAnswer {
        success: true,
        user_id: invited.id.to_string(),
        token: issued.token,
        expires_at: issued.expires_at.0,
        ws_url,
    }))
}

/// Sends a reaction. Once per second, listeners get the number of reactions of each kind.
#[utoipa::path(
    post, path = "/hls/rooms/{room}/reactions", operation_id = "react", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    request_body = React,
    responses(
        (status = 200, body = DoneAnswer, description = "the reaction is counted"),
        (status = 400, body = ErrorBody, description = "invalid_json, invalid_body, invalid_room_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed"),
        (status = 408, body = ErrorBody, description = "request_timeout"),
        (status = 413, body = ErrorBody, description = "body_too_large"),
        (status = 415, body = ErrorBody, description = "unsupported_media_type"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy (retryable)"),
    )
)]
pub async fn react(
    request: HttpRequest,
    side: Data<ChannelSide>,
    body: JsonBody<React>,
) -> Result<impl Responder, ApiError> {
    let room = room(&request)?;
    side.caller(&request, &room, None)?;
    side.hub.react(&room, body.0.reaction).await?;
    Ok(Json(DoneAnswer::YES))
}

/// Sends a chat message to all listeners of the room.
#[utoipa::path(
    post, path = "/hls/rooms/{room}/chat", operation_id = "sendMessage", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    request_body = SendMessage,
    responses(
        (status = 200, body = MessageAnswer, description = "the message is sent"),
        (
            status = 400, body = ErrorBody,
            description = "invalid_json, invalid_body, invalid_room_id, invalid_text, invalid_name, \
                           name_required"
        ),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "chat_closed, user_removed"),
        (status = 408, body = ErrorBody, description = "request_timeout"),
        (status = 413, body = ErrorBody, description = "body_too_large"),
        (status = 415, body = ErrorBody, description = "unsupported_media_type"),
        (status = 429, body = ErrorBody, description = "too_many_requests, slow_mode"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy (retryable)"),
    )
)]
pub async fn say(
    request: HttpRequest,
    side: Data<ChannelSide>,
    body: JsonBody<SendMessage>,
) -> Result<impl Responder, ApiError> {
    let text = ChatText::new(&body.0.text)?;
    let room = room(&request)?;
    let caller = side.caller(&request, &room, body.0.name.as_deref())?;
    let events = side.hub.command(&room, &caller.person, Command::Say(text)).await?;
    let sent = events.iter().find_map(|event| match event {
        Event::MessageSent { message } => Some(message.id.0),
        _ => None,
    });
    let message = sent.ok_or_else(|| ApiError::internal("a message without an event"))?;
    Ok(Json(MessageAnswer { success: true, message }))
}

/// Deletes a message; for its author, and for hosts and co-hosts.
#[utoipa::path(
    delete, path = "/hls/rooms/{room}/chat/{message}", operation_id = "deleteMessage", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("message" = u64, Path, description = "id of a message", minimum = 1)),
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, host_only"),
        (status = 404, body = ErrorBody, description = "room_not_found, message_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy (retryable)"),
    )
)]
pub async fn delete(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    act(&request, &side, None, Command::Delete(message(&request)?)).await
}

/// Pins a message above the chat, in place of the previous one; for hosts and co-hosts. May be repeated.
#[utoipa::path(
    put, path = "/hls/rooms/{room}/pinned", operation_id = "pinMessage", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    request_body = PinMessage,
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_json, invalid_body, invalid_room_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, host_only"),
        (status = 404, body = ErrorBody, description = "room_not_found, message_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed"),
        (status = 408, body = ErrorBody, description = "request_timeout"),
        (status = 413, body = ErrorBody, description = "body_too_large"),
        (status = 415, body = ErrorBody, description = "unsupported_media_type"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy (retryable)"),
    )
)]
pub async fn pin(
    request: HttpRequest,
    side: Data<ChannelSide>,
    body: JsonBody<PinMessage>,
) -> Result<impl Responder, ApiError> {
    act(&request, &side, None, Command::Pin(Some(MessageId(body.0.message)))).await
}

/// Unpins the pinned message; for hosts and co-hosts. May be repeated.
#[utoipa::path(
    delete, path = "/hls/rooms/{room}/pinned", operation_id = "unpinMessage", tag = "channel",
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
pub async fn unpin(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    act(&request, &side, None, Command::Pin(None)).await
}

/// Shows an announcement to all listeners; for hosts and co-hosts. May be repeated.
///
/// The new announcement replaces the previous one.
#[utoipa::path(
    put, path = "/hls/rooms/{room}/announcement", operation_id = "announce", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    request_body = Announce,
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (
            status = 400, body = ErrorBody,
            description = "invalid_json, invalid_body, invalid_room_id, invalid_text"
        ),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, host_only"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed"),
        (status = 408, body = ErrorBody, description = "request_timeout"),
        (status = 413, body = ErrorBody, description = "body_too_large"),
        (status = 415, body = ErrorBody, description = "unsupported_media_type"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy (retryable)"),
    )
)]
pub async fn announce(
    request: HttpRequest,
    side: Data<ChannelSide>,
    body: JsonBody<Announce>,
) -> Result<impl Responder, ApiError> {
    let text = ChatText::new(&body.0.text)?;
    act(&request, &side, None, Command::Announce(Some(text))).await
}

/// Removes the announcement; for hosts and co-hosts. May be repeated.
#[utoipa::path(
    delete, path = "/hls/rooms/{room}/announcement", operation_id = "retractAnnouncement", tag = "channel",
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
pub async fn retract(request: HttpRequest, side: Data<ChannelSide>) -> Result<impl Responder, ApiError> {
    act(&request, &side, None, Command::Announce(None)).await
}

/// Allows or forbids raised hands and chat messages, and sets slow mode; for hosts and co-hosts.
///
/// May be repeated.
#[utoipa::path(
    put, path = "/hls/rooms/{room}/settings", operation_id = "setChannelSettings", tag = "channel",
    params(("room" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    request_body = SetSettings,
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_json, invalid_body, invalid_room_id"),
        (status = 401, body = ErrorBody, description = "token_missing, token_invalid, token_expired"),
        (status = 403, body = ErrorBody, description = "token_wrong_room, token_wrong_audience, host_only"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed"),
        (status = 408, body = ErrorBody, description = "request_timeout"),
        (status = 413, body = ErrorBody, description = "body_too_large"),
        (status = 415, body = ErrorBody, description = "unsupported_media_type"),
        (status = 429, body = ErrorBody, description = "too_many_requests"),
        (status = 500, body = ErrorBody, description = "internal"),
        (status = 503, body = ErrorBody, description = "channel_unavailable, busy (retryable)"),
    )
)]
pub async fn set(
    request: HttpRequest,
    side: Data<ChannelSide>,
    body: JsonBody<SetSettings>,
) -> Result<impl Responder, ApiError> {
    let SetSettings { hands_open, chat_open, slow_mode_seconds, hand_order } = body.0;
    let settings = Settings { hand_order, ..Settings::new(hands_open, chat_open, slow_mode_seconds)? };
    act(&request, &side, None, Command::Configure(settings)).await
}

/// Executes a command that returns no data. `name` is used if the token has none.
///
/// # Errors
/// The token is not valid for the room, the limits of the caller are exceeded, or the command is refused.
pub(super) async fn act(
    request: &HttpRequest,
    side: &ChannelSide,
    name: Option<&str>,
    command: Command,
) -> Result<Json<DoneAnswer>, ApiError> {
    let room = room(request)?;
    let caller = side.caller(request, &room, name)?;
    side.hub.command(&room, &caller.person, command).await?;
    Ok(Json(DoneAnswer::YES))
}

/// Returns the room in the path.
///
/// # Errors
/// `invalid_room_id`.
pub(super) fn room(request: &HttpRequest) -> Result<RoomId, ApiError> {
    Ok(RoomId::new(request.match_info().query("room"))?)
}

/// Returns the id of the person in the path.
///
/// # Errors
/// `invalid_person_id`.
pub(super) fn person(request: &HttpRequest) -> Result<PersonId, ApiError> {
    Ok(PersonId::new(request.match_info().query("person"))?)
}

fn message(request: &HttpRequest) -> Result<MessageId, ApiError> {
    let id = request.match_info().query("message").parse().map(MessageId);
    id.map_err(|_| ApiError::new(Code::MessageNotFound, "there is no such message"))
}

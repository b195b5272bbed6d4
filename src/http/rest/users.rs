//! `/api/rooms/{id}/users`: users who may speak in a room, and users who are banned from it.

use actix_web::web::{Data, Json, ReqData};
use actix_web::{HttpResponse, Responder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::api_key::Caller;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::model::UserRole;
use crate::domain::roles::{self, ClaimedRole, RoleOrder, RoomRole};
use crate::domain::signalling::methods::ActivityStatus;
use crate::domain::stage::SpeakingTimes;
use crate::domain::users::BanOrder;
use crate::domain::view::Users;
use crate::http::anchors::{self, PATIENCE};
use crate::http::error::{ApiError, Code, ErrorBody};
use crate::http::extract::{JsonBody, RoomPath, UserPath};
use crate::presence::stage::StageKey;
use crate::presence::{PresenceEntry, Source};
use crate::rooms::now;

use super::body::DoneAnswer;
use super::{Api, charge_token};

/// User to create.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateUser {
    role: UserRole,
    /// Id of the user, unique in the room: 1 to 255 bytes without control or invisible characters, and
    /// without spaces at its ends. An id with a colon must be a URI (RFC 7519 section 2). If absent or null,
    /// a random id is generated.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255)]
    user_id: Option<String>,
}

/// Created user, with a token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateUserAnswer {
    /// Always true.
    success: bool,
    /// Id of the user.
    user_id: String,
    /// Id of the user in the listener channel of the room.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    person_id: String,
    role: UserRole,
    /// Token for the WebSocket at `wsUrl`, valid until `expiresAt`.
    token: String,
    /// Time at which the token expires.
    expires_at: u64,
    /// URL of the WebSocket for anchors.
    ws_url: String,
    /// URL at which broadcast software publishes with WHIP (RFC 9725), with the token as its bearer token.
    whip_url: String,
    /// URL of the page for speaking. The token is in the fragment, which browsers never send to a server.
    invite_url: String,
    /// PIN of the room. Optional in `join`: the token alone is sufficient.
    pin: String,
}

/// Answer with the users of a room.
#[derive(Serialize, ToSchema)]
pub(super) struct UsersAnswer {
    /// Always true.
    success: bool,
    /// Users, ordered by id.
    users: Vec<UserBody>,
}

/// User who was created through the API, is banned, or is in the room with a token from elsewhere.
#[derive(Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub(super) struct UserBody {
    /// Id of the user.
    user_id: String,
    /// Id of the user in the listener channel of the room.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    person_id: String,
    /// Role in the room: the role that was assigned in the room; otherwise the role in the connected user's
    /// token; otherwise the role with which the user was created.
    #[schema(value_type = RoomRole)]
    role: Option<RoomRole>,
    /// Time at which the user was created; absent if the user was not created through the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<u64>,
    /// Time since which no token of the user is valid for this room. Absent unless the user is banned, or was
    /// kicked within the last seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_at: Option<u64>,
    /// True if the user is in the room now; absent while presence is unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected: Option<bool>,
    /// Display name. Like `muted` and `status`, present only while the user is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    /// True if the user is muted.
    #[serde(skip_serializing_if = "Option::is_none")]
    muted: Option<bool>,
    /// `onair` or `idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    status: Option<ActivityStatus>,
    /// `whip` if the user publishes with WHIP, `url` or `file` for a source; absent for clients with a
    /// WebSocket.
    #[serde(skip_serializing_if = "Source::is_signalling")]
    #[schema(value_type = Option<String>)]
    source: Source,
    /// Time that the user has spoken in the room, in milliseconds, up to some seconds ago; absent while it is
    /// not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    spoken_ms: Option<u64>,
}

/// Creates a user and issues a token with which the user may speak.
///
/// A repeated call for the same `userId` issues a fresh token and sets the requested role; earlier tokens
/// remain valid.
#[utoipa::path(
    post, path = "/api/rooms/{id}/users", operation_id = "createUser", tag = "users",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    request_body = CreateUser,
    responses(
        (status = 201, body = CreateUserAnswer, description = "a fresh token, with the URLs and the PIN"),
        (status = 400, body = ErrorBody, description = "invalid_json, invalid_body, invalid_room_id, \
            invalid_user_id"),
        (status = 403, body = ErrorBody, description = "origin_not_allowed, host_not_allowed, scope_missing, \
            quota_exceeded"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed, too_many_users, room_removing \
            (retryable)"),
        (status = 429, body = ErrorBody, description = "token_quota_exceeded (retryable)"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn create(
    api: Data<Api>,
    caller: ReqData<Caller>,
    room: RoomPath,
    body: JsonBody<CreateUser>,
) -> Result<impl Responder, ApiError> {
    let user = body.0.user_id.as_deref().map(UserId::new).transpose()?;
    charge_token(&api, &caller)?;
    let invited = api.rooms.create_user(&room.0, body.0.role, user).await?;
    let issued =
        api.tokens.speaker(invited.user.role, &invited.id, &room.0, invited.room.meta.created_at, now());
    Ok(HttpResponse::Created().json(CreateUserAnswer {
        success: true,
        invite_url: invite_url(&api.hls_base, &room.0, &issued.token),
        user_id: invited.id.to_string(),
        person_id: api.tokens.person_id(&room.0, &invited.id).into(),
        role: invited.user.role,
        token: issued.token,
        expires_at: issued.expires_at.0,
        whip_url: whip_url(&api.ws_url, &room.0),
        ws_url: api.ws_url.clone(),
        pin: invited.room.meta.pin.reveal().to_owned(),
    }))
}

/// Lists the users of a room.
///
/// These are the users who were invited to the room, the banned users, and all others who are in the room.
#[utoipa::path(
    get, path = "/api/rooms/{id}/users", operation_id = "listUsers", tag = "users",
    params(("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$")),
    responses(
        (status = 200, body = UsersAnswer, description = "the users"),
        (status = 400, body = ErrorBody, description = "invalid_room_id"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn list(api: Data<Api>, room: RoomPath) -> Result<impl Responder, ApiError> {
    let known = api.rooms.users(&room.0).await?;
    let present = anchors::members(api.anchors.as_deref(), &room.0).await;
    let spoken = speaking_times(&api, &room.0).await;
    let person = |user: &UserId| {
        let id = api.tokens.person_id(&room.0, user);
        let spoken = spoken.as_ref().map(|times| times.of(&id));
        (id.into(), spoken)
    };
    Ok(Json(UsersAnswer { success: true, users: everybody(&known, present, person) }))
}

/// Id of the user, and the id that the user has in the listener channel.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PersonAnswer {
    /// Always true.
    success: bool,
    /// Id of the user.
    user_id: String,
    /// Id of the user in the listener channel of the room.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    person_id: String,
}

/// Returns the id under which a user appears in the listener channel of a room.
///
/// The user need not be known to the room: the id of a listener whose token was issued elsewhere can be asked
/// for, too. Show the id only to those who may know who the person is.
#[utoipa::path(
    get, path = "/api/rooms/{id}/users/{userId}/person", operation_id = "getPerson", tag = "users",
    params(
        ("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("userId" = String, Path, description = "user id, percent-encoded", min_length = 1, max_length = 255),
    ),
    responses(
        (status = 200, body = PersonAnswer, description = "the id"),
        (status = 400, body = ErrorBody, description = "invalid_room_id, invalid_user_id"),
        (status = 404, body = ErrorBody, description = "room_not_found"),
        (status = 503, body = ErrorBody, description = "store_unavailable (retryable)"),
    )
)]
pub(super) async fn person(api: Data<Api>, path: UserPath) -> Result<impl Responder, ApiError> {
    let UserPath(room, user) = path;
    api.rooms.users(&room).await?;
    let person_id = api.tokens.person_id(&room, &user).into();
    Ok(Json(PersonAnswer { success: true, user_id: user.to_string(), person_id }))
}

/// Removes a user from a room, which is the same as a ban. After a kick, the user may come back.
#[utoipa::path(
    delete, path = "/api/rooms/{id}/users/{userId}", operation_id = "removeUser", tag = "users",
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
pub(super) async fn remove(api: Data<Api>, user: UserPath) -> Result<impl Responder, ApiError> {
    let order = BanOrder { user: user.1, name: None, by: None };
    api.rooms.ban_user(&user.0, &order).await?;
    Ok(Json(DoneAnswer::YES))
}

/// Role to give.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetRole {
    role: RoomRole,
}

/// Gives a user a role in a room, in place of the one that the user's tokens claim. May be repeated.
///
/// The user must have been invited or be in the room. The role stays until it is changed again, or until the
/// user is created again with another role. `listener` takes the user off the stage: no token of the user
/// is valid for speaking until the user gets another role, or is created or invited again.
#[utoipa::path(
    put, path = "/api/rooms/{id}/users/{userId}/role", operation_id = "setUserRole", tag = "users",
    params(
        ("id" = String, Path, description = "room id", pattern = "^[A-Za-z0-9_-]{3,32}$"),
        ("userId" = String, Path, description = "user id, percent-encoded", min_length = 1, max_length = 255),
    ),
    request_body = SetRole,
    responses(
        (status = 200, body = DoneAnswer, description = "done"),
        (status = 400, body = ErrorBody, description = "invalid_json, invalid_body, invalid_room_id, \
            invalid_user_id"),
        (status = 404, body = ErrorBody, description = "room_not_found, person_not_found"),
        (status = 409, body = ErrorBody, description = "user_removed, too_many_users, room_removing \
            (retryable)"),
        (status = 503, body = ErrorBody, description = "busy, store_unavailable (retryable)"),
    )
)]
pub(super) async fn set_role(
    api: Data<Api>,
    path: UserPath,
    body: JsonBody<SetRole>,
) -> Result<impl Responder, ApiError> {
    let UserPath(room, user) = path;
    let known = api.rooms.users(&room).await?.get(&user).map(|known| known.role);
    let claimed = match known {
        Some(role) => Some(role),
        None => {
            let members = anchors::members(api.anchors.as_deref(), &room).await.unwrap_or_default();
            members.into_iter().find(|member| member.user_id == user).map(|member| member.role)
        }
    };
    let claimed = claimed.ok_or_else(|| {
        ApiError::new(Code::PersonNotFound, "no user with this id was invited or is in the room")
    })?;
    let order = RoleOrder::Assign { to: ClaimedRole { user, claimed }, role: body.0.role, by: None };
    api.rooms.change_role(&room, &order).await?;
    Ok(Json(DoneAnswer::YES))
}

/// Builds the URL for WHIP, which the same server as the WebSocket serves.
fn whip_url(ws_url: &str, room: &RoomId) -> String {
    let base = ws_url.strip_suffix("/ws").unwrap_or(ws_url);
    // `ws` becomes `http`, and `wss` becomes `https`.
    format!("{}/whip/{room}", base.replacen("ws", "http", 1))
}

/// Builds the URL of an invitation. The fragment stays in the browser: no log of a server or proxy and no
/// `Referer` contains it.
fn invite_url(hls_base: &str, room: &RoomId, token: &str) -> String {
    format!("{hls_base}/speak/{room}#token={token}")
}

/// Returns the time that each person has spoken; `None` if the room is not known here yet, or presence does
/// not answer in time.
async fn speaking_times(api: &Api, room: &RoomId) -> Option<SpeakingTimes> {
    let created_at = api.rooms.directory().room(room)?.meta.as_ref()?.created_at;
    let key = StageKey { room: room.clone(), created_at };
    tokio::time::timeout(PATIENCE, api.stages.speech(&key)).await.ok()?.ok()
}

fn everybody(
    known: &Users,
    present: Option<Vec<PresenceEntry>>,
    person: impl Fn(&UserId) -> (String, Option<u64>),
) -> Vec<UserBody> {
    let connected = present.as_ref().map(|_| false);
    let mut users: std::collections::BTreeMap<_, _> = known
        .iter()
        .map(|(id, user)| {
            let created_at = (!user.uninvited).then_some(user.created_at.0);
            let removed_at = user.removed_at.map(|at| at.0);
            let (user_id, role) = (id.to_string(), Some(user.assigned.unwrap_or(user.role.into())));
            (id.clone(), UserBody { user_id, role, created_at, removed_at, connected, ..UserBody::default() })
        })
        .collect();
    for member in present.into_iter().flatten() {
        let user = users.entry(member.user_id.clone()).or_default();
        user.user_id = member.user_id.to_string();
        user.role = Some(roles::in_force(known, &member.user_id, member.role));
        (user.connected, user.muted, user.status) = (Some(true), Some(member.muted), Some(member.status));
        (user.display_name, user.source) = (member.display_name, member.source);
    }
    let with_person = |(id, user)| {
        let (person_id, spoken_ms) = person(&id);
        UserBody { person_id, spoken_ms, ..user }
    };
    users.into_iter().map(with_person).collect()
}

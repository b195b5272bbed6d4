//! Endpoints for the web pages: the WebSocket URL, the rooms on air, tokens, and the notice about recordings.
//!
//! These pages must not get an API key, so they use these endpoints instead of the room API. Rooms and tokens
//! are given out only with `auth.mode: open`, when every listening socket of the node is on loopback.
//! Otherwise users open a link that carries their token in its fragment.
//!
//! Owns: the format of requests and answers. Does not admit a user whom the API would refuse.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::web::{self, Data, Json, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Responder};
use rand::distr::{Alphanumeric, SampleString};
use serde::{Deserialize, Serialize};

use crate::auth::IssuedToken;
use crate::delivery::listener_counter::Listeners;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::model::UserRole;
use crate::domain::profile::{CoverUrl, RoomProfile, Title};
use crate::domain::recording::{RecordingMode, in_force, of_broadcast};
use crate::domain::room::RoomStatus;
use crate::domain::signalling::DisplayName;
use crate::rooms::{Room, RoomError, RoomService, now};

use super::anchors::{self, PresentUsers};
use super::cors::{self, Origins};
use super::error::{ApiError, Code, not_found};
use super::extract::{BodyLimit, JsonBody, RoomPath};
use super::hls::bearer;
use super::methods::{only_get, other};
use super::request_id;
use super::tokens::{ListenerClaims, NodeTokens};

/// Maximum number of rooms in the list of a page; the API lists all of them.
const LISTED: usize = 200;
/// Maximum number of characters of a name that become part of a user id.
const NAME_IN_ID: usize = 20;

/// Dependencies of the endpoints.
pub struct PagesSide {
    /// True for `auth.mode: open`.
    pub open: bool,
    /// WebSocket URL for anchors; `None` if users cannot speak through the pages of this node.
    pub ws_url: Option<String>,
    pub rooms: Arc<RoomService>,
    pub tokens: Arc<NodeTokens>,
    pub anchors: Option<Arc<PresentUsers>>,
    pub listeners: Listeners,
    pub origins: Origins,
    /// `recording.mode`.
    pub recording: RecordingMode,
    /// True if anchors have to agree to being recorded.
    pub consent: bool,
    pub body_limit: BodyLimit,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Settings<'a> {
    open: bool,
    /// Null if the node has no such URL; the page then explains this to the user.
    ws_url: Option<&'a str>,
}

/// Notice about recordings that a user needs before joining or listening.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordingNotice {
    /// True if the room is being recorded, or will be as soon as it is on air.
    recorded: bool,
    /// True if an anchor has to agree to being recorded.
    consent_required: bool,
    /// Title of the room, for callers with a token for it, with `auth.mode: open`, or if the room is public.
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<Title>,
    /// Cover of the room, under the same condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    cover_url: Option<CoverUrl>,
}

#[derive(Serialize)]
struct Rooms<'a> {
    #[serde(flatten)]
    settings: Settings<'a>,
    /// Newest first; empty unless `open`.
    rooms: Vec<LiveRoom>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LiveRoom {
    room_id: RoomId,
    /// Absent while presence is unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    anchors: Option<usize>,
    listeners: usize,
    on_air_since: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<Title>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum RequestedRole {
    Listener,
    Anchor,
    Host,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    role: RequestedRole,
    /// Name of the caller; makes the user id recognisable to others.
    #[serde(default)]
    name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenAnswer {
    token: String,
    expires_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
}

/// Registers `/pages` and everything below it.
pub fn configure(config: &mut ServiceConfig, side: Data<PagesSide>) {
    let for_cors = side.clone();
    let scope = web::scope("/pages")
        .app_data(side.body_limit.clone())
        .app_data(side)
        .service(only_get("/config", settings))
        .service(only_get("/rooms", rooms))
        .service(only_get("/rooms/{id}/recording", recording))
        .service(
            web::resource("/rooms/{id}/token")
                .route(web::post().to(token))
                .default_service(other(&[Method::POST])),
        )
        .default_service(web::to(not_found))
        .wrap(from_fn(move |req, next| {
            let side = for_cors.clone();
            async move { cors::check(&side.origins, req, next).await }
        }))
        .wrap(DefaultHeaders::new().add((CACHE_CONTROL, "no-store")))
        .wrap(from_fn(request_id::middleware));
    config.service(scope);
}

async fn settings(side: Data<PagesSide>) -> impl Responder {
    HttpResponse::Ok().json(side.settings())
}

/// Answers with the notice about recordings. Needs no token, because users see the notice before they join or
/// listen. The listener channel sends the same to clients with a token.
async fn recording(side: Data<PagesSide>, room: RoomPath, request: HttpRequest) -> impl Responder {
    let view = side.rooms.directory().room(&room.0).unwrap_or_default();
    // After its recording was stopped, a broadcast is not recorded again automatically.
    let begins = side.recording.of_room(&view) == RecordingMode::Always && of_broadcast(&view).is_none();
    let recorded = begins || in_force(&view).is_some();
    let is_invited = || bearer(&request).is_some_and(|token| side.tokens.identify(token, &room.0).is_ok());
    let meta = view.meta.as_ref().filter(|meta| side.open || meta.profile.public || is_invited());
    let profile = meta.map(|meta| (*meta.profile).clone()).unwrap_or_default();
    let RoomProfile { title, cover_url, .. } = profile;
    HttpResponse::Ok().json(RecordingNotice { recorded, consent_required: side.consent, title, cover_url })
}

async fn rooms(side: Data<PagesSide>) -> impl Responder {
    let on_air = if side.open { side.on_air() } else { Vec::new() };
    let ids: Vec<_> = on_air.iter().map(|(room, _)| &room.id).collect();
    let anchors = anchors::counts(side.anchors.as_deref(), &ids).await;
    let rooms = on_air.iter().map(|(room, on_air_since)| LiveRoom {
        room_id: room.id.clone(),
        anchors: anchors.get(&room.id).copied(),
        listeners: side.listeners.of(&room.id, &room.view),
        on_air_since: *on_air_since,
        title: room.meta.profile.title.clone(),
    });
    HttpResponse::Ok().json(Rooms { settings: side.settings(), rooms: rooms.collect() })
}

async fn token(
    side: Data<PagesSide>,
    room: RoomPath,
    body: JsonBody<TokenRequest>,
) -> Result<impl Responder, ApiError> {
    if !side.open {
        return Err(closed());
    }
    let name = body.0.name.as_deref().map(|name| DisplayName::of_field("name", name)).transpose()?;
    let (issued, user_id) = match body.0.role {
        RequestedRole::Listener => (side.listener(&room.0, name).await?, None),
        RequestedRole::Anchor => side.speaker(&room.0, UserRole::Anchor, name).await?,
        RequestedRole::Host => side.speaker(&room.0, UserRole::Host, name).await?,
    };
    Ok(Json(TokenAnswer { token: issued.token, expires_at: issued.expires_at.0, user_id }))
}

type Speaker = (IssuedToken, Option<UserId>);

impl PagesSide {
    fn settings(&self) -> Settings<'_> {
        Settings { open: self.open, ws_url: self.ws_url.as_deref() }
    }

    /// Returns the rooms that can be heard, each with the time at which it went on air.
    fn on_air(&self) -> Vec<(Room, u64)> {
        let known = self.rooms.directory().rooms();
        let modules = self.rooms.directory().modules();
        let heard = known.iter().filter_map(|(id, view)| {
            let room = Room::of(id.clone(), view.clone(), &modules)?;
            let audible = matches!(room.status, RoomStatus::OnAir | RoomStatus::Degraded);
            Some((room, view.live.as_ref().filter(|_| audible)?.created_at.0))
        });
        let mut rooms: Vec<_> = heard.collect();
        rooms.sort_by_key(|(_, since)| std::cmp::Reverse(*since));
        rooms.truncate(LISTED);
        rooms
    }

    async fn listener(&self, room: &RoomId, name: Option<DisplayName>) -> Result<IssuedToken, ApiError> {
        // The name lets others recognise the user in the lists of the room.
        let who = ListenerClaims { user: name.as_ref().and_then(id_like), name };
        let known = self.rooms.get(room).await?;
        match known.status {
            RoomStatus::Removing => Err(RoomError::Removing.into()),
            _ => Ok(self.tokens.listener(&who, room, known.meta.created_at, now())),
        }
    }

    async fn speaker(
        &self,
        room: &RoomId,
        role: UserRole,
        name: Option<DisplayName>,
    ) -> Result<Speaker, ApiError> {
        let wanted = name.and_then(|name| id_like(&name));
        let invited = self.rooms.create_user(room, role, wanted).await?;
        let issued = self.tokens.speaker(role, &invited.id, room, invited.room.meta.created_at, now());
        Ok((issued, Some(invited.id)))
    }
}

/// Returns a user id made from a name, with a random suffix that keeps it apart from the ids of other users:
/// `Änne Lee` becomes `nne-lee-4fT0aB`. Returns `None` if the name has no ASCII letters or digits.
fn id_like(name: &DisplayName) -> Option<UserId> {
    let letters = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' };
    let text: String = name.as_str().chars().map(letters).collect();
    let words: Vec<_> = text.split_whitespace().collect();
    let short: String = words.join("-").chars().take(NAME_IN_ID).collect();
    let random = Alphanumeric.sample_string(&mut rand::rng(), 6);
    if short.is_empty() { None } else { UserId::new(&format!("{short}-{random}")).ok() }
}

fn closed() -> ApiError {
    let remedy = "pages issue tokens only with auth.mode: open; open the page through a link that has one \
                  (inviteUrl of POST /api/rooms/{id}/users, or #token= with that of POST /api/token)";
    ApiError::new(Code::PagesClosed, remedy)
}

#[cfg(test)]
#[path = "pages_api_tests.rs"]
mod tests;

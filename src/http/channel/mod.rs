//! The listener channel over HTTP: server-sent events of a room, and the requests of its listeners and hosts.
//! A WebSocket carries both over one connection.
//!
//! `docs/listeners.md` describes the channel for client authors. The routes and their part of the OpenAPI
//! document are made from one list, like those of the REST API.
//!
//! Requests that change something take the token from the `Authorization` header only. A browser adds cookies
//! to requests automatically, so if a cookie were accepted, any page could act in a listener's name. A
//! WebSocket takes no cookie for the same reason: browsers let every page open one.
//!
//! Owns: the format of requests and answers, and the identification of the caller. Does not decide on a
//! command.

pub(in crate::http) mod bans;
mod body;
mod commands;
pub(in crate::http) mod handlers;
pub(in crate::http) mod host;
mod socket;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header;
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpRequest, Resource, web};

use super::error::{ApiError, Code};
use super::event_stream::LAST_EVENT_ID;
use super::extract::BodyLimit;
use super::hls::Query;
use super::hls_answer::Cors;
use super::request_id;
use super::rest::{channel_command_resources, channel_events_resources};
use super::tokens::NodeTokens;
use crate::domain::client_address::network;
use crate::domain::ids::{RoomId, UnixMs};
use crate::domain::signalling::DisplayName;
use crate::domain::stage::{Person, Refusal};
use crate::rooms::{RoomService, now};
use crate::stage::{CommandError, OpenError, StageHub, Subscription, Transport};
use commands::LazyCommands;

/// Caller that a verified token identifies.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Token subject.
    pub subject: String,
    /// The caller, as the author of commands. Has a name only if the token contains one.
    pub person: Person,
    pub expires_at: UnixMs,
}

/// Dependencies of the handlers.
pub struct ChannelSide {
    pub hub: Arc<StageHub>,
    pub rooms: Arc<RoomService>,
    pub tokens: Arc<NodeTokens>,
    /// WebSocket URL for anchors; `None` if this node has no such URL. Listeners then cannot come to the
    /// stage.
    pub ws_url: Option<String>,
    pub cors: Cors,
    pub body_limit: BodyLimit,
}

/// Registers the paths of the channel. Call it before registering `/hls`, because the scope of `/hls` takes
/// all paths below it.
pub fn configure(config: &mut web::ServiceConfig, side: web::Data<ChannelSide>) {
    let commands = LazyCommands::default();
    let events = channel_events_resources().map(|resource| resource.app_data(commands.clone()));
    for resource in events.chain(channel_command_resources()) {
        let for_cors = side.clone();
        let resource = with_side(resource, &side).wrap(from_fn(request_id::middleware));
        config.service(resource.wrap(from_fn(move |request, next| {
            let side = for_cors.clone();
            async move { cross_origin(&side.cors, request, next).await }
        })));
    }
}

/// Registers the dependencies of the handlers of a path.
fn with_side(resource: Resource, side: &web::Data<ChannelSide>) -> Resource {
    resource.app_data(side.body_limit.clone()).app_data(side.clone())
}

/// Applies the cross-origin rules. Pages from every origin may use the channel, because any page may hold a
/// token and send it in a header.
async fn cross_origin(
    cors: &Cors,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if preflight {
        let answer = cors.preflight_of_channel(request.request());
        return Ok(request.into_response(answer));
    }
    let mut response = next.call(request).await?.map_into_boxed_body();
    let request = response.request().clone();
    cors.apply(&request, response.headers_mut());
    Ok(response)
}

impl ChannelSide {
    /// Identifies the caller of a request that changes something, and counts the request against the caller's
    /// limits. `name` is used if the token has none.
    fn caller(&self, request: &HttpRequest, room: &RoomId, name: Option<&str>) -> Result<Identity, ApiError> {
        let token = super::hls::bearer(request).ok_or_else(token_missing)?;
        let mut identity = self.identify(token, room)?;
        if identity.person.name.is_none() {
            identity.person.name = name.map(|name| DisplayName::of_field("name", name)).transpose()?;
        }
        let address = request.peer_addr().map(|peer| network(peer.ip()));
        self.hub.admit(room, &identity.person, address)?;
        Ok(identity)
    }

    /// Opens the channel for the client of a request, after verifying its token.
    async fn follow(
        &self,
        request: &HttpRequest,
        token: &str,
        transport: Transport,
    ) -> Result<Subscription, ApiError> {
        let room = handlers::room(request)?;
        let in_header = request.headers().get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
        let in_query = Query(request.query_string()).text("lastEventId");
        let last = in_header.or(in_query.as_deref());
        loop {
            let identity = self.identify(token, &room)?;
            let valid = Duration::from_millis(identity.expires_at.0.saturating_sub(now().0));
            // The limit is needed because a token can expire later than an `Instant` can represent. No
            // connection lasts a year.
            let until = Instant::now() + valid.min(Duration::from_secs(365 * 24 * 60 * 60));
            let subscription = self.hub.subscribe(&room, &identity.person, transport, last, until).await?;
            // The hub ends the subscription if the role changes later. If the role changed before the
            // subscription began, subscribe again with the new role.
            if self.identify(token, &room)?.person.role == identity.person.role {
                return Ok(subscription);
            }
        }
    }

    fn identify(&self, token: &str, room: &RoomId) -> Result<Identity, ApiError> {
        Ok(self.tokens.identify(token, room)?)
    }
}

fn token_missing() -> ApiError {
    ApiError::new(Code::TokenMissing, "send a token for the room in the Authorization header")
}

impl From<OpenError> for ApiError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NoSuchRoom => Self::new(Code::RoomNotFound, "there is no such room"),
            OpenError::Unavailable => {
                Self::new(Code::ChannelUnavailable, "this node is starting or stopping; connect again")
            }
            OpenError::Store(error) => {
                let message = "the channel's store does not answer; a change may or may not have happened";
                Self::new(Code::ChannelUnavailable, message).because(error)
            }
        }
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Open(error) => error.into(),
            CommandError::Refused(refusal) => refusal.into(),
            CommandError::TooManyRequests { retry_after } => {
                Self::new(Code::TooManyRequests, "too many requests with this token or from this address")
                    .retry_in(retry_after)
            }
            CommandError::Busy => Self::new(Code::Busy, "other requests keep changing the room; try again"),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::HostOnly => Code::HostOnly,
            Refusal::NameRequired => Code::NameRequired,
            Refusal::OnStage => Code::OnStage,
            Refusal::HandsClosed => Code::HandsClosed,
            Refusal::HandsFull => Code::HandsFull,
            Refusal::NoHand => Code::HandNotRaised,
            Refusal::NotInvited => Code::NotInvited,
            Refusal::ChatClosed => Code::ChatClosed,
            Refusal::SlowMode { .. } => Code::SlowMode,
            Refusal::TooManyMessages => Code::TooManyRequests,
            Refusal::NoMessage => Code::MessageNotFound,
        };
        let error = Self::new(code, refusal.to_string());
        match refusal {
            Refusal::SlowMode { wait_ms } => error.retry_in(std::time::Duration::from_millis(wait_ms)),
            Refusal::TooManyMessages => error.retry_in(std::time::Duration::from_secs(1)),
            _ => error,
        }
    }
}

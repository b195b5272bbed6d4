//! The REST API under `/api` (role `rooms`).
//!
//! The routes and the OpenAPI document are made from one list of endpoints, so they always have the same
//! entries. Every answer carries a request id and must not be cached. Every error is an
//! [`ApiError`](super::error::ApiError).
//!
//! Owns: the format of requests and answers. Does not make decisions (that is the task of `rooms`), or
//! sign tokens.

mod bans;
mod body;
mod captions;
mod endpoints;
mod events;
mod feeds;
mod keys;
mod modules;
mod outputs;
mod recordings;
mod room_fields;
mod rooms;
mod sources;
mod token;
mod tracks;
mod users;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpMessage;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL};
use actix_web::middleware::{DefaultHeaders, Next, from_fn};
use actix_web::web::{self, ServiceConfig};
use serde_json::json;

use crate::delivery::RecordingMedia;
use crate::delivery::listener_counter::Listeners;
use crate::domain::api_key::{Caller, ScopeMissing};
use crate::domain::recording::RecordingMode;
use crate::presence::stage::StageStore;
use crate::rooms::RoomService;
use crate::rooms::recordings::Recordings;
use crate::webhooks::Webhooks;

use super::anchors::PresentUsers;
use super::api_keys::LiveApiKeys;
use super::audit::Auditor;
use super::cors::{self, Origins};
use super::error::{ApiError, Code, not_found, quota_refusal};
use super::extract::BodyLimit;
use super::request_id;
use super::tokens::NodeTokens;
use super::tracing;

pub(in crate::http) use body::{DoneAnswer, ModuleBody};
pub use captions::CaptionsSide;
pub use endpoints::{channel_command_resources, channel_events_resources, document, openapi};
pub use outputs::OutputsSide;
pub use sources::SourcesSide;

impl From<ScopeMissing> for ApiError {
    fn from(missing: ScopeMissing) -> Self {
        let details = json!({ "scope": missing.0.as_str() });
        Self::new(Code::ScopeMissing, missing.to_string()).with_details(details)
    }
}

/// Dependencies of the handlers.
pub struct Api {
    pub rooms: Arc<RoomService>,
    pub auth: Arc<LiveApiKeys>,
    pub tokens: Arc<NodeTokens>,
    /// `None` on a node without presence, which does not count anchors.
    pub anchors: Option<Arc<PresentUsers>>,
    pub listeners: Listeners,
    pub origins: Origins,
    /// Base of the URLs given to listeners, without a trailing slash.
    pub hls_base: String,
    /// WebSocket URL for anchors.
    pub ws_url: String,
    pub body_limit: BodyLimit,
    pub recordings: Arc<Recordings>,
    pub recording: RecordingMode,
    /// `hls.rewind`.
    pub rewind: Duration,
    pub webhooks: Arc<Webhooks>,
    pub audit: Arc<Auditor>,
    pub outputs: OutputsSide,
    pub captions: CaptionsSide,
    pub stages: Arc<dyn StageStore>,
    pub sources: SourcesSide,
    pub media: Arc<RecordingMedia>,
}

/// Registers `/api` and everything below it. Other paths are left to the application (`error::not_found`).
pub fn configure(cfg: &mut ServiceConfig, api: web::Data<Api>) {
    let (for_cors, for_auth) = (api.clone(), api.clone());
    let scope = endpoints::register(web::scope("/api").app_data(api.body_limit.clone()).app_data(api))
        .default_service(web::to(not_found))
        .wrap(from_fn(move |req, next| {
            let api = for_auth.clone();
            async move { authorize(&api, req, next).await }
        }))
        .wrap(from_fn(move |req, next| {
            let api = for_cors.clone();
            async move { cors::check(&api.origins, req, next).await }
        }))
        .wrap(DefaultHeaders::new().add((CACHE_CONTROL, "no-store")))
        .wrap(from_fn(request_id::middleware))
        .wrap(from_fn(tracing::middleware));
    cfg.service(scope);
}

/// Counts a token that is about to be issued to the caller.
fn charge_token(api: &Api, caller: &Caller) -> Result<(), ApiError> {
    let Caller::Key(id, key) = caller else { return Ok(()) };
    api.rooms
        .api_keys()
        .take_token(id, &key.quotas)
        .map_err(|(exceeded, wait)| quota_refusal(Code::TokenQuotaExceeded, &exceeded).retry_in(wait))
}

async fn authorize(
    api: &Api,
    req: ServiceRequest,
    next: Next<impl actix_web::body::MessageBody + 'static>,
) -> Result<actix_web::dev::ServiceResponse<actix_web::body::BoxBody>, actix_web::Error> {
    let offered = req.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    match api.auth.admit(offered) {
        Ok(caller) => {
            req.extensions_mut().insert(caller);
            Ok(next.call(req).await?.map_into_boxed_body())
        }
        Err(refusal) => Ok(req.error_response(refusal)),
    }
}

#[cfg(test)]
pub(super) mod tests;

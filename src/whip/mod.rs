//! WHIP (RFC 9725) on the address of the role `gateway`. Broadcast software such as OBS joins a room as an
//! anchor.
//!
//! ```text
//! POST   /whip/{room}            opens a connection, calls `join` and `offer`; 201 with the SDP answer
//! PATCH  /whip/{room}/{session}  adds candidates (RFC 8840)
//! DELETE /whip/{room}/{session}  calls `leave`, which ends the session
//! ```
//! Each publisher is a connection of the gateway, like a WebSocket. The same actor and state machine serve
//! it, so tokens, bans, locks and limits have the same effect. The session ends when its media stop.
//!
//! | file | owns |
//! |---|---|
//! | `endpoint` | requests and responses |
//! | `sessions` | the publishers of this node |
//! | `refusal` | translation of session errors to API errors |

mod endpoint;
mod refusal;
mod sessions;

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use actix_web::middleware::{DefaultHeaders, Next, from_fn};
use actix_web::web::{self, ServiceConfig};

use crate::config::{Config, IceConfig};
use crate::http::error::not_found;
use crate::http::methods::other;
use crate::http::{cors, request_id, tracing};
use crate::ws::WsSide;
use sessions::Sessions;

/// Media type of offers and answers.
const SDP: &str = "application/sdp";
/// Media type of candidates (RFC 8840 section 9).
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Dependencies of the endpoints.
pub struct WhipSide {
    ws: web::Data<WsSide>,
    ice: IceConfig,
    /// Value of `http.base_path`.
    base_path: String,
    sessions: Sessions,
}

impl WhipSide {
    pub fn new(ws: web::Data<WsSide>, config: &Config) -> Self {
        let (ice, base_path) = (config.ice.clone(), config.http.base_path.clone());
        Self { ws, ice, base_path, sessions: Sessions::default() }
    }
}

/// Registers `/whip` and everything below it.
pub fn configure(config: &mut ServiceConfig, side: web::Data<WhipSide>) {
    let ws = side.ws.clone();
    let endpoint = web::resource("/{room}")
        .route(web::post().to(endpoint::publish))
        .default_service(other(&[Method::POST]));
    let session = web::resource("/{room}/{session}")
        .route(web::patch().to(endpoint::trickle))
        .route(web::delete().to(endpoint::end))
        .default_service(other(&[Method::PATCH, Method::DELETE]));
    let scope = web::scope("/whip")
        .app_data(side)
        .service(endpoint)
        .service(session)
        .default_service(web::to(not_found))
        .wrap(from_fn(move |req, next| {
            let ws = ws.clone();
            async move { cors::check(&ws.origins, req, next).await }
        }))
        .wrap(from_fn(name_type))
        .wrap(DefaultHeaders::new().add((CACHE_CONTROL, "no-store")))
        .wrap(from_fn(tracing::middleware))
        .wrap(from_fn(request_id::middleware));
    config.service(scope);
}

/// Middleware: adds the header `Accept-Post` to every response to `OPTIONS` (RFC 9725 section 4.2).
async fn name_type(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let asked = req.method() == Method::OPTIONS;
    let mut response = next.call(req).await?.map_into_boxed_body();
    if asked {
        let name = HeaderName::from_static("accept-post");
        response.headers_mut().insert(name, HeaderValue::from_static(SDP));
    }
    Ok(response)
}

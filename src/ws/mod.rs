//! The WebSocket transport of signalling (role gateway), at `/ws`.
//!
//! actix-web-actors does the handshake and actix-http the frames; actors depend on neither. The
//! `WebsocketContext` of actix-web-actors is not used. With it, the actor *is* the response body, so a client
//! that does not read freezes the actor, its timers and its limits. Here the body is only the [`writer`]; the
//! actor keeps running and can close such a client. Once the response head is sent, one small task of the
//! HTTP worker polls the writer and the [`reader`]; the HTTP dispatcher is not involved any more.
//!
//! The listener channel has WebSockets too: `http::upgrade` has the opening handshake for both, and `frames`
//! the frames.
//!
//! | file | owns |
//! |---|---|
//! | `admission` | token and address of a client; WHIP uses it as well |
//! | `upgrade` | admission of WebSocket clients: origin, token, handshake |
//! | `reader` | inbound messages to the actor, no faster than it takes them |
//! | `writer` | outbound frames from the outbound queue |

pub(crate) mod admission;
mod reader;
mod upgrade;
mod writer;

use std::sync::Arc;

use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use arc_swap::ArcSwap;

use crate::actors::gateway::acceptor::Acceptor;
use crate::auth::Tokens;
use crate::clock::Clock;
use crate::domain::connection_limits::SignallingLimits;
use crate::http::cors::Origins;
use crate::http::methods::only_get;
use crate::http::request_id;

/// Dependencies of the upgrade.
pub struct WsSide {
    pub tokens: Tokens,
    pub clock: Clock,
    pub origins: Origins,
    pub acceptor: Arc<Acceptor>,
    pub limits: Arc<ArcSwap<SignallingLimits>>,
}

/// Registers `/ws`.
pub fn configure(config: &mut ServiceConfig, side: web::Data<WsSide>) {
    let resource = only_get("/ws", upgrade::upgrade).app_data(side).wrap(from_fn(request_id::middleware));
    config.service(resource);
}

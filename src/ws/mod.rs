//! The WebSocket transport of signalling (role gateway), at `/ws`.
//!
//! The handshake is actix-web-actors', the frames are actix-http's; actors see neither. The crate's own
//! `WebsocketContext` is not used: there the actor *is* the response body, so a client that does not read
//! freezes it, its timers and its limits. Here the body is only the [`writer`]; the actor goes on and can
//! close such a client.
//!
//! | file | owns |
//! |---|---|
//! | `upgrade` | who may connect: origin, token, handshake |
//! | `frames` | bytes to messages, with their limits |
//! | `reader` | what comes in, to the actor, no faster than it takes it |
//! | `writer` | what goes out, from the line |
//! | `socket` | hanging up on who does not go |

mod frames;
mod reader;
mod socket;
mod upgrade;
mod writer;

use std::sync::Arc;

use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};

use crate::actors::context::Clock;
use crate::actors::gateway::door::Door;
use crate::auth::Tokens;
use crate::http::cors::Origins;
use crate::http::error::ApiError;
use crate::http::request_id;

pub use socket::keep_socket;

/// What the upgrade works with.
pub struct WsSide {
    pub tokens: Tokens,
    pub clock: Clock,
    pub origins: Origins,
    pub door: Arc<Door>,
    /// Bytes of one message.
    pub frame_limit: usize,
    /// Bytes that may wait for a client that does not read.
    pub queue_limit: usize,
}

/// Adds `/ws`. The server should have [`keep_socket`] as its `on_connect`.
pub fn configure(config: &mut ServiceConfig, side: web::Data<WsSide>) {
    let refuse = || async { Err::<&str, _>(ApiError::method_not_allowed("GET")) };
    let resource = web::resource("/ws")
        .app_data(side)
        .route(web::get().to(upgrade::upgrade))
        .default_service(web::to(refuse))
        .wrap(from_fn(request_id::middleware));
    config.service(resource);
}

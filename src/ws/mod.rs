//! The WebSocket transport of signalling (role gateway), at `/ws`.
//!
//! The handshake is actix-web-actors', the frames are actix-http's; actors see neither. The crate's own
//! `WebsocketContext` is not used: there the actor *is* the response body, so a client that does not read
//! freezes it, its timers and its limits. Here the body is only the [`writer`]; the actor goes on and can
//! close such a client.
//!
//! | file | owns |
//! |---|---|
//! | `upgrade` | who may connect: origin, token |
//! | `handshake` | what an opening handshake must contain |
//! | `frames` | bytes to messages, with their limits |
//! | `reader` | what comes in, to the actor, no faster than it takes it |
//! | `writer` | what goes out, from the line |

mod frames;
mod handshake;
mod reader;
mod upgrade;
mod writer;

use std::sync::Arc;

use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};

use crate::actors::context::Clock;
use crate::actors::gateway::door::Door;
use crate::auth::Tokens;
use crate::http::cors::Origins;
use crate::http::methods::only_get;
use crate::http::request_id;

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

/// Adds `/ws`.
pub fn configure(config: &mut ServiceConfig, side: web::Data<WsSide>) {
    let resource = only_get("/ws", upgrade::upgrade).app_data(side).wrap(from_fn(request_id::middleware));
    config.service(resource);
}

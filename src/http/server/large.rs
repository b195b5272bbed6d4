//! Limit on the number of large responses per listening socket that exist at the same time.
//!
//! Such a response is built for one client, and is held until the client has read it. It is one allocation:
//! megabytes for the list of actors of a large node. Media and pages are shared by their readers and need no
//! limit.
//!
//! Owns: the turns of a listening socket. Does not limit small responses.

use std::sync::Arc;

use actix_web::Error;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::Connection;

/// Maximum number of large responses per listening socket that are being built or read.
const LARGE_AT_ONCE: usize = 4;
/// Minimum size in bytes of a response that keeps its turn until it has been sent.
const SMALL: u64 = 64 * 1024;

pub(super) struct Turns(Arc<Semaphore>);

/// Right to build and send one large response.
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_AT_ONCE)))
    }

    /// Waits for a turn. Never returns `None`, because the semaphore is never closed.
    async fn take(&self) -> Option<Turn> {
        self.0.clone().acquire_owned().await.ok().map(|permit| Turn { _permit: permit })
    }
}

/// Middleware for a resource whose response may be large. The request waits for a turn. The wait is limited,
/// because a client that does not read is disconnected after 10 s, which frees its turn.
pub async fn large<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    // In a test without a socket there is no connection.
    let connection = Connection::of(request.request());
    let turn = match &connection {
        Some(connection) => connection.turns().take().await,
        None => None,
    };
    let response = next.call(request).await?;
    let is_large = matches!(response.response().body().size(), BodySize::Sized(SMALL..) | BodySize::Stream);
    // An endless response is built piece by piece, and would keep its turn for ever.
    if let Some(connection) = connection.filter(|connection| is_large && !connection.is_endless()) {
        connection.keep_until_sent(turn);
    }
    Ok(response)
}

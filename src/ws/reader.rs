//! Reader of a client's messages for its actor; runs on the HTTP worker that serves the connection.
//!
//! Owns: the request's payload until the connection is over. Does not forward a message while the actor still
//! has [`AHEAD`] unhandled ones, or wait for a call to complete.

use std::future::poll_fn;
use std::sync::Arc;

use actix_web::web::Payload;
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::actors::gateway::client::Msg;
use crate::actors::gateway::outbound::OutboundQueue;
use crate::actors::kernel::ActorRef;
use crate::frames::{FrameDecoder, Inbound};
use crate::http::server::Connection;
use crate::http::upgrade::{discard, hang_up};

/// Maximum number of messages in flight to the actor.
const AHEAD: usize = 4;

/// Reads until the client or its actor is gone, then closes the connection.
pub async fn read(
    mut payload: Payload,
    frame_limit: usize,
    queue: Arc<OutboundQueue>,
    actor: ActorRef<Msg>,
    connection: Option<Connection>,
) {
    let ended = || poll_fn(|task| queue.poll_ended(task));
    tokio::select! {
        () = ended() => {}
        () = forward(&mut payload, frame_limit, &actor) => {
            // Read and discard the rest: if bytes were left unread, the close would become a reset, and the
            // close frame could be lost (RFC 9293 section 3.6.1).
            tokio::select! {
                () = ended() => {}
                () = async { discard(&mut payload).await; std::future::pending().await } => {}
            }
        }
    }
    hang_up(payload, connection).await;
}

/// Forwards messages until a close frame, an invalid frame or the end of the stream, or until the actor is
/// gone.
async fn forward(payload: &mut Payload, frame_limit: usize, actor: &ActorRef<Msg>) {
    let permits = Arc::new(Semaphore::new(AHEAD));
    let mut frames = FrameDecoder::new(frame_limit);
    while let Some(Ok(bytes)) = payload.next().await {
        frames.feed(bytes);
        while let Some(inbound) = frames.next_message() {
            let last = matches!(inbound, Inbound::Bad(_) | Inbound::Close);
            if !tell(actor, inbound, permit(&permits).await) || last {
                return;
            }
        }
    }
    tell(actor, Inbound::Gone, permit(&permits).await);
}

async fn permit(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    // Cannot fail: nobody closes the semaphore.
    permits.clone().acquire_owned().await.expect("the semaphore is open")
}

/// Sends a message to the actor. Returns false if the actor is gone: its mailbox cannot be full, because it
/// has room for more messages than there are permits.
fn tell(actor: &ActorRef<Msg>, inbound: Inbound, permit: OwnedSemaphorePermit) -> bool {
    actor.tell(Msg::Received(inbound, permit)).is_ok()
}

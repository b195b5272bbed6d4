//! Reader of a client's messages for its actor; runs on the HTTP worker that serves the connection.
//!
//! Owns: the bytes that the client sends. Does not forward a message while the actor still has [`AHEAD`]
//! unhandled ones, or wait for a call to complete.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::actors::gateway::client::Msg;
use crate::actors::gateway::outbound::OutboundQueue;
use crate::actors::kernel::ActorRef;
use crate::frames::{FrameDecoder, Inbound};
use crate::http::server::ClientBytes;

/// Maximum number of messages in flight to the actor.
const AHEAD: usize = 4;

/// Reads until the client is gone, then waits until its actor has finished with the connection.
pub async fn read(bytes: ClientBytes, frame_limit: usize, queue: Arc<OutboundQueue>, actor: ActorRef<Msg>) {
    let ended = || poll_fn(|task| queue.poll_ended(task));
    tokio::select! {
        () = ended() => {}
        () = forward(bytes, frame_limit, actor) => ended().await,
    }
}

/// Forwards messages until a close frame, an invalid frame or the end of the stream, or until the actor is
/// gone.
async fn forward(mut received: ClientBytes, frame_limit: usize, actor: ActorRef<Msg>) {
    let permits = Arc::new(Semaphore::new(AHEAD));
    let mut frames = FrameDecoder::new(frame_limit);
    while let Some(bytes) = received.next().await {
        frames.feed(bytes);
        while let Some(inbound) = frames.next_message() {
            let last = matches!(inbound, Inbound::Bad(_) | Inbound::Close);
            if !tell(&actor, inbound, permit(&permits).await) || last {
                return;
            }
        }
    }
    tell(&actor, Inbound::Gone, permit(&permits).await);
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

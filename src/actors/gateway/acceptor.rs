//! Entry point for new connections from the transport; open while the gateway's supervisor runs.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::outbound::OutboundQueue;
use super::supervisor;
use super::{ConnectionInfo, client};
use crate::actors::kernel::ActorRef;

/// New connection of a client with a valid token, and the queue of its outbound frames.
pub struct NewConnection {
    pub peer: ConnectionInfo,
    pub queue: Arc<OutboundQueue>,
    /// Receives the actor that handles the client's frames.
    pub admitted: oneshot::Sender<ActorRef<client::Msg>>,
}

/// Error: the gateway accepts no connections at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayClosed;

/// Reference to the supervisor while it accepts connections.
#[derive(Default)]
pub struct Acceptor(Mutex<Option<ActorRef<supervisor::Msg>>>);

impl Acceptor {
    /// Passes a connection to the supervisor. Returns the actor that handles the client's frames.
    ///
    /// # Errors
    /// [`GatewayClosed`] if the supervisor is not running or does not take the connection.
    pub async fn enter(
        &self,
        peer: ConnectionInfo,
        queue: Arc<OutboundQueue>,
    ) -> Result<ActorRef<client::Msg>, GatewayClosed> {
        let supervisor = self.lock().clone().ok_or(GatewayClosed)?;
        let (admitted, answer) = oneshot::channel();
        let arrival = Box::new(NewConnection { peer, queue, admitted });
        supervisor.tell(supervisor::Msg::Arrived(arrival)).map_err(|_| GatewayClosed)?;
        answer.await.map_err(|_| GatewayClosed)
    }

    /// Returns true if connections are accepted.
    pub fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    pub(super) fn open(&self, supervisor: ActorRef<supervisor::Msg>) {
        *self.lock() = Some(supervisor);
    }

    pub(super) fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ActorRef<supervisor::Msg>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

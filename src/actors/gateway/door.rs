//! Where the transport brings new connections: open while the gateway's supervisor runs.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::line::Line;
use super::supervisor;
use super::{Peer, client};
use crate::actors::kernel::ActorRef;

/// A client with a good token, and what it is written through.
pub struct Arrival {
    pub peer: Peer,
    pub line: Arc<Line>,
    /// Told who takes what the client says.
    pub admitted: oneshot::Sender<ActorRef<client::Msg>>,
}

/// The gateway takes nobody at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

#[derive(Default)]
pub struct Door(Mutex<Option<ActorRef<supervisor::Msg>>>);

impl Door {
    /// The actor that takes the client's frames.
    pub async fn enter(&self, peer: Peer, line: Arc<Line>) -> Result<ActorRef<client::Msg>, Closed> {
        let supervisor = self.lock().clone().ok_or(Closed)?;
        let (admitted, answer) = oneshot::channel();
        let arrival = Box::new(Arrival { peer, line, admitted });
        supervisor.tell(supervisor::Msg::Arrived(arrival)).map_err(|_| Closed)?;
        answer.await.map_err(|_| Closed)
    }

    /// Whether clients are let in.
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

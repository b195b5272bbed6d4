//! Publishers of this node and their connections.
//!
//! Owns: one record per publisher, until its connection has ended. Does not interpret a request.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::actors::gateway::ConnectionInfo;
use crate::actors::gateway::acceptor::{Acceptor, GatewayClosed};
use crate::actors::gateway::client::Msg;
use crate::actors::gateway::direct::{CallFailure, DirectCall};
use crate::actors::gateway::outbound::OutboundQueue;
use crate::actors::kernel::{ActorRef, TellError};
use crate::domain::client_session::Answer;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::signalling::{CloseCode, ErrorCode, Method, ice_sdp};
use crate::frames::OutboundFrame;
use crate::telemetry::trace;

/// Maximum wait for the candidates that an external Janus sends after its answer.
const GATHERING: Duration = Duration::from_secs(2);
/// Maximum number of notifications that are buffered for the first request.
const WAITING: usize = 64;

/// Session of one publisher on this node.
#[derive(Clone)]
pub struct Session {
    pub room: RoomId,
    pub user: UserId,
    /// ICE user name fragment of the offer.
    pub ufrag: Option<String>,
    actor: ActorRef<Msg>,
    queue: Arc<OutboundQueue>,
}

/// Sessions of this node, by the id of their connection. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<HashMap<String, Session>>>);

/// Publisher whose first request is in progress.
pub struct NewPublisher {
    pub session: Session,
    notifications: mpsc::Receiver<Bytes>,
    opening: FirstRequest,
}

/// Connection whose first request is in progress. Dropping it closes the connection, unless `kept` is set.
struct FirstRequest {
    queue: Arc<OutboundQueue>,
    kept: bool,
}

impl Sessions {
    /// Opens the connection of a publisher.
    ///
    /// # Errors
    /// [`GatewayClosed`] if this node accepts no connections.
    pub async fn open(
        &self,
        peer: ConnectionInfo,
        ufrag: Option<String>,
        queue: Arc<OutboundQueue>,
        acceptor: &Acceptor,
    ) -> Result<NewPublisher, GatewayClosed> {
        let (id, room, user) = (peer.connection.0.clone(), peer.room.clone(), peer.user.clone());
        let opening = FirstRequest { queue: queue.clone(), kept: false };
        let actor = acceptor.enter(peer, queue.clone()).await?;
        let session = Session { room, user, ufrag, actor, queue: queue.clone() };
        self.lock().insert(id.clone(), session.clone());
        let (sender, notifications) = mpsc::channel(WAITING);
        let sessions = self.clone();
        actix_web::rt::spawn(async move {
            drain(&queue, &sender).await;
            sessions.lock().remove(&id);
        });
        Ok(NewPublisher { session, notifications, opening })
    }

    /// Returns the session with this id, unless its connection has ended.
    pub fn get(&self, id: &str) -> Option<Session> {
        self.lock().get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Calls a method of the client session.
    ///
    /// # Errors
    /// The error of the method, or the close code of the connection.
    pub async fn call(&self, method: Method) -> Result<Answer, CallFailure> {
        let (reply, answer) = oneshot::channel();
        let call = Msg::Called(Box::new(DirectCall { method, trace: trace::current(), reply }));
        self.actor.tell(call).map_err(|error| match error {
            TellError::Full => CallFailure::Refused(ErrorCode::TooManyCalls.into()),
            TellError::Gone => self.closed(),
        })?;
        answer.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Returns the failure for calls made after the connection has ended.
    fn closed(&self) -> CallFailure {
        CallFailure::Closed(self.queue.asked().unwrap_or(CloseCode::Gone))
    }
}

impl NewPublisher {
    /// Returns `answer` with all candidates of Janus. An external Janus may send them after its answer. Waits
    /// for them at most `GATHERING`, and then adds the ones that have arrived.
    pub async fn complete(&mut self, answer: String) -> String {
        if ice_sdp::has_candidates(&answer) {
            return answer;
        }
        let mut candidates = Vec::new();
        let gather = async {
            while let Some(notification) = self.notifications.recv().await {
                match candidate(&notification) {
                    Some(Some(candidate)) => candidates.push(candidate),
                    Some(None) => return,
                    None => {}
                }
            }
        };
        let _ = tokio::time::timeout(GATHERING, gather).await;
        ice_sdp::with_candidates(&answer, &candidates)
    }

    /// Lets the connection stay open until its session ends.
    pub fn keep(mut self) {
        self.opening.kept = true;
    }
}

impl Drop for FirstRequest {
    fn drop(&mut self) {
        if !self.kept {
            self.queue.ask_to_close(CloseCode::Gone);
        }
    }
}

/// Empties a publisher's queue until its connection has ended: a full queue would close the connection. Texts
/// go to `notifications`. No frame is sent to the publisher.
async fn drain(queue: &OutboundQueue, notifications: &mpsc::Sender<Bytes>) {
    while let Some(frame) = poll_fn(|task| queue.poll_next(task)).await {
        if let OutboundFrame::Text(text) = frame {
            // Fails if the buffer is full, and once the first request has been answered, because candidates
            // are not read any more.
            let _ = notifications.try_send(text);
        }
    }
}

/// Returns the candidate in a notification: `Some(None)` for the end of candidates, and `None` for other
/// notifications.
fn candidate(notification: &[u8]) -> Option<Option<String>> {
    let notification: Value = serde_json::from_slice(notification).ok()?;
    let candidate = &notification["params"]["candidate"]["candidate"];
    (notification["method"] == "icecandidate").then(|| candidate.as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::signalling::Notification;
    use crate::domain::signalling::methods::Candidate;

    #[test]
    fn notifications_carry_candidates() {
        let of = |notification: Notification| candidate(notification.to_json().to_string().as_bytes());
        let text = "candidate:1 1 udp 2 192.0.2.1 5000 typ host".to_owned();
        let one = Candidate {
            candidate: text.clone(),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: Some(0),
            username_fragment: None,
        };
        assert_eq!(of(Notification::IceCandidate { candidate: Some(one) }), Some(Some(text)));
        assert_eq!(of(Notification::IceCandidate { candidate: None }), Some(None));
        assert_eq!(of(Notification::SlowLink { uplink: true, lost: 1 }), None);
        assert_eq!(candidate(b"{"), None);
    }
}

//! A session with Janus and its plugin handles.
//!
//! The actors share a [`JanusClient`]: one session with one AudioBridge handle for room management, on one
//! WebSocket. A plain-RTP participant gets a [`Handle`] of its own, with its own stream of events. The
//! session is kept alive while a reference to it exists. Does not reconnect.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::Secret;
use super::error::{CoreError, JanusError};
use super::link::{Command, ConnectOptions, DownReason, HandleEvent, Link, LinkEvent};
use super::wire::{
    self, AUDIOBRIDGE, BridgeRequest, CreateReply, DoneReply, Request, core_reply, plugin_reply,
};

/// Maximum number of unread events of one handle.
const EVENT_QUEUE: usize = 256;

/// Client of one Janus instance, shared by all its callers on this node. Cheap to clone; dropping the last
/// clone closes the connection.
#[derive(Debug, Clone)]
pub struct JanusClient {
    session: Arc<Session>,
    /// The AudioBridge handle for room management.
    bridge: u64,
    admin_key: Option<Secret>,
}

/// Separate handle on the AudioBridge. Dropping the value detaches the handle without waiting for Janus's
/// answer.
#[derive(Debug)]
pub(super) struct Handle {
    session: Arc<Session>,
    id: u64,
    detached: bool,
    /// Ends with the connection, or when more than 256 events are unread.
    pub events: mpsc::Receiver<HandleEvent>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub link: Link,
    pub id: u64,
}

impl JanusClient {
    /// Connects, opens a session and attaches to the AudioBridge. The end of the connection is sent to
    /// `events`, once; the caller decides whether to reconnect. Needs an actix arbiter, which then runs the
    /// connection.
    ///
    /// # Errors
    /// [`JanusError::Unreachable`], or the error of a request.
    pub async fn connect(
        options: &ConnectOptions,
        events: mpsc::UnboundedSender<LinkEvent>,
    ) -> Result<Self, JanusError> {
        let link = Link::dial(options, events).await?;
        let session = Arc::new(Session { id: create_session(&link).await?, link });
        session.link.send(Command::DependOn { session: session.id }).await?;
        tokio::spawn(keep_alive(Arc::downgrade(&session), options.keep_alive));
        let bridge = session.attach().await?;
        Ok(Self { session, bridge, admin_key: options.admin_key.clone() })
    }

    /// Attaches a separate handle and subscribes to its events.
    pub(super) async fn attach(&self) -> Result<Handle, JanusError> {
        let id = self.session.attach().await?;
        let events = self.session.subscribe(id).await?;
        Ok(Handle { session: self.session.clone(), id, detached: false, events })
    }

    pub(super) fn link(&self) -> &Link {
        &self.session.link
    }

    /// Sends a request to the AudioBridge on the shared handle.
    pub(super) async fn bridge<T: DeserializeOwned>(&self, body: BridgeRequest<'_>) -> Result<T, JanusError> {
        self.session.message(self.bridge, body).await
    }

    pub(super) fn admin_key(&self) -> Option<&Secret> {
        self.admin_key.as_ref()
    }

    /// Returns the version of Janus, such as `1.1.2`.
    ///
    /// # Errors
    /// The connection is lost, or Janus does not answer.
    pub async fn version(&self) -> Result<String, JanusError> {
        Ok(self.server_info().await?.version_string)
    }

    pub(super) async fn server_info(&self) -> Result<wire::ServerInfo, JanusError> {
        server_info(&self.session.link).await
    }
}

impl Handle {
    pub(super) async fn message<T: DeserializeOwned>(
        &self,
        body: BridgeRequest<'_>,
    ) -> Result<T, JanusError> {
        self.session.message(self.id, body).await
    }

    /// Ends the handle, and with it its participant.
    pub(super) async fn detach(mut self) -> Result<(), JanusError> {
        self.detached = true;
        let request = self.detach_request();
        core_reply::<DoneReply>("detach", &self.session.link.request(request).await?).map(|_| ())
    }

    fn detach_request(&self) -> Request {
        Request { session_id: Some(self.session.id), handle_id: Some(self.id), ..Request::new("detach") }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.detached {
            self.session.link.tell(self.detach_request());
        }
    }
}

impl Session {
    pub(super) async fn attach(&self) -> Result<u64, JanusError> {
        let request =
            Request { session_id: Some(self.id), plugin: Some(AUDIOBRIDGE), ..Request::new("attach") };
        Ok(core_reply::<CreateReply>("attach", &self.link.request(request).await?)?.data.id)
    }

    /// Subscribes to the events of a handle.
    pub(super) async fn subscribe(&self, handle: u64) -> Result<mpsc::Receiver<HandleEvent>, JanusError> {
        let (events, stream) = mpsc::channel(EVENT_QUEUE);
        self.link.send(Command::Subscribe { session: self.id, handle, events }).await?;
        Ok(stream)
    }

    pub(super) async fn message<T: DeserializeOwned>(
        &self,
        handle: u64,
        body: BridgeRequest<'_>,
    ) -> Result<T, JanusError> {
        let name = body.name();
        plugin_reply(name, &self.link.request(self.message_request(handle, body)?).await?)
    }

    pub(super) fn message_request(
        &self,
        handle: u64,
        body: BridgeRequest<'_>,
    ) -> Result<Request, JanusError> {
        let name = body.name();
        let unfit = |e: serde_json::Error| JanusError::BadReply { request: name, detail: e.to_string() };
        Ok(Request {
            name,
            session_id: Some(self.id),
            handle_id: Some(handle),
            body: Some(serde_json::to_value(body).map_err(unfit)?),
            ..Request::new("message")
        })
    }

    pub(super) async fn keep_alive(&self) -> Result<(), JanusError> {
        let request = Request { session_id: Some(self.id), ..Request::new("keepalive") };
        core_reply::<DoneReply>("keepalive", &self.link.request(request).await?).map(|_| ())
    }
}

/// Keeps the session alive until its last reference is dropped. If Janus no longer has the session, the
/// connection ends. A keep-alive that times out does not end the connection, because the link's own pings
/// detect a silent Janus.
async fn keep_alive(session: Weak<Session>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(session) = session.upgrade() else { return };
        match session.keep_alive().await {
            Err(JanusError::Core(CoreError::NoSuchSession)) => {
                let _ = session.link.send(Command::End(DownReason::SessionLost)).await;
            }
            Err(JanusError::Disconnected) => return,
            _ => {}
        }
    }
}

pub(super) async fn create_session(link: &Link) -> Result<u64, JanusError> {
    let raw = link.request(Request { name: "create session", ..Request::new("create") }).await?;
    Ok(core_reply::<CreateReply>("create session", &raw)?.data.id)
}

pub(super) async fn server_info(link: &Link) -> Result<wire::ServerInfo, JanusError> {
    core_reply("info", &link.request(Request::new("info")).await?)
}

//! A session with Janus and its plugin handles.
//!
//! A [`JanusClient`] is what the actors share: one session with one AudioBridge handle for room management, on
//! one WebSocket. A [`Handle`] of its own is for whoever takes part in a room, with its own stream of events.
//! That session is kept alive while anybody holds it. Never does: connect again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::Secret;
use super::error::{CoreError, JanusError};
use super::link::{Command, ConnectOptions, DownReason, GatewayEvent, HandleEvent, Link};
use super::wire::{self, AUDIOBRIDGE, BridgeRequest, Created, Done, Request, core_reply, plugin_reply};

/// Events of one handle that may wait to be read.
const EVENT_QUEUE: usize = 256;

/// One Janus, as everybody on this node sees it. Cheap to clone; the last clone closes the connection.
#[derive(Debug, Clone)]
pub struct JanusClient {
    session: Arc<Session>,
    /// The AudioBridge handle for room management.
    bridge: u64,
    admin_key: Option<Secret>,
}

/// A handle of its own on the AudioBridge. Dropping it leaves it to Janus until the connection ends; `detach`
/// ends it at once.
#[derive(Debug)]
pub(super) struct Handle {
    session: Arc<Session>,
    id: u64,
    /// Ends when the connection does, or when more than 256 events wait unread.
    pub events: mpsc::Receiver<HandleEvent>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub link: Link,
    pub id: u64,
}

impl JanusClient {
    /// Connects, opens a session and attaches to the AudioBridge. The connection's end is told on `events`,
    /// once; connecting anew is the caller's decision. Needs an actix arbiter, which then runs the connection.
    pub async fn connect(
        options: &ConnectOptions,
        events: mpsc::UnboundedSender<GatewayEvent>,
    ) -> Result<Self, JanusError> {
        let link = Link::dial(options, events).await?;
        let session = Arc::new(Session { id: create_session(&link).await?, link });
        session.link.send(Command::DependOn { session: session.id }).await?;
        tokio::spawn(keep_alive(Arc::downgrade(&session), options.keep_alive));
        let bridge = session.attach().await?;
        Ok(Self { session, bridge, admin_key: options.admin_key.clone() })
    }

    /// A handle of its own.
    pub(super) async fn attach(&self) -> Result<Handle, JanusError> {
        let id = self.session.attach().await?;
        let events = self.session.subscribe(id).await?;
        Ok(Handle { session: self.session.clone(), id, events })
    }

    pub(super) fn link(&self) -> &Link {
        &self.session.link
    }

    /// A request to the AudioBridge on the shared handle.
    pub(super) async fn bridge<T: DeserializeOwned>(&self, body: BridgeRequest<'_>) -> Result<T, JanusError> {
        self.session.message(self.bridge, body).await
    }

    pub(super) fn admin_key(&self) -> Option<&Secret> {
        self.admin_key.as_ref()
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

    /// Ends the handle, and with it its part in a room.
    pub(super) async fn detach(self) -> Result<(), JanusError> {
        let request =
            Request { session_id: Some(self.session.id), handle_id: Some(self.id), ..Request::new("detach") };
        core_reply::<Done>("detach", &self.session.link.request(request).await?).map(|_| ())
    }
}

impl Session {
    pub(super) async fn attach(&self) -> Result<u64, JanusError> {
        let request =
            Request { session_id: Some(self.id), plugin: Some(AUDIOBRIDGE), ..Request::new("attach") };
        Ok(core_reply::<Created>("attach", &self.link.request(request).await?)?.data.id)
    }

    /// Events of a handle from now on.
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
        core_reply::<Done>("keepalive", &self.link.request(request).await?).map(|_| ())
    }
}

/// While the session is held by anybody. A session that Janus no longer knows ends the connection; a timeout
/// does not, for a silent link is noticed by its pings.
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
    Ok(core_reply::<Created>("create session", &raw)?.data.id)
}

pub(super) async fn server_info(link: &Link) -> Result<wire::ServerInfo, JanusError> {
    core_reply("info", &link.request(Request::new("info")).await?)
}

//! Connections to the Januses of the rooms: one per Janus, shared by all sessions on it.
//!
//! Made when first needed and anew after each loss, by whoever needs it next. Owns: where a Janus is found. Never
//! does: retry; that is the session's decision.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::actors::janus::GatewayLink;
use crate::domain::ids::ModuleId;
use crate::domain::keys::ModuleKind;
use crate::janus::{ConnectOptions, GatewayEvent, JanusClient, JanusError};
use crate::rooms::Directory;

/// Cheap to clone.
#[derive(Clone)]
pub struct Januses(Arc<Inner>);

struct Inner {
    directory: Arc<Directory>,
    /// This node's own Janus: a managed one is found only through this, for it listens on loopback.
    local: Option<Local>,
    /// Secrets and timeouts of the others; the URL is each Janus's own.
    options: ConnectOptions,
    slots: Mutex<BTreeMap<ModuleId, Slot>>,
}

/// This node's own Janus.
pub struct Local {
    pub id: ModuleId,
    pub link: GatewayLink,
    pub options: ConnectOptions,
}

/// Locked while somebody connects: the others wait for the same connection.
type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

struct Connection {
    url: String,
    client: JanusClient,
    events: mpsc::UnboundedReceiver<GatewayEvent>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoJanus {
    #[error("Janus {0} says no address that this node could reach")]
    NoAddress(ModuleId),
    #[error(transparent)]
    Unreachable(#[from] JanusError),
}

impl Januses {
    pub fn new(directory: Arc<Directory>, local: Option<Local>, options: ConnectOptions) -> Self {
        Self(Arc::new(Inner { directory, local, options, slots: Mutex::default() }))
    }

    /// The connection to a Janus, made now if there is none. Needs an actix arbiter, which then runs it.
    pub async fn client(&self, janus: &ModuleId) -> Result<JanusClient, NoJanus> {
        let options = self.options(janus).ok_or_else(|| NoJanus::NoAddress(janus.clone()))?;
        let slot = self.slot(janus);
        let mut held = slot.lock().await;
        if let Some(connection) = held.as_mut().filter(|c| c.url == options.url)
            && connection.is_up()
        {
            return Ok(connection.client.clone());
        }
        *held = None;
        let (sender, events) = mpsc::unbounded_channel();
        let client = JanusClient::connect(&options, sender).await?;
        *held = Some(Connection { url: options.url, client: client.clone(), events });
        Ok(client)
    }

    fn options(&self, janus: &ModuleId) -> Option<ConnectOptions> {
        if let Some(local) = self.0.local.as_ref().filter(|local| local.id == *janus) {
            return Some(ConnectOptions { url: local.link.url()?, ..local.options.clone() });
        }
        let module = self.0.directory.module(ModuleKind::Janus, janus)?;
        let url = module.heartbeat.as_ref()?.url.clone();
        // A managed Janus of another node: its heartbeat names no URL.
        url.starts_with("ws").then(|| ConnectOptions { url, ..self.0.options.clone() })
    }

    fn slot(&self, janus: &ModuleId) -> Slot {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(janus.clone()).or_default().clone()
    }
}

impl Connection {
    /// Its one event is its end.
    fn is_up(&mut self) -> bool {
        matches!(self.events.try_recv(), Err(mpsc::error::TryRecvError::Empty))
    }
}

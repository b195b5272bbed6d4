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
    local: Option<(ModuleId, GatewayLink)>,
    /// Secrets and timeouts; the URL is each Janus's own.
    options: ConnectOptions,
    slots: Mutex<BTreeMap<ModuleId, Slot>>,
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
    pub fn new(
        directory: Arc<Directory>,
        local: Option<(ModuleId, GatewayLink)>,
        options: ConnectOptions,
    ) -> Self {
        Self(Arc::new(Inner { directory, local, options, slots: Mutex::default() }))
    }

    /// The connection to a Janus, made now if there is none. Needs an actix arbiter, which then runs it.
    pub async fn client(&self, janus: &ModuleId) -> Result<JanusClient, NoJanus> {
        let url = self.url(janus).ok_or_else(|| NoJanus::NoAddress(janus.clone()))?;
        let slot = self.slot(janus);
        let mut held = slot.lock().await;
        if let Some(connection) = held.as_mut().filter(|c| c.url == url)
            && connection.is_up()
        {
            return Ok(connection.client.clone());
        }
        *held = None;
        let (sender, events) = mpsc::unbounded_channel();
        let options = ConnectOptions { url: url.clone(), ..self.0.options.clone() };
        let client = JanusClient::connect(&options, sender).await?;
        *held = Some(Connection { url, client: client.clone(), events });
        Ok(client)
    }

    fn url(&self, janus: &ModuleId) -> Option<String> {
        if let Some((_, link)) = self.0.local.as_ref().filter(|(me, _)| me == janus) {
            return link.url();
        }
        let module = self.0.directory.module(ModuleKind::Janus, janus)?;
        let url = module.heartbeat.as_ref()?.url.clone();
        // A managed Janus of another node: its heartbeat names no URL.
        url.starts_with("ws").then_some(url)
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

//! Connections to the Janus instances of the rooms: one per instance, shared by all sessions on it.
//!
//! The first caller makes a connection; after a loss, the next caller makes a new one. Callers that arrive
//! during an attempt wait for it and get the same outcome. Owns: the choice of each instance's address. Does
//! not retry; the session decides on retries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::actors::janus::JanusShared;
use crate::domain::ids::ModuleId;
use crate::domain::keys::ModuleKind;
use crate::janus::{ConnectOptions, JanusClient, JanusError, LinkEvent};
use crate::rooms::Directory;

/// Pool of connections to Janus instances. Cheap to clone.
#[derive(Clone)]
pub struct Januses(Arc<Inner>);

struct Inner {
    directory: Arc<Directory>,
    /// This node's own Janus instance. A managed instance listens on loopback, so only this field has its
    /// address.
    local: Option<LocalJanus>,
    /// Secrets and timeouts for the other instances; each instance has its own URL.
    options: ConnectOptions,
    slots: Mutex<BTreeMap<ModuleId, Slot>>,
}

/// This node's own Janus instance.
pub struct LocalJanus {
    pub id: ModuleId,
    pub link: JanusShared,
    pub options: ConnectOptions,
}

#[derive(Default)]
enum Slot {
    #[default]
    Empty,
    Connecting {
        url: String,
        outcome: Outcome,
    },
    Up(Connection),
}

/// Outcome of an attempt to connect; `None` while the attempt is in progress.
type Outcome = watch::Receiver<Option<Result<JanusClient, JanusError>>>;

struct Connection {
    url: String,
    client: JanusClient,
    events: mpsc::UnboundedReceiver<LinkEvent>,
}

/// Reason why there is no connection to a Janus instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("Janus {0} announces no address that this node can reach")]
    NoAddress(ModuleId),
    #[error(transparent)]
    Unreachable(#[from] JanusError),
}

impl Januses {
    pub fn new(directory: Arc<Directory>, local: Option<LocalJanus>, options: ConnectOptions) -> Self {
        Self(Arc::new(Inner { directory, local, options, slots: Mutex::default() }))
    }

    /// Returns the connection to a Janus instance; connects first if there is none. Must be called on an
    /// actix arbiter, which then runs the connection.
    ///
    /// # Errors
    /// The instance has no address in the store, or the attempt failed. All waiting callers share one
    /// attempt.
    pub async fn client(&self, janus: &ModuleId) -> Result<JanusClient, ConnectError> {
        let options = self.options(janus).ok_or_else(|| ConnectError::NoAddress(janus.clone()))?;
        let mut outcome = match self.slots().entry(janus.clone()).or_default() {
            Slot::Up(connection) if connection.url == options.url && connection.is_up() => {
                return Ok(connection.client.clone());
            }
            Slot::Connecting { url, outcome } if *url == options.url && outcome.has_changed().is_ok() => {
                outcome.clone()
            }
            slot => {
                let (sender, outcome) = watch::channel(None);
                *slot = Slot::Connecting { url: options.url.clone(), outcome: outcome.clone() };
                actix::spawn(self.clone().connect(janus.clone(), options, sender));
                outcome
            }
        };
        // The attempt ends without an outcome only when its arbiter stops.
        let decided = outcome.wait_for(Option::is_some).await.map_err(|_| JanusError::Disconnected)?;
        decided.clone().unwrap_or(Err(JanusError::Disconnected)).map_err(ConnectError::from)
    }

    /// Forgets all connections. Each one ends when its last session does, and is not reported as lost.
    pub fn release(&self) {
        self.slots().clear();
    }

    /// Connects once, stores the connection and passes the outcome to the waiting callers.
    async fn connect(
        self,
        janus: ModuleId,
        options: ConnectOptions,
        sender: watch::Sender<Option<Result<JanusClient, JanusError>>>,
    ) {
        let (down, events) = mpsc::unbounded_channel();
        let outcome = JanusClient::connect(&options, down).await;
        if let Some(slot) = self.slots().get_mut(&janus)
            && matches!(slot, Slot::Connecting { url, .. } if *url == options.url)
        {
            *slot = match &outcome {
                Ok(client) => Slot::Up(Connection { url: options.url, client: client.clone(), events }),
                Err(_) => Slot::Empty,
            };
        }
        sender.send_replace(Some(outcome));
    }

    fn options(&self, janus: &ModuleId) -> Option<ConnectOptions> {
        if let Some(local) = self.0.local.as_ref().filter(|local| local.id == *janus) {
            return Some(ConnectOptions { url: local.link.url()?, ..local.options.clone() });
        }
        let module = self.0.directory.module(ModuleKind::Janus, janus)?;
        let url = module.heartbeat.as_ref()?.url.clone();
        // The heartbeat of another node's managed Janus has no WebSocket URL.
        url.starts_with("ws").then(|| ConnectOptions { url, ..self.0.options.clone() })
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<ModuleId, Slot>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Returns true if the connection is up. A connection sends only one event: that it has ended.
    fn is_up(&self) -> bool {
        self.events.is_empty() && !self.events.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    const WAITERS: usize = 150;

    /// Connects to a frozen Janus: the kernel accepts the connection, but no answer arrives.
    #[actix::test]
    async fn waiters_share_one_attempt() {
        let frozen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let januses = at(frozen.local_addr().unwrap().port(), Duration::from_millis(300));
        let id = ModuleId::new("janus-a").unwrap();
        let waiting = futures::future::join_all((0..WAITERS).map(|_| januses.client(&id)));
        let silence = async {
            let (mut socket, _) = frozen.accept().await.unwrap();
            // This read ends when the client gives up.
            let _ = socket.read_to_end(&mut Vec::new()).await;
        };
        let (outcomes, ()) = tokio::join!(waiting, silence);
        assert!(
            outcomes.iter().all(|o| matches!(o, Err(ConnectError::Unreachable(_)))),
            "all waiters learn of the failure"
        );
        let another = tokio::time::timeout(Duration::ZERO, frozen.accept()).await;
        assert!(another.is_err(), "nobody made a second attempt");
    }

    #[actix::test]
    async fn failures_leave_nothing_behind() {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        let januses = at(port, Duration::from_secs(5));
        let id = ModuleId::new("janus-a").unwrap();
        for _ in 0..10_000 {
            assert!(matches!(januses.client(&id).await, Err(ConnectError::Unreachable(_))));
        }
        assert!(matches!(januses.slots().get(&id), Some(Slot::Empty)));
        assert_eq!(Arc::strong_count(&januses.0), 1, "no task of an attempt is left");
    }

    fn at(port: u16, request_timeout: Duration) -> Januses {
        let url = format!("ws://127.0.0.1:{port}");
        let options = ConnectOptions {
            url: url.clone(),
            api_secret: None,
            admin_key: None,
            request_timeout,
            keep_alive: request_timeout,
        };
        let folder = tempfile::tempdir().unwrap();
        let data = ("node.data_dir".to_owned(), folder.path().display().to_string());
        let config = crate::config::load(crate::config::LoadInput {
            flags: vec![data],
            ..crate::config::LoadInput::default()
        });
        let secrets = crate::auth::Secrets::load_or_create(&config.unwrap()).unwrap();
        let link = JanusShared::new(Arc::new(secrets), Some(url));
        let local = LocalJanus { id: ModuleId::new("janus-a").unwrap(), link, options: options.clone() };
        Januses::new(Arc::default(), Some(local), options)
    }
}

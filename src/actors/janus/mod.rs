//! Role `janus`: one Janus instance and the rooms on it.
//!
//! ```text
//! JanusSupervisor
//! ├─ HeartbeatActor
//! ├─ JanusProcess                        managed mode: the child process
//! ├─ JanusConnection ─ JanusRoomActor*      the connection, and one actor per room; after each
//! │                                         connect, the rooms on Janus are matched with the store
//! └─ SourceSupervisor ─ SourceActor*        URLs and files that are played in the rooms
//! ```

pub mod bridge;
pub mod connection;
mod metered;
pub mod process;
pub mod room;
pub mod supervisor;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::auth::secrets::Secrets;
use crate::janus::AudioBridge;

/// State shared by `JanusConnection`, its rooms and `JanusProcess`. It outlives each incarnation of these
/// actors.
#[derive(Clone)]
pub struct JanusShared {
    bridge: Arc<Mutex<Option<Arc<dyn AudioBridge>>>>,
    url: Arc<watch::Sender<Option<String>>>,
    restart_requests: Arc<Notify>,
    secrets: Arc<Secrets>,
}

impl JanusShared {
    /// Creates the shared state. `url`: address of an external Janus; `None` for a managed Janus, whose URL
    /// is set later.
    pub fn new(secrets: Arc<Secrets>, url: Option<String>) -> Self {
        let url = Arc::new(watch::Sender::new(url));
        Self { bridge: Arc::default(), url, restart_requests: Arc::default(), secrets }
    }

    /// Returns the connection, if there is one.
    pub fn bridge(&self) -> Option<Arc<dyn AudioBridge>> {
        self.lock().clone()
    }

    pub fn url(&self) -> Option<String> {
        self.url.borrow().clone()
    }

    pub fn secrets(&self) -> Arc<Secrets> {
        self.secrets.clone()
    }

    fn set_bridge(&self, bridge: Option<Arc<dyn AudioBridge>>) {
        *self.lock() = bridge;
    }

    /// Waits until [`set_url`](Self::set_url) is called, even if the URL stays the same.
    fn url_changed(&self) -> impl Future<Output = ()> + 'static {
        let mut url = self.url.subscribe();
        async move {
            // The actors hold the sender, so this fails only when all actors have ended.
            let _ = url.changed().await;
        }
    }

    fn set_url(&self, url: Option<String>) {
        self.url.send_replace(url);
    }

    /// Requests a restart of a Janus instance that does not answer or sends no audio. Has an effect only
    /// while a managed process is running.
    fn request_restart(&self) {
        self.restart_requests.notify_waiters();
    }

    async fn restart_requested(&self) {
        self.restart_requests.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn AudioBridge>>> {
        self.bridge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

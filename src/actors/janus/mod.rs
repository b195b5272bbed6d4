//! Role `janus`: one Janus Gateway and the rooms on it.
//!
//! ```text
//! JanusSupervisor
//! ├─ Heartbeat
//! ├─ JanusGateway ─ JanusRoom*      the link, the rebuild, one actor per room
//! └─ JanusProcess                   managed mode: the child process
//! ```

pub mod bridge;
pub mod gateway;
mod metered;
pub mod process;
pub mod room;
pub mod supervisor;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::auth::secrets::Secrets;
use crate::janus::AudioBridge;

/// What the gateway, its rooms and the Janus process share. Outlives the incarnations of each.
#[derive(Clone)]
pub struct GatewayLink {
    bridge: Arc<Mutex<Option<Arc<dyn AudioBridge>>>>,
    url: Arc<watch::Sender<Option<String>>>,
    complaints: Arc<Notify>,
    secrets: Arc<Secrets>,
}

impl GatewayLink {
    /// `url` is known from the start for an external Janus only.
    pub fn new(secrets: Arc<Secrets>, url: Option<String>) -> Self {
        let url = Arc::new(watch::Sender::new(url));
        Self { bridge: Arc::default(), url, complaints: Arc::default(), secrets }
    }

    /// The connection, while there is one.
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

    /// Waits until the URL is set anew.
    fn url_changed(&self) -> impl Future<Output = ()> + 'static {
        let mut url = self.url.subscribe();
        async move {
            // We hold a sender ourselves, through the actors, so this fails only when nobody is left to care.
            let _ = url.changed().await;
        }
    }

    fn set_url(&self, url: Option<String>) {
        self.url.send_replace(url);
    }

    /// The Janus does not answer: whoever runs it should replace it. While nobody runs one it concerns nobody.
    fn complain(&self) {
        self.complaints.notify_waiters();
    }

    async fn complaint(&self) {
        self.complaints.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn AudioBridge>>> {
        self.bridge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

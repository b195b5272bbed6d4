//! Role `mixer`: RTP ports, one FFmpeg per room, and the streams made from FFmpeg's output.
//!
//! ```text
//! MixerSupervisor
//! ├─ HeartbeatActor
//! └─ MixerRoomActor*     one per room: process, packager, keys
//! ```

mod meter;
mod packaging;
pub mod process;
mod resources;
pub mod room;
mod running;
pub mod supervisor;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::auth::Secrets;
use crate::delivery::listener_counter::ListenerCounter;
use crate::delivery::{MixerClient, Streams};
use crate::domain::ids::MediaAddr;
use crate::domain::ports::PortPool;

/// Time for which a port held by another process is not tried again.
const QUARANTINE: Duration = Duration::from_secs(60);

/// State shared by the rooms of one mixer.
#[derive(Clone)]
pub struct MixerShared {
    pub ports: Arc<Mutex<PortPool>>,
    /// Slots that limit concurrent starts of FFmpeg. If twenty start at the same time, each takes ten times
    /// as long as a single start.
    pub starts: Arc<Semaphore>,
    pub streams: Arc<Streams>,
    pub secrets: Arc<Secrets>,
    pub counter: Arc<ListenerCounter>,
    /// Client that fetches the window of a room from its previous mixer.
    pub fetcher: MixerClient,
}

/// Reserved pair of ports. Dropping it returns the pair to the pool.
pub struct PortLease {
    pool: Arc<Mutex<PortPool>>,
    pub rtp: MediaAddr,
}

impl PortLease {
    pub fn reserve(pool: &Arc<Mutex<PortPool>>, ip: std::net::IpAddr, now: Duration) -> Option<Self> {
        let port = pool.lock().unwrap_or_else(PoisonError::into_inner).reserve(now)?;
        Some(Self { pool: pool.clone(), rtp: MediaAddr { ip, port } })
    }

    /// Keeps the pair out of use for a while because another process holds it.
    pub fn quarantine(self, now: Duration) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.quarantine(self.rtp.port, now + QUARANTINE);
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).release(self.rtp.port);
    }
}

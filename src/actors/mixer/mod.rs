//! Role `mixer`: RTP ports, one FFmpeg per room, and the streams made of what they write.
//!
//! ```text
//! MixerSupervisor
//! ├─ Heartbeat
//! └─ FfmpegProcess*      one per room: process, packager, keys
//! ```

mod estate;
mod meter;
mod packaging;
pub mod process;
pub mod room;
mod running;
pub mod streams;
pub mod supervisor;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::relay::Fetcher;
use crate::auth::Secrets;
use crate::domain::ids::MediaAddr;
use crate::domain::ports::PortPool;
use crate::rooms::audience::Audience;
use streams::Streams;

/// A port somebody else holds is not tried again for this long.
const QUARANTINE: Duration = Duration::from_secs(60);

/// What the rooms of one mixer share.
#[derive(Clone)]
pub struct MixerShared {
    pub ports: Arc<Mutex<PortPool>>,
    /// Bounds how many FFmpegs start at once: twenty together take ten times as long each.
    pub starts: Arc<Semaphore>,
    pub streams: Arc<Streams>,
    pub secrets: Arc<Secrets>,
    pub audience: Arc<Audience>,
    /// Asks the mixer before this one for what it has left.
    pub fetcher: Fetcher,
}

/// A reserved pair of ports; dropping it gives the pair back.
pub struct PortLease {
    pool: Arc<Mutex<PortPool>>,
    pub rtp: MediaAddr,
}

impl PortLease {
    pub fn reserve(pool: &Arc<Mutex<PortPool>>, ip: std::net::IpAddr, now: Duration) -> Option<Self> {
        let port = pool.lock().unwrap_or_else(PoisonError::into_inner).reserve(now)?;
        Some(Self { pool: pool.clone(), rtp: MediaAddr { ip, port } })
    }

    /// Somebody outside holds the pair.
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

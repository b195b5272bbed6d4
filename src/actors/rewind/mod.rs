//! Rewind windows of this mixer: for each broadcast, the past audio to which listeners can go back, on disk.
//!
//! ```text
//! RewindSupervisor         erases the files of an earlier process
//! └─ RewindActor*          one per room of this mixer that offers rewind
//! ```
//! Like a recorder, a rewind actor copies segments of the live window, and no other actor waits for it. The
//! windows outlive an incarnation of their actor, and end with the process. After a handover, the next mixer
//! takes the window over.

mod room;
pub mod supervisor;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::delivery::{Rewinds, Streams};

/// Number of windows that a node takes over at the same time, if their mixers answer in time.
pub const TAKEOVERS: usize = 2;
/// Number of further windows, whose mixers are slow or have failed.
pub const SLOW_TAKEOVERS: usize = 8;

/// Source and target of the rewind windows.
#[derive(Clone)]
pub struct RewindParts {
    pub streams: Arc<Streams>,
    pub rewinds: Arc<Rewinds>,
    /// Permits to take a media file of a window over.
    pub turns: Arc<Semaphore>,
    /// Permits to take a media file over from a mixer that is slow or has failed.
    pub slow_turns: Arc<Semaphore>,
}

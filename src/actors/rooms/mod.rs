//! Role `rooms`: rooms on air or being removed, and the cluster-wide work of the leader.
//!
//! ```text
//! RoomSupervisor
//! ├─ RoomActor*         one per room that is on air or being removed
//! ├─ CopyWatch         this node's copy of the event ledger
//! └─ Elector            leader election; runs its children on the leader only
//!    ├─ Housekeeper     removal of expired and orphaned rooms
//!    ├─ SchedulerActor  start of rooms at their `startsAt`
//!    ├─ FailoverActor    failover of rooms whose Janus or mixer is lost
//!    ├─ Reporter         events of anchors who join and leave, and of recordings that are ready
//!    └─ WebhookSupervisor
//!       └─ WebhookActor*  one per endpoint; delivers events to it
//! ```

pub mod elector;
pub mod failover;
pub mod housekeeper;
pub mod reporter;
pub mod room;
pub mod scheduler;
pub mod supervisor;
pub mod webhook;
pub mod webhooks;

use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ages::Ages;

/// [`Ages`] of the rooms that this node sees. They outlive the actors that use them.
#[derive(Debug, Clone, Default)]
pub struct SharedAges(Arc<Mutex<Ages>>);

impl SharedAges {
    pub fn with<T>(&self, look: impl FnOnce(&mut Ages) -> T) -> T {
        // At worst, a panic under the lock makes one room's clock start again.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

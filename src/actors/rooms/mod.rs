//! Role `rooms`: rooms that are backstage, on air or being removed.
//!
//! ```text
//! RoomSupervisor
//! ├─ RoomActor*   one per room that is backstage, on air or being removed
//! ├─ LedgerWatch  this node's copy of the event ledger
//! └─ Elector      leader election, in `actors/leader`
//! ```

pub mod room;
pub mod supervisor;

use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ages::Ages;

/// [`Ages`] of the rooms that this node sees. They outlive the actors that use them.
#[derive(Debug, Clone, Default)]
pub struct SharedAges(Arc<Mutex<Ages>>);

impl SharedAges {
    pub fn with<T>(&self, look: impl FnOnce(&mut Ages) -> T) -> T {
        // The worst effect of a panic under the lock is that the clock of one room starts again.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

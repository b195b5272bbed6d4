//! Starts that are decided but not yet visible in the directory.
//!
//! If they were not counted, a hundred rooms started at once would all see the same load and exceed a
//! module's capacity. Because they are counted, the load is exact on one node. Between nodes, its precision
//! depends on the delay of their watches.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::domain::ids::RoomId;
use crate::domain::keys::ModuleKind;
use crate::domain::placement::{Load, Placement, RandomPair, pick};
use crate::domain::room::StartDenied;

use super::Directory;

#[derive(Debug, Default)]
pub(super) struct PendingStarts {
    placed: Mutex<HashMap<RoomId, PendingPlacement>>,
}

#[derive(Debug)]
struct PendingPlacement {
    placement: Placement,
    holders: usize,
}

/// Guard that counts the room's placement until it is dropped.
pub(super) struct PendingStart<'a> {
    all: &'a PendingStarts,
    room: RoomId,
    placed: bool,
}

impl PendingStarts {
    pub fn hold(&self, room: RoomId) -> PendingStart<'_> {
        PendingStart { all: self, room, placed: false }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RoomId, PendingPlacement>> {
        self.placed.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl PendingStart<'_> {
    /// Picks a Janus instance and a mixer. Concurrent starts of the same room get the same placement: only
    /// one of them will be written.
    ///
    /// # Errors
    /// No Janus instance or no mixer can take the room.
    pub fn place(
        &mut self,
        directory: &Directory,
        random: [RandomPair; 2],
    ) -> Result<Placement, StartDenied> {
        let mut placed = self.all.lock();
        if let Some(known) = placed.get_mut(&self.room) {
            known.holders += usize::from(!std::mem::replace(&mut self.placed, true));
            return Ok(known.placement.clone());
        }
        let modules = directory.modules();
        let choose = |kind, random| {
            pick(kind, &modules, &load(kind, directory, &placed), random)
                .map_err(|refused| StartDenied::not_pickable(kind, refused))
        };
        let placement =
            Placement::of(choose(ModuleKind::Janus, random[0])?, choose(ModuleKind::Mixer, random[1])?);
        self.placed = true;
        placed.insert(self.room.clone(), PendingPlacement { placement: placement.clone(), holders: 1 });
        Ok(placement)
    }
}

impl Drop for PendingStart<'_> {
    fn drop(&mut self) {
        if !self.placed {
            return;
        }
        let mut placed = self.all.lock();
        if let Some(known) = placed.get_mut(&self.room) {
            known.holders -= 1;
            if known.holders == 0 {
                placed.remove(&self.room);
            }
        }
    }
}

/// Returns the load that the directory shows, plus the starts that the directory does not show yet.
fn load(kind: ModuleKind, directory: &Directory, placed: &HashMap<RoomId, PendingPlacement>) -> Load {
    let mut load = directory.load(kind);
    for (room, PendingPlacement { placement, .. }) in placed {
        if directory.room(room).is_some_and(|view| view.live.is_some()) {
            continue;
        }
        let id = match kind {
            ModuleKind::Janus => &placement.janus_id,
            ModuleKind::Mixer => &placement.mixer_id,
        };
        *load.entry(id.clone()).or_default() += 1;
    }
    load
}

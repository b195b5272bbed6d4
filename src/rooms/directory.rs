//! The cluster cache: this node's copy of all rooms and modules, updated by the store's watches.
//!
//! Readers take one room, or a snapshot of all rooms or all modules (one reference count). A change copies
//! the map only while a reader holds a snapshot of it, so ten thousand rooms cost no more per event than ten.
//! Values are behind `Arc`, so a copy shares them. The load per module is updated with each change, so a
//! placement need not count rooms.
//!
//! Owns: the cache and the revision that it has reached. Does not watch (a `StoreWatch` actor updates it
//! through a [`WatchApplier`](super::WatchApplier)), or write to the store.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::ids::{ModuleId, RoomId};
use crate::domain::keys::{self, ModuleKind};
use crate::domain::placement::{Load, assigned};
use crate::domain::profile::RoomFilter;
use crate::domain::view::{ModuleView, Modules, RoomView, Rooms};
use crate::store::Revision;

use super::{Page, StoreChange};

/// Watched prefix. The revisions of two prefixes advance independently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    Rooms,
    Modules(ModuleKind),
}

/// Cluster cache of all rooms and modules.
#[derive(Debug)]
pub struct Directory {
    known: RwLock<DirectoryState>,
    /// Revision reached per scope; `None` until the first complete list.
    seen: [watch::Sender<Option<Revision>>; 3],
}

#[derive(Debug, Default)]
struct DirectoryState {
    rooms: Arc<Rooms>,
    modules: Arc<Modules>,
    load: [Load; 2],
    odd: Arc<BTreeMap<String, &'static str>>,
}

impl Scope {
    pub const ALL: [Self; 3] =
        [Self::Rooms, Self::Modules(ModuleKind::Janus), Self::Modules(ModuleKind::Mixer)];

    /// Returns the prefix to watch.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Rooms => keys::ROOMS,
            Self::Modules(kind) => kind.prefix(),
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Rooms => 0,
            Self::Modules(ModuleKind::Janus) => 1,
            Self::Modules(ModuleKind::Mixer) => 2,
        }
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self { known: RwLock::default(), seen: std::array::from_fn(|_| watch::Sender::new(None)) }
    }
}

impl Directory {
    /// Returns a snapshot of all rooms. Hold it briefly: a change while it is held copies the map.
    pub fn rooms(&self) -> Arc<Rooms> {
        self.read().rooms.clone()
    }

    /// Returns a snapshot of all modules.
    pub fn modules(&self) -> Arc<Modules> {
        self.read().modules.clone()
    }

    /// Returns one room; `None` if the cache has none of its keys.
    pub fn room(&self, id: &RoomId) -> Option<Arc<RoomView>> {
        self.read().rooms.get(id).cloned()
    }

    /// Returns one module; `None` if the cache has none of its keys.
    pub fn module(&self, kind: ModuleKind, id: &ModuleId) -> Option<Arc<ModuleView>> {
        self.read().modules.get(&(kind, id.clone())).cloned()
    }

    /// Returns the number of rooms per module, `removing` rooms included.
    pub fn load(&self, kind: ModuleKind) -> Load {
        self.read().load[load_index(kind)].clone()
    }

    /// Returns the rooms that these changes affect: rooms that changed themselves, and rooms assigned to a
    /// module that changed.
    pub fn affected_by(&self, changes: &[StoreChange]) -> BTreeSet<RoomId> {
        let mut rooms = BTreeSet::new();
        let mut modules = BTreeSet::new();
        for change in changes {
            match change {
                StoreChange::Room(room) => drop(rooms.insert(room.clone())),
                StoreChange::Module(kind, id) => drop(modules.insert((*kind, id))),
            }
        }
        if !modules.is_empty() {
            let known = self.rooms();
            let has_changed = |(kind, id): (ModuleKind, &ModuleId)| modules.contains(&(kind, id));
            let with_one = known.iter().filter(|(_, view)| view.modules().any(has_changed));
            rooms.extend(with_one.map(|(room, _)| room.clone()));
        }
        rooms
    }

    /// Returns keys that are not ours and keys whose value cannot be read, each with the problem.
    pub fn invalid_keys(&self) -> Arc<BTreeMap<String, &'static str>> {
        self.read().odd.clone()
    }

    /// Returns the first rooms after `after` that pass the filter, at most `limit` of them.
    pub fn page(&self, after: Option<&RoomId>, limit: usize, filter: &RoomFilter) -> Page {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        // Snapshots are used because a filter may examine many rooms: a lock would delay changes.
        let (known, modules) = (self.rooms(), self.modules());
        let fits = |id: &RoomId, view: &RoomView| {
            view.meta.as_ref().is_some_and(|meta| filter.fits(id, &meta.profile))
        };
        let mut rooms: Vec<_> = known
            .range::<RoomId, _>((from, Bound::Unbounded))
            .filter(|(id, view)| fits(id, view))
            .filter_map(|(id, view)| super::Room::of(id.clone(), view.clone(), &modules))
            .filter(|room| filter.status.is_none_or(|status| status == room.status))
            .take(limit.saturating_add(1))
            .collect();
        let more = rooms.len() > limit;
        rooms.truncate(limit);
        Page { next: rooms.last().filter(|_| more).map(|room| room.id.clone()), rooms }
    }

    /// Returns the store revision that this node has reached; `None` before the first complete list.
    pub fn revision_seen(&self, scope: Scope) -> Option<Revision> {
        *self.seen[scope.index()].borrow()
    }

    /// Returns the newest store revision that any watch has reached.
    pub fn newest_revision(&self) -> Option<Revision> {
        Scope::ALL.into_iter().filter_map(|scope| self.revision_seen(scope)).max()
    }

    /// Returns true if every prefix was listed at least once, so that an absent entry really does not exist.
    pub fn is_listed(&self) -> bool {
        Scope::ALL.into_iter().all(|scope| self.revision_seen(scope).is_some())
    }

    /// Waits until this node has reached `revision`. Returns false if it has not within `deadline`.
    pub async fn seen(&self, scope: Scope, revision: Revision, deadline: Duration) -> bool {
        let mut seen = self.seen[scope.index()].subscribe();
        let caught_up = seen.wait_for(|seen| seen.is_some_and(|at| at >= revision));
        matches!(tokio::time::timeout(deadline, caught_up).await, Ok(Ok(_)))
    }

    /// Sets the revision after a complete list. It may be lower than before, if a backup of the store was
    /// restored.
    pub(super) fn listed(&self, scope: Scope, revision: Revision) {
        self.seen[scope.index()].send_replace(Some(revision));
    }

    pub(super) fn progressed(&self, scope: Scope, revision: Revision) {
        self.seen[scope.index()].send_if_modified(|seen| match *seen {
            Some(at) if at < revision => {
                *seen = Some(revision);
                true
            }
            _ => false,
        });
    }

    pub(super) fn set_odd(&self, key: &str, what: Option<&'static str>) {
        let mut known = self.write();
        let odd = Arc::make_mut(&mut known.odd);
        match what {
            Some(what) => odd.insert(key.to_owned(), what),
            None => odd.remove(key),
        };
    }

    /// Sets a room; an empty view removes the room. Returns false if nothing changed.
    pub(crate) fn set_room(&self, id: &RoomId, view: RoomView) -> bool {
        self.write().set_room(id, view)
    }

    pub(crate) fn set_module(&self, kind: ModuleKind, id: &ModuleId, view: ModuleView) -> bool {
        self.write().set_module(kind, id, view)
    }

    /// Replaces all rooms at once. Returns the rooms that changed.
    pub(super) fn replace_rooms(&self, listed: impl IntoIterator<Item = (RoomId, RoomView)>) -> Vec<RoomId> {
        let mut known = self.write();
        let mut gone: BTreeSet<_> = known.rooms.keys().cloned().collect();
        let mut changed = Vec::new();
        for (id, view) in listed {
            gone.remove(&id);
            if known.set_room(&id, view) {
                changed.push(id);
            }
        }
        changed.extend(gone.into_iter().inspect(|id| {
            known.set_room(id, RoomView::default());
        }));
        changed
    }

    /// Replaces all modules of a kind at once. Returns the modules that changed.
    pub(super) fn replace_modules(
        &self,
        kind: ModuleKind,
        listed: impl IntoIterator<Item = (ModuleId, ModuleView)>,
    ) -> Vec<ModuleId> {
        let mut known = self.write();
        let of_kind = known.modules.keys().filter(|(k, _)| *k == kind);
        let mut gone: BTreeSet<_> = of_kind.map(|(_, id)| id.clone()).collect();
        let mut changed = Vec::new();
        for (id, view) in listed {
            gone.remove(&id);
            if known.set_module(kind, &id, view) {
                changed.push(id);
            }
        }
        changed.extend(gone.into_iter().inspect(|id| {
            known.set_module(kind, id, ModuleView::default());
        }));
        changed
    }

    fn read(&self) -> RwLockReadGuard<'_, DirectoryState> {
        // No code that can panic runs under the lock, and each change is complete in itself.
        self.known.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, DirectoryState> {
        self.known.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl DirectoryState {
    fn set_room(&mut self, id: &RoomId, view: RoomView) -> bool {
        let old = self.rooms.get(id).cloned();
        if old.as_deref().map_or(view.is_empty(), |old| *old == view) {
            return false;
        }
        self.count(old.as_deref(), |load| load.saturating_sub(1));
        self.count(Some(&view), |load| load + 1);
        let rooms = Arc::make_mut(&mut self.rooms);
        match view.is_empty() {
            true => rooms.remove(id),
            false => rooms.insert(id.clone(), Arc::new(view)),
        };
        true
    }

    fn set_module(&mut self, kind: ModuleKind, id: &ModuleId, view: ModuleView) -> bool {
        let key = (kind, id.clone());
        if self.modules.get(&key).map_or(view.is_empty(), |old| **old == view) {
            return false;
        }
        let modules = Arc::make_mut(&mut self.modules);
        match view.is_empty() {
            true => modules.remove(&key),
            false => modules.insert(key, Arc::new(view)),
        };
        true
    }

    fn count(&mut self, room: Option<&RoomView>, change: impl Fn(u32) -> u32) {
        let Some(live) = room.and_then(|room| room.live.as_ref()) else { return };
        for kind in ModuleKind::ALL {
            let load = &mut self.load[load_index(kind)];
            let rooms = load.entry(assigned(kind, live).clone()).or_default();
            *rooms = change(*rooms);
            if *rooms == 0 {
                load.remove(assigned(kind, live));
            }
        }
    }
}

fn load_index(kind: ModuleKind) -> usize {
    match kind {
        ModuleKind::Janus => 0,
        ModuleKind::Mixer => 1,
    }
}

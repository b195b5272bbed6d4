//! Applies watch events to the [`Directory`]: one [`WatchApplier`] per watched prefix.
//!
//! A list is collected separately and applied as a whole at its end, so readers never see half of it. Keys
//! that the list does not contain are removed. Only differences are reported as changed, so that the relist
//! every minute wakes no actor. Keys that are not ours are ignored. If a value cannot be read, the last
//! readable value stays and the key is flagged in the view. Both cases are reported once, by key and never by
//! content.
//!
//! Owns: the list in progress. Does not decide what a change means.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ipnet::IpNet;

use crate::domain::ids::{ModuleId, RoomId};
use crate::domain::keys::{self, ModuleKind, ModulePart, RoomKey};
use crate::domain::view::{MalformedValue, ModuleView, RoomView};
use crate::store::Revision;

use super::{Directory, Scope};

/// Entry of the directory that has changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StoreChange {
    Room(RoomId),
    Module(ModuleKind, ModuleId),
}

/// Writer of one scope's watch events to the directory.
#[derive(Debug)]
pub struct WatchApplier {
    directory: Arc<Directory>,
    scope: Scope,
    /// Networks in which the addresses of modules must be; empty: see
    /// [`may_be_node`](crate::domain::outbound::may_be_node).
    networks: Vec<IpNet>,
    listing: Option<Listing>,
    /// Keys that were reported as not ours or malformed and are not fixed yet.
    reported: HashSet<String>,
}

#[derive(Debug, Default)]
struct Listing {
    rooms: BTreeMap<RoomId, RoomView>,
    modules: BTreeMap<ModuleId, ModuleView>,
    keys: HashSet<String>,
}

enum Part {
    Room(RoomId, RoomKey),
    Module(ModuleKind, ModuleId, ModulePart),
}

impl WatchApplier {
    /// Creates the applier of a scope. Must be called only once per scope: a second applier would undo the
    /// lists of the first.
    pub fn new(directory: Arc<Directory>, scope: Scope) -> Self {
        Self { directory, scope, networks: Vec::new(), listing: None, reported: HashSet::new() }
    }

    /// Sets the networks of the modules. The applier then refuses heartbeats with addresses outside them.
    pub fn within(self, networks: Vec<IpNet>) -> Self {
        Self { networks, ..self }
    }

    /// Begins a list. Drops the entries of an unfinished list.
    pub fn begin_init(&mut self) {
        self.listing = Some(Listing::default());
    }

    /// Applies a put. Returns `None` during a list, and if no actor is concerned: nothing changed, the key is
    /// invalid, or only a listener count changed.
    pub fn put(&mut self, key: &str, value: &[u8], mod_revision: Revision) -> Option<StoreChange> {
        if let Some(listing) = &mut self.listing {
            listing.keys.insert(key.to_owned());
        }
        self.apply(key, Some((value, mod_revision)))
    }

    pub fn delete(&mut self, key: &str) -> Option<StoreChange> {
        self.forgive(key);
        self.apply(key, None)
    }

    /// Applies the complete list, as of `revision`. Returns the entries that changed.
    pub fn end_init(&mut self, revision: Revision) -> Vec<StoreChange> {
        let Some(listing) = self.listing.take() else { return Vec::new() };
        for gone in self.reported.extract_if(|key| !listing.keys.contains(key)) {
            self.directory.set_odd(&gone, None);
        }
        let changed = match self.scope {
            Scope::Rooms => {
                let changed = self.directory.replace_rooms(listing.rooms);
                changed.into_iter().map(StoreChange::Room).collect()
            }
            Scope::Modules(kind) => {
                let changed = self.directory.replace_modules(kind, listing.modules);
                changed.into_iter().map(|id| StoreChange::Module(kind, id)).collect()
            }
        };
        self.directory.listed(self.scope, revision);
        changed
    }

    /// Records that every change up to `revision` has been applied.
    pub fn progress(&mut self, revision: Revision) {
        self.directory.progressed(self.scope, revision);
    }

    fn apply(&mut self, key: &str, change: Option<(&[u8], Revision)>) -> Option<StoreChange> {
        let Some(part) = self.parse(key) else {
            self.report(key, change.is_none(), "the key is not one of ours");
            return None;
        };
        let (result, changed) = match (part, &mut self.listing) {
            (Part::Room(id, key), Some(listing)) => {
                let view = listing.rooms.entry(id.clone()).or_default();
                let result = view.apply(key.clone(), change);
                if let (Err(_), Some(known)) = (&result, self.directory.room(&id)) {
                    view.keep(&key, &known);
                }
                (result, None)
            }
            (Part::Module(kind, id, part), Some(listing)) => {
                let view = listing.modules.entry(id.clone()).or_default();
                let result = view.apply_within(part, change, &self.networks);
                if let (Err(_), Some(known)) = (&result, self.directory.module(kind, &id)) {
                    view.keep(part, &known);
                }
                (result, None)
            }
            (Part::Room(id, key), None) => self.apply_room(id, key, change),
            (Part::Module(kind, id, part), None) => self.apply_module(kind, id, part, change),
        };
        self.report(
            key,
            result.is_ok(),
            "the value cannot be read, or has an address outside node.networks; nothing that depends on it \
             is changed",
        );
        changed
    }

    fn apply_room(&self, id: RoomId, key: RoomKey, change: Change<'_>) -> AppliedChange {
        let mut view = self.directory.room(&id).map_or_else(RoomView::default, Arc::unwrap_or_clone);
        let result = view.apply(key, change);
        let changed = self.directory.set_room(&id, view);
        (result, changed.then_some(StoreChange::Room(id)))
    }

    fn apply_module(
        &self,
        kind: ModuleKind,
        id: ModuleId,
        part: ModulePart,
        change: Change<'_>,
    ) -> AppliedChange {
        let view = self.directory.module(kind, &id);
        let mut view = view.map_or_else(ModuleView::default, Arc::unwrap_or_clone);
        let result = view.apply_within(part, change, &self.networks);
        let changed = self.directory.set_module(kind, &id, view);
        // A changed listener count wakes no actor: the actors that need the count read it at intervals.
        let is_news = changed && part != ModulePart::Listeners;
        (result, is_news.then_some(StoreChange::Module(kind, id)))
    }

    fn parse(&self, key: &str) -> Option<Part> {
        match self.scope {
            Scope::Rooms => keys::parse_room(key).map(|(id, key)| Part::Room(id, key)),
            Scope::Modules(wanted) => keys::parse_module(key)
                .filter(|(kind, ..)| *kind == wanted)
                .map(|(kind, id, part)| Part::Module(kind, id, part)),
        }
    }

    /// Reports a bad key once, and clears the report if the key is fine. `what` is a fixed text, because the
    /// parser's error would quote the value, which may hold a pin.
    fn report(&mut self, key: &str, fine: bool, what: &'static str) {
        if fine {
            self.forgive(key);
        } else if self.reported.insert(key.to_owned()) {
            tracing::warn!(key, "{what}");
            self.directory.set_odd(key, Some(what));
        }
    }

    fn forgive(&mut self, key: &str) {
        if self.reported.remove(key) {
            self.directory.set_odd(key, None);
        }
    }
}

type Change<'a> = Option<(&'a [u8], Revision)>;
type AppliedChange = (Result<(), MalformedValue>, Option<StoreChange>);

#[cfg(test)]
#[path = "watch_applier_tests.rs"]
mod tests;

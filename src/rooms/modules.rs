//! Modules as operators see them: cordon labels, load, and the reason why a module accepts no rooms.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::failover::DrainedLabel;
use crate::domain::ids::ModuleId;
use crate::domain::keys::{self, ModuleKind, ModulePart};
use crate::domain::model::{Health, Heartbeat, Mark, MarkLabel};
use crate::domain::placement::{RejectReason, load_on, pickable};
use crate::domain::public_status::shown;
use crate::domain::room::RoomStatus;
use crate::store::{KeyValue, Revision, Store, Txn, TxnOutcome};

use super::{LeaderGuard, READ_YOUR_WRITES, RoomError, RoomService, Scope, txn, writes};

/// Module with its load, for operators.
#[derive(Debug, Clone)]
pub struct ModuleInfo {
    pub kind: ModuleKind,
    pub id: ModuleId,
    /// `None`: only the module's cordon label is left.
    pub heartbeat: Option<Heartbeat>,
    pub mark: Option<MarkLabel>,
    /// Number of rooms assigned to the module, `removing` rooms included.
    pub load: u32,
    /// Number of rooms still to be moved, for a module that is being drained or has been drained.
    pub rooms_left: Option<u32>,
    /// Reason why the module accepts no rooms; `None`: it accepts rooms.
    pub refuses: Option<RejectReason>,
}

/// Numbers of rooms per status, and numbers of modules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    pub rooms: BTreeMap<RoomStatus, usize>,
    pub januses: ModuleStats,
    pub mixers: ModuleStats,
}

/// Numbers of the modules of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModuleStats {
    pub known: usize,
    pub healthy: usize,
    /// Number of modules that can take another room.
    pub pickable: usize,
    /// Total capacity of the healthy modules.
    pub capacity: u64,
    pub load: u64,
}

impl RoomService {
    /// Returns all modules in this node's directory, Janus instances before mixers.
    pub fn modules(&self) -> Vec<ModuleInfo> {
        let load = ModuleKind::ALL.map(|kind| (kind, self.directory.load(kind)));
        let load_of = |kind: ModuleKind, id: &ModuleId| {
            load.iter().find(|(k, _)| *k == kind).map_or(0, |(_, load)| load_on(load, id))
        };
        let modules = self.directory.modules();
        modules
            .iter()
            .map(|((kind, id), view)| {
                let load = load_of(*kind, id);
                ModuleInfo {
                    kind: *kind,
                    id: id.clone(),
                    heartbeat: view.heartbeat.as_ref().map(|h| h.value.clone()),
                    mark: view.mark.as_ref().map(|m| m.label),
                    load,
                    rooms_left: view.mark.as_ref().filter(|m| is_drain(m.label)).map(|_| load),
                    refuses: pickable(view, load).err(),
                }
            })
            .collect()
    }

    /// Counts the rooms and modules in this node's directory.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        let modules = self.directory.modules();
        for shown in self.directory.rooms().values().filter_map(|room| shown(room, &modules)) {
            *stats.rooms.entry(shown.status).or_default() += 1;
        }
        for module in self.modules() {
            match module.kind {
                ModuleKind::Janus => stats.januses.add(&module),
                ModuleKind::Mixer => stats.mixers.add(&module),
            }
        }
        stats
    }

    /// Sets the cordon label of a module that has a key in the store. With a `ttl` (whole seconds), the
    /// label expires.
    ///
    /// # Errors
    /// [`RoomError::ModuleNotFound`], or a store error.
    pub async fn set_mark(
        &self,
        kind: ModuleKind,
        id: &ModuleId,
        label: MarkLabel,
        ttl: Option<Duration>,
    ) -> Result<(), RoomError> {
        self.known(kind, id).await?;
        let key = keys::module(kind, id, ModulePart::Mark);
        let revision = match ttl {
            None => self.store.put(&key, txn::json(&Mark { label, lease: None })).await?,
            Some(ttl) => put_for(&*self.store, key, label, ttl).await?,
        };
        self.directory.seen(Scope::Modules(kind), revision, READ_YOUR_WRITES).await;
        Ok(())
    }

    /// Labels a module without rooms as drained. Returns false and writes nothing if its cordon label has
    /// changed since the decision, or if this node is no longer the leader.
    pub async fn mark_drained(&self, guard: &LeaderGuard, module: &DrainedLabel) -> Result<bool, RoomError> {
        let txn = writes::drained(guard, module);
        let TxnOutcome::Committed(revision) = self.store.txn(txn).await? else { return Ok(false) };
        tracing::info!(module = module.kind.as_str(), id = %module.id, "module drained");
        self.directory.seen(Scope::Modules(module.kind), revision, READ_YOUR_WRITES).await;
        Ok(true)
    }

    /// Removes the cordon label, if there is one, so that the module is `ready` again.
    ///
    /// # Errors
    /// [`RoomError::ModuleNotFound`], or a store error.
    pub async fn clear_mark(&self, kind: ModuleKind, id: &ModuleId) -> Result<(), RoomError> {
        let key = keys::module(kind, id, ModulePart::Mark);
        // Deleting an absent key is no change, so no watch would ever show its revision.
        if !self.known(kind, id).await?.iter().any(|entry| entry.key == key) {
            return Ok(());
        }
        let revision = self.store.delete(&key).await?;
        self.directory.seen(Scope::Modules(kind), revision, READ_YOUR_WRITES).await;
        Ok(())
    }

    /// Returns the keys of a module, such as its heartbeat and its cordon label. The label can outlive the
    /// heartbeat.
    ///
    /// # Errors
    /// [`RoomError::ModuleNotFound`] if there is no key, or a store error.
    async fn known(&self, kind: ModuleKind, id: &ModuleId) -> Result<Vec<KeyValue>, RoomError> {
        let listed = self.store.list(&format!("{}{id}/", kind.prefix())).await?;
        if listed.entries.is_empty() { Err(RoomError::ModuleNotFound) } else { Ok(listed.entries) }
    }
}

/// Writes a cordon label under a lease that is not kept alive: the label expires with it.
async fn put_for(
    store: &dyn Store,
    key: String,
    label: MarkLabel,
    ttl: Duration,
) -> Result<Revision, RoomError> {
    let lease = store.grant(ttl).await?;
    let value = txn::json(&Mark { label, lease: Some(lease.0) });
    match store.txn(Txn::new().put_leased(key, value, lease)).await? {
        TxnOutcome::Committed(revision) => Ok(revision),
        TxnOutcome::Conflict => Err(RoomError::Busy),
    }
}

fn is_drain(label: MarkLabel) -> bool {
    matches!(label, MarkLabel::Draining | MarkLabel::Drained)
}

impl ModuleStats {
    fn add(&mut self, module: &ModuleInfo) {
        let capacity = match &module.heartbeat {
            Some(heartbeat) if heartbeat.status == Health::Healthy => Some(heartbeat.capacity),
            _ => None,
        };
        self.known += 1;
        self.healthy += usize::from(capacity.is_some());
        self.pickable += usize::from(module.refuses.is_none());
        self.capacity += u64::from(capacity.unwrap_or(0));
        self.load += u64::from(module.load);
    }
}

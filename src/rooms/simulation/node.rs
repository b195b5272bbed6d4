//! One node: its roles, its view of the store, and the events under way to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::beat::Beat;
use super::gateways::GatewaySide;
use super::house::House;
use super::januses::JanusSide;
use super::mixers::MixerSide;
use super::relays::Relays;
use super::watch::Watch;
use super::world::Event;
use crate::domain::failover::RoomMove;
use crate::domain::ids::{ModuleId, RoomId};
use crate::domain::keys::ModuleKind;
use crate::domain::mixer_room::StoreEffect;
use crate::domain::model::JanusState;
use crate::domain::view::RoomView;
use crate::rooms::Directory;
use crate::store::Txn;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vital {
    Up,
    /// The node does nothing; events for it wait.
    Frozen,
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    pub janus: bool,
    /// True if the Janus instance outlives the node's process.
    pub external: bool,
    pub mixer: bool,
    pub rooms: bool,
    pub hls: bool,
    pub gateway: bool,
}

pub struct Node {
    pub id: ModuleId,
    pub roles: Roles,
    /// Number of the node's current process. Events for earlier processes are lost.
    pub life: u32,
    pub vital: Vital,
    /// True while the node cannot reach the store.
    pub cut: bool,
    pub directory: Arc<Directory>,
    pub watches: Vec<Watch>,
    pub store_up: bool,
    pub asked: BTreeMap<u64, Requester>,
    pub parked: Vec<Event>,
    pub timers: BTreeMap<TimedPart, Duration>,
    pub janus: Option<JanusSide>,
    pub mixer: Option<MixerSide>,
    pub house: Option<House>,
    pub relays: Option<Relays>,
    pub gateway: Option<GatewaySide>,
}

/// Part of a node that has a timer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimedPart {
    Beat(ModuleKind),
    Elector,
    Team,
    Housekeeping,
    Janus(RoomId),
    Mixer(RoomId),
    Room(RoomId),
    Relay(RoomId),
    Gateway,
    Session(u64),
}

/// Part of a node that sent a request to the store, and the request's context. The numbers identify
/// incarnations of actors.
#[derive(Debug, Clone)]
pub enum Requester {
    Beat(ModuleKind),
    Elector { asked: Duration },
    JanusKey(RoomId, u64, Option<JanusState>),
    MixerStore(RoomId, u64, StoreEffect),
    Move { order: Box<RoomMove>, judged: Duration },
    Drained,
    Housekeeping,
    Removal(RoomId),
    User,
    Goodbye,
}

#[derive(Debug, Clone)]
pub enum StoreRequest {
    Txn(Txn),
    Grant,
    Keep(i64),
    Revoke(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Committed(i64),
    Conflict,
    Granted(i64),
    Done,
    LeaseGone,
    /// No answer arrived. The request was carried out, was lost, or will be carried out later.
    Silence,
}

impl Node {
    pub fn new(id: ModuleId, roles: Roles) -> Self {
        Self {
            id,
            roles,
            life: 0,
            vital: Vital::Dead,
            cut: false,
            directory: Arc::default(),
            watches: Vec::new(),
            store_up: false,
            asked: BTreeMap::new(),
            parked: Vec::new(),
            timers: BTreeMap::new(),
            janus: None,
            mixer: None,
            house: None,
            relays: None,
            gateway: None,
        }
    }

    pub fn incarnation(&self) -> String {
        format!("life-{}", self.life)
    }

    pub fn view(&self, room: &RoomId) -> Arc<RoomView> {
        self.directory.room(room).unwrap_or_default()
    }

    /// Returns the revision seen. Must be called before the view is read, as the actors do.
    pub fn as_of(&self) -> i64 {
        self.directory.revision_seen(crate::rooms::Scope::Rooms).unwrap_or_default()
    }

    pub fn rooms_listed(&self) -> bool {
        self.directory.revision_seen(crate::rooms::Scope::Rooms).is_some()
    }

    pub fn is_up(&self) -> bool {
        self.vital == Vital::Up
    }

    pub fn beat(&mut self, kind: ModuleKind) -> Option<&mut Beat> {
        match kind {
            ModuleKind::Janus => self.janus.as_mut().map(|side| &mut side.beat),
            ModuleKind::Mixer => self.mixer.as_mut().map(|side| &mut side.beat),
        }
    }
}

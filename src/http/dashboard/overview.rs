//! Snapshots for the dashboard: the rooms and modules of the installation as this node knows them, and the
//! details of one room.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use super::peers::{RemoteFigures, RoomFigures};
use super::since;
use crate::delivery::listener_counter::Listeners;
use crate::delivery::{Peers, Streams};
use crate::domain::ids::{ModuleId, RoomId, UnixMs, UserId};
use crate::domain::keys::ModuleKind;
use crate::domain::model::UserRole;
use crate::domain::public_status::missing;
use crate::domain::reported_anchors::reported;
use crate::domain::room::RoomStatus;
use crate::domain::schedule::StartTime;
use crate::domain::view::{Modules, RoomView};
use crate::http::anchors::{PresentUsers, members};
use crate::http::ops::{OpsSource, Readiness};
use crate::http::rest::ModuleBody;
use crate::presence::PresenceEntry;
use crate::rooms::{EventFilter, LedgerEvent, Room, RoomService, now};
use crate::store::Revision;
use crate::telemetry::history::Sample;

/// Maximum number of rooms in a snapshot. Rooms that are open or need attention come first.
const MOST_ROOMS: usize = 500;
/// Maximum number of events in the details of a room.
const EVENTS: usize = 20;

/// Function that returns which of the given users are talking in a room.
pub type TalkingUsers = dyn Fn(&RoomId, &[UserId]) -> BTreeSet<UserId> + Send + Sync;

/// Sources of the snapshots.
pub struct OverviewSources {
    pub me: ModuleId,
    pub started_at: UnixMs,
    pub rooms: Arc<RoomService>,
    pub listeners: Listeners,
    /// Streams of the rooms that this node mixes.
    pub streams: Arc<Streams>,
    /// `None` on a node without presence.
    pub anchors: Option<Arc<PresentUsers>>,
    pub talking: Box<TalkingUsers>,
    pub heartbeats: HeartbeatAges,
    /// Client of the other nodes; `None` if this node is alone.
    pub peers: Option<Peers>,
    pub remote: RemoteFigures,
}

/// For each module, the last change of its heartbeat that this node saw: revision and time of the change.
#[derive(Default)]
pub struct HeartbeatAges(Mutex<HashMap<(ModuleKind, ModuleId), (Revision, Instant)>>);

/// Snapshot of the installation.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overview {
    at: UnixMs,
    node: NodeLine,
    rooms: Vec<RoomLine>,
    /// Number of rooms left out because of [`MOST_ROOMS`].
    rooms_omitted: usize,
    modules: Vec<ModuleLine>,
    sample: Option<Sample>,
}

/// This node.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeLine {
    id: ModuleId,
    version: &'static str,
    started_at: UnixMs,
    ready: bool,
    /// Reasons why the node is not ready.
    problems: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RoomLine {
    id: RoomId,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    status: RoomStatus,
    /// Conditions that the room still waits for.
    reason: Option<String>,
    /// Start of the broadcast.
    started_at: Option<UnixMs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<StartTime>,
    janus: Option<ModuleId>,
    mixer: Option<ModuleId>,
    anchors: usize,
    talking: usize,
    listeners: usize,
    /// Figures of the node that mixes the room.
    #[serde(flatten)]
    figures: RoomFigures,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ModuleLine {
    kind: ModuleKind,
    #[serde(flatten)]
    module: ModuleBody,
    /// Time since this node last saw the heartbeat change.
    heartbeat_age_ms: Option<u64>,
}

/// Details of one room.
#[derive(Serialize)]
pub(super) struct RoomDetail {
    /// `None` if presence is unavailable.
    anchors: Option<Vec<AnchorLine>>,
    /// Latest events, the newest first; `None` if this node does not follow the event ledger.
    events: Option<Vec<Value>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnchorLine {
    id: UserId,
    name: Option<String>,
    role: UserRole,
    muted: bool,
    talking: bool,
}

impl OverviewSources {
    pub(super) fn overview(&self, node: &dyn OpsSource, sample: Option<Sample>) -> Overview {
        let (rooms, rooms_omitted) = self.room_lines(node);
        let ages = self.note_heartbeats();
        let modules = self.rooms.modules();
        let modules = modules.iter().map(|module| ModuleLine {
            kind: module.kind,
            module: ModuleBody::from(module),
            heartbeat_age_ms: ages.get(&(module.kind, module.id.clone())).copied(),
        });
        let Readiness { ready, checks } = node.ready();
        let problem = |(name, check): (String, Result<(), String>)| Some(format!("{name}: {}", check.err()?));
        Overview {
            at: now(),
            node: NodeLine {
                id: self.me.clone(),
                version: env!("CARGO_PKG_VERSION"),
                started_at: self.started_at,
                ready,
                problems: checks.into_iter().filter_map(problem).collect(),
            },
            rooms,
            rooms_omitted,
            modules: modules.collect(),
            sample,
        }
    }

    /// Returns the number of rooms that are on air or starting, and the number of listeners.
    pub(super) fn totals(&self) -> (usize, usize) {
        let on_air = [RoomStatus::OnAir, RoomStatus::Degraded, RoomStatus::Starting];
        let stats = self.rooms.stats();
        (on_air.iter().filter_map(|status| stats.rooms.get(status)).sum(), self.listeners.total())
    }

    /// Records the heartbeats that have changed. Returns the ages of all heartbeats, in milliseconds.
    pub(super) fn note_heartbeats(&self) -> HashMap<(ModuleKind, ModuleId), u64> {
        let modules = self.rooms.directory().modules();
        // A panic cannot leave a change half done, so a poisoned lock is usable.
        let mut seen = self.heartbeats.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|key, _| modules.contains_key(key));
        let mut ages = HashMap::new();
        for (key, view) in &*modules {
            let Some(heartbeat) = &view.heartbeat else { continue };
            let at = seen.entry(key.clone()).or_insert((0, Instant::now()));
            if at.0 != heartbeat.mod_revision {
                *at = (heartbeat.mod_revision, Instant::now());
            }
            ages.insert(key.clone(), at.1.elapsed().as_millis() as u64);
        }
        ages
    }

    fn room_lines(&self, node: &dyn OpsSource) -> (Vec<RoomLine>, usize) {
        let directory = self.rooms.directory();
        let modules = directory.modules();
        let known = directory.rooms();
        let mut rooms: Vec<_> =
            known.iter().filter_map(|(id, view)| Room::of(id.clone(), view.clone(), &modules)).collect();
        rooms.sort_by_key(|room| room.status == RoomStatus::Created);
        let omitted = rooms.len().saturating_sub(MOST_ROOMS);
        rooms.truncate(MOST_ROOMS);
        let mut mixes = node.mixes();
        (rooms.into_iter().map(|room| self.room_line(room, &modules, &mut mixes)).collect(), omitted)
    }

    fn room_line(&self, room: Room, modules: &Modules, mixes: &mut HashMap<String, Value>) -> RoomLine {
        let live = room.view.live.as_ref();
        let anchors: Vec<_> =
            reported(&room.view).map_or_else(Vec::new, |known| known.anchors.keys().cloned().collect());
        let figures = match live {
            Some(live) if live.mixer_id == self.me => self.figures_of(&room.id, &room.view, mixes),
            Some(_) => self.remote.of(&room.id).unwrap_or_default(),
            None => RoomFigures::default(),
        };
        RoomLine {
            title: room.meta.profile.title.as_ref().map(|title| title.as_str().to_owned()),
            status: room.status,
            reason: missing(&room.view, modules),
            started_at: live.and(room.meta.last_started_at),
            starts_at: room.view.starts_at(),
            janus: live.map(|live| live.janus_id.clone()),
            mixer: live.map(|live| live.mixer_id.clone()),
            talking: (self.talking)(&room.id, &anchors).len(),
            anchors: anchors.len(),
            listeners: self.listeners.of(&room.id, &room.view),
            figures,
            id: room.id,
        }
    }

    fn figures_of(&self, id: &RoomId, view: &RoomView, mixes: &mut HashMap<String, Value>) -> RoomFigures {
        let live = view.live.as_ref();
        let stream = live.and_then(|live| self.streams.of_live(id, &live.nonce));
        let newest = stream.and_then(|stream| stream.stats().last_part_at);
        RoomFigures { media_age_ms: newest.map(since), mix: mixes.remove(id.as_str()) }
    }

    /// Returns the figures of the rooms that this node mixes, by room.
    pub(super) fn figures(&self, node: &dyn OpsSource) -> HashMap<String, RoomFigures> {
        let (rooms, mut mixes) = (self.rooms.directory().rooms(), node.mixes());
        let mixed = |view: &RoomView| view.live.as_ref().is_some_and(|live| live.mixer_id == self.me);
        let mixed = rooms.iter().filter(|(_, view)| mixed(view));
        mixed.map(|(id, view)| (id.to_string(), self.figures_of(id, view, &mut mixes))).collect()
    }

    /// Returns the mixers that rooms are assigned to.
    pub(super) fn mixers(&self) -> BTreeSet<ModuleId> {
        let rooms = self.rooms.directory().rooms();
        rooms.values().filter_map(|view| Some(view.live.as_ref()?.mixer_id.clone())).collect()
    }

    /// Returns the reason why a room does not work fully, if there is one; `None` if there is no such room.
    pub(super) fn missing(&self, id: &RoomId) -> Option<Option<String>> {
        let directory = self.rooms.directory();
        directory.room(id).map(|view| missing(&view, &directory.modules()))
    }

    /// Returns the details of a room; `None` if there is no such room.
    pub(super) async fn room(&self, id: &RoomId) -> Option<RoomDetail> {
        self.rooms.directory().room(id)?;
        let present = members(self.anchors.as_deref(), id).await;
        let anchors = present.map(|present| {
            let users: Vec<_> = present.iter().map(|entry| entry.user_id.clone()).collect();
            let talking = (self.talking)(id, &users);
            let line = |PresenceEntry { user_id, display_name, role, muted, .. }| AnchorLine {
                talking: talking.contains(&user_id),
                id: user_id,
                name: display_name,
                role,
                muted,
            };
            present.into_iter().map(line).collect()
        });
        let ledger = self.rooms.ledger();
        let is_followed = ledger.state().borrow().revision.is_some();
        let filter = EventFilter { room: Some(id.clone()), kind: None };
        let events = is_followed.then(|| ledger.latest(&filter, EVENTS));
        let parsed = |event: &Arc<LedgerEvent>| serde_json::from_slice(&event.json).ok();
        Some(RoomDetail { anchors, events: events.map(|events| events.iter().filter_map(parsed).collect()) })
    }
}

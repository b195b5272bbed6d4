//! JSON bodies of requests and answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::model::{EndReason, Health, JanusStatus, MachineLoad, MarkLabel};
use crate::domain::profile::RoomProfile;
use crate::domain::recording::in_force;
use crate::domain::rewind::offered;
use crate::domain::room::RoomStatus;
use crate::http::extract::integer;
use crate::http::hls::{PLAYLIST_NAME, REWIND_NAME};
use crate::rooms::{ModuleInfo, ModuleStats, Room, Stats};

/// Room for which a listener token is requested.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TokenRequest {
    /// Id of the room.
    #[schema(pattern = "^[A-Za-z0-9_-]{3,32}$")]
    pub room_id: String,
    /// Id of the listener: the subject of the token. If absent or null, a random id is generated. A listener
    /// who comes to the stage speaks as the user with this id.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255)]
    pub user_id: Option<String>,
    /// Name that others see in the chat and among the raised hands: 1 to 64 visible characters. If absent or
    /// null, the listener is anonymous.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    pub name: Option<String>,
}

/// Cordon label (`mark`) to set on a module.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetMark {
    pub label: MarkLabel,
    /// Number of seconds after which the label is removed. If absent or null, the label stays.
    #[serde(default, deserialize_with = "integer")]
    #[schema(minimum = 1, maximum = 604_800)]
    pub ttl: Option<i64>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Lists only rooms with this status.
    #[serde(default)]
    #[param(pattern = "^(created|backstage|starting|onair|degraded|removing)$")]
    pub status: Option<String>,
    /// Lists only rooms with this tag.
    #[serde(default)]
    #[param(min_length = 1, max_length = 32)]
    pub tag: Option<String>,
    /// Lists only rooms of this owner.
    #[serde(default)]
    #[param(min_length = 1, max_length = 255)]
    pub owner: Option<String>,
    /// Lists only rooms with this text in their id, title, description or a tag. Case does not matter.
    #[serde(default)]
    #[param(min_length = 1, max_length = 100)]
    pub q: Option<String>,
    /// Lists only rooms after this id; the value of `next` of the previous page.
    #[serde(default)]
    #[param(pattern = "^[A-Za-z0-9_-]{3,32}$")]
    pub after: Option<String>,
    /// Rooms per page, as decimal digits; 100 if absent.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub limit: Option<String>,
}

/// State of a room.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Room)]
pub(super) struct RoomBody {
    /// Id of the room.
    room_id: String,
    /// PIN of the room.
    pin: String,
    /// URL of the room's playlist for listeners.
    hls_url: String,
    /// URL of the rewind playlist; absent if the room offers no rewind.
    #[serde(skip_serializing_if = "Option::is_none")]
    rewind_url: Option<String>,
    /// Maximum number of anchors in the room.
    max_anchors: u8,
    status: RoomStatus,
    /// Time at which the room was created.
    created_at: u64,
    /// Time of the latest start; absent if the room was never started.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<u64>,
    /// Reason why the latest broadcast or backstage ended: `stopped`, `max_duration`, `empty` or `other`.
    /// Absent if none has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    end_reason: Option<EndReason>,
    #[serde(flatten)]
    profile: RoomProfile,
    /// Number of the current assignment to a Janus instance and a mixer; it rises with each assignment.
    /// Absent while the room is not live.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    janus: Option<AssignedJanus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mixer: Option<AssignedMixer>,
    /// Id of the recording of the current broadcast; absent while it is not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<String>,
    /// Number of anchors in the room now, across all gateways; absent while presence is unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    anchors: Option<usize>,
    /// Number of listeners: those that requested the room's playlist from any node within the last ten
    /// seconds, and those of the plain stream. On a node that does not mix the room, the number is up to ten
    /// seconds older.
    listeners: usize,
}

/// Numbers of users in a room.
pub(super) struct RoomCounts {
    pub anchors: Option<usize>,
    pub listeners: usize,
}

/// Janus instance to which a room is assigned.
#[derive(Serialize, ToSchema)]
pub(super) struct AssignedJanus {
    /// Id of the Janus instance.
    id: String,
    /// `room_created`, `forwarding` or `not_forwarding`; absent until this Janus has the room, and while this
    /// Janus is not available.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    status: Option<JanusStatus>,
    /// Reason why this Janus instance was chosen; absent if a node of an earlier version chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Mixer to which a room is assigned.
#[derive(Serialize, ToSchema)]
pub(super) struct AssignedMixer {
    /// Id of the mixer.
    id: String,
    /// True if the mixer has taken the room, has not given it up, and is available.
    listening: bool,
    /// Reason why this mixer was chosen; absent if a node of an earlier version chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Answer with one room.
#[derive(Serialize, ToSchema)]
pub(super) struct RoomAnswer {
    /// Always true.
    success: bool,
    room: RoomBody,
}

/// Answer to the deletion of a room.
#[derive(Serialize, ToSchema)]
pub(super) struct DeleteAnswer {
    /// Always true.
    success: bool,
    /// The room that is being removed; absent if it held no resources and is gone already.
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<RoomBody>,
}

/// Page of the list of rooms.
#[derive(Serialize, ToSchema)]
pub(super) struct ListAnswer {
    /// Always true.
    pub success: bool,
    /// Rooms of this page, ordered by id.
    pub rooms: Vec<RoomBody>,
    /// Value of `after` for the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Answer with a listener token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListenerTokenAnswer {
    /// Always true.
    pub success: bool,
    /// Token for the playlist, media and keys of the room.
    pub token: String,
    /// Time at which the token expires.
    pub expires_at: u64,
    /// URL of the page for listening. The token is in the fragment, which browsers never send to a server.
    pub listen_url: String,
    /// Id of the listener, which is the subject of the token: the id in the request, or a random one.
    pub user_id: String,
    /// Id of the listener in the listener channel of the room.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    pub person_id: String,
}

/// Answer with a replay token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenAnswer {
    /// Always true.
    pub success: bool,
    /// Token for the playlist, keys and file of the recording.
    pub token: String,
    /// Time at which the token expires.
    pub expires_at: u64,
    /// Link to the replay page, with the token.
    pub replay_url: String,
}

/// Answer to a request that returns no data.
#[derive(Serialize, ToSchema)]
#[schema(as = Done)]
pub(in crate::http) struct DoneAnswer {
    /// Always true.
    success: bool,
}

/// State of a Janus instance or mixer.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Module)]
pub(in crate::http) struct ModuleBody {
    /// Id of the module.
    id: String,
    /// `healthy` or `unhealthy`; absent if the module is gone and only its cordon label (`mark`) remains.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    status: Option<Health>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Maximum number of rooms the module accepts.
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<MarkLabel>,
    /// Number of rooms assigned to the module, including rooms that are being removed.
    load: u32,
    /// Average CPU load of the module's machine; absent until measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    machine_load: Option<MachineLoad>,
    /// Number of rooms that must still move to other modules; present while the cordon label (`mark`) is
    /// `draining` or `drained`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms_left: Option<u32>,
    /// True if the module accepts another room.
    pickable: bool,
    /// Reason why the module is not pickable; absent if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Answer with all known modules.
#[derive(Serialize, ToSchema)]
pub(super) struct ModulesAnswer {
    /// Always true.
    pub success: bool,
    /// Known Janus instances.
    pub januses: Vec<ModuleBody>,
    /// Known mixers.
    pub mixers: Vec<ModuleBody>,
}

/// Totals, as the answering node sees them.
#[derive(Serialize, ToSchema)]
pub(super) struct StatsAnswer {
    /// Always true.
    success: bool,
    rooms: RoomStats,
    /// Number of listeners of all rooms.
    listeners: usize,
    januses: FleetStats,
    mixers: FleetStats,
}

/// Number of rooms, in total and by status.
#[derive(Serialize, ToSchema)]
pub(super) struct RoomStats {
    total: usize,
    created: usize,
    backstage: usize,
    starting: usize,
    onair: usize,
    degraded: usize,
    removing: usize,
}

/// Totals of all Janus instances or of all mixers.
#[derive(Serialize, ToSchema)]
pub(super) struct FleetStats {
    /// Number of known modules.
    known: usize,
    /// Number of healthy modules.
    healthy: usize,
    /// Number of modules that accept another room.
    pickable: usize,
    /// Sum of the capacities of the healthy modules.
    capacity: u64,
    /// Number of rooms assigned to the modules.
    load: u64,
}

impl RoomBody {
    /// Builds the body of a room. `hls_base` is the base of the URLs given to listeners, `rewind` is
    /// `hls.rewind`.
    pub fn of(room: &Room, (hls_base, rewind): (&str, Duration), counts: RoomCounts) -> Self {
        let (meta, live) = (&room.meta, room.view.live.as_ref());
        let hls_url = format!("{hls_base}{}", meta.hls_path);
        let rewind_url = hls_url.strip_suffix(PLAYLIST_NAME).map(|folder| format!("{folder}{REWIND_NAME}"));
        Self {
            room_id: room.id.to_string(),
            pin: meta.pin.reveal().to_owned(),
            hls_url,
            rewind_url: rewind_url.filter(|_| offered(&room.view, rewind).is_some()),
            max_anchors: meta.max_anchors,
            status: room.status,
            created_at: meta.created_at.0,
            started_at: meta.last_started_at.map(|at| at.0),
            end_reason: meta.last_end,
            profile: (*meta.profile).clone(),
            epoch: live.map(|l| l.epoch.0),
            janus: live.map(|l| AssignedJanus {
                id: l.janus_id.to_string(),
                status: room.janus,
                reason: l.placement_reasons.janus.clone(),
            }),
            mixer: live.map(|l| AssignedMixer {
                id: l.mixer_id.to_string(),
                listening: room.listening,
                reason: l.placement_reasons.mixer.clone(),
            }),
            recording: in_force(&room.view).map(|request| request.id.to_string()),
            anchors: counts.anchors,
            listeners: counts.listeners,
        }
    }
}

impl RoomAnswer {
    pub fn of(room: RoomBody) -> Self {
        Self { success: true, room }
    }
}

impl DeleteAnswer {
    pub fn of(room: Option<RoomBody>) -> Self {
        Self { success: true, room }
    }
}

impl DoneAnswer {
    pub const YES: Self = Self { success: true };
}

impl From<&ModuleInfo> for ModuleBody {
    fn from(module: &ModuleInfo) -> Self {
        let heartbeat = module.heartbeat.as_ref();
        Self {
            id: module.id.to_string(),
            status: heartbeat.map(|h| h.status),
            host: heartbeat.map(|h| h.host.clone()),
            url: heartbeat.map(|h| h.url.clone()),
            capacity: heartbeat.map(|h| h.capacity),
            started_at: heartbeat.map(|h| h.started_at.0),
            version: heartbeat.map(|h| h.version.clone()),
            mark: module.mark,
            load: module.load,
            machine_load: heartbeat.and_then(|h| h.machine_load),
            rooms_left: module.rooms_left,
            pickable: module.refuses.is_none(),
            reason: module.refuses.map(|why| why.to_string()),
        }
    }
}

impl StatsAnswer {
    pub fn of(stats: &Stats, listeners: usize) -> Self {
        let of = |status| stats.rooms.get(&status).copied().unwrap_or(0);
        let rooms = RoomStats {
            total: stats.rooms.values().sum(),
            created: of(RoomStatus::Created),
            backstage: of(RoomStatus::Backstage),
            starting: of(RoomStatus::Starting),
            onair: of(RoomStatus::OnAir),
            degraded: of(RoomStatus::Degraded),
            removing: of(RoomStatus::Removing),
        };
        let (januses, mixers) = (stats.januses.into(), stats.mixers.into());
        Self { success: true, rooms, listeners, januses, mixers }
    }
}

impl From<ModuleStats> for FleetStats {
    fn from(stats: ModuleStats) -> Self {
        let ModuleStats { known, healthy, pickable, capacity, load } = stats;
        Self { known, healthy, pickable, capacity, load }
    }
}

//! Supervisor of the role `mixer`: the heartbeat, and one actor per room that is, or was, assigned here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;

use super::MixerShared;
use super::resources::RoomResources;
use super::room::{self, MixerRoomActor};
use crate::actors::context::Context;
use crate::actors::heartbeat::HeartbeatActor;
use crate::actors::kernel::{ActorState, Behaviour, ChildDown, ChildSpec, Cx, Message};
use crate::actors::room_children::{ChildEnd, RoomChildren};
use crate::domain::ids::RoomId;
use crate::domain::keys::ModuleKind;
use crate::domain::machine::LoadMeter;
use crate::domain::mixer_room::{MixerPolicy, MixerRoom, concerns};
use crate::domain::model::{Health, Heartbeat, ListenerCounts};
use crate::ffmpeg::{FfmpegUnusable, ffmpeg_version};
use crate::rooms::dirty_set::DirtySet;

/// Interval at which listeners are counted and ended streams are removed.
const ROUND_EVERY: Duration = Duration::from_secs(5);
/// Interval between checks while FFmpeg is not usable.
const RECHECK: Duration = Duration::from_secs(5);

/// State of a supervisor whose FFmpeg cannot be used.
pub const UNUSABLE: &str = "unusable";

/// Dependencies of the role `mixer`, besides the node's context.
#[derive(Clone)]
pub struct MixerParts {
    pub shared: MixerShared,
    pub heartbeats: Arc<watch::Sender<Heartbeat>>,
}

pub struct MixerSupervisor {
    context: Context,
    shared: MixerShared,
    heartbeats: Arc<watch::Sender<Heartbeat>>,
    counts: Arc<watch::Sender<ListenerCounts>>,
    dirty: Option<DirtySet>,
    rooms: RoomChildren<room::Msg>,
    ffmpeg: Option<Result<String, FfmpegUnusable>>,
}

pub enum Msg {
    StateChanged,
    Checked(Result<String, FfmpegUnusable>),
    Recheck,
    /// Message of a room's actor: nothing is left of the room on this mixer.
    Finished(RoomId),
    Round,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Checked(_) => "checked",
            Self::Recheck => "recheck",
            Self::Finished(_) => "finished",
            Self::Round => "round",
        }
    }
}

impl MixerSupervisor {
    pub fn new(context: Context, parts: MixerParts) -> Self {
        Self {
            context,
            shared: parts.shared,
            heartbeats: parts.heartbeats,
            counts: Arc::default(),
            dirty: None,
            rooms: RoomChildren::default(),
            ffmpeg: None,
        }
    }

    fn check_ffmpeg(&self, cx: &mut Cx<Self>) {
        let binary: PathBuf = self.context.config.mixer.ffmpeg.clone();
        cx.run(async move { ffmpeg_version(&binary).await }, Msg::Checked);
    }

    fn checked(&mut self, outcome: Result<String, FfmpegUnusable>, cx: &mut Cx<Self>) {
        let status = match &outcome {
            Ok(version) => {
                tracing::info!(version, "FFmpeg is usable");
                Health::Healthy
            }
            Err(error) => {
                if self.ffmpeg.is_none() {
                    tracing::error!(%error, "FFmpeg check failed; the mixer takes no rooms");
                }
                cx.run(tokio::time::sleep(RECHECK), |()| Msg::Recheck);
                Health::Unhealthy
            }
        };
        self.ffmpeg = Some(outcome);
        self.heartbeats.send_if_modified(|heartbeat| {
            let changed = heartbeat.status != status;
            heartbeat.status = status;
            changed
        });
    }

    fn round(&self, cx: &mut Cx<Self>) {
        let now = Instant::now();
        self.shared.streams.remove_expired(now);
        self.tell_listeners(now);
        cx.run(tokio::time::sleep(ROUND_EVERY), |()| Msg::Round);
    }

    /// Publishes the number of listeners of each room of this node.
    fn tell_listeners(&self, now: Instant) {
        let counter = &self.shared.counter;
        let counted = self.rooms.ids().into_iter().map(|room| (counter.everywhere(&room, now), room));
        let counted = counted.filter(|(count, _)| *count > 0);
        let counts = ListenerCounts(counted.map(|(count, room)| (room, count)).collect());
        self.counts.send_if_modified(|told| {
            let changed = *told != counts;
            *told = counts;
            changed
        });
    }

    fn take_changes(&mut self, cx: &mut Cx<Self>) {
        let Some(changes) = self.dirty.clone().map(|n| n.take()) else { return };
        let mut rooms = changes.rooms;
        if changes.relisted {
            let all = self.context.directory.rooms();
            let mine = all.iter().filter(|(_, view)| concerns(view, &self.context.me));
            rooms.extend(mine.map(|(room, _)| room.clone()));
            rooms.extend(self.rooms.ids());
        }
        for room in rooms {
            self.look_at(room, cx);
        }
    }

    fn look_at(&mut self, room: RoomId, cx: &mut Cx<Self>) {
        if let Some(child) = self.rooms.get(&room) {
            // If the child is gone, `child_down` handles it.
            let _ = child.tell_latest("state_changed", room::Msg::StateChanged);
        } else if self.is_wanted(&room) {
            let (context, shared, me, id) =
                (self.context.clone(), self.shared.clone(), cx.me(), room.clone());
            let resources = RoomResources::default();
            self.rooms.start(&room, cx, move || {
                let machine =
                    MixerRoom::new(context.me.clone(), context.incarnation.to_string(), policy(&context));
                MixerRoomActor::new(
                    id.clone(),
                    context.clone(),
                    shared.clone(),
                    machine,
                    resources.clone(),
                    me.clone(),
                )
            });
        }
    }

    fn is_wanted(&self, room: &RoomId) -> bool {
        self.context.directory.room(room).is_some_and(|view| concerns(&view, &self.context.me))
    }
}

fn policy(context: &Context) -> MixerPolicy {
    MixerPolicy {
        backoff: context.backoff(),
        crashes: context.config.mixer.crashes,
        watchdog: context.config.mixer.watchdog,
        hls_base: context.config.private_hls_url(),
    }
}

impl Behaviour for MixerSupervisor {
    const KIND: &'static str = "mixer_supervisor";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let (context, heartbeats, counts) =
            (self.context.clone(), self.heartbeats.clone(), self.counts.clone());
        let beat = move || {
            let counts = Some(counts.subscribe());
            let meter = Some(LoadMeter::default());
            HeartbeatActor::new(ModuleKind::Mixer, context.clone(), heartbeats.subscribe(), counts, meter)
        };
        cx.spawn_child("heartbeat", ChildSpec::worker(), beat);
        let me = cx.me();
        // The wake-up fails only if this supervisor is gone; then no wake-up is needed.
        self.dirty = Some(self.context.subscribe(move || {
            let _ = me.tell_latest("state_changed", Msg::StateChanged);
        }));
        self.check_ffmpeg(cx);
        self.round(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::StateChanged => self.take_changes(cx),
            Msg::Checked(outcome) => self.checked(outcome, cx),
            Msg::Recheck => self.check_ffmpeg(cx),
            Msg::Finished(room) => {
                // After the actor reported, the room may have been assigned to this mixer again. The actor
                // has then received this change itself, and continues.
                if !self.is_wanted(&room) {
                    self.rooms.stop(&room, cx);
                }
            }
            Msg::Round => self.round(cx),
        }
    }

    fn child_down(&mut self, child: &ChildDown, cx: &mut Cx<Self>) {
        if let ChildEnd::Gone(room) = self.rooms.ended(child) {
            self.look_at(room, cx);
        }
    }

    fn observe(&self) -> ActorState {
        let (state, reason) = match &self.ffmpeg {
            None => ("checking", None),
            Some(Ok(_)) => ("ready", None),
            Some(Err(error)) => (UNUSABLE, Some(error.to_string())),
        };
        let ffmpeg = self.ffmpeg.as_ref().and_then(|f| f.as_ref().ok());
        ActorState {
            observed: json!({ "rooms": self.rooms.len(), "ffmpeg": ffmpeg }),
            reason,
            ..ActorState::state(state)
        }
    }
}

//! Supervisor of the actors of the role `rooms`.

use std::sync::Arc;

use serde_json::json;

use super::SharedAges;
use super::room::{self, RoomActor};
use crate::actors::context::Context;
use crate::actors::copy_watch::LedgerWatch;
use crate::actors::kernel::{ActorState, Behaviour, ChildDown, ChildSpec, Cx, Message};
use crate::actors::leader::elector::Elector;
use crate::actors::room_children::{ChildEnd, RoomChildren};
use crate::domain::ids::RoomId;
use crate::domain::room::RoomStatus;
use crate::presence::PresenceParts;
use crate::rooms::RoomService;
use crate::rooms::dirty_set::DirtySet;
use crate::rooms::recordings::Recordings;
use crate::webhooks::Webhooks;

pub struct RoomSupervisor {
    context: Context,
    service: Arc<RoomService>,
    ages: SharedAges,
    /// `None` on a node without presence.
    presence: Option<PresenceParts>,
    webhooks: Arc<Webhooks>,
    recordings: Arc<Recordings>,
    dirty: Option<DirtySet>,
    rooms: RoomChildren<room::Msg>,
}

pub enum Msg {
    StateChanged,
    /// The room is neither backstage, nor on air, nor being removed.
    Finished(RoomId),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Finished(_) => "finished",
        }
    }
}

impl RoomSupervisor {
    pub fn new(
        context: Context,
        service: Arc<RoomService>,
        ages: SharedAges,
        presence: Option<PresenceParts>,
        webhooks: Arc<Webhooks>,
        recordings: Arc<Recordings>,
    ) -> Self {
        let rooms = RoomChildren::default();
        Self { context, service, ages, presence, webhooks, recordings, dirty: None, rooms }
    }

    fn take_changes(&mut self, cx: &mut Cx<Self>) {
        let Some(changes) = self.dirty.as_ref().map(DirtySet::take) else { return };
        let mut rooms = changes.rooms;
        if changes.relisted {
            let known = self.context.directory.rooms();
            self.ages.with(|ages| ages.retain(&known));
            rooms.extend(known.keys().cloned());
            rooms.extend(self.rooms.ids());
        }
        for room in rooms {
            self.observe_age(&room);
            self.look_at(room, cx);
        }
        self.count();
    }

    /// Starts the clock of the room's state. If this node becomes the leader, it needs the age of the state.
    fn observe_age(&self, room: &RoomId) {
        let view = self.context.directory.room(room).unwrap_or_default();
        let (now, grace) = (self.context.clock.now(), self.context.config.rooms.removing_grace);
        self.ages.with(|ages| ages.clock(room, &view, now, grace));
    }

    fn look_at(&mut self, room: RoomId, cx: &mut Cx<Self>) {
        if let Some(child) = self.rooms.get(&room) {
            // If the child is gone, `child_down` handles it.
            let _ = child.tell_latest("state_changed", room::Msg::StateChanged);
        } else if self.is_live(&room) {
            let (context, service, ages) = (self.context.clone(), self.service.clone(), self.ages.clone());
            let (me, id) = (cx.me(), room.clone());
            let make = move || {
                let (service, ages) = (service.clone(), ages.clone());
                RoomActor::new(id.clone(), context.clone(), service, ages, me.clone())
            };
            self.rooms.start(&room, cx, make);
        }
    }

    fn is_live(&self, room: &RoomId) -> bool {
        self.context.directory.room(room).is_some_and(|view| view.live.is_some())
    }

    fn count(&self) {
        let rooms = self.service.stats().rooms;
        for status in RoomStatus::ALL {
            let count = rooms.get(&status).copied().unwrap_or(0);
            self.context.metrics.set_rooms(status.as_str(), count);
        }
    }
}

impl Behaviour for RoomSupervisor {
    const KIND: &'static str = "room_supervisor";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let (context, service, ages) = (self.context.clone(), self.service.clone(), self.ages.clone());
        let (presence, webhooks) = (self.presence.clone(), self.webhooks.clone());
        let recordings = self.recordings.clone();
        cx.spawn_child("leader", ChildSpec::worker(), move || {
            let (presence, webhooks) = (presence.clone(), webhooks.clone());
            let (ages, recordings) = (ages.clone(), recordings.clone());
            Elector::new(context.clone(), service.clone(), ages, presence, webhooks, recordings)
        });
        let (context, ledger) = (self.context.clone(), self.service.ledger().clone());
        cx.spawn_child("ledger", ChildSpec::worker(), move || {
            LedgerWatch::new(context.clone(), ledger.clone())
        });
        let me = cx.me();
        // The wake-up fails only if this supervisor is gone; then no wake-up is needed.
        self.dirty = Some(self.context.subscribe(move || {
            let _ = me.tell_latest("state_changed", Msg::StateChanged);
        }));
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::StateChanged => self.take_changes(cx),
            Msg::Finished(room) => {
                // After the actor reported, the room may have been started again.
                if !self.is_live(&room) {
                    self.rooms.stop(&room, cx);
                }
            }
        }
    }

    fn child_down(&mut self, child: &ChildDown, cx: &mut Cx<Self>) {
        if let ChildEnd::Gone(room) = self.rooms.ended(child) {
            self.look_at(room, cx);
        }
    }

    fn observe(&self) -> ActorState {
        ActorState { observed: json!({ "live": self.rooms.len() }), ..ActorState::state("supervising") }
    }
}

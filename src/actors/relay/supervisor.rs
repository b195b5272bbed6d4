//! Supervisor of the edge cache: one actor per room that has listeners here and is mixed elsewhere.

use std::sync::Arc;

use serde_json::json;

use super::room::{self, RelayRoomActor};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, ChildDown, Cx, Message};
use crate::actors::room_children::{ChildEnd, RoomChildren};
use crate::delivery::EdgeCache;
use crate::domain::ids::RoomId;
use crate::rooms::dirty_set::DirtySet;

pub struct RelaySupervisor {
    context: Context,
    relays: Arc<EdgeCache>,
    dirty: Option<DirtySet>,
    wanted: Option<DirtySet>,
    rooms: RoomChildren<room::Msg>,
}

pub enum Msg {
    /// Rooms changed in the store.
    StateChanged,
    /// A room that had no listeners here was requested.
    Wanted,
    /// The room has no listeners any more.
    Idle(RoomId),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Wanted => "wanted",
            Self::Idle(_) => "idle",
        }
    }
}

impl RelaySupervisor {
    pub fn new(context: Context, relays: Arc<EdgeCache>) -> Self {
        Self { context, relays, dirty: None, wanted: None, rooms: RoomChildren::default() }
    }

    fn take_changes(&mut self) {
        let Some(changes) = self.dirty.as_ref().map(DirtySet::take) else { return };
        let rooms = if changes.relisted { self.rooms.ids() } else { changes.rooms.into_iter().collect() };
        for room in rooms {
            if let Some(child) = self.rooms.get(&room) {
                let _ = child.tell_latest("state_changed", room::Msg::StateChanged);
            }
        }
    }

    fn wanted(&mut self, cx: &mut Cx<Self>) {
        let rooms = self.wanted.as_ref().map(DirtySet::take).unwrap_or_default().rooms;
        rooms.into_iter().for_each(|room| self.follow(room, cx));
    }

    fn follow(&mut self, room: RoomId, cx: &mut Cx<Self>) {
        let Some(held) = self.relays.get(&room) else { return };
        let (context, relays, me, id) = (self.context.clone(), self.relays.clone(), cx.me(), room.clone());
        self.rooms.start(&room, cx, move || {
            RelayRoomActor::new(id.clone(), context.clone(), relays.clone(), held.clone(), me.clone())
        });
    }
}

impl Behaviour for RelaySupervisor {
    const KIND: &'static str = "relay_supervisor";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let me = cx.me();
        // The wake-up fails only if this supervisor is gone; then no wake-up is needed.
        self.dirty = Some(self.context.subscribe(move || {
            let _ = me.tell_latest("state_changed", Msg::StateChanged);
        }));
        let me = cx.me();
        let wanted = DirtySet::new(move || {
            let _ = me.tell_latest("wanted", Msg::Wanted);
        });
        self.relays.attach(wanted.clone());
        self.wanted = Some(wanted);
        // Follow the rooms that a previous incarnation has followed.
        self.relays.all().into_iter().for_each(|room| self.follow(room, cx));
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::StateChanged => self.take_changes(),
            Msg::Wanted => self.wanted(cx),
            Msg::Idle(room) => {
                if self.relays.forget_idle(&room) {
                    self.rooms.stop(&room, cx);
                }
            }
        }
    }

    fn child_down(&mut self, child: &ChildDown, cx: &mut Cx<Self>) {
        // A listener may have arrived while the actor stopped.
        if let ChildEnd::Gone(room) = self.rooms.ended(child) {
            self.follow(room, cx);
        }
    }

    fn observe(&self) -> ActorState {
        ActorState { observed: json!({ "rooms": self.rooms.len() }), ..ActorState::state("supervising") }
    }
}

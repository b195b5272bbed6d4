//! Supervisor of the plain streams: runs one actor per room that has readers on this node.

use std::sync::Arc;

use serde_json::json;

use super::room::{self, PlainRoomActor};
use crate::actors::kernel::{ActorState, Behaviour, ChildDown, Cx, Message};
use crate::actors::room_children::{ChildEnd, RoomChildren};
use crate::clock::Clock;
use crate::delivery::{PlainStream, PlainStreams, RoomParts};
use crate::domain::ids::RoomId;
use crate::rooms::dirty_rooms::DirtyRooms;

pub struct PlainSupervisor {
    clock: Clock,
    source: Arc<RoomParts>,
    streams: Arc<PlainStreams>,
    wanted: Option<DirtyRooms>,
    rooms: RoomChildren<room::Msg>,
}

pub enum Msg {
    /// There are rooms that have readers but no actor.
    Wanted,
    /// The stream has ended, or has no readers.
    Finished(RoomId, Arc<PlainStream>),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Finished(..) => "finished",
        }
    }
}

impl PlainSupervisor {
    pub fn new(clock: Clock, source: Arc<RoomParts>, streams: Arc<PlainStreams>) -> Self {
        Self { clock, source, streams, wanted: None, rooms: RoomChildren::default() }
    }

    fn produce(&mut self, room: RoomId, cx: &mut Cx<Self>) {
        let Some(stream) = self.streams.get(&room) else { return };
        let (clock, source, me, id) = (self.clock, self.source.clone(), cx.me(), room.clone());
        self.rooms.start(&room, cx, move || {
            PlainRoomActor::new(id.clone(), clock, source.clone(), stream.clone(), me.clone())
        });
    }
}

impl Behaviour for PlainSupervisor {
    const KIND: &'static str = "plain_supervisor";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let me = cx.me();
        let wanted = DirtyRooms::new(move || {
            // The wake-up fails only if this supervisor is gone; then no wake-up is needed, because the next
            // incarnation checks all streams.
            let _ = me.tell_latest("wanted", Msg::Wanted);
        });
        self.streams.attach(wanted.clone());
        self.wanted = Some(wanted);
        self.streams.all().into_iter().for_each(|room| self.produce(room, cx));
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Wanted => {
                let rooms = self.wanted.as_ref().map(DirtyRooms::take).unwrap_or_default().rooms;
                rooms.into_iter().for_each(|room| self.produce(room, cx));
            }
            Msg::Finished(room, stream) => {
                if self.streams.retire(&room, &stream) {
                    self.rooms.stop(&room, cx);
                }
            }
        }
    }

    fn child_down(&mut self, child: &ChildDown, cx: &mut Cx<Self>) {
        // The room may have readers again.
        if let ChildEnd::Gone(room) = self.rooms.ended(child) {
            self.produce(room, cx);
        }
    }

    fn observe(&self) -> ActorState {
        ActorState { observed: json!({ "rooms": self.rooms.len() }), ..ActorState::state("supervising") }
    }
}

//! Supervisor of the feeds for recognisers: runs one actor per room with recognisers on this node.

use std::sync::Arc;

use serde_json::json;

use super::CaptionParts;
use super::room::{self, CaptionRoomActor};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, ChildDown, Cx, Message};
use crate::actors::room_children::{ChildEnd, RoomChildren};
use crate::delivery::PcmFeed;
use crate::domain::ids::RoomId;
use crate::rooms::dirty_rooms::DirtyRooms;

pub struct CaptionSupervisor {
    context: Context,
    parts: CaptionParts,
    wanted: Option<DirtyRooms>,
    rooms: RoomChildren<room::Msg>,
}

pub enum Msg {
    /// There are rooms that have recognisers but no actor.
    Wanted,
    /// The feed has ended, or has no readers.
    Finished(RoomId, Arc<PcmFeed>),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Finished(..) => "finished",
        }
    }
}

impl CaptionSupervisor {
    pub fn new(context: Context, parts: CaptionParts) -> Self {
        Self { context, parts, wanted: None, rooms: RoomChildren::default() }
    }

    fn produce(&mut self, room: RoomId, cx: &mut Cx<Self>) {
        let Some(feed) = self.parts.feeds.get(&room) else { return };
        if let Some(child) = self.rooms.get(&room) {
            // Its feed had no readers. Ignore a refusal: an actor with a full mailbox is not idle.
            let _ = child.tell(room::Msg::Due);
            return;
        }
        let (context, parts, me, id) = (self.context.clone(), self.parts.clone(), cx.me(), room.clone());
        self.rooms.start(&room, cx, move || {
            CaptionRoomActor::new(id.clone(), context.clone(), parts.clone(), feed.clone(), me.clone())
        });
    }
}

impl Behaviour for CaptionSupervisor {
    const KIND: &'static str = "caption_supervisor";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let me = cx.me();
        let wanted = DirtyRooms::new(move || {
            // The wake-up fails only if this supervisor is gone; then no wake-up is needed, because the next
            // incarnation checks all feeds.
            let _ = me.tell_latest("wanted", Msg::Wanted);
        });
        self.parts.feeds.attach(wanted.clone());
        self.wanted = Some(wanted);
        self.parts.feeds.all().into_iter().for_each(|room| self.produce(room, cx));
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Wanted => {
                let rooms = self.wanted.as_ref().map(DirtyRooms::take).unwrap_or_default().rooms;
                rooms.into_iter().for_each(|room| self.produce(room, cx));
            }
            Msg::Finished(room, feed) => {
                if self.parts.feeds.retire(&room, &feed) {
                    self.rooms.stop(&room, cx);
                }
            }
        }
    }

    fn child_down(&mut self, child: &ChildDown, cx: &mut Cx<Self>) {
        // The room may have recognisers again.
        if let ChildEnd::Gone(room) = self.rooms.ended(child) {
            self.produce(room, cx);
        }
    }

    fn observe(&self) -> ActorState {
        ActorState { observed: json!({ "rooms": self.rooms.len() }), ..ActorState::state("supervising") }
    }
}

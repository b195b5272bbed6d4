//! Supervisor of the rewind windows: one actor per room of this mixer that offers rewind.

use std::io;

use serde_json::json;

use super::RewindParts;
use super::room::{self, RewindActor};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, ChildDown, Cx, Message};
use crate::actors::recording::copying::blocking;
use crate::actors::room_children::{ChildEnd, RoomChildren};
use crate::domain::ids::RoomId;
use crate::domain::rewind::{KeptWindow, RewindDuty, duty};
use crate::rooms::dirty_set::DirtySet;

pub struct RewindSupervisor {
    context: Context,
    parts: RewindParts,
    dirty: Option<DirtySet>,
    rooms: RoomChildren<room::Msg>,
    /// True once the files of an earlier process are erased.
    clean: bool,
}

pub enum Msg {
    StateChanged,
    /// Result of erasing the files of an earlier process.
    Cleaned(io::Result<()>),
    /// Message of a room's actor that has nothing left to do.
    Finished(RoomId),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Cleaned(_) => "cleaned",
            Self::Finished(_) => "finished",
        }
    }
}

impl RewindSupervisor {
    pub fn new(context: Context, parts: RewindParts) -> Self {
        Self { context, parts, dirty: None, rooms: RoomChildren::default(), clean: false }
    }

    fn take_changes(&mut self, cx: &mut Cx<Self>) {
        let Some(changes) = self.dirty.as_ref().map(DirtySet::take) else { return };
        match changes.relisted {
            true => self.look_at_all(cx),
            false => changes.rooms.into_iter().for_each(|room| self.look_at(room, cx)),
        }
    }

    fn look_at_all(&mut self, cx: &mut Cx<Self>) {
        let mut rooms: Vec<_> = self.context.directory.rooms().keys().cloned().collect();
        rooms.extend(self.rooms.ids());
        rooms.into_iter().for_each(|room| self.look_at(room, cx));
    }

    fn look_at(&mut self, room: RoomId, cx: &mut Cx<Self>) {
        if let Some(child) = self.rooms.get(&room) {
            // If the child is gone, `child_down` handles it.
            let _ = child.tell_latest("state_changed", room::Msg::StateChanged);
        } else if self.is_wanted(&room) {
            let (context, parts, me, id) = (self.context.clone(), self.parts.clone(), cx.me(), room.clone());
            self.rooms.start(&room, cx, move || {
                RewindActor::new(id.clone(), context.clone(), parts.clone(), me.clone())
            });
        }
    }

    fn is_wanted(&self, room: &RoomId) -> bool {
        let view = self.context.directory.room(room).unwrap_or_default();
        let kept = self.parts.rewinds.get(room);
        let kept = kept.as_ref().map(|kept| KeptWindow { nonce: &kept.nonce, lent: false });
        self.clean
            && duty(&view, &self.context.me, self.context.config.hls.rewind, kept) != RewindDuty::Nothing
    }
}

impl Behaviour for RewindSupervisor {
    const KIND: &'static str = "rewind_supervisor";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let me = cx.me();
        // The wake-up fails only if this supervisor is gone; then no wake-up is needed.
        self.dirty = Some(self.context.subscribe(move || {
            let _ = me.tell_latest("state_changed", Msg::StateChanged);
        }));
        // Close the windows of an earlier incarnation, too. New windows get folders with new random names, so
        // they never use a folder that is being erased.
        self.parts.rewinds.close_all();
        let spool = self.parts.rewinds.spool().clone();
        cx.run(blocking(move || spool.erase_all()), Msg::Cleaned);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::StateChanged => self.take_changes(cx),
            Msg::Cleaned(cleaned) => {
                if let Err(error) = cleaned {
                    tracing::warn!(%error, "rewind media of an earlier process could not be erased");
                }
                self.clean = true;
                self.look_at_all(cx);
            }
            Msg::Finished(room) => {
                // After the actor reported, a new broadcast of the room may have begun on this mixer. The
                // actor has then received this change itself, and continues.
                if !self.is_wanted(&room) {
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
        let state = if self.clean { "supervising" } else { "cleaning" };
        ActorState { observed: json!({ "rooms": self.rooms.len() }), ..ActorState::state(state) }
    }
}

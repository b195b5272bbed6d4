//! The per-room children of one supervisor: at most one per room, and none before its predecessor has gone.

use std::collections::{BTreeMap, BTreeSet};

use super::kernel::{ActorRef, Behaviour, ChildDown, ChildSpec, Cx, Decision, Message};
use crate::domain::ids::RoomId;

/// Sets rooms apart from the supervisor's other children; no room id has a colon.
const PREFIX: &str = "room:";

pub struct RoomChildren<M> {
    rooms: BTreeMap<RoomId, ActorRef<M>>,
    /// Told to stop; not started again before they have.
    leaving: BTreeSet<RoomId>,
}

/// What became of a child that went down.
pub enum Ended {
    /// Another incarnation follows, with the same mailbox.
    Restarting(RoomId),
    /// Its name is free again: look whether the room has been wanted since.
    Gone(RoomId),
    /// Not one of ours.
    Other,
}

impl<M> Default for RoomChildren<M> {
    fn default() -> Self {
        Self { rooms: BTreeMap::new(), leaving: BTreeSet::new() }
    }
}

impl<M: Message> RoomChildren<M> {
    pub fn get(&self, room: &RoomId) -> Option<&ActorRef<M>> {
        self.rooms.get(room)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&RoomId, &ActorRef<M>)> {
        self.rooms.iter()
    }

    pub fn ids(&self) -> Vec<RoomId> {
        self.rooms.keys().cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// The new child; `None` if the room has one, or one that is still stopping.
    pub fn start<P: Behaviour, C: Behaviour<Msg = M>>(
        &mut self,
        room: &RoomId,
        cx: &mut Cx<P>,
        make: impl Fn() -> C + Send + 'static,
    ) -> Option<ActorRef<M>> {
        if self.rooms.contains_key(room) || self.leaving.contains(room) {
            return None;
        }
        let child = cx.spawn_child(format!("{PREFIX}{room}"), ChildSpec::member(), make);
        self.rooms.insert(room.clone(), child.clone());
        Some(child)
    }

    pub fn stop<P: Behaviour>(&mut self, room: &RoomId, cx: &mut Cx<P>) {
        if self.rooms.remove(room).is_some() && cx.stop_child(&format!("{PREFIX}{room}")) {
            self.leaving.insert(room.clone());
        }
    }

    pub fn ended(&mut self, child: &ChildDown) -> Ended {
        let Some(room) = child.name.strip_prefix(PREFIX).and_then(|id| RoomId::new(id).ok()) else {
            return Ended::Other;
        };
        match child.decision {
            Decision::Restart { .. } | Decision::Parked { .. } => Ended::Restarting(room),
            _ => {
                self.rooms.remove(&room);
                self.leaving.remove(&room);
                Ended::Gone(room)
            }
        }
    }
}

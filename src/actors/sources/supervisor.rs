//! Follows the store and runs one actor per source of the rooms on this node's Janus instance.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::SourceParts;
use super::player::{self, SourceActor};
use crate::actors::context::Context;
use crate::actors::janus::JanusShared;
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, ChildDown, ChildSpec, Cx, Decision, Message};
use crate::domain::ids::{RoomId, UserId};
use crate::domain::source_player::assigned_to;
use crate::rooms::dirty_set::DirtySet;

/// Prefix of the names of source actors; the room and the id follow. No room id contains a colon.
const PREFIX: &str = "source:";

type Key = (RoomId, UserId);

pub struct SourceSupervisor {
    context: Context,
    parts: SourceParts,
    link: JanusShared,
    dirty: Option<DirtySet>,
    sources: BTreeMap<Key, ActorRef<player::Msg>>,
    /// Sources whose actor is stopping.
    leaving: BTreeSet<Key>,
}

pub enum Msg {
    StateChanged,
    /// Message of the actor of a source that this node need not play now.
    Finished(RoomId, UserId),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Finished(..) => "finished",
        }
    }
}

impl SourceSupervisor {
    pub fn new(context: Context, parts: SourceParts, link: JanusShared) -> Self {
        Self { context, parts, link, dirty: None, sources: BTreeMap::new(), leaving: BTreeSet::new() }
    }

    fn take_changes(&mut self, cx: &mut Cx<Self>) {
        let Some(changes) = self.dirty.as_ref().map(DirtySet::take) else { return };
        let mut rooms: BTreeSet<RoomId> = changes.rooms.into_iter().collect();
        if changes.relisted {
            rooms.extend(self.context.directory.rooms().keys().cloned());
            rooms.extend(self.sources.keys().map(|(room, _)| room.clone()));
        }
        for room in rooms {
            self.look_at(&room, cx);
        }
    }

    fn look_at(&mut self, room: &RoomId, cx: &mut Cx<Self>) {
        for ((of, _), source) in &self.sources {
            if of == room {
                // Ignore the error: `child_down` handles a child that has ended.
                let _ = source.tell_latest("state_changed", player::Msg::StateChanged);
            }
        }
        for id in self.wanted(room) {
            self.ensure((room.clone(), id), cx);
        }
    }

    fn wanted(&self, room: &RoomId) -> Vec<UserId> {
        let view = self.context.directory.room(room).filter(|view| assigned_to(view, &self.context.me));
        view.iter().flat_map(|view| &view.sources).flat_map(|all| all.0.keys().cloned()).collect()
    }

    fn ensure(&mut self, key: Key, cx: &mut Cx<Self>) {
        if self.sources.contains_key(&key) || self.leaving.contains(&key) {
            return;
        }
        let (context, parts, link) = (self.context.clone(), self.parts.clone(), self.link.clone());
        let (of, parent) = (key.clone(), cx.me());
        let source = cx.spawn_child(name(&key), ChildSpec::member(), move || {
            SourceActor::new(of.clone(), context.clone(), parts.clone(), link.clone(), parent.clone())
        });
        self.sources.insert(key, source);
    }
}

fn name((room, id): &Key) -> String {
    format!("{PREFIX}{room}:{}", id.encoded())
}

fn key(name: &str) -> Option<Key> {
    let (room, id) = name.strip_prefix(PREFIX)?.split_once(':')?;
    Some((RoomId::new(room).ok()?, UserId::from_encoded(id)?))
}

impl Behaviour for SourceSupervisor {
    const KIND: &'static str = "source_supervisor";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let me = cx.me();
        // Ignore the error: a supervisor that has ended needs no wake-up.
        self.dirty = Some(self.context.subscribe(move || {
            let _ = me.tell_latest("state_changed", Msg::StateChanged);
        }));
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::StateChanged => self.take_changes(cx),
            Msg::Finished(room, id) => {
                // After the actor sent this message, the source may have been assigned to this node again.
                // The actor has then received this change itself, and continues.
                let (is_wanted, key) = (self.wanted(&room).contains(&id), (room, id));
                if !is_wanted && self.sources.contains_key(&key) && cx.stop_child(&name(&key)) {
                    self.sources.remove(&key);
                    self.leaving.insert(key);
                }
            }
        }
    }

    fn child_down(&mut self, child: &ChildDown, cx: &mut Cx<Self>) {
        let Some(key) = key(&child.name) else { return };
        if matches!(child.decision, Decision::Restart { .. } | Decision::Parked { .. }) {
            return;
        }
        self.leaving.remove(&key);
        self.sources.remove(&key);
        self.look_at(&key.0, cx);
    }

    fn observe(&self) -> ActorState {
        ActorState { observed: json!({ "sources": self.sources.len() }), ..ActorState::state("following") }
    }
}

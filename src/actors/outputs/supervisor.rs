//! Supervisor of the outputs: runs one actor per output of the rooms that this node mixes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::OutputParts;
use super::output::{self, OutputActor};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, ChildDown, ChildSpec, Cx, Decision, Message};
use crate::domain::ids::RoomId;
use crate::domain::output::{OutputId, duty};
use crate::rooms::dirty_set::DirtySet;

/// Prefix of the names of output actors; the room and the id follow. No room id contains a colon.
const PREFIX: &str = "output:";

type Key = (RoomId, OutputId);

pub struct OutputSupervisor {
    context: Context,
    parts: OutputParts,
    dirty: Option<DirtySet>,
    outputs: BTreeMap<Key, ActorRef<output::Msg>>,
    /// Outputs whose actor is stopping.
    leaving: BTreeSet<Key>,
}

pub enum Msg {
    StateChanged,
    /// Message of the actor of an output that this node need not push now.
    Finished(RoomId, OutputId),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Finished(..) => "finished",
        }
    }
}

impl OutputSupervisor {
    pub fn new(context: Context, parts: OutputParts) -> Self {
        Self { context, parts, dirty: None, outputs: BTreeMap::new(), leaving: BTreeSet::new() }
    }

    fn take_changes(&mut self, cx: &mut Cx<Self>) {
        let Some(changes) = self.dirty.as_ref().map(DirtySet::take) else { return };
        let mut rooms = changes.rooms;
        if changes.relisted {
            rooms.extend(self.context.directory.rooms().keys().cloned());
            rooms.extend(self.outputs.keys().map(|(room, _)| room.clone()));
        }
        for room in rooms {
            self.look_at(&room, cx);
        }
    }

    fn look_at(&mut self, room: &RoomId, cx: &mut Cx<Self>) {
        for ((of, _), output) in &self.outputs {
            if of == room {
                // Ignore the error: `child_down` handles a child that has ended.
                let _ = output.tell_latest("state_changed", output::Msg::StateChanged);
            }
        }
        let view = self.context.directory.room(room).unwrap_or_default();
        let known = view.outputs.iter().flat_map(|outputs| outputs.0.keys());
        let wanted: Vec<_> = known.filter(|id| duty(&view, id, &self.context.me).is_some()).collect();
        for id in wanted {
            self.ensure((room.clone(), id.clone()), cx);
        }
    }

    fn ensure(&mut self, key: Key, cx: &mut Cx<Self>) {
        if self.outputs.contains_key(&key) || self.leaving.contains(&key) {
            return;
        }
        let (context, parts, parent) = (self.context.clone(), self.parts.clone(), cx.me());
        let about = key.clone();
        let output = cx.spawn_child(name(&key), ChildSpec::member(), move || {
            OutputActor::new(about.clone(), context.clone(), parts.clone(), parent.clone())
        });
        self.outputs.insert(key, output);
    }
}

fn name((room, id): &Key) -> String {
    format!("{PREFIX}{room}:{id}")
}

fn parse(name: &str) -> Option<Key> {
    let (room, id) = name.strip_prefix(PREFIX)?.split_once(':')?;
    Some((RoomId::new(room).ok()?, OutputId::new(id).ok()?))
}

impl Behaviour for OutputSupervisor {
    const KIND: &'static str = "output_supervisor";
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
                let view = self.context.directory.room(&room).unwrap_or_default();
                let key = (room, id);
                // After the actor sent this message, the output may have been assigned to this node again.
                // The actor has then received this change itself, and continues.
                if duty(&view, &key.1, &self.context.me).is_none()
                    && self.outputs.contains_key(&key)
                    && cx.stop_child(&name(&key))
                {
                    self.outputs.remove(&key);
                    self.leaving.insert(key);
                }
            }
        }
    }

    fn child_down(&mut self, child: &ChildDown, cx: &mut Cx<Self>) {
        let Some(key) = parse(&child.name) else { return };
        if matches!(child.decision, Decision::Restart { .. } | Decision::Parked { .. }) {
            return;
        }
        self.leaving.remove(&key);
        self.outputs.remove(&key);
        self.look_at(&key.0, cx);
    }

    fn observe(&self) -> ActorState {
        ActorState { observed: json!({ "outputs": self.outputs.len() }), ..ActorState::state("supervising") }
    }
}

//! Per-room children of one supervisor: at most one per room, started only after its predecessor has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::kernel::{ActorRef, Behaviour, ChildDown, ChildSpec, Cx, Decision, Message, TellError};
use crate::domain::ids::RoomId;

/// Prefix that distinguishes rooms from the supervisor's other children; no room id contains a colon.
const PREFIX: &str = "room:";

/// Delay before a room repeats a report that was refused because the supervisor's mailbox was full.
const REPEAT_AFTER: Duration = Duration::from_millis(100);

/// Reports to a supervisor that nothing is left of a room. If the supervisor's mailbox is full, returns the
/// time at which to report again: without the report, the actor of the room would run forever. If the
/// supervisor is gone, its children are stopped anyway.
pub fn report_finished<M: Message>(supervisor: &ActorRef<M>, report: M, now: Duration) -> Option<Duration> {
    (supervisor.tell(report) == Err(TellError::Full)).then(|| now + REPEAT_AFTER)
}

pub struct RoomChildren<M> {
    rooms: BTreeMap<RoomId, ActorRef<M>>,
    /// Rooms whose child is stopping. A new child is started only after the old one has ended.
    leaving: BTreeSet<RoomId>,
}

/// Consequence of a child's exit.
pub enum ChildEnd {
    /// The child is restarted with the same mailbox.
    Restarting(RoomId),
    /// The child has ended: check if the room needs a new one.
    Gone(RoomId),
    /// The child does not belong to a room.
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

    /// Starts a child. Returns `None` if the room already has one, even one that is still stopping.
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

    pub fn ended(&mut self, child: &ChildDown) -> ChildEnd {
        let Some(room) = child.name.strip_prefix(PREFIX).and_then(|id| RoomId::new(id).ok()) else {
            return ChildEnd::Other;
        };
        match child.decision {
            Decision::Restart { .. } | Decision::Parked { .. } => ChildEnd::Restarting(room),
            _ => {
                self.rooms.remove(&room);
                self.leaving.remove(&room);
                ChildEnd::Gone(room)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct TestDone;

    impl Message for TestDone {
        fn kind(&self) -> &'static str {
            "finished"
        }
    }

    #[test]
    fn refused_reports_are_repeated() {
        let supervisor = |answer| ActorRef::from_fn(move |_: TestDone| answer);
        let report = |answer| report_finished(&supervisor(answer), TestDone, Duration::from_secs(5));
        assert_eq!(report(Ok(())), None);
        assert_eq!(report(Err(TellError::Gone)), None);
        assert_eq!(report(Err(TellError::Full)), Some(Duration::from_secs(5) + REPEAT_AFTER));
    }
}

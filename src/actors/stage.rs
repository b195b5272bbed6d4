//! Feed of the listener channels: messages of other nodes, changes of presence, and the work that is done
//! every second.
//!
//! Owns: the subscriptions and the schedule. Does not change a stage; that is the task of
//! [`StageHub`](crate::stage::StageHub).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use serde_json::json;

use super::kernel::{ActorState, Behaviour, Cx, Message, Timer};
use crate::domain::ids::RoomId;
use crate::presence::stage::StageMessage;
use crate::presence::{EventStream, MembersChanged, PresenceEvent};
use crate::stage::{DueWork, StageHub};

/// Maximum concurrent requests of one kind.
const AT_ONCE: usize = 16;
const SECOND: Duration = Duration::from_secs(1);
/// Interval at which the presence entries are read again, in seconds. Only a read shows that an entry has
/// expired.
const MEMBERS_EVERY: u64 = 10;

/// Actor that feeds the listener channels of this node.
pub struct StageFeed {
    hub: Arc<StageHub>,
    /// Rooms whose stage must be read again, collected while a read is in progress.
    stages: HashSet<RoomId>,
    members: HashSet<RoomId>,
    reading: bool,
    seconds: u64,
    tick: Option<Timer>,
}

pub enum Msg {
    Tick,
    Stage(EventStream<StageMessage>, Option<PresenceEvent<StageMessage>>),
    Members(EventStream<MembersChanged>, Option<PresenceEvent<MembersChanged>>),
    Read,
    Passed,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Tick => "tick",
            Self::Stage(..) => "stage",
            Self::Members(..) => "members",
            Self::Read => "read",
            Self::Passed => "passed",
        }
    }
}

impl StageFeed {
    pub fn new(hub: Arc<StageHub>) -> Self {
        let (stages, members) = (HashSet::new(), HashSet::new());
        Self { hub, stages, members, reading: false, seconds: 0, tick: None }
    }

    fn tick(&mut self, cx: &mut Cx<Self>) {
        self.seconds += 1;
        let DueWork { passing, gone, banned, members } = self.hub.tick(self.seconds);
        self.members.extend(members);
        if !banned.is_empty() {
            let hub = self.hub.clone();
            let lower = async move {
                for (room, person) in banned {
                    // If this fails, the next tick tries again.
                    let _ = hub.lower_banned(&room, person).await;
                }
            };
            cx.run(lower, |()| Msg::Passed);
        }
        if !passing.is_empty() || !gone.is_empty() {
            let store = self.hub.store().clone();
            let pass = async move {
                for (room, passing) in passing {
                    // If this fails, the reactions are lost, which is acceptable.
                    let _ = store.pass(&room, &passing).await;
                }
                for key in gone {
                    // If this fails, the key expires in Redis.
                    let _ = store.remove(&key).await;
                }
            };
            cx.run(pass, |()| Msg::Passed);
        }
        if self.seconds.is_multiple_of(MEMBERS_EVERY) {
            self.members.extend(self.hub.followed());
        }
        self.read(cx);
        self.tick = Some(cx.after(SECOND, Msg::Tick));
    }

    fn heard(&mut self, event: PresenceEvent<StageMessage>, cx: &mut Cx<Self>) {
        match event {
            PresenceEvent::Told(message) if self.hub.heard(&message) => {
                self.stages.insert(message.room);
            }
            PresenceEvent::Told(_) => return,
            PresenceEvent::LookAgain => self.stages.extend(self.hub.followed()),
        }
        self.read(cx);
    }

    fn changed(&mut self, event: PresenceEvent<MembersChanged>, cx: &mut Cx<Self>) {
        match event {
            PresenceEvent::Told(MembersChanged { room }) => drop(self.members.insert(room)),
            PresenceEvent::LookAgain => self.members.extend(self.hub.followed()),
        }
        self.read(cx);
    }

    fn read(&mut self, cx: &mut Cx<Self>) {
        if self.reading || (self.stages.is_empty() && self.members.is_empty()) {
            return;
        }
        self.reading = true;
        let (stages, members) = (std::mem::take(&mut self.stages), std::mem::take(&mut self.members));
        let hub = self.hub.clone();
        let read = async move {
            let hub = &hub;
            let reread = |room: RoomId| async move { hub.reread(&room).await };
            stream::iter(stages).for_each_concurrent(AT_ONCE, reread).await;
            let reread = |room: RoomId| async move { hub.reread_members(&room).await };
            stream::iter(members).for_each_concurrent(AT_ONCE, reread).await;
        };
        cx.run(read, |()| Msg::Read);
    }
}

fn next<T: Send + 'static>(
    mut stream: EventStream<T>,
    cx: &mut Cx<StageFeed>,
    msg: fn(EventStream<T>, Option<PresenceEvent<T>>) -> Msg,
) {
    let next = async move {
        let event = stream.next().await;
        (stream, event)
    };
    cx.run(next, move |(stream, event)| msg(stream, event));
}

impl Behaviour for StageFeed {
    const KIND: &'static str = "stage_feed";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        next(self.hub.store().follow(), cx, Msg::Stage);
        if let Some(presence) = self.hub.presence() {
            next(presence.subscribe(), cx, Msg::Members);
        }
        self.tick = Some(cx.after(SECOND, Msg::Tick));
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Tick => self.tick(cx),
            Msg::Stage(stream, Some(event)) => {
                self.heard(event, cx);
                next(stream, cx, Msg::Stage);
            }
            Msg::Members(stream, Some(event)) => {
                self.changed(event, cx);
                next(stream, cx, Msg::Members);
            }
            // The next incarnation reads everything.
            Msg::Stage(_, None) | Msg::Members(_, None) => cx.fail("the messages of other nodes have ended"),
            Msg::Read => {
                self.reading = false;
                self.read(cx);
            }
            Msg::Passed => {}
        }
    }

    fn observe(&self) -> ActorState {
        let (rooms, clients) = (self.hub.followed().len(), self.hub.subscribers());
        ActorState {
            observed: json!({ "rooms": rooms, "clients": clients }),
            ..ActorState::state("following")
        }
    }
}

//! Supervisor of streams that are produced while somebody reads them: runs one actor per room.

use std::sync::Arc;

use serde_json::json;

use super::kernel::{ActorRef, ActorState, Behaviour, ChildDown, Cx, Message};
use super::room_children::{ChildEnd, RoomChildren};
use crate::delivery::{OnDemandStream, OnDemandStreams, RoomParts};
use crate::domain::ids::RoomId;
use crate::rooms::dirty_set::DirtySet;

/// Actor that produces the stream of one room. Ends only when it is stopped: it reports with
/// [`Msg::Finished`] that the stream has ended or has no readers.
pub trait StreamProducer: Behaviour {
    /// Kind of the supervisor, as in `/actors`.
    const SUPERVISOR: &'static str;
    /// Dependencies of the actors.
    type Parts: Clone + Send + 'static;
    type Stream: OnDemandStream;

    fn new(
        room: RoomId,
        parts: Self::Parts,
        stream: Arc<Self::Stream>,
        parent: ActorRef<Msg<Self::Stream>>,
    ) -> Self;
    /// Returns the message that makes the actor check whether its stream has readers.
    fn check() -> Self::Msg;
}

/// Streams of one kind on this node, and the source of their media.
pub struct OnDemandParts<S> {
    pub source: Arc<RoomParts>,
    pub streams: Arc<OnDemandStreams<S>>,
}

impl<S> Clone for OnDemandParts<S> {
    fn clone(&self) -> Self {
        Self { source: self.source.clone(), streams: self.streams.clone() }
    }
}

/// Supervisor of one kind of streams.
pub struct OnDemandSupervisor<P: StreamProducer> {
    parts: P::Parts,
    streams: Arc<OnDemandStreams<P::Stream>>,
    wanted: Option<DirtySet>,
    rooms: RoomChildren<P::Msg>,
}

pub enum Msg<S> {
    /// Streams were opened by readers and may have no actor yet.
    Wanted,
    /// The stream has ended, or has no readers.
    Finished(RoomId, Arc<S>),
}

impl<S: OnDemandStream> Message for Msg<S> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Finished(..) => "finished",
        }
    }
}

impl<P: StreamProducer> OnDemandSupervisor<P> {
    pub fn new(parts: P::Parts, streams: Arc<OnDemandStreams<P::Stream>>) -> Self {
        Self { parts, streams, wanted: None, rooms: RoomChildren::default() }
    }

    fn produce(&mut self, room: RoomId, cx: &mut Cx<Self>) {
        let Some(stream) = self.streams.get(&room) else { return };
        if let Some(child) = self.rooms.get(&room) {
            // The stream had no readers before. Ignore a refusal: an actor with a full mailbox is not idle.
            let _ = child.tell(P::check());
            return;
        }
        let (parts, me, id) = (self.parts.clone(), cx.me(), room.clone());
        self.rooms.start(&room, cx, move || P::new(id.clone(), parts.clone(), stream.clone(), me.clone()));
    }
}

impl<P: StreamProducer> Behaviour for OnDemandSupervisor<P> {
    const KIND: &'static str = P::SUPERVISOR;
    type Msg = Msg<P::Stream>;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let me = cx.me();
        let wanted = DirtySet::new(move || {
            // The wake-up fails only if this supervisor is gone; then no wake-up is needed, because the next
            // incarnation checks all streams.
            let _ = me.tell_latest("wanted", Msg::Wanted);
        });
        self.streams.attach(wanted.clone());
        self.wanted = Some(wanted);
        self.streams.all().into_iter().for_each(|(room, _)| self.produce(room, cx));
    }

    fn handle(&mut self, msg: Self::Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Wanted => {
                let rooms = self.wanted.as_ref().map(DirtySet::take).unwrap_or_default().rooms;
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
        // The stream may have readers again.
        if let ChildEnd::Gone(room) = self.rooms.ended(child) {
            self.produce(room, cx);
        }
    }

    fn observe(&self) -> ActorState {
        ActorState { observed: json!({ "rooms": self.rooms.len() }), ..ActorState::state("supervising") }
    }
}

//! Plain stream of one room: the shell around [`domain::plain_room`](crate::domain::plain_room).
//!
//! Owns the request for parts that is in progress; there is at most one. Ends with the broadcast, or when the
//! stream has no readers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::actors::kernel::{ActorRef, ActorState, Behaviour, Cx, Message, Timer};
use crate::actors::on_demand::{self, StreamProducer};
use crate::actors::room_children::report_finished;
use crate::clock::{Clock, random_unit};
use crate::delivery::{NewParts, NoParts, OnDemandStream, PlainStream, RoomParts};
use crate::domain::ids::RoomId;
use crate::domain::plain_room::{BURST, Fetch, Outcome, PlainRoom, SILENT_FRAMES};
use crate::domain::plan::Plan;
use crate::domain::restart::Backoff;
use crate::packager::plain::PlainPart;

/// Backoff of the requests to a source that has no parts.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_millis(500) };

pub struct PlainRoomActor {
    room: RoomId,
    clock: Clock,
    source: Arc<RoomParts>,
    stream: Arc<PlainStream>,
    parent: ActorRef<on_demand::Msg<PlainStream>>,
    machine: PlainRoom,
    /// True while a request is in progress.
    fetching: bool,
    /// Silent part, published in place of parts that did not arrive.
    silence: PlainPart,
    reason: String,
    timer: Option<Timer>,
}

pub enum Msg {
    Fetched(Result<NewParts, NoParts>),
    /// Silence, a retry or a report may be due.
    Due,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Fetched(_) => "fetched",
            Self::Due => "due",
        }
    }
}

impl PlainRoomActor {
    fn fetched(&mut self, fetched: Result<NewParts, NoParts>) {
        self.fetching = false;
        let (outcome, mut parts) = match fetched {
            Ok(NewParts { parts, next, ended }) => {
                let frames = parts.iter().map(|part| part.frames).collect();
                (Outcome::Parts { frames, next, ended }, parts)
            }
            Err(NoParts::Over) => (Outcome::Over, Vec::new()),
            Err(NoParts::Failed(why)) => (Outcome::Failed(why), Vec::new()),
        };
        let (was_filling, now) = (self.machine.is_filling(), self.clock.now());
        let taken = self.machine.done(outcome, now, random_unit());
        if was_filling && !self.machine.is_filling() {
            tracing::info!(room = %self.room, "plain stream continues after silence");
        }
        self.publish(parts.drain(parts.len() - taken..));
    }

    fn fill(&mut self) {
        let was_filling = self.machine.is_filling();
        let due = self.machine.fill(self.clock.now());
        if !was_filling && self.machine.is_filling() {
            let reason = &self.reason;
            tracing::info!(room = %self.room, reason, "plain stream filled with silence: no part arrived");
        }
        self.publish(std::iter::repeat_n(self.silence.clone(), due));
    }

    fn publish(&self, parts: impl ExactSizeIterator<Item = PlainPart>) {
        if parts.len() > 0 {
            self.stream.publish(parts, self.machine.next());
        }
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        self.fill();
        self.timer = None;
        let now = self.clock.now();
        let plan = self.machine.plan(now);
        if plan == Plan::Finished {
            self.stream.end();
        }
        let mut due = self.machine.silence_at();
        // Report a stream that has no readers, has just ended, or was replaced by the stream of a new
        // broadcast. The actor continues until the supervisor stops it, because a reader may arrive before
        // that.
        if self.stream.is_ended() || self.stream.readers() == 0 {
            let report = on_demand::Msg::Finished(self.room.clone(), self.stream.clone());
            due = due.into_iter().chain(report_finished(&self.parent, report, now)).min();
        }
        if !self.fetching {
            match plan {
                Plan::Do { effect, reason } => {
                    self.reason = reason.into_owned();
                    self.fetch(effect, cx);
                }
                Plan::Wait { reason, until } => {
                    self.reason = reason.into_owned();
                    due = due.into_iter().chain(until).min();
                }
                Plan::Finished => {}
            }
        }
        self.timer = due.map(|due| cx.after(due.saturating_sub(now), Msg::Due));
    }

    fn fetch(&mut self, what: Fetch, cx: &mut Cx<Self>) {
        self.fetching = true;
        let (source, room, stream) = (self.source.clone(), self.room.clone(), self.stream.clone());
        cx.run(async move { source.parts(&room, stream.live(), &what, BURST).await }, Msg::Fetched);
    }
}

impl StreamProducer for PlainRoomActor {
    const SUPERVISOR: &'static str = "plain_supervisor";
    type Parts = (Clock, Arc<RoomParts>);
    type Stream = PlainStream;

    fn new(
        room: RoomId,
        (clock, source): Self::Parts,
        stream: Arc<PlainStream>,
        parent: ActorRef<on_demand::Msg<PlainStream>>,
    ) -> Self {
        Self {
            machine: PlainRoom::new(stream.next(), BACKOFF),
            room,
            clock,
            source,
            stream,
            parent,
            fetching: false,
            silence: PlainPart::silence(SILENT_FRAMES),
            reason: String::new(),
            timer: None,
        }
    }

    fn check() -> Msg {
        Msg::Due
    }
}

impl Behaviour for PlainRoomActor {
    const KIND: &'static str = "plain_room";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Fetched(fetched) => self.fetched(fetched),
            Msg::Due => {}
        }
        self.step(cx);
    }

    fn observe(&self) -> ActorState {
        let state = match (self.stream.is_ended(), self.machine.is_filling()) {
            (true, _) => "ended",
            (false, true) => "filling",
            (false, false) => "live",
        };
        ActorState {
            observed: json!({ "listeners": self.stream.readers(), "next": self.machine.next() }),
            reason: Some(self.reason.clone()),
            attempt: self.machine.attempt(),
            ..ActorState::state(state)
        }
    }
}

//! Feed of one room: runs a decoder while recognisers read the feed, and starts it again after failures.
//!
//! Owns: the run in progress. Ends with the broadcast, or when the feed has no readers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;

use super::CaptionParts;
use super::decoding::{Ended, decode};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, Cx, Message, StopAnswer, Timer};
use crate::actors::room_children::report_finished;
use crate::clock::random_unit;
use crate::delivery::{FeedEnd, PcmFeed};
use crate::domain::ids::RoomId;
use crate::domain::plan::Retry;
use crate::domain::restart::Backoff;

/// Delays before a failed decoder is started again.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };

pub struct CaptionRoomActor {
    room: RoomId,
    context: Context,
    parts: CaptionParts,
    feed: Arc<PcmFeed>,
    parent: ActorRef<super::supervisor::Msg>,
    running: bool,
    retry: Retry,
    leaving: bool,
    /// Notified to end the run.
    left: Arc<Notify>,
    timer: Option<Timer>,
}

pub enum Msg {
    Ended(Ended),
    /// A start or a report may be due.
    Due,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Ended(_) => "ended",
            Self::Due => "due",
        }
    }
}

impl CaptionRoomActor {
    pub fn new(
        room: RoomId,
        context: Context,
        parts: CaptionParts,
        feed: Arc<PcmFeed>,
        parent: ActorRef<super::supervisor::Msg>,
    ) -> Self {
        Self {
            room,
            context,
            parts,
            feed,
            parent,
            running: false,
            retry: Retry::default(),
            leaving: false,
            left: Arc::default(),
            timer: None,
        }
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        self.timer = None;
        if self.running {
            return;
        }
        if self.leaving {
            return cx.exit();
        }
        let now = self.context.clock.now();
        let mut due = None;
        if self.feed.is_ended() || self.feed.readers() == 0 {
            // The actor continues until the supervisor stops it, because a recogniser may come before that.
            let report = super::supervisor::Msg::Finished(self.room.clone(), self.feed.clone());
            due = report_finished(&self.parent, report, now);
        } else if let Some(later) = self.retry.due().filter(|due| *due > now) {
            due = Some(later);
        } else {
            self.run(cx);
        }
        self.timer = due.map(|due| cx.after(due.saturating_sub(now), Msg::Due));
    }

    fn run(&mut self, cx: &mut Cx<Self>) {
        self.running = true;
        let (program, room) = (self.context.ffmpeg(), self.room.clone());
        let (source, feed, left) = (self.parts.source.clone(), self.feed.clone(), self.left.clone());
        let run = async move {
            tokio::select! {
                ended = decode(program, room, source, feed) => ended,
                () = left.notified() => Ended::Unread,
            }
        };
        cx.run(run, Msg::Ended);
    }

    fn ended(&mut self, ended: Ended) {
        self.running = false;
        match ended {
            Ended::Over => self.feed.end(FeedEnd::Over),
            Ended::Unread => self.retry.succeeded(),
            Ended::Failed(reason) => {
                if self.retry.attempt() == 0 {
                    tracing::warn!(room = %self.room, reason, "decoder for recognisers failed; starts again");
                }
                self.context.metrics.captions().decoder_failed();
                self.retry.failed(reason, self.context.clock.now(), &BACKOFF, random_unit());
            }
        }
    }
}

impl Behaviour for CaptionRoomActor {
    const KIND: &'static str = "caption_room";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Ended(ended) => self.ended(ended),
            Msg::Due => {}
        }
        self.step(cx);
    }

    fn stopping(&mut self, _: &mut Cx<Self>) -> StopAnswer {
        self.leaving = true;
        if !self.running {
            return StopAnswer::Now;
        }
        self.left.notify_one();
        StopAnswer::Wait
    }

    fn observe(&self) -> ActorState {
        let reached = self.feed.reached();
        let state = match (self.feed.is_ended(), self.running) {
            (true, _) => "ended",
            (false, true) => "decoding",
            (false, false) => "waiting",
        };
        ActorState {
            observed: json!({
                "recognisers": self.feed.readers(), "next": reached.next, "until": reached.until,
            }),
            attempt: self.retry.attempt(),
            ..ActorState::state(state)
        }
    }
}

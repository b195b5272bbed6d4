//! Feed of one room: runs a decoder while recognisers read the feed, and starts it again after failures.
//!
//! Owns: the run in progress. Ends with the broadcast, or when the feed has no readers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;

use super::decoding::{DecoderEnd, decode};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, Cx, Message, StopAnswer, Timer};
use crate::actors::on_demand::{self, StreamProducer};
use crate::actors::room_children::report_finished;
use crate::clock::random_unit;
use crate::delivery::{FeedEnd, OnDemandStream, PcmFeed, RoomParts};
use crate::domain::ids::RoomId;
use crate::domain::plan::Retry;
use crate::domain::restart::Backoff;

/// Delays before a failed decoder is started again.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };

/// Minimum duration of a good run. The failure of a good run counts as the first failure.
const GOOD_RUN: Duration = Duration::from_secs(30);

pub struct CaptionRoomActor {
    room: RoomId,
    context: Context,
    source: Arc<RoomParts>,
    feed: Arc<PcmFeed>,
    parent: ActorRef<on_demand::Msg<PcmFeed>>,
    running: bool,
    /// Time at which the last run began.
    began: Duration,
    retry: Retry,
    leaving: bool,
    /// Signal to end the run.
    left: Arc<Notify>,
    timer: Option<Timer>,
}

pub enum Msg {
    Ended(DecoderEnd),
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
            // The actor runs until the supervisor stops it, because a recogniser may connect before that.
            let report = on_demand::Msg::Finished(self.room.clone(), self.feed.clone());
            due = report_finished(&self.parent, report, now);
        } else if let Some(later) = self.retry.due().filter(|due| *due > now) {
            due = Some(later);
        } else {
            self.run(cx);
        }
        self.timer = due.map(|due| cx.after(due.saturating_sub(now), Msg::Due));
    }

    fn run(&mut self, cx: &mut Cx<Self>) {
        (self.running, self.began) = (true, self.context.clock.now());
        let (program, room) = (self.context.ffmpeg(), self.room.clone());
        let (source, feed, left) = (self.source.clone(), self.feed.clone(), self.left.clone());
        let run = async move {
            tokio::select! {
                ended = decode(program, room, source, feed) => ended,
                () = left.notified() => DecoderEnd::Unread,
            }
        };
        cx.run(run, Msg::Ended);
    }

    fn ended(&mut self, ended: DecoderEnd) {
        self.running = false;
        match ended {
            DecoderEnd::Over => self.feed.end(FeedEnd::Over),
            DecoderEnd::Unread => self.retry.succeeded(),
            DecoderEnd::Failed(reason) => {
                let now = self.context.clock.now();
                if is_first(&mut self.retry, now.saturating_sub(self.began)) {
                    let room = &self.room;
                    tracing::warn!(%room, reason, "decoder for recognisers failed; restart scheduled");
                }
                self.context.metrics.captions().decoder_failed();
                self.retry.failed(reason, now, &BACKOFF, random_unit());
            }
        }
    }
}

/// Returns true if a failure is the first one since the last good run. `ran`: duration of the failed run.
fn is_first(retry: &mut Retry, ran: Duration) -> bool {
    if ran >= GOOD_RUN {
        retry.succeeded();
    }
    retry.attempt() == 0
}

impl StreamProducer for CaptionRoomActor {
    const SUPERVISOR: &'static str = "caption_supervisor";
    type Parts = (Context, Arc<RoomParts>);
    type Stream = PcmFeed;

    fn new(
        room: RoomId,
        (context, source): Self::Parts,
        feed: Arc<PcmFeed>,
        parent: ActorRef<on_demand::Msg<PcmFeed>>,
    ) -> Self {
        Self {
            room,
            context,
            source,
            feed,
            parent,
            running: false,
            began: Duration::ZERO,
            retry: Retry::default(),
            leaving: false,
            left: Arc::default(),
            timer: None,
        }
    }

    fn check() -> Msg {
        Msg::Due
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
            reason: self.retry.failure().map(str::to_owned),
            attempt: self.retry.attempt(),
            next_retry_in: self.retry.due().and_then(|due| due.checked_sub(self.context.clock.now())),
            ..ActorState::state(state)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_runs_reset_the_backoff() {
        let mut retry = Retry::default();
        let mut fails_after = |seconds| {
            let first = is_first(&mut retry, Duration::from_secs(seconds));
            retry.failed("killed", Duration::from_secs(100), &BACKOFF, 0.5);
            (first, retry.attempt(), retry.failure() == Some("killed"))
        };
        assert_eq!(fails_after(1), (true, 1, true));
        assert_eq!(fails_after(29), (false, 2, true));
        assert_eq!(fails_after(30), (true, 1, true));
    }
}

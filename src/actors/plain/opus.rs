//! Opus stream of one room: runs an encoder while listeners read the stream, and starts it again after
//! failures. The encoder reads the room's AAC stream, which continues across restarts and moves of the room.
//!
//! Owns: the run in progress. Ends with the broadcast, or when the stream has no readers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;

use super::encoding::{EncoderEnd, encode};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, Cx, Message, StopAnswer, Timer};
use crate::actors::on_demand::{self, StreamProducer};
use crate::actors::room_children::report_finished;
use crate::clock::random_unit;
use crate::delivery::{OnDemandStream, PlainReader, PlainStream, PlainStreams};
use crate::domain::ids::RoomId;
use crate::domain::plan::Retry;
use crate::domain::restart::Backoff;

/// Delays before a failed encoder is started again.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
/// Minimum duration of a good run. The failure of a good run counts as the first failure.
const GOOD_RUN: Duration = Duration::from_secs(30);

pub struct OpusRoomActor {
    room: RoomId,
    context: Context,
    aac: Arc<PlainStreams>,
    /// Reader of the AAC between two runs; `None` during a run, and before the first.
    reader: Option<PlainReader>,
    stream: Arc<PlainStream>,
    parent: ActorRef<on_demand::Msg<PlainStream>>,
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
    Ended(EncoderEnd, PlainReader),
    /// A start or a report may be due.
    Due,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Ended(..) => "ended",
            Self::Due => "due",
        }
    }
}

impl OpusRoomActor {
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
        if self.stream.is_ended() || self.stream.readers() == 0 {
            self.reader = None;
            // The actor runs until the supervisor stops it, because a listener may connect before that.
            let report = on_demand::Msg::Finished(self.room.clone(), self.stream.clone());
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
        let (program, bitrate) = (self.context.ffmpeg(), self.context.config.mixer.bitrate);
        let (stream, left) = (self.stream.clone(), self.left.clone());
        let reader = self.reader.take();
        let mut aac = reader.unwrap_or_else(|| self.aac.open(&self.room, self.stream.live()));
        let run = async move {
            let ended = tokio::select! {
                ended = encode(&program, bitrate, &mut aac, &stream) => ended,
                () = left.notified() => EncoderEnd::Unread,
            };
            (ended, aac)
        };
        cx.run(run, |(ended, aac)| Msg::Ended(ended, aac));
    }

    fn ended(&mut self, ended: EncoderEnd, reader: PlainReader) {
        (self.running, self.reader) = (false, Some(reader));
        match ended {
            EncoderEnd::Over => self.stream.end(),
            EncoderEnd::Unread => self.retry.succeeded(),
            EncoderEnd::Failed(reason) => {
                let now = self.context.clock.now();
                if now.saturating_sub(self.began) >= GOOD_RUN {
                    self.retry.succeeded();
                }
                if self.retry.attempt() == 0 {
                    let room = &self.room;
                    tracing::warn!(%room, reason, "encoder of an Opus stream failed; restart scheduled");
                }
                self.context.metrics.outputs().opus_encoder_failed();
                self.retry.failed(reason, now, &BACKOFF, random_unit());
            }
        }
    }
}

impl StreamProducer for OpusRoomActor {
    const SUPERVISOR: &'static str = "opus_supervisor";
    type Parts = (Context, Arc<PlainStreams>);
    type Stream = PlainStream;

    fn new(
        room: RoomId,
        (context, aac): Self::Parts,
        stream: Arc<PlainStream>,
        parent: ActorRef<on_demand::Msg<PlainStream>>,
    ) -> Self {
        Self {
            room,
            context,
            aac,
            reader: None,
            stream,
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

impl Behaviour for OpusRoomActor {
    const KIND: &'static str = "opus_room";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Ended(ended, reader) => self.ended(ended, reader),
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
        let state = match (self.stream.is_ended(), self.running) {
            (true, _) => "ended",
            (false, true) => "encoding",
            (false, false) => "waiting",
        };
        ActorState {
            observed: json!({ "listeners": self.stream.readers() }),
            reason: self.retry.failure().map(str::to_owned),
            attempt: self.retry.attempt(),
            next_retry_in: self.retry.due().and_then(|due| due.checked_sub(self.context.clock.now())),
            ..ActorState::state(state)
        }
    }
}

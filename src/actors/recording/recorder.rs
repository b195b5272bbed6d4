//! Recorder of one recording on this mixer: copies closed segments from the live window to the disk.
//!
//! ```text
//!  Registering ─▶ Recording ─▶ Closing ─▶ gone         Erasing ─▶ gone
//!                    │ ▲
//!                    └─┘ disk failed: tries again, from the oldest segment that is still in the window
//! ```
//! The live window serves as the queue. If the disk is too slow, segments leave the window and are lost, but
//! nothing waits for the disk. Owns the open files. Runs one effect at a time, and all disk work on other
//! threads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;

use super::copying::{CopyResult, Source, Span, append, blocking, copy};
use super::uploading::remove;
use super::{RecorderParts, supervisor};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, Cx, Message, StopAnswer, Timer};
use crate::actors::room_children::report_finished;
use crate::clock::random_unit;
use crate::domain::ids::{Nonce, RoomId, UnixMs};
use crate::domain::plan::Retry;
use crate::domain::recording::{Duty, Recording, RecordingId, RecordingRequest, RecordingWrite, Take, duty};
use crate::domain::view::RoomView;
use crate::rooms::RoomError;
use crate::rooms::recordings::Recordings;
use crate::spool::{TakeWriter, WrittenTotals};
use crate::telemetry::GaugeGuard;
use crate::telemetry::events::{Event, RecordingDiskFailed};

/// Longest wait for the last segments of a broadcast that is over.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Minimum time between two log lines about a disk that fails.
const LOG_FAILURE_EVERY: Duration = Duration::from_secs(60);

pub struct RecorderActor {
    id: RecordingId,
    room: RoomId,
    context: Context,
    parts: RecorderParts,
    recordings: Arc<Recordings>,
    parent: ActorRef<supervisor::Msg>,
    duty: Duty,
    /// `None` before the files are open, after a failure, and while an effect has the writer.
    writer: Option<TakeWriter>,
    written: WrittenTotals,
    stream: Option<Source>,
    /// Number of segments that left the window before they were written, since the take was last closed.
    lost: u64,
    busy: bool,
    /// Time until which the recorder waits for the last segments.
    closing_until: Option<Duration>,
    /// True if all segments are written and synced, so that the take (this mixer's part of the recording) can
    /// be closed.
    drained: bool,
    leaving: bool,
    /// Signal that the actor is told to stop; ends the wait for the next segment.
    left: Arc<Notify>,
    retry: Retry,
    failure_logged: Option<Duration>,
    reason: String,
    active: Option<GaugeGuard>,
    timer: Option<Timer>,
}

pub enum Msg {
    StateChanged,
    Registered(Result<(), RoomError>),
    Opened(io::Result<TakeWriter>),
    Copied(CopyResult),
    Drained(io::Result<TakeWriter>),
    Erased(io::Result<()>),
    Closed(Result<(), RoomError>),
    Retry,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Registered(_) => "registered",
            Self::Opened(_) => "opened",
            Self::Copied(_) => "copied",
            Self::Drained(_) => "drained",
            Self::Erased(_) => "erased",
            Self::Closed(_) => "closed",
            Self::Retry => "retry",
        }
    }
}

impl RecorderActor {
    pub fn new(
        (id, room): (RecordingId, RoomId),
        context: Context,
        parts: RecorderParts,
        recordings: Arc<Recordings>,
        parent: ActorRef<supervisor::Msg>,
    ) -> Self {
        Self {
            id,
            room,
            context,
            parts,
            recordings,
            parent,
            duty: Duty::Nothing,
            writer: None,
            written: WrittenTotals::default(),
            stream: None,
            lost: 0,
            busy: false,
            closing_until: None,
            drained: false,
            leaving: false,
            left: Arc::default(),
            retry: Retry::default(),
            failure_logged: None,
            reason: String::new(),
            active: None,
            timer: None,
        }
    }

    /// Starts the next effect, unless one is running or a retry must wait.
    fn step(&mut self, cx: &mut Cx<Self>) {
        let now = self.context.clock.now();
        let view = self.context.directory.room(&self.room).unwrap_or_default();
        let known = self.recordings.get(&self.id);
        let known = known.as_deref().map(|known| &known.value);
        self.duty = duty(&self.context.me, &self.id, known, &view);
        if self.busy {
            return;
        }
        if let Some(source) = &mut self.stream {
            let lost = source.skip_lost();
            self.lost += lost;
            self.context.metrics.recordings().segments("lost", lost);
        }
        if let Some(due) = self.retry.due().filter(|due| *due > now && !self.leaving) {
            self.timer = Some(cx.after(due - now, Msg::Retry));
            return;
        }
        match self.duty.clone() {
            _ if self.leaving => self.leave(cx),
            Duty::Record(request) => {
                self.closing_until = None;
                self.drained = false;
                let take = known.and_then(|known| known.takes.get(&self.context.me));
                match take {
                    Some(take) if take.ended_at.is_none() => {
                        let span = Span { since: request.since, until: UnixMs(u64::MAX) };
                        self.record(&request.nonce, span, cx);
                    }
                    _ => {
                        self.register(request, view, cx);
                    }
                }
            }
            Duty::Close { stopped_at } => self.close(stopped_at, known.cloned(), now, cx),
            Duty::Erase => self.erase(cx),
            Duty::Nothing => {
                self.reason = "nothing is left to do".into();
                self.active = None;
                let finished = supervisor::Msg::Finished(self.id.clone());
                let due = report_finished(&self.parent, finished, now);
                self.timer = due.map(|due| cx.after(due.saturating_sub(now), Msg::Retry));
            }
        }
    }

    fn register(&mut self, request: RecordingRequest, view: Arc<RoomView>, cx: &mut Cx<Self>) {
        self.busy = true;
        self.reason = "registers its take".into();
        let (recordings, id, room) = (self.recordings.clone(), self.id.clone(), self.room.clone());
        let me = self.context.me.clone();
        let register = async move {
            let decide = |known: Option<&Recording>| {
                let new = || Recording::new(room.clone(), &view, &request);
                let recording = known.cloned().unwrap_or_else(new);
                let take = Take { ended_at: None, ..recording.takes.get(&me).copied().unwrap_or_default() };
                Some(RecordingWrite::Put(recording.with_take(me.clone(), take)))
            };
            recordings.change(&id, decide).await
        };
        cx.run(register, Msg::Registered);
    }

    /// Writes the closed segments, or waits for the next one.
    fn record(&mut self, nonce: &Nonce, span: Span, cx: &mut Cx<Self>) {
        let opening = self.parts.streams.next_opening();
        if let Some(stream) = self.parts.streams.of_live(&self.room, nonce) {
            let known = self.stream.take().filter(|source| Arc::ptr_eq(&source.stream, &stream));
            let mut source = known.unwrap_or(Source { stream, next: None, over: false });
            source.look(span.since, self.written.last);
            self.stream = Some(source);
        }
        self.active.get_or_insert_with(|| self.context.metrics.recordings().active());
        let Some(writer) = self.writer.take() else { return self.open(cx) };
        self.busy = true;
        let source = self.stream.as_ref().filter(|source| !source.over);
        self.reason =
            if source.is_some() { "copies segments".into() } else { "waits for the room's stream".into() };
        let stream = source.map_or((None, None), |source| (Some(source.stream.clone()), source.next));
        cx.run(copy(writer, stream, span, opening, self.left.clone()), Msg::Copied);
    }

    fn open(&mut self, cx: &mut Cx<Self>) {
        self.busy = true;
        self.reason = "opens its files".into();
        let (spool, id) = (self.parts.spool.clone(), self.id.clone());
        cx.run(blocking(move || spool.open(&id)), Msg::Opened);
    }

    /// Writes the last segments, then closes the take.
    fn close(
        &mut self,
        stopped_at: Option<UnixMs>,
        known: Option<Recording>,
        now: Duration,
        cx: &mut Cx<Self>,
    ) {
        let Some(known) = known else { return };
        let until = *self.closing_until.get_or_insert(now + CLOSE_WITHIN);
        let more = self.stream.as_ref().is_some_and(|source| !source.over) && now < until;
        if more && !self.drained {
            let until = stopped_at.unwrap_or(UnixMs(u64::MAX));
            return self.record(&known.nonce, Span { since: known.started_at, until }, cx);
        }
        if !self.drained {
            return self.drain(cx);
        }
        self.busy = true;
        self.reason = "closes its take".into();
        let take = Take {
            ended_at: Some(self.context.clock.wall()),
            segments: self.written.segments,
            duration_ms: self.written.duration.as_millis() as u64,
            bytes: self.written.bytes,
            lost: self.lost + known.takes.get(&self.context.me).map_or(0, |take| take.lost),
            dropped: false,
        };
        let (recordings, id, me) = (self.recordings.clone(), self.id.clone(), self.context.me.clone());
        let close = async move {
            let closed = |known: &Recording| RecordingWrite::Put(known.clone().with_take(me.clone(), take));
            recordings.change(&id, |known| known.map(closed)).await
        };
        cx.run(close, Msg::Closed);
    }

    /// Syncs the files.
    fn drain(&mut self, cx: &mut Cx<Self>) {
        let Some(mut writer) = self.writer.take() else { return self.open(cx) };
        self.busy = true;
        self.reason = "writes the last segments".into();
        cx.run(blocking(move || writer.sync().map(|()| writer)), Msg::Drained);
    }

    /// Writes the segments that the stream has published, because the node stops. The take stays open in case
    /// the node returns.
    fn leave(&mut self, cx: &mut Cx<Self>) {
        let Some(writer) = self.writer.take() else { return cx.exit() };
        self.busy = true;
        let closed = match (&self.duty, &self.stream) {
            (Duty::Record(request), Some(source)) => {
                Span { since: request.since, until: UnixMs(u64::MAX) }.rest(source)
            }
            _ => Vec::new(),
        };
        let write = move || {
            let (mut writer, _) = append(writer, &closed)?;
            writer.sync().map(|()| writer)
        };
        cx.run(blocking(write), Msg::Drained);
    }

    fn erase(&mut self, cx: &mut Cx<Self>) {
        self.busy = true;
        self.reason = "removes its data".into();
        self.writer = None;
        let (spool, id, room) = (self.parts.spool.clone(), self.id.clone(), self.room.clone());
        let uploads = self.parts.uploads.clone();
        let tracks = self.recordings.get(&id).map(|known| known.track_numbers()).unwrap_or_default();
        let erase = async move {
            if let Some(uploads) = uploads {
                remove(&uploads, &id, &room, tracks).await.map_err(io::Error::other)?;
            }
            blocking(move || spool.erase(&id)).await
        };
        cx.run(erase, Msg::Erased);
    }

    fn erased(&mut self, cx: &mut Cx<Self>) {
        self.busy = true;
        let (recordings, id, me) = (self.recordings.clone(), self.id.clone(), self.context.me.clone());
        let forget = async move {
            let without = |known: &Recording| known.clone().without_take(&me);
            recordings.change(&id, |known| known.map(without)).await
        };
        cx.run(forget, Msg::Closed);
    }

    fn opened(&mut self, writer: TakeWriter) {
        self.written = writer.written();
        if let (Some(source), Some(last)) = (&mut self.stream, self.written.last) {
            // The files may already contain segments: from a failed write, or from before a restart.
            source.next = source.next.map(|next| next.max(last + 1));
        }
        self.writer = Some(writer);
    }

    fn copied(&mut self, copied: CopyResult) {
        match copied.writer {
            Ok((writer, written)) => {
                self.written = writer.written();
                self.writer = Some(writer);
                if !written.is_empty() {
                    self.context.metrics.recordings().segments("written", written.len() as u64);
                    self.succeeded();
                }
                if let Some(source) = &mut self.stream {
                    source.next = copied.next.or(source.next);
                    source.over |= copied.over;
                }
                if copied.beyond {
                    self.closing_until = Some(Duration::ZERO);
                }
            }
            Err(error) => self.disk_failed(&error),
        }
    }

    fn succeeded(&mut self) {
        self.retry.succeeded();
        if self.failure_logged.take().is_some() {
            tracing::info!(recording = %self.id, room = %self.room, lost = self.lost, "recording continues");
        }
    }

    fn disk_failed(&mut self, error: &dyn std::error::Error) {
        let now = self.context.clock.now();
        self.reason = format!("the disk failed: {error}");
        self.retry.failed(self.reason.clone(), now, &self.context.backoff(), random_unit());
        if self.failure_logged.is_none_or(|last| now.saturating_sub(last) >= LOG_FAILURE_EVERY) {
            self.failure_logged = Some(now);
            let Self { id, room, lost, .. } = self;
            RecordingDiskFailed { recording: id, room, error, lost: *lost }.emit(&self.context.metrics);
        }
    }

    fn not_erased(&mut self, error: &dyn std::error::Error) {
        let (now, backoff) = (self.context.clock.now(), self.context.backoff());
        self.reason = format!("the data was not removed: {error}");
        self.retry.failed(self.reason.clone(), now, &backoff, random_unit());
        if self.failure_logged.is_none_or(|last| now.saturating_sub(last) >= LOG_FAILURE_EVERY) {
            self.failure_logged = Some(now);
            tracing::warn!(recording = %self.id, %error, "cannot remove a recording; will retry");
        }
    }

    fn stored(&mut self, outcome: Result<(), RoomError>) {
        match outcome {
            Ok(()) => self.retry.succeeded(),
            Err(error) => {
                self.reason = format!("the recording's key was not written: {error}");
                let (now, backoff) = (self.context.clock.now(), self.context.backoff());
                self.retry.failed(self.reason.clone(), now, &backoff, random_unit());
            }
        }
    }
}

impl Behaviour for RecorderActor {
    const KIND: &'static str = "recorder";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        if !matches!(msg, Msg::StateChanged | Msg::Retry) {
            self.busy = false;
        }
        match msg {
            Msg::StateChanged | Msg::Retry => {}
            Msg::Registered(outcome) => self.stored(outcome),
            Msg::Closed(outcome) => {
                if outcome.is_ok() {
                    self.lost = 0;
                }
                self.stored(outcome);
            }
            Msg::Opened(Ok(writer)) => self.opened(writer),
            Msg::Copied(copied) => self.copied(copied),
            Msg::Drained(Ok(writer)) => {
                self.opened(writer);
                self.succeeded();
                self.drained = true;
            }
            Msg::Erased(Ok(())) => return self.erased(cx),
            Msg::Erased(Err(error)) => self.not_erased(&error),
            Msg::Opened(Err(error)) | Msg::Drained(Err(error)) => self.disk_failed(&error),
        }
        if self.leaving && !self.busy && (self.drained || self.retry.attempt() > 0) {
            return cx.exit();
        }
        self.step(cx);
    }

    fn stopping(&mut self, cx: &mut Cx<Self>) -> StopAnswer {
        self.leaving = true;
        self.drained = false;
        self.left.notify_one();
        if self.busy {
            return StopAnswer::Wait;
        }
        if self.writer.is_none() {
            return StopAnswer::Now;
        }
        self.step(cx);
        StopAnswer::Wait
    }

    fn observe(&self) -> ActorState {
        let state = match &self.duty {
            Duty::Record(_) if self.failure_logged.is_some() => "failing",
            Duty::Record(_) => "recording",
            Duty::Close { .. } => "closing",
            Duty::Erase => "erasing",
            Duty::Nothing => "finished",
        };
        let now = self.context.clock.now();
        ActorState {
            state: state.into(),
            desired: json!({ "room": self.room }),
            observed: json!({
                "segments": self.written.segments,
                "bytes": self.written.bytes,
                "last": self.written.last,
                "lost": self.lost,
            }),
            reason: Some(self.reason.clone()),
            attempt: self.retry.attempt(),
            next_retry_in: self.retry.due().and_then(|due| due.checked_sub(now)),
        }
    }
}

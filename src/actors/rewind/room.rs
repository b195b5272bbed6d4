//! Writer of one room's rewind window: copies closed segments from the live window to the disk.
//!
//! ```text
//!  Keep ─▶ End: the playlist is served for RETAIN ──────────▶ Erase ─▶ gone
//!  │  ▲ └─▶ Lend: the next mixer takes the window over ───────┘
//!  └──┘ disk full: the oldest media file is erased; another failure: tried again while the live window has
//!       the segments
//! ```
//! Owns the open files of the window. Runs one effect at a time, and all disk work on other threads. The
//! media files of the room's earlier mixer are fetched by another effect at the same time (`takeover`).

mod takeover;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;

use super::{RewindParts, supervisor};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, Cx, Message, StopAnswer, Timer};
use crate::actors::recording::copying::{CopyResult, Source, Span, blocking, copy};
use crate::actors::room_children::report_finished;
use crate::clock::random_unit;
use crate::delivery::{KeptRewind, RETAIN, Takeover};
use crate::domain::ids::{RoomId, UnixMs};
use crate::domain::plan::Retry;
use crate::domain::recording::RecordingId;
use crate::domain::recording_journal::JournalEntry;
use crate::domain::relay_room::Upstream;
use crate::domain::rewind::{KeptWindow, RewindDuty, RewindUpdate, duty};
use crate::packager::{ContentKeys, Rewind};
use crate::spool::TakeWriter;
use crate::telemetry::GaugeGuard;
use crate::telemetry::events::{Event, RewindDiskFailed};

use takeover::{NotTaken, TakeoverProgress};

/// Longest wait for the last segments of a broadcast that is over.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Minimum time between two log lines about a disk that is full or fails.
const LOG_FAILURE_EVERY: Duration = Duration::from_secs(60);

pub struct RewindActor {
    room: RoomId,
    context: Context,
    parts: RewindParts,
    parent: ActorRef<supervisor::Msg>,
    duty: RewindDuty,
    kept: Option<KeptRewind>,
    /// Longest duration of the window.
    span: Duration,
    /// `None` before the files are open, after a failure, and while an effect has the writer.
    writer: Option<TakeWriter>,
    stream: Option<Source>,
    /// Number of the oldest media file of the window; 0 if there is none.
    oldest_file: u32,
    /// Number of the oldest media file to keep; those before it are to be erased.
    trim_before: Option<u32>,
    /// Number of segments that left the live window before they were written.
    lost: u64,
    /// Time at which this actor found that the broadcast is over.
    over: Option<Duration>,
    /// Time since which the window is lent to the next mixer.
    lent: Option<Duration>,
    /// Time at which the next mixer was seen to have taken the window.
    taken: Option<Duration>,
    /// True once the earlier mixer was asked for its window.
    asked: bool,
    taking: TakeoverProgress,
    /// True while the folder of the window exists.
    is_open: bool,
    busy: bool,
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
    /// List of the earlier mixer's window.
    Listed(Upstream, Option<RewindUpdate>),
    /// A media file of the earlier mixer is on the disk, or could not be fetched. With the window's id and
    /// the file's number.
    Taken(RecordingId, u32, Result<(), NotTaken>),
    /// The earlier mixer was told that this mixer needs nothing more of its window.
    Released,
    /// Writer, and the segments that are on the disk.
    Opened(io::Result<(TakeWriter, Vec<JournalEntry>)>),
    Copied(CopyResult),
    /// Result of erasing the media files before this number.
    Trimmed(u32, io::Result<()>),
    Erased(io::Result<()>),
    Retry,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Listed(..) => "listed",
            Self::Taken(..) => "taken",
            Self::Released => "released",
            Self::Opened(_) => "opened",
            Self::Copied(_) => "copied",
            Self::Trimmed(..) => "trimmed",
            Self::Erased(_) => "erased",
            Self::Retry => "retry",
        }
    }
}

impl RewindActor {
    pub fn new(
        room: RoomId,
        context: Context,
        parts: RewindParts,
        parent: ActorRef<supervisor::Msg>,
    ) -> Self {
        // Continue the window that an earlier incarnation has begun.
        let kept = parts.rewinds.get(&room);
        Self {
            room,
            context,
            parts,
            parent,
            duty: RewindDuty::Nothing,
            kept,
            span: Duration::ZERO,
            writer: None,
            stream: None,
            oldest_file: 0,
            trim_before: None,
            lost: 0,
            over: None,
            lent: None,
            taken: None,
            asked: false,
            taking: TakeoverProgress::default(),
            is_open: false,
            busy: false,
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
        let default = self.context.config.hls.rewind;
        let lent = self.lent.is_some();
        let kept = self.kept.as_ref().map(|kept| KeptWindow { nonce: &kept.nonce, lent });
        self.duty = duty(&view, &self.context.me, default, kept);
        if self.busy {
            return;
        }
        if self.leaving {
            return self.leave(cx);
        }
        self.count_lost();
        if let Some(due) = self.retry.due().filter(|due| *due > now) {
            return self.wake(due, now, cx);
        }
        match self.duty.clone() {
            RewindDuty::Keep { nonce, span } => {
                self.over = None;
                self.span = span;
                let kept = self.kept.get_or_insert_with(|| {
                    let keys = ContentKeys::new(&[], &self.room, &nonce);
                    let target = self.context.config.hls.target_duration();
                    let rewind = Arc::new(Rewind::new(keys.hint(), target));
                    let (id, takeover) = (RecordingId::random(rand::random()), Arc::new(Takeover::default()));
                    let kept = KeptRewind { nonce, id, rewind, takeover };
                    self.parts.rewinds.open(self.room.clone(), kept.clone());
                    kept
                });
                let kept = kept.clone();
                self.copy(&kept, cx);
            }
            RewindDuty::Lend => self.lend(now, cx),
            RewindDuty::End => self.end(now, cx),
            RewindDuty::Erase => self.erase(cx),
            RewindDuty::Nothing => {
                self.reason = "nothing is left to do".into();
                let finished = supervisor::Msg::Finished(self.room.clone());
                if let Some(due) = report_finished(&self.parent, finished, now) {
                    self.wake(due, now, cx);
                }
            }
        }
    }

    fn wake(&mut self, due: Duration, now: Duration, cx: &mut Cx<Self>) {
        self.timer = Some(cx.after(due.saturating_sub(now), Msg::Retry));
    }

    fn count_lost(&mut self) {
        let lost = self.stream.as_mut().map_or(0, Source::skip_lost);
        self.lost += lost;
        self.context.metrics.rewind().segments("lost", lost);
    }

    /// Writes the closed segments, or waits for the next one.
    fn copy(&mut self, kept: &KeptRewind, cx: &mut Cx<Self>) {
        if let Some(first) = self.trim_before {
            return self.trim(kept, first, cx);
        }
        self.active.get_or_insert_with(|| self.context.metrics.rewind().active());
        let opening = self.parts.streams.next_opening();
        let stream = self.parts.streams.of_live(&self.room, &kept.nonce);
        // A stream that has ended here is from before the room came back: another mixer has the window.
        let is_new = kept.rewind.last().is_none() && self.duty != RewindDuty::End;
        if let Some(stream) = stream.filter(|stream| stream.is_live() || !is_new) {
            let known = self.stream.take().filter(|source| Arc::ptr_eq(&source.stream, &stream));
            let mut source = known.unwrap_or(Source { stream, next: None, over: false });
            source.look(UnixMs(0), kept.rewind.last());
            self.stream = Some(source);
        }
        if let Some(mixer) = self.earlier_mixer(kept) {
            return self.request_list(mixer, cx);
        }
        let Some(writer) = self.writer.take() else { return self.open(kept, cx) };
        self.busy = true;
        let source = self.stream.as_ref().filter(|source| !source.over);
        self.reason =
            if source.is_some() { "copies segments".into() } else { "waits for the room's stream".into() };
        let stream = source.map_or((None, None), |source| (Some(source.stream.clone()), source.next));
        let all = Span { since: UnixMs(0), until: UnixMs(u64::MAX) };
        cx.run(copy(writer, stream, all, opening, self.left.clone()), Msg::Copied);
    }

    fn open(&mut self, kept: &KeptRewind, cx: &mut Cx<Self>) {
        self.busy = true;
        self.reason = "opens its files".into();
        let (spool, id, newest) =
            (self.parts.rewinds.spool().clone(), kept.id.clone(), kept.rewind.newest_file());
        let open = move || {
            let writer = spool.open_after(&id, newest)?;
            Ok((writer, spool.entries(&id)?))
        };
        cx.run(blocking(open), Msg::Opened);
    }

    /// Erases the media files before number `first`.
    fn trim(&mut self, kept: &KeptRewind, first: u32, cx: &mut Cx<Self>) {
        self.busy = true;
        self.reason = "erases old media".into();
        self.writer = None;
        let (spool, id) = (self.parts.rewinds.spool().clone(), kept.id.clone());
        let trim = blocking(move || match spool.erase_before(&id, first) {
            // No file was ever written.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            trimmed => trimmed,
        });
        cx.run(trim, move |trimmed| Msg::Trimmed(first, trimmed));
    }

    /// Writes the last segments, ends the playlist, and erases the window after a while.
    fn end(&mut self, now: Duration, cx: &mut Cx<Self>) {
        let Some(kept) = self.kept.clone() else { return };
        let over = *self.over.get_or_insert(now);
        let is_complete = self.stream.as_ref().is_none_or(|source| source.over);
        if !is_complete && now < over + CLOSE_WITHIN {
            return self.copy(&kept, cx);
        }
        kept.rewind.end();
        self.active = None;
        if now < over + RETAIN {
            self.reason = "serves the end of the broadcast".into();
            return self.wake(over + RETAIN, now, cx);
        }
        self.erase(cx);
    }

    fn erase(&mut self, cx: &mut Cx<Self>) {
        let Some(kept) = &self.kept else { return };
        self.busy = true;
        self.reason = "erases the window".into();
        self.parts.rewinds.close(&self.room);
        (self.writer, self.stream, self.active) = (None, None, None);
        let (spool, id) = (self.parts.rewinds.spool().clone(), kept.id.clone());
        cx.run(blocking(move || spool.erase(&id)), Msg::Erased);
    }

    fn erased(&mut self, erased: io::Result<()>) {
        match erased {
            Ok(()) => {
                (self.kept, self.over, self.lost) = (None, None, 0);
                (self.oldest_file, self.trim_before) = (0, None);
                (self.lent, self.taken, self.asked, self.is_open) = (None, None, false, false);
                self.retry.succeeded();
            }
            Err(error) => self.disk_failed(&error),
        }
    }

    /// Erases the window, because the node stops. If that fails, the next start of the node erases it.
    fn leave(&mut self, cx: &mut Cx<Self>) {
        match self.kept {
            Some(_) if self.retry.attempt() == 0 => self.erase(cx),
            _ => cx.exit(),
        }
    }

    /// Adds segments that are on the disk to the window.
    fn wrote(&mut self, entries: Vec<JournalEntry>) {
        let Some(kept) = &self.kept else { return };
        let stream = self.stream.as_ref().map(|source| &source.stream);
        kept.rewind.change(|window| {
            for entry in entries {
                if window.last().is_some_and(|last| last >= entry.sequence) {
                    continue;
                }
                let before = stream.and_then(|stream| stream.discontinuities_before(entry.sequence));
                let before = before.unwrap_or(window.discontinuities());
                window.push(entry, before);
            }
            window.trim(self.span);
        });
        let oldest = kept.rewind.oldest_file();
        if oldest > self.oldest_file && self.oldest_file > 0 {
            self.trim_before = Some(oldest);
        }
        self.oldest_file = oldest;
    }

    fn opened(&mut self, opened: io::Result<(TakeWriter, Vec<JournalEntry>)>) {
        match opened {
            Ok((writer, entries)) => {
                self.wrote(entries);
                (self.writer, self.is_open) = (Some(writer), true);
                let last = self.kept.as_ref().and_then(|kept| kept.rewind.last());
                if let (Some(source), Some(last)) = (&mut self.stream, last) {
                    // The files may already contain segments: from a failed write, or from an earlier
                    // incarnation.
                    source.next = source.next.map(|next| next.max(last + 1));
                }
            }
            Err(error) => self.disk_failed(&error),
        }
    }

    fn copied(&mut self, copied: CopyResult) {
        match copied.writer {
            Ok((writer, written)) => {
                self.writer = Some(writer);
                if !written.is_empty() {
                    self.context.metrics.rewind().segments("written", written.len() as u64);
                    self.succeeded();
                    self.wrote(written);
                }
                if let Some(source) = &mut self.stream {
                    source.next = copied.next.or(source.next);
                    source.over |= copied.over;
                }
            }
            Err(error) => self.disk_failed(&error),
        }
    }

    fn trimmed(&mut self, first: u32, trimmed: io::Result<()>) {
        match trimmed {
            Ok(()) if self.trim_before == Some(first) => self.trim_before = None,
            Ok(()) => {}
            Err(error) => self.disk_failed(&error),
        }
    }

    fn succeeded(&mut self) {
        self.retry.succeeded();
        if self.failure_logged.take().is_some() {
            let span = self.kept.as_ref().map_or(Duration::ZERO, |kept| kept.rewind.span());
            tracing::info!(room = %self.room, ?span, lost = self.lost, "rewind window is written again");
        }
    }

    /// Shrinks the window if the disk is full. Waits for a retry if nothing can be erased, or after another
    /// failure.
    fn disk_failed(&mut self, error: &io::Error) {
        self.reason = format!("the disk failed: {error}");
        self.writer = None;
        let now = self.context.clock.now();
        let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let mut dropped = 0;
        if let Some(kept) = self.kept.as_ref().filter(|_| is_full) {
            dropped = kept.rewind.change(|window| window.shrink());
            self.oldest_file = kept.rewind.oldest_file();
            self.trim_before = Some(if self.oldest_file > 0 { self.oldest_file } else { u32::MAX });
        }
        self.context.metrics.rewind().segments("dropped", dropped);
        if dropped == 0 {
            self.retry.failed(self.reason.clone(), now, &self.context.backoff(), random_unit());
        }
        if self.failure_logged.is_none_or(|last| now.saturating_sub(last) >= LOG_FAILURE_EVERY) {
            self.failure_logged = Some(now);
            let span = self.kept.as_ref().map_or(Duration::ZERO, |kept| kept.rewind.span());
            let (room, lost) = (&self.room, self.lost);
            RewindDiskFailed { room, error, span, lost }.emit(&self.context.metrics);
        }
    }
}

impl Behaviour for RewindActor {
    const KIND: &'static str = "rewind";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        if !matches!(msg, Msg::StateChanged | Msg::Retry | Msg::Taken(..) | Msg::Released) {
            self.busy = false;
        }
        match msg {
            Msg::StateChanged | Msg::Retry | Msg::Released => {}
            Msg::Listed(mixer, list) => self.listed(mixer, list),
            Msg::Taken(id, number, taken) => self.took(&id, number, taken),
            Msg::Opened(opened) => self.opened(opened),
            Msg::Copied(copied) => self.copied(copied),
            Msg::Trimmed(first, trimmed) => self.trimmed(first, trimmed),
            Msg::Erased(erased) => self.erased(erased),
        }
        self.step(cx);
        self.take(cx);
    }

    fn stopping(&mut self, cx: &mut Cx<Self>) -> StopAnswer {
        self.leaving = true;
        self.left.notify_one();
        if self.kept.is_none() && !self.busy {
            return StopAnswer::Now;
        }
        self.step(cx);
        StopAnswer::Wait
    }

    fn observe(&self) -> ActorState {
        let state = match &self.duty {
            RewindDuty::Keep { .. } if self.failure_logged.is_some() => "failing",
            RewindDuty::Keep { .. } => "writing",
            RewindDuty::Lend => "lending",
            RewindDuty::End => "ending",
            RewindDuty::Erase => "erasing",
            RewindDuty::Nothing => "finished",
        };
        let now = self.context.clock.now();
        let rewind = self.kept.as_ref().map(|kept| &kept.rewind);
        let earlier = self.kept.as_ref().and_then(|kept| kept.takeover.earlier());
        ActorState {
            state: state.into(),
            desired: json!({ "room": self.room, "seconds": self.span.as_secs() }),
            observed: json!({
                "seconds": rewind.map(|rewind| rewind.span().as_secs()),
                "last": rewind.and_then(|rewind| rewind.last()),
                "lost": self.lost,
                "takenFrom": earlier.map(|earlier| earlier.mixer.mixer),
            }),
            reason: Some(self.reason.clone()),
            attempt: self.retry.attempt(),
            next_retry_in: self.retry.due().and_then(|due| due.checked_sub(now)),
        }
    }
}

//! One room on this mixer: shell around [`domain::mixer_room`](crate::domain::mixer_room).
//!
//! Owns FFmpeg and the packager, but not the port and the stream, which [`RoomResources`] owns. The effects
//! run in two lanes: process effects and store writes. Each lane has at most one effect in progress.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::oneshot;

use super::process::{self, Output, ProcessEnd, SpawnedProcess};
use super::resources::RoomResources;
use super::running::{LONGEST_START, Reasons, RunningProcess, StartPermit};
use super::{MixerShared, PortLease};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, Cx, Message, StopAnswer, Timer};
use crate::actors::room_children::report_finished;
use crate::clock::random_unit;
use crate::domain::ids::{Epoch, Nonce, RoomId};
use crate::domain::mixer_room::{Exit, KillReason, MixerRoom, ProcessEffect, ProcessOutcome, StoreEffect};
use crate::domain::model::SequenceState;
use crate::domain::plan::{Failure, Plan, Reason, WriteOutcome};
use crate::domain::view::RoomView;
use crate::ffmpeg::Ffmpeg;
use crate::packager::{LiveStream, Packager};
use crate::rooms::writes;
use crate::telemetry::events::{Event, FfmpegExited, FfmpegStarted};
use crate::telemetry::trace::{self, Span};

mod stream;

pub struct MixerRoomActor {
    room: RoomId,
    context: Context,
    shared: MixerShared,
    parent: ActorRef<super::supervisor::Msg>,
    machine: MixerRoom,
    view: Arc<RoomView>,
    resources: RoomResources,
    running: Option<RunningProcess>,
    stream: Option<(Packager, Arc<LiveStream>)>,
    /// Buffer for FFmpeg's output while no read is in progress.
    buffer: Vec<u8>,
    /// Fires when silence must replace FFmpeg's missing audio.
    fill: Option<Timer>,
    process_busy: bool,
    store_busy: bool,
    reasons: Reasons,
    /// True if nothing is left to do.
    gone: bool,
    timer: Option<Timer>,
}

pub enum Msg {
    StateChanged,
    Spawned(Epoch, Result<SpawnedProcess, Failure>),
    /// Window of the previous mixer, if it could be fetched.
    Inherited(Nonce, SequenceState, Option<Bytes>),
    Output(Output),
    /// The mix of the process with this id has begun a lasting silence (true), or has sound (false).
    Metered(u32, bool),
    Fill,
    Exited(ProcessEnd),
    Stored(StoreEffect, WriteOutcome),
    StartEnds,
    Retry,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Spawned(..) => "spawned",
            Self::Inherited(..) => "inherited",
            Self::Output(_) => "output",
            Self::Metered(..) => "metered",
            Self::Fill => "fill",
            Self::Exited(_) => "exited",
            Self::Stored(..) => "stored",
            Self::StartEnds => "start_ends",
            Self::Retry => "retry",
        }
    }
}

impl MixerRoomActor {
    pub fn new(
        room: RoomId,
        context: Context,
        shared: MixerShared,
        machine: MixerRoom,
        resources: RoomResources,
        parent: ActorRef<super::supervisor::Msg>,
    ) -> Self {
        Self {
            room,
            context,
            shared,
            parent,
            machine,
            view: Arc::default(),
            resources,
            running: None,
            stream: None,
            buffer: Vec::new(),
            fill: None,
            process_busy: false,
            store_busy: false,
            reasons: Reasons::default(),
            gone: false,
            timer: None,
        }
    }

    fn look(&mut self) {
        // The revision is read first, so that the view can only be newer than `as_of`, never older.
        let as_of = self.context.rooms_revision();
        self.view = self.context.directory.room(&self.room).unwrap_or_default();
        self.machine.observe_revision(as_of);
    }

    /// Plans and starts effects until the process lane and the store lane are both busy or waiting.
    fn step(&mut self, cx: &mut Cx<Self>) {
        let now = self.context.clock.now();
        self.gone = false;
        self.machine.look(&self.view, now);
        let mut due = None;
        while !self.process_busy {
            match self.machine.plan_process(&self.view, now) {
                Plan::Do { effect, reason } => self.act(effect, reason, cx),
                Plan::Wait { reason, until } => {
                    self.reasons.process = reason.into_owned();
                    due = until;
                    break;
                }
                Plan::Finished => {
                    self.reasons.process = "nothing runs".into();
                    break;
                }
            }
        }
        if self.machine.warms_up(&self.view) {
            self.read_on(cx);
        }
        let stored = self.step_store(now, cx);
        due = due.into_iter().chain(stored).min();
        self.timer = due.map(|due| cx.after(due.saturating_sub(now), Msg::Retry));
    }

    /// Runs the store lane. Returns the time at which the lane must be planned again.
    fn step_store(&mut self, now: Duration, cx: &mut Cx<Self>) -> Option<Duration> {
        if self.store_busy {
            return None;
        }
        match self.machine.plan_store(&self.view, now) {
            Plan::Do { effect, reason } => {
                self.reasons.store = reason.into_owned();
                self.store_busy = true;
                let (context, txn) = (self.context.clone(), writes::mixer(&self.room, &effect));
                let span = self.span("mixer.store.write");
                let write = span.run(async move { context.write(txn).await });
                cx.run(write, move |outcome| Msg::Stored(effect, outcome));
                None
            }
            Plan::Wait { reason, until } => {
                self.reasons.store = reason.into_owned();
                until
            }
            Plan::Finished => self.finished(now, cx),
        }
    }

    /// Reports to the supervisor that the room is finished. If the report failed, returns the time of the
    /// next attempt.
    fn finished(&mut self, now: Duration, cx: &mut Cx<Self>) -> Option<Duration> {
        self.reasons.store = "the room has no resources here".into();
        self.gone = true;
        if self.machine.is_leaving() {
            cx.exit();
            return None;
        }
        report_finished(&self.parent, super::supervisor::Msg::Finished(self.room.clone()), now)
    }

    fn act(&mut self, effect: ProcessEffect, reason: Reason, cx: &mut Cx<Self>) {
        let outcome = match effect {
            ProcessEffect::TakePort { epoch } => self.take_port(epoch),
            ProcessEffect::Spawn { epoch, rtp, nonce } => {
                self.reasons.process = reason.into_owned();
                self.process_busy = true;
                let (context, shared) = (self.context.clone(), self.shared.clone());
                let srtp = shared.secrets.srtp_key(&self.room, &nonce, epoch, rtp);
                let spawn = process::spawn(context, shared, rtp, self.view.mix_share(), srtp);
                let spawn = self.span("mixer.ffmpeg.start").run(spawn);
                return cx.run(spawn, move |spawned| Msg::Spawned(epoch, spawned));
            }
            ProcessEffect::Kill { why, gently } => self.kill(why, gently),
            ProcessEffect::FreePort { .. } => {
                drop(self.resources.take_port());
                ProcessOutcome::Freed
            }
            ProcessEffect::OpenStream { nonce, start } => match self.predecessor(&nonce) {
                Some(url) => {
                    self.reasons.process = "requests the window of the previous mixer".into();
                    self.process_busy = true;
                    let left = self.shared.fetcher.clone().window_snapshot(url, self.room.clone());
                    return cx.run(left, move |left| Msg::Inherited(nonce, start, left));
                }
                None => self.open_stream(nonce, start, None, cx),
            },
            ProcessEffect::EndStream { over } => self.end_stream(over),
        };
        self.machine.process_done(outcome, self.context.clock.now(), random_unit());
    }

    /// Begins a span in the trace of the request that put the room on air.
    fn span(&self, name: &str) -> Span {
        let live = self.view.live.as_ref();
        let mut span = Span::child_of(live.and_then(|live| live.start_span(self.context.clock.wall())), name);
        span.set(|span| {
            span.attribute("stentor.room", self.room.as_str());
        });
        span
    }

    fn take_port(&mut self, epoch: Epoch) -> ProcessOutcome {
        let (media_ip, now) = (self.context.config.listen.media, self.context.clock.now());
        match PortLease::reserve(&self.shared.ports, media_ip, now) {
            Some(lease) => {
                let rtp = lease.rtp;
                self.resources.keep_port(lease, epoch, now);
                ProcessOutcome::PortTaken { rtp, epoch }
            }
            None => self.not_started(Failure::Refused("no RTP port is free: widen mixer.rtp_ports".into())),
        }
    }

    fn not_started(&self, failure: Failure) -> ProcessOutcome {
        tracing::warn!(room = %self.room, %failure, "FFmpeg could not be started");
        ProcessOutcome::Failed(failure)
    }

    fn kill(&mut self, why: KillReason, gently: bool) -> ProcessOutcome {
        let grace = if gently { self.context.config.mixer.stop_grace } else { Duration::ZERO };
        if let Some(running) = &mut self.running {
            running.why_killed = Some(why);
            running.stdout = None;
            if let Some(kill) = running.kill.take() {
                // Sending fails only if the process has ended; its exit is already queued.
                let _ = kill.send(grace);
            }
        }
        ProcessOutcome::Killing { why }
    }

    fn spawned(&mut self, epoch: Epoch, spawned: Result<SpawnedProcess, Failure>, cx: &mut Cx<Self>) {
        self.process_busy = false;
        let now = self.context.clock.now();
        let outcome = match spawned {
            Ok(spawned) => self.run(epoch, spawned, now, cx),
            Err(failure) => self.not_started(failure),
        };
        self.machine.process_done(outcome, now, random_unit());
    }

    fn run(
        &mut self,
        epoch: Epoch,
        spawned: SpawnedProcess,
        now: Duration,
        cx: &mut Cx<Self>,
    ) -> ProcessOutcome {
        let SpawnedProcess { ffmpeg: Ffmpeg { stdout, log, process }, rtp, permit } = spawned;
        let pid = process.pid();
        let span = self.span("mixer.first_part");
        trace::within(span.context(), || {
            FfmpegStarted { room: &self.room, epoch, pid, port: rtp.port }.emit(&self.context.metrics);
        });
        let (kill, killed) = oneshot::channel();
        let meter = (self.resources.meter.clone(), self.context.metrics.clone());
        let me = cx.me();
        let changed = move |silent| {
            // A full mailbox takes this message, too. A lost change would make good audio count as silence.
            let _ = me.tell_latest("metered", Msg::Metered(pid, silent));
        };
        cx.run(process::attend(self.room.clone(), process, log, meter, changed, killed), Msg::Exited);
        let starting =
            StartPermit { _permit: permit, _until: cx.after(LONGEST_START, Msg::StartEnds), _span: span };
        let alive = self.context.metrics.ffmpeg_alive();
        self.running = Some(RunningProcess::new(pid, now, kill, stdout, starting, alive));
        if let Some((packager, _)) = &mut self.stream {
            packager.begin_incarnation(self.context.clock.moment());
            self.read_on(cx);
        }
        ProcessOutcome::Spawned { epoch }
    }

    fn exited(&mut self, ended: ProcessEnd) {
        let now = self.context.clock.now();
        let Some(running) = self.running.take() else { return };
        let why = running.why_ended(ended.exit);
        let (pid, ran) = (ended.pid, now.saturating_sub(running.started));
        FfmpegExited { room: &self.room, pid, why, status: &ended.status, ran }.emit(&self.context.metrics);
        if ended.exit == Exit::BindFailed
            && let Some(lease) = self.resources.take_port()
        {
            lease.quarantine(now);
        }
        self.machine.exited(ended.exit, &ended.status, now, random_unit());
    }
}

impl Behaviour for MixerRoomActor {
    const KIND: &'static str = "mixer_room";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.look();
        self.inherit();
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::StateChanged => self.look(),
            Msg::Spawned(epoch, spawned) => self.spawned(epoch, spawned, cx),
            Msg::Inherited(nonce, start, left) => {
                self.process_busy = false;
                let opened = self.open_stream(nonce, start, left, cx);
                self.machine.process_done(opened, self.context.clock.now(), random_unit());
            }
            Msg::Exited(ended) => self.exited(ended),
            Msg::Retry => {}
            Msg::StartEnds => {
                if let Some(running) = &mut self.running {
                    running.starting = None;
                }
                return;
            }
            Msg::Output(output) => {
                if !self.output(output, cx) {
                    return cx.quiet();
                }
            }
            Msg::Metered(pid, silent) => {
                if self.running.as_ref().is_some_and(|running| running.pid == pid) {
                    self.machine.metered(silent);
                }
            }
            Msg::Fill => {
                if !self.fill(cx) {
                    return cx.quiet();
                }
            }
            Msg::Stored(effect, outcome) => {
                self.store_busy = false;
                if let WriteOutcome::Failed(failure) = &outcome {
                    let doing = &self.reasons.store;
                    tracing::warn!(room = %self.room, %failure, doing, "room key write failed");
                }
                self.machine.store_done(effect, outcome, self.context.clock.now(), random_unit());
                if let Some(ceiling) = self.machine.ceiling() {
                    self.resources.raise_ceiling(ceiling);
                }
                self.look();
            }
        }
        self.step(cx);
    }

    /// Ends FFmpeg and returns the unused sequence numbers. The room stays assigned to this mixer, which may
    /// start again.
    fn stopping(&mut self, cx: &mut Cx<Self>) -> StopAnswer {
        self.machine.leave();
        self.step(cx);
        if self.gone { StopAnswer::Now } else { StopAnswer::Wait }
    }

    fn observe(&self) -> ActorState {
        let live = self.view.live.as_ref();
        let now = self.context.clock.now();
        ActorState {
            state: self.machine.state().into(),
            desired: json!({
                "onAir": self.view.is_on_air(),
                "epoch": live.map(|l| l.epoch),
                "mixer": live.map(|l| &l.mixer_id),
            }),
            observed: json!({
                "pid": self.running.as_ref().map(|r| r.pid),
                "rtp": self.machine.rtp().map(|rtp| rtp.to_string()),
                "next": self.machine.next_sequence(),
                "starved": self.machine.starved(),
                "mix": self.resources.meter.observe(),
            }),
            reason: Some(format!("{}; store: {}", self.reasons.process, self.reasons.store)),
            attempt: self.machine.attempt(),
            next_retry_in: self.machine.retry_due(now).map(|due| due - now),
        }
    }
}

//! State machine of one room on one mixer: its FFmpeg process, RTP port, stream and keys.
//!
//! ```text
//!      port, spawn               first audio
//!  Idle ───────▶ Running ──────────────────────▶ Running (producing)
//!   ▲               │ exit, starved, unheard, RTP source or epoch changed, not wanted
//!   │   exited      ▼
//!   └─────────── Ending
//! ```
//!
//! Two lanes of effects run side by side: the *process lane* (FFmpeg, port, stream) and the *store lane*
//! (this mixer's key and its reservation). So an unresponsive store never delays a restart of FFmpeg.
//!
//! Invariants: at most one process holds the port. A new epoch gets a new port; a restart within an epoch
//! keeps the port as long as FFmpeg can still join the RTP stream on it (`JOINABLE_FOR`). Media sequence
//! numbers never decrease, and stay below the ceiling reserved in the store except in a long store outage.

use std::time::Duration;

use super::handover::outgoing_mixer;
use super::ids::{Epoch, MediaAddr, ModuleId, Nonce};
pub use super::mixer_effects::{
    Exit, KeyClaim, KillReason, LeftStream, ProcessEffect, ProcessOutcome, Reservation, ReservedNumbers,
    StoreEffect,
};
use super::model::{JanusStatus, LiveStatus, MixerState, SequenceState};
use super::plan::{Plan, Retry};
use super::read_your_writes::ReadYourWrites;
use super::restart::{Backoff, Budget, Restarts};
use super::view::{RoomView, UNREADABLE};

mod port;
mod store_lane;
mod unheard;

pub use port::{GIVE_UP_AT, JOINABLE_FOR};
use port::{Port, Starvation};
use store_lane::live_goes_on;
use unheard::Repairs;

#[derive(Debug, Clone)]
pub struct MixerPolicy {
    pub backoff: Backoff,
    /// Number of crashes per window above which FFmpeg counts as being in a crash loop.
    pub crashes: Budget,
    /// Longest time without audio from FFmpeg while Janus forwards. The packager's silence is not audio.
    pub watchdog: Duration,
    /// Base URL for listener nodes, written to the mixer key as `hlsUrl`, e.g. `http://10.0.0.7:8080`.
    pub hls_base: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct WantedPart {
    epoch: Epoch,
    nonce: Nonce,
    live_revision: i64,
    part: Role,
}

/// Role of this mixer for the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Owner,
    /// Next owner. The previous mixer publishes until this one produces.
    Successor,
    /// Previous owner. Publishes until the successor produces.
    Predecessor,
}

/// Source of the RTP. A different source has a different SSRC, which a running FFmpeg cannot switch to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Feed {
    janus: ModuleId,
    janus_room_id: u32,
    stream_id: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Process {
    Idle,
    Running(RunningProcess),
    Ending { why: KillReason },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RunningProcess {
    epoch: Epoch,
    since: Duration,
    feed: Option<(Feed, Duration)>,
    /// Reason to kill this process, if there is one.
    unfit: Option<KillReason>,
    last_fragment: Option<Duration>,
    /// True if the latest output was only silence, for more than three seconds.
    silent: bool,
}

#[derive(Debug)]
pub struct MixerRoom {
    me: ModuleId,
    incarnation: String,
    policy: MixerPolicy,
    process: Process,
    port: Option<Port>,
    stream: Option<Nonce>,
    reserved: Option<ReservedNumbers>,
    /// Epoch in which the store last showed our reservation; no other mixer can reserve numbers within it.
    numbers_of: Option<Epoch>,
    key: ReadYourWrites<MixerState>,
    sequence: ReadYourWrites<SequenceState>,
    as_of: i64,
    crashes: Restarts,
    /// Epoch under which FFmpeg crashed too often. Written to the mixer key as `gave_up`.
    gave_up: Option<Epoch>,
    starvation: Starvation,
    repairs: Repairs,
    /// Epoch of the handover to this mixer, and the time from which FFmpeg has produced audio under it.
    ready: Option<(Epoch, Duration)>,
    retry: Retry,
    store_retry: Retry,
    leaving: bool,
}

impl MixerRoom {
    /// Creates the machine. `incarnation` is the one in this module's heartbeat.
    pub fn new(me: ModuleId, incarnation: String, policy: MixerPolicy) -> Self {
        Self {
            me,
            incarnation,
            policy,
            process: Process::Idle,
            port: None,
            stream: None,
            reserved: None,
            numbers_of: None,
            key: ReadYourWrites::default(),
            sequence: ReadYourWrites::default(),
            as_of: 0,
            crashes: Restarts::default(),
            gave_up: None,
            starvation: Starvation::default(),
            repairs: Repairs::default(),
            ready: None,
            retry: Retry::default(),
            store_retry: Retry::default(),
            leaving: false,
        }
    }

    /// Takes over the port and the stream of a previous incarnation of the actor, whose processes are gone.
    /// Returns false if no stream is left, or if the store does not confirm the numbers of the wanted stream.
    pub fn inherit(
        &mut self,
        port: Option<(MediaAddr, Epoch, Duration)>,
        stream: Option<LeftStream>,
        view: &RoomView,
    ) -> bool {
        self.port = port.map(|(rtp, epoch, since)| Port::new(rtp, epoch, since));
        let Some(LeftStream { nonce, next, ceiling }) = stream else { return false };
        let ours = view.sequence.as_ref().is_some_and(|stored| stored.value == ceiling);
        if !ours && self.wanted(view).is_some_and(|wanted| wanted.nonce == nonce) {
            return false;
        }
        self.stream = Some(nonce);
        self.reserved = ours.then_some(ReservedNumbers { next, ceiling });
        true
    }

    pub fn state(&self) -> &'static str {
        match &self.process {
            Process::Idle => "idle",
            Process::Running(r) if r.last_fragment.is_some() => "producing",
            Process::Running(_) => "started",
            Process::Ending { .. } => "ending",
        }
    }

    pub fn attempt(&self) -> u32 {
        self.retry.attempt().max(self.store_retry.attempt())
    }

    /// Returns the earliest pending retry of the two lanes; `None` if neither lane waits for a retry.
    pub fn retry_due(&self, now: Duration) -> Option<Duration> {
        self.retry.due().into_iter().chain(self.store_retry.due()).filter(|due| *due > now).min()
    }

    pub fn rtp(&self) -> Option<MediaAddr> {
        self.port.as_ref().map(|p| p.rtp)
    }

    pub fn next_sequence(&self) -> Option<SequenceState> {
        self.reserved.map(|r| r.next)
    }

    /// Returns the ceiling reserved for this mixer in the store; `None` if nothing is reserved.
    pub fn ceiling(&self) -> Option<SequenceState> {
        self.reserved.map(|r| r.ceiling)
    }

    /// Records that the store was seen up to revision `as_of`.
    pub fn observe_revision(&mut self, as_of: i64) {
        self.as_of = self.as_of.max(as_of);
        self.key.seen(self.as_of);
        self.sequence.seen(self.as_of);
        self.store_retry.state_changed();
    }

    /// Updates the RTP source and the reservation. Must be called with the newest view before planning.
    pub fn look(&mut self, view: &RoomView, now: Duration) {
        self.look_at_numbers(view);
        let feed = self.feed_of(view);
        if let (Process::Running(running), Some(feed)) = (&mut self.process, feed) {
            match &running.feed {
                None => running.feed = Some((feed, now)),
                Some((known, _)) if *known != feed => running.unfit = Some(KillReason::NewSource),
                Some(_) => {}
            }
        }
        self.look_at_silence(view, now);
    }

    /// Drops the reservation if another mixer may have published numbers above its ceiling. Within one epoch,
    /// only this mixer's own writes raise the stored ceiling, including writes that seemed to fail.
    fn look_at_numbers(&mut self, view: &RoomView) {
        let stored = self.sequence.current(view.sequence.as_ref()).map(|s| s.value);
        let epoch = self.wanted(view).map(|wanted| wanted.epoch);
        if self.reserved.is_some_and(|r| Some(r.ceiling) == stored) {
            self.numbers_of = epoch.or(self.numbers_of);
        } else if self.stream.is_none() || (epoch.is_some() && epoch != self.numbers_of) {
            self.reserved = None;
        }
    }

    /// Returns true if the published stream has lost its reservation and so cannot continue.
    fn lost_its_numbers(&self) -> bool {
        self.stream.is_some() && self.reserved.is_none()
    }

    /// Records that FFmpeg has produced audio. Silence written by the packager does not count.
    pub fn produced(&mut self, now: Duration) {
        if let Process::Running(running) = &mut self.process {
            running.last_fragment = Some(now);
            let lived = now.saturating_sub(running.since);
            self.heard();
            // A process that produces audio only for a short time may still be in a crash loop.
            if lived > self.policy.crashes.window {
                self.gave_up = None;
            }
        }
    }

    /// Records that FFmpeg has produced audio while this mixer does not publish yet. Returns true for the
    /// first audio of an epoch.
    pub fn warm(&mut self, now: Duration) -> bool {
        let Process::Running(running) = &mut self.process else { return false };
        running.last_fragment = Some(now);
        let epoch = running.epoch;
        self.heard();
        let first = self.ready.is_none_or(|(ready, _)| ready != epoch);
        if first {
            self.ready = Some((epoch, now));
        }
        first
    }

    /// Returns true if FFmpeg's output must be read although there is no stream for it yet.
    pub fn warms_up(&self, view: &RoomView) -> bool {
        let epoch = view.live.as_ref().filter(|live| live.handover.is_some()).map(|live| live.epoch);
        let running = matches!(&self.process, Process::Running(r) if Some(r.epoch) == epoch);
        self.stream.is_none() && running && self.wanted(view).is_some_and(|w| w.part != Role::Predecessor)
    }

    /// Records that FFmpeg's output is unusable.
    pub fn unusable_output(&mut self) {
        if let Process::Running(running) = &mut self.process {
            running.unfit = Some(KillReason::UnusableOutput);
        }
    }

    /// Starts an orderly shutdown: the process ends and unused numbers are given back, but the room and its
    /// key stay with this mixer, and the broadcast does not end for listeners.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Handles the exit of the process, which has already been reaped.
    pub fn exited(&mut self, exit: Exit, why: &str, now: Duration, random: f64) {
        let ended = std::mem::replace(&mut self.process, Process::Idle);
        let backoff = self.policy.backoff;
        if exit == Exit::BindFailed {
            // Another process holds the port pair, even if this process was already being ended for another
            // reason.
            self.port = None;
        }
        match ended {
            Process::Idle => {}
            // Starvation is caused by the RTP source, so it does not count as a crash. FFmpeg restarts after
            // a backoff.
            Process::Ending { why: why @ (KillReason::Starved | KillReason::Unheard) } => {
                self.starve(why, now, random);
            }
            Process::Ending { why: why @ KillReason::UnusableOutput } => {
                self.retry.failed(why.text(), now, &backoff, random);
            }
            Process::Running(r) if exit == Exit::Starved && r.feed.is_some() => {
                self.starve(KillReason::Starved, now, random);
            }
            Process::Running(_) if exit == Exit::Starved => self.retry.failed(why, now, &backoff, random),
            Process::Ending { .. } => {}
            Process::Running(_) if exit == Exit::BindFailed => self.retry.failed(why, now, &backoff, random),
            Process::Running(r) => self.crashed(r.epoch, r.last_fragment.is_some(), why, now, random),
        }
    }

    fn crashed(&mut self, epoch: Epoch, was_producing: bool, why: &str, now: Duration, random: f64) {
        let backoff = self.policy.backoff;
        if !self.crashes.record(now, &self.policy.crashes) {
            self.gave_up = Some(epoch);
            let slow = Backoff { first: backoff.max, max: backoff.max };
            self.retry.failed(format!("crash loop, last: {why}"), now, &slow, random);
        } else if !was_producing {
            self.retry.failed(why, now, &backoff, random);
        }
    }

    pub fn plan_process(&self, view: &RoomView, now: Duration) -> Plan<ProcessEffect> {
        match self.wanted(view) {
            Some(wanted) => self.run(&wanted, view, now),
            None if self.must_keep(view) => Plan::wait(UNREADABLE),
            None => self.wind_down(view),
        }
    }

    fn run(&self, wanted: &WantedPart, view: &RoomView, now: Duration) -> Plan<ProcessEffect> {
        let ended = self.stream.as_ref().is_some_and(|nonce| *nonce != wanted.nonce);
        match &self.process {
            Process::Ending { why, .. } => Plan::wait(format!("waits for FFmpeg's exit: {why}")),
            Process::Running(r) => self.watch(r, wanted, now),
            Process::Idle if ended => {
                Plan::act(ProcessEffect::EndStream { over: true }, "an earlier broadcast has ended")
            }
            // Another mixer has or had the room in between. Its numbers are above those of this stream.
            Process::Idle
                if self.lost_its_numbers() || (wanted.part == Role::Successor && self.stream.is_some()) =>
            {
                Plan::act(ProcessEffect::EndStream { over: false }, "another mixer had the room meanwhile")
            }
            Process::Idle => self.spawn(wanted, view, now),
        }
    }

    fn spawn(&self, wanted: &WantedPart, view: &RoomView, now: Duration) -> Plan<ProcessEffect> {
        if let Some((rtp, why)) = self.spent_port(wanted, view, now) {
            return Plan::act(ProcessEffect::FreePort { rtp }, why);
        }
        if let Some(wait) = self.retry.pending(now) {
            return wait;
        }
        let epoch = wanted.epoch;
        let effect = match self.rtp() {
            None => ProcessEffect::TakePort { epoch },
            Some(rtp) => ProcessEffect::Spawn { epoch, rtp, nonce: wanted.nonce.clone() },
        };
        Plan::act(effect, "the room is assigned to this mixer")
    }

    /// Plans the next step for a running process.
    fn watch(&self, r: &RunningProcess, wanted: &WantedPart, now: Duration) -> Plan<ProcessEffect> {
        let kill = |why: KillReason| Plan::act(ProcessEffect::Kill { why, gently: false }, why.text());
        if r.epoch != wanted.epoch {
            return kill(KillReason::NewEpoch);
        }
        if let Some(why) = r.unfit {
            return kill(why);
        }
        if self.stream.is_none() && (self.reserved.is_some() || wanted.part != Role::Successor) {
            return match self.reserved {
                Some(reserved) => Plan::act(
                    ProcessEffect::OpenStream { nonce: wanted.nonce.clone(), start: reserved.next },
                    "sequence numbers are reserved",
                ),
                None => Plan::wait("waits for sequence numbers reserved in the store"),
            };
        }
        let Some((_, fed_since)) = r.feed else {
            return Plan::wait("waits for Janus to forward RTP");
        };
        let alive = r.last_fragment.unwrap_or_default().max(fed_since).max(r.since);
        let due = alive + self.patience(r);
        if due <= now {
            return kill(KillReason::Starved);
        }
        Plan::Wait { reason: self.progress(r).into(), until: Some(due) }
    }

    fn wind_down(&self, view: &RoomView) -> Plan<ProcessEffect> {
        match (&self.process, &self.port, &self.stream) {
            (Process::Running(_), ..) => {
                // After a handover, the successor already produces and waits for the unused numbers.
                let handed_over = self.stream.as_ref().is_some_and(|nonce| live_goes_on(view, nonce));
                Plan::act(ProcessEffect::Kill { why: NOT_WANTED, gently: !handed_over }, NOT_WANTED.text())
            }
            (Process::Ending { why, .. }, ..) => Plan::wait(format!("waits for FFmpeg's exit: {why}")),
            (Process::Idle, Some(port), _) => {
                Plan::act(ProcessEffect::FreePort { rtp: port.rtp }, NOT_WANTED.text())
            }
            (Process::Idle, None, Some(nonce)) => {
                let goes_on = self.leaving || live_goes_on(view, nonce);
                Plan::act(ProcessEffect::EndStream { over: !goes_on }, NOT_WANTED.text())
            }
            (Process::Idle, None, None) => Plan::Finished,
        }
    }

    /// Applies the outcome of a process effect.
    pub fn process_done(&mut self, outcome: ProcessOutcome, now: Duration, random: f64) {
        match outcome {
            ProcessOutcome::PortTaken { rtp, epoch } => self.port = Some(Port::new(rtp, epoch, now)),
            ProcessOutcome::Spawned { epoch } => {
                // A new assignment after giving up is a request to try again.
                if self.gave_up.take_if(|gave_up| *gave_up != epoch).is_some() {
                    self.crashes.clear();
                }
                self.process = Process::Running(RunningProcess {
                    epoch,
                    since: now,
                    feed: None,
                    unfit: None,
                    last_fragment: None,
                    silent: false,
                });
            }
            // If the exit was reported first, there is nothing to wait for.
            ProcessOutcome::Killing { why } => {
                if let Process::Running(_) = self.process {
                    self.process = Process::Ending { why };
                }
            }
            ProcessOutcome::Freed => self.port = None,
            ProcessOutcome::Opened { nonce } => self.stream = Some(nonce),
            ProcessOutcome::Ended => self.stream = None,
            ProcessOutcome::Failed(failure) => match &self.port {
                Some(port) => self.crashed(port.epoch, false, &failure.to_string(), now, random),
                // Without a port, only the attempt to take one can have failed.
                None => self.retry.failed(failure.to_string(), now, &self.policy.backoff, random),
            },
        }
    }

    fn wanted(&self, view: &RoomView) -> Option<WantedPart> {
        let live = view.live.as_ref().filter(|_| !self.leaving)?;
        if live.status != LiveStatus::OnAir || view.meta.is_none() {
            return None;
        }
        let (epoch, part) = match outgoing_mixer(view) {
            Some(handover) if handover.mixer_id == self.me => (handover.epoch, Role::Predecessor),
            Some(_) if live.mixer_id == self.me => (live.epoch, Role::Successor),
            None if live.mixer_id == self.me => (live.epoch, Role::Owner),
            _ => return None,
        };
        Some(WantedPart { epoch, nonce: live.nonce.clone(), live_revision: live.mod_revision, part })
    }

    /// Returns true if the room's resources may still be wanted, because a key is unreadable. A shutdown
    /// releases them regardless.
    fn must_keep(&self, view: &RoomView) -> bool {
        !self.leaving && view.unreadable_part().is_some()
    }

    /// Returns the source that feeds this mixer's port now, according to the Janus key; `None` if none does.
    fn feed_of(&self, view: &RoomView) -> Option<Feed> {
        let janus = view.janus.as_ref().filter(|j| j.status == JanusStatus::Forwarding)?;
        let forwarder = janus.forwarder.filter(|f| Some(f.target) == self.rtp())?;
        Some(Feed {
            janus: janus.id.clone(),
            janus_room_id: janus.janus_room_id,
            stream_id: forwarder.stream_id,
        })
    }
}

/// Returns true if the room is assigned to this mixer, or the mixer key or a handover still names it.
pub fn concerns(view: &RoomView, me: &ModuleId) -> bool {
    view.live.as_ref().is_some_and(|l| l.mixer_id == *me)
        || view.mixer.as_ref().is_some_and(|m| m.id == *me)
        || outgoing_mixer(view).is_some_and(|handover| handover.mixer_id == *me)
}

const NOT_WANTED: KillReason = KillReason::NotWanted;

#[cfg(test)]
#[path = "mixer_room_tests.rs"]
mod tests;

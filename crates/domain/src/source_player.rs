//! State machine of one source on the node with the room's Janus. It plans the playback and the writes of the
//! source's state.
//!
//! A run is one participant in Janus with one FFmpeg process. The shell starts and stops the run, and reports
//! its end. The machine repeats runs with a growing delay until this node no longer has to play the source.
//!
//! Invariants:
//! - Writes compare the revisions of the room's sources and `livemeta`, so a node that lost the room writes
//!   nothing.
//! - A source that is removed, banned or no longer assigned here has no run.

use std::time::Duration;

use super::ids::{ModuleId, UserId};
use super::model::JanusState;
use super::plan::{Plan, Retry, WriteOutcome};
use super::restart::Backoff;
use super::sources::{Source, SourceState, Sources};
use super::view::{RoomView, StoredValue};

/// Time after the first sound from which a run counts as a success, so that the next delay is short again.
const SETTLED: Duration = Duration::from_secs(10);
/// Interval between checks of the connection to Janus.
const LINK_CHECK: Duration = Duration::from_millis(500);
/// Maximum length of a written reason, in characters.
const MAX_REASON: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Join this Janus room and play the input.
    Start { source: Source, janus_room_id: u32 },
    /// End the run. Its end is reported like any other.
    Stop,
    /// Write the room's sources if their key is still at `key_revision` and livemeta at `live_revision`.
    Write { sources: Sources, key_revision: i64, live_revision: i64 },
}

/// Reason why a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// The input ended.
    Finished,
    Stopped,
    Failed(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    janus_room_id: u32,
    /// Time of the first sound.
    playing_since: Option<Duration>,
    stopping: bool,
}

#[derive(Debug)]
pub struct SourcePlayer {
    me: ModuleId,
    id: UserId,
    backoff: Backoff,
    run: Option<Run>,
    retry: Retry,
    /// Reason why the last run failed or was interrupted; `None` once a run produces sound.
    trouble: Option<String>,
    /// True if the input ended and is not repeated.
    ended: bool,
    /// Latest mute state that Janus reported.
    muted: Option<bool>,
    /// Revision of the last write. The machine plans no other write until the view contains it.
    wrote: i64,
    as_of: i64,
    /// True from a failed or conflicting write until the view changes.
    outdated: bool,
}

impl SourcePlayer {
    pub fn new(me: ModuleId, id: UserId, backoff: Backoff) -> Self {
        Self {
            me,
            id,
            backoff,
            run: None,
            retry: Retry::default(),
            trouble: None,
            ended: false,
            muted: None,
            wrote: 0,
            as_of: 0,
            outdated: false,
        }
    }

    /// Records that the view contains the store up to revision `as_of`.
    pub fn observe_revision(&mut self, as_of: i64) {
        self.as_of = self.as_of.max(as_of);
        self.outdated = false;
    }

    /// Returns the name of the state, for operators.
    pub fn state(&self) -> &'static str {
        match &self.run {
            Some(Run { stopping: true, .. }) => "stopping",
            Some(Run { playing_since: Some(_), .. }) => "playing",
            Some(_) => "connecting",
            None if self.ended => "ended",
            None => "waiting",
        }
    }

    pub fn attempt(&self) -> u32 {
        self.retry.attempt()
    }

    pub fn retry_due(&self) -> Option<Duration> {
        self.retry.due()
    }

    /// Returns the next step. `linked`: Janus is connected.
    pub fn plan(&self, view: &RoomView, linked: bool, now: Duration) -> Plan<Effect> {
        let record = view.sources.as_ref().and_then(|sources| Some((sources, sources.0.get(&self.id)?)));
        let assigned = assigned_to(view, &self.me);
        let (Some((sources, source)), true) = (record, assigned) else {
            return self.end("the source is not wanted here");
        };
        if view.is_off_stage(&self.id) {
            let without = || changed(sources, |all| drop(all.0.remove(&self.id)));
            return match self.run {
                Some(_) => self.end("the source may no longer speak"),
                None => self.write(view, sources, without(), "the source may no longer speak"),
            };
        }
        let recorded = self.recorded(source);
        if recorded != *source {
            let with = changed(sources, |all| drop(all.0.insert(self.id.clone(), recorded)));
            return self.write(view, sources, with, "writes the state of the source");
        }
        if self.ended || source.state == SourceState::Ended {
            return Plan::wait("the input has ended");
        }
        let Some(janus) = usable(view, &self.me) else {
            return match &self.run {
                Some(run) if !run.stopping => Plan::act(Effect::Stop, "the Janus room is gone"),
                _ => Plan::wait("waits for the room in Janus"),
            };
        };
        match &self.run {
            Some(Run { stopping: true, .. }) => Plan::wait("waits until the run has ended"),
            Some(run) if run.janus_room_id != janus.janus_room_id => {
                Plan::act(Effect::Stop, "the room has another number in Janus")
            }
            Some(Run { playing_since: Some(_), .. }) => Plan::wait("playing"),
            Some(_) => Plan::wait("waits for the first sound of the input"),
            None if !linked => Plan::Wait {
                reason: "waits for the connection to Janus".into(),
                until: Some(now + LINK_CHECK),
            },
            None => self.retry.pending(now).unwrap_or_else(|| {
                let (source, janus_room_id) = (source.clone(), janus.janus_room_id);
                Plan::act(Effect::Start { source, janus_room_id }, "opens the input")
            }),
        }
    }

    fn end(&self, reason: &'static str) -> Plan<Effect> {
        match &self.run {
            None => Plan::Finished,
            Some(run) if run.stopping => Plan::wait("waits until the run has ended"),
            Some(_) => Plan::act(Effect::Stop, reason),
        }
    }

    fn write(
        &self,
        view: &RoomView,
        known: &StoredValue<Sources>,
        sources: Sources,
        reason: &'static str,
    ) -> Plan<Effect> {
        if self.outdated || self.as_of < self.wrote {
            return Plan::wait("waits until the node sees the latest state of the store");
        }
        let (key_revision, live) = (known.mod_revision, view.live.as_ref());
        let live_revision = live.map_or(0, |live| live.mod_revision);
        Plan::act(Effect::Write { sources, key_revision, live_revision }, reason)
    }

    /// Returns the source with the state that should be in the store.
    fn recorded(&self, source: &Source) -> Source {
        let state = match &self.run {
            _ if self.ended || source.state == SourceState::Ended => SourceState::Ended,
            Some(Run { playing_since: Some(_), stopping: false, .. }) => SourceState::Playing,
            // This saves a write: the first attempt to play does not change the stored state.
            _ if self.trouble.is_none() && source.state != SourceState::Playing => source.state.clone(),
            _ => SourceState::Waiting { reason: self.trouble.clone() },
        };
        Source { state, muted: self.muted.unwrap_or(source.muted), ..source.clone() }
    }

    /// Records that the planned run has begun.
    pub fn started(&mut self, janus_room_id: u32) {
        self.run = Some(Run { janus_room_id, playing_since: None, stopping: false });
    }

    /// Records that the end of the run was requested.
    pub fn stopping(&mut self) {
        self.run.iter_mut().for_each(|run| run.stopping = true);
    }

    /// Records that the run produces sound.
    pub fn playing(&mut self, now: Duration) {
        if let Some(run) = &mut self.run {
            run.playing_since.get_or_insert(now);
            self.trouble = None;
        }
    }

    /// Records that Janus reports the participant as muted or unmuted.
    pub fn muted(&mut self, muted: bool) {
        self.muted = Some(muted);
    }

    /// Records the end of the run. `repeats`: true if the input starts over when it ends.
    pub fn run_ended(&mut self, end: RunEnd, repeats: bool, now: Duration, random: f64) {
        let Some(run) = self.run.take() else { return };
        if run.playing_since.is_some_and(|since| now.saturating_sub(since) >= SETTLED) {
            self.retry.succeeded();
        }
        let why = match end {
            RunEnd::Stopped => return,
            RunEnd::Finished if !repeats && run.playing_since.is_some() => {
                self.ended = true;
                return;
            }
            RunEnd::Finished if run.playing_since.is_some() => "the input has ended".to_owned(),
            RunEnd::Finished => "the input has no sound".to_owned(),
            RunEnd::Failed(why) => why,
        };
        let why: String = why.chars().take(MAX_REASON).collect();
        self.retry.failed(why.clone(), now, &self.backoff, random);
        self.trouble = Some(why);
    }

    /// Records the outcome of a write.
    pub fn written(&mut self, outcome: WriteOutcome, now: Duration, random: f64) {
        match outcome {
            WriteOutcome::Written { revision } => self.wrote = revision,
            WriteOutcome::Superseded => self.outdated = true,
            WriteOutcome::Failed(failure) => {
                self.outdated = true;
                // The delay also applies to the next run, because the state of that run must be written too.
                self.retry.failed(failure.to_string(), now, &self.backoff, random);
            }
        }
    }
}

/// Returns true if the room is open and assigned to this node's Janus.
pub fn assigned_to(view: &RoomView, me: &ModuleId) -> bool {
    view.is_open() && view.live.as_ref().is_some_and(|live| live.janus_id == *me)
}

/// Returns the room's state in Janus, if a participant can join there.
fn usable<'a>(view: &'a RoomView, me: &ModuleId) -> Option<&'a JanusState> {
    let live = view.live.as_ref()?;
    let janus = view.janus.as_ref().filter(|janus| janus.id == *me && janus.epoch == live.epoch)?;
    Some(&janus.value)
}

fn changed(sources: &Sources, change: impl FnOnce(&mut Sources)) -> Sources {
    let mut sources = sources.clone();
    change(&mut sources);
    sources
}

#[cfg(test)]
#[path = "source_player_tests.rs"]
mod tests;

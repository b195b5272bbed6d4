//! Measures the loudness and the waveform of this mixer's recordings after they have ended, one after the
//! other.
//!
//! ```text
//!  Waiting ─▶ Measuring ─▶ Marking ─▶ Waiting
//!                │ ▲
//!                └─┘ failed: other recordings first; a retry after a growing delay, at most ATTEMPTS in all
//! ```
//! Owns the order of the recordings. Runs one effect at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::analyzing::{AnalysisError, analyze};
use super::changed;
use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, Timer};
use crate::clock::random_unit;
use crate::delivery::ReplayMedia;
use crate::domain::analysis::{Analysis, is_due};
use crate::domain::plan::Retry;
use crate::domain::recording::{Recording, RecordingId, RecordingWrite};
use crate::domain::restart::Backoff;
use crate::rooms::RoomError;
use crate::rooms::recordings::Recordings;
use crate::store::Revision;

/// Delays between attempts.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(5), max: Duration::from_secs(600) };
/// Maximum number of attempts for one recording by one incarnation of this actor. A recording can be played
/// without a waveform.
const ATTEMPTS: u32 = 10;
/// Interval between checks for recordings that became ready without a change of their key.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub struct AnalyzerActor {
    context: Context,
    recordings: Arc<Recordings>,
    media: Arc<dyn ReplayMedia>,
    /// Recording that the effect in progress belongs to.
    busy: Option<RecordingId>,
    failures: BTreeMap<RecordingId, Retry>,
    measured: u64,
    reason: Option<String>,
    timer: Option<Timer>,
}

pub enum Msg {
    Changed(watch::Receiver<Option<Revision>>),
    Look,
    Analyzed(Result<Analysis, AnalysisError>),
    Marked(Result<(), RoomError>),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Changed(_) => "changed",
            Self::Look => "look",
            Self::Analyzed(_) => "analyzed",
            Self::Marked(_) => "marked",
        }
    }
}

impl AnalyzerActor {
    pub fn new(context: Context, recordings: Arc<Recordings>, media: Arc<dyn ReplayMedia>) -> Self {
        Self {
            context,
            recordings,
            media,
            busy: None,
            failures: BTreeMap::new(),
            measured: 0,
            reason: None,
            timer: None,
        }
    }

    /// Returns the recordings that this mixer has to measure, the newest first, because new ones are played
    /// most.
    fn due(&self) -> Vec<RecordingId> {
        if !self.recordings.is_complete() {
            return Vec::new();
        }
        let me = &self.context.me;
        let mut due = self.recordings.of_room(None);
        due.retain(|known| {
            is_due(&known.recording, self.recordings.state(&known.id, &known.recording), me)
                && self.failures.get(&known.id).is_none_or(|retry| retry.attempt() < ATTEMPTS)
        });
        due.into_iter().map(|known| known.id).collect()
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        if self.busy.is_some() {
            return;
        }
        let now = self.context.clock.now();
        let due = self.due();
        let waits =
            |id: &&RecordingId| self.failures.get(*id).and_then(Retry::due).is_some_and(|due| due > now);
        let Some(id) = due.iter().find(|id| !waits(id)).cloned() else {
            self.timer = Some(cx.after(LOOK_EVERY, Msg::Look));
            return;
        };
        self.busy = Some(id.clone());
        let (ffmpeg, media) = (self.context.ffmpeg(), self.media.clone());
        let wall = self.context.clock.wall();
        cx.run(async move { analyze(&ffmpeg, &*media, &id, wall).await }, Msg::Analyzed);
    }

    fn mark(&self, id: RecordingId, analysis: Analysis, cx: &mut Cx<Self>) {
        let recordings = self.recordings.clone();
        let mark = async move {
            let decide = |known: Option<&Recording>| {
                let known = known.filter(|recording| recording.deleted_at.is_none())?.clone();
                let analysis = Some(Box::new(analysis.clone()));
                Some(RecordingWrite::Put(Recording { analysis, ..known }))
            };
            recordings.change(&id, decide).await
        };
        cx.run(mark, Msg::Marked);
    }

    fn failed(&mut self, error: &dyn std::error::Error) {
        let Some(id) = self.busy.take() else { return };
        self.reason = Some(format!("recording {id}: {error}"));
        let retry = self.failures.entry(id.clone()).or_default();
        retry.failed(error.to_string(), self.context.clock.now(), &BACKOFF, random_unit());
        if matches!(retry.attempt(), 1 | ATTEMPTS) {
            let attempt = retry.attempt();
            tracing::warn!(recording = %id, attempt, %error, "cannot measure a recording");
        }
    }

    fn marked(&mut self) {
        let Some(id) = self.busy.take() else { return };
        self.measured += 1;
        self.failures.remove(&id);
        self.reason = None;
        tracing::info!(recording = %id, "recording measured");
    }
}

impl Behaviour for AnalyzerActor {
    const KIND: &'static str = "analyzer";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        cx.run(changed(self.recordings.changes()), Msg::Changed);
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Changed(changes) => cx.run(changed(changes), Msg::Changed),
            Msg::Look => {}
            Msg::Analyzed(Ok(analysis)) => {
                if let Some(id) = self.busy.clone() {
                    self.mark(id, analysis, cx);
                }
            }
            Msg::Analyzed(Err(error)) => self.failed(&error),
            Msg::Marked(Ok(())) => self.marked(),
            Msg::Marked(Err(error)) => self.failed(&error),
        }
        self.step(cx);
    }

    fn observe(&self) -> ActorState {
        let state = match (&self.busy, &self.reason) {
            (Some(_), _) => "measuring",
            (None, Some(_)) => "failing",
            (None, None) => "waiting",
        };
        ActorState {
            desired: json!({ "recordings": self.due() }),
            observed: json!({ "current": self.busy, "measured": self.measured }),
            reason: self.reason.clone(),
            attempt: self.failures.values().map(Retry::attempt).max().unwrap_or_default(),
            ..ActorState::state(state)
        }
    }
}

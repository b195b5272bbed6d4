//! Uploads this mixer's recordings to object storage, one after the other.
//!
//! ```text
//!  Waiting ─▶ Uploading ─▶ Marking ─▶ Waiting
//!                │ ▲
//!                └─┘ step failed: other recordings first; a retry after a growing delay, without limit
//! ```
//! The steps are those of [`domain::upload`](crate::domain::upload). The state of an upload is in the spool,
//! beside the recording. Owns the order of the uploads. Runs one effect at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::uploading::{Advanced, UploadError, UploadParts, advance, remove};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, Timer};
use crate::clock::random_unit;
use crate::domain::plan::Retry;
use crate::domain::recording::{Recording, RecordingId, RecordingWrite};
use crate::domain::restart::Backoff;
use crate::domain::upload::{Stored, is_due, object_name};
use crate::rooms::RoomError;
use crate::rooms::recordings::Recordings;
use crate::store::Revision;

/// Longest delay between two attempts at an upload. The number of attempts is not limited.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// Shortest time between two log lines about uploads that fail.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// Interval of checks for recordings that became ready without a change of their key.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub struct UploaderActor {
    context: Context,
    recordings: Arc<Recordings>,
    parts: UploadParts,
    /// Recording that the effect in progress belongs to.
    busy: Option<RecordingId>,
    /// Recording whose upload continues next; `None` after a failed step, and after the end of an upload.
    current: Option<RecordingId>,
    failures: BTreeMap<RecordingId, Retry>,
    sent: (u64, u64),
    stored: u64,
    reason: Option<String>,
    complained: Option<Duration>,
    timer: Option<Timer>,
}

pub enum Msg {
    Changed(watch::Receiver<Option<Revision>>),
    Look,
    Advanced(Result<Advanced, UploadError>),
    Marked(Result<(), MarkError>),
}

/// Reason why a recording could not be marked as stored.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    #[error("the recording's key was not written: {0}")]
    Store(#[from] RoomError),
    #[error(transparent)]
    Upload(#[from] UploadError),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Changed(_) => "changed",
            Self::Look => "look",
            Self::Advanced(_) => "advanced",
            Self::Marked(_) => "marked",
        }
    }
}

impl UploaderActor {
    pub fn new(context: Context, recordings: Arc<Recordings>, parts: UploadParts) -> Self {
        Self {
            context,
            recordings,
            parts,
            busy: None,
            current: None,
            failures: BTreeMap::new(),
            sent: (0, 0),
            stored: 0,
            reason: None,
            complained: None,
            timer: None,
        }
    }

    /// Returns the recordings that this mixer has to upload, the oldest first.
    fn due(&self) -> Vec<RecordingId> {
        if !self.recordings.is_complete() {
            return Vec::new();
        }
        let mut due = self.recordings.of_room(None);
        due.retain(|known| {
            is_due(&known.recording, self.recordings.state(&known.id, &known.recording), &self.context.me)
        });
        due.reverse();
        due.into_iter().map(|known| known.id).collect()
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        if self.busy.is_some() {
            return;
        }
        let now = self.context.clock.now();
        let due = self.due();
        self.failures.retain(|id, _| due.contains(id));
        let waits = |id: &RecordingId| self.failures.get(id).and_then(Retry::due).filter(|due| *due > now);
        let current = self.current.take().filter(|id| due.contains(id) && waits(id).is_none());
        let next = current.or_else(|| due.iter().find(|id| waits(id).is_none()).cloned());
        let Some(id) = next else {
            let earliest = due.iter().filter_map(waits).min().map_or(LOOK_EVERY, |due| due - now);
            self.timer = Some(cx.after(earliest.min(LOOK_EVERY), Msg::Look));
            if due.is_empty() {
                self.reason = None;
            }
            return;
        };
        self.busy = Some(id.clone());
        let parts = self.parts.clone();
        cx.run(async move { advance(&parts, &id).await }, Msg::Advanced);
    }

    fn advanced(&mut self, outcome: Result<Advanced, UploadError>, cx: &mut Cx<Self>) {
        let Some(id) = self.busy.clone() else { return };
        match outcome {
            Ok(Advanced::Sent { sent, length }) => {
                self.sent = (sent, length);
                self.succeeded(id);
            }
            Ok(Advanced::Stored { bytes }) => {
                self.sent = (bytes, bytes);
                return self.mark(id, bytes, cx);
            }
            Err(error) => self.failed(&id, &error),
        }
        self.busy = None;
    }

    /// Marks the recording as stored, in its key. If the recording was deleted in the meantime, removes the
    /// uploaded copy instead.
    fn mark(&self, id: RecordingId, bytes: u64, cx: &mut Cx<Self>) {
        let (recordings, parts) = (self.recordings.clone(), self.parts.clone());
        let stored = Stored { at: self.context.clock.wall(), bytes };
        let room = recordings.get(&id).map(|known| known.room.clone());
        let mark = async move {
            let mut kept = false;
            let decide = |known: Option<&Recording>| {
                let known = known.filter(|recording| recording.deleted_at.is_none());
                kept = known.is_some();
                known.map(|recording| RecordingWrite::Put(recording.clone().stored(stored)))
            };
            recordings.change(&id, decide).await?;
            if let Some(room) = room.filter(|_| !kept) {
                // The recording was deleted during the last step of its upload.
                remove(&parts.storage, &parts.spool, &id, &object_name(&room, &id)).await?;
            }
            Ok::<_, MarkError>(())
        };
        cx.run(mark, Msg::Marked);
    }

    fn marked(&mut self, outcome: Result<(), MarkError>) {
        let Some(id) = self.busy.take() else { return };
        match outcome {
            Ok(()) => {
                self.stored += 1;
                self.context.metrics.recordings().uploaded("stored");
                tracing::info!(recording = %id, bytes = self.sent.1, "recording uploaded");
                self.succeeded(id);
                self.current = None;
            }
            Err(error) => self.failed(&id, &error),
        }
    }

    fn succeeded(&mut self, id: RecordingId) {
        self.failures.remove(&id);
        self.current = Some(id);
        self.reason = None;
        self.complained = None;
    }

    fn failed(&mut self, id: &RecordingId, error: &dyn std::error::Error) {
        let now = self.context.clock.now();
        self.reason = Some(format!("recording {id}: {error}"));
        self.current = None;
        self.context.metrics.recordings().uploaded("failed");
        let backoff = Backoff { first: self.context.config.supervision.retry_first, max: LONGEST_DELAY };
        let retry = self.failures.entry(id.clone()).or_default();
        retry.failed(error.to_string(), now, &backoff, random_unit());
        if self.complained.is_none_or(|last| now.saturating_sub(last) >= COMPLAIN_EVERY) {
            self.complained = Some(now);
            tracing::warn!(recording = %id, %error, "cannot upload a recording; will retry");
        }
    }
}

fn next_change(mut changes: watch::Receiver<Option<Revision>>, cx: &mut Cx<UploaderActor>) {
    let next = async move {
        // Cannot fail: the sender is in the `Recordings`, which this actor holds.
        let _ = changes.changed().await;
        changes
    };
    cx.run(next, Msg::Changed);
}

impl Behaviour for UploaderActor {
    const KIND: &'static str = "uploader";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        next_change(self.recordings.changes(), cx);
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Changed(changes) => next_change(changes, cx),
            Msg::Look => {}
            Msg::Advanced(outcome) => self.advanced(outcome, cx),
            Msg::Marked(outcome) => self.marked(outcome),
        }
        self.step(cx);
    }

    fn observe(&self) -> ActorState {
        let state = match (&self.busy, &self.reason) {
            (_, Some(_)) => "failing",
            (Some(_), None) => "uploading",
            (None, None) => "waiting",
        };
        let now = self.context.clock.now();
        let retries = || self.failures.values();
        ActorState {
            state: state.into(),
            desired: json!({ "recordings": self.due() }),
            observed: json!({
                "current": self.busy,
                "sent": self.sent.0,
                "of": self.sent.1,
                "stored": self.stored,
            }),
            reason: self.reason.clone(),
            attempt: retries().map(Retry::attempt).max().unwrap_or_default(),
            next_retry_in: retries().filter_map(Retry::due).filter_map(|due| due.checked_sub(now)).min(),
        }
    }
}

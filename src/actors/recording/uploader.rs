//! Uploads this mixer's recordings to object storage, one after the other. Removes the local data after
//! `recording.storage.keep_local`, and the copies of deleted recordings that have no live mixer.
//!
//! ```text
//!  Waiting ─▶ Working ─▶ Marking ─▶ Waiting
//!                │ ▲
//!                └─┘ step failed: other recordings first; a retry after a growing delay, without limit
//! ```
//! [`domain::upload`](crate::domain::upload) defines the jobs and the steps of an upload. The state of an
//! upload is in the spool, beside the recording. Owns the order of the jobs. Runs one effect at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::changed;
use super::copying::blocking;
use super::uploading::{UploadError, UploadParts, UploadProgress, advance, remove};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, Timer};
use crate::clock::random_unit;
use crate::domain::plan::Retry;
use crate::domain::recording::{Recording, RecordingId, RecordingWrite};
use crate::domain::restart::Backoff;
use crate::domain::upload::{CopyKind, LONGEST_DELAY, StorageJob, StoredCopy, StoredSegments};
use crate::rooms::RoomError;
use crate::rooms::recordings::{KnownRecording, Recordings};
use crate::store::Revision;

/// Minimum time between two log lines about uploads that fail.
const LOG_FAILURE_EVERY: Duration = Duration::from_secs(60);
/// Interval between checks for recordings that became ready without a change of their key.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub struct UploaderActor {
    context: Context,
    recordings: Arc<Recordings>,
    parts: UploadParts,
    /// Recording that the effect in progress belongs to, and the job.
    busy: Option<(RecordingId, StorageJob)>,
    /// Recording whose upload continues next; `None` after a failed step, and after the end of an upload.
    current: Option<RecordingId>,
    failures: BTreeMap<RecordingId, Retry>,
    sent: (u64, u64),
    stored: u64,
    reason: Option<String>,
    failure_logged: Option<Duration>,
    timer: Option<Timer>,
}

pub enum Msg {
    Changed(watch::Receiver<Option<Revision>>),
    Look,
    Advanced(Result<UploadProgress, UploadError>),
    /// Result of the job's last step, the update of the recording's key.
    Marked(Result<(), MarkError>),
}

/// Reason why the update of a recording's key, the last step of a job, failed.
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
            failure_logged: None,
            timer: None,
        }
    }

    /// Returns the jobs of this mixer, those of the oldest recording first.
    fn due(&self) -> Vec<(RecordingId, StorageJob)> {
        if !self.recordings.is_complete() {
            return Vec::new();
        }
        let (me, now) = (&self.context.me, self.context.clock.wall());
        let storage = self.context.config.recording.storage.as_ref();
        let keep_local = storage.and_then(|storage| storage.keep_local);
        let mut all = self.recordings.all();
        all.sort_by_key(|known| (known.recording.started_at, known.id.clone()));
        let job = |known: KnownRecording| {
            let job = self.recordings.storage_job(&known, me, keep_local, now)?;
            Some((known.id, job))
        };
        all.into_iter().filter_map(job).collect()
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        if self.busy.is_some() {
            return;
        }
        let now = self.context.clock.now();
        let due = self.due();
        self.failures.retain(|id, _| due.iter().any(|(known, _)| known == id));
        let waits = |id: &RecordingId| self.failures.get(id).and_then(Retry::due).filter(|due| *due > now);
        let current = self.current.take().filter(|id| waits(id).is_none());
        let continued = current.and_then(|id| due.iter().find(|(known, _)| *known == id));
        let next = continued.or_else(|| due.iter().find(|(id, _)| waits(id).is_none())).cloned();
        let Some((id, job)) = next else {
            let earliest =
                due.iter().filter_map(|(id, _)| waits(id)).min().map_or(LOOK_EVERY, |due| due - now);
            self.timer = Some(cx.after(earliest.min(LOOK_EVERY), Msg::Look));
            if due.is_empty() {
                self.reason = None;
            }
            return;
        };
        self.busy = Some((id.clone(), job));
        let parts = self.parts.clone();
        match job {
            StorageJob::Upload(kind) => {
                cx.run(async move { advance(&parts, &id, kind).await }, Msg::Advanced);
            }
            StorageJob::DropLocal => self.drop_local(id, cx),
            StorageJob::RemoveCopies => self.remove_copies(id, cx),
        }
    }

    /// Removes the local data, then marks the take as dropped in the recording's key. Between the two steps,
    /// readers already fall back to the copy.
    fn drop_local(&self, id: RecordingId, cx: &mut Cx<Self>) {
        let (recordings, spool, me) =
            (self.recordings.clone(), self.parts.spool.clone(), self.context.me.clone());
        let work = async move {
            let folder = id.clone();
            blocking(move || spool.erase(&folder)).await.map_err(UploadError::from)?;
            let decide =
                |known: Option<&Recording>| Some(RecordingWrite::Put(known?.clone().without_local(&me)));
            Ok::<_, MarkError>(recordings.change(&id, decide).await?)
        };
        cx.run(work, Msg::Marked);
    }

    /// Removes the copies of a deleted recording. Then removes its key, unless a mixer still has data.
    fn remove_copies(&self, id: RecordingId, cx: &mut Cx<Self>) {
        let (recordings, parts) = (self.recordings.clone(), self.parts.clone());
        let work = async move {
            let Some(known) = recordings.get(&id) else { return Ok(()) };
            remove(&parts, &id, &known.room, known.track_numbers()).await?;
            let decide = |known: Option<&Recording>| {
                let deleted = known.filter(|recording| recording.deleted_at.is_some())?;
                Some(deleted.clone().without_copies())
            };
            Ok::<_, MarkError>(recordings.change(&id, decide).await?)
        };
        cx.run(work, Msg::Marked);
    }

    fn advanced(&mut self, outcome: Result<UploadProgress, UploadError>, cx: &mut Cx<Self>) {
        let Some((id, job)) = self.busy.clone() else { return };
        match outcome {
            Ok(UploadProgress::Sent { sent, length }) => {
                self.sent = (sent, length);
                self.succeeded(id);
            }
            Ok(UploadProgress::Stored { parts }) => {
                let bytes = parts.0 + parts.1;
                self.sent = (bytes, bytes);
                if let StorageJob::Upload(kind) = job {
                    return self.mark(id, kind, parts, cx);
                }
            }
            Err(error) => self.failed(&id, &error),
        }
        self.busy = None;
    }

    /// Marks the copy as complete in the recording's key. If the recording was deleted meanwhile, changes
    /// nothing: the recorder removes the copies together with its data.
    fn mark(&self, id: RecordingId, kind: CopyKind, (media, journal): (u64, u64), cx: &mut Cx<Self>) {
        let recordings = self.recordings.clone();
        let at = self.context.clock.wall();
        let mark = async move {
            let decide = |known: Option<&Recording>| {
                let known = known.filter(|recording| recording.deleted_at.is_none())?.clone();
                if !kind.is_mix() {
                    return Some(RecordingWrite::Put(known.with_extra(kind, media)));
                }
                let stored = match (kind, known.stored) {
                    (CopyKind::M4a, _) => StoredCopy { at, bytes: media, segments: None },
                    (CopyKind::Segments, Some(stored)) => {
                        StoredCopy { segments: Some(StoredSegments { at, media, journal }), ..stored }
                    }
                    _ => return None,
                };
                Some(RecordingWrite::Put(known.stored(stored)))
            };
            Ok::<_, MarkError>(recordings.change(&id, decide).await?)
        };
        cx.run(mark, Msg::Marked);
    }

    fn marked(&mut self, outcome: Result<(), MarkError>) {
        let Some((id, job)) = self.busy.clone() else { return };
        match outcome {
            Ok(()) => {
                match job {
                    StorageJob::Upload(CopyKind::M4a) => {
                        self.stored += 1;
                        self.context.metrics.recordings().uploaded("stored");
                        tracing::info!(recording = %id, bytes = self.sent.1, "recording uploaded");
                    }
                    StorageJob::Upload(CopyKind::Segments) => {
                        tracing::info!(recording = %id, bytes = self.sent.1, "segments uploaded");
                    }
                    StorageJob::Upload(copy) => {
                        tracing::info!(recording = %id, ?copy, bytes = self.sent.1, "copy uploaded");
                    }
                    StorageJob::DropLocal => {
                        tracing::info!(recording = %id, "local data removed: object storage has a copy");
                    }
                    StorageJob::RemoveCopies => tracing::info!(recording = %id, "copies removed"),
                }
                self.succeeded(id);
                self.current = None;
            }
            Err(error) => self.failed(&id, &error),
        }
        self.busy = None;
    }

    fn succeeded(&mut self, id: RecordingId) {
        self.failures.remove(&id);
        self.current = Some(id);
        self.reason = None;
        self.failure_logged = None;
    }

    fn failed(&mut self, id: &RecordingId, error: &dyn std::error::Error) {
        let now = self.context.clock.now();
        self.reason = Some(format!("recording {id}: {error}"));
        self.current = None;
        self.context.metrics.recordings().uploaded("failed");
        let backoff = Backoff { first: self.context.config.supervision.retry_first, max: LONGEST_DELAY };
        let retry = self.failures.entry(id.clone()).or_default();
        retry.failed(error.to_string(), now, &backoff, random_unit());
        if self.failure_logged.is_none_or(|last| now.saturating_sub(last) >= LOG_FAILURE_EVERY) {
            self.failure_logged = Some(now);
            let what = match self.busy {
                Some((_, StorageJob::DropLocal)) => "cannot remove local data",
                Some((_, StorageJob::RemoveCopies)) => "cannot remove copies",
                _ => "cannot upload a recording",
            };
            tracing::warn!(recording = %id, %error, "{what}; will retry");
        }
    }
}

impl Behaviour for UploaderActor {
    const KIND: &'static str = "uploader";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        cx.run(changed(self.recordings.changes()), Msg::Changed);
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Changed(changes) => cx.run(changed(changes), Msg::Changed),
            Msg::Look => {}
            Msg::Advanced(outcome) => self.advanced(outcome, cx),
            Msg::Marked(outcome) => self.marked(outcome),
        }
        self.step(cx);
    }

    fn observe(&self) -> ActorState {
        let state = match (&self.busy, &self.reason) {
            (_, Some(_)) => "failing",
            (Some((_, StorageJob::Upload(_))), None) => "uploading",
            (Some(_), None) => "removing",
            (None, None) => "waiting",
        };
        let now = self.context.clock.now();
        let retries = || self.failures.values();
        ActorState {
            state: state.into(),
            desired: json!({ "recordings": self.due().into_iter().map(|(id, _)| id).collect::<Vec<_>>() }),
            observed: json!({
                "current": self.busy.as_ref().map(|(id, _)| id),
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

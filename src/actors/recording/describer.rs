//! Writes the metadata of this mixer's recordings to its disk, as JSON next to the media, and again whenever
//! they change. The uploader writes those in object storage.
//!
//! Owns the order of the recordings. Writes one file at a time.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::changed;
use super::copying::blocking;
use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, Timer};
use crate::clock::random_unit;
use crate::domain::plan::Retry;
use crate::domain::recording::{Recording, RecordingId};
use crate::domain::recording_metadata::{metadata, version};
use crate::domain::restart::Backoff;
use crate::rooms::recordings::Recordings;
use crate::spool::Spool;
use crate::store::Revision;

/// Delays between attempts. The number of attempts is not limited.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(5), max: Duration::from_secs(600) };

pub struct DescriberActor {
    context: Context,
    recordings: Arc<Recordings>,
    spool: Spool,
    /// Versions of the metadata on the disk, as far as this incarnation has written or compared them.
    written: BTreeMap<RecordingId, u64>,
    /// Recordings to look at, in this order. One whose file cannot be written goes to the end, so that the
    /// others do not wait for it.
    queue: VecDeque<RecordingId>,
    /// Recording, and the version of its metadata, that the effect in progress writes.
    busy: Option<(RecordingId, u64)>,
    retry: Retry,
    reason: Option<String>,
    timer: Option<Timer>,
}

pub enum Msg {
    Changed(watch::Receiver<Option<Revision>>),
    Written(io::Result<()>),
    Due,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Changed(_) => "changed",
            Self::Written(_) => "written",
            Self::Due => "due",
        }
    }
}

impl DescriberActor {
    pub fn new(context: Context, recordings: Arc<Recordings>, spool: Spool) -> Self {
        let (written, queue, retry) = (BTreeMap::new(), VecDeque::new(), Retry::default());
        Self { context, recordings, spool, written, queue, busy: None, retry, reason: None, timer: None }
    }

    /// Fills the queue with the recordings whose metadata are not on the disk.
    fn fill_queue(&mut self) {
        let all = self.recordings.all();
        self.written.retain(|id, _| all.binary_search_by(|known| known.id.cmp(id)).is_ok());
        self.queue = all
            .into_iter()
            .filter(|known| self.is_due(&known.id, &known.recording))
            .map(|known| known.id)
            .collect();
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        if self.busy.is_some() || !self.recordings.is_listed() {
            return;
        }
        let now = self.context.clock.now();
        if let Some(due) = self.retry.due().filter(|due| *due > now) {
            self.timer = Some(cx.after(due - now, Msg::Due));
            return;
        }
        while let Some(id) = self.queue.pop_front() {
            let Some(known) = self.recordings.get(&id).filter(|known| self.is_due(&id, &known.value)) else {
                continue;
            };
            self.busy = Some((id.clone(), version(&known.value)));
            let (spool, text) = (self.spool.clone(), metadata(&id, &known.value));
            cx.run(blocking(move || spool.describe(&id, &text)), Msg::Written);
            return;
        }
    }

    fn is_due(&self, id: &RecordingId, recording: &Recording) -> bool {
        self.has_data(recording) && self.written.get(id) != Some(&version(recording))
    }

    /// Returns true if this mixer has data of a recording whose chapters are known.
    fn has_data(&self, recording: &Recording) -> bool {
        let take = recording.takes.get(&self.context.me);
        !recording.unreported
            && recording.deleted_at.is_none()
            && take.is_some_and(|take| take.segments > 0 && !take.dropped)
    }

    fn written(&mut self, outcome: io::Result<()>) {
        let Some((id, version)) = self.busy.take() else { return };
        match outcome {
            // The data is being removed, or was lost.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.reason = Some(format!("the metadata of {id} were not written: {error}"));
                let now = self.context.clock.now();
                self.retry.failed(error.to_string(), now, &BACKOFF, random_unit());
                self.queue.push_back(id);
            }
            _ => {
                self.written.insert(id, version);
                self.retry.succeeded();
                self.reason = None;
            }
        }
    }
}

impl Behaviour for DescriberActor {
    const KIND: &'static str = "describer";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        cx.run(changed(self.recordings.changes()), Msg::Changed);
        self.fill_queue();
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Changed(changes) => {
                cx.run(changed(changes), Msg::Changed);
                self.fill_queue();
            }
            Msg::Written(outcome) => self.written(outcome),
            Msg::Due => {}
        }
        self.step(cx);
    }

    fn observe(&self) -> ActorState {
        let state = match (&self.busy, &self.reason) {
            (_, Some(_)) => "failing",
            (Some(_), None) => "writing",
            (None, None) => "waiting",
        };
        let now = self.context.clock.now();
        ActorState {
            observed: json!({ "described": self.written.len() }),
            reason: self.reason.clone(),
            attempt: self.retry.attempt(),
            next_retry_in: self.retry.due().and_then(|due| due.checked_sub(now)),
            ..ActorState::state(state)
        }
    }
}

//! Makes the tracks of recordings whose anchors this node's Janus has recorded, one recording after the
//! other. Removes all files of recordings that are deleted, or are not in the store.
//!
//! ```text
//!  Waiting ─▶ Listing ─▶ Making, comparing with the mix ─▶ Waiting         or Erasing
//!                           │ ▲
//!                           └─┘ failed: other recordings first; a retry after a growing delay, without limit
//! ```
//! The files of Janus are removed last, so an interrupted attempt is repeated. Owns the order of the
//! recordings. Runs one effect at a time.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::aligning::{AlignError, align};
use super::changed;
use super::copying::blocking;
use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, Timer};
use crate::clock::random_unit;
use crate::delivery::RecordingMedia;
use crate::domain::ids::{ModuleId, UserId};
use crate::domain::plan::Retry;
use crate::domain::recording::{Recording, RecordingId, RecordingState, RecordingWrite};
use crate::domain::restart::Backoff;
use crate::ffmpeg::FfmpegProgram;
use crate::packager::MediaError;
use crate::packager::track::Shift;
use crate::rooms::RoomError;
use crate::rooms::recordings::Recordings;
use crate::store::Revision;

const BACKOFF: Backoff = Backoff { first: Duration::from_secs(2), max: Duration::from_secs(60) };
/// Minimum time between two log lines about failures.
const LOG_FAILURE_EVERY: Duration = Duration::from_secs(60);
/// Interval of checks for recordings that became ready without a change of their key.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Time for Janus to close its files after the end of a recording. A file that is open later was left by a
/// Janus that was killed.
const CLOSED_WITHIN: Duration = Duration::from_secs(15);
/// Time after the first failed comparison with the mix in which it is repeated. Later, the tracks are made
/// without it.
const ALIGNED_WITHIN: Duration = Duration::from_secs(60);

/// Reason why a job failed. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    #[error("the recording cannot be read: {0}")]
    Unreadable(MediaError),
    #[error("the disk failed: {0}")]
    Disk(#[from] io::Error),
    #[error("the tracks cannot be compared with the mix: {0}")]
    Unaligned(#[from] AlignError),
    #[error("the recording's key was not written: {0}")]
    Store(#[from] RoomError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Make,
    /// Make, although Janus may not have closed its files.
    MakeOpen,
    Erase,
}

/// Result of a job.
#[derive(Debug)]
pub enum TrackOutcome {
    Made {
        tracks: usize,
        /// Number of tracks that were moved into sync with the mix; `None`: they were not compared with it.
        moved: Option<usize>,
    },
    /// Janus has not closed its files yet.
    StillOpen,
    Erased,
}

pub struct TracksActor {
    context: Context,
    recordings: Arc<Recordings>,
    media: Arc<RecordingMedia>,
    /// Recordings that have files on this node; true if tracks must still be made from files of Janus.
    found: BTreeMap<RecordingId, bool>,
    /// Time at which each recording with files of Janus was first seen to be ready.
    ready: BTreeMap<RecordingId, Duration>,
    busy: bool,
    current: Option<RecordingId>,
    failures: BTreeMap<RecordingId, Retry>,
    /// Time of the first failed comparison of each recording with the mix.
    unaligned: BTreeMap<RecordingId, Duration>,
    made: u64,
    reason: Option<String>,
    failure_logged: Option<Duration>,
    timer: Option<Timer>,
}

pub enum Msg {
    Changed(watch::Receiver<Option<Revision>>),
    Look,
    Listed(io::Result<BTreeMap<RecordingId, bool>>),
    Done(Result<TrackOutcome, TrackError>),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Changed(_) => "changed",
            Self::Look => "look",
            Self::Listed(_) => "listed",
            Self::Done(_) => "done",
        }
    }
}

impl TracksActor {
    pub fn new(context: Context, recordings: Arc<Recordings>, media: Arc<RecordingMedia>) -> Self {
        Self {
            context,
            recordings,
            media,
            found: BTreeMap::new(),
            ready: BTreeMap::new(),
            busy: false,
            current: None,
            failures: BTreeMap::new(),
            unaligned: BTreeMap::new(),
            made: 0,
            reason: None,
            failure_logged: None,
            timer: None,
        }
    }

    /// Lists the folders of this node.
    fn look(&mut self, cx: &mut Cx<Self>) {
        if self.busy {
            return;
        }
        self.busy = true;
        self.timer = None;
        let spool = self.media.tracks.clone();
        cx.run(blocking(move || spool.list()), Msg::Listed);
    }

    fn listed(&mut self, found: BTreeMap<RecordingId, bool>, cx: &mut Cx<Self>) {
        let now = self.context.clock.now();
        self.found = found;
        self.failures.retain(|id, _| self.found.contains_key(id));
        self.ready.retain(|id, _| self.found.get(id) == Some(&true));
        self.unaligned.retain(|id, _| self.found.get(id) == Some(&true));
        let waits =
            |id: &RecordingId| self.failures.get(id).and_then(Retry::due).is_some_and(|due| due > now);
        let due = self.found.iter().filter(|(id, _)| !waits(id));
        let due: Vec<_> = due.map(|(id, recorded)| (id.clone(), *recorded)).collect();
        let next = due.into_iter().find_map(|(id, recorded)| Some((self.job(&id, recorded, now)?, id)));
        let Some((job, id)) = next else {
            if self.failures.is_empty() {
                self.reason = None;
            }
            self.timer = Some(cx.after(LOOK_EVERY, Msg::Look));
            return;
        };
        self.busy = true;
        self.current = Some(id.clone());
        let (media, recordings, me) = (self.media.clone(), self.recordings.clone(), self.context.me.clone());
        let since = self.unaligned.get(&id);
        let unaligned = since.is_some_and(|since| now.saturating_sub(*since) >= ALIGNED_WITHIN);
        let ffmpeg = self.context.ffmpeg();
        let make = async move { run(job, &id, &media, &recordings, &me, (&ffmpeg, unaligned)).await };
        cx.run(make, Msg::Done);
    }

    /// Returns the job for a recording that has files on this node. Records the time at which the recording
    /// was first seen to be ready. `recorded`: there are files of Janus.
    fn job(&mut self, id: &RecordingId, recorded: bool, now: Duration) -> Option<Job> {
        if !self.recordings.is_complete() {
            return None;
        }
        let Some(known) = self.recordings.get(id) else {
            // A mixer creates the key of a recording shortly after the recording was requested.
            let rooms = self.context.directory.rooms();
            let requested = |view: &crate::domain::view::RoomView| {
                view.recording.as_ref().is_some_and(|request| request.id == *id)
            };
            return (!rooms.values().any(|view| requested(view))).then_some(Job::Erase);
        };
        if known.deleted_at.is_some() {
            return Some(Job::Erase);
        }
        if !recorded || self.recordings.state(id, &known) != RecordingState::Ready {
            return None;
        }
        let since = *self.ready.entry(id.clone()).or_insert(now);
        Some(if now.saturating_sub(since) < CLOSED_WITHIN { Job::Make } else { Job::MakeOpen })
    }

    fn done(&mut self, outcome: Result<TrackOutcome, TrackError>, cx: &mut Cx<Self>) {
        let Some(id) = self.current.take() else { return };
        match outcome {
            Ok(TrackOutcome::StillOpen) => {
                self.reason = Some(format!("recording {id}: waits until Janus has closed its files"));
                // Delay the next attempt for this recording. Other recordings are handled in the meantime.
                self.failures.entry(id).or_default().failed(
                    "the files are open",
                    self.context.clock.now(),
                    &Backoff { first: LOOK_EVERY, max: LOOK_EVERY },
                    random_unit(),
                );
            }
            Ok(done) => {
                self.failures.remove(&id);
                self.reason = None;
                self.failure_logged = None;
                match done {
                    TrackOutcome::Made { tracks, moved } => {
                        self.made += 1;
                        tracing::info!(recording = %id, tracks, moved, "tracks of a recording made");
                    }
                    _ => tracing::info!(recording = %id, "tracks of a recording removed"),
                }
            }
            Err(error) => {
                if matches!(error, TrackError::Unaligned(_)) {
                    self.unaligned.entry(id.clone()).or_insert(self.context.clock.now());
                }
                self.failed(&id, &error);
            }
        }
        self.look(cx);
    }

    fn failed(&mut self, id: &RecordingId, error: &dyn std::error::Error) {
        let now = self.context.clock.now();
        self.reason = Some(format!("recording {id}: {error}"));
        self.failures.entry(id.clone()).or_default().failed(error.to_string(), now, &BACKOFF, random_unit());
        self.log_failure(now, error);
    }

    fn log_failure(&mut self, now: Duration, error: &dyn std::error::Error) {
        if self.failure_logged.is_none_or(|last| now.saturating_sub(last) >= LOG_FAILURE_EVERY) {
            self.failure_logged = Some(now);
            tracing::warn!(%error, "cannot make the tracks of a recording; will retry");
        }
    }
}

/// Does a job. `unaligned`: makes the tracks also if they cannot be compared with the mix.
async fn run(
    job: Job,
    id: &RecordingId,
    media: &RecordingMedia,
    recordings: &Recordings,
    me: &ModuleId,
    (ffmpeg, unaligned): (&FfmpegProgram, bool),
) -> Result<TrackOutcome, TrackError> {
    let on_disk = (media.tracks.clone(), id.clone());
    if job == Job::Erase {
        blocking(move || on_disk.0.erase(&on_disk.1)).await?;
        return Ok(TrackOutcome::Erased);
    }
    let (spool, folder) = on_disk.clone();
    if job == Job::Make && !blocking(move || spool.is_closed(&folder)).await? {
        return Ok(TrackOutcome::StillOpen);
    }
    let axis = media.time_axis(id).await.map_err(TrackError::Unreadable)?;
    let make = |shifts: BTreeMap<UserId, Vec<Shift>>| {
        let ((spool, folder), axis) = (on_disk.clone(), axis.clone());
        blocking(move || spool.make(&folder, &axis, &shifts))
    };
    let mut files = make(BTreeMap::new()).await?;
    let moved = match align(ffmpeg, media, &media.tracks, id, &files).await {
        Ok(shifts) => {
            let moved = shifts.len();
            if moved > 0 {
                tracing::debug!(recording = %id, ?shifts, "tracks of a recording are moved");
                files = make(shifts).await?;
            }
            Some(moved)
        }
        Err(error) if !unaligned => return Err(error.into()),
        Err(error) => {
            tracing::warn!(recording = %id, %error, "tracks are made without a comparison with the mix");
            None
        }
    };
    let decide = |known: Option<&Recording>| {
        let known = known.filter(|recording| recording.deleted_at.is_none())?.clone();
        Some(RecordingWrite::Put(known.with_tracks(me, &files)))
    };
    recordings.change(id, decide).await?;
    blocking(move || on_disk.0.erase_recorded(&on_disk.1)).await?;
    Ok(TrackOutcome::Made { tracks: files.len(), moved })
}

impl Behaviour for TracksActor {
    const KIND: &'static str = "tracks";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        cx.run(changed(self.recordings.changes()), Msg::Changed);
        self.look(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Changed(changes) => {
                cx.run(changed(changes), Msg::Changed);
                self.look(cx);
            }
            Msg::Look => self.look(cx),
            Msg::Listed(Ok(found)) => {
                self.busy = false;
                self.listed(found, cx);
            }
            Msg::Listed(Err(error)) => {
                self.busy = false;
                self.reason = Some(format!("the disk failed: {error}"));
                self.log_failure(self.context.clock.now(), &error);
                self.timer = Some(cx.after(LOOK_EVERY, Msg::Look));
            }
            Msg::Done(outcome) => {
                self.busy = false;
                self.done(outcome, cx);
            }
        }
    }

    fn observe(&self) -> ActorState {
        let state = match (&self.current, &self.reason) {
            (Some(_), _) => "working",
            (None, Some(_)) => "failing",
            (None, None) => "waiting",
        };
        let recorded = self.found.iter().filter(|(_, recorded)| **recorded).map(|(id, _)| id);
        ActorState {
            desired: json!({ "recordings": recorded.collect::<Vec<_>>() }),
            observed: json!({ "current": self.current, "made": self.made }),
            reason: self.reason.clone(),
            attempt: self.failures.values().map(Retry::attempt).max().unwrap_or_default(),
            ..ActorState::state(state)
        }
    }
}

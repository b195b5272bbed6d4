//! Follows the keys of recordings and runs one recorder per unfinished recording of this mixer.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use serde_json::json;

use super::RecordingParts;
use super::analyzer::AnalyzerActor;
use super::describer::DescriberActor;
use super::recorder::{self, RecorderActor};
use super::tracks::TracksActor;
use super::transcoder::TranscoderActor;
use super::uploader::UploaderActor;
use crate::actors::context::Context;
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, ChildDown, ChildSpec, Cx, Decision, Message};
use crate::domain::ids::RoomId;
use crate::domain::keys::RECORDINGS;
use crate::domain::plan::WriteOutcome;
use crate::domain::recording::{Duty, RecordingId, duty, is_mixed_by, of_broadcast};
use crate::rooms::dirty_set::DirtySet;
use crate::rooms::recordings::automatic_request;
use crate::store::reflector::{ReflectorEvent, reflect};

/// Interval at which the keys are listed again, in case the watch missed a change.
const RELIST_EVERY: Duration = Duration::from_secs(60);
/// Interval between checks for recordings whose retention has passed.
const ROUND_EVERY: Duration = Duration::from_secs(30);
/// Prefix of the names of recorders.
const PREFIX: &str = "recording:";
const UPLOADER: &str = "uploader";
const ANALYZER: &str = "analyzer";
const DESCRIBER: &str = "describer";
const TRANSCODER: &str = "transcoder";
const TRACKS: &str = "tracks";

type Changes = Pin<Box<dyn Stream<Item = ReflectorEvent> + Send>>;

pub struct RecordingSupervisor {
    context: Context,
    parts: RecordingParts,
    dirty: Option<DirtySet>,
    recorders: BTreeMap<RecordingId, (RoomId, ActorRef<recorder::Msg>)>,
    /// Recordings whose recorder is stopping.
    leaving: BTreeSet<RecordingId>,
    /// Rooms whose automatic recording request is being written.
    asking: BTreeSet<RoomId>,
    lost: Option<String>,
}

pub enum Msg {
    /// Next change of a recording's key, and the rest of the stream.
    Store(ReflectorEvent, Changes),
    StateChanged,
    /// Result of the automatic request to record this room's broadcast.
    Asked(RoomId, WriteOutcome),
    /// Message of a recorder that has nothing left to do.
    Finished(RecordingId),
    Round,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Store(..) => "store",
            Self::StateChanged => "state_changed",
            Self::Asked(..) => "asked",
            Self::Finished(_) => "finished",
            Self::Round => "round",
        }
    }
}

impl RecordingSupervisor {
    pub fn new(context: Context, parts: RecordingParts) -> Self {
        Self {
            context,
            parts,
            dirty: None,
            recorders: BTreeMap::new(),
            leaving: BTreeSet::new(),
            asking: BTreeSet::new(),
            lost: None,
        }
    }

    fn read_on(&self, mut changes: Changes, cx: &mut Cx<Self>) {
        let next = async move {
            match changes.next().await {
                Some(event) => (event, changes),
                // The reflector never ends.
                None => std::future::pending().await,
            }
        };
        cx.run(next, |(event, changes)| Msg::Store(event, changes));
    }

    fn apply(&mut self, event: ReflectorEvent, cx: &mut Cx<Self>) {
        let recordings = self.parts.recordings.clone();
        match event {
            ReflectorEvent::InitStart => recordings.begin_list(),
            ReflectorEvent::InitApply(kv) => drop(recordings.put(&kv)),
            ReflectorEvent::InitDone { revision } => {
                recordings.end_list(revision);
                self.lost = None;
                self.look_at_all(cx);
            }
            ReflectorEvent::Apply(kv) => {
                if let Some(id) = recordings.put(&kv) {
                    self.look_at(&id, cx);
                }
            }
            ReflectorEvent::Delete { key } => {
                if let Some(id) = recordings.remove(&key) {
                    self.look_at(&id, cx);
                }
            }
            ReflectorEvent::Progress { revision } => recordings.progress(revision),
            ReflectorEvent::Lost(error) => self.lost = Some(error.to_string()),
        }
    }

    fn take_changes(&mut self, cx: &mut Cx<Self>) {
        let Some(changes) = self.dirty.as_ref().map(DirtySet::take) else { return };
        if changes.relisted {
            return self.look_at_all(cx);
        }
        for room in changes.rooms {
            self.look_at_room(&room, cx);
        }
    }

    fn look_at_all(&mut self, cx: &mut Cx<Self>) {
        for room in self.context.directory.rooms().keys() {
            self.look_at_room(room, cx);
        }
        let mut ids: BTreeSet<_> = self.parts.recordings.all().into_iter().map(|known| known.id).collect();
        ids.extend(self.recorders.keys().cloned());
        for id in ids {
            self.look_at(&id, cx);
        }
    }

    fn look_at_room(&mut self, room: &RoomId, cx: &mut Cx<Self>) {
        let view = self.context.directory.room(room).unwrap_or_default();
        let mine = self.parts.mixer.is_some() && is_mixed_by(&view, &self.context.me);
        if let Some(request) = of_broadcast(&view).filter(|_| mine) {
            let id = request.id.clone();
            self.ensure(&id, room, cx);
        }
        for (known, recorder) in self.recorders.values() {
            if known == room {
                // If the child is gone, `child_down` handles it.
                let _ = recorder.tell_latest("state_changed", recorder::Msg::StateChanged);
            }
        }
        let mode = self.context.config.recording.mode;
        if mine
            && !self.asking.contains(room)
            && let Some(txn) = automatic_request(room, &view, mode)
        {
            self.asking.insert(room.clone());
            let (context, room) = (self.context.clone(), room.clone());
            cx.run(async move { context.write(txn).await }, |outcome| Msg::Asked(room, outcome));
        }
    }

    fn look_at(&mut self, id: &RecordingId, cx: &mut Cx<Self>) {
        if let Some((_, recorder)) = self.recorders.get(id) {
            let _ = recorder.tell_latest("state_changed", recorder::Msg::StateChanged);
        } else if let Some(known) = self.parts.recordings.get(id) {
            self.ensure(id, &known.room, cx);
        }
    }

    /// Starts a recorder if this mixer still has work to do for the recording.
    fn ensure(&mut self, id: &RecordingId, room: &RoomId, cx: &mut Cx<Self>) {
        let Some(parts) = &self.parts.mixer else { return };
        // Before rooms and recordings are listed, a recording may look finished although it is not.
        let listed = self.context.rooms_listed() && self.parts.recordings.is_listed();
        if !listed
            || self.recorders.contains_key(id)
            || self.leaving.contains(id)
            || !self.is_wanted(id, room)
        {
            return;
        }
        let (context, parts, recordings) =
            (self.context.clone(), parts.clone(), self.parts.recordings.clone());
        let (parent, name) = (cx.me(), format!("{PREFIX}{id}"));
        let (recording, of) = (id.clone(), room.clone());
        let recorder = cx.spawn_child(name, ChildSpec::member(), move || {
            let about = (recording.clone(), of.clone());
            RecorderActor::new(about, context.clone(), parts.clone(), recordings.clone(), parent.clone())
        });
        self.recorders.insert(id.clone(), (room.clone(), recorder));
    }

    fn is_wanted(&self, id: &RecordingId, room: &RoomId) -> bool {
        let view = self.context.directory.room(room).unwrap_or_default();
        let known = self.parts.recordings.get(id);
        duty(&self.context.me, id, known.as_deref().map(|known| &known.value), &view) != Duty::Nothing
    }

    /// Removes the recordings whose retention has passed, one after the other.
    fn round(&self, cx: &mut Cx<Self>) {
        let recordings = self.parts.recordings.clone();
        let config = &self.context.config;
        // Before rooms and mixers are listed, no mixer seems to be alive.
        let retention = config.recording.retention.filter(|_| recordings.is_complete());
        let longest = config.rooms.max_age;
        let expired: Vec<_> = recordings
            .all()
            .into_iter()
            .filter(|known| retention.is_some_and(|kept| recordings.has_expired(known, kept, longest)))
            // The mixers of a recording remove it. If none of them is alive, any other mixer removes it.
            .filter(|known| {
                known.recording.takes.contains_key(&self.context.me)
                    || !recordings.has_mixer(&known.recording)
            })
            .map(|known| known.id)
            .collect();
        let remove = async move {
            for id in expired {
                match recordings.delete(&id).await {
                    Ok(true) => {
                        tracing::info!(recording = %id, "recording removed: recording.retention has passed")
                    }
                    Ok(false) => {}
                    Err(error) => tracing::warn!(recording = %id, %error, "expired recording removal failed"),
                }
            }
            tokio::time::sleep(ROUND_EVERY).await;
        };
        cx.run(remove, |()| Msg::Round);
    }
}

impl Behaviour for RecordingSupervisor {
    const KIND: &'static str = "recording_supervisor";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let me = cx.me();
        // The wake-up fails only if this supervisor is gone; then no wake-up is needed.
        self.dirty = Some(self.context.subscribe(move || {
            let _ = me.tell_latest("state_changed", Msg::StateChanged);
        }));
        let store = self.context.store.clone();
        let changes = reflect(store, RECORDINGS.to_owned(), self.context.backoff(), RELIST_EVERY);
        self.read_on(Box::pin(changes), cx);
        if let Some(tracks) = self.parts.tracks.clone() {
            let (context, recordings) = (self.context.clone(), self.parts.recordings.clone());
            cx.spawn_child(TRACKS, ChildSpec::worker(), move || {
                TracksActor::new(context.clone(), recordings.clone(), tracks.clone())
            });
        }
        let (context, recordings) = (self.context.clone(), self.parts.recordings.clone());
        let opus = self.parts.opus.clone();
        cx.spawn_child(TRANSCODER, ChildSpec::worker(), move || {
            TranscoderActor::new(context.clone(), recordings.clone(), opus.clone())
        });
        if let Some(mixer) = &self.parts.mixer {
            self.round(cx);
            let (context, recordings) = (self.context.clone(), self.parts.recordings.clone());
            let spool = mixer.spool.clone();
            cx.spawn_child(DESCRIBER, ChildSpec::worker(), move || {
                DescriberActor::new(context.clone(), recordings.clone(), spool.clone())
            });
            if self.context.config.recording.waveform {
                let (context, recordings) = (self.context.clone(), self.parts.recordings.clone());
                let media = mixer.media.clone();
                cx.spawn_child(ANALYZER, ChildSpec::worker(), move || {
                    AnalyzerActor::new(context.clone(), recordings.clone(), media.clone())
                });
            }
            if let Some(uploads) = mixer.uploads.clone() {
                let (context, recordings) = (self.context.clone(), self.parts.recordings.clone());
                cx.spawn_child(UPLOADER, ChildSpec::worker(), move || {
                    UploaderActor::new(context.clone(), recordings.clone(), uploads.clone())
                });
            }
        }
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Store(event, changes) => {
                self.apply(event, cx);
                self.read_on(changes, cx);
            }
            Msg::StateChanged => self.take_changes(cx),
            Msg::Asked(room, outcome) => {
                self.asking.remove(&room);
                if let WriteOutcome::Failed(failure) = outcome {
                    tracing::warn!(%room, %failure, "recording request write failed");
                }
                // After a failure, the request is written again after the next change of the room or the next
                // listing.
            }
            Msg::Finished(id) => {
                let known = self.recorders.get(&id).map(|(room, _)| room.clone());
                // After the recorder reported, new work for it may have arrived. The recorder has then
                // received this change itself, and continues.
                if known.is_some_and(|room| !self.is_wanted(&id, &room))
                    && cx.stop_child(&format!("{PREFIX}{id}"))
                {
                    self.recorders.remove(&id);
                    self.leaving.insert(id);
                }
            }
            Msg::Round => self.round(cx),
        }
    }

    fn child_down(&mut self, child: &ChildDown, cx: &mut Cx<Self>) {
        let Some(id) = child.name.strip_prefix(PREFIX).and_then(|id| RecordingId::new(id).ok()) else {
            return;
        };
        if matches!(child.decision, Decision::Restart { .. } | Decision::Parked { .. }) {
            return;
        }
        self.leaving.remove(&id);
        let room = self.recorders.remove(&id).map(|(room, _)| room);
        match room {
            Some(room) => self.ensure(&id, &room, cx),
            None => self.look_at(&id, cx),
        }
    }

    fn observe(&self) -> ActorState {
        let state = match (&self.lost, self.parts.recordings.is_listed()) {
            (Some(_), _) => "lost",
            (None, true) => "following",
            (None, false) => "listing",
        };
        ActorState {
            observed: json!({ "recorders": self.recorders.len() }),
            reason: self.lost.clone(),
            ..ActorState::state(state)
        }
    }
}

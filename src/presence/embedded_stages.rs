//! Stages of rooms in memory, for one node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::stage::{StageContent, StageKey, StageMessage, StageStore, StageWrite, TransientEvent};
use super::{EVENTS_KEPT, EventStream, PresenceError, PresenceEvent, events_from_now};
use crate::domain::ids::{RoomId, UnixMs};
use crate::domain::stage::{Event, HistoryId, PersonId, SpeakingTimes, Stage};

pub struct EmbeddedStages {
    stages: Mutex<HashMap<StageKey, Stage>>,
    speech: Mutex<HashMap<StageKey, SpeakingTimes>>,
    messages: broadcast::Sender<PresenceEvent<StageMessage>>,
}

impl EmbeddedStages {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            stages: Mutex::default(),
            speech: Mutex::default(),
            messages: broadcast::Sender::new(EVENTS_KEPT),
        })
    }

    fn stages(&self) -> MutexGuard<'_, HashMap<StageKey, Stage>> {
        // A poisoned lock is usable: a stage is replaced as a whole.
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spoken(&self) -> MutexGuard<'_, HashMap<StageKey, SpeakingTimes>> {
        // A poisoned lock is usable: each change of the map is a single insertion or removal.
        self.speech.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, room: &RoomId, content: StageContent) {
        // An error means that there is no subscriber.
        let _ = self.messages.send(PresenceEvent::Told(StageMessage { room: room.clone(), content }));
    }
}

#[async_trait]
impl StageStore for EmbeddedStages {
    async fn read(&self, key: &StageKey) -> Result<Option<Stage>, PresenceError> {
        Ok(self.stages().get(key).cloned())
    }

    async fn write(
        &self,
        key: &StageKey,
        expected: Option<(&HistoryId, u64)>,
        stage: &Stage,
        events: &[Event],
    ) -> Result<StageWrite, PresenceError> {
        let mut stages = self.stages();
        let known = stages.get(key).map(|known| (&known.history, known.version));
        if known != expected {
            return Ok(StageWrite::Conflict);
        }
        stages.insert(key.clone(), stage.clone());
        let (history, version) = (stage.history.clone(), stage.version);
        // Send while the lock is held, so that all subscribers get the events in order.
        self.tell(&key.room, StageContent::Changed { history, version, events: events.to_vec() });
        Ok(StageWrite::Written)
    }

    async fn pass(&self, room: &RoomId, passing: &TransientEvent) -> Result<(), PresenceError> {
        self.tell(room, StageContent::Passing(passing.clone()));
        Ok(())
    }

    async fn add_speech(
        &self,
        key: &StageKey,
        person: &PersonId,
        ms: u64,
        at: UnixMs,
    ) -> Result<(), PresenceError> {
        let mut rooms = self.spoken();
        let times = rooms.entry(key.clone()).or_default();
        let total_ms = times.of(person).saturating_add(ms);
        times.fold(person, total_ms);
        // Send while holding the lock, so that all subscribers get the totals in order.
        let spoken = TransientEvent::Spoken { at, person: person.clone(), total_ms };
        self.tell(&key.room, StageContent::Passing(spoken));
        Ok(())
    }

    async fn speech(&self, key: &StageKey) -> Result<SpeakingTimes, PresenceError> {
        Ok(self.spoken().get(key).cloned().unwrap_or_default())
    }

    async fn remove(&self, key: &StageKey) -> Result<(), PresenceError> {
        self.spoken().remove(key);
        self.stages().remove(key);
        Ok(())
    }

    fn follow(&self) -> EventStream<StageMessage> {
        events_from_now(self.messages.subscribe())
    }
}

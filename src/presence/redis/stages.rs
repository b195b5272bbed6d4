//! Stages of rooms in Redis, shared by all listener nodes.
//!
//! A stage is one hash of revision and JSON value. One script compares the revision, writes and publishes. If
//! the stage is already the one to be written, an earlier call has written it and its answer was lost.

use std::time::Duration;

use async_trait::async_trait;
use redis::Script;
use serde::Serialize;

use super::{RedisPresence, keys, listener};
use crate::domain::ids::{RoomId, UnixMs};
use crate::domain::stage::{Event, HistoryId, PersonId, SpeakingTimes, Stage};
use crate::presence::stage::{StageContent, StageKey, StageMessage, StageStore, StageWrite, TransientEvent};
use crate::presence::{EventStream, PresenceError};

/// Time from the last change of a stage until Redis deletes the stage. Longer than a broadcast with the
/// default `rooms.max_age`.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct Scripts {
    read: Script,
    write: Script,
    pass: Script,
    remove: Script,
    add_speech: Script,
    speech: Script,
}

impl Scripts {
    pub fn new() -> Self {
        Self {
            read: Script::new("return redis.call('HGET', KEYS[1], 'value')"),
            write: Script::new(
                "local stored = redis.call('HMGET', KEYS[1], 'revision', 'value')
                if stored[1] == ARGV[2] and stored[2] == ARGV[3] then
                    return 1
                end
                if (stored[1] or '') ~= ARGV[1] then
                    return 0
                end
                redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'value', ARGV[3])
                redis.call('PEXPIRE', KEYS[1], ARGV[4])
                redis.call('PUBLISH', ARGV[5], ARGV[6])
                return 1",
            ),
            pass: Script::new("return redis.call('PUBLISH', ARGV[1], ARGV[2])"),
            remove: Script::new("return redis.call('DEL', KEYS[1], KEYS[2])"),
            add_speech: Script::new(
                "local total = redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])
                redis.call('PEXPIRE', KEYS[1], ARGV[3])
                return total",
            ),
            speech: Script::new("return redis.call('HGETALL', KEYS[1])"),
        }
    }
}

#[async_trait]
impl StageStore for RedisPresence {
    async fn read(&self, key: &StageKey) -> Result<Option<Stage>, PresenceError> {
        let mut call = self.inner.stages.read.prepare_invoke();
        call.key(keys::stage(key));
        let value: Option<String> = self.inner.link.run(&call).await?;
        value.map(|value| serde_json::from_str(&value).map_err(unreadable)).transpose()
    }

    async fn write(
        &self,
        key: &StageKey,
        expected: Option<(&HistoryId, u64)>,
        stage: &Stage,
        events: &[Event],
    ) -> Result<StageWrite, PresenceError> {
        let (history, version) = (stage.history.clone(), stage.version);
        let content = StageContent::Changed { history, version, events: events.to_vec() };
        let mut call = self.inner.stages.write.prepare_invoke();
        call.key(keys::stage(key));
        call.arg(expected.map(|(history, version)| revision(history, version)).unwrap_or_default());
        call.arg(revision(&stage.history, stage.version)).arg(json(stage)?);
        call.arg(u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX));
        call.arg(keys::STAGES).arg(json(&StageMessage { room: key.room.clone(), content })?);
        let written: bool = self.inner.link.run(&call).await?;
        Ok(if written { StageWrite::Written } else { StageWrite::Conflict })
    }

    async fn pass(&self, room: &RoomId, passing: &TransientEvent) -> Result<(), PresenceError> {
        let content = StageContent::Passing(passing.clone());
        let mut call = self.inner.stages.pass.prepare_invoke();
        call.arg(keys::STAGES).arg(json(&StageMessage { room: room.clone(), content })?);
        self.inner.link.run_once::<u64>(&call).await?;
        Ok(())
    }

    async fn add_speech(
        &self,
        key: &StageKey,
        person: &PersonId,
        ms: u64,
        at: UnixMs,
    ) -> Result<(), PresenceError> {
        let mut call = self.inner.stages.add_speech.prepare_invoke();
        call.key(keys::speech(key)).arg(String::from(person.clone())).arg(ms);
        call.arg(u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX));
        let total_ms = self.inner.link.run_once(&call).await?;
        // Totals may arrive out of order. This has no effect, because nodes keep the highest one.
        self.pass(&key.room, &TransientEvent::Spoken { at, person: person.clone(), total_ms }).await
    }

    async fn speech(&self, key: &StageKey) -> Result<SpeakingTimes, PresenceError> {
        let mut call = self.inner.stages.speech.prepare_invoke();
        call.key(keys::speech(key));
        let pairs: Vec<String> = self.inner.link.run(&call).await?;
        let pair = |pair: &[String]| match pair {
            [person, total] => Some((PersonId::new(person).ok()?, total.parse().ok()?)),
            _ => None,
        };
        Ok(pairs.chunks(2).filter_map(pair).collect())
    }

    async fn remove(&self, key: &StageKey) -> Result<(), PresenceError> {
        let mut call = self.inner.stages.remove.prepare_invoke();
        call.key(keys::stage(key)).key(keys::speech(key));
        self.inner.link.run::<u64>(&call).await?;
        Ok(())
    }

    fn follow(&self) -> EventStream<StageMessage> {
        let read = |text: &str| serde_json::from_str(text).ok();
        let inner = &self.inner;
        listener::listen(inner.client.clone(), keys::STAGES.into(), inner.options.request_timeout, read)
    }
}

fn revision(history: &HistoryId, version: u64) -> String {
    format!("{}.{version}", history.0)
}

fn json(value: &impl Serialize) -> Result<String, PresenceError> {
    serde_json::to_string(value).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> PresenceError {
    PresenceError::Rejected(format!("cannot parse the stage in Redis: {error}"))
}

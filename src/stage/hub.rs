//! Channels of all rooms that somebody follows on this node.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::captions::LiveCaptions;
use super::channel::{Channel, Inner, new_history};
use super::encode::{self, RoomLine, Surroundings, Transport};
use super::subscription::{Subscription, SubscriptionEnd, Viewer};
use crate::auth::Secrets;
use crate::delivery::listener_counter::Listeners;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::rewind::offered;
use crate::domain::stage::limits::{Rate, RateLimiter};
use crate::domain::stage::{
    ApplyOutcome, Command, Event, Person, PersonId, Position, Proposal, Reaction, Refusal, RereadOutcome,
};
use crate::presence::stage::{StageContent, StageKey, StageMessage, StageStore, StageWrite, TransientEvent};
use crate::presence::{Presence, PresenceError};
use crate::rooms::{Directory, Room, Scope, now};
use crate::telemetry::Metrics;

/// Rate limit for the commands of one token subject in one room. The burst allows for quick clicks.
const PER_SUBJECT: Rate = Rate { per_second: 4, burst: 12 };
/// Rate limit for the commands from one address. It is high, because all listeners behind a proxy share an
/// address.
const PER_ADDRESS: Rate = Rate { per_second: 200, burst: 400 };
/// Maximum number of attempts of a command. After that, the command is refused, because other nodes keep
/// changing the stage.
const ATTEMPTS: usize = 16;
/// Interval between heartbeats on every channel: comments for server-sent events, pings for WebSockets. They
/// keep proxies from closing an idle connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Time without a subscriber after which a channel is dropped.
const IDLE: Duration = Duration::from_secs(30);
/// Longest time a command waits for earlier commands of its room on this node.
const TURN: Duration = Duration::from_secs(2);

pub struct Dependencies {
    pub store: Arc<dyn StageStore>,
    /// `None` on a node without presence: members are then not known.
    pub presence: Option<Arc<dyn Presence>>,
    pub directory: Arc<Directory>,
    pub listeners: Listeners,
    pub secrets: Arc<Secrets>,
    pub metrics: Metrics,
    /// Value of `hls.rewind`.
    pub rewind: Duration,
}

/// Entry point to the channels of this node.
pub struct StageHub {
    pub(super) parts: Dependencies,
    rooms: Mutex<HashMap<RoomId, Arc<Channel>>>,
    /// Users who talk, in all rooms: a channel that is opened later begins with those who already talk.
    talking: Mutex<HashMap<RoomId, BTreeSet<PersonId>>>,
    pub captions: Arc<LiveCaptions>,
    /// Stages that this node has written and that may have to be removed.
    written: Mutex<HashSet<StageKey>>,
    limits: Mutex<[RateLimiter; 2]>,
    hashes: RandomState,
    began: Instant,
    stopping: AtomicBool,
}

/// Work that [`StageHub::tick`] has found and that its caller has to do.
#[derive(Debug, Default)]
pub struct DueWork {
    /// Reactions that this node has counted.
    pub passing: Vec<(RoomId, TransientEvent)>,
    /// Stages of rooms that are gone.
    pub gone: Vec<StageKey>,
    /// Raised hands of banned people.
    pub banned: Vec<(RoomId, PersonId)>,
    /// Rooms whose members must be read again: their roles may have changed, or a backstage no longer hides
    /// them.
    pub members: Vec<RoomId>,
}

/// Reason why a channel was not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    NoSuchRoom,
    /// The rooms are not listed yet, or the node is stopping.
    Unavailable,
    Store(PresenceError),
}

/// Reason why a command had no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    Open(OpenError),
    Refused(Refusal),
    TooManyRequests {
        retry_after: Duration,
    },
    /// Other commands kept changing the stage, or earlier commands of this room did not end in time.
    Busy,
}

impl StageHub {
    pub fn new(parts: Dependencies) -> Self {
        Self {
            parts,
            rooms: Mutex::default(),
            talking: Mutex::default(),
            captions: Arc::default(),
            written: Mutex::default(),
            limits: Mutex::new([RateLimiter::new(PER_SUBJECT), RateLimiter::new(PER_ADDRESS)]),
            hashes: RandomState::new(),
            began: Instant::now(),
            stopping: AtomicBool::new(false),
        }
    }

    pub fn store(&self) -> &Arc<dyn StageStore> {
        &self.parts.store
    }

    pub fn presence(&self) -> Option<&Arc<dyn Presence>> {
        self.parts.presence.as_ref()
    }

    /// Counts one request of a user against the rate limits.
    ///
    /// # Errors
    /// [`CommandError::TooManyRequests`].
    pub fn admit(&self, room: &RoomId, person: &Person, address: Option<IpAddr>) -> Result<(), CommandError> {
        let now = self.began.elapsed();
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let subject = self.hashes.hash_one((room, &person.id));
        let taken = limits[0].take(subject, now);
        let taken = taken.and_then(|()| match address {
            Some(address) => limits[1].take(self.hashes.hash_one(address), now),
            None => Ok(()),
        });
        taken.map_err(|retry_after| CommandError::TooManyRequests { retry_after })
    }

    /// Opens the channel for one client. `last`: value of its `Last-Event-ID`. `until`: expiry of its token.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn subscribe(
        &self,
        room: &RoomId,
        person: &Person,
        transport: Transport,
        last: Option<&str>,
        until: Instant,
    ) -> Result<Subscription, OpenError> {
        let viewer = Viewer { moderates: person.role.moderates(), transport };
        loop {
            let channel = self.channel(room).await?;
            // Apply the current bans and roles. With those of the latest tick, a lifted ban would end the
            // stream.
            if let Some(view) = self.parts.directory.room(room) {
                let mut changed = false;
                channel.publish(|inner| changed = self.take_users(inner, room, view.users.clone()));
                if changed {
                    self.reread_members(room).await;
                }
            }
            let (hello, position) = {
                let mut inner = channel.lock();
                // The channel was closed in the meantime, for example because it was idle.
                if inner.closed.is_some() {
                    continue;
                }
                inner.subscribers += 1;
                let (first, position) = inner.begin(last.and_then(encode::event_id), viewer, now());
                ([&encode::hello(person).of(transport)[..], &first].concat().into(), position)
            };
            let metrics = self.parts.metrics.clone();
            let viewer = (viewer, person.subject.clone());
            return Ok(Subscription::new(channel, (hello, position), viewer, until, metrics));
        }
    }

    /// Carries out a command. Returns the events of the command, or none if the command changes nothing.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn command(
        &self,
        room: &RoomId,
        by: &Person,
        command: Command,
    ) -> Result<Vec<Event>, CommandError> {
        let channel = self.channel(room).await.map_err(CommandError::Open)?;
        let turn = tokio::time::timeout(TURN, channel.turn.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(CommandError::Busy) };
        let failed = |error| CommandError::Open(OpenError::Store(error));
        let mut attempt = channel.lock().copy.attempt(new_history());
        for _ in 0..ATTEMPTS {
            let proposal = attempt.decide(by, command.clone(), now()).map_err(CommandError::Refused)?;
            let Some(Proposal { expected, stage, events }) = proposal else { return Ok(Vec::new()) };
            let expected = expected.as_ref().map(|Position { history, version }| (history, *version));
            match self.parts.store.write(&channel.key, expected, &stage, &events).await.map_err(failed)? {
                StageWrite::Written => {
                    self.written().insert(channel.key.clone());
                    // The store sends the events to this node too, which then ignores them as old. If there
                    // is a gap now, they arrive after the missing events, or reveal the gap again.
                    channel.changed(&stage.history, stage.version, &events);
                    return Ok(events);
                }
                StageWrite::Conflict => {
                    let copy = channel.lock().copy.clone();
                    let read = self.parts.store.read(&channel.key).await.map_err(failed)?;
                    attempt = copy.attempt_on(read, new_history());
                }
            }
        }
        Err(CommandError::Busy)
    }

    /// Counts a reaction. [`tick`](Self::tick) passes the counts on to all nodes, and shows the sums.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn react(&self, room: &RoomId, reaction: Reaction) -> Result<(), OpenError> {
        let channel = self.channel(room).await?;
        let mut inner = channel.lock();
        let count = inner.counted.entry(reaction).or_default();
        *count = count.saturating_add(1);
        Ok(())
    }

    /// Applies a message of a node. Returns true if the stage must be read again.
    pub fn heard(&self, message: &StageMessage) -> bool {
        if let StageContent::Passing(TransientEvent::Talking { person, talking, .. }) = &message.content {
            let mut rooms = self.talking();
            let people = rooms.entry(message.room.clone()).or_default();
            match talking {
                true => people.insert(person.clone()),
                false => people.remove(person),
            };
        }
        if let StageContent::Passing(TransientEvent::Caption(caption)) = &message.content {
            self.captions.heard(&message.room, caption);
        }
        let Some(channel) = self.known(&message.room) else { return false };
        let view = self.parts.directory.room(&message.room);
        let hidden = view.is_some_and(|view| view.is_backstage());
        match &message.content {
            StageContent::Changed { history, version, events } => {
                channel.changed(history, *version, events) == ApplyOutcome::Gap
            }
            StageContent::Passing(TransientEvent::Reactions { counts, .. }) => {
                let mut inner = channel.lock();
                for (reaction, count) in counts {
                    let sum = inner.heard.entry(*reaction).or_default();
                    *sum = sum.saturating_add(*count);
                }
                false
            }
            StageContent::Passing(TransientEvent::Spoken { person, total_ms, .. }) => {
                let mut inner = channel.lock();
                let changed = inner.around.spoken.fold(person, *total_ms);
                inner.spoke |= changed;
                false
            }
            StageContent::Passing(TransientEvent::Caption(caption)) => {
                channel.publish(|inner| inner.push(encode::caption(caption), None));
                false
            }
            StageContent::Passing(TransientEvent::Talking { .. }) if hidden => false,
            StageContent::Passing(TransientEvent::Talking { at, person, talking }) => {
                channel.publish(|inner| {
                    let known = inner.around.talking.clone();
                    match talking {
                        true => inner.around.talking.insert(person.clone()),
                        false => inner.around.talking.remove(person),
                    };
                    if inner.around.talking != known {
                        let entry = encode::talking(&inner.around.talking, *at);
                        inner.show(entry);
                    }
                });
                false
            }
        }
    }

    /// Returns those of `users` who talk in a room, according to the messages that this node has received.
    pub fn talking_among(&self, room: &RoomId, users: &[UserId]) -> BTreeSet<UserId> {
        let Some(talking) = self.talking().get(room).cloned() else { return BTreeSet::new() };
        let talks = |user: &&UserId| talking.contains(&self.parts.secrets.person_id(room, user.as_str()));
        users.iter().filter(talks).cloned().collect()
    }

    /// Reads the stage of a room again, after messages were lost.
    pub async fn reread(&self, room: &RoomId) {
        let Some(channel) = self.known(room) else { return };
        let mut outcome = RereadOutcome::Again;
        while outcome == RereadOutcome::Again {
            let since = channel.lock().copy.position();
            // If this read fails, the next message reveals the gap again.
            let Ok(stage) = self.parts.store.read(&channel.key).await else { return };
            outcome = channel.reread(stage, &since, now());
        }
    }

    /// Does the work due each second: publishes changed room states, reactions and heartbeats, and drops idle
    /// channels.
    pub fn tick(&self, seconds: u64) -> DueWork {
        let elapsed = self.began.elapsed();
        let (mut counted, mut banned, mut members) = (Vec::new(), Vec::new(), Vec::new());
        for (room, channel) in self.all() {
            let line = self.line(&channel.key);
            let users = self.parts.directory.room(&room).map(|view| view.users.clone());
            let beat = seconds.is_multiple_of(HEARTBEAT.as_secs());
            channel.publish(|inner| {
                let Some(line) = line else {
                    inner.close();
                    return;
                };
                if inner.around.room != line {
                    if inner.around.room.status != line.status {
                        // The members of a backstage are hidden until it goes on air.
                        members.push(room.clone());
                    }
                    inner.around.room = line;
                    let entry = encode::room(&inner.around.room, now());
                    inner.show(entry);
                }
                if users.is_some_and(|users| self.take_users(inner, &room, users)) {
                    members.push(room.clone());
                }
                banned.extend(inner.banned_hands().into_iter().map(|person| (room.clone(), person)));
                if !inner.heard.is_empty() {
                    let counts = std::mem::take(&mut inner.heard);
                    inner.push(encode::reactions(&counts, now()), None);
                }
                if std::mem::take(&mut inner.spoke) {
                    let entry = encode::spoken(&inner.around.spoken, now());
                    inner.show(entry);
                }
                if beat {
                    inner.push(encode::heartbeat(), None);
                }
                if !inner.counted.is_empty() {
                    let counts = std::mem::take(&mut inner.counted);
                    counted.push((room.clone(), TransientEvent::Reactions { at: now(), counts }));
                }
                if inner.subscribers > 0 {
                    inner.idle_since = elapsed;
                }
            });
            let mut rooms = self.rooms();
            let mut inner = channel.lock();
            let idle = inner.subscribers == 0 && elapsed.saturating_sub(inner.idle_since) > IDLE;
            if inner.closed.is_some() || (idle && inner.counted.is_empty()) {
                inner.closed.get_or_insert(SubscriptionEnd::Closed);
                rooms.remove(&room);
            }
        }
        DueWork { passing: counted, gone: self.gone(), banned, members }
    }

    /// Removes and returns the written stages whose rooms are gone.
    fn gone(&self) -> Vec<StageKey> {
        if self.parts.directory.revision_seen(Scope::Rooms).is_none() {
            return Vec::new();
        }
        self.talking().retain(|room, people| !people.is_empty() && self.key(room).is_some());
        let mut written = self.written();
        let gone: Vec<_> =
            written.iter().filter(|key| self.key(&key.room).as_ref() != Some(key)).cloned().collect();
        written.retain(|key| !gone.contains(key));
        gone
    }

    pub(super) fn talking(&self) -> MutexGuard<'_, HashMap<RoomId, BTreeSet<PersonId>>> {
        // A poisoned lock is usable: the map is changed by single insertions and removals.
        self.talking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self) -> MutexGuard<'_, HashSet<StageKey>> {
        // A poisoned lock is usable: the set is changed by single insertions and removals.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all channels, because the node stops.
    pub fn close(&self) {
        self.stopping.store(true, Relaxed);
        for (_, channel) in self.all() {
            channel.publish(|inner| inner.closed = inner.closed.or(Some(SubscriptionEnd::Closed)));
        }
    }

    /// Returns the rooms that have a channel.
    pub fn followed(&self) -> Vec<RoomId> {
        self.rooms().keys().cloned().collect()
    }

    /// Returns the number of connected clients of all rooms.
    pub fn subscribers(&self) -> usize {
        self.all().iter().map(|(_, channel)| channel.lock().subscribers).sum()
    }

    #[cfg(test)]
    pub(super) fn directory(&self) -> Arc<Directory> {
        self.parts.directory.clone()
    }

    #[cfg(test)]
    pub(super) fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    pub(super) async fn channel(&self, room: &RoomId) -> Result<Arc<Channel>, OpenError> {
        if self.stopping.load(Relaxed) || self.parts.directory.revision_seen(Scope::Rooms).is_none() {
            return Err(OpenError::Unavailable);
        }
        let key = self.key(room).ok_or(OpenError::NoSuchRoom)?;
        if let Some(channel) = self.known(room)
            && channel.key == key
        {
            return Ok(channel);
        }
        let around = Surroundings {
            room: self.line(&key).ok_or(OpenError::NoSuchRoom)?,
            members: Vec::new(),
            talking: self.talkers(room),
            bans: Vec::new(),
            spoken: self.parts.store.speech(&key).await.map_err(OpenError::Store)?,
        };
        let stage = self.parts.store.read(&key).await.map_err(OpenError::Store)?;
        let channel = {
            let mut rooms = self.rooms();
            match rooms.get(room) {
                // Another request has opened the channel in the meantime.
                Some(known) if known.key == key => return Ok(known.clone()),
                Some(former) => former.publish(|inner| inner.close()),
                None => {}
            }
            let channel = Arc::new(Channel::new(key, stage, new_history(), around));
            channel.lock().idle_since = self.began.elapsed();
            if let Some(view) = self.parts.directory.room(room) {
                self.take_users(&mut channel.lock(), room, view.users.clone());
            }
            rooms.insert(room.clone(), channel.clone());
            channel
        };
        // Read the stage again, to find an event that was written between the first read and the insertion.
        // Without this, only the next event would reveal the gap.
        self.reread(room).await;
        self.reread_members(room).await;
        Ok(channel)
    }

    fn key(&self, room: &RoomId) -> Option<StageKey> {
        let view = self.parts.directory.room(room)?;
        let meta = view.meta.as_ref().filter(|meta| meta.deleted_at.is_none())?;
        Some(StageKey { room: room.clone(), created_at: meta.created_at })
    }

    /// Returns the state of the room; `None` if it is gone.
    fn line(&self, key: &StageKey) -> Option<RoomLine> {
        if self.key(&key.room)? != *key {
            return None;
        }
        let view = self.parts.directory.room(&key.room)?;
        let room = Room::of(key.room.clone(), view, &self.parts.directory.modules())?;
        let listeners = self.parts.listeners.of(&room.id, &room.view);
        Some(RoomLine::of(&room, listeners, offered(&room.view, self.parts.rewind)))
    }

    pub(super) fn known(&self, room: &RoomId) -> Option<Arc<Channel>> {
        self.rooms().get(room).cloned()
    }

    fn all(&self) -> Vec<(RoomId, Arc<Channel>)> {
        self.rooms().iter().map(|(room, channel)| (room.clone(), channel.clone())).collect()
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Arc<Channel>>> {
        // A poisoned lock is usable: the map is changed by single insertions and removals.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn close(&mut self) {
        if self.closed.is_none() {
            self.push(encode::closed(now()), None);
            self.closed = Some(SubscriptionEnd::RoomGone);
        }
    }
}

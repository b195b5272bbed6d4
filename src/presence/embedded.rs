//! Locks and presence entries of a single node, in memory: they end with the process, like its connections.
//!
//! Owns: the tables. An expired record is treated as absent. Each heartbeat of a gateway removes all expired
//! records, and each call for the presence entries of a room removes the expired ones.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::broadcast;

use super::{
    Acquisition, ConnectionLock, EVENTS_KEPT, EventStream, HeartbeatOutcome, Lifetimes, LockReplaced,
    MembersChanged, Presence, PresenceEntry, PresenceError, PresenceEvent, RenewOutcome, events_from_now,
};
use crate::domain::connection::{
    AcquireDecision, Duplicate, FencingToken, GatewayIncarnation, Holder, JoinOutcome, LockKey,
    ReleaseOutcome, Renewal, UpdateOutcome,
};
use crate::domain::ids::{RoomId, UserId};

/// Clock that returns the time since an arbitrary start and never goes back.
pub type MonotonicClock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Locks and presence entries in memory.
pub struct EmbeddedPresence {
    tables: Mutex<Tables>,
    lifetimes: Lifetimes,
    clock: MonotonicClock,
    /// Wall-clock time at the clock's zero, so that fencing tokens have the same scale as in Redis.
    zero: Duration,
    changed: broadcast::Sender<PresenceEvent<MembersChanged>>,
    replaced: broadcast::Sender<PresenceEvent<(GatewayIncarnation, LockReplaced)>>,
}

#[derive(Default)]
struct Tables {
    locks: HashMap<LockKey, ExpiringValue<(Holder, FencingToken)>>,
    marks: HashMap<LockKey, ExpiringValue<FencingToken>>,
    /// Known gateways. The value is true if the gateway has sent a heartbeat, and false if it has only
    /// acquired or renewed locks.
    gateways: HashMap<GatewayIncarnation, ExpiringValue<bool>>,
    rooms: HashMap<RoomId, BTreeMap<UserId, ExpiringValue<PresenceEntry>>>,
}

struct ExpiringValue<T> {
    value: T,
    until: Duration,
}

impl EmbeddedPresence {
    pub fn new(lifetimes: Lifetimes) -> Arc<Self> {
        let start = Instant::now();
        Self::with_clock(lifetimes, Arc::new(move || start.elapsed()))
    }

    pub fn with_clock(lifetimes: Lifetimes, clock: MonotonicClock) -> Arc<Self> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Arc::new(Self {
            tables: Mutex::default(),
            lifetimes,
            zero: wall.saturating_sub(clock()),
            clock,
            changed: broadcast::Sender::new(EVENTS_KEPT),
            replaced: broadcast::Sender::new(EVENTS_KEPT),
        })
    }

    /// Deletes all data, like a backend that was restarted without its data.
    #[cfg(test)]
    pub fn lose_data(&self) {
        *self.tables() = Tables::default();
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // A poisoned lock is usable: each change is complete before any code that could panic.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the room's expired presence entries. Returns the tables and the time.
    fn touch(&self, room: &RoomId) -> (MutexGuard<'_, Tables>, Duration) {
        let (mut tables, now) = (self.tables(), (self.clock)());
        if tables.prune(room, now) {
            self.tell(room);
        }
        (tables, now)
    }

    fn tell(&self, room: &RoomId) {
        // An error means that there is no subscriber.
        let _ = self.changed.send(PresenceEvent::Told(MembersChanged { room: room.clone() }));
    }

    fn tell_replaced(&self, key: &LockKey, holder: &Holder) {
        let replaced = LockReplaced { key: key.clone(), connection: holder.connection.clone() };
        let _ = self.replaced.send(PresenceEvent::Told((holder.gateway.clone(), replaced)));
    }

    fn clock_us(&self, now: Duration) -> u64 {
        u64::try_from((self.zero + now).as_micros()).unwrap_or(u64::MAX)
    }
}

#[async_trait]
impl ConnectionLock for EmbeddedPresence {
    async fn acquire(
        &self,
        key: &LockKey,
        holder: &Holder,
        policy: Duplicate,
    ) -> Result<Acquisition, PresenceError> {
        let (mut tables, now) = (self.tables(), (self.clock)());
        tables.alive(&holder.gateway, false, now, &self.lifetimes);
        let present = tables.lock(key, now).map(|(present, _)| present.clone());
        let alive = present.as_ref().is_some_and(|present| tables.is_alive(&present.gateway, now));
        let claim = AcquireDecision::of(holder, present.as_ref().map(|present| (present, alive)), policy);
        let replaced = match present {
            Some(by) if claim == AcquireDecision::Refused => return Ok(Acquisition::Held { by }),
            present => present.filter(|_| claim.replaces()),
        };
        let token = FencingToken::next(tables.mark(key, now), self.clock_us(now));
        tables.hold(key, holder, token, now, &self.lifetimes);
        if let Some(replaced) = &replaced {
            self.tell_replaced(key, replaced);
        }
        Ok(Acquisition::Acquired { token, replaced })
    }

    async fn renew(
        &self,
        key: &LockKey,
        holder: &Holder,
        token: FencingToken,
    ) -> Result<RenewOutcome, PresenceError> {
        let (mut tables, now) = (self.tables(), (self.clock)());
        tables.alive(&holder.gateway, false, now, &self.lifetimes);
        let held = tables.lock(key, now).map(|(_, token)| *token);
        match Renewal::of(token, held, tables.mark(key, now)) {
            Renewal::Ours | Renewal::Restored => {
                tables.hold(key, holder, token, now, &self.lifetimes);
                Ok(RenewOutcome::StillOurs)
            }
            Renewal::Lost => Ok(RenewOutcome::Lost),
        }
    }

    async fn release(&self, key: &LockKey, token: FencingToken) -> Result<ReleaseOutcome, PresenceError> {
        let (mut tables, now) = (self.tables(), (self.clock)());
        let held = tables.lock(key, now).map(|(_, token)| *token);
        let released = ReleaseOutcome::of(token, held, tables.mark(key, now));
        if released == ReleaseOutcome::Freed {
            tables.locks.remove(key);
            tables.set_mark(key, token.over(), now, &self.lifetimes);
        }
        Ok(released)
    }

    async fn gateway_alive(&self, gateway: &GatewayIncarnation) -> Result<HeartbeatOutcome, PresenceError> {
        let (mut tables, now) = (self.tables(), (self.clock)());
        let known = tables.has_shown_itself(gateway, now);
        tables.alive(gateway, true, now, &self.lifetimes);
        tables.remove_expired(now).iter().for_each(|room| self.tell(room));
        Ok(if known { HeartbeatOutcome::Known } else { HeartbeatOutcome::Reregistered })
    }

    fn replacements(&self, gateway: &GatewayIncarnation) -> EventStream<LockReplaced> {
        let gateway = gateway.clone();
        let own = move |event| match event {
            PresenceEvent::LookAgain => Some(PresenceEvent::LookAgain),
            PresenceEvent::Told((of, replaced)) => (of == gateway).then_some(PresenceEvent::Told(replaced)),
        };
        events_from_now(self.replaced.subscribe())
            .filter_map(move |event| std::future::ready(own(event)))
            .boxed()
    }
}

#[async_trait]
impl Presence for EmbeddedPresence {
    async fn join(
        &self,
        room: &RoomId,
        member: &PresenceEntry,
        max_anchors: usize,
    ) -> Result<JoinOutcome, PresenceError> {
        let (mut tables, now) = self.touch(room);
        let key = LockKey { room: room.clone(), user: member.user_id.clone() };
        let present = tables.present(&key);
        let others = tables.rooms.get(room).map_or(0, BTreeMap::len) - usize::from(present.is_some());
        let joined = JoinOutcome::of(member.token, tables.mark(&key, now), present, others, max_anchors);
        if joined == JoinOutcome::Ok && tables.write(room, member, now + self.lifetimes.member) {
            self.tell(room);
        }
        Ok(joined)
    }

    async fn update(&self, room: &RoomId, member: &PresenceEntry) -> Result<UpdateOutcome, PresenceError> {
        let (mut tables, now) = self.touch(room);
        let key = LockKey { room: room.clone(), user: member.user_id.clone() };
        let written = UpdateOutcome::of(member.token, tables.mark(&key, now), tables.present(&key));
        if written == UpdateOutcome::Ok && tables.write(room, member, now + self.lifetimes.member) {
            self.tell(room);
        }
        Ok(written)
    }

    async fn leave(&self, key: &LockKey, token: FencingToken) -> Result<UpdateOutcome, PresenceError> {
        let (mut tables, now) = self.touch(&key.room);
        let written = UpdateOutcome::of(token, tables.mark(key, now), tables.present(key));
        if written == UpdateOutcome::Ok {
            tables.remove(key);
            self.tell(&key.room);
        }
        Ok(written)
    }

    async fn forget(&self, key: &LockKey) -> Result<(), PresenceError> {
        let (mut tables, _) = self.touch(&key.room);
        if tables.present(key).is_some() {
            tables.remove(key);
            self.tell(&key.room);
        }
        Ok(())
    }

    async fn list(&self, room: &RoomId) -> Result<Vec<PresenceEntry>, PresenceError> {
        let (tables, _) = self.touch(room);
        let members = tables.rooms.get(room).into_iter().flat_map(BTreeMap::values);
        Ok(members.map(|member| member.value.clone()).collect())
    }

    async fn remove_room(&self, room: &RoomId) -> Result<(), PresenceError> {
        let (mut tables, _) = self.touch(room);
        if tables.rooms.remove(room).is_some() {
            self.tell(room);
        }
        Ok(())
    }

    fn subscribe(&self) -> EventStream<MembersChanged> {
        events_from_now(self.changed.subscribe())
    }
}

impl<T> ExpiringValue<T> {
    fn lives(&self, now: Duration) -> bool {
        self.until > now
    }
}

impl Tables {
    fn lock(&self, key: &LockKey, now: Duration) -> Option<&(Holder, FencingToken)> {
        self.locks.get(key).filter(|lock| lock.lives(now)).map(|lock| &lock.value)
    }

    fn mark(&self, key: &LockKey, now: Duration) -> Option<FencingToken> {
        self.marks.get(key).filter(|mark| mark.lives(now)).map(|mark| mark.value)
    }

    fn is_alive(&self, gateway: &GatewayIncarnation, now: Duration) -> bool {
        self.gateways.get(gateway).is_some_and(|gateway| gateway.lives(now))
    }

    /// Returns the fencing token of the user's presence entry. The caller must have pruned the room.
    fn present(&self, key: &LockKey) -> Option<FencingToken> {
        Some(self.rooms.get(&key.room)?.get(&key.user)?.value.token)
    }

    fn has_shown_itself(&self, gateway: &GatewayIncarnation, now: Duration) -> bool {
        self.gateways.get(gateway).is_some_and(|gateway| gateway.lives(now) && gateway.value)
    }

    fn alive(&mut self, gateway: &GatewayIncarnation, shown: bool, now: Duration, lifetimes: &Lifetimes) {
        let (value, until) = (shown || self.has_shown_itself(gateway, now), now + lifetimes.gateway);
        self.gateways.insert(gateway.clone(), ExpiringValue { value, until });
    }

    fn hold(
        &mut self,
        key: &LockKey,
        holder: &Holder,
        token: FencingToken,
        now: Duration,
        lifetimes: &Lifetimes,
    ) {
        let lock = ExpiringValue { value: (holder.clone(), token), until: now + lifetimes.lock };
        self.locks.insert(key.clone(), lock);
        self.set_mark(key, token, now, lifetimes);
    }

    fn set_mark(&mut self, key: &LockKey, token: FencingToken, now: Duration, lifetimes: &Lifetimes) {
        self.marks.insert(key.clone(), ExpiringValue { value: token, until: now + lifetimes.mark() });
    }

    /// Writes an entry. Returns true if it differs from the previous one.
    fn write(&mut self, room: &RoomId, member: &PresenceEntry, until: Duration) -> bool {
        let members = self.rooms.entry(room.clone()).or_default();
        let entry = ExpiringValue { value: member.clone(), until };
        members.insert(member.user_id.clone(), entry).is_none_or(|old| old.value != *member)
    }

    fn remove(&mut self, key: &LockKey) {
        if let Some(members) = self.rooms.get_mut(&key.room) {
            members.remove(&key.user);
            if members.is_empty() {
                self.rooms.remove(&key.room);
            }
        }
    }

    /// Removes expired entries of a room. Returns true if any entry was removed.
    fn prune(&mut self, room: &RoomId, now: Duration) -> bool {
        let Some(members) = self.rooms.get_mut(room) else { return false };
        let before = members.len();
        members.retain(|_, member| member.lives(now));
        let pruned = members.len() < before;
        if members.is_empty() {
            self.rooms.remove(room);
        }
        pruned
    }

    /// Removes all expired records. Returns the rooms whose entries were removed.
    fn remove_expired(&mut self, now: Duration) -> Vec<RoomId> {
        self.locks.retain(|_, lock| lock.lives(now));
        self.marks.retain(|_, mark| mark.lives(now));
        self.gateways.retain(|_, gateway| gateway.lives(now));
        let rooms: Vec<RoomId> = self.rooms.keys().cloned().collect();
        rooms.into_iter().filter(|room| self.prune(room, now)).collect()
    }
}

//! Node with the role `gateway`: the sessions of its connections, and the presence backend that all gateways
//! share. Sessions and backend are the production code. Requests to presence may be late or lost.
//!
//! Owns the connections and the requests in progress. Never decides what a client does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;

use super::node::TimedPart;
use super::world::{Event, Input, PATIENCE, ProcessId, World};
use crate::domain::client_session::{
    Answer, CallId, ClientSession, Effect, Input as SessionInput, JoinedMedia, LockOutcome, MediaEvent,
    Surroundings, Unavailable, not_on_air,
};
use crate::domain::connection::{
    ConnectionId, Duplicate, FencingToken, GatewayIncarnation, Holder, JoinOutcome, Lifetimes, LockKey,
    ReleaseOutcome, RenewOutcome, UpdateOutcome,
};
use crate::domain::grant::Grant;
use crate::domain::ids::RoomId;
use crate::domain::media_session::{AssignmentChange, End, JanusAssignment};
use crate::domain::pin_attempts::Guess;
use crate::domain::signalling::methods::ResumeToken;
use crate::domain::signalling::{CloseCode, ErrorCode};
use crate::presence::embedded::EmbeddedPresence;
use crate::presence::{Acquisition, ConnectionLock, HeartbeatOutcome, Presence, PresenceError};

pub const LIFETIMES: Lifetimes = Lifetimes {
    lock: Duration::from_secs(6),
    gateway: Duration::from_secs(2),
    member: Duration::from_secs(6),
};

/// Presence backend of the cluster.
pub struct SharedPresence {
    backend: Arc<EmbeddedPresence>,
    /// Time of the backend, in microseconds.
    clock: Arc<AtomicU64>,
    pub policy: Duplicate,
    /// True while the backend does not answer.
    pub is_away: bool,
    /// Highest fencing token of each lock since the backend last lost its data.
    pub newest: BTreeMap<LockKey, FencingToken>,
}

/// Gateway role of one node.
#[derive(Default)]
pub struct GatewaySide {
    pub connections: BTreeMap<u64, Connection>,
    /// True once no client may connect any more.
    pub is_draining: bool,
}

/// Connection of a client.
pub struct Connection {
    pub key: LockKey,
    pub grant: Grant,
    pub session: ClientSession,
    pub calls: u64,
    /// Unanswered calls, each with the time at which it was made.
    pub waiting: BTreeMap<CallId, Duration>,
    /// True if the newest of the calls `join` and `leave` was `leave`.
    pub has_left: bool,
    pub is_closed: bool,
    pub token: Option<FencingToken>,
    /// Media session that the client session has joined, but does not follow yet.
    pub joined: Option<JanusAssignment>,
    /// Media session that the client session follows, with its number.
    pub media: Option<(u64, JanusAssignment)>,
}

/// Request of a connection to presence.
#[derive(Debug, Clone)]
pub struct PresenceCall {
    from: ProcessId,
    number: u64,
    key: LockKey,
    gateway: GatewayIncarnation,
    effect: Effect,
    /// True if the connection gives up before the request arrives.
    is_late: bool,
}

/// Departure that a gateway reports to presence until presence has recorded it.
#[derive(Debug, Clone)]
pub struct Departure {
    key: LockKey,
    token: FencingToken,
    leave: bool,
    release: bool,
    until: Duration,
}

impl SharedPresence {
    pub fn new() -> Self {
        let clock = Arc::new(AtomicU64::new(0));
        let time = clock.clone();
        let backend = EmbeddedPresence::with_clock(
            LIFETIMES,
            Arc::new(move || Duration::from_micros(time.load(Ordering::Relaxed))),
        );
        Self { backend, clock, policy: Duplicate::Reject, is_away: false, newest: BTreeMap::new() }
    }

    /// Sets the clock of the backend to `now`, and returns the backend.
    pub fn at(&self, now: Duration) -> &EmbeddedPresence {
        self.clock.store(now.as_micros() as u64, Ordering::Relaxed);
        &self.backend
    }

    pub fn lose_data(&mut self) {
        self.backend.lose_data();
        self.newest.clear();
    }

    /// Checks, after an accepted write under `token`, that no newer connection has acquired the lock.
    fn judge(&self, key: &LockKey, token: FencingToken, what: &str) {
        let newest = self.newest.get(key);
        assert!(newest.is_none_or(|newest| *newest <= token), "{what} under {token:?} after {newest:?}");
    }
}

/// Returns the outcome of a request to the backend, which answers at once.
pub fn done<T>(request: impl Future<Output = Result<T, PresenceError>>) -> T {
    request.now_or_never().expect("the backend does not wait").expect("the backend is available")
}

/// Returns the input that reports to the session that a request to presence has failed.
fn failed(effect: &Effect) -> SessionInput {
    match effect {
        Effect::Acquire { .. } => SessionInput::Acquired(Err(Unavailable)),
        Effect::Renew { token, .. } => SessionInput::Renewed { token: *token, outcome: Err(Unavailable) },
        Effect::ListMembers(waiter) => SessionInput::Listed(*waiter, Err(Unavailable)),
        Effect::Enter { .. } => SessionInput::Entered(Err(Unavailable)),
        Effect::Update(_) => SessionInput::Updated(Err(Unavailable)),
        other => panic!("{other:?} is not a request to presence"),
    }
}

impl World {
    pub fn connection(&mut self, n: usize, number: u64) -> Option<&mut Connection> {
        self.nodes[n].gateway.as_mut()?.connections.get_mut(&number)
    }

    fn gateway(&self, n: usize) -> GatewayIncarnation {
        let node = &self.nodes[n];
        GatewayIncarnation { node: node.id.clone(), incarnation: node.life.into() }
    }

    /// Sends the heartbeat of a gateway, and lets its clients act.
    pub fn gateway_beat(&mut self, n: usize) {
        let Some(side) = &self.nodes[n].gateway else { return };
        let numbers: Vec<u64> = side.connections.keys().copied().collect();
        let gateway = self.gateway(n);
        let is_lost = self.nodes[n].cut || self.presence.is_away || (!self.calm && self.random.chance(0.05));
        if !is_lost
            && done(self.presence.at(self.now).gateway_alive(&gateway)) == HeartbeatOutcome::Reregistered
        {
            numbers.iter().for_each(|number| self.session_input(n, *number, SessionInput::RenewNow));
        }
        numbers.iter().for_each(|number| self.client_continues(n, *number));
        let next = self.now + LIFETIMES.gateway / 3;
        self.wake(n, TimedPart::Gateway, next);
    }

    /// Tells the sessions of a room that the room may have changed, and ends their media sessions if the
    /// assignment to a Janus room is over.
    pub fn gateway_changed(&mut self, n: usize, room: &RoomId) {
        let view = self.nodes[n].view(room);
        let Some(side) = &self.nodes[n].gateway else { return };
        let of_room = side.connections.iter().filter(|(_, connection)| connection.key.room == *room);
        let media = |connection: &Connection| {
            connection.media.as_ref().map(|(join, place)| (*join, place.fate(Some(&view))))
        };
        let numbers: Vec<_> = of_room.map(|(number, connection)| (*number, media(connection))).collect();
        for (number, media) in numbers {
            let end = match media {
                Some((join, AssignmentChange::Closed)) => Some((join, End::RoomClosed)),
                Some((join, AssignmentChange::Moved)) => Some((join, End::JanusMoved)),
                Some((_, AssignmentChange::Stays)) | None => None,
            };
            if let Some((join, end)) = end {
                let event = MediaEvent::Ended { end, reconnect_after: end.reconnect_after() };
                self.session_input(n, number, SessionInput::Media { join, event });
            }
            self.session_input(n, number, SessionInput::RoomChanged);
        }
    }

    pub fn drain_gateway(&mut self, n: usize) {
        let Some(side) = &mut self.nodes[n].gateway else { return };
        side.is_draining = true;
        let numbers: Vec<u64> = side.connections.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.close_connection(n, number, CloseCode::Draining));
    }

    /// Passes an input to a session and runs the effects. Removes the session if it is over.
    pub fn session_input(&mut self, n: usize, number: u64, input: SessionInput) {
        self.feed_session(n, number, input);
        self.settle_session(n, number);
    }

    pub fn close_connection(&mut self, n: usize, number: u64, code: CloseCode) {
        self.close_session(n, number, code);
        self.settle_session(n, number);
    }

    fn settle_session(&mut self, n: usize, number: u64) {
        let Some(room) = self.connection(n, number).map(|connection| connection.key.room.clone()) else {
            return;
        };
        let at = self.surroundings(n, &room);
        let Some(connection) = self.connection(n, number) else { return };
        if connection.session.is_over() {
            let holds_media = connection.joined.is_some() || connection.media.is_some();
            assert!(connection.is_closed && !holds_media, "a session that is over has a media session");
            self.nodes[n].gateway.iter_mut().for_each(|side| drop(side.connections.remove(&number)));
        } else if let Some(due) = connection.session.due(&at) {
            self.wake(n, TimedPart::Session(number), due);
        }
    }

    fn surroundings(&mut self, n: usize, room: &RoomId) -> Surroundings {
        let random = self.random.unit();
        let node = &self.nodes[n];
        let room = node.rooms_listed().then(|| node.view(room));
        Surroundings { now: self.now, wall: self.wall(), room, random }
    }

    fn feed_session(&mut self, n: usize, number: u64, input: SessionInput) {
        let Some(key) = self.connection(n, number).map(|connection| connection.key.clone()) else { return };
        let at = self.surroundings(n, &key.room);
        let Some(connection) = self.connection(n, number) else { return };
        if let SessionInput::Acquired(Ok(LockOutcome::Ours(token))) = &input {
            connection.token = Some(*token);
        }
        for effect in connection.session.handle(input, &at) {
            self.run_effect(n, number, &key, effect);
        }
    }

    fn close_session(&mut self, n: usize, number: u64, code: CloseCode) {
        let Some(connection) = self.connection(n, number).filter(|connection| !connection.is_closed) else {
            return;
        };
        connection.is_closed = true;
        connection.waiting.clear();
        let left = connection.has_left;
        self.note(|w| format!("{} closes connection {number}: {}", w.nodes[n].id, code.reason()));
        self.feed_session(n, number, SessionInput::Closed { code, left });
    }

    fn run_effect(&mut self, n: usize, number: u64, key: &LockKey, effect: Effect) {
        let Some(connection) = self.connection(n, number) else { return };
        match effect {
            Effect::Reply(id, _) => {
                let asked = connection.waiting.remove(&id);
                let is_first = asked.is_some() || connection.is_closed;
                assert!(is_first, "call {id:?} of connection {number} is answered again");
            }
            Effect::Close(code) => self.close_session(n, number, code),
            Effect::FollowMedia(join) => {
                assert!(connection.media.is_none(), "connection {number} has two media sessions");
                let joined = connection.joined.take().expect("a joined media session");
                connection.media = Some((join, joined));
                self.laws.joins += 1;
            }
            Effect::DropMedia | Effect::LeaveMedia => {
                let (joined, media) = (connection.joined.take(), connection.media.take());
                assert!(joined.is_some() != media.is_some(), "connection {number} has not one media session");
            }
            Effect::CheckPin { right } => {
                let guess = if right { Guess::Right } else { Guess::Wrong };
                self.answer_later(n, number, SessionInput::PinChecked(guess));
            }
            Effect::CallMedia(id, _) | Effect::MuteUser { call: id, .. } | Effect::ChangeRoom(id, _) => {
                self.answer_later(n, number, SessionInput::Finished(id, Ok(Answer::Done)));
            }
            Effect::JoinMedia { resume_token } => {
                let resume = resume_token.is_some() && self.random.chance(0.5);
                let delay = self.random.ms(10..300);
                self.input_after(delay, n, Input::MediaJoin { connection: number, resume });
            }
            Effect::LeavePresence { token, leave, release } => {
                let until = self.now + LIFETIMES.lock.max(LIFETIMES.member);
                let departure = Departure { key: key.clone(), token, leave, release, until };
                let delay = self.random.ms(1..20);
                self.input_after(delay, n, Input::LeavePresence(Box::new(departure)));
            }
            Effect::Notify(_) | Effect::Greet => {}
            effect => self.ask_presence(n, number, key, effect),
        }
    }

    fn answer_later(&mut self, n: usize, number: u64, input: SessionInput) {
        // Some answers arrive only after the call has timed out.
        let is_slow = !self.calm && self.random.chance(0.05);
        let delay = if is_slow { self.random.ms(1_000..5_000) } else { self.random.ms(1..50) };
        self.input_after(delay, n, Input::Session(number, Box::new(input)));
    }

    /// Completes the join of a media session. The outcome depends on the room as this node sees it.
    pub fn media_joined(&mut self, n: usize, number: u64, resume: bool) {
        let Some(key) = self.connection(n, number).map(|connection| connection.key.clone()) else { return };
        let fails = !self.calm && self.random.chance(0.1);
        let place = JanusAssignment::of(Some(&self.nodes[n].view(&key.room)));
        let outcome = match place {
            _ if fails => Err(ErrorCode::MediaUnavailable.into()),
            Err(error) => Err(not_on_air(error)),
            Ok(place) => {
                self.connection(n, number).into_iter().for_each(|of| of.joined = Some(place.clone()));
                let resume_token = ResumeToken::issued("sealed".into());
                Ok(JoinedMedia { resume_token, resume, muted: false })
            }
        };
        self.session_input(n, number, SessionInput::MediaJoined(outcome));
    }

    fn ask_presence(&mut self, n: usize, number: u64, key: &LockKey, effect: Effect) {
        let is_lost = self.nodes[n].cut || (!self.calm && self.random.chance(0.02));
        let is_slow = !self.calm && self.random.chance(0.02);
        let travel = if is_slow { self.random.ms(500..5_000) } else { self.random.ms(1..10) };
        let is_late = travel > PATIENCE;
        if is_lost || is_late {
            self.input_after(PATIENCE, n, Input::Session(number, Box::new(failed(&effect))));
        }
        if !is_lost {
            let (from, gateway) = (self.to(n), self.gateway(n));
            let call = PresenceCall { from, number, key: key.clone(), gateway, effect, is_late };
            self.after(travel, Event::Presence(Box::new(call)));
        }
    }

    pub fn at_presence(&mut self, call: PresenceCall) {
        let failure = failed(&call.effect);
        let outcome = if self.presence.is_away { None } else { Some(self.carry_out(&call)) };
        if call.is_late {
            return;
        }
        let is_lost = self.nodes[call.from.node].cut || (!self.calm && self.random.chance(0.02));
        let (input, delay) = match outcome.filter(|_| !is_lost) {
            Some(outcome) => (outcome, self.random.ms(1..15)),
            None => (failure, PATIENCE),
        };
        self.after(delay, Event::Node(call.from, Input::Session(call.number, Box::new(input))));
    }

    fn carry_out(
        &mut self,
        PresenceCall { number, key, gateway, effect, .. }: &PresenceCall,
    ) -> SessionInput {
        let (now, policy) = (self.now, self.presence.policy);
        let backend = self.presence.at(now);
        let holder = |client| {
            let (gateway, connection) = (gateway.clone(), ConnectionId(number.to_string()));
            Holder { gateway, connection, client }
        };
        match effect.clone() {
            Effect::Acquire { client } => match done(backend.acquire(key, &holder(client), policy)) {
                Acquisition::Held { .. } => SessionInput::Acquired(Ok(LockOutcome::Taken)),
                Acquisition::Acquired { token, replaced } => {
                    let before = self.presence.newest.insert(key.clone(), token);
                    assert!(before.is_none_or(|before| before < token), "{token:?} follows {before:?}");
                    replaced.into_iter().for_each(|holder| self.tell_replaced(&holder));
                    SessionInput::Acquired(Ok(LockOutcome::Ours(token)))
                }
            },
            Effect::Renew { client, token } => {
                let outcome = done(backend.renew(key, &holder(client), token));
                if outcome == RenewOutcome::StillOurs {
                    self.presence.judge(key, token, "renewal");
                    self.presence.newest.insert(key.clone(), token);
                }
                SessionInput::Renewed { token, outcome: Ok(outcome) }
            }
            Effect::ListMembers(waiter) => SessionInput::Listed(waiter, Ok(done(backend.list(&key.room)))),
            Effect::Enter { entry, max_anchors } => {
                let outcome = done(backend.join(&key.room, &entry, max_anchors));
                if outcome == JoinOutcome::Ok {
                    self.presence.judge(key, entry.token, "entry");
                }
                SessionInput::Entered(Ok(outcome))
            }
            Effect::Update(entry) => {
                let outcome = done(backend.update(&key.room, &entry));
                if outcome == UpdateOutcome::Ok {
                    self.presence.judge(key, entry.token, "update");
                }
                SessionInput::Updated(Ok(outcome))
            }
            other => panic!("{other:?} is not a request to presence"),
        }
    }

    /// Notifies the previous holder of a lock that it has lost the lock. The notification may be lost.
    fn tell_replaced(&mut self, holder: &Holder) {
        let node = self.nodes.iter().position(|node| node.id == holder.gateway.node);
        let (Some(node), Ok(number)) = (node, holder.connection.0.parse()) else { return };
        if self.calm || self.random.chance(0.9) {
            let to = ProcessId { node, life: holder.gateway.incarnation as u32 };
            let delay = self.random.ms(1..50);
            let input = Input::Session(number, Box::new(SessionInput::LockReplaced));
            self.after(delay, Event::Node(to, input));
        }
    }

    /// Reports a departure to presence. Without an answer, repeats the report until the departure's deadline.
    pub fn leave_presence(&mut self, n: usize, departure: Departure) {
        let is_lost = self.nodes[n].cut || self.presence.is_away || (!self.calm && self.random.chance(0.05));
        let arrives = !self.presence.is_away && (!is_lost || self.random.chance(0.5));
        if arrives {
            let Departure { key, token, leave, release, .. } = &departure;
            let backend = self.presence.at(self.now);
            let left = leave.then(|| done(backend.leave(key, *token)));
            let released = release.then(|| done(backend.release(key, *token)));
            if left == Some(UpdateOutcome::Ok) {
                self.presence.judge(key, *token, "removal");
            }
            if released == Some(ReleaseOutcome::Freed) {
                self.presence.judge(key, *token, "release");
                self.presence.newest.insert(key.clone(), token.over());
            }
        }
        if is_lost && self.now <= departure.until {
            let pause = self.random.ms(100..500);
            self.input_after(pause, n, Input::LeavePresence(Box::new(departure)));
        }
    }
}

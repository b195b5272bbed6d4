//! Connections of one user on several gateways, over a model of the presence backend. Requests and answers
//! are late or lost, gateways die, notifications are lost, and the backend loses all its data.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::connection::{
    AcquireDecision, ConnectionId, Duplicate, GatewayIncarnation, Holder, ReleaseOutcome, Renewal,
};
use crate::ids::ModuleId;

const MOST_CONNECTIONS: usize = 4;
const MOST_ROUNDS: usize = 100;

/// Model of the presence backend, for one user in one room.
#[derive(Default)]
struct Backend {
    clock: u64,
    lock: Option<(usize, Holder, FencingToken)>,
    mark: Option<FencingToken>,
    entry: Option<PresenceEntry>,
}

impl Backend {
    /// Lets connection `number` request the lock. Returns the outcome, and the number of the connection that
    /// lost the lock to it.
    fn acquire(
        &mut self,
        number: usize,
        holder: Holder,
        dead: &BTreeSet<usize>,
    ) -> (LockOutcome, Option<usize>) {
        let present = self.lock.as_ref().map(|(number, holder, _)| (holder, !dead.contains(number)));
        let decision = AcquireDecision::of(&holder, present, Duplicate::Reject);
        if decision == AcquireDecision::Refused {
            return (LockOutcome::Taken, None);
        }
        let replaced = self.lock.as_ref().filter(|_| decision.replaces()).map(|(number, ..)| *number);
        let token = FencingToken::next(self.mark, self.clock);
        (self.mark, self.lock) = (Some(token), Some((number, holder, token)));
        (LockOutcome::Ours(token), replaced)
    }

    fn renew(&mut self, number: usize, holder: Holder, token: FencingToken) -> RenewOutcome {
        match Renewal::of(token, self.held(), self.mark) {
            Renewal::Lost => RenewOutcome::Lost,
            Renewal::Ours | Renewal::Restored => {
                (self.mark, self.lock) = (self.mark.max(Some(token)), Some((number, holder, token)));
                RenewOutcome::StillOurs
            }
        }
    }

    fn leave_presence(&mut self, token: FencingToken, leave: bool, release: bool) {
        let present = self.entry.as_ref().map(|entry| entry.token);
        if leave && UpdateOutcome::of(token, self.mark, present) == UpdateOutcome::Ok {
            self.entry = None;
        }
        if release && ReleaseOutcome::of(token, self.held(), self.mark) == ReleaseOutcome::Freed {
            (self.mark, self.lock) = (Some(token.over()), None);
        }
    }

    fn enter(&mut self, entry: PresenceEntry) -> JoinOutcome {
        let present = self.entry.as_ref().map(|entry| entry.token);
        let outcome = JoinOutcome::of(entry.token, self.mark, present, 0, 3);
        self.entry = Some(entry).filter(|_| outcome == JoinOutcome::Ok).or(self.entry.take());
        outcome
    }

    fn update(&mut self, entry: PresenceEntry) -> UpdateOutcome {
        let present = self.entry.as_ref().map(|entry| entry.token);
        let outcome = UpdateOutcome::of(entry.token, self.mark, present);
        self.entry = Some(entry).filter(|_| outcome == UpdateOutcome::Ok).or(self.entry.take());
        outcome
    }

    fn held(&self) -> Option<FencingToken> {
        self.lock.as_ref().map(|(_, _, token)| *token)
    }
}

struct Connection {
    rig: Rig,
    running: Vec<Effect>,
    calls: u64,
    replies: BTreeMap<u64, usize>,
    closed: bool,
}

#[derive(Default)]
struct World {
    backend: Backend,
    connections: Vec<Connection>,
    /// Connections whose gateway has died.
    dead: BTreeSet<usize>,
    departures: Vec<(FencingToken, bool, bool)>,
    replaced: Vec<usize>,
    /// The backend has lost its data at least once.
    forgot: bool,
}

impl World {
    fn open(&mut self, name: &str) {
        if self.connections.len() < MOST_CONNECTIONS {
            let mut rig = Rig::new(UserRole::Anchor);
            rig.session.identity.client_id = Some(client(name));
            let (running, replies) = (Vec::new(), BTreeMap::new());
            self.connections.push(Connection { rig, running, calls: 0, replies, closed: false });
            self.feed(self.connections.len() - 1, Input::Opened);
        }
    }

    fn is_open(&self, number: usize) -> bool {
        !self.connections[number].closed && !self.dead.contains(&number)
    }

    fn feed(&mut self, number: usize, input: Input) {
        if self.dead.contains(&number) {
            return;
        }
        let effects = self.connections[number].rig.feed(input);
        for effect in effects {
            let connection = &mut self.connections[number];
            match effect {
                Effect::Reply(CallId(id), _) => *connection.replies.entry(id).or_default() += 1,
                Effect::LeavePresence { token, leave, release } => {
                    self.departures.push((token, leave, release))
                }
                Effect::Close(code) => self.close(number, code),
                Effect::Notify(_) | Effect::Greet | Effect::FollowMedia(_) => {}
                Effect::DropMedia | Effect::LeaveMedia => {}
                effect => connection.running.push(effect),
            }
        }
    }

    fn close(&mut self, number: usize, code: CloseCode) {
        if self.is_open(number) {
            self.connections[number].closed = true;
            self.feed(number, Input::Closed { code, left: false });
        }
    }

    fn call(&mut self, number: usize, choice: usize) {
        if self.is_open(number) {
            let (name, params) = [
                ("join", json!({})),
                ("join", json!({ "clientId": "other", "jtoken": "sealed" })),
                ("leave", json!({})),
                ("keepalive", json!({ "status": "onair" })),
            ][choice % 4]
                .clone();
            let connection = &mut self.connections[number];
            connection.calls += 1;
            let id = CallId(connection.calls);
            self.feed(number, Input::Call(id, Method::parse(name, Some(params)).unwrap()));
        }
    }

    /// Ends an effect of a connection. `luck` decides whether the request is lost, only its answer is lost,
    /// or neither is lost.
    fn end_one(&mut self, number: usize, choice: usize, luck: usize) {
        let running = &mut self.connections[number].running;
        if running.is_empty() {
            return;
        }
        let effect = running.swap_remove(choice % running.len());
        let (is_lost, is_silent) = (luck.is_multiple_of(8), luck % 8 == 1);
        let answer = if is_lost { None } else { self.carry_out(number, &effect) };
        let input = match effect {
            Effect::Acquire { .. } => Input::Acquired(Err(Unavailable)),
            Effect::Renew { token, .. } => Input::Renewed { token, outcome: Err(Unavailable) },
            Effect::Enter { .. } => Input::Entered(Err(Unavailable)),
            Effect::Update(_) => Input::Updated(Err(Unavailable)),
            Effect::ListMembers(waiter) => Input::Listed(waiter, Err(Unavailable)),
            _ => Input::MediaJoined(Err(ErrorCode::MediaUnavailable.into())),
        };
        self.feed(number, answer.filter(|_| !is_silent).unwrap_or(input));
    }

    fn carry_out(&mut self, number: usize, effect: &Effect) -> Option<Input> {
        self.backend.clock += 1;
        let holder = |client: &Option<ClientId>| Holder {
            gateway: GatewayIncarnation {
                node: ModuleId::new("gateway").unwrap(),
                incarnation: number as u64,
            },
            connection: ConnectionId(number.to_string()),
            client: client.clone(),
        };
        Some(match effect {
            Effect::Acquire { client } => {
                let (outcome, replaced) = self.backend.acquire(number, holder(client), &self.dead);
                self.replaced.extend(replaced.filter(|replaced| *replaced != number));
                Input::Acquired(Ok(outcome))
            }
            Effect::Renew { client, token } => {
                let outcome = Ok(self.backend.renew(number, holder(client), *token));
                Input::Renewed { token: *token, outcome }
            }
            Effect::Enter { entry, .. } => Input::Entered(Ok(self.backend.enter(entry.clone()))),
            Effect::Update(entry) => Input::Updated(Ok(self.backend.update(entry.clone()))),
            Effect::ListMembers(waiter) => {
                Input::Listed(*waiter, Ok(self.backend.entry.iter().cloned().collect()))
            }
            Effect::JoinMedia { .. } => Input::MediaJoined(Ok(media(false))),
            other => panic!("{other:?} has no result"),
        })
    }

    fn depart_one(&mut self, choice: usize) {
        if !self.departures.is_empty() {
            let (token, leave, release) = self.departures.swap_remove(choice % self.departures.len());
            self.backend.leave_presence(token, leave, release);
        }
    }

    fn notify_one(&mut self) {
        if let Some(number) = self.replaced.pop()
            && self.is_open(number)
        {
            self.feed(number, Input::LockReplaced);
        }
    }

    /// Lets all requests succeed until nothing is in progress and every lock was renewed.
    fn settle(&mut self) {
        for _ in 0..MOST_ROUNDS {
            (0..self.replaced.len()).for_each(|_| self.notify_one());
            (0..self.departures.len()).for_each(|_| self.depart_one(0));
            for number in 0..self.connections.len() {
                for _ in 0..self.connections[number].running.len() {
                    self.end_one(number, 0, 7);
                }
            }
        }
        let idle = self.connections.iter().all(|connection| connection.running.is_empty());
        assert!(idle && self.departures.is_empty(), "requests are still in progress");
    }

    fn renew_all(&mut self) {
        for number in (0..self.connections.len()).filter(|number| self.is_open(*number)).collect::<Vec<_>>() {
            self.feed(number, Input::RenewNow);
        }
        self.settle();
    }

    /// Checks that at most one connection is still open, that it has the lock, and that, if it has joined, a
    /// keepalive restores its presence entry. Then closes this connection.
    fn check(&mut self) {
        self.settle();
        self.renew_all();
        self.renew_all();
        if self.forgot {
            // An entry that has a newer fencing token than the restored lock remains until it times out.
            self.backend.entry = None;
        }
        let open: Vec<usize> = (0..self.connections.len()).filter(|n| self.is_open(*n)).collect();
        assert!(open.len() <= 1, "{open:?} are open");
        for number in open {
            let session = &self.connections[number].rig.session;
            assert_eq!(session.lock().map(|lock| lock.token), self.backend.held());
            let (joined, token) = (session.joined().is_some(), self.backend.held());
            self.call(number, 3);
            self.settle();
            if joined && self.is_open(number) {
                assert_eq!(self.backend.entry.as_ref().map(|entry| entry.token), token);
            }
            self.close(number, CloseCode::Removed);
            self.settle();
            assert_eq!((self.backend.held(), &self.backend.entry), (None, &None), "nothing is left");
        }
        for (number, connection) in self.connections.iter().enumerate() {
            assert!(connection.replies.values().all(|count| *count == 1), "{:?}", connection.replies);
            assert!(self.dead.contains(&number) || connection.rig.session.is_over(), "{number}");
        }
    }
}

fn run(steps: &[(u8, usize, usize)]) {
    let mut world = World::default();
    world.open("tab");
    for (kind, choice, luck) in steps {
        let number = luck % world.connections.len();
        match kind {
            0 => world.open(["tab", "other"][choice % 2]),
            1..4 => world.call(number, *choice),
            4..9 => world.end_one(number, *choice, *luck),
            9 => world.depart_one(*choice),
            10 => world.notify_one(),
            11 if choice % 8 == 0 => world.close(number, [CloseCode::Gone, CloseCode::Removed][luck % 2]),
            12 if choice % 16 == 0 && world.is_open(number) => {
                world.dead.insert(number);
                world.connections[number].running.clear();
            }
            13 if choice % 16 == 0 => {
                world.forgot = true;
                world.backend = Backend { clock: world.backend.clock + 1, ..Backend::default() };
            }
            14 if world.is_open(number) => {
                world.connections[number].rig.at.now += Duration::from_millis(*choice as u64 * 20);
                world.feed(number, Input::Tick);
            }
            // The notification is lost.
            15 if choice % 8 == 0 => world.replaced.clear(),
            _ => {}
        }
    }
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4 * ProptestConfig::default().cases))]

    /// At most one connection is left. It has the lock and, if it is in the room, the entry.
    #[test]
    fn gateways_agree_on_one_connection(
        steps in prop::collection::vec((0_u8..16, 0_usize..100, 0_usize..64), 0..150),
    ) {
        run(&steps);
    }
}

//! Node with the role `rooms`, as `actors::rooms` and `actors::leader` run it: election, failover,
//! housekeeping, removals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::TTL;
use super::node::{Answer, Requester, StoreRequest, TimedPart};
use super::world::{World, ms};
use crate::domain::ages::Ages;
use crate::domain::failover::{FailoverPlan, FailoverPolicy, FailoverTimers};
use crate::domain::housekeeping::{HousekeepingAction, HousekeepingPolicy, HousekeepingTask};
use crate::domain::ids::{ModuleId, RoomId, UnixMs};
use crate::domain::keys::{LEADER, ModuleKind};
use crate::domain::leadership::{Effect, Leadership, Outcome};
use crate::domain::model::EndReason;
use crate::domain::plan::Plan;
use crate::domain::room::{
    Admission, Cleanup, Expiry, ExpiryLimits, RoomWrite, admit_delete, admit_stop, cleanup,
};
use crate::domain::users::admit_return;
use crate::rooms::{LeaderGuard, Scope, txn, writes};

/// Grace period in which modules release a stopped room; then the removal is forced.
pub const GRACE: Duration = Duration::from_secs(15);
/// Interval between two rounds of housekeeping.
const INTERVAL: Duration = Duration::from_secs(10);
/// Pause after a write that was not committed.
const PAUSE: Duration = Duration::from_millis(100);

pub struct House {
    pub leadership: Leadership,
    busy: bool,
    /// State that exists only while the node leads.
    team: Option<Team>,
    removing: BTreeSet<RoomId>,
    ages: Ages,
}

struct Team {
    guard: LeaderGuard,
    failover: FailoverPolicy,
    housekeeping: HousekeepingPolicy,
    under_way: usize,
    pause_until: Duration,
}

impl House {
    pub fn new(me: ModuleId, incarnation: String) -> Self {
        let leadership = Leadership::new(me, incarnation, TTL);
        Self { leadership, busy: false, team: None, removing: BTreeSet::new(), ages: Ages::default() }
    }
}

impl Team {
    fn new(revision: i64) -> Self {
        let limits =
            ExpiryLimits { never_started_after: Duration::from_secs(40), max_age: Duration::from_secs(3600) };
        Self {
            guard: LeaderGuard { key: LEADER.into(), revision },
            failover: FailoverPolicy::new(FailoverTimers::new(ms(500), TTL)),
            housekeeping: HousekeepingPolicy::new(limits, GRACE),
            under_way: 0,
            pause_until: Duration::ZERO,
        }
    }
}

impl World {
    pub fn step_elector(&mut self, n: usize) {
        let (now, wall) = (self.now, self.wall());
        let Some(house) = &mut self.nodes[n].house else { return };
        let leads = house.leadership.leads(now);
        if leads != house.team.as_ref().map(|team| team.guard.revision) {
            house.team = leads.map(Team::new);
            self.note(|w| {
                format!("{} {}", w.nodes[n].id, if leads.is_some() { "leads" } else { "no longer leads" })
            });
            if leads.is_some() {
                self.step_team(n);
                self.keep_house(n);
            }
        }
        let Some(house) = &mut self.nodes[n].house else { return };
        if house.busy {
            // The lease may expire while its renewal is in flight.
            return self.wake(n, TimedPart::Elector, now + TTL / 20);
        }
        match house.leadership.plan(now, wall) {
            Plan::Do { effect, .. } => {
                house.busy = true;
                let ask = match effect {
                    Effect::Grant => StoreRequest::Grant,
                    Effect::Renew { lease } => StoreRequest::Keep(lease),
                    Effect::Claim { leader, over } => StoreRequest::Txn(writes::leader(&leader, over)),
                };
                self.ask(n, Requester::Elector { asked: now }, ask);
                self.wake(n, TimedPart::Elector, now + TTL / 20);
            }
            Plan::Wait { until, .. } => {
                if let Some(until) = until {
                    self.wake(n, TimedPart::Elector, until);
                }
            }
            Plan::Finished => {}
        }
    }

    pub fn elector_done(&mut self, n: usize, asked: Duration, answer: Answer) {
        let (now, random) = (self.now, self.random.unit());
        let Some(house) = &mut self.nodes[n].house else { return };
        house.busy = false;
        let outcome = match answer {
            Answer::Granted(lease) => Outcome::Granted { lease },
            Answer::Done => Outcome::Renewed,
            Answer::Committed(revision) => Outcome::Claimed { revision },
            Answer::Conflict => Outcome::Beaten,
            Answer::LeaseGone => Outcome::LeaseGone,
            Answer::Silence => Outcome::Failed("no answer".into()),
        };
        house.leadership.done(outcome, asked, now, random);
        self.step_elector(n);
    }

    pub fn step_team(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let Some(house) = &mut node.house else { return };
        let Some(team) = &mut house.team else { return };
        if team.under_way > 0 || !node.directory.is_listed() {
            return;
        }
        if now < team.pause_until {
            let until = team.pause_until;
            return self.wake(n, TimedPart::Team, until);
        }
        let steady = house.leadership.steady().since(now).filter(|_| node.store_up);
        let (rooms, modules) = (node.directory.rooms(), node.directory.modules());
        let load = ModuleKind::ALL.map(|kind| node.directory.load(kind));
        let random = &mut self.random;
        let verdict = team.failover.plan_moves(&rooms, &modules, load, steady, now, || random.unit());
        let FailoverPlan { moves, drained, until, .. } = verdict;
        let mut asks = Vec::new();
        for order in moves {
            let view = rooms.get(&order.room).cloned().unwrap_or_default();
            if let Some((txn, _)) = writes::moved(&team.guard, &order, &view) {
                asks.push((Requester::Move { order: Box::new(order), judged: now }, txn));
            }
        }
        if asks.is_empty() {
            asks.extend(
                drained.iter().map(|module| (Requester::Drained, writes::drained(&team.guard, module))),
            );
        }
        team.under_way = asks.len();
        for (asker, txn) in asks {
            self.ask(n, asker, StoreRequest::Txn(txn));
        }
        if let Some(until) = until {
            self.wake(n, TimedPart::Team, until.max(now + ms(20)));
        }
    }

    pub fn team_done(&mut self, n: usize, answer: Answer) {
        let now = self.now;
        let Some(team) = self.nodes[n].house.as_mut().and_then(|house| house.team.as_mut()) else { return };
        team.under_way = team.under_way.saturating_sub(1);
        if !matches!(answer, Answer::Committed(_)) {
            team.pause_until = now + PAUSE;
        }
        self.step_team(n);
    }

    pub fn keep_house(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let Some(House { team: Some(team), ages, .. }) = &mut node.house else { return };
        if node.directory.is_listed() {
            let (rooms, modules) = (node.directory.rooms(), node.directory.modules());
            let due = team.housekeeping.round(&rooms, &modules, ages, &BTreeMap::new(), now);
            due.into_iter().for_each(|due| self.act(n, due));
        }
        self.wake(n, TimedPart::Housekeeping, now + INTERVAL);
    }

    fn act(&mut self, n: usize, HousekeepingTask { room, action, view, clock, reason }: HousekeepingTask) {
        let wall = self.wall();
        let ended = |admission| match admission {
            Ok(Admission::Accepted(write)) => Some(write),
            _ => None,
        };
        let write = match &action {
            HousekeepingAction::Expire(Expiry::TooOld | Expiry::Empty) => {
                ended(admit_stop(&view, EndReason::MaxDuration, wall, GRACE))
            }
            HousekeepingAction::Expire(Expiry::NeverStarted) | HousekeepingAction::EndStray => {
                ended(admit_delete(&view, wall, GRACE))
            }
            HousekeepingAction::FinishRemoval => match cleanup(&view, clock) {
                Cleanup::Remove(write) => Some(write),
                _ => None,
            },
            HousekeepingAction::EndKick(user) => match admit_return(&view, user) {
                Ok(Admission::Accepted(write)) => Some(write),
                _ => None,
            },
            HousekeepingAction::RemoveOrphans(left) => {
                self.note(|w| format!("{} removes the orphans of {room}: {reason}", w.nodes[n].id));
                return self.ask(
                    n,
                    Requester::Housekeeping,
                    StoreRequest::Txn(writes::orphans_removed(&room, &view, left)),
                );
            }
        };
        if let Some(write) = write {
            self.note(|w| format!("{} as leader: {} {room}: {reason}", w.nodes[n].id, action.as_str()));
            self.ask(n, Requester::Housekeeping, StoreRequest::Txn(txn::txn(&room, &view, &write)));
        }
    }

    /// Acts as the room actor that finishes the removal of a room.
    pub fn room_changed(&mut self, n: usize, room: &RoomId) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let view = node.view(room);
        let Some(house) = node.house.as_mut().filter(|house| !house.removing.contains(room)) else { return };
        let clock = house.ages.clock(room, &view, now, GRACE);
        match cleanup(&view, clock) {
            Cleanup::Nothing => {}
            Cleanup::Waiting(waiting) => {
                let left = waiting.forced_at.map(|at| ms(at.0.saturating_sub(clock.0)));
                if let Some(left) = left {
                    self.wake(n, TimedPart::Room(room.clone()), now + left);
                }
            }
            Cleanup::Remove(write) => {
                house.removing.insert(room.clone());
                let txn = txn::txn(room, &view, &write);
                self.ask(n, Requester::Removal(room.clone()), StoreRequest::Txn(txn));
            }
        }
    }

    pub fn removal_done(&mut self, n: usize, room: &RoomId) {
        if let Some(house) = &mut self.nodes[n].house {
            house.removing.remove(room);
        }
        let again = self.now + ms(500);
        self.wake(n, TimedPart::Room(room.clone()), again);
    }

    /// Returns the running nodes that consider themselves the leader.
    pub fn leaders(&self) -> Vec<usize> {
        let leads = |n: &usize| {
            let house = self.nodes[*n].house.as_ref();
            house.is_some_and(|house| house.leadership.leads(self.now).is_some())
        };
        (0..self.nodes.len()).filter(|n| self.nodes[*n].is_up()).filter(leads).collect()
    }

    /// Makes a request of the room API on this node. The decision is based, at random, on the node's view or
    /// on the state of the store.
    pub fn request(&mut self, n: usize, room: &RoomId, decide: impl FnOnce(&Request) -> Option<RoomWrite>) {
        let node = &self.nodes[n];
        if node.house.is_none() || !node.directory.is_listed() {
            return;
        }
        let (view, revision) = match self.random.chance(0.5) {
            true => (node.view(room).as_ref().clone(), node.directory.revision_seen(Scope::Rooms)),
            false => (self.store.view(room), Some(self.store.revision)),
        };
        let modules = self.nodes[n].directory.modules();
        let load = ModuleKind::ALL.map(|kind| self.nodes[n].directory.load(kind));
        // The wall clocks of the nodes are hours apart.
        let wall = UnixMs(self.wall().0 + n as u64 * 7_200_000);
        let request = Request { view, revision: revision.unwrap_or(0), modules, load, wall };
        if let Some(write) = decide(&request) {
            let txn = txn::txn(room, &request.view, &write);
            self.ask(n, Requester::User, StoreRequest::Txn(txn));
        }
    }
}

/// State from which a request is decided.
pub struct Request {
    pub view: crate::domain::view::RoomView,
    pub revision: i64,
    pub modules: std::sync::Arc<crate::domain::view::Modules>,
    pub load: [crate::domain::placement::Load; 2],
    pub wall: crate::domain::ids::UnixMs,
}

//! Faults, requests of users, and the end of a history.

use std::collections::BTreeMap;
use std::time::Duration;

use super::clients::USERS;
use super::gateways::GatewaySide;
use super::house::{GRACE, House, Request};
use super::januses::{JanusSide, end_connection};
use super::mixers::MixerSide;
use super::node::{Node, Requester, Roles, StoreRequest, Vital};
use super::relays::Relays;
use super::watch::Watch;
use super::world::{Event, Input, World, ms};
use crate::domain::connection::Duplicate;
use crate::domain::ids::{Epoch, ModuleId, Nonce, Pin, RoomId, UserId};
use crate::domain::keys::{self, LEADER, ModuleKind, ModulePart};
use crate::domain::mixer_room::Exit;
use crate::domain::model::{EndReason, Mark, MarkLabel, Meta};
use crate::domain::placement::{Placement, pick};
use crate::domain::room::{Admission, RoomWrite, admit_create, admit_delete, admit_start, admit_stop};
use crate::domain::room::{StartDenied, admit_backstage, assignment};
use crate::domain::users::{BanOrder, admit_kick};
use crate::rooms::{Scope, WatchApplier};
use crate::store::Txn;

/// Duration in ms during which faults and requests happen.
const TROUBLE: u64 = 22_000;

#[derive(Debug, Clone)]
pub enum Fault {
    Any,
    Create(RoomId),
    Request,
    Client,
    Restart(usize),
    Thaw(usize),
    Uncut(usize),
    ThawStore { harsh: bool },
    Quick(usize),
    Unmark(ModuleKind, usize),
    PresenceBack,
}

impl World {
    /// Creates the nodes: at least two of each kind of module, and two that can be the leader.
    pub fn populate(&mut self) {
        for n in 0..3 + self.random.below(2) {
            let all = n < 2;
            let mut has = |of: f64| all || self.random.chance(of);
            let (janus, mixer, rooms, gateway) = (has(0.6), has(0.6), has(0.4), has(0.4));
            let (external, hls) = (self.random.chance(0.5), n % 2 == 0);
            let roles = Roles { janus, mixer, rooms, external, hls, gateway };
            self.nodes.push(Node::new(ModuleId::new(&format!("node-{n}")).unwrap(), roles));
        }
        if self.random.chance(0.2) {
            self.capacity = 1 + self.random.below(2) as u32;
        }
        if self.random.chance(0.3) {
            self.presence.policy = Duplicate::Replace;
        }
        (0..self.nodes.len()).for_each(|n| self.start(n));
    }

    fn trouble(&mut self) {
        for room in self.rooms.clone() {
            self.after(ms(300), Event::Fault(Fault::Create(room)));
        }
        let mut at = 400;
        while at < TROUBLE {
            at += self.random.ms(50..1_500).as_millis() as u64;
            let fault = if self.random.chance(0.5) { Fault::Request } else { Fault::Any };
            self.after(ms(at), Event::Fault(fault));
        }
        let mut at = 600;
        while at < TROUBLE {
            at += self.random.ms(50..1_000).as_millis() as u64;
            self.after(ms(at), Event::Fault(Fault::Client));
        }
    }

    /// Starts the process of a node. Rooms of its Janus may have outlived the previous process.
    pub fn start(&mut self, n: usize) {
        let rooms = self.rooms.clone();
        let connection = self.number();
        let node = &mut self.nodes[n];
        node.life += 1;
        node.vital = Vital::Up;
        node.directory = std::sync::Arc::default();
        let scoped = Scope::ALL
            .map(|scope| Watch::new(Some(scope), Some(WatchApplier::new(node.directory.clone(), scope))));
        node.watches = scoped.into_iter().chain([Watch::new(None, None)]).collect();
        node.store_up = false;
        node.asked.clear();
        node.parked.clear();
        node.timers.clear();
        let worlds = node.janus.take().filter(|_| node.roles.external).map(|side| side.worlds);
        node.janus = node.roles.janus.then(|| JanusSide::new(worlds.unwrap_or_default(), connection));
        node.mixer = node.roles.mixer.then(|| MixerSide::new(n, node.life, &rooms));
        node.house = node.roles.rooms.then(|| House::new(node.id.clone(), node.incarnation()));
        node.relays = node.roles.hls.then(Relays::default);
        node.gateway = node.roles.gateway.then(GatewaySide::default);
        self.note(|w| format!("{} starts, life {}, {:?}", w.nodes[n].id, w.nodes[n].life, w.nodes[n].roles));
        for w in 0..self.nodes[n].watches.len() {
            self.input_after(ms(5), n, Input::List { w, session: 0 });
        }
        let back = self.random.ms(20..300);
        self.input_after(back, n, Input::JanusBack);
        self.beat(n, ModuleKind::Janus);
        self.beat(n, ModuleKind::Mixer);
        self.step_elector(n);
        self.gateway_beat(n);
    }

    /// Shuts a node down in an orderly way: it revokes its leases, so that no other node has to wait for them
    /// to expire.
    pub fn left(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let beats = ModuleKind::ALL.map(|kind| node.beat(kind).and_then(|beat| beat.lease));
        let leader = node.house.as_mut().and_then(|house| house.leadership.resign());
        for lease in beats.into_iter().flatten().chain(leader) {
            self.ask(n, Requester::Goodbye, StoreRequest::Revoke(lease));
        }
        self.kill(n);
    }

    /// Kills the process, its FFmpeg processes and, unless it is external, its Janus.
    pub fn kill(&mut self, n: usize) {
        let number = self.number();
        let carried_out = self.random.chance(0.5);
        let node = &mut self.nodes[n];
        if node.vital == Vital::Dead {
            return;
        }
        node.vital = Vital::Dead;
        node.life += 1;
        let external = node.roles.external;
        if let Some(side) = &mut node.janus {
            side.connection = number;
            side.runs = external;
            side.actors.clear();
            match external {
                true => side.worlds.values_mut().for_each(|world| end_connection(world, carried_out)),
                false => side.worlds = BTreeMap::new(),
            }
        }
        (node.mixer, node.house, node.relays, node.gateway) = (None, None, None, None);
        self.note(|w| format!("{} dies", w.nodes[n].id));
        let again =
            if self.random.chance(0.5) { self.random.ms(100..2_000) } else { self.random.ms(2_000..20_000) };
        self.after(again, Event::Fault(Fault::Restart(n)));
    }

    /// Same as [`kill`](Self::kill), but the node is not started again.
    pub fn lose_for_good(&mut self, n: usize) {
        self.kill(n);
        self.lost.insert(n);
    }

    fn up(&mut self) -> Option<usize> {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|n| self.nodes[*n].is_up()).collect();
        self.random.pick(&up)
    }

    pub fn go_wrong(&mut self, fault: Fault) {
        match fault {
            Fault::Any if !self.calm => self.anything(),
            Fault::Create(room) => self.create(&room),
            Fault::Request if !self.calm => self.ask_for_something(),
            Fault::Client if !self.calm => self.client_acts(),
            Fault::Restart(n) if self.nodes[n].vital == Vital::Dead && !self.lost.contains(&n) => {
                self.start(n)
            }
            Fault::Thaw(n) => self.thaw(n),
            Fault::Uncut(n) if self.nodes[n].cut => self.uncut(n),
            Fault::ThawStore { harsh } => self.thaw_store(harsh),
            Fault::Quick(n) => drop(self.slow.remove(&n)),
            Fault::Unmark(kind, n) => self.mark(kind, n, None),
            Fault::PresenceBack => self.presence.is_away = false,
            _ => {}
        }
    }

    fn anything(&mut self) {
        let Some(n) = self.up() else { return };
        let room = self.rooms[self.random.below(self.rooms.len())].clone();
        let w = self.random.below(4);
        let long =
            if self.random.chance(0.4) { self.random.ms(4_000..14_000) } else { self.random.ms(100..3_000) };
        match self.random.below(28) {
            0..=1 => self.kill(n),
            2..=3 => {
                self.note(|w| format!("{} freezes for {long:?}", w.nodes[n].id));
                self.nodes[n].vital = Vital::Frozen;
                self.after(long, Event::Fault(Fault::Thaw(n)));
            }
            4..=5 => {
                self.note(|w| format!("{} is cut off for {long:?}", w.nodes[n].id));
                self.nodes[n].cut = true;
                self.unreachable(n);
                self.after(long, Event::Fault(Fault::Uncut(n)));
            }
            6 if !self.store_frozen => {
                let harsh = self.random.chance(0.5);
                self.note(|_| format!("store: freezes for {long:?}"));
                self.freeze_store();
                self.after(long, Event::Fault(Fault::ThawStore { harsh }));
            }
            7..=8 => self.janus_down(n, true),
            9 => self.janus_down(n, false),
            10..=11 => self.ffmpeg_dies(n, &room),
            12 => {
                if let Some(side) = &mut self.nodes[n].mixer {
                    side.stuck = side.actors.get(&room).map(|actor| actor.process);
                }
            }
            13 => self.mixer_actor_panics(n, &room),
            14 => self.janus_actor_panics(n, &room),
            15 => self.lose(n, w),
            16 => self.relist(n, w),
            17 => self.stall(n, w),
            18 => {
                self.slow.insert(n);
                self.after(long, Event::Fault(Fault::Quick(n)));
            }
            19..=20 => self.mark_something(n, long),
            21 => self.leave(n),
            22 => {
                let leases: Vec<i64> = self.store.leases.keys().copied().collect();
                if let Some(lease) = self.random.pick(&leases).filter(|_| !self.store_frozen) {
                    self.revoke(lease);
                }
            }
            23 if !self.store_frozen => self.forge_leader(),
            24..=25 => {
                self.note(|_| format!("presence is away for {long:?}"));
                self.presence.is_away = true;
                self.after(long, Event::Fault(Fault::PresenceBack));
            }
            26 => {
                self.note(|_| "presence loses its data".into());
                self.presence.lose_data();
            }
            _ => {
                let until = self.now + long;
                if let Some(side) = &mut self.nodes[n].mixer {
                    side.crashing = until;
                    self.note(|w| format!("{}: FFmpeg crashes for {long:?}", w.nodes[n].id));
                    self.ffmpeg_dies(n, &room);
                }
            }
        }
    }

    /// Writes the leader key manually, without a lease.
    fn forge_leader(&mut self) {
        let from = self.store.log.len();
        let forged =
            self.random.pick(&["garbage", r#"{"id":"nobody","incarnation":"x","lease":0,"since":0}"#]);
        self.store.commit(&Txn::new().put(LEADER, forged.unwrap_or_default()));
        self.note(|_| "an operator writes the leader key without a lease".into());
        self.spread(from);
    }

    fn ffmpeg_dies(&mut self, n: usize, room: &RoomId) {
        let bind = self.random.chance(0.2);
        let actor = self.nodes[n].mixer.as_ref().and_then(|side| side.actors.get(room));
        if let Some(process) = actor.map(|actor| actor.process) {
            self.exited(n, room, process, if bind { Exit::BindFailed } else { Exit::Other });
        }
    }

    fn mark_something(&mut self, n: usize, long: Duration) {
        let kind = if self.random.chance(0.5) { ModuleKind::Janus } else { ModuleKind::Mixer };
        let labels = [MarkLabel::Draining, MarkLabel::Draining, MarkLabel::Unready, MarkLabel::Cordon];
        let label = self.random.pick(&labels);
        if !self.store_frozen {
            self.mark(kind, n, label);
            self.after(long, Event::Fault(Fault::Unmark(kind, n)));
        }
    }

    fn mark(&mut self, kind: ModuleKind, n: usize, label: Option<MarkLabel>) {
        let from = self.store.log.len();
        let key = keys::module(kind, &self.nodes[n].id, ModulePart::Mark);
        let txn = match label {
            Some(label) => Txn::new().put(key, serde_json::to_vec(&Mark { label, lease: None }).unwrap()),
            None => Txn::new().delete(key),
        };
        self.store.commit(&txn);
        self.note(|w| format!("operator: {} {} is marked {label:?}", kind.as_str(), w.nodes[n].id));
        self.spread(from);
    }

    fn ask_for_something(&mut self) {
        let room = self.rooms[self.random.below(self.rooms.len())].clone();
        match self.random.below(11) {
            0..=2 => self.create(&room),
            3..=6 => self.put_on_air(&room),
            7 => self.open_backstage(&room),
            8 => self.with_request(&room, |r| {
                accepted(admit_stop(&r.view, EndReason::Stopped, r.wall, GRACE).ok()?)
            }),
            9 => self.with_request(&room, |r| accepted(admit_delete(&r.view, r.wall, GRACE).ok()?)),
            _ => self.kick(&room),
        }
    }

    /// Orders, as the host or the application, that a user is kicked.
    fn kick(&mut self, room: &RoomId) {
        let user = UserId::new(self.random.pick(&USERS).unwrap()).unwrap();
        let order = BanOrder { user, name: None, by: None };
        self.with_request(room, |r| accepted(admit_kick(&r.view, &order, r.wall).ok()?));
    }

    fn with_request(&mut self, room: &RoomId, decide: impl FnOnce(&Request) -> Option<RoomWrite>) {
        if let Some(n) = self.up() {
            self.request(n, room, decide);
        }
    }

    pub fn create(&mut self, room: &RoomId) {
        let (nonce, random) = (self.nonce(), [self.random.unit(), self.random.unit()]);
        let start = self.random.chance(0.7);
        self.with_request(room, |r| {
            let meta = Meta {
                pin: Pin::new("abc123").unwrap(),
                max_anchors: 3,
                hls_path: String::new(),
                created_at: r.wall,
                deleted_at: None,
                last_epoch: Epoch(0),
                last_started_at: None,
                last_end: None,
                api_key: None,
                profile: Default::default(),
            };
            let meta = admit_create(&r.view, meta, r.revision).ok()?;
            Some(match start {
                true => assignment(meta, place(r, random).ok()?, nonce, r.wall),
                false => RoomWrite::Put { meta: Some(meta), live: None },
            })
        });
    }

    pub fn put_on_air(&mut self, room: &RoomId) {
        let (nonce, random) = (self.nonce(), [self.random.unit(), self.random.unit()]);
        self.with_request(room, |r| accepted(admit_start(&r.view, || place(r, random), nonce, r.wall).ok()?));
    }

    fn open_backstage(&mut self, room: &RoomId) {
        let (nonce, random) = (self.nonce(), [self.random.unit(), self.random.unit()]);
        self.with_request(room, |r| {
            accepted(admit_backstage(&r.view, || place(r, random), nonce, r.wall).ok()?)
        });
    }

    fn nonce(&mut self) -> Nonce {
        Nonce(format!("n{}", self.number()))
    }

    /// Ends all faults. Starts the nodes that are down, but occasionally leaves one down.
    pub fn heal(&mut self) {
        self.note(|_| "all faults have ended".into());
        self.calm = true;
        self.thaw_store(false);
        self.presence.is_away = false;
        self.slow.clear();
        for n in 0..self.nodes.len() {
            self.thaw(n);
            if self.nodes[n].cut {
                self.uncut(n);
            }
            if let Some(side) = &mut self.nodes[n].mixer {
                (side.crashing, side.stuck) = (Duration::ZERO, None);
            }
            ModuleKind::ALL.into_iter().for_each(|kind| self.mark(kind, n, None));
            // A node may stay down only if the other nodes can take its rooms.
            let for_good = n >= 2 && self.capacity as usize >= self.rooms.len() && self.random.chance(0.3);
            match self.nodes[n].vital {
                Vital::Dead if for_good => drop(self.lost.insert(n)),
                Vital::Dead => self.start(n),
                Vital::Up | Vital::Frozen => {}
            }
        }
    }

    /// Runs until everything has stayed at rest for 4 s, which is long enough to notice a watch that hangs.
    /// Returns the time until this state began.
    ///
    /// # Errors
    /// Description of a part that is not at rest after `BOUND`.
    pub fn rest(&mut self) -> Result<Duration, String> {
        let (begin, mut why) = (self.now, String::new());
        let mut since = None;
        while self.now < begin + super::BOUND {
            self.run_until(self.now + Duration::from_secs(1));
            match self.at_rest() {
                Ok(()) => {
                    let since = *since.get_or_insert(self.now);
                    if self.now >= since + Duration::from_secs(4) {
                        return Ok(since - begin);
                    }
                }
                Err(missing) => (since, why) = (None, missing),
            }
        }
        Err(why)
    }

    pub fn history(&mut self) -> Result<Duration, String> {
        self.populate();
        self.trouble();
        self.run_until(self.now + ms(TROUBLE));
        self.heal();
        for room in self.rooms.clone() {
            if self.random.chance(0.5) {
                self.put_on_air(&room);
            }
        }
        let rested = self.rest()?;
        self.disconnect_all()?;
        Ok(rested)
    }
}

fn accepted(admission: Admission<RoomWrite>) -> Option<RoomWrite> {
    match admission {
        Admission::Accepted(write) => Some(write),
        Admission::AlreadyDone => None,
    }
}

fn place(r: &Request, random: [f64; 2]) -> Result<Placement, StartDenied> {
    let choose = |kind: ModuleKind| {
        pick(kind, &r.modules, &r.load[kind as usize], random)
            .map_err(|no| StartDenied::not_pickable(kind, no))
    };
    Ok(Placement::of(choose(ModuleKind::Janus)?, choose(ModuleKind::Mixer)?))
}

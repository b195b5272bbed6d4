//! Heartbeat of a module, as `actors::heartbeat` maintains it.

use super::TTL;
use super::mixers::rtp_range;
use super::node::{Answer, Requester, StoreRequest, TimedPart};
use super::world::World;
use crate::domain::ids::UnixMs;
use crate::domain::keys::{self, ModuleKind, ModulePart};
use crate::domain::model::{Health, Heartbeat};
use crate::domain::restart::Backoff;
use crate::store::{LeaseId, Txn};

pub struct Beat {
    pub status: Health,
    /// Status in the stored key.
    published: Option<Health>,
    pub lease: Option<i64>,
    /// Granted lease under which no key was put yet.
    fresh: Option<i64>,
    putting: Option<Health>,
    busy: bool,
    attempt: u32,
}

impl Beat {
    pub fn new(status: Health) -> Self {
        Self { status, published: None, lease: None, fresh: None, putting: None, busy: false, attempt: 0 }
    }
}

impl World {
    pub fn beat(&mut self, n: usize, kind: ModuleKind) {
        let capacity = self.capacity;
        let (id, incarnation) = (self.nodes[n].id.clone(), self.nodes[n].incarnation());
        let Some(beat) = self.nodes[n].beat(kind).filter(|beat| !beat.busy) else { return };
        beat.busy = true;
        let ask = match (beat.lease, beat.fresh) {
            (Some(lease), _) if beat.published == Some(beat.status) => StoreRequest::Keep(lease),
            (None, None) => StoreRequest::Grant,
            (lease, fresh) => {
                let lease = lease.or(fresh).unwrap();
                beat.putting = Some(beat.status);
                let heartbeat = Heartbeat {
                    status: beat.status,
                    host: format!("node-{n}"),
                    url: super::mixers::hls_base(n),
                    capacity,
                    started_at: UnixMs(0),
                    incarnation,
                    version: String::new(),
                    rtp: (kind == ModuleKind::Mixer).then(|| rtp_range(n, self.rooms.len())),
                    machine_load: None,
                    secret_fingerprint: None,
                };
                let key = keys::module(kind, &id, ModulePart::Heartbeat);
                let json = serde_json::to_vec(&heartbeat).unwrap();
                StoreRequest::Txn(Txn::new().put_leased(key, json, LeaseId(lease)))
            }
        };
        self.ask(n, Requester::Beat(kind), ask);
    }

    pub fn beaten(&mut self, n: usize, kind: ModuleKind, answer: Answer) {
        let (now, random) = (self.now, self.random.unit());
        let Some(beat) = self.nodes[n].beat(kind) else { return };
        beat.busy = false;
        let next = match answer {
            Answer::Granted(lease) => {
                beat.fresh = Some(lease);
                return self.beat(n, kind);
            }
            Answer::Committed(_) | Answer::Done => {
                beat.lease = beat.lease.or(beat.fresh.take());
                beat.published = beat.putting.take().or(beat.published);
                beat.attempt = 0;
                if beat.published == Some(beat.status) { TTL / 3 } else { std::time::Duration::ZERO }
            }
            Answer::LeaseGone | Answer::Conflict | Answer::Silence => {
                if answer == Answer::LeaseGone {
                    (beat.lease, beat.published) = (None, None);
                }
                beat.fresh = None;
                beat.attempt += 1;
                Backoff { first: super::world::ms(100), max: TTL / 4 }.delay(beat.attempt, random)
            }
        };
        self.wake(n, TimedPart::Beat(kind), now + next);
    }

    pub fn feel(&mut self, n: usize, kind: ModuleKind, status: Health) {
        if let Some(beat) = self.nodes[n].beat(kind) {
            beat.status = status;
            self.beat(n, kind);
        }
    }
}

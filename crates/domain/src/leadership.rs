//! Leader election: one node at a time is the leader; it holds a key bound to a lease.
//!
//! ```text
//!              granted            key absent: claimed
//!  Leaseless ──────────▶ Standing by ─────────────────▶ Leading
//!     ▲  ▲                   │ lease gone  ▲              │  │ lease gone, or not renewed in time
//!     │  └───────────────────┘             └── key gone ──┘  │
//!     └──────────────────────────────────────────────────────┘
//! ```
//!
//! Every candidate renews a lease of its own, whether it leads or not. The renewals also show for how long
//! the store has answered without a break ([`StoreStability`]).
//!
//! No candidate writes the key without a lease. A key without a lease is taken over immediately, whatever its
//! value. A leased key that cannot be read is left alone until its lease ends.
//!
//! A leader that cannot renew stops before the store can give its key to another candidate. Clocks may differ
//! in rate, so writes that must not happen twice also compare the key's revision.

use std::time::Duration;

use super::ids::{ModuleId, UnixMs};
use super::model::Leader;
use super::plan::{Plan, Retry};
use super::restart::{Backoff, STORE_ASKED_WITHIN};

/// Reason why no node leads after the store has lost data.
pub const OLDER_STORE: &str = "the store shows an older state than this node has seen: if its data was lost \
    or restored, restart all nodes with the role rooms; until then, no node leads and no room is moved";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Grant,
    Renew {
        lease: i64,
    },
    /// Put the key under the lease, if the key is at revision `over` (0: absent).
    Claim {
        leader: Leader,
        over: i64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Granted {
        lease: i64,
    },
    Renewed,
    Claimed {
        revision: i64,
    },
    /// Another candidate was first.
    Beaten,
    LeaseGone,
    Failed(String),
}

/// Leader key as the watch shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderRecord {
    /// Record of the leader. `None`: the value cannot be read.
    pub by: Option<Leader>,
    pub revision: i64,
    /// True if the key is bound to a lease and is therefore deleted when the lease ends. A key without a
    /// lease would outlive its leader.
    pub leased: bool,
}

/// Time from which the store has answered without a break.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStability {
    since: Option<Duration>,
    /// Time until which `since` is valid. The next answer is due before then.
    until: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    id: i64,
    /// Time at which the last successful renewal was requested. The lease lasts at least one TTL from then.
    asked: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum KnownLeader {
    /// The watch has not listed the key yet, or was lost.
    Nothing,
    Nobody,
    Held(LeaderRecord),
}

#[derive(Debug)]
pub struct Leadership {
    me: ModuleId,
    incarnation: String,
    ttl: Duration,
    backoff: Backoff,
    lease: Option<Lease>,
    resigned: bool,
    known: KnownLeader,
    /// Revision of the leader key, while it is ours.
    ours: Option<i64>,
    /// Revision below which a view of the key is outdated and ignored.
    as_of: i64,
    /// Revision of the last view, if that view was outdated.
    outdated: Option<i64>,
    steady: StoreStability,
    retry: Retry,
}

impl StoreStability {
    pub fn since(&self, now: Duration) -> Option<Duration> {
        self.since.filter(|_| now <= self.until)
    }

    fn answered(&mut self, now: Duration, good_for: Duration) {
        self.since = self.since(now).or(Some(now));
        self.until = now + good_for;
    }
}

impl Leadership {
    /// Creates the machine. `ttl`: lifetime of a lease after each renewal.
    pub fn new(me: ModuleId, incarnation: String, ttl: Duration) -> Self {
        Self {
            me,
            incarnation,
            ttl,
            // The delays are well below the TTL of the lease, so that the lease survives a short store
            // outage.
            backoff: Backoff { first: Duration::from_millis(100), max: STORE_ASKED_WITHIN.min(ttl / 8) },
            lease: None,
            resigned: false,
            known: KnownLeader::Nothing,
            ours: None,
            as_of: 0,
            outdated: None,
            steady: StoreStability::default(),
            retry: Retry::default(),
        }
    }

    /// Applies the state of the leader key at revision `as_of`.
    pub fn observe(&mut self, held: Option<LeaderRecord>, as_of: i64) {
        self.outdated = Some(as_of).filter(|_| as_of < self.as_of);
        if self.outdated.is_some() {
            return;
        }
        self.as_of = as_of;
        self.known = held.map_or(KnownLeader::Nobody, KnownLeader::Held);
        self.ours = match &self.known {
            KnownLeader::Held(held) if self.is_ours(held) => Some(held.revision),
            _ => None,
        };
        self.retry.state_changed();
    }

    /// Records that the watch is lost. A leader continues while its lease lasts; a candidate does not claim a
    /// key whose state it does not know.
    pub fn lost_sight(&mut self) {
        self.known = KnownLeader::Nothing;
        self.outdated = None;
    }

    /// Returns the revision of the key under which this node leads; `None` if it does not lead.
    pub fn leads(&self, now: Duration) -> Option<i64> {
        let lease = self.lease.filter(|lease| now < self.lapses(lease))?;
        self.ours.filter(|_| lease.asked <= now)
    }

    /// Returns why this node does not lead.
    pub fn why_not(&self, now: Duration) -> &'static str {
        match &self.lease {
            None if self.resigned => "it has resigned, because the node stops",
            None => "its lease is gone",
            Some(lease) if now >= self.lapses(lease) => "its lease was not renewed in time",
            Some(_) => "the leader's key is not its own",
        }
    }

    /// Stops leading or standing by. Returns the lease to revoke; `None` if there is none.
    pub fn resign(&mut self) -> Option<i64> {
        (self.ours, self.resigned) = (None, true);
        self.lease.take().map(|lease| lease.id)
    }

    /// Returns the outdated revision that the store shows and the newest revision that this node has seen, if
    /// the leader is unknown for this reason. This remains so after the store has lost data or was restored.
    pub fn sees_older_store(&self) -> Option<(i64, i64)> {
        let unknown = self.known == KnownLeader::Nothing;
        self.outdated.filter(|_| unknown).map(|outdated| (outdated, self.as_of))
    }

    /// Returns the leader, if it is known.
    pub fn leader(&self) -> Option<&Leader> {
        match &self.known {
            KnownLeader::Held(held) => held.by.as_ref(),
            KnownLeader::Nothing | KnownLeader::Nobody => None,
        }
    }

    /// Returns the key if it is not bound to a lease.
    pub fn orphan(&self) -> Option<&LeaderRecord> {
        match &self.known {
            KnownLeader::Held(held) if !held.leased => Some(held),
            _ => None,
        }
    }

    pub fn steady(&self) -> StoreStability {
        self.steady
    }

    pub fn attempt(&self) -> u32 {
        self.retry.attempt()
    }

    pub fn retry_due(&self) -> Option<Duration> {
        self.retry.due()
    }

    pub fn plan(&self, now: Duration, wall: UnixMs) -> Plan<Effect> {
        if let Some(Plan::Wait { reason, until }) = self.retry.pending::<Effect>(now) {
            // The lease may lapse before the retry.
            return Plan::Wait { reason, until: until.into_iter().chain(self.ends(now)).min() };
        }
        let Some(lease) = self.lease.filter(|lease| now < self.lapses(lease)) else {
            return Plan::act(Effect::Grant, "needs a lease before the election");
        };
        let due = lease.asked + self.ttl / 3;
        if due <= now {
            return Plan::act(Effect::Renew { lease: lease.id }, "keeps its lease");
        }
        let claim = |over| {
            let (id, incarnation) = (self.me.clone(), self.incarnation.clone());
            Effect::Claim { leader: Leader { id, incarnation, lease: lease.id, since: wall }, over }
        };
        let reason = match (&self.known, self.ours) {
            (_, Some(_)) => "leads".into(),
            (KnownLeader::Nobody, _) => return Plan::act(claim(0), "nobody leads"),
            (KnownLeader::Held(held), _) if !held.leased => {
                return Plan::act(claim(held.revision), "the leader key has no lease, so it never expires");
            }
            (KnownLeader::Held(LeaderRecord { by: Some(by), revision, .. }), _) if by.id == self.me => {
                return Plan::act(claim(*revision), "takes over from its previous incarnation");
            }
            (KnownLeader::Held(LeaderRecord { by: Some(by), .. }), _) => format!("{} leads", by.id),
            (KnownLeader::Held(_), _) => "waits for the lease of a leader key that cannot be read".into(),
            (KnownLeader::Nothing, _) if self.outdated.is_some() => OLDER_STORE.into(),
            (KnownLeader::Nothing, _) => "waits to see the leader's key".into(),
        };
        Plan::Wait { reason: reason.into(), until: self.ends(now).into_iter().chain([due]).min() }
    }

    /// Applies the outcome of the planned effect. `asked`: time at which the effect was started.
    pub fn done(&mut self, outcome: Outcome, asked: Duration, now: Duration, random: f64) {
        let good_for = self.ttl * 2 / 3;
        match outcome {
            Outcome::Granted { lease } => {
                self.lease = Some(Lease { id: lease, asked });
                self.ours = None;
            }
            Outcome::Renewed => {
                if let Some(lease) = &mut self.lease {
                    lease.asked = asked;
                }
            }
            Outcome::Claimed { revision } => {
                self.ours = Some(revision);
                self.as_of = revision;
            }
            // Wait until the watch shows the winner: a claim before that loses again.
            Outcome::Beaten => {
                self.steady.answered(now, good_for);
                return self.retry.failed("another node was first", now, &self.backoff, random);
            }
            Outcome::LeaseGone => {
                (self.lease, self.ours, self.steady) = (None, None, StoreStability::default());
                return self.retry.failed("the lease is gone", now, &self.backoff, random);
            }
            Outcome::Failed(why) => {
                self.steady = StoreStability::default();
                return self.retry.failed(why, now, &self.backoff, random);
            }
        }
        self.steady.answered(now, good_for);
        self.retry.succeeded();
    }

    /// Returns the time at which this node gives up the lease. The store frees the key later: at the earliest
    /// one TTL after the last renewal was requested.
    fn lapses(&self, lease: &Lease) -> Duration {
        lease.asked + self.ttl * 9 / 10
    }

    /// Returns the time at which this node stops leading if nothing is renewed.
    fn ends(&self, now: Duration) -> Option<Duration> {
        self.leads(now)?;
        self.lease.map(|lease| self.lapses(&lease))
    }

    fn is_ours(&self, held: &LeaderRecord) -> bool {
        let lease = self.lease.map(|lease| lease.id);
        held.leased
            && held.by.as_ref().is_some_and(|by| {
                by.id == self.me && by.incarnation == self.incarnation && Some(by.lease) == lease
            })
    }
}

#[cfg(test)]
#[path = "leadership_tests.rs"]
mod tests;

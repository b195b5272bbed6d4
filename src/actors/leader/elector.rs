//! Takes part in the leader election, and runs the leader's actors while this node is the leader.
//!
//! ```text
//! Elector
//! ├─ Housekeeper     while leading
//! ├─ FailoverActor   while leading
//! ├─ SchedulerActor  while leading
//! ├─ Reporter        while leading
//! └─ WebhookSupervisor  while leading
//! ```
//! The rules are in [`domain::leadership`](crate::domain::leadership). The children are stopped at once when
//! the leadership ends. A write that is in progress at that time is harmless. Writes of the `FailoverActor`
//! and of a `WebhookActor` succeed only if this node is still the leader according to the store. Each action
//! of the `Housekeeper`, the `SchedulerActor` and the `Reporter` is a compare-and-swap.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use serde_json::json;
use tokio::sync::watch;

use super::failover::FailoverActor;
use super::housekeeper::Housekeeper;
use super::reporter::Reporter;
use super::scheduler::SchedulerActor;
use super::webhooks::WebhookSupervisor;
use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, ChildDown, ChildSpec, Cx, Decision, Message};
use crate::actors::kernel::{StopAnswer, Timer};
use crate::actors::rooms::SharedAges;
use crate::clock::random_unit;
use crate::domain::keys::LEADER;
use crate::domain::leadership::{Effect, LeaderRecord, Leadership, OLDER_STORE, Outcome, StoreStability};
use crate::domain::model::Leader;
use crate::domain::plan::Plan;
use crate::presence::PresenceParts;
use crate::rooms::recordings::Recordings;
use crate::rooms::{LeaderGuard, RoomService, writes};
use crate::store::reflector::{ReflectorEvent, reflect};
use crate::store::{KeyValue, LeaseId, Store, StoreError, TxnOutcome};
use crate::telemetry::events::{Event, LeaderElected, LeaderKeyOrphaned, LeaderLost};
use crate::webhooks::Webhooks;

const RELIST_EVERY: Duration = Duration::from_secs(60);
const TEAM: [&str; 5] = ["housekeeper", "failover", "webhooks", "scheduler", "reporter"];

type Changes = Pin<Box<dyn Stream<Item = ReflectorEvent> + Send>>;

pub struct Elector {
    context: Context,
    service: Arc<RoomService>,
    ages: SharedAges,
    presence: Option<PresenceParts>,
    webhooks: Arc<Webhooks>,
    recordings: Arc<Recordings>,
    machine: Leadership,
    steady: watch::Sender<StoreStability>,
    /// Leader key, as last read by the watch. The machine observes it whenever all events up to a revision
    /// have arrived.
    seen: Option<LeaderRecord>,
    busy: bool,
    stopping: bool,
    /// Revision of the leader key under which the children in `team` were started; `None` if no such child
    /// may run.
    term: Option<i64>,
    /// Children that run only on the leader and are running or still stopping.
    team: BTreeSet<&'static str>,
    reason: String,
    timer: Option<Timer>,
}

pub enum Msg {
    Seen(ReflectorEvent, Changes),
    Done { asked: Duration, outcome: Outcome },
    Look,
    Revoked,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Seen(..) => "seen",
            Self::Done { .. } => "done",
            Self::Look => "look",
            Self::Revoked => "revoked",
        }
    }
}

impl Elector {
    pub fn new(
        context: Context,
        service: Arc<RoomService>,
        ages: SharedAges,
        presence: Option<PresenceParts>,
        webhooks: Arc<Webhooks>,
        recordings: Arc<Recordings>,
    ) -> Self {
        let ttl = context.config.rooms.heartbeat_ttl;
        Self {
            machine: Leadership::new(context.me.clone(), context.incarnation.to_string(), ttl),
            context,
            service,
            ages,
            presence,
            webhooks,
            recordings,
            steady: watch::Sender::default(),
            seen: None,
            busy: false,
            stopping: false,
            term: None,
            team: BTreeSet::new(),
            reason: String::new(),
            timer: None,
        }
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        let now = self.context.clock.now();
        self.align(now, cx);
        if self.busy {
            // The lease may expire while its renewal is in flight.
            let soon = self.context.config.rooms.heartbeat_ttl / 20;
            self.timer = self.term.map(|_| cx.after(soon, Msg::Look));
            return;
        }
        self.timer = None;
        match self.machine.plan(now, self.context.clock.wall()) {
            Plan::Do { effect, reason } => {
                self.reason = reason.into_owned();
                self.busy = true;
                if let (Effect::Claim { .. }, Some(orphan)) = (&effect, self.machine.orphan()) {
                    let named = orphan.by.as_ref().map_or("unreadable", |by| by.id.as_str());
                    LeaderKeyOrphaned { key: LEADER, named }.emit(&self.context.metrics);
                }
                let (store, ttl) = (self.context.store.clone(), self.context.config.rooms.heartbeat_ttl);
                let run = async move { execute(&*store, effect, ttl).await };
                cx.run(run, move |outcome| Msg::Done { asked: now, outcome });
                self.timer = self.term.map(|_| cx.after(ttl / 20, Msg::Look));
            }
            Plan::Wait { reason, until } => {
                self.reason = reason.into_owned();
                self.timer = until.map(|until| cx.after(until.saturating_sub(now), Msg::Look));
            }
            Plan::Finished => {}
        }
    }

    /// Starts the leader's children when this node becomes the leader, and stops them when it no longer
    /// leads.
    fn align(&mut self, now: Duration, cx: &mut Cx<Self>) {
        let leads = self.machine.leads(now);
        if leads != self.term && self.term.is_some() {
            for name in TEAM {
                cx.stop_child(name);
            }
            let reason = self.machine.why_not(now);
            LeaderLost { node: &self.context.me, reason }.emit(&self.context.metrics);
            self.term = None;
        }
        let (Some(revision), None) = (leads, self.term) else { return };
        if self.team.is_empty() {
            self.term = Some(revision);
            LeaderElected { node: &self.context.me }.emit(&self.context.metrics);
            self.assemble(revision, cx);
        }
    }

    fn assemble(&mut self, revision: i64, cx: &mut Cx<Self>) {
        let (context, service, ages) = (self.context.clone(), self.service.clone(), self.ages.clone());
        let presence = self.presence.as_ref().map(|parts| parts.presence.clone());
        cx.spawn_child(TEAM[0], ChildSpec::worker(), move || {
            Housekeeper::new(context.clone(), service.clone(), ages.clone(), presence.clone())
        });
        let (context, service) = (self.context.clone(), self.service.clone());
        let guard = LeaderGuard { key: LEADER.to_owned(), revision };
        let (steady, of_failover) = (self.steady.subscribe(), guard.clone());
        cx.spawn_child(TEAM[1], ChildSpec::worker(), move || {
            FailoverActor::new(context.clone(), service.clone(), of_failover.clone(), steady.clone())
        });
        let (context, webhooks) = (self.context.clone(), self.webhooks.clone());
        let ledger = self.service.ledger().clone();
        cx.spawn_child(TEAM[2], ChildSpec::supervisor(), move || {
            WebhookSupervisor::new(context.clone(), webhooks.clone(), ledger.clone(), guard.clone())
        });
        let (context, service) = (self.context.clone(), self.service.clone());
        cx.spawn_child(TEAM[3], ChildSpec::worker(), move || {
            SchedulerActor::new(context.clone(), service.clone())
        });
        let (context, service) = (self.context.clone(), self.service.clone());
        let (presence, recordings) = (self.presence.clone(), self.recordings.clone());
        cx.spawn_child(TEAM[4], ChildSpec::worker(), move || {
            Reporter::new(context.clone(), service.clone(), presence.clone(), recordings.clone())
        });
        self.team.extend(TEAM);
    }

    fn read_on(changes: Changes, cx: &mut Cx<Self>) {
        cx.run(changes.into_future(), |(event, changes)| {
            // The stream never ends by itself.
            let event =
                event.unwrap_or(ReflectorEvent::Lost(StoreError::Unavailable("the watch ended".into())));
            Msg::Seen(event, changes)
        });
    }

    fn observe(&mut self, event: ReflectorEvent) {
        match event {
            ReflectorEvent::InitStart | ReflectorEvent::Delete { .. } => self.seen = None,
            ReflectorEvent::InitApply(entry) | ReflectorEvent::Apply(entry) => self.seen = Some(held(&entry)),
            ReflectorEvent::InitDone { revision } | ReflectorEvent::Progress { revision } => {
                let was_older = self.machine.sees_older_store().is_some();
                self.machine.observe(self.seen.clone(), revision);
                if let Some((shown, seen)) = self.machine.sees_older_store().filter(|_| !was_older) {
                    tracing::error!(shown, seen, "{OLDER_STORE}");
                }
            }
            ReflectorEvent::Lost(_) => self.machine.lost_sight(),
        }
    }
}

fn held(entry: &KeyValue) -> LeaderRecord {
    let by: Option<Leader> = serde_json::from_slice(&entry.value).ok();
    LeaderRecord { by, revision: entry.mod_revision, leased: entry.lease.is_some() }
}

async fn execute(store: &dyn Store, effect: Effect, ttl: Duration) -> Outcome {
    let outcome = match effect {
        Effect::Grant => store.grant(ttl).await.map(|lease| Outcome::Granted { lease: lease.0 }),
        Effect::Renew { lease } => store.keep_alive(LeaseId(lease)).await.map(|()| Outcome::Renewed),
        Effect::Claim { leader, over } => claim(store, leader, over).await,
    };
    outcome.unwrap_or_else(|error| match error {
        StoreError::LeaseNotFound => Outcome::LeaseGone,
        error => Outcome::Failed(error.to_string()),
    })
}

async fn claim(store: &dyn Store, leader: Leader, over: i64) -> Result<Outcome, StoreError> {
    Ok(match store.txn(writes::leader(&leader, over)).await? {
        TxnOutcome::Committed(revision) => Outcome::Claimed { revision },
        TxnOutcome::Conflict => Outcome::Beaten,
    })
}

impl Behaviour for Elector {
    const KIND: &'static str = "elector";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let (store, backoff) = (self.context.store.clone(), self.context.backoff());
        Self::read_on(Box::pin(reflect(store, LEADER.to_owned(), backoff, RELIST_EVERY)), cx);
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        if self.stopping {
            if let Msg::Revoked = msg {
                cx.exit();
            }
            return;
        }
        match msg {
            Msg::Seen(event, changes) => {
                Self::read_on(changes, cx);
                self.observe(event);
            }
            Msg::Done { asked, outcome } => {
                self.busy = false;
                self.machine.done(outcome, asked, self.context.clock.now(), random_unit());
                self.steady.send_replace(self.machine.steady());
            }
            Msg::Look | Msg::Revoked => {}
        }
        self.step(cx);
    }

    fn child_down(&mut self, child: &ChildDown, cx: &mut Cx<Self>) {
        if matches!(child.decision, Decision::Stopped | Decision::Ended | Decision::GaveUp) {
            self.team.retain(|name| *name != &*child.name);
            self.step(cx);
        }
    }

    /// Revokes the lease, so that the next leader need not wait for it to expire.
    fn stopping(&mut self, cx: &mut Cx<Self>) -> StopAnswer {
        let Some(lease) = self.machine.resign() else { return StopAnswer::Now };
        let store = self.context.store.clone();
        self.stopping = true;
        self.align(self.context.clock.now(), cx);
        cx.run(async move { store.revoke(LeaseId(lease)).await }, |outcome| {
            if let Err(error) = outcome {
                tracing::debug!(%error, "leader lease was not revoked");
            }
            Msg::Revoked
        });
        StopAnswer::Wait
    }

    fn observe(&self) -> ActorState {
        let leader = self.machine.leader();
        let now = self.context.clock.now();
        ActorState {
            observed: json!({
                "leader": leader.map(|l| &l.id),
                "since": leader.map(|l| l.since),
                "storeSteadyFor": self.machine.steady().since(now).map(|since| (now - since).as_secs()),
            }),
            reason: Some(self.reason.clone()),
            attempt: self.machine.attempt(),
            next_retry_in: self.machine.retry_due().and_then(|due| due.checked_sub(now)),
            ..ActorState::state(if self.term.is_some() { "leading" } else { "standing by" })
        }
    }
}

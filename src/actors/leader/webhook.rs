//! Delivers the event ledger to one endpoint, on the leader.
//!
//! The rules are in [`domain::webhooks`](crate::domain::webhooks). Each write of the progress succeeds only
//! if the leader's key and the progress in the store are unchanged. So a node that is no longer the leader
//! cannot write the progress, and a write cannot undo a replay.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, Timer};
use crate::actors::store_watch::{Changes, next_batch};
use crate::clock::random_unit;
use crate::domain::events::Cursor;
use crate::domain::ids::RoomId;
use crate::domain::keys;
use crate::domain::plan::{Plan, WriteOutcome};
use crate::domain::webhooks::{
    AbandonedEvent, DeadLetter, Delivery, Effect, EndpointState, LedgerEntry, Outcome, StoredState,
};
use crate::rooms::{EventFilter, LeaderGuard, Ledger, LedgerState};
use crate::store::reflector::{ReflectorEvent, reflect};
use crate::store::{KeyValue, Revision};
use crate::telemetry::events::{Event, WebhookAvailable, WebhookDeadLetter, WebhookUnavailable};
use crate::webhooks::{Endpoint, Webhooks, parsed, progress};

const RELIST_EVERY: Duration = Duration::from_secs(60);
/// Maximum number of events that are read from the ledger at once.
const PAGE: usize = 1000;
/// Interval at which the age of the oldest waiting event is measured.
const MEASURED_EVERY: Duration = Duration::from_secs(30);
/// Maximum number of rooms shown in `/actors`.
const SHOWN: usize = 20;

pub struct WebhookActor {
    context: Context,
    webhooks: Arc<Webhooks>,
    endpoint: Arc<Endpoint>,
    ledger: Arc<Ledger>,
    guard: LeaderGuard,
    machine: Delivery,
    /// Progress key, as last read by the watch.
    seen: Option<KeyValue>,
    /// Revision up to which the watch has delivered all changes; `None` before the first list.
    seen_as_of: Option<Revision>,
    /// Dead letters that the write in progress contains.
    letters: Vec<DeadLetter>,
    /// Reason why the progress key cannot be watched or read.
    problem: Option<String>,
    reason: String,
    timer: Option<Timer>,
}

pub enum Msg {
    Seen(Vec<ReflectorEvent>, Changes),
    LedgerChanged(watch::Receiver<LedgerState>),
    Sent(RoomId, Cursor, Outcome),
    Written(WriteOutcome),
    Look,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Seen(..) => "seen",
            Self::LedgerChanged(_) => "ledger_changed",
            Self::Sent(..) => "sent",
            Self::Written(_) => "written",
            Self::Look => "look",
        }
    }
}

impl WebhookActor {
    pub fn new(
        context: Context,
        webhooks: Arc<Webhooks>,
        endpoint: Arc<Endpoint>,
        ledger: Arc<Ledger>,
        guard: LeaderGuard,
    ) -> Self {
        let machine = Delivery::new(endpoint.filter.clone(), context.config.events.retention);
        Self {
            context,
            webhooks,
            endpoint,
            ledger,
            guard,
            machine,
            seen: None,
            seen_as_of: None,
            letters: Vec::new(),
            problem: None,
            reason: String::new(),
            timer: None,
        }
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        let now = self.context.clock.now();
        self.read_ledger(now);
        loop {
            match self.machine.plan(now, self.context.clock.wall()) {
                Plan::Do { effect: Effect::Send { room, cursor }, .. } => self.send(room, cursor, cx),
                Plan::Do { effect: Effect::Write { over, state, given_up }, .. } => {
                    self.write(over, &state, given_up, cx);
                }
                Plan::Wait { reason, until } => {
                    self.reason = reason.into_owned();
                    let measured = self.measure().then_some(now + MEASURED_EVERY);
                    let until = until.into_iter().chain(measured).min();
                    self.timer = until.map(|until| cx.after(until.saturating_sub(now), Msg::Look));
                    return;
                }
                Plan::Finished => return,
            }
        }
    }

    /// Feeds the machine with the events that it has not read yet, once this node's copy of the ledger is
    /// complete.
    fn read_ledger(&mut self, now: Duration) {
        let Some(revision) = self.ledger.state().borrow().revision else { return };
        loop {
            let page = self.ledger.after(self.machine.position(), &EventFilter::default(), PAGE);
            let entries = page.events.iter().map(|event| LedgerEntry {
                cursor: event.cursor,
                room: event.room.clone(),
                kind: event.kind.clone(),
                time: event.time,
            });
            if !self.machine.feed(entries, (!page.more).then_some(revision), now) {
                return;
            }
        }
    }

    fn send(&mut self, room: RoomId, cursor: Cursor, cx: &mut Cx<Self>) {
        let Some(event) = self.ledger.get(cursor) else { return self.sent(&room, cursor, Outcome::Gone) };
        let (webhooks, endpoint) = (self.webhooks.clone(), self.endpoint.clone());
        let send = async move { webhooks.send(&endpoint, event.id.as_str(), event.json.clone()).await };
        cx.run(send, move |outcome| Msg::Sent(room, cursor, outcome));
    }

    fn sent(&mut self, room: &RoomId, cursor: Cursor, outcome: Outcome) {
        let was_unavailable = self.machine.is_unavailable();
        let (endpoint, metrics) = (self.endpoint.name.as_str(), &self.context.metrics);
        if let Outcome::Unavailable { error, .. } = &outcome
            && !was_unavailable
        {
            WebhookUnavailable { endpoint, error }.emit(metrics);
        }
        let (now, wall) = (self.context.clock.now(), self.context.clock.wall());
        self.machine.done((room, cursor), outcome, now, wall, random_unit());
        if was_unavailable && !self.machine.is_unavailable() {
            WebhookAvailable { endpoint }.emit(metrics);
        }
    }

    fn write(
        &mut self,
        over: Revision,
        state: &EndpointState,
        given_up: Vec<AbandonedEvent>,
        cx: &mut Cx<Self>,
    ) {
        let at = self.context.clock.wall();
        let letter = |AbandonedEvent { number, cursor, attempts, error }: AbandonedEvent| {
            // An event that has left the ledger in the meantime cannot become a dead letter.
            let event = serde_json::from_slice(&self.ledger.get(cursor)?.json).ok()?;
            Some(DeadLetter { number, event, attempts, error, at })
        };
        self.letters = given_up.into_iter().filter_map(letter).collect();
        let txn = progress(&self.guard, &self.endpoint.name, over, state, &self.letters);
        let context = self.context.clone();
        cx.run(async move { context.write(txn).await }, Msg::Written);
    }

    fn written(&mut self, outcome: WriteOutcome) {
        let (endpoint, metrics) = (self.endpoint.name.as_str(), &self.context.metrics);
        let letters = std::mem::take(&mut self.letters);
        if let WriteOutcome::Written { .. } = outcome {
            for DeadLetter { event, attempts, error, .. } in &letters {
                let event = event["id"].as_str().unwrap_or_default();
                WebhookDeadLetter { endpoint, event, attempts: *attempts, error }.emit(metrics);
            }
        }
        let (now, wall) = (self.context.clock.now(), self.context.clock.wall());
        self.machine.written(outcome, self.ledger.end(), now, wall, random_unit());
    }

    fn apply(&mut self, event: ReflectorEvent) {
        match event {
            ReflectorEvent::InitStart | ReflectorEvent::Delete { .. } => self.seen = None,
            ReflectorEvent::InitApply(entry) | ReflectorEvent::Apply(entry) => self.seen = Some(entry),
            ReflectorEvent::InitDone { revision } | ReflectorEvent::Progress { revision } => {
                self.seen_as_of = Some(revision);
                self.observe_progress();
            }
            ReflectorEvent::Lost(error) => self.problem = Some(error.to_string()),
        }
    }

    /// Passes the key to the machine. A value that cannot be parsed is not passed on.
    fn observe_progress(&mut self) {
        let Some(as_of) = self.seen_as_of else { return };
        // Deliveries to a new endpoint begin at the end of the ledger, so the end of the ledger must be
        // known.
        if self.ledger.state().borrow().revision.is_none() {
            return;
        }
        let state = self.seen.as_ref().map(parsed).transpose();
        self.problem = state.as_ref().err().map(ToString::to_string);
        if let Ok(state) = state {
            let revision = self.seen.as_ref().map_or(0, |entry| entry.mod_revision);
            let (now, wall) = (self.context.clock.now(), self.context.clock.wall());
            self.machine.observe(StoredState { state, revision, as_of }, self.ledger.end(), now, wall);
        }
    }

    /// Measures the age of the oldest waiting event. Returns true if an event waits.
    fn measure(&self) -> bool {
        let oldest = self.machine.oldest();
        let wall = self.context.clock.wall().0;
        let age = oldest.map_or(0, |oldest| wall.saturating_sub(oldest.0));
        self.context.metrics.webhooks().set_oldest(&self.endpoint.name, Duration::from_millis(age));
        oldest.is_some()
    }

    fn read_on(changes: Changes, cx: &mut Cx<Self>) {
        cx.run(next_batch(changes), |(batch, changes)| Msg::Seen(batch, changes));
    }

    fn listen(mut ledger: watch::Receiver<LedgerState>, cx: &mut Cx<Self>) {
        let changed = async move {
            if ledger.changed().await.is_err() {
                // The ledger was dropped, so the node has ended, and this actor ends with it.
                std::future::pending::<()>().await;
            }
            ledger
        };
        cx.run(changed, Msg::LedgerChanged);
    }
}

impl Drop for WebhookActor {
    /// Resets the age: the next leader measures it.
    fn drop(&mut self) {
        self.context.metrics.webhooks().set_oldest(&self.endpoint.name, Duration::ZERO);
    }
}

impl Behaviour for WebhookActor {
    const KIND: &'static str = "webhook";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        Self::listen(self.ledger.state(), cx);
        let (store, backoff) = (self.context.store.clone(), self.context.backoff());
        let key = keys::webhook_state(&self.endpoint.name);
        Self::read_on(Box::pin(reflect(store, key, backoff, RELIST_EVERY)), cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Seen(batch, changes) => {
                batch.into_iter().for_each(|event| self.apply(event));
                Self::read_on(changes, cx);
            }
            Msg::LedgerChanged(ledger) => {
                // The watch may have delivered the key before the ledger was complete.
                self.observe_progress();
                Self::listen(ledger, cx);
            }
            Msg::Sent(room, cursor, outcome) => self.sent(&room, cursor, outcome),
            Msg::Written(outcome) => self.written(outcome),
            Msg::Look => {}
        }
        self.step(cx);
    }

    fn observe(&self) -> ActorState {
        let (now, wall) = (self.context.clock.now(), self.context.clock.wall());
        let state = self.machine.state(now, wall);
        let waiting = state
            .waiting
            .iter()
            .take(SHOWN)
            .map(|(room, waiting)| json!({ "room": room, "waiting": waiting }));
        let name = match (&state.unavailable, state.waiting.is_empty()) {
            (Some(_), _) => "unavailable",
            (None, true) => "following",
            (None, false) => "delivering",
        };
        ActorState {
            desired: json!({ "cursor": self.ledger.end().to_string() }),
            observed: json!({
                "cursor": state.cursor,
                "waitingRooms": state.waiting.len(),
                "waiting": waiting.collect::<Vec<_>>(),
                "deadLetters": state.dead,
            }),
            reason: Some(self.problem.clone().unwrap_or_else(|| self.reason.clone())),
            attempt: state.unavailable.as_ref().map_or(0, |outage| outage.attempts),
            next_retry_in: state
                .unavailable
                .map(|outage| Duration::from_millis(outage.next.0.saturating_sub(wall.0))),
            ..ActorState::state(name)
        }
    }
}

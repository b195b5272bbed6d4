//! Connection to one Janus instance, and the rebuild that follows every new connection.
//!
//! ```text
//!  Offline ──url──▶ Connecting ──▶ Listing ──▶ (AwaitingStore ──▶ Listing) ──▶ Up
//!     ▲                │              │                                         │  link ends
//!     └── retry ───────┴──────────────┴─────────────────────────────────────────┘
//! ```
//! Steps of the rebuild:
//! 1. connect;
//! 2. list the Janus rooms that have our cluster's ownership tag;
//! 3. start one actor for every room that must be on this Janus or was found on it: each actor creates, keeps
//!    or destroys its room;
//! 4. enter the state `Up`.
//!
//! The rebuild waits for the store's first list: before that list, it is unknown which rooms this Janus must
//! have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::JanusShared;
use super::bridge;
use super::room::{self, JanusRoomActor};
use crate::actors::context::Context;
use crate::actors::kernel::{ActorState, Behaviour, ChildDown, Cx, Message, StopAnswer, Timer};
use crate::actors::room_children::{ChildEnd, RoomChildren};
use crate::clock::random_unit;
use crate::domain::ids::RoomId;
use crate::domain::janus_room::{FoundRoom, all_silent, canary, concerns, must_have};
use crate::domain::model::{Health, Heartbeat};
use crate::domain::view::Rooms;
use crate::janus::{
    AudioBridge, ConnectOptions, CoreError, DownReason, JanusClient, JanusError, LinkEvent, RoomInfo,
};
use crate::rooms::dirty_set::DirtySet;
use crate::telemetry::events::{Event, JanusLost, JanusUp};
use crate::telemetry::metered::MeteredBackend;

/// Delay from the answer to one canary until the next canary is sent. A canary asks whether Janus still has a
/// certain room.
const CANARY_EVERY: Duration = Duration::from_secs(1);
/// Consecutive connection failures after which a managed Janus is restarted.
const PATIENCE: u32 = 3;

pub struct JanusConnection {
    context: Context,
    options: ConnectOptions,
    link: JanusShared,
    heartbeats: Arc<watch::Sender<Heartbeat>>,
    dirty: Option<DirtySet>,
    state: State,
    connection: Connection,
    attempt: u32,
    reason: Option<String>,
    rooms: RoomChildren<room::Msg>,
    timer: Option<Timer>,
    /// Room of the latest canary.
    canary: Option<RoomId>,
    /// True if no mixer receives audio from this Janus instance. Its restart has then been requested.
    silent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Offline,
    Connecting,
    Listing,
    /// The rooms of this Janus were listed, but the rooms of the store were not. It is unknown which rooms
    /// this Janus must have.
    AwaitingStore,
    Up,
}

/// Number of a connection attempt, counted within this incarnation.
type Connection = u64;

pub enum Msg {
    /// The URL of the Janus instance changed, or became unknown because the instance is gone.
    UrlChanged,
    Connected(Connection, Result<JanusClient, JanusError>),
    /// Version of the Janus instance, and every room that it has.
    Listed(Connection, Result<(String, Vec<RoomInfo>), JanusError>),
    /// The connection ended. May arrive late, from a connection that was given up. `None`: the connection was
    /// never established (`Connected` reports this), or its last owner closed it.
    Down(Connection, Option<DownReason>),
    Retry,
    CanaryDue(Connection),
    /// Result of the canary: true if Janus has the room.
    Canary(Connection, RoomId, u32, Result<bool, JanusError>),
    StateChanged,
    /// Nothing is left of this room on this Janus.
    Finished(RoomId),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::UrlChanged => "url_changed",
            Self::Connected(..) => "connected",
            Self::Listed(..) => "listed",
            Self::Down(..) => "down",
            Self::Retry => "retry",
            Self::CanaryDue(..) => "canary_due",
            Self::Canary(..) => "canary",
            Self::StateChanged => "state_changed",
            Self::Finished(_) => "finished",
        }
    }
}

impl JanusConnection {
    pub fn new(
        context: Context,
        options: ConnectOptions,
        link: JanusShared,
        heartbeats: Arc<watch::Sender<Heartbeat>>,
    ) -> Self {
        Self {
            context,
            options,
            link,
            heartbeats,
            dirty: None,
            state: State::Offline,
            connection: 0,
            attempt: 0,
            reason: None,
            rooms: RoomChildren::default(),
            timer: None,
            canary: None,
            silent: false,
        }
    }

    fn connect(&mut self, cx: &mut Cx<Self>) {
        let Some(url) = self.link.url() else {
            self.reason = Some("waits for the Janus process".into());
            // An earlier incarnation of this actor may have set `Healthy`.
            self.beat(Health::Unhealthy);
            return;
        };
        if self.state != State::Offline {
            return;
        }
        self.state = State::Connecting;
        self.connection += 1;
        let connection = self.connection;
        self.timer = None;
        let options = ConnectOptions { url, ..self.options.clone() };
        let (sender, mut events) = mpsc::unbounded_channel();
        cx.run(async move { JanusClient::connect(&options, sender).await }, move |outcome| {
            Msg::Connected(connection, outcome)
        });
        cx.run(async move { events.recv().await.map(|LinkEvent::Down { reason }| reason) }, move |reason| {
            Msg::Down(connection, reason)
        });
    }

    fn connected(&mut self, outcome: Result<JanusClient, JanusError>, cx: &mut Cx<Self>) {
        match outcome {
            Ok(client) => {
                let metrics = self.context.metrics.clone();
                let bridge: Arc<dyn AudioBridge> = Arc::new(MeteredBackend { inner: client, metrics });
                self.link.set_bridge(Some(bridge.clone()));
                self.state = State::Listing;
                self.survey(bridge, cx);
            }
            Err(error) => self.offline(error.to_string(), cx),
        }
    }

    fn listed(&mut self, outcome: Result<(String, Vec<RoomInfo>), JanusError>, cx: &mut Cx<Self>) {
        let (version, rooms) = match outcome {
            Ok(survey) => survey,
            Err(error) => return self.offline(error.to_string(), cx),
        };
        if !self.context.rooms_listed() {
            // The rooms of this Janus are listed again once the list of the store's rooms is complete.
            self.state = State::AwaitingStore;
            self.reason = Some("waits for the first list of the store".into());
            return;
        }
        self.rebuild(&version, &rooms, cx);
    }

    fn rebuild(&mut self, version: &str, infos: &[RoomInfo], cx: &mut Cx<Self>) {
        self.state = State::Up;
        self.attempt = 0;
        self.reason = None;
        let mut found: BTreeMap<RoomId, Vec<FoundRoom>> = BTreeMap::new();
        for (room, seen) in infos.iter().filter_map(|i| bridge::found(i, &self.context.config.node.cluster)) {
            found.entry(room).or_default().push(seen);
        }
        let wanted = self.wanted();
        tracing::info!(found = found.len(), wanted = wanted.len(), "connected to Janus and listed its rooms");
        for (room, child) in self.rooms.iter() {
            let seen = found.remove(room).unwrap_or_default();
            let _ = child.tell_latest("link", room::Msg::Linked(Some(seen)));
            let _ = child.tell_latest("state_changed", room::Msg::StateChanged);
        }
        let rest: BTreeSet<RoomId> = wanted.into_iter().chain(found.keys().cloned()).collect();
        for room in rest {
            let seen = found.remove(&room).unwrap_or_default();
            self.ensure(room, seen, cx);
        }
        let url = self.link.url().unwrap_or_default();
        JanusUp { url: &url, version }.emit(&self.context.metrics);
        self.beat(Health::Healthy);
        self.canary_later(cx);
    }

    fn canary_later(&mut self, cx: &mut Cx<Self>) {
        let connection = self.connection;
        self.timer = Some(cx.after(CANARY_EVERY, Msg::CanaryDue(connection)));
    }

    /// Sends a canary. It detects that Janus was restarted behind a proxy that keeps our connection, or that
    /// another client destroyed a room.
    fn ask_for_canary(&mut self, cx: &mut Cx<Self>) {
        let rooms = self.context.directory.rooms();
        self.note_silence(&rooms);
        let next = canary(&rooms, &self.context.me, self.canary.as_ref());
        let (Some((room, number)), Some(bridge)) = (next, self.link.bridge()) else {
            return self.canary_later(cx);
        };
        self.canary = Some(room.clone());
        let connection = self.connection;
        cx.run(async move { bridge.exists(number).await }, move |there| {
            Msg::Canary(connection, room, number, there)
        });
    }

    /// Requests a restart if no mixer receives audio from Janus. Requests only one restart until audio
    /// arrives again: if the restart does not help, repeated restarts would only interrupt the rooms.
    fn note_silence(&mut self, rooms: &Rooms) {
        let silent = all_silent(rooms, &self.context.me);
        if silent && !self.silent {
            tracing::warn!("no mixer received audio from Janus; requested a restart of a managed Janus");
            self.link.request_restart();
        }
        self.silent = silent;
    }

    fn canary_said(
        &mut self,
        room: &RoomId,
        number: u32,
        there: Result<bool, JanusError>,
        cx: &mut Cx<Self>,
    ) {
        let must_have =
            || self.context.directory.room(room).and_then(|view| must_have(&view, &self.context.me));
        match there {
            Err(JanusError::Core(CoreError::NoSuchSession | CoreError::NoSuchHandle)) => {
                return self.offline("Janus was restarted behind the connection".to_owned(), cx);
            }
            Ok(false) if must_have() == Some(number) => {
                tracing::warn!(%room, number, "Janus lost a room; all rooms will be listed again");
                for (_, child) in self.rooms.iter() {
                    let _ = child.tell_latest("link", room::Msg::Linked(None));
                }
            }
            // Other failures need no action here, because they also affect other requests to Janus. A missing
            // room needs no action if it was to be destroyed while the canary was in progress.
            Ok(_) | Err(_) => {}
        }
        self.canary_later(cx);
    }

    fn wanted(&self) -> Vec<RoomId> {
        let rooms = self.context.directory.rooms();
        let wanted = rooms.iter().filter(|(_, view)| concerns(view, &self.context.me));
        wanted.map(|(room, _)| room.clone()).collect()
    }

    /// Starts an actor for the room and passes it the listed Janus rooms.
    fn ensure(&mut self, room: RoomId, found: Vec<FoundRoom>, cx: &mut Cx<Self>) {
        let (context, link, me, id) = (self.context.clone(), self.link.clone(), cx.me(), room.clone());
        let make = move || JanusRoomActor::new(id.clone(), context.clone(), link.clone(), me.clone());
        if let Some(child) = self.rooms.start(&room, cx, make) {
            let _ = child.tell_latest("link", room::Msg::Linked(Some(found)));
        }
    }

    fn take_changes(&mut self, cx: &mut Cx<Self>) {
        let Some(changes) = self.dirty.clone().map(|n| n.take()) else { return };
        if self.state == State::AwaitingStore
            && self.context.rooms_listed()
            && let Some(bridge) = self.link.bridge()
        {
            self.state = State::Listing;
            self.survey(bridge, cx);
        }
        let all = if changes.relisted { self.wanted() } else { Vec::new() };
        let known = if changes.relisted { self.rooms.ids() } else { Vec::new() };
        for room in changes.rooms.into_iter().chain(all).chain(known) {
            self.look_at(room, cx);
        }
    }

    fn look_at(&mut self, room: RoomId, cx: &mut Cx<Self>) {
        if let Some(child) = self.rooms.get(&room) {
            let _ = child.tell_latest("state_changed", room::Msg::StateChanged);
        } else if self.state == State::Up && self.is_wanted(&room) {
            // The room was not listed at the last connection and was not created since then, so Janus does
            // not have it.
            self.ensure(room, Vec::new(), cx);
        }
    }

    fn is_wanted(&self, room: &RoomId) -> bool {
        self.context.directory.room(room).is_some_and(|view| concerns(&view, &self.context.me))
    }

    fn offline(&mut self, why: String, cx: &mut Cx<Self>) {
        let was_up = self.state == State::Up;
        self.state = State::Offline;
        self.link.set_bridge(None);
        self.attempt += 1;
        if was_up {
            let url = self.link.url().unwrap_or_default();
            JanusLost { url: &url, reason: &why }.emit(&self.context.metrics);
            for (_, child) in self.rooms.iter() {
                let _ = child.tell_latest("link", room::Msg::Unlinked);
            }
        }
        // Set this even if Janus was not up: an earlier incarnation of this actor may have set `Healthy`.
        self.beat(Health::Unhealthy);
        if self.attempt.is_multiple_of(PATIENCE) {
            self.link.request_restart();
        }
        self.reason = Some(why);
        let delay = self.context.backoff().delay(self.attempt, random_unit()).min(Duration::from_secs(2));
        self.timer = Some(cx.after(delay, Msg::Retry));
    }

    fn beat(&self, status: Health) {
        self.heartbeats.send_if_modified(|heartbeat| {
            let changed = heartbeat.status != status;
            heartbeat.status = status;
            changed
        });
    }

    fn finished(&mut self, room: &RoomId, cx: &mut Cx<Self>) {
        // After the actor reported, the room may have been assigned to this Janus again. The actor has then
        // received this change itself, and continues.
        if !self.is_wanted(room) {
            self.rooms.stop(room, cx);
        }
    }

    fn survey(&self, bridge: Arc<dyn AudioBridge>, cx: &mut Cx<Self>) {
        let connection = self.connection;
        cx.run(survey(bridge), move |outcome| Msg::Listed(connection, outcome));
    }

    fn listen_for_url(&self, cx: &mut Cx<Self>) {
        cx.run(self.link.url_changed(), |()| Msg::UrlChanged);
    }
}

async fn survey(bridge: Arc<dyn AudioBridge>) -> Result<(String, Vec<RoomInfo>), JanusError> {
    let version = bridge.info().await?.version;
    Ok((version, bridge.list_rooms().await?))
}

impl Behaviour for JanusConnection {
    const KIND: &'static str = "janus_connection";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let me = cx.me();
        self.dirty = Some(self.context.subscribe(move || {
            let _ = me.tell_latest("state_changed", Msg::StateChanged);
        }));
        self.link.set_bridge(None);
        self.listen_for_url(cx);
        self.connect(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Retry => self.connect(cx),
            Msg::CanaryDue(of) if of == self.connection && self.state == State::Up => self.ask_for_canary(cx),
            Msg::Canary(of, room, number, there) if of == self.connection && self.state == State::Up => {
                self.canary_said(&room, number, there, cx);
            }
            Msg::UrlChanged => {
                // The URL belongs to another Janus instance: failures of the previous one do not count.
                self.attempt = 0;
                self.listen_for_url(cx);
                self.connect(cx);
            }
            Msg::Connected(of, outcome) if of == self.connection => self.connected(outcome, cx),
            Msg::Listed(of, outcome) if of == self.connection => self.listed(outcome, cx),
            Msg::Down(of, Some(reason)) if of == self.connection && self.state != State::Offline => {
                if matches!(reason, DownReason::Silent) {
                    // The socket is open, but Janus does not answer. A new connection would not help.
                    self.link.request_restart();
                }
                self.offline(reason.to_string(), cx);
            }
            // These messages are from a connection that was given up.
            Msg::Connected(..) | Msg::Listed(..) | Msg::Down(..) | Msg::CanaryDue(..) | Msg::Canary(..) => {}
            Msg::StateChanged => self.take_changes(cx),
            Msg::Finished(room) => self.finished(&room, cx),
        }
    }

    fn child_down(&mut self, child: &ChildDown, cx: &mut Cx<Self>) {
        match self.rooms.ended(child) {
            // The new incarnation of the actor does not know the state of Janus, so it must inspect Janus
            // itself.
            ChildEnd::Restarting(room) if self.state == State::Up => {
                if let Some(child) = self.rooms.get(&room) {
                    let _ = child.tell_latest("link", room::Msg::Linked(None));
                }
            }
            ChildEnd::Gone(room) => self.look_at(room, cx),
            ChildEnd::Restarting(_) | ChildEnd::Other => {}
        }
    }

    /// Releases the connection, which ends when its last owner drops it. The connection therefore ends before
    /// Janus does, and is not reported as lost.
    fn stopping(&mut self, _: &mut Cx<Self>) -> StopAnswer {
        self.link.set_bridge(None);
        StopAnswer::Now
    }

    fn observe(&self) -> ActorState {
        let state = match self.state {
            State::Offline => "offline",
            State::Connecting => "connecting",
            State::Listing => "listing",
            State::AwaitingStore => "awaiting store",
            State::Up => "up",
        };
        ActorState {
            state: state.into(),
            observed: json!({ "url": self.link.url(), "rooms": self.rooms.len() }),
            reason: self.reason.clone(),
            attempt: self.attempt,
            ..ActorState::default()
        }
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;

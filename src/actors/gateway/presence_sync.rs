//! Heartbeat of this gateway in presence, and notification of its connections about members, lost locks and
//! changed rooms.
//!
//! The actor follows the changes of presence and of the store. It reads the members of a room once for all
//! connections of the room. It sends the members only if they differ from the list that was sent last. The
//! session of each connection decides how to react to a change.
//!
//! Owns: the schedule of these tasks. Does not let presence, which may be unavailable, block other work.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use serde_json::json;

use super::client;
use super::outbound::EncodedNotification;
use super::session_manager::{AT_ONCE, SessionManager, SessionsShared};
use crate::actors::kernel::{ActorState, Behaviour, Cx, Message, StopAnswer, Timer};
use crate::domain::ids::{RoomId, UserId};
use crate::domain::roles;
use crate::domain::signalling::DisplayName;
use crate::domain::signalling::notifications::{Notification, RoomMember};
use crate::domain::stage::PersonId;
use crate::domain::view::Users;
use crate::presence::{
    EventStream, HeartbeatOutcome, LockReplaced, MembersChanged, PresenceEntry, PresenceError, PresenceEvent,
};
use crate::rooms::dirty_set::DirtySet;

/// Interval at which the members are read again. Only a read shows that the entry of a member has timed out.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Maximum time between two ticks.
const ROUND: Duration = Duration::from_secs(1);
/// Time limit, when the node stops, for reporting the remaining departures to presence.
const DEPARTURES: Duration = Duration::from_secs(2);

/// Actor that sends the heartbeat of a gateway, and the members of its rooms to their connections.
pub struct PresenceSync {
    shared: Arc<SessionsShared>,
    dirty: Option<DirtySet>,
    /// Rooms whose members may have changed.
    stale: Option<DirtySet>,
    /// Status that was last sent to the connections of each room.
    told: HashMap<RoomId, Notification>,
    looking: bool,
    showing: bool,
    /// True if presence accepted the last heartbeat of this gateway; `None` until the first one has been
    /// answered.
    up: Option<bool>,
    look_at: Duration,
    tick: Option<Timer>,
}

type Lists = Vec<(RoomId, Result<Vec<PresenceEntry>, PresenceError>)>;

pub enum Msg {
    Tick,
    Shown(Result<HeartbeatOutcome, PresenceError>),
    Replaced(EventStream<LockReplaced>, Option<PresenceEvent<LockReplaced>>),
    Changed(EventStream<MembersChanged>, Option<PresenceEvent<MembersChanged>>),
    Stale,
    Listed(Lists),
    StateChanged,
    Forgotten(Result<(), PresenceError>),
    Goodbye,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Tick => "tick",
            Self::Shown(_) => "shown",
            Self::Replaced(..) => "replaced",
            Self::Changed(..) => "changed",
            Self::Stale => "stale",
            Self::Listed(_) => "listed",
            Self::StateChanged => "state_changed",
            Self::Forgotten(_) => "forgotten",
            Self::Goodbye => "goodbye",
        }
    }
}

impl PresenceSync {
    pub fn new(sessions: &SessionManager) -> Self {
        Self {
            shared: sessions.0.clone(),
            dirty: None,
            stale: None,
            told: HashMap::new(),
            looking: false,
            showing: false,
            up: None,
            look_at: Duration::ZERO,
            tick: None,
        }
    }

    fn tick(&mut self, cx: &mut Cx<Self>) {
        let (shared, now) = (self.shared.clone(), self.shared.context.clock.now());
        if !std::mem::replace(&mut self.showing, true) {
            let of = shared.clone();
            cx.run(async move { of.lock.gateway_alive(&of.gateway).await }, Msg::Shown);
        }
        if self.look_at <= now {
            self.look_at = now + LOOK_EVERY;
            shared.all_stale();
        }
        let every = (shared.context.config.presence.gateway_ttl / 3).min(ROUND);
        self.tick = Some(cx.after(every, Msg::Tick));
    }

    fn shown(&mut self, outcome: Result<HeartbeatOutcome, PresenceError>) {
        self.showing = false;
        let up = outcome.is_ok();
        if outcome == Ok(HeartbeatOutcome::Reregistered) {
            // Renew the locks immediately: the backend has lost them, and another connection could acquire
            // them.
            self.renew_all();
        }
        if self.up.replace(up) != Some(up) {
            self.shared.context.metrics.set_presence_up(up);
            match outcome {
                Ok(_) => tracing::info!("presence became available"),
                Err(error) => {
                    tracing::warn!(%error, "presence became unavailable; only existing connections work")
                }
            }
        }
    }

    fn renew_all(&self) {
        self.shared.tell(None, "renew", || client::Msg::RenewNow);
    }

    fn look(&mut self, cx: &mut Cx<Self>) {
        if self.looking {
            return;
        }
        let stale = self.stale.as_ref().map(DirtySet::take).unwrap_or_default().rooms.into_iter();
        let rooms: Vec<_> = stale.filter(|room| self.shared.has_connections(room)).collect();
        if rooms.is_empty() {
            return;
        }
        self.looking = true;
        let shared = self.shared.clone();
        let lists = stream::iter(rooms).map(move |room| {
            let shared = shared.clone();
            async move {
                let members = shared.presence.list(&room).await;
                (room, members)
            }
        });
        cx.run(lists.buffer_unordered(AT_ONCE).collect::<Vec<_>>(), Msg::Listed);
    }

    fn listed(&mut self, lists: Lists, cx: &mut Cx<Self>) {
        self.looking = false;
        for (room, members) in lists {
            // If presence is unavailable, the next periodic read finds the changes.
            if let Ok(members) = members {
                self.tell(room, members);
            }
        }
        self.told.retain(|room, _| self.shared.has_connections(room));
        // Read the rooms that have changed in the meantime.
        self.look(cx);
    }

    fn tell(&mut self, room: RoomId, members: Vec<PresenceEntry>) {
        let view = self.shared.context.directory.room(&room);
        // If a user was disconnected at the time of the removal, presence keeps the entry of the user until
        // the entry times out.
        let off_stage =
            |member: &PresenceEntry| view.as_ref().is_some_and(|view| view.is_off_stage(&member.user_id));
        let users = view.as_ref().map(|view| view.users.clone()).unwrap_or_default();
        let person = |user: &UserId| self.shared.secrets.person_id(&room, user.as_str());
        let shown = |member| shown(member, &users, person);
        let members: Vec<_> = members.into_iter().filter(|member| !off_stage(member)).map(shown).collect();
        let status = Notification::RoomStatus {
            room_id: room.clone(),
            members,
            locked: view.as_ref().is_some_and(|view| view.is_locked()),
            backstage: view.as_ref().is_some_and(|view| view.is_backstage()),
            starts_at: view.as_ref().and_then(|view| view.starts_at()),
        };
        let changed = self.told.get(&room) != Some(&status);
        let encoded = EncodedNotification::from(&status);
        self.shared.recipients(&room, changed).iter().for_each(|out| out.send(&encoded));
        self.told.insert(room, status);
    }

    fn replaced(&self, event: PresenceEvent<LockReplaced>) {
        match event {
            PresenceEvent::Told(LockReplaced { key, connection }) => {
                self.shared.tell_replaced(&key.room, &connection);
            }
            PresenceEvent::LookAgain => self.renew_all(),
        }
    }

    fn changed(&self, event: PresenceEvent<MembersChanged>) {
        match event {
            PresenceEvent::Told(MembersChanged { room }) => self.shared.stale.changed([room]),
            PresenceEvent::LookAgain => self.shared.all_stale(),
        }
    }

    /// Handles changes of the store, such as rooms that are gone and users who may not speak any more.
    fn take_changes(&mut self, cx: &mut Cx<Self>) {
        let Some(changes) = self.dirty.as_ref().map(DirtySet::take) else { return };
        let rooms = if changes.relisted { self.shared.rooms() } else { changes.rooms.into_iter().collect() };
        for room in rooms {
            if self.shared.is_gone(&room) {
                // Delete the entries of users who were disconnected when the room ended. If this fails, the
                // entries are deleted when they time out.
                let (shared, room) = (self.shared.clone(), room.clone());
                cx.run(async move { shared.presence.remove_room(&room).await }, Msg::Forgotten);
            }
            self.shared.stale.changed([room.clone()]);
            self.shared.tell(Some(&room), "room", || client::Msg::RoomChanged);
        }
    }
}

impl SessionsShared {
    fn all_stale(&self) {
        self.stale.changed(self.rooms());
    }
}

/// Returns the part of a presence entry that others may see.
fn shown(member: PresenceEntry, users: &Users, person: impl Fn(&UserId) -> PersonId) -> RoomMember {
    let PresenceEntry { user_id, role, display_name, status, muted, source, .. } = member;
    RoomMember {
        person_id: person(&user_id),
        role: roles::in_force(users, &user_id, role),
        user_id,
        status,
        muted,
        source,
        display_name: display_name.and_then(|name| DisplayName::new(&name).ok()),
    }
}

fn next<T: Send + 'static>(
    mut stream: EventStream<T>,
    cx: &mut Cx<PresenceSync>,
    msg: fn(EventStream<T>, Option<PresenceEvent<T>>) -> Msg,
) {
    let next = async move {
        let event = stream.next().await;
        (stream, event)
    };
    cx.run(next, move |(stream, event)| msg(stream, event));
}

impl Behaviour for PresenceSync {
    const KIND: &'static str = "presence_sync";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        let (me, stale) = (cx.me(), cx.me());
        self.dirty = Some(self.shared.context.subscribe(move || {
            let _ = me.tell_latest("state_changed", Msg::StateChanged);
        }));
        let stale = DirtySet::new(move || {
            let _ = stale.tell_latest("stale", Msg::Stale);
        });
        self.shared.stale.attach(stale.clone());
        self.stale = Some(stale);
        next(self.shared.lock.replacements(&self.shared.gateway), cx, Msg::Replaced);
        next(self.shared.presence.subscribe(), cx, Msg::Changed);
        self.tick(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Tick => self.tick(cx),
            Msg::Shown(outcome) => self.shown(outcome),
            Msg::Replaced(stream, Some(event)) => {
                self.replaced(event);
                next(stream, cx, Msg::Replaced);
            }
            Msg::Changed(stream, Some(event)) => {
                self.changed(event);
                next(stream, cx, Msg::Changed);
            }
            // The next incarnation starts by reading everything.
            Msg::Replaced(_, None) | Msg::Changed(_, None) => cx.fail("the stream of presence events ended"),
            Msg::Stale => self.look(cx),
            Msg::Listed(lists) => self.listed(lists, cx),
            Msg::StateChanged => self.take_changes(cx),
            Msg::Forgotten(_) => {}
            Msg::Goodbye => cx.exit(),
        }
    }

    /// Waits until presence has recorded the departures, or `DEPARTURES` has passed. The client actors have
    /// already stopped.
    fn stopping(&mut self, cx: &mut Cx<Self>) -> StopAnswer {
        let shared = self.shared.clone();
        shared.tasks.close();
        let said = async move { drop(tokio::time::timeout(DEPARTURES, shared.tasks.wait()).await) };
        cx.run(said, |()| Msg::Goodbye);
        StopAnswer::Wait
    }

    fn observe(&self) -> ActorState {
        let (connections, rooms) = (self.shared.count(), self.shared.rooms().len());
        let state = match self.up {
            Some(true) => "up",
            Some(false) => "presence is unavailable",
            None => "starting",
        };
        ActorState {
            observed: json!({ "connections": connections, "rooms": rooms }),
            ..ActorState::state(state)
        }
    }
}

//! One room that is mixed elsewhere: shell around [`domain::relay_room`](crate::domain::relay_room).
//!
//! Owns the playlist request that is in progress; there is at most one. Ends when the room has had no
//! listener for [`IDLE`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{AbortHandle, Abortable};
use serde_json::json;

use crate::actors::context::Context;
use crate::actors::kernel::{ActorRef, ActorState, Behaviour, Cx, Message, Timer};
use crate::clock::random_unit;
use crate::delivery::{EdgeCache, EdgeRoom, IDLE};
use crate::domain::ids::RoomId;
use crate::domain::plan::Plan;
use crate::domain::relay_room::{Fetch, Outcome, RelayRoom as Machine, Upstream};
use crate::domain::restart::Backoff;
use crate::domain::view::RoomView;
use crate::packager::PlaylistBody;

/// Backoff after a failed request. The successor of an unresponsive mixer is found through the watch, not by
/// retries.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(1) };

/// Interval at which listeners are counted.
const COUNTED_EVERY: Duration = Duration::from_secs(2);

pub struct RelayRoomActor {
    room: RoomId,
    context: Context,
    relays: Arc<EdgeCache>,
    held: Arc<EdgeRoom>,
    parent: ActorRef<super::supervisor::Msg>,
    machine: Machine,
    view: Arc<RoomView>,
    /// Mixer from which files are fetched.
    pointed: Option<Upstream>,
    under_way: Option<(Fetch, AbortHandle)>,
    /// Number of listeners on this node, and the time of the count.
    counted: Option<(usize, Duration)>,
    reason: String,
    timer: Option<Timer>,
    idle: Option<Timer>,
}

pub enum Msg {
    StateChanged,
    /// Result of a request; `None` if it was cancelled.
    Fetched(Fetch, Option<(Outcome, Option<Bytes>)>),
    Retry,
    IsIdle,
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::StateChanged => "state_changed",
            Self::Fetched(..) => "fetched",
            Self::Retry => "retry",
            Self::IsIdle => "is_idle",
        }
    }
}

impl RelayRoomActor {
    pub fn new(
        room: RoomId,
        context: Context,
        relays: Arc<EdgeCache>,
        held: Arc<EdgeRoom>,
        parent: ActorRef<super::supervisor::Msg>,
    ) -> Self {
        Self {
            room,
            context,
            relays,
            held,
            parent,
            machine: Machine::new(BACKOFF),
            view: Arc::default(),
            pointed: None,
            under_way: None,
            counted: None,
            reason: String::new(),
            timer: None,
            idle: None,
        }
    }

    fn look(&mut self) {
        self.view = self.context.directory.room(&self.room).unwrap_or_default();
        if let Some(live) = self.view.live.as_ref().filter(|_| self.view.is_on_air()) {
            self.held.live(&live.nonce);
        }
        if self.machine.look(&self.view, &self.context.directory.modules())
            && let Some((_, useless)) = self.under_way.take()
        {
            useless.abort();
        }
    }

    fn point(&mut self) {
        let Some(now) = self.machine.following().filter(|now| self.pointed.as_ref() != Some(*now)) else {
            return;
        };
        let before = self.pointed.replace(now.clone());
        if before.is_some_and(|before| before.mixer != now.mixer) {
            let (room, mixer, epoch) = (&self.room, &now.mixer, now.epoch);
            tracing::info!(%room, %mixer, %epoch, "switched to another mixer");
        }
        self.held.point_to(now.clone(), self.context.clock.now());
    }

    fn step(&mut self, cx: &mut Cx<Self>) {
        self.point();
        if self.under_way.is_some() {
            return;
        }
        let now = self.context.clock.now();
        self.timer = None;
        match self.machine.plan(&self.view, now) {
            Plan::Do { effect, reason } => {
                self.reason = reason.into_owned();
                self.fetch(effect, cx);
            }
            Plan::Wait { reason, until } => {
                self.reason = reason.into_owned();
                self.timer = until.map(|due| cx.after(due.saturating_sub(now), Msg::Retry));
            }
            Plan::Finished => {}
        }
    }

    fn fetch(&mut self, what: Fetch, cx: &mut Cx<Self>) {
        let (handle, registration) = AbortHandle::new_pair();
        self.under_way = Some((what.clone(), handle));
        let listeners = self.listeners();
        let get = self.relays.fetcher.clone();
        let get = get.playlist(self.room.clone(), what.clone(), (&self.context.me, listeners));
        cx.run(Abortable::new(get, registration), |got| Msg::Fetched(what, got.ok()));
    }

    /// Returns the number of listeners on this node, and counts them again if the last count is older than
    /// `COUNTED_EVERY`. Counting takes time for each listener, so it is not done for every playlist.
    fn listeners(&mut self) -> usize {
        let now = self.context.clock.now();
        if self.counted.is_none_or(|(_, at)| now.saturating_sub(at) >= COUNTED_EVERY) {
            self.counted = Some((self.relays.counter.here(&self.room, Instant::now()), now));
        }
        self.counted.map_or(0, |(count, _)| count)
    }

    fn fetched(&mut self, what: &Fetch, outcome: Outcome, body: Option<Bytes>) {
        // The answer may belong to a request that was cancelled just after the answer arrived.
        if self.under_way.take_if(|(under_way, _)| under_way == what).is_none() {
            return;
        }
        if let Outcome::Failed(why) = &outcome {
            self.held.failed(&what.from.nonce);
            if self.machine.attempt() == 0 {
                let (room, mixer) = (&self.room, &what.from.mixer);
                tracing::warn!(%room, %mixer, why, "playlist request to the mixer node failed");
            }
        }
        let playlist = match (&outcome, body) {
            (Outcome::Playlist { next, ended }, Some(bytes)) => {
                Some(PlaylistBody { text: bytes.into(), ended: *ended, next: *next })
            }
            _ => None,
        };
        if self.machine.done(what, outcome, self.context.clock.now(), random_unit())
            && let Some(playlist) = playlist
        {
            self.held.show(&what.from.nonce, playlist);
        }
    }

    fn look_for_idleness(&mut self, cx: &mut Cx<Self>) {
        if self.held.idle_for(self.context.clock.now()) > IDLE {
            // If the parent is gone, its children are stopped anyway.
            let _ = self.parent.tell(super::supervisor::Msg::Idle(self.room.clone()));
        }
        self.idle = Some(cx.after(IDLE / 3, Msg::IsIdle));
    }
}

impl Behaviour for RelayRoomActor {
    const KIND: &'static str = "relay_room";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.look();
        self.look_for_idleness(cx);
        self.step(cx);
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::StateChanged => self.look(),
            Msg::Fetched(what, Some((outcome, body))) => self.fetched(&what, outcome, body),
            Msg::Fetched(_, None) | Msg::Retry => {}
            Msg::IsIdle => self.look_for_idleness(cx),
        }
        self.step(cx);
    }

    fn observe(&self) -> ActorState {
        let following = self.machine.following();
        let newest = self.held.newest();
        ActorState {
            desired: json!({
                "onAir": self.view.is_on_air(),
                "epoch": self.view.live.as_ref().map(|live| live.epoch),
            }),
            observed: json!({
                "mixer": following.map(|upstream| &upstream.mixer),
                "epoch": following.map(|upstream| upstream.epoch),
                "next": newest.map(|playlist| playlist.next),
                "files": self.held.file_count(),
            }),
            reason: Some(self.reason.clone()),
            attempt: self.machine.attempt(),
            ..ActorState::state(if following.is_some() { "following" } else { "searching" })
        }
    }
}

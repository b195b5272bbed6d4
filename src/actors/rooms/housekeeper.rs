//! Rooms that were forgotten: created and never started, or on air for longer than any live should be.
//!
//! Every node with the role runs one; what it does is a compare-and-swap, so two at once do it once.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::json;

use crate::actors::context::Context;
use crate::actors::kernel::{Behaviour, Cx, Message, Observed, Timer};
use crate::domain::ids::RoomId;
use crate::domain::room::{Expiry, ExpiryLimits, expiry};
use crate::rooms::{RoomError, RoomService};

pub struct Housekeeper {
    context: Context,
    service: Arc<RoomService>,
    due: VecDeque<RoomId>,
    rounds: u64,
    expired: u64,
    last_error: Option<String>,
    timer: Option<Timer>,
}

pub enum Msg {
    Round,
    Expired(RoomId, Result<Option<Expiry>, RoomError>),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Round => "round",
            Self::Expired(..) => "expired",
        }
    }
}

impl Housekeeper {
    pub fn new(context: Context, service: Arc<RoomService>) -> Self {
        Self { context, service, due: VecDeque::new(), rounds: 0, expired: 0, last_error: None, timer: None }
    }

    fn round(&mut self, cx: &mut Cx<Self>) {
        self.rounds += 1;
        self.last_error = None;
        let rooms = &self.context.config.rooms;
        let limits = ExpiryLimits { never_started_after: rooms.never_started_after, max_age: rooms.max_age };
        let wall = self.context.clock.wall();
        let all = self.context.directory.rooms();
        let due = all.iter().filter(|(_, view)| expiry(view, wall, &limits).is_some());
        self.due = due.map(|(room, _)| room.clone()).collect();
        self.next(cx);
    }

    /// One at a time: the store has better things to do.
    fn next(&mut self, cx: &mut Cx<Self>) {
        let Some(room) = self.due.pop_front() else {
            let interval = self.context.config.rooms.housekeeping_interval;
            self.timer = Some(cx.after(interval, Msg::Round));
            return;
        };
        let service = self.service.clone();
        cx.run(
            async move {
                let outcome = service.expire(&room).await;
                (room, outcome)
            },
            |(room, outcome)| Msg::Expired(room, outcome),
        );
    }

    fn expired(&mut self, room: &RoomId, outcome: Result<Option<Expiry>, RoomError>) {
        match outcome {
            Ok(Some(Expiry::NeverStarted)) => {
                self.expired += 1;
                tracing::info!(%room, "removed: it was never started");
            }
            Ok(Some(Expiry::TooOld)) => {
                self.expired += 1;
                tracing::info!(%room, "stopped: it was on air for longer than rooms.max_age");
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%room, %error, "an expired room could not be removed, next round tries again");
                self.last_error = Some(error.to_string());
            }
        }
    }
}

impl Behaviour for Housekeeper {
    const KIND: &'static str = "housekeeper";
    type Msg = Msg;

    fn started(&mut self, cx: &mut Cx<Self>) {
        self.timer = Some(cx.after(self.context.config.rooms.housekeeping_interval, Msg::Round));
    }

    fn handle(&mut self, msg: Msg, cx: &mut Cx<Self>) {
        match msg {
            Msg::Round => self.round(cx),
            Msg::Expired(room, outcome) => {
                self.expired(&room, outcome);
                self.next(cx);
            }
        }
    }

    fn observe(&self) -> Observed {
        Observed {
            observed: json!({ "rounds": self.rounds, "expired": self.expired }),
            reason: self.last_error.clone(),
            ..Observed::state(if self.due.is_empty() { "resting" } else { "working" })
        }
    }
}

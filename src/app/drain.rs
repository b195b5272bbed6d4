//! Before an ordered end: the rooms of this node are given to others, if there are others to take them.
//!
//! By the same mark an operator would set, so that the moves, their order and their limits are the same. The mark
//! is under a lease and taken away at the end: the node takes rooms again as soon as it is back.
//!
//! Owns: when there is no more use in waiting. Never does: move a room.

use std::time::{Duration, Instant};

use crate::actors::context::Context;
use crate::domain::handover::leaving;
use crate::domain::ids::ModuleId;
use crate::domain::keys::{self, LEADER, ModuleKind, ModulePart};
use crate::domain::model::MarkLabel;
use crate::domain::placement::{load_on, pickable};
use crate::domain::view::RoomView;
use crate::rooms::RoomService;
use crate::store::Txn;

/// The mark outlives the wait by this, in case the node does not come to take it away.
const SPARE: Duration = Duration::from_secs(20);
/// Rooms leave one by one, and each in its own time: looked at this often meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A player loads its playlist anew once per target duration, and then what is new in it (RFC 8216 section 6.3.4).
const LINGER_TARGETS: u32 = 2;

/// Marks of ours to be taken away when this node's heartbeats are gone.
#[derive(Default)]
pub struct Drained(Vec<ModuleKind>);

/// Waits until no room is left here, nobody is left to take one, or the deadline has come.
pub async fn drain(context: &Context, service: &RoomService) -> Drained {
    let deadline = context.config.supervision.drain_deadline;
    let mut marked = Drained::default();
    if deadline.is_zero() || !is_led(context).await {
        return marked;
    }
    let me = &context.me;
    for kind in ModuleKind::ALL.into_iter().filter(|kind| has_somewhere_to_go(context, *kind)) {
        // A mark that is there already is an operator's: it is left as it is.
        let free = context.directory.module(kind, me).is_some_and(|module| module.mark.is_none());
        if free && service.set_mark(kind, me, MarkLabel::Draining, Some(deadline + SPARE)).await.is_ok() {
            marked.0.push(kind);
        }
    }
    let kinds = || marked.0.iter().filter(|kind| has_somewhere_to_go(context, **kind));
    let (end, before) = (Instant::now() + deadline, left(context, &marked.0));
    let mixed = left(context, &[ModuleKind::Mixer]);
    if before > 0 {
        tracing::info!(rooms = before, "gives its rooms to other nodes before it ends");
    }
    while kinds().next().is_some() && Instant::now() < end {
        // Sleep: see LOOK_EVERY.
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if before > 0 {
        tracing::info!(left = left(context, &marked.0), "drained");
    }
    if mixed > left(context, &[ModuleKind::Mixer]) {
        // Sleep: its successors copy its windows, and listener nodes fetch what it listed last.
        tokio::time::sleep(LINGER_TARGETS * context.config.hls.target_duration()).await;
    }
    marked
}

impl Drained {
    /// When the heartbeats are gone: no room can be placed here any more.
    pub async fn unmark(self, context: &Context) {
        for kind in self.0 {
            let key = keys::module(kind, &context.me, ModulePart::Mark);
            let mark = context.store.get(&key).await.ok().flatten();
            let Some(mark) = mark else { continue };
            // One that was replaced meanwhile stays; and what cannot be deleted falls away with its lease.
            let _ = context.store.txn(Txn::new().when(&key, mark.mod_revision).delete(&key)).await;
        }
    }
}

/// Without a leader nobody moves anything.
async fn is_led(context: &Context) -> bool {
    matches!(context.store.get(LEADER).await, Ok(Some(_)))
}

fn has_somewhere_to_go(context: &Context, kind: ModuleKind) -> bool {
    rooms_on(context, kind) > 0 && others_take(context, kind, &context.me)
}

fn others_take(context: &Context, kind: ModuleKind, me: &ModuleId) -> bool {
    let (modules, load) = (context.directory.modules(), context.directory.load(kind));
    let mut others = modules.iter().filter(|((k, id), _)| *k == kind && id != me);
    others.any(|((_, id), module)| pickable(module, load_on(&load, id)).is_ok())
}

/// Those assigned to it, and those that it goes on with until their next mixer produces.
fn rooms_on(context: &Context, kind: ModuleKind) -> u32 {
    let assigned = load_on(&context.directory.load(kind), &context.me);
    let leaves = |view: &RoomView| leaving(view).is_some_and(|handover| handover.mixer_id == context.me);
    let leaving = match kind {
        ModuleKind::Janus => 0,
        ModuleKind::Mixer => context.directory.rooms().values().filter(|view| leaves(view)).count(),
    };
    assigned + leaving as u32
}

fn left(context: &Context, kinds: &[ModuleKind]) -> u32 {
    kinds.iter().map(|kind| rooms_on(context, *kind)).sum()
}

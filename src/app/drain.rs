//! Drain before an ordered shutdown: makes the leader move the rooms of this node to other nodes, if any can
//! take them.
//!
//! The drain sets the same cordon label that an operator would set. So the moves, their order and their
//! limits are the same as after an operator's drain. The label is under a lease and is deleted at the end, so
//! that the node accepts rooms as soon as it runs again.
//!
//! Owns: the decision when to stop waiting. Does not move a room itself.

use std::time::{Duration, Instant};

use crate::actors::context::Context;
use crate::delivery::Rewinds;
use crate::domain::handover::outgoing_mixer;
use crate::domain::ids::ModuleId;
use crate::domain::keys::{self, LEADER, ModuleKind, ModulePart};
use crate::domain::model::MarkLabel;
use crate::domain::placement::{load_on, pickable};
use crate::domain::rewind::{KeptWindow, RewindDuty, duty};
use crate::domain::view::RoomView;
use crate::rooms::RoomService;
use crate::store::Txn;

/// Time for which the lease of the cordon label continues after the longest wait. The label expires with the
/// lease if the node does not delete it.
const SPARE: Duration = Duration::from_secs(20);
/// Interval between checks for remaining rooms, and for modules that can take them.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Number of target durations to wait at the end. A player reloads its playlist once per target duration and
/// then loads the new segments (RFC 8216 section 6.3.4).
const LINGER_TARGETS: u32 = 2;

/// Cordon labels of this node to delete once its heartbeats have stopped.
#[derive(Default)]
pub struct DrainLabels(Vec<ModuleKind>);

/// Labels the modules of this node as draining. Waits until this node has no rooms and the next mixers have
/// taken the rewind windows, until no other module can take its rooms, or until the deadline has passed. Does
/// nothing without a leader, or if the deadline is zero.
pub async fn drain(context: &Context, service: &RoomService, rewinds: &Rewinds) -> DrainLabels {
    let deadline = context.config.supervision.drain_deadline;
    let mut marked = DrainLabels::default();
    if deadline.is_zero() || !is_led(context).await {
        return marked;
    }
    let me = &context.me;
    for kind in ModuleKind::ALL.into_iter().filter(|kind| has_somewhere_to_go(context, *kind)) {
        // An existing label was set by an operator and stays unchanged.
        let free = context.directory.module(kind, me).is_some_and(|module| module.mark.is_none());
        if free && service.set_mark(kind, me, MarkLabel::Draining, Some(deadline + SPARE)).await.is_ok() {
            marked.0.push(kind);
        }
    }
    let kinds = || marked.0.iter().filter(|kind| has_somewhere_to_go(context, **kind));
    let (end, before) = (Instant::now() + deadline, left(context, &marked.0));
    let mixed = left(context, &[ModuleKind::Mixer]);
    if before > 0 {
        tracing::info!(rooms = before, "drain started");
    }
    let mut rewind_windows = false;
    loop {
        let (moves, lends) = (kinds().next().is_some(), lends(context, rewinds));
        rewind_windows |= lends;
        if !(moves || lends) || Instant::now() >= end {
            break;
        }
        // Sleep: see LOOK_EVERY.
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if before > 0 || rewind_windows {
        // `rewind_windows`: the drain waited until the next mixers had taken windows.
        tracing::info!(left = left(context, &marked.0), rewind_windows, "drain ended");
    }
    if mixed > left(context, &[ModuleKind::Mixer]) {
        // Sleep: successors copy the windows, and listener nodes fetch the last listed segments.
        tokio::time::sleep(LINGER_TARGETS * context.config.hls.target_duration()).await;
    }
    marked
}

impl DrainLabels {
    /// Deletes the labels. Call this after the heartbeats have stopped: from then on, no room can be assigned
    /// to this node.
    pub async fn unmark(self, context: &Context) {
        for kind in self.0 {
            let key = keys::module(kind, &context.me, ModulePart::Mark);
            let mark = context.store.get(&key).await.ok().flatten();
            // Only the drain's label has a lease: one that an operator has set in the meantime stays. A label
            // that cannot be deleted expires with its lease.
            let Some(mark) = mark.filter(|mark| mark.lease.is_some()) else { continue };
            let _ = context.store.txn(Txn::new().when(&key, mark.mod_revision).delete(&key)).await;
        }
    }
}

/// Returns true if there is a leader. Without one, no room is moved.
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

/// Counts the rooms assigned to this module, and the rooms that it still serves until their next mixer
/// produces media.
fn rooms_on(context: &Context, kind: ModuleKind) -> u32 {
    let assigned = load_on(&context.directory.load(kind), &context.me);
    let leaves =
        |view: &RoomView| outgoing_mixer(view).is_some_and(|handover| handover.mixer_id == context.me);
    let leaving = match kind {
        ModuleKind::Janus => 0,
        ModuleKind::Mixer => context.directory.rooms().values().filter(|view| leaves(view)).count(),
    };
    assigned + leaving as u32
}

/// Returns true if the next mixer of a room has not taken the room's rewind window yet.
fn lends(context: &Context, rewinds: &Rewinds) -> bool {
    rewinds.all().iter().filter(|(_, kept)| !kept.takeover.is_taken()).any(|(room, kept)| {
        let view = context.directory.room(room).unwrap_or_default();
        let window = Some(KeptWindow { nonce: &kept.nonce, lent: false });
        duty(&view, &context.me, context.config.hls.rewind, window) == RewindDuty::Lend
    })
}

fn left(context: &Context, kinds: &[ModuleKind]) -> u32 {
    kinds.iter().map(|kind| rooms_on(context, *kind)).sum()
}

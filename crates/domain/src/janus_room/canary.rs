//! Selection of the rooms that concern a Janus, and of the next room to query. A query shows whether Janus
//! was restarted or lost the room. Never queries Janus itself.

use std::ops::Bound;

use crate::ids::{ModuleId, RoomId};
use crate::view::{RoomView, Rooms};

/// Returns true if this node has to handle the room: livemeta assigns it here, or the room's Janus key names
/// this node.
pub fn concerns(view: &RoomView, me: &ModuleId) -> bool {
    view.live.as_ref().is_some_and(|l| l.janus_id == *me) || view.janus.as_ref().is_some_and(|j| j.id == *me)
}

/// Returns the number under which our Janus must have the room. `None`: the room is not open here, or the
/// store does not name its Janus room yet.
pub fn must_have(view: &RoomView, me: &ModuleId) -> Option<u32> {
    let live = view.live.as_ref().filter(|live| view.is_open() && live.janus_id == *me)?;
    let key = view.janus.as_ref().filter(|key| key.id == *me && key.epoch <= live.epoch)?;
    Some(key.janus_room_id)
}

/// Returns the next room to query, with its number in Janus, in turn among those that Janus must have.
/// `after`: room queried last. `None`: Janus must have no room.
pub fn canary(rooms: &Rooms, me: &ModuleId, after: Option<&RoomId>) -> Option<(RoomId, u32)> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let in_turn = rooms.range::<RoomId, _>((from, Bound::Unbounded)).chain(rooms.iter());
    in_turn.filter_map(|(room, view)| Some((room.clone(), must_have(view, me)?))).next()
}

//! Names of keys and channels. All begin with `stentor:`; a room id has no colon, so none is ambiguous.
//!
//! | key | is |
//! |---|---|
//! | `lock:{room}:{user}` | hash of the holder and its fence; lives as long as the lock |
//! | `fence:{room}:{user}` | the mark: highest fence given out |
//! | `gateway:{gateway}` | there as long as the gateway shows that it lives |
//! | `withdrawn:{attempt}` | an acquisition that must not happen any more |
//! | `members:{room}` | set of user ids |
//! | `member:{room}:{user}` | hash of fence and JSON value; lives as long as the member |
//!
//! | channel | message |
//! |---|---|
//! | `changed` | the room |
//! | `replaced:{gateway}` | JSON of a [`Replaced`](crate::presence::Replaced) |
//!
//! Scripts build some of these names themselves, so this is for one Redis with its replicas, not for Redis
//! Cluster.

use crate::domain::connection::{Gateway, Seat};
use crate::domain::ids::RoomId;

pub const CHANGED: &str = "stentor:changed";
pub const GATEWAY_PREFIX: &str = "stentor:gateway:";
pub const REPLACED_PREFIX: &str = "stentor:replaced:";

pub fn lock(seat: &Seat) -> String {
    format!("stentor:lock:{}:{}", seat.room, seat.user)
}

pub fn mark(seat: &Seat) -> String {
    format!("stentor:fence:{}:{}", seat.room, seat.user)
}

pub fn gateway(gateway: &Gateway) -> String {
    format!("{GATEWAY_PREFIX}{gateway}")
}

pub fn withdrawn(attempt: &str) -> String {
    format!("stentor:withdrawn:{attempt}")
}

pub fn members(room: &RoomId) -> String {
    format!("stentor:members:{room}")
}

pub fn member_prefix(room: &RoomId) -> String {
    format!("stentor:member:{room}:")
}

pub fn replaced_channel(gateway: &Gateway) -> String {
    format!("{REPLACED_PREFIX}{gateway}")
}

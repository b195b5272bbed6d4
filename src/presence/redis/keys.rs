//! Names of keys and channels. All begin with `stentor:`. A room id has no colon, so no name is ambiguous.
//!
//! | key | value |
//! |---|---|
//! | `lock:{room}:{user}` | hash of the holder and its fencing token; expires with the lock |
//! | `fence:{room}:{user}` | high-water mark: highest fencing token issued |
//! | `gateway:{gateway}` | present while the gateway sends heartbeats |
//! | `withdrawn:{attempt}` | present if this acquisition must no longer be applied |
//! | `members:{room}` | set of user ids |
//! | `member:{room}:{user}` | hash of fencing token and JSON value; expires with the presence entry |
//! | `stage:{room}:{created}` | hash of revision and JSON of a room's stage; expires a day after the last change |
//! | `speech:{room}:{created}` | hash of the milliseconds that each person has spoken; expires a day after the last change |
//!
//! | channel | message |
//! |---|---|
//! | `changed` | the room |
//! | `stages` | JSON of a [`StageMessage`](crate::presence::stage::StageMessage) |
//! | `replaced:{gateway}` | JSON of a [`LockReplaced`](crate::presence::LockReplaced) |
//!
//! Scripts build some of these names themselves. So presence works with one Redis and its replicas, but not
//! with Redis Cluster.

use crate::domain::connection::{GatewayIncarnation, LockKey};
use crate::domain::ids::RoomId;
use crate::presence::stage::StageKey;

pub const CHANGED: &str = "stentor:changed";
pub const STAGES: &str = "stentor:stages";
pub const GATEWAY_PREFIX: &str = "stentor:gateway:";
pub const REPLACED_PREFIX: &str = "stentor:replaced:";

pub fn lock(key: &LockKey) -> String {
    format!("stentor:lock:{}:{}", key.room, key.user)
}

pub fn mark(key: &LockKey) -> String {
    format!("stentor:fence:{}:{}", key.room, key.user)
}

pub fn gateway(gateway: &GatewayIncarnation) -> String {
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

pub fn stage(key: &StageKey) -> String {
    format!("stentor:stage:{}:{}", key.room, key.created_at.0)
}

pub fn speech(key: &StageKey) -> String {
    format!("stentor:speech:{}:{}", key.room, key.created_at.0)
}

pub fn replaced_channel(gateway: &GatewayIncarnation) -> String {
    format!("{REPLACED_PREFIX}{gateway}")
}

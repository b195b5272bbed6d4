//! Listener channel: the events that the listeners of a room get besides the audio, and the commands that
//! they send.
//!
//! ```text
//! POST ─▶ StageHub::command ─ decide on the copy ─▶ StageStore (compare and swap)
//!                                                        │ events, on every listener node
//! GET events ◀── Subscription ◀── Channel ◀── StageHub ◀─┘
//!                (a position)     (one shared buffer per room)
//! ```
//! Every event is encoded once per node and transport, and stored in the room's buffer. A subscriber is a
//! position in this buffer, so a slow client needs no memory. It is disconnected when the buffer no longer
//! contains its position.
//!
//! Owns: copies of the stages, buffers, rate limits of commands. Does not speak HTTP, check a token, or
//! decide on a command; that is the task of `domain::stage`.

mod bans;
mod captions;
mod channel;
mod encode;
mod hub;
mod members;
mod subscription;

pub use bans::FoundPerson;
pub use captions::LiveCaptions;
pub use encode::{MemberLine, RoomLine, Transport};
pub use hub::{CommandError, Dependencies, DueWork, OpenError, StageHub};
pub use subscription::{Subscription, SubscriptionEnd, Viewer};

#[cfg(test)]
mod tests;

//! Role `rooms`: what becomes of rooms that nobody asks about any more.
//!
//! ```text
//! RoomSupervisor
//! ├─ Room*              one per room that is on air or being removed
//! └─ Elector            one node of all leads
//!    ├─ Housekeeper     rooms that were forgotten, what was left behind
//!    └─ Reassigner      rooms whose Janus or mixer is lost
//! ```

pub mod elector;
pub mod housekeeper;
pub mod reassigner;
pub mod room;
pub mod supervisor;
